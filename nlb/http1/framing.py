"""Where a message body ends. Nothing here reads a socket: bytes come in, payload and what follows the body come out.

A chunked body is never passed on as it came. Its payload is cut out and framed anew, so sizes with leading zeros,
extensions and odd trailers end here, and a target sees only what `chunk` and `last_chunk` write.
"""

from __future__ import annotations

import re

from nlb.http1.fields import NEVER_A_TRAILER, TOKEN, dashed

# The length of a body where it is not a number of bytes.
NONE, CHUNKED, UNTIL_CLOSE = 0, -1, -2

SIZE_LINE_LIMIT = 1024  # of a size with its extensions, as HAProxy's buffers and h11 would hold; nobody sends 100
TRAILERS_LIMIT = 16 * 1024

# 15 digits: 2**60 bytes, which no counter of anybody overflows. RFC 9112 7.1.1 lets blanks stand around ; and = in an
# extension; they are refused, because the blank behind a size is where parsers disagree.
_TOKEN = TOKEN + rb"++"
_QUOTED = rb"\"(?>(?:[^\"\\\x00-\x08\n-\x1f\x7f]|\\[\t -~\x80-\xff])*)\""
_SIZE = rb"([0-9A-Fa-f]{1,15}+)(?>(?:;" + _TOKEN + rb"(?>(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?))*)\r\n"
_FIRST_SIZE = re.compile(_SIZE)
_NEXT_SIZE = re.compile(rb"\r\n" + _SIZE)
_TRAILER = re.compile(rb"(" + _TOKEN + rb"):[ \t]*+([\t -~\x80-\xff]*+)\r\n")


class BadChunk(Exception):  # noqa: N818 - it is the chunk that is bad
    """The body is not chunked as it said. Carries no bytes of the sender: `reason` is one of a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Dechunker:
    """Takes a chunked body apart as it comes.

    `done` says that the last chunk and the trailers were read; `rest` are the bytes behind them, `trailers` the
    canonical lines of those that may be passed on. After a BadChunk the body has no end and nothing may be fed.
    """

    __slots__ = ("_held", "_left", "_size", "_trailer_bytes", "done", "rest", "trailers")

    def __init__(self) -> None:
        self._left = 0  # bytes of the payload of this chunk that are still to come
        self._size: re.Pattern[bytes] | None = _FIRST_SIZE  # what must come then; None: trailers
        self._held = b""  # an incomplete line
        self._trailer_bytes = 0
        self.done = False
        self.rest = b""
        self.trailers = b""

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`: b"" if there is none. `data` itself when it is all payload, so bulk is not copied."""
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            return data
        if self._held:
            data = self._held + data
            self._held = b""
        at = 0
        parts = []
        while (pattern := self._size) is not None:
            if left:
                piece = data[at : at + left]
                parts.append(piece)
                at += len(piece)
                left -= len(piece)
                if left:
                    break
            size = pattern.match(data, at)
            if size is None or size.end() - at > SIZE_LINE_LIMIT:
                self._held = _begun(data, at, pattern)
                break
            at = size.end()
            left = int(size[1], 16)
            self._size = _NEXT_SIZE if left else None
        else:
            self._read_trailers(data, at)
        self._left = left
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_trailers(self, data: bytes, at: int) -> None:
        """Lines up to the empty one: few or none, and behind all payload, so nothing here needs to be fast."""
        while True:
            end = data.find(b"\n", at) + 1
            length = (end or len(data)) - at
            if self._trailer_bytes + length > TRAILERS_LIMIT:
                raise BadChunk("trailers_too_large")
            if not end:
                self._held = data[at:]
                return
            line = data[at:end]
            at = end
            if line == b"\r\n":
                self.done = True
                self.rest = data[at:]
                return
            self._trailer_bytes += length
            self._take_trailer(line)

    def _take_trailer(self, line: bytes) -> None:
        trailer = _TRAILER.fullmatch(line)
        if trailer is None:
            raise BadChunk("bad_trailer")
        if dashed(trailer[1].lower()) in NEVER_A_TRAILER:
            return
        self.trailers += trailer[1] + b": " + trailer[2].rstrip(b" \t") + b"\r\n"


def _begun(data: bytes, at: int, pattern: re.Pattern[bytes]) -> bytes:
    """The size line that has only begun at `at`; BadChunk if it can never become one."""
    if pattern is _NEXT_SIZE:
        if not b"\r\n".startswith(data[at : at + 2]):
            raise BadChunk("bad_chunk_end")
        line = at + 2
    else:
        line = at
    end = data.find(b"\n", line) + 1
    if (end or len(data)) - at > SIZE_LINE_LIMIT:
        raise BadChunk("chunk_size_too_long")
    if end:
        raise BadChunk("bad_chunk_size")
    return data[at:]


def chunk(payload: bytes) -> bytes:
    """One chunk. Nothing for no payload: an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""


def last_chunk(trailers: bytes = b"") -> bytes:
    """The end of a chunked body. `trailers` are whole lines, such as `Dechunker.trailers`."""
    return b"0\r\n" + trailers + b"\r\n"
