"""The same key to the same target, on every worker and node; when a target leaves, few other keys move.

What the key is, is the group's `hash_key`: the client's address, or address and port.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Sequence
from hashlib import blake2b

from nlb.balance import maglev
from nlb.balance.loads import Loads
from nlb.balance.policy import Means, Policy
from nlb.balance.target import Target

# Longer hashes that are asked for another slot, 32 slots each. With `max_load` 1.25 at most four targets of five have
# their fill, so a single one finds another place but for one key in a thousand.
_HASHES = 4


class Maglev(Policy):
    """By a table of slots, see maglev.py.

    With `max_load` a target that has so many times its fair share of the group's sessions gets no more: the key goes
    on to its next slot. The sessions of all workers count; those that another worker took or ended since the last
    `look` may be missing in the share, never in the load of the target that is chosen.
    """

    __slots__ = ("_by_id", "_loads", "_max_load", "_most", "_sessions", "_slots", "attentive")
    needs_key = True
    eases = False

    def __init__(self, means: Means) -> None:
        self.attentive = means.max_load is not None
        self._max_load = means.max_load
        self._by_id: dict[int, Target] = {}
        self._slots = memoryview(b"").cast("I")  # slot -> target id
        self._most: dict[Target, float] = {}  # the part of the group's sessions that a target may have
        self._loads = Loads(())
        self._sessions = 0  # on all candidates

    def build(self, candidates: tuple[Target, ...], weights: Sequence[int], table: bytes | memoryview | None) -> None:
        self._by_id = {target.id: target for target in candidates}
        self._slots = memoryview(table or _ids(candidates, weights)).cast("I")
        if self._max_load is not None:
            whole = sum(weights)
            shares = [self._max_load * weight / whole for weight in weights]
            self._most = dict(zip(candidates, shares, strict=True))
            self._loads = Loads(candidates)
            self.look()

    def choose(self, key: bytes, tried: Container[Target]) -> Target | None:
        slots = self._slots
        if not slots:
            return None
        slot = int.from_bytes(blake2b(key, digest_size=8).digest(), "big") % len(slots)
        target = self._by_id.get(slots[slot])
        if target is None or (tried and target in tried) or (self._most and not self._fits(target)):
            target = self._another(key, tried)
            if target is None:
                return None
        self._sessions += 1
        return target

    def left(self, target: Target) -> None:
        if target in self._most:
            self._sessions -= 1

    def full(self, target: Target) -> None:
        self.left(target)

    def look(self) -> None:
        self._sessions = sum(self._loads.read())

    def table(self) -> bytes:
        return self._slots.tobytes()

    def _fits(self, target: Target) -> bool:
        # The session that is to be placed counts, so there is always room for a first one.
        return target.sessions < self._most[target] * (self._sessions + 1)

    def _another(self, key: bytes, tried: Container[Target]) -> Target | None:
        """Further slots, drawn by longer hashes of the key: the load of a missing target spreads evenly, and the same
        way everywhere. (The next slot instead would give up to 1.9 times the fair share to one of the others.)"""
        slots, by_id = self._slots, self._by_id
        for salt in range(_HASHES):
            number = int.from_bytes(blake2b(key, digest_size=64, salt=bytes([salt])).digest(), "big")
            while number:
                number, slot = divmod(number, len(slots))
                target = by_id.get(slots[slot])
                if target and target not in tried and (not self._most or self._fits(target)):
                    return target
        return next((target for target in by_id.values() if target not in tried), None)


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
