"""Everything that can be known of a running nlb, as plain data: what `nlb ctl`, the web pages and metrics show.

Read from control's own state and the workers' shared counters; no worker is asked, so a stuck one delays nobody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import TYPE_CHECKING, Any

import nlb
from nlb.control import certificates
from nlb.control.pace import EVERY, Pace
from nlb.errors import OUTCOMES
from nlb.observe import counters
from nlb.observe.counters import (
    DESYNC_WORD,
    DURATION,
    LAG,
    LATENCY,
    ROUTE_WORDS,
    STATUSES,
    Words,
    histogram,
    total,
    totals,
)
from nlb.shield.words import REASONS

if TYPE_CHECKING:
    from nlb.balance.target import Fact
    from nlb.control.controller import Controller
    from nlb.control.crew import WorkerProcess
    from nlb.control.listening import OpenListener
    from nlb.control.naming import Naming
    from nlb.control.overrides import Overrides
    from nlb.control.registration import ManagedGroup, Registration
    from nlb.control.reload import Running
    from nlb.control.supervisor import Supervisor
    from nlb.observe.counters import Row

Data = dict[str, Any]


class Reporter:
    """Takes snapshots."""

    def __init__(
        self,
        controller: Controller,
        supervisor: Supervisor,
        running: Running,
        overrides: Overrides,
        naming: Naming,
        blocks: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """`blocks` tells how many hold, by whose wish."""
        self._controller = controller
        self._overrides = overrides
        self._naming = naming
        self._supervisor = supervisor
        self._running = running
        self._blocks = blocks
        self._started = time()
        self._pace = Pace()  # of requests, by the listener's number
        self._look()

    def snapshot(self) -> Data:
        """JSON data; times are unix seconds, sizes bytes."""
        about = self._about()
        for row, opened in zip(about["listeners"], self._supervisor.listening.listeners.values(), strict=True):
            if opened.settings.speaks_http:
                row["routes"] = routes(opened, self._supervisor.rows)
        return about | {"groups": [self._group(group, leaving) for group, leaving in self._groups()]}

    def status(self) -> Data:
        """As `snapshot`, without rules and with groups in figures: 10,000 targets take control's loop 0.2 s."""
        return self._about() | {"groups": [self._summary(group, leaving) for group, leaving in self._groups()]}

    def _about(self) -> Data:
        controller = self._controller
        return {
            "version": nlb.__version__,
            "pid": os.getpid(),
            "started": self._started,
            "now": time(),
            "state": controller.state,
            "ready": controller.ready,
            "config": self._running.as_data(),
            "workers": [self._worker(worker) for worker in self._supervisor.workers],
            "orphans": self._supervisor.orphans.as_data(),
            "listeners": [self._listener(opened) for opened in self._supervisor.listening.listeners.values()],
            "certificates": self._certificates(),
            "events": list(controller.events.ring),
            "log_dropped": controller.events.log.dropped,
            "blocks": self._blocks(),
        }

    def _certificates(self) -> list[Data]:
        """Of all listeners that speak TLS."""
        listeners, now = self._supervisor.listening.listeners.values(), time()
        return [
            row
            for opened in listeners
            if opened.identity
            for row in certificates.facts(opened.name, opened.identity, now)
        ]

    def _worker(self, worker: WorkerProcess) -> Data:
        words = self._supervisor.rows[worker.index].worker
        return {
            "index": worker.index + 1,
            "pid": worker.process.pid if worker.process else None,
            "state": worker.state,
            "restarts": worker.restarts,
            "since": worker.since,
            "sessions": words[counters.SESSIONS],
            "turns": words[counters.TURNS],
            "log_dropped": words[counters.LOG_DROPPED],
            "last_exit": worker.last_exit,
            "retry_in": max(0.0, worker.retry_at - time()) if worker.state == "backing_off" else None,
            "lag": _histogram([words], counters.WORKER_LAG, LAG),
        }

    def _listener(self, opened: OpenListener) -> Data:
        facts = listener(opened, self._supervisor.rows, self._supervisor.limit(opened))
        if "requests" in facts:
            facts["requests_per_second"] = self._pace.of(opened.number, self._controller.loop.now, facts["requests"])
        return facts

    def _look(self) -> None:
        loop, rows = self._controller.loop, self._supervisor.rows
        listeners = [opened for opened in self._supervisor.listening.listeners.values() if opened.settings.speaks_http]
        self._pace.sample(loop.now, {opened.number: _requests(opened, rows) for opened in listeners})
        loop.call_at(loop.now + EVERY, self._look, self._controller)

    def _groups(self) -> list[tuple[ManagedGroup, list[Registration]]]:
        """Each with the targets that are leaving it; also removed ones, while they have such."""
        leaving: dict[ManagedGroup, list[Registration]] = {}
        for registration in self._controller.registrations.values():
            if registration.leaving:
                leaving.setdefault(registration.group, []).append(registration)
        groups = dict.fromkeys([*self._controller.groups.values(), *leaving])
        return [(group, leaving.get(group, [])) for group in groups]

    def _group(self, managed: ManagedGroup, leaving: list[Registration]) -> Data:
        words = [row.group(managed.number) for row in self._supervisor.rows]
        facts = self._summary(managed, leaving) | {
            "connect": _histogram(words, counters.CONNECT_TIMES, LATENCY),
            "first_byte": _histogram(words, counters.FIRST_BYTE_TIMES, LATENCY),
            "queue": _histogram(words, counters.QUEUE_TIMES, LATENCY),
            "targets": [self.target(registration) for registration in [*managed.members.values(), *leaving]],
            "names": self._naming.facts(managed.name),
        }
        if managed.settings.speaks_http:
            facts["durations"] = _histogram(words, counters.REQUEST_DURATIONS, LATENCY)
        return facts

    def _summary(self, managed: ManagedGroup, leaving: list[Registration]) -> Data:
        settings, group = managed.settings, managed.balance
        members = [*managed.members.values(), *leaving]
        words = [row.group(managed.number) for row in self._supervisor.rows]
        facts = {
            "name": group.name,
            "protocol": settings.protocol,
            "policy": settings.policy,
            "fail_open": group.fail_open,
            "waiting": group.waiting,
            "candidates": len(group.candidates),
            "retries": total(words, counters.RETRIES),
            "fail_open_picks": total(words, counters.FAIL_OPEN_PICKS),
            "queued": total(words, counters.QUEUED),
            "policy_failures": total(words, counters.POLICY_FAILURES),
            "targets": len(members),
            "usable": sum(member.target.usable for member in members),
            "sessions": sum(self._controller.sessions_of(member) for member in members),
        }
        if settings.speaks_http:
            facts |= {key: total(words, word) for key, word in _OF_REQUESTS.items()}
        return facts

    def target(self, registration: Registration) -> Data:
        """One target, as in the snapshot."""
        target = registration.target
        words = [row.target(target.id) for row in self._supervisor.rows]
        wishes = self._overrides.for_target(target.group, target.name, target.address)
        return {
            "id": target.id,
            "name": target.name,
            "group": target.group,
            "address": str(target.address),
            "weight": target.weight,
            "configured_weight": target.configured_weight,
            "admin": _fact(target.admin),
            "health": _fact(target.health),
            "resolve": _fact(target.resolve),
            "leaving": registration.leaving,
            "overrides": [wish.data() for wish in wishes.values()],
            "usable": target.usable,
            "sessions": total(words, counters.ACTIVE),
            "connections": total(words, counters.CONNECTIONS),
            "connect_failures": total(words, counters.CONNECT_FAILURES),
            "received": total(words, counters.TARGET_RECEIVED),
            "sent": total(words, counters.TARGET_SENT),
            "drain": self._drain(registration),
            "probe": registration.last_probe,
            "transitions": registration.transitions,
            "probes": {"ok": registration.passed, "failed": registration.failed},
        }

    def health(self, registration: Registration) -> Data:
        """What one target was asked and what it answered, result by result."""
        check, health, prober = registration.settings.health_check, registration.health, registration.prober
        now = self._controller.loop.now
        told = ("protocol", "question", "interval", "fast_interval", "timeout", "rise", "fall")
        return {
            "now": time(),
            "target": self.target(registration),
            "check": {name: getattr(check, name) for name in (*told, "flap_limit", "flap_window")},
            "phase": prober.phase if prober else "none",
            "trouble": prober.trouble if prober else "",
            "passes": health.passes,
            "failures": health.failures,
            "flips": health.flips(now),
            "held": round(health.held_until - now, 1) if health.held_until > now else None,
            "results": list(registration.history),
        }

    def _drain(self, registration: Registration) -> Data | None:
        drain = registration.drain
        if drain is None:
            return None
        left = max(0.0, drain.deadline - self._controller.loop.now)
        return {
            "started": drain.began,
            "deadline": drain.began + (drain.deadline - drain.started),
            "seconds_left": round(left, 1),
            "ended": drain.ended,
        }


