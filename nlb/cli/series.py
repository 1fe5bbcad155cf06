"""How many time series a scrape of /metrics has, roughly: once everything that can be counted was counted."""

from __future__ import annotations

from nlb.errors import OUTCOMES
from nlb.http1.desync import CLASS_OF
from nlb.model.config import Config, Listener, TargetGroup
from nlb.model.shield import Shield
from nlb.observe.counters import DURATION, LAG, LATENCY, STATUSES
from nlb.shield import words

# Of the box: build, config, its generation, ready, two of the last reload; two of blocks; control's process.
_DAEMON = 6 + 2 + 5
_PER_TARGET = 12
_PER_WORKER = 4 + 5  # its own, and its process's

_OF_REQUESTS = ("request", "response")


def series(config: Config, workers: int) -> int:
    total = _DAEMON + _PER_TARGET * config.target_count + (_PER_WORKER + _histogram(LAG)) * workers
    total += sum(map(_of_listener, config.listeners)) + sum(map(_of_group, config.groups))
    return round(total, -1)


def _of_listener(listener: Listener) -> int:
    asks_first = listener.is_encrypted or listener.proxy_protocol == "accept" or bool(listener.rules)
    phases = {outcome: outcome.partition("/")[0] for outcome in OUTCOMES}
    sessions = [
        outcome
        for outcome, phase in phases.items()
        if listener.speaks_http or (phase not in _OF_REQUESTS and (phase != "preface" or asks_first))
    ]
    total = 5 + len(sessions) + _histogram(DURATION) + len(_refusals(listener.shield, listener.speaks_http))
    if listener.is_encrypted:
        total += 2  # handshakes, full and resumed
    if listener.identity:
        total += len(listener.identity.certificates)
    if listener.speaks_http:
        total += sum(phase not in ("accept", "preface") for phase in phases.values())
        total += sum(reason != "" for reason in CLASS_OF)
        total += len(STATUSES) * (1 + sum(len(rule.forward) or 1 for rule in listener.rules))
    return total


def _refusals(shield: Shield, of_requests: bool) -> list[str]:
    """The reasons for which it may refuse, or would. Whoever is blocked is refused everywhere."""
    http = shield.http
    may = {
        words.DENIED: shield.deny or shield.allow,
        words.BLOCKED: True,
        words.LIMIT: shield.max_connections,
        words.SOURCE_LIMIT: shield.max_connections_per_source,
        words.RATE: shield.connection_rate_per_source,
    }
    if of_requests:
        may |= {
            words.METHOD: http.methods,
            words.BAD_PATH: http.normalise_path,
            words.DENIED_PATH: http.deny_path,
            words.MAX_BODY: http.max_body is not None,
            words.REQUEST_RATE: shield.request_rate,
        }
    return [word for word, asked in may.items() if asked]


def _of_group(group: TargetGroup) -> int:
    of_http = 3 + _histogram(LATENCY) if group.speaks_http else 0
    return 11 + 3 * _histogram(LATENCY) + of_http


def _histogram(bounds: tuple[float, ...]) -> int:
    return len(bounds) + 3  # a bucket for the rest, the sum and the count
