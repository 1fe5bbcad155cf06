"""The shields of this worker's listeners at work: who is let in, who was too much, and what control is to hear of it.

What is known of sources is in memory that all workers of the box share (shield/table.py). Control decides whom to
block; a worker only tells it who has offended often enough.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nlb.http1.facts import Request
from nlb.http1.forwarded import Peer
from nlb.net.channel import mapped
from nlb.net.loop import Loop
from nlb.observe.counters import ACTIVE, MONITORED_WORD, SHIELD_WORD, Words
from nlb.shield.admission import Admission, Limits
from nlb.shield.blocked import Blocked
from nlb.shield.buckets import Buckets
from nlb.shield.cidr import Networks
from nlb.shield.connections import Connections
from nlb.shield.offences import Offences, Tolerance
from nlb.shield.requests import Refusal, Requests
from nlb.shield.sources import NOBODY, Source, key_of, network_of
from nlb.shield.sources import source_of as _source_of
from nlb.shield.words import BAD_PATH, DENIED_PATH, MAX_BODY, METHOD, RATE, REQUEST_RATE, SOURCE_LIMIT

# Seconds that offenders wait for each other, and how many go in one message. More come back with their next offence.
REPORT_EVERY = 0.05
_MOST = 1000

# Who is refused for this has offended.
_OFFENCES = {
    RATE: "rate",
    SOURCE_LIMIT: "source_limit",
    METHOD: "method",
    BAD_PATH: "path",
    DENIED_PATH: "path",
    REQUEST_RATE: "rate",
}

_MAPPED = 0xFFFF  # the first 96 bits of ::ffff:192.0.2.1

# Of a client that sends many requests, once.
source_of = lru_cache(1024)(_source_of)


def accepted(address: Any) -> Source:
    """Who that is, of what accept said. A third of what reading the text takes."""
    if not isinstance(address, tuple):
        return NOBODY
    host = address[0]
    if ":" not in host:
        return 4, int.from_bytes(socket.inet_pton(socket.AF_INET, host))
    number = int.from_bytes(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]))
    return (4, number & 0xFFFFFFFF) if number >> 32 == _MAPPED else (6, number)


def blamed(client: str, peer: Peer) -> Source:
    """Whose offence it is: a trusted proxy's never, or the block would hit everybody behind it."""
    return NOBODY if client in peer.forwarding.trusted else source_of(client)


class Shield:
    """That of one listener. It is there as long as something of it is to be asked or to be counted."""

    __slots__ = ("_admission", "_guard", "_max_body", "_name", "_requests", "_tolerance", "_words", "is_monitor")

    def __init__(
        self,
        guard: Guard,
        name: str,
        words: Words,
        admission: Admission,
        requests: Requests | None,
        tolerance: Tolerance | None,
        max_body: int | None,
        is_monitor: bool,
    ) -> None:
        self._guard = guard
        self._name = name
        self._words = words
        self._admission = admission
        self._requests = requests
        self._tolerance = tolerance
        self._max_body = max_body
        self.is_monitor = is_monitor

    def __bool__(self) -> bool:
        asks = self._requests is not None or self._tolerance is not None or self._max_body is not None
        return asks or bool(self._admission)

    # Each answers with the word that refuses, "" for who may come in. All is counted here.

    def judge(self, source: Source) -> str:
        """Of a client that connects itself."""
        word = self._admission.judge(source, self._guard.loop.now)
        return self._refusal(word, source) if word else ""

    def judge_proxy(self, source: Source) -> str:
        """Of a proxy that connects for others."""
        word = self._admission.judge_proxy(source, self._guard.loop.now)
        return self._refusal(word, NOBODY) if word else ""

    def judge_client(self, source: Source) -> str:
        """Of the client that the proxy told of."""
        word = self._admission.judge_client(source, self._guard.loop.now)
        return self._refusal(word, source) if word else ""

    def enter(self, source: Source) -> int | None:
        """Who was let in is here; what is returned, if anything, is for `leave`."""
        return self._admission.enter(source)

    def leave(self, ticket: int) -> None:
        self._guard.leave(ticket)

    def judge_request(self, request: Request, client: str, peer: Peer) -> Refusal | None:
        """`client` is the address that is believed, `peer` the other end of its connection."""
        requests = self._requests
        if requests is None:
            return None
        source = source_of(client)
        refusal = requests.judge(request.method, request.host, request.path, source, self._guard.loop.now)
        if refusal is None or not self._refusal(refusal.word, blamed(client, peer)):
            return None
        return refusal

    def finds_too_long(self, size: int) -> bool:
        """A body of so many bytes, at least. It is the listener that refuses it, unless this is a monitor."""
        if self._max_body is None or size <= self._max_body:
            return False
        self._refusal(MAX_BODY, NOBODY)
        return True

    def has_blocked(self, address: str) -> bool:
        return self._guard.blocked.has(*source_of(address), self._guard.loop.now)

    @property
    def methods(self) -> str:
        """What Allow says in a 405."""
        return self._requests.allowed if self._requests else ""

    def offended(self, source: Source, *offences: str) -> None:
        """A source did one thing that has these names: it is one offence, by the first that counts."""
        tolerance = self._tolerance
        if tolerance is None:
            return
        offence = next(filter(tolerance.counts, offences), "")
        if offence and tolerance.ends(offence, source, self._guard.loop.now):
            self._guard.tell(source, self._name, offence, tolerance.seconds, self.is_monitor)

    def _refusal(self, word: str, source: Source) -> str:
        refuses = self._admission.refuses(word)
        self._words[(SHIELD_WORD if refuses else MONITORED_WORD)[word]] += 1
        if word in _OFFENCES:
            self.offended(source, _OFFENCES[word])
        return word if refuses else ""


