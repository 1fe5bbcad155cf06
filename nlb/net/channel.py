"""Control and a worker talk here: small messages and descriptors over one AF_UNIX socketpair. It never blocks.

A message is a JSON object with a word `verb`; either side ignores verbs and fields that it does not know, so an old
worker understands a newer control. SOCK_SEQPACKET keeps messages whole and their descriptors with them. What is
larger than a packet travels in a memfd beside a stub.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from nlb.net.loop import READ, WRITE, Loop
from nlb.net.sockets import WOULD_BLOCK

Message = dict[str, Any]

_INLINE = 32 * 1024  # well under the smallest socket buffer that a packet must fit into
_FDS = 250  # descriptors per message; the kernel allows 253
_SHARE = 0.005  # seconds of a turn that messages may take, so that a large reload does not starve sessions
_QUEUE = 10_000  # messages kept for a peer that does not read; a peer that far behind is stuck


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends: one for `Channel`, one to be inherited by the worker."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Channel:
    """One end. `on_message(message, fds)` owns the descriptors it gets; `on_closed()` is called once."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_message: Callable[[Message, list[int]], None],
        on_closed: Callable[[], None],
        on_crash: Callable[[Exception], None],
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._on_message = on_message
        self._on_closed = on_closed
        self._on_crash = on_crash
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._watch = loop.watch(sock.fileno(), READ, self._readable, self)
        self.closed = False

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send now, or as soon as the peer reads. `fds` are duplicated: the caller keeps its own."""
        if self.closed:
            return
        if len(fds) > _FDS:
            raise ValueError(f"{len(fds)} descriptors in one message; at most {_FDS}")
        body = json.dumps(message, separators=(",", ":")).encode()
        own = [os.dup(fd) for fd in fds]
        if len(body) > _INLINE:
            own.append(_memfd(body))
            body = b'{"verb":"large"}'
        self._unsent.append((body, own))
        if len(self._unsent) > _QUEUE:
            self.close()
        else:
            self._flush()

    def crashed(self, error: Exception) -> None:
        self._on_crash(error)

    def close(self) -> None:
        """Let go. May be called twice; `on_closed` is called the first time."""
        if self.closed:
            return
        self.closed = True
        self._watch.forget()
        self._loop.close_later(self._sock)
        self._drop_unsent()
        self._on_closed()

    def _readable(self, mask: int) -> None:
        if mask & WRITE:
            self._flush()
        until = monotonic() + _SHARE
        while not self.closed and monotonic() < until:
            try:
                body, fds, _, _ = socket.recv_fds(self._sock, _INLINE * 2, _FDS + 1)
            except WOULD_BLOCK:
                return
            except ConnectionResetError:
                continue  # the peer died with messages of ours unread; the kernel tells that before its last words
            except OSError:
                return self.close()
            if not body:
                return self.close()
            message: Message = json.loads(body)
            if message["verb"] == "large":
                message = json.loads(_slurp(fds.pop()))
            self._on_message(message, fds)

    def _flush(self) -> None:
        while self._unsent:
            body, fds = self._unsent[0]
            try:
                socket.send_fds(self._sock, [body], fds)
            except WOULD_BLOCK:
                return self._watch.want(READ | WRITE)
            except (BrokenPipeError, ConnectionResetError):
                # The peer is gone, but what it said last may be waiting: reading comes upon its end after that.
                self._drop_unsent()
                break
            except OSError:
                return self.close()
            self._unsent.popleft()
            _close_all(fds)
        self._watch.want(READ)

    def _drop_unsent(self) -> None:
        for _, fds in self._unsent:
            _close_all(fds)
        self._unsent.clear()


def memfd(name: str, body: bytes | bytearray) -> int:
    """A descriptor of anonymous memory that holds `body`, to be sent along."""
    fd = os.memfd_create(name)
    view = memoryview(body)
    while view:
        view = view[os.write(fd, view) :]
    return fd


def mapped(fd: int) -> memoryview:
    """The memory behind such a descriptor, read-only and shared; the descriptor is closed."""
    try:
        return memoryview(mmap.mmap(fd, 0, prot=mmap.PROT_READ))
    finally:
        os.close(fd)


def _memfd(body: bytes) -> int:
    return memfd("nlb-message", body)


def _slurp(fd: int) -> bytes:
    return bytes(mapped(fd))


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
