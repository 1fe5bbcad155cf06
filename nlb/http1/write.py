"""The heads we send: a parsed request or response as bytes again, with one reading. Whatever is the same for many
requests comes ready-made; here it is joined, once.
"""

from __future__ import annotations

from nlb.http1.facts import Request, Response
from nlb.http1.framing import CHUNKED

_CHUNKED_LINE = b"Transfer-Encoding: chunked\r\n"
_CLOSE = b"Connection: close\r\n"
_KEEP_ALIVE = b"Connection: keep-alive\r\n"


def request_head(request: Request, fields: bytes, extra: bytes) -> bytes:
    """To a target. `fields` are those of the request, perhaps edited; `extra` are whole lines of ours."""
    if request.minor and request.length >= 0 and not request.upgrade:
        return b"".join((request.method, b" ", request.target, b" HTTP/1.1\r\n", fields, extra, b"\r\n"))
    # A client of HTTP/1.0 need not name a host. HTTP/1.1 must, and servers refuse one that is empty: such a request
    # stays what it was, and the target serves its default.
    version = b" HTTP/1.1\r\n" if request.minor or request.authority else b" HTTP/1.0\r\n"
    chunked = _CHUNKED_LINE if request.length == CHUNKED else b""
    upgrade = _upgrade(request.upgrade) if request.upgrade else b""
    return b"".join((request.method, b" ", request.target, version, fields, extra, chunked, upgrade, b"\r\n"))


def response_head(response: Response, fields: bytes, extra: bytes, minor: int, close: bool) -> bytes:
    """To a client of HTTP/1.`minor`. `close`: the connection ends with this response.

    A client of HTTP/1.0 knows no chunks: a chunked body goes to it as it is, and then `close` must be true.
    """
    if minor and response.length >= 0 and not close and response.status >= 200:
        return b"".join((response.line, fields, extra, b"\r\n"))
    status = response.status
    if status < 200:  # not the end of the exchange: says nothing of the connection, but that it changes
        connection = _upgrade(response.upgrade) if status == 101 else b""
    elif close:
        connection = _CLOSE
    else:
        connection = b"" if minor else _KEEP_ALIVE
    chunked = _CHUNKED_LINE if response.length == CHUNKED and minor else b""
    return b"".join((response.line, fields, extra, chunked, connection, b"\r\n"))


def _upgrade(protocol: bytes) -> bytes:
    return b"Connection: upgrade\r\nUpgrade: %b\r\n" % protocol
