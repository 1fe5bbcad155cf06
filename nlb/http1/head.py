"""Heads of requests and responses, strict, with limits, each with one reading or refused.

Two tiers. Heads of the shape that nearly all clients and servers send are read by one regular expression, which checks
every byte and finds Host, the framing and Connection on its way. All others are read line by line in
`careful.py` and `answer.py`; where both can read a head, both say the same.

In us, on a 2.6 GHz core, for the whole function: wrk's request (Host alone) 1.0, curl's 1.1, one of eight fields 1.7, a
browser's of twelve 2.2; nginx's response 1.5. Line by line: 4.5, 5.1, 8.2, 10.9; 7.5. A pattern that only checks the
syntax, then a search for the fields that matter, was 1.7 for the two matches of eight fields alone, and lower-case and
`in` for twelve names 3.0; this match is 1.2. The worst 64 KiB that we could think of cost 1.2 ms.
"""

from __future__ import annotations

import re

from nlb.http1 import answer, careful
from nlb.http1.facts import (
    FIELDS_LIMIT,
    HOST_LIMIT,
    IDEMPOTENT,
    KNOWN_LIMIT,
    LINE_LIMIT,
    METHOD_LIMIT,
    REQUEST_LIMIT,
    REQUEST_LINE_LIMIT,
    RESPONSE_LIMIT,
    BadHead,
    Request,
    Response,
)
from nlb.http1.fields import HOP_BY_HOP, SPECIAL, TELLING, TOKEN
from nlb.http1.framing import CHUNKED, NONE, UNTIL_CLOSE

__all__ = [
    "FIELDS_LIMIT",
    "HOST_LIMIT",
    "IDEMPOTENT",
    "KNOWN_LIMIT",
    "LINE_LIMIT",
    "METHOD_LIMIT",
    "REQUEST_LIMIT",
    "REQUEST_LINE_LIMIT",
    "RESPONSE_LIMIT",
    "BadHead",
    "Request",
    "Response",
    "parse_request",
    "parse_response",
]


def _any_case(name: bytes) -> bytes:
    """A pattern for `name` in any case. re.IGNORECASE would slow down everything else in the pattern, too."""
    return b"".join(b"[%c%c]" % (sign, sign - 32) if 97 <= sign <= 122 else re.escape(bytes((sign,))) for sign in name)


def _ordinary(names: frozenset[bytes]) -> bytes:
    """A pattern for one canonical line of a field that is none of `names`; names with `_` and the like are not."""
    by_first: dict[bytes, list[bytes]] = {}
    for name in sorted(names):
        by_first.setdefault(name[:1], []).append(_any_case(name[1:]))
    known = b"|".join(_any_case(first) + b"(?:" + b"|".join(rest) + b")" for first, rest in by_first.items())
    # Most names have a first letter that none of `names` has: 1.73 -> 1.55 us for a browser's head. A prefix tree of
    # the names is no faster than the flat alternatives: 1.70.
    others = bytes(sign for sign in _NAME_SIGNS if bytes((sign,)).lower() not in by_first)
    first = b"(?:[" + re.escape(others) + b"]|(?!(?:" + known + b"):)[0-9A-Za-z-])"
    # The look behind costs 3 to 7 %; for it no value ends with a blank, here or behind us.
    return rb"(?:" + first + rb"[0-9A-Za-z-]*+: [!-~][ -~]*+(?<! )\r\n)"


def _some(line: bytes, count: bytes = b"?") -> bytes:
    """So many of these, never fewer once they are found. As an atomic group: before Python 3.11.5 a possessive count
    of a group with alternatives in it found too few (gh-106052)."""
    return rb"(?>" + line + count + rb")"


_NAME_SIGNS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-"
_COUNT = rb"{0,59}"  # five runs of lines and those between them: never more than FIELDS_LIMIT with _TOLD_LIMIT
_FAST_LIMIT = 16 * 1024  # and no line of a head that is shorter than this can be over its limit
_LENGTH = _any_case(b"content-length") + rb": (0|[1-9][0-9]{0,14}+)\r\n"
_CHUNKED = _any_case(b"transfer-encoding") + rb": chunked\r\n"
_KEPT = rb"(?:" + _any_case(b"connection") + rb": (?:[Kk]eep-[Aa]live|([Cc]lose))\r\n)"
_LABEL = rb"[0-9A-Za-z_~-]++"
_PORT = _some(  # 1 to 65535
    rb"(?::(?:[1-5][0-9]{4}|6(?:[0-4][0-9]{3}|5(?:[0-4][0-9]{2}|5(?:[0-2][0-9]|3[0-5])))|[1-9][0-9]{0,3}+))"
)
_HOST = _any_case(b"host") + rb": ((" + _LABEL + _some(rb"(?:\." + _LABEL + rb")", b"*") + rb")" + _PORT + rb")\r\n"


