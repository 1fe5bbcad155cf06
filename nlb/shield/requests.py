"""May this request pass? What a listener of http asks of each, once its head is read.

    method -> path -> the rates that the request falls under

The first that refuses gives the word and the status. The length of a body is not asked here: it may show only as it
comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nlb.shield.buckets import Buckets
from nlb.shield.paths import compiled, matched
from nlb.shield.patterns import Patterns
from nlb.shield.sources import Source, key_of
from nlb.shield.words import BAD_PATH, DENIED_PATH, METHOD, REQUEST_RATE


class Refusal(NamedTuple):
    """`wait` are seconds until it would pass: what Retry-After says; 0 is never."""

    word: str
    status: int
    wait: float


_METHOD = Refusal(METHOD, 405, 0.0)
_BAD_PATH = Refusal(BAD_PATH, 400, 0.0)
_DENIED_PATH = Refusal(DENIED_PATH, 403, 0.0)


class Requests:
    """Compiled from the spec that control makes of a config:

    {"methods": [..], "deny_path": [..], "normalise_path": bool, "rates": [rate, ..]}
    rate: {"path": [..], "method": [..], "host": [..], "rate": a second, "burst", "status", "kind"}

    Rates of different kinds are counted apart.
    """

    __slots__ = ("_buckets", "_denied", "_methods", "_needs_path", "_normalises", "_rates", "allowed")

    def __init__(self, spec: Mapping[str, Any], buckets: Buckets) -> None:
        self.allowed = ", ".join(spec["methods"])  # what Allow says in a 405
        self._methods = frozenset(method.encode() for method in spec["methods"])
        self._normalises: bool = spec["normalise_path"]
        self._denied = compiled(spec["deny_path"], self._normalises)
        self._buckets = buckets
        self._rates = [_Rate(rate, self._normalises) for rate in spec["rates"]]
        self._needs_path = self._normalises or self._denied is not None or any(rate.path for rate in self._rates)

    def __bool__(self) -> bool:
        """Is there anything to ask?"""
        return bool(self._methods or self._rates) or self._needs_path

    def judge(self, method: bytes, host: str, path: bytes, source: Source, now: float) -> Refusal | None:
        """None lets it pass. `path` has no query, `host` is in lower case, and `source` whom the limits are for."""
        if self._methods and method not in self._methods:
            return _METHOD
        values: Sequence[bytes] = ()
        if self._needs_path:
            values = matched(path, self._normalises)
            if not values:
                return _BAD_PATH
            if self._denied is not None and self._denied.any(values):
                return _DENIED_PATH
        if self._rates and source[0]:
            key = key_of(source)
            for rate in self._rates:
                if rate.fits(method, host, values) and not rate.take(self._buckets, key, now):
                    return Refusal(REQUEST_RATE, rate.status, rate.wait(self._buckets, key, now))
        return None


class _Rate:
    __slots__ = ("_burst", "_hosts", "_kind", "_methods", "_per_second", "path", "status")

    def __init__(self, spec: Mapping[str, Any], normalises: bool) -> None:
        self.path = compiled(spec["path"], normalises)
        self.status: int = spec["status"]
        self._hosts = Patterns(spec["host"]) if spec["host"] else None
        self._methods = frozenset(method.encode() for method in spec["method"])
        self._per_second: float = spec["rate"]
        self._burst: int = spec["burst"]
        self._kind: int = spec["kind"]

    def fits(self, method: bytes, host: str, values: Sequence[bytes]) -> bool:
        if self._methods and method not in self._methods:
            return False
        if self.path is not None and not self.path.any(values):
            return False
        return self._hosts is None or self._hosts.match(host.encode())

    def take(self, buckets: Buckets, key: int, now: float) -> bool:
        return buckets.take(self._kind, key, self._per_second, self._burst, now)

    def wait(self, buckets: Buckets, key: int, now: float) -> float:
        return buckets.wait(self._kind, key, self._per_second, self._burst, now)
