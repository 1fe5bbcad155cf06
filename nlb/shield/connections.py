"""How many connections each source has open, on all workers of the box.

A worker knows its own exactly: a plain dict, no larger than its sessions are many. In shared memory it has a part of
its own that it alone writes. There it publishes what the dict says, and the others add that to theirs.

That is how this survives deaths: control clears the part of a dead worker, and nobody's numbers have to be put right.
One count for all, written by all, would keep what a dead worker had counted, and drift with every race. What is
published is the number itself each time, never one more or one less, so whatever was lost is right again with the
source's next connection. A set that is full keeps its highest counts, and takes in others as these go down.

Two workers that accept at the same moment may let in one connection too many, as with any limit of the box. What a look
costs grows with the workers, as that of max_connections does, and with nothing else.
"""

from __future__ import annotations

from nlb.shield.table import WAYS, Part, connections, names_at, values_at


class Connections:
    """As one worker sees and counts them."""

    __slots__ = ("_mask", "_mine", "_others", "_own", "_part")

    def __init__(self, memory: memoryview, workers: int, worker: int) -> None:
        """`memory` is the whole shared block of `table`. The worker's part must be clear."""
        self._part = part = connections(memory, worker)
        self._mask = part.mask
        self._others = [connections(memory, other) for other in range(workers) if other != worker]
        self._mine: dict[int, int] = {}

    def count(self, kind: int, key: int) -> int:
        """Those of a source now. `kind` tells apart what is counted by itself, such as each listener's."""
        name = self._part.name(kind, key)
        at = name & self._mask
        total = self._mine.get(name, 0)
        for part in self._others:
            names = names_at(part.memory, at)
            if name in names:
                total += part.words[(at >> 3) + WAYS + names.index(name)]
        return total

    def enter(self, kind: int, key: int) -> int:
        """One more. Returns what `leave` wants when it ends."""
        name = self._part.name(kind, key)
        count = self._mine[name] = self._mine.get(name, 0) + 1
        self._publish(name, count)
        return name

    def leave(self, name: int) -> None:
        count = self._mine[name] - 1
        if count:
            self._mine[name] = count
        else:
            del self._mine[name]
        self._publish(name, count)

    def _publish(self, name: int, count: int) -> None:
        part = self._part
        at = name & self._mask
        names = names_at(part.memory, at)
        if name in names:
            part.words[(at >> 3) + WAYS + names.index(name)] = count
            return
        counts = values_at(part.memory, at + WAYS * 8)
        least = min(counts)
        if count <= least:
            return
        place = (at >> 3) + counts.index(least)
        # Nobody may see the name of one with the count of another.
        part.words[place + WAYS] = 0
        part.words[place] = name
        part.words[place + WAYS] = count


def clear(memory: memoryview, worker: int) -> None:
    """After a worker's death, and before another takes its place: what it had open is gone."""
    part: Part = connections(memory, worker)
    part.memory[:] = bytes(len(part.memory))
