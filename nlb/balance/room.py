"""Which targets have room for one more session? Full is whoever has its `max_connections`, in all workers of the box.

A target is found full when it is asked, and found free when one of this worker's sessions leaves it or when a `look`
sees that another worker's did. In between nobody is asked again, so that a group that is full costs nothing.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import islice

from nlb.balance.target import Target


class Room:
    """Of some candidates; those without `max_connections` always have it. `free` are those not known to be full."""

    __slots__ = ("_full", "_next", "_place", "free")

    def __init__(self, candidates: Sequence[Target]) -> None:
        self.free = list(candidates)
        self._place = {target: place for place, target in enumerate(candidates)}  # in free
        self._full: dict[Target, None] = {}  # in the order in which they shall be looked at
        self._next = 0

    def has(self, target: Target) -> bool:
        """Is there room at `target`? Then it is as good as taken: two workers that ask in the same moment may both
        be told so, which is how far a limit is ever passed."""
        if target in self._full:
            return False
        most = target.max_connections
        if most is None or target.sessions < most:
            return True
        self._shut(target)
        return False

    def any(self, tried: Container[Target]) -> Target | None:
        """Whoever has room and was not tried, in turns; None when nobody has."""
        free = self.free
        for place in (self._next, 0):
            while place < len(free):
                target = free[place]
                if target in tried:
                    place += 1
                elif self.has(target):
                    self._next = place + 1
                    return target
                # else another stands in this place now
        return None

    def lacking(self, tried: Container[Target]) -> bool:
        """Is there one that was not tried and only lacks room?"""
        return any(target not in tried for target in self._full)

    def left(self, target: Target) -> bool:
        """A session left `target`. Returns whether it was full and has room again."""
        if target not in self._full:
            return False
        if target.max_connections is not None and target.sessions >= target.max_connections:
            return False
        self._open(target)
        return True

    def look(self, at_most: int) -> list[Target]:
        """Ask those again that were full, so many of them at a time. Returns who has room again."""
        asked = list(islice(self._full, at_most))
        for target in asked:  # to the end of the order
            del self._full[target]
            self._full[target] = None
        return [target for target in asked if self.left(target)]

    def _shut(self, target: Target) -> None:
        place = self._place.pop(target)
        last = self.free.pop()
        if last is not target:
            self.free[place] = last
            self._place[last] = place
        self._full[target] = None

    def _open(self, target: Target) -> None:
        del self._full[target]
        self._place[target] = len(self.free)
        self.free.append(target)
