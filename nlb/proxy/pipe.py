"""Bytes one way, from a source socket to a sink socket. Nothing is read while something waits to be sent.

    copy ──(several large reads in a row)──> splice ──(several small moves in a row)──> copy
      │                                          │
      └──(the sink is full)──> held: the rest is kept, the source is not read, the sink is watched for room

So a direction holds at most one read: COPY bytes here, or one kernel pipe's worth that never enters this process.
`pump` is the method that the loop calls for a readable source; changing mode is assigning it.
"""

from __future__ import annotations

import fcntl
import os
import socket
from typing import Protocol

from nlb.net.sockets import WOULD_BLOCK
from nlb.net.tls import Connection

COPY = 65536  # bytes per read; larger does not help short messages, and bulk goes by splice anyway
# What is large and what is small leaves room between them, so that a stream does not go to and fro, and room to COPY: a
# read often ends with a segment, and loopback's largest is 65,483 bytes.
LARGE_READ = COPY // 2
SMALL_MOVE = COPY // 4
BULKY = 4  # large reads in a row before bytes go by splice
SMALL = 16  # small moves in a row before the kernel pipe is given back
KERNEL_PIPE = 1 << 20  # bytes asked for; the system's limit for unprivileged users

# Seconds for a side to make room for TLS's goodbye, by reading what it was sent, once all else is said. After that it
# gets the bytes and an end without one.
FAREWELL = 30.0

_SPLICE = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Ends(Protocol):
    """Who owns both sockets: the session."""

    def rewire(self) -> None:
        """A pipe began or ceased to hold bytes, changed its pump, or ended."""

    def over(self) -> bool:
        """A pipe ended, or told its sink so. Was it the last? Then both sockets are closed now."""

    def source_broke(self, pipe: Pipe) -> None:
        """The source was reset."""

    def sink_broke(self, pipe: Pipe) -> None:
        """The sink was reset, or does not take more."""


class KernelPipes:
    """Kernel pipes at rest, for reuse: making one and setting its size costs more than a splice."""

    def __init__(self, most: int = 32) -> None:
        self._most = most
        self._idle: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int] | None:
        """(read end, write end), empty; None when no descriptor is left: then bytes go on being copied."""
        if self._idle:
            return self._idle.pop()
        try:
            ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, KERNEL_PIPE)
        except OSError:
            pass  # over the user's quota of pipe memory: the default size works too
        return ends

    def give_back(self, ends: tuple[int, int], empty: bool) -> None:
        if empty and len(self._idle) < self._most:
            self._idle.append(ends)
        else:
            os.close(ends[0])
            os.close(ends[1])


class NoKernelPipes(KernelPipes):
    """For sockets whose bytes are not the kernel's to move: there is TLS on them."""

    def take(self) -> None:
        return None


NO_KERNEL_PIPES = NoKernelPipes()


class Pipe:
    """One direction. `moved` counts the bytes that the sink took."""

    __slots__ = ("_kernel", "_rest", "_streak", "done", "ends", "held", "moved", "pipes", "pump", "sink", "source")

    def __init__(self, ends: Ends, source: Connection, sink: Connection, pipes: KernelPipes) -> None:
        self.ends = ends
        self.source = source
        self.sink = sink
        self.pipes = pipes
        self.moved = 0
        self.held = 0  # bytes read and not sent
        self.done = False  # the source ended and the sink was told
        self.pump = self.copy
        self._rest = b""  # the held bytes, while copying
        self._kernel: tuple[int, int] | None = None  # the pipe that has the held bytes, while splicing
        self._streak = 0

    def copy(self, mask: int) -> None:
        """One read, one send."""
        try:
            data = self.source.recv(COPY)
        except WOULD_BLOCK:
            return
        except OSError:
            return self.ends.source_broke(self)
        if not data:
            return self._finish()
        try:
            sent = self.sink.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            return self.ends.sink_broke(self)
        self.moved += sent
        size = len(data)
        if sent != size:
            self._rest = data[sent:]
            self.held = size - sent
            return self.ends.rewire()
        if size >= LARGE_READ:
            self._streak += 1
            if self._streak == BULKY:
                self._turn_to_splice()
        elif self._streak:
            self._streak = 0

    def splice(self, mask: int) -> None:
        """One move into the kernel pipe, one out of it; the bytes stay in the kernel."""
        read_end, write_end = self._kernel  # type: ignore[misc]
        try:
            size = os.splice(self.source.fileno(), write_end, KERNEL_PIPE, flags=_SPLICE)
        except WOULD_BLOCK:
            return
        except OSError:
            return self.ends.source_broke(self)
        if not size:
            return self._finish()
        try:
            sent = os.splice(read_end, self.sink.fileno(), size, flags=_SPLICE)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            self.held = size
            return self.ends.sink_broke(self)
        self.moved += sent
        if sent != size:
            self.held = size - sent
            return self.ends.rewire()
        if size < SMALL_MOVE:
            self._streak += 1
            if self._streak == SMALL:
                self._turn_to_copy()
        elif self._streak:
            self._streak = 0

    def flush(self) -> None:
        """The sink has room: send what is held."""
        if self.done:
            return self._part()
        try:
            if self._kernel:
                sent = os.splice(self._kernel[0], self.sink.fileno(), self.held, flags=_SPLICE)
            else:
                sent = self.sink.send(self._rest)
        except WOULD_BLOCK:
            return
        except OSError:
            return self.ends.sink_broke(self)
        self.moved += sent
        self.held -= sent
        if not self._kernel:
            self._rest = self._rest[sent:]
        if not self.held:
            self.ends.rewire()

    def owe(self, data: bytes) -> None:
        """The sink is to get these before anything else; `rewire` comes next."""
        self._rest = data
        self.held = len(data)

    def release(self) -> None:
        """The session ended: give the kernel pipe back and let go of the session."""
        if self._kernel:
            self.pipes.give_back(self._kernel, empty=not self.held)
            self._kernel = None
        del self.pump, self.ends

    def _finish(self) -> None:
        """The source sent all it had, and so did we: half-close."""
        self.done = True
        if self.ends.over():
            return  # closing tells the sink as well, and costs no call more
        return self._part()

    def _part(self) -> None:
        """Tell the sink. With TLS on it that takes room for a word of goodbye: without it, `held` asks for a call when
        there is some."""
        try:
            self.sink.shutdown(socket.SHUT_WR)
            self.held = 0
        except WOULD_BLOCK:
            self.held = 1
        except OSError:
            return self.ends.sink_broke(self)
        return None if self.ends.over() else self.ends.rewire()

    def _turn_to_splice(self) -> None:
        self._streak = 0
        self._kernel = self.pipes.take()
        if self._kernel:
            self.pump = self.splice
            self.ends.rewire()

    def _turn_to_copy(self) -> None:
        self._streak = 0
        if self._kernel:
            self.pipes.give_back(self._kernel, empty=True)
            self._kernel = None
        self.pump = self.copy
        self.ends.rewire()
