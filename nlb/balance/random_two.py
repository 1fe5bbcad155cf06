"""Two at random, by weight; the less loaded of them. Nearly as even as to look at all, and nothing is kept: however
many workers there are, and however stale a look at everything would be, nobody runs to the same target.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from nlb.balance.policy import Means, Policy
from nlb.balance.round_robin import schedule
from nlb.balance.target import Target

# Draws in which a second candidate must turn up. Only where one has nearly all the weight is there none, and then
# that one is right.
DRAWS = 8


class RandomTwo(Policy):
    """Loaded is whoever has more sessions for its weight, in all workers; of equals the first that was drawn."""

    __slots__ = ("_candidates", "_random", "_schedule", "_weights")

    def __init__(self, means: Means) -> None:
        self._random = means.random
        self._candidates: tuple[Target, ...] = ()
        self._schedule: tuple[Target, ...] = ()
        self._weights: dict[Target, int] = {}

    def build(self, candidates: tuple[Target, ...], weights: Sequence[int], table: bytes | memoryview | None) -> None:
        self._candidates = candidates
        self._weights = dict(zip(candidates, weights, strict=True))
        self._schedule = schedule(candidates, weights)  # a draw from it is a draw by weight

    def choose(self, key: bytes, tried: Container[Target]) -> Target | None:
        schedule, random = self._schedule, self._random
        length = len(schedule)
        if not length:
            return None
        first: Target | None = None
        for _ in range(DRAWS):
            drawn = schedule[int(random() * length)]
            if drawn is first or (tried and drawn in tried):
                continue
            if first is None:
                first = drawn
                continue
            weights = self._weights
            return drawn if drawn.sessions * weights[first] < first.sessions * weights[drawn] else first
        return first or self._any(tried)

    def _any(self, tried: Container[Target]) -> Target | None:
        """Every draw hit one that was tried: as many were, or they have nearly all the weight."""
        left = [target for target in self._candidates if target not in tried]
        return left[int(self._random() * len(left))] if left else None
