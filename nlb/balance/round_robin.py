"""In turns, by weight. The turns are laid out when candidates change; a choice takes the next one."""

from __future__ import annotations

from collections.abc import Container, Sequence
from math import gcd

from nlb.balance.policy import GOLDEN, Means, Policy
from nlb.balance.target import Target
from nlb.balance.turns import turns

# Turns that a schedule has at most. Weights that add up to more (after division by what they have in common) are
# rounded to it: 1:65535 is the coarsest ratio that is kept exactly.
LONGEST_SCHEDULE = 65536


class RoundRobin(Policy):
    """Spread out: 1:2:5 serves c b c a c c b c, never c five times in a row."""

    __slots__ = ("_candidates", "_cursor", "_offset", "_schedule", "_start")

    def __init__(self, means: Means) -> None:
        self._offset = means.offset
        self._candidates: tuple[Target, ...] = ()
        self._schedule: tuple[Target, ...] = ()
        self._start = 0
        self._cursor = 0

    def build(self, candidates: tuple[Target, ...], weights: Sequence[int], table: bytes | memoryview | None) -> None:
        self._candidates = candidates
        order = one_round(weights)
        self._schedule = candidates if isinstance(order, range) else tuple([candidates[place] for place in order])
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

    def _another(self, tried: Container[Target]) -> Target | None:
        """The next one in turn that was not tried. It is taken from the schedule as any other turn, so the load
        of a target that fails spreads over all the others, not over its neighbour."""
        if all(target in tried for target in self._candidates):
            return None
        while True:
            target = self.choose(b"", ())
            if target not in tried:
                return target


def one_round(weights: Sequence[int]) -> Sequence[int]:
    """The turns of one whole round, as places in `weights`; a range where each has just one."""
    common = gcd(*weights)
    shares = [weight // common for weight in weights]
    length = sum(shares)
    if length == len(shares):
        return range(length)
    return turns(shares, min(length, LONGEST_SCHEDULE))
