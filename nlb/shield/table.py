"""Memory that all workers of a box share, for what is known of sources: its parts, and how one source is found in it.

    head | token buckets | offences | connections of worker 0 | connections of worker 1 | ...
    part = set | set | ...        set = WAYS names, then WAYS values: 64-bit words

A name is a hash of what kind of thing is known, and of whom; it says which set, and is looked for in that one only. So
a look costs the same whatever is in the table, and nothing grows: who comes to a full set takes the place of the entry
that says least. What is forgotten is forgiven, and a flood of sources can make limits lax, never strict.

Nothing is locked. A word is read and written at once. So what a race can cost is one update of one word, and the worst
it can do is to give an entry the value of another for a moment; every reader keeps to values that make sense for it.
"""

from __future__ import annotations

import struct

WAYS = 8
_WORD = 8
SET = 2 * WAYS * _WORD  # bytes

# Sources that each part has room for, in bytes; powers of two. Memory that nobody touches costs nothing.
HEAD = 64
BUCKETS = 16384 * SET  # 131,072 buckets
OFFENCES = 4096 * SET  # 32,768 offenders
CONNECTIONS = 4096 * SET  # of each worker: 32,768 sources with open connections

# Native, not "=": that would put each word together from its bytes, and could see half of an update.
names_at = values_at = struct.Struct(f"@{WAYS}q").unpack_from
times_at = struct.Struct(f"@{WAYS}d").unpack_from


def size(workers: int) -> int:
    """Bytes of shared memory for so many workers."""
    return HEAD + BUCKETS + OFFENCES + workers * CONNECTIONS


def prepare(memory: memoryview, secret: bytes) -> None:
    """Make new memory ours, before any worker has it. `secret` is 16 random bytes."""
    words = memory[:HEAD].cast("B").cast("Q")
    words[0], words[1] = (int.from_bytes(half) >> 4 for half in (secret[:8], secret[8:16]))


def secrets(memory: memoryview) -> tuple[int, int]:
    """Two numbers that nobody outside knows, for `Part.name`."""
    words = memory[:HEAD].cast("B").cast("Q")
    return words[0], words[1]


class Part:
    """One part, by its bytes and by its words."""

    __slots__ = ("_one", "_other", "mask", "memory", "words")

    def __init__(self, memory: memoryview, start: int, length: int) -> None:
        """`memory` is the whole shared block, as bytes."""
        self.memory = memory[start : start + length]
        self.words = self.memory.cast("q")
        self.mask = length - SET  # of a name: the offset of its set
        self._one, self._other = secrets(memory)

    def name(self, kind: int, key: int) -> int:
        """Of what is known of this source (`sources.key_of`) in this regard.

        Whoever could choose sources that meet in one set could have them push each other's buckets out, and would be
        limited by nothing. Python's own hash of a tuple is no help, whatever else is in it: the sources that meet are
        nearly the same with every secret. Those of such a product, modulo 2**61 - 1 as all integers are hashed, are
        not. It is the same in every process: PYTHONHASHSEED changes only texts.
        """
        return hash(((key + self._one) * (key + self._other), kind))


def buckets(memory: memoryview) -> Part:
    return Part(memory, HEAD, BUCKETS)


def offences(memory: memoryview) -> Part:
    return Part(memory, HEAD + BUCKETS, OFFENCES)


def connections(memory: memoryview, worker: int) -> Part:
    return Part(memory, HEAD + BUCKETS + OFFENCES + worker * CONNECTIONS, CONNECTIONS)
