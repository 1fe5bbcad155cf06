"""The same key to the same target, on every worker and node; when a target leaves, few other keys move.

What the key is, is the group's `hash_key`: the client's address, or address and port.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Sequence
from hashlib import blake2b
from typing import Any

from nlb.balance import maglev
from nlb.balance.loads import Loads
from nlb.balance.policy import Means, Policy
from nlb.balance.target import Rows, Target

# Longer hashes that are asked for another slot, 32 slots each. With `max_load` 1.25 at most four targets of five have
# their fill, so a single one finds another place but for one key in a thousand.
_HASHES = 4

# By the id of a target: a list where most ids up to the largest are there, else a dict. In a dict of thousands each
# look-up is three misses of the cache, which is as much as the whole rest of a choice.
ById = list[Any] | dict[int, Any]


class Maglev(Policy):
    """By a table of slots, see maglev.py.

    With `max_load` a target that has so many times its fair share of the group's sessions gets no more: the key goes
    on to its next slot. The sessions of all workers count; those that another worker took or ended since the last
    `look` may be missing in the share, never in the load of the target that is chosen.
    """

    __slots__ = ("_by_id", "_candidates", "_loads", "_max_load", "_most", "_rows", "_sessions", "_slots", "attentive")
    needs_key = True
    eases = False

    def __init__(self, means: Means) -> None:
        self.attentive = means.max_load is not None
        self._max_load = means.max_load
        self._candidates: tuple[Target, ...] = ()
        self._by_id: ById = {}
        self._slots = memoryview(b"").cast("I")  # slot -> target id
        self._most: ById = {}  # the part of the group's sessions that a target may have
        self._rows: Rows = ()
        self._loads = Loads(())
        self._sessions = 0  # on all candidates

    def build(self, candidates: tuple[Target, ...], weights: Sequence[int], table: bytes | memoryview | None) -> None:
        self._candidates = candidates
        self._by_id = _by_id(candidates, candidates)
        self._slots = memoryview(table or _ids(candidates, weights)).cast("I")
        if self._max_load is not None:
            whole = sum(weights)
            # One number for all targets of a weight: thousands of them would be in no cache.
            shares = {weight: self._max_load * weight / whole for weight in set(weights)}
            self._most = _by_id(candidates, [shares[weight] for weight in weights])
            self._rows = candidates[0].rows if candidates else ()
            self._loads = Loads(candidates)
            self.look()

    def choose(self, key: bytes, tried: Container[Target]) -> Target | None:
        slots = self._slots
        if not slots:
            return None
        number = slots[int.from_bytes(blake2b(key, digest_size=8).digest(), "big") % len(slots)]
        try:
            target: Target | None = self._by_id[number]
        except LookupError:  # the table is older than the candidates
            target = None
        if target is None or (tried and target in tried) or (self._most and not self._fits(number)):
            target = self._another(key, tried)
        self._sessions += 1
        return target

    def left(self, target: Target) -> None:
        if self._sessions:  # it may have been none of them: of a target that is no candidate any more
            self._sessions -= 1

    def full(self, target: Target) -> None:
        self.left(target)

    def look(self) -> None:
        self._sessions = sum(self._loads.read())

    def table(self) -> bytes:
        return self._slots.tobytes()

    def _fits(self, number: int) -> bool:
        sessions = 0
        for row in self._rows:
            sessions += row[number]
        most: float = self._most[number]
        # The session that is to be placed counts, so there is always room for a first one.
        return sessions < most * (self._sessions + 1)

    def _another(self, key: bytes, tried: Container[Target]) -> Target | None:
        """Further slots, drawn by longer hashes of the key: the load of a missing target spreads evenly, and the same
        way everywhere. (The next slot instead would give up to 1.9 times the fair share to one of the others.)"""
        slots = self._slots
        for salt in range(_HASHES):
            number = int.from_bytes(blake2b(key, digest_size=64, salt=bytes([salt])).digest(), "big")
            while number:
                number, slot = divmod(number, len(slots))
                target = self._at(slots[slot])
                if target and target not in tried and (not self._most or self._fits(target.id)):
                    return target
        return next((target for target in self._candidates if target not in tried), None)

    def _at(self, number: int) -> Target | None:
        try:
            found: Target | None = self._by_id[number]
        except LookupError:
            return None
        return found


def _by_id(candidates: Sequence[Target], values: Sequence[object]) -> ById:
    """The values that belong to the candidates."""
    found = {target.id: value for target, value in zip(candidates, values, strict=True)}
    last = max(found, default=0)
    return [found.get(number) for number in range(last + 1)] if last < 8 * len(found) else found


def _ids(candidates: tuple[Target, ...], weights: Sequence[int]) -> bytes:
    """Slot -> target id, for a group whose table nobody handed over."""
    named = [(target.name, weight) for target, weight in zip(candidates, weights, strict=True)]
    ids = [target.id for target in candidates]
    return array("I", [ids[owner] for owner in maglev.build(named)]).tobytes()


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
