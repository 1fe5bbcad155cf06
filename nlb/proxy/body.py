"""The body of one message on its way from a source socket to a sink socket, never held as a whole.

    copy ──(several large reads in a row, length known)──> splice
      │
      └──(the sink is full)──> held: the rest is kept, the source is not read, the sink is watched for room

Where the body ends is its framing's: after `length` bytes, with the last chunk (what comes is checked and chunked
anew), or with the connection. So a direction holds at most one read, as in pipe.py.
"""

from __future__ import annotations

import os
from typing import Protocol

from nlb.http1.framing import CHUNKED, UNTIL_CLOSE, BadChunk, Dechunker, chunk, last_chunk
from nlb.net.sockets import WOULD_BLOCK
from nlb.net.tls import Connection
from nlb.proxy.pipe import BULKY, COPY, KERNEL_PIPE, LARGE_READ, KernelPipes

_SPLICE = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK

# Bytes to come below which a turn to splice is not worth its two system calls.
_WORTH_SPLICING = 4 * COPY


class Ends(Protocol):
    """Who owns both sockets: the exchange."""

    def rewire(self) -> None:
        """A body began or ceased to hold bytes."""

    def body_done(self, body: Body) -> None:
        """All of it was taken by the sink."""

    def source_broke(self, body: Body) -> None:
        """The source was reset."""

    def source_ended(self, body: Body) -> None:
        """The source ended before the body did."""

    def sink_broke(self, body: Body) -> None:
        """The sink was reset, or does not take more."""

    def bad_chunk(self, body: Body, reason: str) -> None:
        """What came is not chunked as it should be, or too much; nothing of that read was passed on."""


class Body:
    """One body. `read` counts the bytes that came, without heads; `moved` those that the sink took."""

    __slots__ = (
        "_chunks",
        "_kernel",
        "_pipes",
        "_rest",
        "_streak",
        "complete",
        "ends",
        "held",
        "left",
        "most",
        "moved",
        "over",
        "payload",
        "read",
        "reframes",
        "sink",
        "source",
    )

    def __init__(
        self, ends: Ends, source: Connection, sink: Connection, length: int, reframes: bool, pipes: KernelPipes
    ) -> None:
        """`length` in bytes, CHUNKED or UNTIL_CLOSE. One that `reframes` gives the sink chunks, else plain bytes."""
        self.ends = ends
        self.source = source
        self.sink = sink
        self.left = length
        self.most = 1 << 62  # bytes that may come in chunks
        self.payload = 0  # and those that have
        self.reframes = reframes
        self.read = 0
        self.moved = 0
        self.held = 0  # bytes read and not sent
        self.complete = length == 0  # the source has given all of it
        self.over = b""  # what came behind its end
        self._chunks = Dechunker() if length == CHUNKED else None
        self._rest = b""
        self._streak = 0
        self._pipes = pipes
        self._kernel: tuple[int, int] | None = None  # the pipe that has the held bytes, while splicing

    @property
    def done(self) -> bool:
        return self.complete and not self.held

    @property
    def unsent(self) -> bytes:
        """What is held, of a body that is copied."""
        return self._rest if self.held else b""

    def keep(self, rest: bytes) -> None:
        """Hold these: they were to be sent before anything else, and the sink did not take them."""
        self._rest += rest
        self.held = len(self._rest)

    def begin_again(self, sink: Connection, rest: bytes) -> None:
        """Another sink was sent all that has come so far, but for `rest`, which it is to get first."""
        self.sink = sink
        self._rest = rest
        self.held = len(rest)

    def abandon(self) -> None:
        """The sink wants no more of it."""
        self.complete = True
        if self._kernel:
            self._pipes.give_back(self._kernel, empty=not self.held)
            self._kernel = None
        self.held = 0
        self._rest = b""

    def take(self, data: bytes) -> bytes:
        """What the sink shall get of these bytes of the source. Raises BadChunk."""
        left = self.left
        if left > 0:
            size = len(data)
            if size > left:
                self.over = data[left:]
                data = data[:left]
                size = left
            self.read += size
            self.left = left = left - size
            self.complete = not left
            return data
        chunks = self._chunks
        if chunks is None:  # until close; or nothing is left, and all of this is behind the end
            if self.complete:
                self.over = data
                return b""
            self.read += len(data)
            return chunk(data) if self.reframes else data
        payload = chunks.feed(data)
        self.read += len(data) - len(chunks.rest)
        self.payload += len(payload)
        if self.payload > self.most:
            raise BadChunk("too_large")
        out = payload if not (payload and self.reframes) else chunk(payload)
        if chunks.done:
            self.complete = True
            self.over = chunks.rest
            if self.reframes:
                out += last_chunk(chunks.trailers)
        return out

    def finish(self) -> bytes:
        """The source ended: what the sink gets for it, if that is how a body of this framing ends."""
        if self.left != UNTIL_CLOSE:
            return b""
        self.complete = True
        return last_chunk() if self.reframes else b""

    def send(self, data: bytes) -> bool:
        """Send, or keep what the sink does not take now. Returns False when it takes nothing more at all."""
        try:
            sent = self.sink.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            return False
        self.moved += sent
        if sent != len(data):
            self.keep(data[sent:])
        return True

    def copy(self, mask: int) -> None:
        """One read, one send."""
        try:
            data = self.source.recv(COPY)
        except WOULD_BLOCK:
            return
        except OSError:
            return self.ends.source_broke(self)
        if not data:
            return self._source_ended()
        size = len(data)
        try:
            data = self.take(data)
        except BadChunk as bad:
            return self.ends.bad_chunk(self, bad.reason)
        if data and not self.send(data):
            return self.ends.sink_broke(self)
        if self.held:
            return self.ends.rewire()
        if self.complete:
            return self.ends.body_done(self)
        if size < LARGE_READ:
            self._streak = 0
            return
        self._streak += 1
        if self._streak >= BULKY and self.left > _WORTH_SPLICING:
            self._kernel = self._pipes.take()
            if self._kernel:
                self.ends.rewire()

    def splice(self, mask: int) -> None:
        """One move into the kernel pipe, one out of it; the bytes stay in the kernel."""
        read_end, write_end = self._kernel  # type: ignore[misc]
        try:
            size = os.splice(self.source.fileno(), write_end, min(self.left, KERNEL_PIPE), flags=_SPLICE)
        except WOULD_BLOCK:
            return
        except OSError:
            return self.ends.source_broke(self)
        if not size:
            return self._source_ended()
        self.read += size
        self.left -= size
        self.complete = not self.left
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
        if self.complete:
            return self.ends.body_done(self)

    def pump(self, mask: int) -> None:
        """The source is readable."""
        if self._kernel:
            self.splice(mask)
        else:
            self.copy(mask)

    def flush(self) -> None:
        """The sink has room: send what is held."""
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
        if self.held:
            return
        if self.complete:
            return self.ends.body_done(self)
        return self.ends.rewire()

    def release(self) -> None:
        """The exchange ended: give the kernel pipe back and let go of the exchange."""
        if self._kernel:
            self._pipes.give_back(self._kernel, empty=not self.held)
            self._kernel = None
        del self.ends

    def _source_ended(self) -> None:
        last = self.finish()
        if not self.complete:
            return self.ends.source_ended(self)
        if last and not self.send(last):
            return self.ends.sink_broke(self)
        if self.held:
            return self.ends.rewire()
        return self.ends.body_done(self)
