"""What a head says, once it has been read. Only `head.parse_request` and `head.parse_response` fill these in, so
whoever holds one holds a message with one reading.
"""

from __future__ import annotations

import re
from functools import lru_cache

REQUEST_LINE_LIMIT = 16 * 1024  # the limits of AWS ALB
LINE_LIMIT = 16 * 1024
REQUEST_LIMIT = 64 * 1024
RESPONSE_LIMIT = 32 * 1024
FIELDS_LIMIT = 256
METHOD_LIMIT = 32
HOST_LIMIT = 255  # a name in DNS has 253 and perhaps a dot
KNOWN_LIMIT = 1024  # a connection keeps its last head in mind, if no longer: the same bytes are not read twice

# May be sent again when nobody knows whether they were done (RFC 9110 9.2.2).
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))


class BadHead(Exception):  # noqa: N818 - it is the head that is bad, as in BadChunk
    """A head that is refused. `status` is what its sender is answered with (502 for a response, to the client) and
    `reason` a word of `desync.CLASS_OF`, or a response's `bad_status_line`. Carries no bytes of the sender.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Request:
    """`fields` are the lines to pass on, `special` what was taken out because its truth depends on the peer.

    Made without arguments and filled in one attribute after the other: 0.05 us less than an __init__ with 13 arguments.
    """

    __slots__ = (
        "authority",
        "expects",
        "fields",
        "host",
        "keep_alive",
        "length",
        "method",
        "minor",
        "reason",
        "size",
        "special",
        "target",
        "upgrade",
    )

    method: bytes
    target: bytes  # origin-form or *, whatever the client wrote
    minor: int  # of the client's HTTP/1.x
    host: str  # lower-case, without port and without a last dot; IPv6 in brackets; "" if there is none (HTTP/1.0)
    authority: bytes  # Host as it is sent on
    fields: bytes  # `Name: value\r\n` each; one Host; one Content-Length where that is the framing
    size: int  # bytes of the head in the data
    length: int  # of the body, or framing.CHUNKED
    keep_alive: bool
    upgrade: bytes  # the protocols offered, without h2c; b"" if there is a body or Connection does not name Upgrade
    expects: bool  # 100-continue, and there is a body to wait with
    reason: str  # desync's, "" if there is none
    special: dict[bytes, bytes] | None

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        return self.target.partition(b"?")[2]

    def get(self, name: bytes) -> list[bytes]:
        """The values of a field, line by line; of one that is in `special`, joined. For rules: not fast."""
        name = name.lower()
        if self.special is not None and name in self.special:
            return [self.special[name]]
        return [value.rstrip(b" ") for value in _line_of(name).findall(self.fields)]


class Response:
    """A target's answer. 1xx are answers like any other, of length 0."""

    __slots__ = ("fields", "keep_alive", "length", "line", "size", "status", "upgrade")

    status: int
    line: bytes  # `HTTP/1.1 200 OK\r\n`, whatever version the target wrote
    fields: bytes
    size: int
    length: int  # of the body that follows: 0 for HEAD, 1xx, 204, 304, whatever Content-Length says
    keep_alive: bool  # whether the connection may be used for another request
    upgrade: bytes


@lru_cache(256)  # of names in the config, so it is bounded by that
def _line_of(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"^" + re.escape(name) + rb": ([^\r]*)", re.IGNORECASE | re.MULTILINE)


def no_request() -> Request:
    """What stands for a head that could not be read, so that its refusal ends like any other exchange."""
    request = Request()
    request.method = request.target = request.authority = request.fields = request.upgrade = b""
    request.host = request.reason = ""
    request.minor = 1
    request.size = request.length = 0
    request.keep_alive = request.expects = False
    request.special = None
    return request
