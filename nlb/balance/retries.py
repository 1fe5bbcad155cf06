"""How many requests may be sent once more: a part of all, so that an outage is not made worse by asking twice."""

from __future__ import annotations

from collections.abc import Callable

# Seconds over which the part is reckoned.
WINDOW = 10.0

# Repeats that are allowed in each window however few requests there are (Envoy's retry budget has this number too).
LEAST = 3


class RetryBudget:
    """`percent` of the requests of this window or of the one before it, whichever had more: what fails first in a
    window may be repeated as well. `requests` tells how many there have been so far."""

    __slots__ = ("_before", "_began", "_repeats", "_requests", "_start", "percent")

    def __init__(self, percent: float, requests: Callable[[], int]) -> None:
        self.percent = percent
        self._requests = requests
        self._start = requests()
        self._before = 0  # requests of the window before
        self._began = 0.0
        self._repeats = 0

    def turn(self, now: float) -> None:
        """To be called more often than once in a window, so that the windows follow one another."""
        if now - self._began < WINDOW:
            return
        requests = self._requests()
        self._before = requests - self._start
        self._began, self._start, self._repeats = now, requests, 0

    def allows(self, now: float) -> bool:
        """May one more be repeated? Then it is counted."""
        if not self.percent:
            return False
        self.turn(now)
        most = max(self._before, self._requests() - self._start) * self.percent / 100
        if self._repeats >= max(LEAST, most):
            return False
        self._repeats += 1
        return True
