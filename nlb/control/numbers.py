"""Who has which number: the places of listeners, groups and targets in shared counters. A number stays with its
owner for life; a free one is taken again as late as possible, because somebody may still look at its counters.
"""

from __future__ import annotations

from collections import deque


class Numbers:
    """Numbers from 0 up to `capacity`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.top = 0  # the first number that was never taken
        self._free: deque[int] = deque()

    @property
    def left(self) -> int:
        """How many can still be taken."""
        return self.capacity - self.top + len(self._free)

    def take(self) -> tuple[int, bool]:
        """A number, and whether it had an owner before: then its counters must be cleared."""
        if self.top < self.capacity:
            self.top += 1
            return self.top - 1, False
        return self._free.popleft(), True

    def give_back(self, number: int) -> None:
        self._free.append(number)
