"""The sessions of many targets at once, read from what the workers share: far cheaper than to ask each target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add, itemgetter

from nlb.balance.target import Rows, Target


class Loads:
    """Of `targets`, in this order. Built when they change, read as often as one likes."""

    __slots__ = ("_count", "_pick", "_rows")

    def __init__(self, targets: Sequence[Target]) -> None:
        self._rows: Rows = targets[0].rows if targets else ()
        self._count = len(targets)
        ids = [target.id for target in targets]
        # One too many: with a single item an itemgetter would give that item, not a sequence of it.
        self._pick: Callable[[Sequence[int]], tuple[int, ...]] = itemgetter(*ids, 0, 0)

    def read(self) -> Sequence[int]:
        """Sessions in all workers, by place in `targets`."""
        if not self._rows:
            return [0] * self._count
        sums: Sequence[int] = self._pick(self._rows[0])
        for row in self._rows[1:]:
            sums = list(map(add, sums, self._pick(row)))
        return sums[: self._count]
