"""Token buckets of all sources, shared by the workers of a box: 50/s is 50/s, whoever accepts.

A bucket is one number: when it will be full again. Whoever takes a token moves that time by what one token takes to
grow, unless it would then be further away than a whole bucket takes. So a bucket is read and written at once, as one
word, and looked at once more before it is written: two workers that try more than 100,000 times a second each for 50/s
give away 8 tokens of 110 too many without that second look, and 4 with it. The bucket that is full soonest says least:
it gives its place to a new one.
"""

from __future__ import annotations

from nlb.shield.table import WAYS, buckets, names_at, secrets, times_at

# Of a token: sums of times round, and the last of a burst shall not be refused for it.
_SLACK = 0.01

# Seconds by which a worker's `now` may be behind: its loop looks at the clock once in a turn.
_BEHIND = 1.0


class Buckets:
    __slots__ = ("_mask", "_memory", "_one", "_other", "_times", "_words")

    def __init__(self, memory: memoryview) -> None:
        """`memory` is the whole shared block of `table`."""
        part = buckets(memory)
        self._memory = part.memory
        self._words = part.words
        self._times = part.memory.cast("d")
        self._one, self._other = secrets(memory)
        self._mask = part.mask

    def take(self, kind: int, key: int, rate: float, burst: int, now: float) -> bool:
        """Take one token of a source's bucket; False when there is none. `kind` tells apart the limits that a source
        meets, `rate` is tokens a second, `now` the clock that all workers have in common (monotonic seconds).

        A new bucket is full. One whose rate was changed goes on with what it had, and never with less than nothing.
        """
        name = hash(((key + self._one) * (key + self._other), kind))  # Part.name, without the call
        at = name & self._mask
        names = names_at(self._memory, at)
        if name not in names:
            self._begin(name, at, now + 1 / rate)
            return True
        place = (at >> 3) + WAYS + names.index(name)
        before = self._times[place]
        full = max(before, now) + 1 / rate
        if full - now <= (burst + _SLACK) / rate:
            if self._times[place] != before:  # another worker was first, and this may have been the last token
                return self.take(kind, key, rate, burst, now)
            self._times[place] = full
            return True
        if full - now > (burst + 1) / rate + _BEHIND:  # it was another's, or the rate was a slower one
            self._times[place] = now + burst / rate
        return False

    def wait(self, kind: int, key: int, rate: float, burst: int, now: float) -> float:
        """Seconds until there is a token: what Retry-After says."""
        name = hash(((key + self._one) * (key + self._other), kind))
        at = name & self._mask
        names = names_at(self._memory, at)
        if name not in names:
            return 0.0
        full = self._times[(at >> 3) + WAYS + names.index(name)]
        return min(max(full - now - (burst - 1) / rate, 0.0), 1 / rate)

    def _begin(self, name: int, at: int, full: float) -> None:
        times = times_at(self._memory, at + WAYS * 8)
        place = (at >> 3) + times.index(min(times))
        self._words[place] = name
        self._times[place + WAYS] = full