def _shape(first: bytes, before: bytes, names: frozenset[bytes], kept: bytes) -> re.Pattern[bytes]:
    """`first` line, lines with `before` among them, then in this order, each or not: Connection, chunked, a length,
    Connection. Every repetition is possessive, so no byte is looked at more than a few times, whatever comes.
    """
    lines = _some(_ordinary(names), _COUNT)
    between = _some(rb"(?:" + kept + rb"(" + lines + rb"))")
    body = _some(rb"(" + _CHUNKED + rb")") + rb"(" + _some(rb"(?:" + _LENGTH + rb")") + lines + rb")"
    return re.compile(first + rb"(" + lines + before + rb")" + between + body + between + rb"\r\n")


_REQUEST = _shape(
    rb"(?!TRACE |CONNECT )(" + TOKEN + rb"{1,%d}+) (/[!\"$-~]*+) HTTP/1\.1\r\n" % METHOD_LIMIT,
    _HOST + _some(_ordinary(TELLING), _COUNT),
    TELLING,
    _KEPT,
)
_RESPONSE = _shape(
    rb"(HTTP/1\.1 ([2-5][0-9]{2}) " + _some(rb"(?:[!-~][ -~]*+(?<! ))") + rb"\r\n)",
    b"",
    HOP_BY_HOP | {b"content-length"},
    _some(rb"(?:" + _KEPT + rb"|" + _any_case(b"keep-alive") + rb": [!-~][ -~]*+\r\n)", b"{1,2}"),
)
_NO_BODY = (b"GET", b"HEAD")
_TOLD = re.compile(rb"\n(" + b"|".join(map(_any_case, sorted(SPECIAL))) + rb"): ([!-~][ -~]*+)\r(?=\n)")
_TOLD_LIMIT = 16  # names and values of lines that a proxy in front of us wrote


def parse_request(data: bytes, scanned: int = 0) -> Request | None:
    """The request that `data` starts with; None if its head is not complete. BadHead if it has no one reading.

    `scanned` is the length of `data` when None was answered last, so that a head which trickles in is read once.
    """
    match = None if scanned else _REQUEST.match(data)
    special = None
    taken = 0
    if match is None or match.end() > _FAST_LIMIT:
        told = None if scanned else _told_by_proxy(data)
        if told is None:
            return careful.parse_request(data, scanned)
        match, special, taken = told
    method, target, lines, authority, host, close, more, chunked, rest, length, closes, last = match.groups(b"")
    if len(host) > HOST_LIMIT:
        return careful.parse_request(data, 0)
    if chunked or length:
        if method in _NO_BODY or (chunked and length):
            return careful.parse_request(data, 0)
        body = CHUNKED if chunked else int(length)
    else:
        body = NONE
    request = Request()
    request.method = method
    request.target = target
    request.minor = 1
    request.host = host.lower().decode()
    request.authority = authority
    request.fields = lines + more + rest + last
    request.size = match.end() + taken
    request.length = body
    request.keep_alive = not (close or closes)
    request.upgrade = b""
    request.expects = False
    request.reason = ""
    request.special = special
    return request


def _told_by_proxy(data: bytes) -> tuple[re.Match[bytes], dict[bytes, bytes], int] | None:
    """Takes out the lines of another proxy, wherever that puts them; what is left mostly has the shape.

    (the match of what is left, the lines taken out, their bytes). 7.7 -> 4.4 us for curl's head behind such a proxy;
    the heads that it does not help pay 0.9 us.
    """
    end = data.find(b"\r\n\r\n") + 4
    if not 4 < end <= _FAST_LIMIT:
        return None
    parts = _TOLD.split(data[:end])  # text, name, value, text, name, value, ..., text
    if not 1 < len(parts) <= 3 * _TOLD_LIMIT + 1:
        return None
    match = _REQUEST.match(b"".join(parts[::3]))
    if match is None:
        return None
    special: dict[bytes, bytes] = {}
    for name, value in zip(parts[1::3], parts[2::3], strict=True):
        name = name.lower()
        value = value.rstrip(b" ")
        special[name] = special[name] + b", " + value if name in special else value
    return match, special, end - match.end()


def parse_response(data: bytes, method: bytes, scanned: int = 0) -> Response | None:
    """The response to a request of `method` that `data` starts with; None if its head is not complete. BadHead (502)
    if it has no one reading.
    """
    match = None if scanned else _RESPONSE.match(data)
    if match is None or match.end() > _FAST_LIMIT:
        return answer.parse_response(data, method, scanned)
    line, status, lines, close, more, chunked, rest, length, closes, last = match.groups(b"")
    response = Response()
    response.keep_alive = not (close or closes)
    if method == b"HEAD" or status == b"304" or status == b"204":
        if chunked or status == b"204":
            return answer.parse_response(data, method, 0)
        response.length = NONE
    elif chunked:
        if length:
            return answer.parse_response(data, method, 0)
        response.length = CHUNKED
    elif length:
        response.length = int(length)
    else:
        response.length = UNTIL_CLOSE
        response.keep_alive = False
    response.status = int(status)
    response.line = line
    response.fields = lines + more + rest + last
    response.size = match.end()
    response.upgrade = b""
    return response
