"""How a group chooses. A policy does its work in `build`, when candidates change; `choose` only indexes.

`tried` are the targets that failed this session already: the empty tuple in the normal case.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container
from hashlib import blake2b
from math import gcd
from typing import Protocol

from nlb.balance import maglev
from nlb.balance.target import Target
from nlb.balance.turns import turns

# Turns that a schedule has at most. Weights that add up to more (after division by what they have in common) are
# rounded to it: 1:65535 is the coarsest ratio that is kept exactly.
LONGEST_SCHEDULE = 65536

# Fraction of a schedule between the starts of worker n and worker n + 1. By the golden ratio the starts of any
# number of workers lie far apart: side by side, all would serve the same few targets at the same time.
GOLDEN = 0.6180339887498949


class Policy(Protocol):
    """What a group asks of its policy."""

    @property
    def needs_key(self) -> bool:
        """Does `choose` look at its key?"""

    def build(self, candidates: tuple[Target, ...], table: bytes | memoryview | None) -> None:
        """Choose among `candidates` from now on; all have a weight above 0. `table` is what `table()` of the same
        group gave in another process; None or empty: work it out here."""

    def choose(self, key: bytes, tried: Container[Target]) -> Target | None:
        """One candidate that is not in `tried`; None when there is none."""

    def table(self) -> bytes:
        """What is worth building once and handing to every worker; empty when nothing is."""


class RoundRobin:
    """In turns by weight, spread out: 1:2:5 serves c b c a c c b c, never c five times in a row."""

    __slots__ = ("_candidates", "_cursor", "_offset", "_schedule", "_start")
    needs_key = False

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._candidates: tuple[Target, ...] = ()
        self._schedule: tuple[Target, ...] = ()
        self._start = 0
        self._cursor = 0

    def build(self, candidates: tuple[Target, ...], table: bytes | memoryview | None) -> None:
        self._candidates = candidates
        self._schedule = _schedule(candidates)
        length = len(self._schedule) or 1
        # Go on where we were, counted from this worker's own start: a group that comes up target by target would
        # otherwise pull all workers to the same place while it has one.
        start = int(self._offset * GOLDEN * length) % length
        self._cursor = (self._cursor - self._start + start) % length
        self._start = start

    def choose(self, key: bytes, tried: Container[Target]) -> Target | None:
        schedule = self._schedule
        if not schedule:
            return None
        cursor = self._cursor
        target = schedule[cursor]
        cursor += 1
        self._cursor = cursor if cursor < len(schedule) else 0
        if not tried or target not in tried:
            return target
        return self._another(tried)

    def table(self) -> bytes:
        return b""

    def _another(self, tried: Container[Target]) -> Target | None:
        """The next one in turn that was not tried. It is taken from the schedule as any other turn, so the load
        of a target that fails spreads over all the others, not over its neighbour."""
        if all(target in tried for target in self._candidates):
            return None
        while True:
            target = self.choose(b"", ())
            if target not in tried:
                return target


def _schedule(candidates: tuple[Target, ...]) -> tuple[Target, ...]:
    weights = [target.weight for target in candidates]
    common = gcd(*weights)
    weights = [weight // common for weight in weights]
    length = sum(weights)
    if length == len(weights):
        return candidates
    return tuple([candidates[turn] for turn in turns(weights, min(length, LONGEST_SCHEDULE))])


class Maglev:
    """The same key to the same target, on every worker and node; when a target leaves, few other keys move."""

    __slots__ = ("_by_id", "_slots")
    needs_key = True

    def __init__(self, offset: int) -> None:
        """`offset` means nothing here: all workers choose alike."""
        self._by_id: dict[int, Target] = {}
        self._slots = memoryview(b"").cast("I")  # slot -> target id

    def build(self, candidates: tuple[Target, ...], table: bytes | memoryview | None) -> None:
        self._by_id = {target.id: target for target in candidates}
        self._slots = memoryview(table or _ids(candidates)).cast("I")

    def choose(self, key: bytes, tried: Container[Target]) -> Target | None:
        slots = self._slots
        if not slots:
            return None
        slot = int.from_bytes(blake2b(key, digest_size=8).digest(), "big") % len(slots)
        target = self._by_id.get(slots[slot])
        if target and (not tried or target not in tried):
            return target
        return self._another(key, tried)

    def table(self) -> bytes:
        return self._slots.tobytes()

    def _another(self, key: bytes, tried: Container[Target]) -> Target | None:
        """Further slots, drawn by a longer hash of the key: the load of a missing target spreads evenly, and the same
        way everywhere. (The next slot instead would give up to 1.9 times the fair share to one of the others.)"""
        slots, by_id = self._slots, self._by_id
        number = int.from_bytes(blake2b(key, digest_size=64).digest(), "big")
        while number:
            number, slot = divmod(number, len(slots))
            target = by_id.get(slots[slot])
            if target and target not in tried:
                return target
        return next((target for target in by_id.values() if target not in tried), None)


def _ids(candidates: tuple[Target, ...]) -> bytes:
    """Slot -> target id, for a group whose table nobody handed over."""
    owners = maglev.build([(target.name, target.weight) for target in candidates])
    ids = [target.id for target in candidates]
    return array("I", [ids[owner] for owner in owners]).tobytes()


POLICIES: dict[str, Callable[[int], Policy]] = {"round_robin": RoundRobin, "maglev": Maglev}


def flow_key(client_host: str, client_port: int, hash_key: str) -> bytes:
    """What stays the same for clients that must meet the same target: their address (`hash_key` "source_ip"), or
    address and port ("flow"). Empty for a client of a unix socket, which has neither.

    `client_host` is as the kernel says it. One client has one key, whether it came over IPv4 or to a v6 socket.
    """
    if not client_host:
        return b""
    if ":" in client_host:
        # ::ffff:192.0.2.1 is 192.0.2.1; and what follows % is the name that this box has for a link.
        client_host = client_host.removeprefix("::ffff:").partition("%")[0]
    if hash_key == "source_ip":
        return client_host.encode()
    return f"{client_host} {client_port}".encode()
