"""How fast counters grow: the figure per second that one look can show, over the last ten seconds. Times come in."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

# Seconds between two samples, and samples that are kept.
EVERY = 1.0
KEPT = 10


class Pace:
    """Of several counters, by a key."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[int, int]]] = deque(maxlen=KEPT)

    def sample(self, now: float, counts: Mapping[int, int]) -> None:
        self._samples.append((now, counts))

    def of(self, key: int, now: float, count: int) -> float | None:
        """Per second, until `count` now. None: it is too new, or counts anew since it has another owner."""
        for then, counts in self._samples:
            if key in counts and now - then >= EVERY / 2:
                before = counts[key]
                return round((count - before) / (now - then), 1) if count >= before else None
        return None
