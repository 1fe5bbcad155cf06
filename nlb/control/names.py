"""What DNS said about a name, and what that changes: values in, values out.

The one rule: an address in use goes only when an answer leaves it out. A time-out, SERVFAIL, NXDOMAIN or an empty
answer is no such answer; the last good one stays, and is called stale.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nlb.balance.target import NONE, OK, STALE
from nlb.model.address import Address

# Addresses of one name that are used. A record set of more is a mistake, or somebody's joke.
MOST = 1000

# Part of the wait by which it may grow, so that many names, and many balancers, do not ask in step. Never shrink:
# a cache would only give us the rest of the TTL again.
JITTER = 0.1

# Items of a list in a sentence; the others are counted.
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """How often to ask, how long to wait, whom to ask."""

    floor: float = 5.0  # a TTL of 0 shall not become a look-up per second
    ceiling: float = 60.0  # a TTL of a day shall not send a day's clients to a server that has moved
    timeout: float = 5.0  # for one host; as the system's resolver, and enough for two tries
    nameservers: tuple[Address, ...] = ()  # those of resolv.conf
    etc: str = "/etc"  # the folder of `hosts` and `resolv.conf`


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. Several targets of a config may ask the same."""

    host: str
    srv: bool = False
    family: str = "any"  # or ipv4, ipv6


@dataclass(frozen=True, slots=True)
class Found:
    """An address that `host` has. Port and weight are 0 unless an SRV record says them."""

    host: str
    ip: str
    port: int = 0
    weight: int = 0

    def __str__(self) -> str:
        return str(Address(self.ip, self.port)) if self.port else self.ip


@dataclass(frozen=True, slots=True)
class Failure:
    """A part of the question that was not answered: all of it, or the addresses of one host, or of one IP version."""

    reason: str
    host: str = ""
    version: int = 0

    def covers(self, found: Found) -> bool:
        return self.host in ("", found.host) and self.version in (0, 6 if ":" in found.ip else 4)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one look-up brought. `ttl` in seconds."""

    found: tuple[Found, ...] = ()
    failures: tuple[Failure, ...] = ()
    ttl: float = math.inf


@dataclass(frozen=True, slots=True)
class Known:
    """What holds until the next answer. `state` is one of a target's RESOLVE_STATES, `since` is when it began (unix
    seconds); `failures` are those in a row."""

    found: tuple[Found, ...] = ()
    state: str = NONE
    reason: str = "not looked up yet"
    since: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer changes. `weighed` are addresses that stay with another weight; `wait` is the time to the next
    look-up in seconds."""

    known: Known
    added: tuple[Found, ...]
    removed: tuple[Found, ...]
    weighed: tuple[Found, ...]
    wait: float

    @property
    def moved(self) -> bool:
        """Has anything changed about the addresses?"""
        return bool(self.added or self.removed or self.weighed)


def judge(known: Known, answer: Answer, now: float, chance: float, settings: Settings) -> Verdict:
    """Hold an answer against what is known. `now` in unix seconds, `chance` from 0 to 1."""
    failures = answer.failures or (() if answer.found else (Failure("the answer is empty"),))
    before = {(item.ip, item.port): item for item in known.found}
    fresh = {(item.ip, item.port): item for item in sorted(answer.found, key=_order)}
    kept = {
        key: item
        for key, item in before.items()
        if key not in fresh and (not fresh or any(failure.covers(item) for failure in failures))
    }
    everything = sorted([*fresh.values(), *kept.values()], key=_order)
    found = tuple(everything[:MOST])
    after = {(item.ip, item.port): item for item in found}
    state = STALE if kept else OK if found else NONE
    reason = listed([failure.reason for failure in failures], "; ")
    if not reason and len(everything) > MOST:
        reason = f"more than {MOST} addresses; the others are not used"
    now_known = Known(
        found,
        state,
        reason,
        known.since if state == known.state else now,
        known.failures + 1 if failures else 0,
    )
    return Verdict(
        now_known,
        tuple(item for key, item in after.items() if key not in before),
        tuple(item for key, item in before.items() if key not in after),
        tuple(item for key, item in after.items() if key in before and item.weight != before[key].weight),
        _wait(answer.ttl, now_known.failures, settings) * (1 + JITTER * chance),
    )


def _wait(ttl: float, failures: int, settings: Settings) -> float:
    wait = min(max(ttl, settings.floor), settings.ceiling)
    if not failures:
        return wait
    return min(wait, settings.floor * 2.0 ** min(failures - 1, 30))


def sentences(host: str, before: Known, verdict: Verdict) -> Iterator[tuple[str, str]]:
    """(level, text) of each event: of changes, not of tries."""
    known = verdict.known
    moves = (verdict.added, "added"), (verdict.removed, "removed"), (verdict.weighed, "with another weight")
    if verdict.moved:
        yield "info", f"{host}: " + "; ".join(f"{listed(found)} {what}" for found, what in moves if found)
    if known.failures:
        if not before.failures or before.state != known.state:
            yield "warning", f"{host} {_trouble(known)}: {known.reason}"
    elif before.failures:
        yield "info", f"{host} is looked up without trouble again"
    elif known.reason and known.reason != before.reason:
        yield "warning", f"{host} has {known.reason}"


def _trouble(known: Known) -> str:
    if known.state == NONE:
        return "cannot be looked up and has no address"
    count = len(known.found)
    if known.state == STALE:
        return f"cannot be looked up, so addresses of the last answer stay in use ({count} in all)"
    return f"is only known in part ({count} addresses)"


def _order(found: Found) -> tuple[Any, ...]:
    ip = ipaddress.ip_address(found.ip)
    return ip.version, int(ip), found.ip, found.port, found.host, found.weight


def listed(items: Iterable[object], between: str = ", ") -> str:
    """The first few, each once, and how many more there are."""
    words = list(dict.fromkeys(map(str, items)))
    more = [f"{len(words) - _SHOWN} more"] if len(words) > _SHOWN else []
    return between.join(words[:_SHOWN] + more)