# What groups of protocol http have as well.
_OF_REQUESTS = {
    "requests": counters.HTTP_REQUESTS,
    "http_retries": counters.HTTP_RETRIES,
    "pool_hits": counters.POOL_HITS,
    "pool_misses": counters.POOL_MISSES,
}


def listener(opened: OpenListener, rows: list[Row], max_connections: int | None) -> Data:
    """`requests` and what comes after it are there with protocol http only."""
    settings = opened.settings
    words = [row.listener(opened.number) for row in rows]
    facts = {
        "name": settings.name,
        "protocol": settings.protocol,
        "binds": opened.binds,
        "group": settings.target_group,
        "groups": list(settings.groups),
        "sessions": total(words, counters.ACTIVE),
        "accepted": total(words, counters.ACCEPTED),
        "received": total(words, counters.RECEIVED),
        "sent": total(words, counters.SENT),
        "max_connections": max_connections,
        "outcomes": _counts(OUTCOMES, words, counters.OUTCOME),
        **_shield(words),
        "handshakes": _handshakes(words) if settings.is_encrypted else None,
        "durations": _histogram(words, counters.DURATIONS, DURATION),
    }
    if not settings.speaks_http:
        return facts
    exchanges = _counts(OUTCOMES, words, counters.EXCHANGE_OUTCOME)
    desync = _counts(DESYNC_WORD, words, counters.DESYNC)
    desync.pop("", None)  # nothing to report
    return facts | {"requests": sum(exchanges.values()), "exchanges": exchanges, "desync": desync}


