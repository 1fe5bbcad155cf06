"""Connections to targets that outlive an exchange: lent to one exchange at a time, idle in between.

An idle one stays watched, so that it removes itself when its target closes it: whoever takes one gets one that was
open a moment ago. None idles as long as its target would let it: the target's close and our next request must not
meet on the way.
"""

from __future__ import annotations

import socket

from nlb.balance.target import Target
from nlb.http1.facts import Response
from nlb.net.loop import BROKEN, READ, Loop, Owner, Watch
from nlb.net.sockets import WOULD_BLOCK
from nlb.net.tls import Connection, TlsSocket
from nlb.observe import counters
from nlb.proxy.pipe import COPY


class Upstream:
    """One connection to a target. `received` and `sent` are bytes that the target's counters do not know of yet, as
    the target sees them: it received what we sent."""

    __slots__ = ("idle_since", "is_used", "pool", "received", "response", "said", "sent", "sock", "target", "watch")

    def __init__(self, pool: Pool, target: Target, sock: Connection, watch: Watch) -> None:
        self.pool = pool
        self.target = target
        self.sock = sock
        self.watch = watch
        self.said = b""  # the head of its last response, word for word; the next that begins with it reads the same
        self.response: Response
        self.is_used = False  # it has served an exchange before
        self.idle_since = 0.0
        self.received = 0
        self.sent = 0

    def wakes(self, mask: int) -> None:
        """Idle, and the target closed it, or said what nobody asked for: of no use any more."""
        if mask & BROKEN or not isinstance(self.sock, TlsSocket) or not _is_open(self.sock):
            self.pool.discard(self)


class Pool:
    """The idle connections of one group in this worker, by target, latest last; and all that are lent."""

    def __init__(self, loop: Loop, owner: Owner) -> None:
        self.size = 0  # idle connections per target, at most
        self.timeout = 0.0  # seconds that one may be idle
        self._loop = loop
        self._owner = owner
        self._idle: dict[Target, list[Upstream]] = {}
        self._all: dict[Upstream, None] = {}

    def __len__(self) -> int:
        return sum(map(len, self._idle.values()))

    def adopt(self, target: Target, sock: Connection, watch: Watch) -> Upstream:
        """A connection that was just made, lent to whoever made it."""
        upstream = Upstream(self, target, sock, watch)
        self._all[upstream] = None
        return upstream

    def take(self, target: Target, verify: bool) -> Upstream | None:
        """An idle connection, lent from now on. `verify`: ask the kernel once more whether it is open, for a request
        that cannot be sent a second time."""
        idle = self._idle.get(target)
        while idle:
            upstream = idle.pop()
            if not verify or _is_open(upstream.sock):
                return upstream
            self._close(upstream)
        return None

    def give_back(self, upstream: Upstream) -> None:
        """It served an exchange, and could serve another, if its target may still be chosen."""
        idle = self._idle.get(upstream.target)
        if idle is None or len(idle) >= self.size:
            return self._close(upstream)
        watch = upstream.watch
        watch.handler = upstream.wakes
        watch.owner = self._owner
        if watch.events != READ:
            watch.want(READ)
        upstream.is_used = True
        upstream.idle_since = self._loop.now
        idle.append(upstream)

    def discard(self, upstream: Upstream) -> None:
        """An idle one is not to be used any more."""
        self._idle[upstream.target].remove(upstream)
        self._close(upstream)

    def lost(self, upstream: Upstream) -> None:
        """A lent one will not come back."""
        self._close(upstream)

    def handed_on(self, upstream: Upstream) -> None:
        """A lent one is somebody else's from now on, socket and watch."""
        self._count(upstream)
        del self._all[upstream]

    def keep_only(self, targets: tuple[Target, ...]) -> None:
        """From now on only these may be chosen. The idle connections of others are closed: they get no new work."""
        before, self._idle = self._idle, {target: self._idle.get(target, []) for target in targets}
        for target, idle in before.items():
            if target not in self._idle:
                for upstream in idle:
                    self._close(upstream)

    def sweep(self, now: float) -> None:
        """Once in a while: tell the counters what moved, close those that idled too long."""
        for upstream in self._all:
            self._count(upstream)
        for idle in self._idle.values():
            while idle and now - idle[0].idle_since >= self.timeout:
                self._close(idle.pop(0))

    def _count(self, upstream: Upstream) -> None:
        words = upstream.target.words
        assert words is not None
        words[counters.TARGET_RECEIVED] += upstream.received
        words[counters.TARGET_SENT] += upstream.sent
        upstream.received = upstream.sent = 0

    def _close(self, upstream: Upstream) -> None:
        self._count(upstream)
        del self._all[upstream]
        upstream.watch.closing()
        self._loop.close_later(upstream.sock)


def _is_open(sock: Connection) -> bool:
    """Neither closed by the target nor with bytes of it, which nobody asked for. With TLS on it there may be what TLS
    says for itself, such as tickets: it is read, and a byte of anything else makes the connection useless anyhow."""
    try:
        if isinstance(sock, TlsSocket):
            sock.recv(COPY)
        else:
            sock.recv(1, socket.MSG_PEEK)
    except WOULD_BLOCK:
        return True
    except OSError:
        pass
    return False
