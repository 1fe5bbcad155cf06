"""Who is blocked at run time, by an operator or for offences, as a worker knows it: networks, each until some time.

Control decides, bounds their number and tells; a block ends by the clock even where control is dead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from nlb.shield.cidr import parse

Entry = tuple[str, float | None]  # a network, and until when in monotonic seconds; None is for good


class Blocked:
    __slots__ = ("_until",)

    def __init__(self) -> None:
        # By version, the longest prefixes first: how far an address is shifted, and until when what is then left is.
        self._until: dict[int, dict[int, dict[int, float]]] = {4: {}, 6: {}}

    def has(self, version: int, number: int, now: float) -> bool:
        for shift, until in self._until.get(version, _NONE).items():  # noqa: SIM110  any() would cost a generator
            if until.get(number >> shift, 0.0) > now:
                return True
        return False

    def block(self, entries: Iterable[Entry]) -> None:
        """Add, or change the end of."""
        for text, until in entries:
            version, shift, prefix = _place(text)
            prefixes = self._until[version].setdefault(shift, {})
            prefixes[prefix] = math.inf if until is None else until

    def unblock(self, networks: Iterable[str]) -> None:
        """What is not blocked is passed over."""
        for text in networks:
            version, shift, prefix = _place(text)
            by_shift = self._until[version]
            if shift in by_shift and by_shift[shift].pop(prefix, None) is not None and not by_shift[shift]:
                del by_shift[shift]

    def clear(self) -> None:
        for by_shift in self._until.values():
            by_shift.clear()

    def __bool__(self) -> bool:
        return any(self._until.values())

    def __len__(self) -> int:
        return sum(len(prefixes) for by_shift in self._until.values() for prefixes in by_shift.values())


_NONE: dict[int, dict[int, float]] = {}


def _place(text: str) -> tuple[int, int, int]:
    network = parse(text)
    shift = network.max_prefixlen - network.prefixlen
    return network.version, shift, int(network.network_address) >> shift
