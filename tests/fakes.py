"""A kernel to be played by hand: socket ends that do what the test says, and a loop with a clock that the test sets.

An `End` is our end of a connection; the test plays the peer behind it. A `HandLoop` behaves as `nlb.net.loop.Loop`
does, level-triggered and with closes after the batch, but knows only `End`s and tells every turn that it needed: a
session that is told the same thing for ever fails the test instead of burning a core.
"""

from __future__ import annotations

import errno
import heapq
import select
import socket
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from nlb.net.loop import BROKEN, READ, WRITE, Handler, Owner

END = b""

# A wake-up for nothing: readable, but reading says EAGAIN.
NOTHING = BlockingIOError(errno.EAGAIN, "nothing there")

# Turns that anything scripted here may need; a handler that changes nothing would be told for ever.
_MANY_TURNS = 1000

_MUTED = -1

_numbers = count(1000)  # of descriptors, beyond those that the process has


class End:
    """One end of a connection, held by the code under test.

    What the peer says is a queue: bytes, END, NOTHING, or an error. What it takes is `room`, in bytes, and never more
    than `at_most` in one call. With `unix` a peer that is gone hangs up without an error, as unix sockets do.
    """

    def __init__(self, *says: bytes | OSError, room: int = 1 << 30, at_most: int = 1 << 30, unix: bool = False) -> None:
        self.says: deque[bytes | OSError] = deque(says)
        self.room = room
        self.at_most = at_most
        self.unix = unix
        self.peer: Any = ""  # its address
        self.number = next(_numbers)
        self.got = bytearray()  # what the peer received
        self.told_end = False  # the peer was told that no more comes
        self.closed = False
        self.reset_sent = False  # the close was a reset
        self.reads = 0
        self.taken = 0  # bytes that were read
        self.refuses_more = False  # whatever is sent from now on fails, and nothing else shows that
        self._heard = 0
        self._error = 0
        self._gone = False  # the peer takes nothing more
        self._linger_reset = False

    # --- played by the test: the peer

    def say(self, *what: bytes | OSError) -> None:
        self.says.extend(what)

    def reset(self) -> None:
        """The peer resets the connection, after what it said already."""
        self._gone = True
        self._error = errno.ECONNRESET
        self.says.append(ConnectionResetError(errno.ECONNRESET, "reset"))

    def hang_up(self) -> None:
        """The peer closes both ways in order (unix sockets)."""
        self._gone = True
        self.says.append(END)

    def take(self, size: int) -> None:
        """The peer reads, which makes room for so many bytes."""
        self.room += size

    def heard(self) -> bytes:
        """What the peer received since this was asked last."""
        heard = bytes(self.got[self._heard :])
        self._heard = len(self.got)
        return heard

    @property
    def fate(self) -> str:
        """What the peer sees in the end: open, ended (half-closed), closed, reset."""
        if self.closed:
            return "reset" if self.reset_sent else "closed"
        return "ended" if self.told_end else "open"

    # --- called by the code under test: the socket

    def fileno(self) -> int:
        return -1 if self.closed else self.number

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._must_be_open()
        if flags:
            assert flags == socket.MSG_PEEK
            return self._peek(size)
        self.reads += 1
        if not self.says:
            raise BlockingIOError(errno.EAGAIN, "nothing to read")
        first = self.says[0]
        if first == END:
            return END  # and again, as often as it is asked
        self.says.popleft()
        if isinstance(first, OSError):
            if isinstance(first, ConnectionResetError):
                self._error = 0  # the kernel tells an error once
                self.says.append(END)
            raise first
        if len(first) > size:
            self.says.appendleft(first[size:])
        self.taken += min(size, len(first))
        return first[:size]

    def _peek(self, size: int) -> bytes:
        if not self.says:
            raise BlockingIOError(errno.EAGAIN, "nothing to read")
        if isinstance(self.says[0], OSError):
            raise self.says[0]
        return self.says[0][:size]

    def send(self, data: bytes) -> int:
        self._must_be_open()
        if self._gone or self.refuses_more:
            raise BrokenPipeError(errno.EPIPE, "nobody reads")
        assert not self.told_end, "sent after the end"
        size = min(len(data), self.room, self.at_most)
        if not size:
            raise BlockingIOError(errno.EAGAIN, "no room")
        self.room -= size
        self.got += data[:size]
        return size

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_WR
        self._must_be_open()
        if self._gone and not self.unix:
            raise OSError(errno.ENOTCONN, "not connected")
        self.told_end = True

    def getpeername(self) -> Any:
        return self.peer

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        error, self._error = self._error, 0
        return error

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        if option == socket.SO_LINGER:
            self._linger_reset = True

    def close(self) -> None:
        """The kernel resets a connection that is closed with bytes of the peer unread; what the peer has not read yet
        of ours is lost with it."""
        if not self.closed:
            self.closed = True
            self.reset_sent = self._linger_reset or any(isinstance(said, bytes) and said for said in self.says)

    def _must_be_open(self) -> None:
        if self.closed:
            raise OSError(errno.EBADF, "used after close")

    # --- asked by the loop: epoll

    @property
    def mask(self) -> int:
        """All that holds now, as epoll would tell."""
        mask = READ if self.says else 0
        if self.room or self._gone:
            mask |= WRITE
        if self._error:
            mask |= BROKEN
        elif self._gone or (self.told_end and self.says and self.says[-1] == END):
            mask |= select.EPOLLHUP  # both directions are shut, in order
        return mask