def _requests(opened: OpenListener, rows: list[Row]) -> int:
    return sum(totals([row.listener(opened.number) for row in rows], counters.EXCHANGE_OUTCOME, len(OUTCOMES)))


def shields(opened: Iterable[OpenListener], rows: list[Row]) -> dict[str, dict[str, dict[str, int]]]:
    """By listener, what its shield refused and what it would have refused, by reason."""
    return {item.name: _shield([row.listener(item.number) for row in rows]) for item in opened}


def _handshakes(words: list[Words]) -> dict[str, int]:
    return {"full": total(words, counters.TLS_FULL), "resumed": total(words, counters.TLS_RESUMED)}


def _shield(words: list[Words]) -> dict[str, dict[str, int]]:
    return {
        "refused": _counts(REASONS, words, counters.SHIELD),
        "monitored": _counts(REASONS, words, counters.MONITORED),
    }


def routes(opened: OpenListener, rows: list[Row]) -> list[Data]:
    """How many requests each rule got, by the status of their answers; those with none are left out."""
    found = []
    last = len(STATUSES) - 1
    for rule, group, number in opened.routes:
        counts = totals([row.route(number) for row in rows], 0, ROUTE_WORDS)
        if any(counts):
            counts = [*counts[:last], sum(counts[last:])]
            statuses = {status: count for status, count in zip(STATUSES, counts, strict=True) if count}
            found.append({"rule": rule, "group": group, "statuses": statuses})
    return found


def _counts(names: Iterable[str], words: list[Words], at: int) -> dict[str, int]:
    """Words that follow one another, by name, where they are not 0."""
    names = list(names)
    return {name: count for name, count in zip(names, totals(words, at, len(names)), strict=True) if count}


def _fact(fact: Fact) -> Data:
    return {"state": fact.state, "reason": fact.reason, "since": fact.since}


def _histogram(words: list[Words], at: int, bounds: tuple[float, ...]) -> Data:
    counts, seconds = histogram(words, at, bounds)
    return {"counts": counts, "sum": seconds}
