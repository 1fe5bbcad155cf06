"""May this source connect? What a listener asks at accept, before a byte is read.

    denied, not allowed -> blocked -> the listener is full -> the source has too many -> the source comes too often

The first that refuses gives the word. A token is taken last, so who is refused for anything else has not spent it.
Behind a proxy that says who its clients are, the question comes in two: at accept what holds for the proxy, and after
the PROXY header what holds for the client.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nlb.shield.blocked import Blocked
from nlb.shield.buckets import Buckets
from nlb.shield.cidr import Networks
from nlb.shield.connections import Connections
from nlb.shield.sources import Source, key_of
from nlb.shield.words import BLOCKED, DENIED, LIMIT, RATE, SOURCE_LIMIT


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one listener, whether it has them from [shield] or by itself. `kind_*` are whose sources are counted together:
    equal for all listeners that share what [shield] says, another for each that has its own."""

    max_connections: int | None = None
    per_source: int | None = None
    kind_per_source: int = 0
    rate: float | None = None  # connections a second, of each source
    burst: int = 0
    kind_rate: int = 0


class Admission:
    """`judge` and its halves answer with a word of `words`, "" for who may come in. What a listener does with the word
    says `refuses`."""

    __slots__ = (
        *("_active", "_allow", "_blocked", "_buckets", "_connections", "_deny", "_limits", "_monitors", "_shares"),
    )

    def __init__(
        self,
        limits: Limits,
        deny: Networks,
        allow: Networks | None,
        blocked: Blocked,
        buckets: Buckets,
        connections: Connections,
        active: Callable[[], int],
        monitors: bool = False,
    ) -> None:
        """`allow` None is everybody; `active` are the sessions that the listener has now, in the whole box."""
        self._limits = limits
        self._deny = deny
        self._allow = allow
        self._blocked = blocked
        self._buckets = buckets
        self._connections = connections
        self._active = active
        self._monitors = monitors
        self._shares = limits.per_source is not None or limits.rate is not None

    def __bool__(self) -> bool:
        """Is there anything to ask, now? Else a listener need not have it. Blocks come and go."""
        limited = self._shares or self._limits.max_connections is not None
        return limited or bool(self._deny) or self._allow is not None or bool(self._blocked)

    def judge(self, source: Source, now: float) -> str:
        """Of a client that connects itself."""
        return self._standing(source, now) or self._full() or (self._share(source, now) if self._shares else "")

    def judge_proxy(self, source: Source, now: float) -> str:
        """Of a proxy that connects for others: what it may, none of its clients may overdraw."""
        version, number = source
        if self._deny.has(version, number):
            return DENIED
        if self._blocked.has(version, number, now):
            return BLOCKED
        return self._full()

    def judge_client(self, source: Source, now: float) -> str:
        """Of the client that the proxy told of. The listener has let its connection in already."""
        return self._standing(source, now) or (self._share(source, now) if self._shares else "")

    def refuses(self, word: str) -> bool:
        """Is who gets this word turned away, or let in and counted? A block is somebody's explicit wish, and holds in
        monitor mode as well."""
        return not self._monitors or word == BLOCKED

    def enter(self, source: Source) -> int | None:
        """Count a connection that was let in. What is returned, if anything, goes to `Connections.leave` in the end."""
        if self._limits.per_source is None or not source[0]:
            return None
        return self._connections.enter(self._limits.kind_per_source, key_of(source))

    def _standing(self, source: Source, now: float) -> str:
        version, number = source
        if self._deny.has(version, number):
            return DENIED
        if self._allow is not None and version and not self._allow.has(version, number):
            return DENIED
        return BLOCKED if self._blocked.has(version, number, now) else ""

    def _full(self) -> str:
        most = self._limits.max_connections
        return LIMIT if most is not None and self._active() >= most else ""

    def _share(self, source: Source, now: float) -> str:
        if not source[0]:
            return ""  # of a unix socket: who may open its file may come
        limits, key = self._limits, key_of(source)
        most = limits.per_source
        if most is not None and self._connections.count(limits.kind_per_source, key) >= most:
            return SOURCE_LIMIT
        rate = limits.rate
        if rate is not None and not self._buckets.take(limits.kind_rate, key, rate, limits.burst, now):
            return RATE
        return ""
