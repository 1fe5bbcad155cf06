"""To the target with the fewest sessions for its weight; of equals, to the next in turn.

The sessions of all workers count. What this worker does it knows at once; what the others do it sees in shared
memory, and it does not search there for every choice. What holds is this:

* The target that is chosen is looked at in the moment of the choice. So it never has more sessions for its weight
  than this worker knows of any other.
* A session of another worker that ended elsewhere is noticed at the next `look`: until then its target may seem
  busier than it is. With one worker, every choice is the least loaded target.

Candidates stand in a heap. An entry is an opinion of a target's load; the latest of each target holds, and older ones
are thrown away when they come up. A choice and an ending cost O(log n).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from heapq import heapify, heappop, heappush, heapreplace

from nlb.balance.loads import Loads
from nlb.balance.policy import GOLDEN, Means, Policy
from nlb.balance.target import Rows, Target

# Wrong opinions that one choice puts right. There are more only when other workers took hundreds of sessions since
# the last look; then the choice is as good as that look was.
CORRECTIONS = 32


class _Seat:
    """A candidate's place. `sessions` is the latest opinion, `entry` says it in the heap; None while it is full.

    `due` is when its next turn comes among equals: turns lie `step` apart, the heaviest target's 1.
    """

    __slots__ = ("due", "entry", "id", "number", "sessions", "step", "target", "weight")

    def __init__(self, target: Target, due: float) -> None:
        self.target = target
        self.id = target.id
        self.due = due
        self.entry: Entry | None = None
        self.number = 0
        self.sessions = 0
        self.step = 1.0
        self.weight = 1


Entry = tuple[float, float, int, _Seat]  # load, due, and a number of its own, so that seats are never compared


class LeastConnections(Policy):
    """By sessions / weight, smallest first."""

    __slots__ = ("_heap", "_loads", "_most", "_now", "_offset", "_rows", "_seats")
    attentive = True

    def __init__(self, means: Means) -> None:
        self._offset = means.offset
        self._seats: dict[Target, _Seat] = {}
        self._heap: list[Entry] = []
        self._most = 0  # entries that the heap may have
        self._now = 0.0  # whose turn it is among equals
        self._rows: Rows = ()
        self._loads = Loads(())

    def build(self, candidates: tuple[Target, ...], weights: Sequence[int], table: bytes | memoryview | None) -> None:
        known = self._seats
        now = self._now
        count = len(candidates)
        heaviest = max(weights, default=1)
        first = int(self._offset * GOLDEN * count)
        self._seats = {}
        self._rows = candidates[0].rows if candidates else ()
        for place, (target, weight) in enumerate(zip(candidates, weights, strict=True)):
            step = heaviest / weight
            seat = known.get(target)
            if seat is None:
                seat = _Seat(target, now + step / 2)
            else:
                seat.due = min(max(seat.due, now), now + step)
            seat.number = (place - first) % count
            seat.step = step
            seat.weight = weight
            self._seats[target] = seat
        self._loads = Loads(candidates)
        self._most = 2 * count + 64
        for seat, sessions in zip(self._seats.values(), self._loads.read(), strict=True):
            seat.sessions = sessions
            seat.entry = (sessions / seat.weight, seat.due, seat.number, seat)
        self._compact()

    def choose(self, key: bytes, tried: Container[Target]) -> Target | None:
        heap, rows = self._heap, self._rows
        corrections = CORRECTIONS
        passed: list[Entry] = []
        chosen: Target | None = None
        while heap:
            entry = heap[0]
            seat = entry[3]
            if seat.entry is not entry:
                heappop(heap)
                continue
            number = seat.id
            sessions = 0
            for row in rows:
                sessions += row[number]
            if sessions != seat.sessions and corrections:
                corrections -= 1
                seat.sessions = sessions
                seat.entry = entry = (sessions / seat.weight, seat.due, seat.number, seat)
                heapreplace(heap, entry)
                continue
            if tried and seat.target in tried:
                passed.append(heappop(heap))
                continue
            sessions += 1
            # Turns that were missed, because the target was busier than others, are not made up for.
            self._now = due = max(seat.due, self._now)
            seat.due = due = due + seat.step
            seat.sessions = sessions
            seat.entry = entry = (sessions / seat.weight, due, seat.number, seat)
            heapreplace(heap, entry)
            chosen = seat.target
            break
        for entry in passed:
            heappush(heap, entry)
        return chosen

    def left(self, target: Target) -> None:
        seat = self._seats.get(target)
        if seat is None:
            return
        number = target.id
        sessions = 0
        for row in self._rows:
            sessions += row[number]
        self._enter(seat, sessions)

    def full(self, target: Target) -> None:
        self._seats[target].entry = None

    def look(self) -> None:
        for seat, sessions in zip(self._seats.values(), self._loads.read(), strict=True):
            if sessions != seat.sessions and seat.entry is not None:
                self._enter(seat, sessions)

    def _enter(self, seat: _Seat, sessions: int) -> None:
        seat.sessions = sessions
        seat.entry = entry = (sessions / seat.weight, seat.due, seat.number, seat)
        heappush(self._heap, entry)
        if len(self._heap) > self._most:
            self._compact()

    def _compact(self) -> None:
        """Only what holds."""
        self._heap = [seat.entry for seat in self._seats.values() if seat.entry is not None]
        heapify(self._heap)