class Guard:
    """What all listeners of this worker have in common."""

    def __init__(
        self,
        memory: memoryview,
        workers: int,
        worker: int,
        loop: Loop,
        send: Callable[[list[list[Any]]], None],
        owner: Any,
    ) -> None:
        """`memory` is the block of shield/table.py. `send` tells control of sources that have offended; what crashes
        in it is `owner`'s."""
        self.loop = loop
        self._buckets = Buckets(memory)
        self._offences = Offences(memory)
        self._connections = Connections(memory, workers, worker)
        self.blocked = Blocked()
        self._lists: dict[int, Networks] = {}
        self._used: dict[int, tuple[int | None, int | None]] = {}  # by listener: the lists of its shield
        self._send = send
        self._owner = owner
        self._told: dict[str, list[Any]] = {}  # by network: what control is to hear
        self.leave = self._connections.leave

    def shield(self, number: int, name: str, spec: dict[str, Any], rows: list[Words], words: Words) -> Shield:
        """Of a listener, from what control says; `rows` are its counters in all workers, `words` those in this one."""
        deny, allow = self._used[number] = (spec["deny"], spec["allow"])
        used = {each for lists in self._used.values() for each in lists}
        self._lists = {each: networks for each, networks in self._lists.items() if each in used}
        admission = Admission(
            Limits(**spec["limits"]),
            _NOBODY_AT_ALL if deny is None else self._lists[deny],
            None if allow is None else self._lists[allow],
            self.blocked,
            self._buckets,
            self._connections,
            lambda: sum([row[ACTIVE] for row in rows]),
            spec["monitors"],
        )
        requests = Requests(spec["requests"], self._buckets) if spec["requests"] else None
        tolerance = Tolerance(spec["tolerance"], self._offences) if spec["tolerance"] else None
        return Shield(self, name, words, admission, requests or None, tolerance, spec["max_body"], spec["monitors"])

    def forget(self, number: int) -> None:
        """That listener is gone."""
        self._used.pop(number, None)

    def take_in(self, number: int, fd: int) -> None:
        """A list of networks, in the memory behind a descriptor; it is kept while a shield has it."""
        if number in self._lists or not os.fstat(fd).st_size:
            self._lists.setdefault(number, Networks(()))
            os.close(fd)
        else:
            self._lists[number] = Networks.unpacked(mapped(fd))

    def block(self, entries: list[list[Any]], begins: bool) -> None:
        """[network, until] each; if it `begins`, these and no others."""
        if begins:
            self.blocked.clear()
        self.blocked.block((network, until) for network, until in entries)

    def unblock(self, networks: list[str]) -> None:
        self.blocked.unblock(networks)

    def tell(self, source: Source, listener: str, offence: str, seconds: float, monitored: bool) -> None:
        if len(self._told) >= _MOST:
            return
        if not self._told:
            self.loop.call_at(self.loop.now + REPORT_EVERY, self._report, self._owner)
        network = str(network_of(key_of(source)))
        self._told[network] = [network, listener, offence, seconds, monitored]

    def _report(self) -> None:
        told, self._told = self._told, {}
        self._send(list(told.values()))


_NOBODY_AT_ALL = Networks(())
