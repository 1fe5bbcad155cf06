"""What sources did wrong, counted by all workers of a box: `after` offences `within` a time, and the source is blocked.

An entry is one word: since when, in milliseconds, and how many since then. It counts from the first offence on, and
from anew when the time is over. So nobody is blocked for fewer than `after` within `within`; and who keeps offending is
found in the first such time or in the second. The entry that began first gives its place to a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlb.shield.sources import Source, key_of
from nlb.shield.table import WAYS, names_at, offences, values_at

# What may count as one. Config, events and metrics use these words.
OFFENCES = {
    "bad_head": "a request that is none, or over its limits: 400, 405, 413, 414, 417, 431, 501, 505",
    "severe": "a request of the desync class severe",
    "ambiguous": "a request of the desync class ambiguous",
    "rate": "over connection_rate_per_source or a request_rate",
    "source_limit": "over max_connections_per_source",
    "path": "a path that shield.http refuses: deny_path, or one that climbs out",
    "method": "a method that shield.http refuses",
    "timeout": "a request or a handshake that did not come in time",
    "tls_alert": "a TLS handshake that failed",
    "bad_proxy_header": "a PROXY header that is none, from a trusted proxy",
}

# Milliseconds by which a worker's `now` may be behind another's.
_BEHIND = 1000

_COUNT_BITS = 20
_COUNT = (1 << _COUNT_BITS) - 1


class Offences:
    __slots__ = ("_part",)

    def __init__(self, memory: memoryview) -> None:
        """`memory` is the whole shared block of `table`."""
        self._part = offences(memory)

    def count(self, kind: int, key: int, after: int, within: float, now: float) -> bool:
        """Note one. Is it the last that is needed? Then what was counted is forgotten, so that it is said once.

        `now` is monotonic seconds; `kind` tells apart what is counted by itself.
        """
        part = self._part
        name = part.name(kind, key)
        at = name & part.mask
        names = names_at(part.memory, at)
        values = values_at(part.memory, at + WAYS * 8)
        moment = int(now * 1000)
        if name in names:
            way = names.index(name)
            since, count = values[way] >> _COUNT_BITS, values[way] & _COUNT
            if not -_BEHIND <= moment - since < within * 1000:
                since, count = moment, 0
        else:
            way = values.index(min(values))
            since, count = moment, 0
            part.words[(at >> 3) + way] = name
        count += 1
        done: bool = count >= after
        part.words[(at >> 3) + WAYS + way] = moment << _COUNT_BITS if done else since << _COUNT_BITS | count
        return done


class Tolerance:
    """What a listener puts up with, from the spec that control makes of its `block`:

    {"after", "of": [offence, ..], "within", "seconds", "kind"}     `seconds`: for how long a source is blocked
    """

    __slots__ = ("_after", "_kind", "_of", "_offences", "_within", "seconds")

    def __init__(self, spec: Mapping[str, Any], offences: Offences) -> None:
        self._offences = offences
        self._after: int = spec["after"]
        self._of = frozenset(spec["of"])
        self._within: float = spec["within"]
        self._kind: int = spec["kind"]
        self.seconds: float = spec["seconds"]

    def counts(self, offence: str) -> bool:
        return offence in self._of

    def ends(self, offence: str, source: Source, now: float) -> bool:
        """A source did this: is it one time too many? Said once; then its offences are counted from anew."""
        if offence not in self._of or not source[0]:
            return False
        return self._offences.count(self._kind, key_of(source), self._after, self._within, now)
