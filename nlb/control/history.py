"""The latest results of one target, for whoever asks why its health is what it is. It keeps; it never judges.

Packed, because there may be 32,768 targets: 50 results take 1.3 KiB, where tuples would take 11.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

# Results that are kept: 100 s of a calm target at the default interval, 25 s of one that changes.
LENGTH = 50

# Characters of a detail that are kept. Programs may say anything.
LONGEST = 200

# unix time, seconds of a probe or number of connects, flags
_RECORD = Struct("<dfB")
_PASSED, _BY_TRAFFIC, _CHANGED = 1, 2, 4


class History:
    """A ring of results, oldest first when it is read."""

    __slots__ = ("_details", "_next", "_packed")

    def __init__(self) -> None:
        self._packed = bytearray()
        self._details: list[str] = []
        self._next = 0  # the place of the next record; once the ring is full, that of the oldest

    def __len__(self) -> int:
        return len(self._details)

    def add(self, at: float, ok: bool, detail: str, took: float, changed: bool) -> None:
        """What a probe said, after `took` seconds, at unix time `at`. `changed`: the health is another since."""
        self._add(at, took, _PASSED * ok | _CHANGED * changed, detail)

    def add_traffic(self, at: float, detail: str, failures: int, changed: bool) -> None:
        """Connects that failed. A run of them is one record, or a busy worker would push everything else out."""
        if self._details and not changed:
            place = (self._next or len(self._details)) - 1
            _, count, flags = self._record(place)
            if flags == _BY_TRAFFIC and self._details[place] == detail:
                _RECORD.pack_into(self._packed, place * _RECORD.size, at, count + failures, flags)
                return
        self._add(at, failures, _BY_TRAFFIC | _CHANGED * changed, detail)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Plain data."""
        count = len(self._details)
        first = self._next if count == LENGTH else 0
        for place in (*range(first, count), *range(first)):
            at, number, flags = self._record(place)
            by_traffic = bool(flags & _BY_TRAFFIC)
            yield {
                "at": at,
                "by": "traffic" if by_traffic else "probe",
                "ok": bool(flags & _PASSED),
                "detail": self._details[place],
                "took": None if by_traffic else round(number, 6),
                "count": int(number) if by_traffic else 1,
                "changed": bool(flags & _CHANGED),
            }

    def _record(self, place: int) -> tuple[float, float, int]:
        at, number, flags = _RECORD.unpack_from(self._packed, place * _RECORD.size)
        return at, number, flags

    def _add(self, at: float, number: float, flags: int, detail: str) -> None:
        place = self._next
        detail = self._shared(detail[:LONGEST])
        if len(self._details) < LENGTH:
            self._packed += bytes(_RECORD.size)
            self._details.append(detail)
        else:
            self._details[place] = detail
        _RECORD.pack_into(self._packed, place * _RECORD.size, at, number, flags)
        self._next = (place + 1) % LENGTH

    def _shared(self, detail: str) -> str:
        """The object that the last result has, when it says the same: mostly it does, and then 50 are one."""
        before = self._details[self._next - 1] if self._details else ""
        return before if before == detail else detail