class Dialled(End):
    """An end that is still being connected: `answer` lets the target answer, with 0 or an errno."""

    def __init__(self, *says: bytes | OSError, **limits: Any) -> None:
        super().__init__(*says, **limits)
        self._answered = False

    def answer(self, error: int = 0) -> None:
        self._answered = True
        self._error = error

    @property
    def mask(self) -> int:
        return super().mask if self._answered else 0


class Door:
    """A listening socket: `queue` holds what accept gives, an (End, address) or an error."""

    def __init__(self, *queue: tuple[End, Any] | OSError) -> None:
        self.queue: deque[tuple[End, Any] | OSError] = deque(queue)
        self.number = next(_numbers)
        self.closed = False
        self.accepts = 0

    def fileno(self) -> int:
        return self.number

    def accept(self) -> tuple[End, Any]:
        self.accepts += 1
        if not self.queue:
            raise BlockingIOError(errno.EAGAIN, "nobody queues")
        first = self.queue.popleft()
        if isinstance(first, OSError):
            raise first
        return first

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.1", 80)

    def close(self) -> None:
        self.closed = True

    @property
    def mask(self) -> int:
        return READ if self.queue else 0


class HandWatch:
    """As `nlb.net.loop.Watch`."""

    def __init__(self, loop: HandLoop, fd: int, events: int, handler: Handler, owner: Owner) -> None:
        self._loop = loop
        self.fd = fd
        self.events = events
        self.handler = handler
        self.owner: Owner | None = owner
        self.muted = False

    def want(self, events: int) -> None:
        if self.fd < 0:
            assert events == self.events, "a forgotten watch was changed"
            return
        self.events = events
        self.muted = False

    def mute(self) -> None:
        self.muted = True
        self.events = _MUTED

    def forget(self) -> None:
        if self.fd >= 0:
            del self._loop.watches[self.fd]
            self.fd = -1
            self.handler = lambda mask: None
            self.owner = None

    closing = forget


class HandDeadline:
    """As `nlb.net.loop.Deadline`."""

    def __init__(self, action: Callable[[], None], owner: Owner) -> None:
        self.action: Callable[[], None] | None = action
        self.owner = owner

    def cancel(self) -> None:
        self.action = None


class HandLoop:
    """As `nlb.net.loop.Loop`, stepped by hand: `settle` hands out what holds, `pass_time` moves the clock."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.turns = 0
        self.watches: dict[int, HandWatch] = {}
        self._kernel: dict[int, End | Door] = {}
        self._heap: list[tuple[float, int, HandDeadline]] = []
        self._order = count()
        self._closing: list[Any] = []

    def know(self, end: End | Door) -> None:
        """Whose descriptor is it? The kernel knows."""
        self._kernel[end.number] = end

    def watch(self, fd: int, events: int, handler: Handler, owner: Owner) -> HandWatch:
        assert fd not in self.watches, "watched twice"
        watch = self.watches[fd] = HandWatch(self, fd, events, handler, owner)
        return watch

    def call_at(self, when: float, action: Callable[[], None], owner: Owner) -> HandDeadline:
        deadline = HandDeadline(action, owner)
        heapq.heappush(self._heap, (when, next(self._order), deadline))
        return deadline

    def close_later(self, closable: Any) -> None:
        self._closing.append(closable)

    @property
    def known(self) -> list[End | Door]:
        return list(self._kernel.values())

    @property
    def deadlines(self) -> list[float]:
        """When something is to be done."""
        return sorted(when for when, _, deadline in self._heap if deadline.action)

    def turn(self) -> bool:
        """One batch; False when there was nothing to tell or to do."""
        batch = []
        for fd, watch in self.watches.items():
            mask = self._kernel[fd].mask & (watch.events | BROKEN)
            if mask and not watch.muted:
                batch.append((watch, mask))
        self.turns += 1
        for watch, mask in batch:
            owner = watch.owner
            try:
                watch.handler(mask)
            except Exception as error:
                assert owner is not None
                owner.crashed(error)
        expired = self._expire()
        closing, self._closing = self._closing, []
        for closable in closing:
            closable.close()
        return bool(batch) or expired

    def settle(self) -> None:
        """Turn until nothing is left to tell."""
        for _ in range(_MANY_TURNS):
            if not self.turn():
                return
        raise AssertionError("the loop spins: a handler is told the same thing for ever")

    def pass_time(self, seconds: float) -> None:
        """Move the clock, stopping at every deadline on the way."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now = max(self.now, self._heap[0][0])
            self.settle()
        self.now = end
        self.settle()

    def _expire(self) -> bool:
        expired = False
        while self._heap and self._heap[0][0] <= self.now:
            deadline = heapq.heappop(self._heap)[2]
            action, deadline.action = deadline.action, None
            if action is None:
                continue
            expired = True
            try:
                action()
            except Exception as error:
                deadline.owner.crashed(error)
        return expired
