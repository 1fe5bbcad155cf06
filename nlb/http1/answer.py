"""A response head read line by line: whatever `head.py` does not know by its shape. Rewritten, or refused (502)."""

from __future__ import annotations

import re

from nlb.http1.facts import RESPONSE_LIMIT, BadHead, Response
from nlb.http1.fields import END_TO_END, HOP_BY_HOP, options
from nlb.http1.framing import CHUNKED, NONE, UNTIL_CLOSE
from nlb.http1.lengths import check_chunked, content_length
from nlb.http1.lines import check_bytes, find_end, read_fields

# The blank behind the status is required, and left out by many (RFC 9112 4).
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*+))?")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")


def parse_response(data: bytes, method: bytes, scanned: int) -> Response | None:
    """As `head.parse_response`, for any head."""
    try:
        if data.startswith(b"\r\n"):
            raise BadHead(502, "bad_status_line")  # only a request may come behind an empty line
        start, end = find_end(data, scanned, RESPONSE_LIMIT)
        if end < 0:
            return None
        try:
            return _read(data, method, start, end)
        except BadHead:
            check_bytes(data, start, 0, end + 2)
            raise
    except BadHead as bad:
        # The words are the same, the fault is the target's.
        raise BadHead(502, "bad_status_line" if bad.reason in _OF_THE_LINE else bad.reason) from None


_OF_THE_LINE = frozenset(("bad_uri", "bad_method", "uri_too_long"))


def _read(data: bytes, method: bytes, start: int, end: int) -> Response:
    line_end = data.find(b"\r\n", start)
    match = _STATUS_LINE.fullmatch(data, start, line_end)
    if match is None:
        raise BadHead(502, "bad_status_line" if _VERSION.match(data, start) else "bad_version")
    minor, status, phrase = match.groups(b"")
    response = Response()
    response.status = int(status)
    response.line = b"HTTP/1.1 " + status + b" " + phrase.rstrip(b" \t") + b"\r\n"
    response.size = end + 4
    found = [(name, name.lower(), value.rstrip(b" \t")) for name, value in read_fields(data[line_end + 2 : end + 2])]

    named = options([value for _, lower, value in found if lower == b"connection"])
    response.keep_alive = b"close" not in named and (minor == b"1" or b"keep-alive" in named)
    response.upgrade = b", ".join(value for _, lower, value in found if lower == b"upgrade")
    length = _frame(response, method, int(minor), found)

    dropped = HOP_BY_HOP | {option for option in named if option not in END_TO_END}
    lines = []
    for name, lower, value in found:
        if lower == b"content-length":
            value, length = length, b""  # one line, where the first one stood
            if not value:
                continue
        if lower not in dropped:
            lines.append(name + b": " + value + b"\r\n")
    response.fields = b"".join(lines)
    return response


def _frame(response: Response, method: bytes, minor: int, found: list[tuple[bytes, bytes, bytes]]) -> bytes:
    """Sets `length`; the value of the one Content-Length that is passed on, b"" for none (RFC 9112 6.3)."""
    codings = [value for _, lower, value in found if lower == b"transfer-encoding"]
    lengths = [value for _, lower, value in found if lower == b"content-length"]
    if codings:
        check_chunked(codings, minor)
        if lengths:
            raise BadHead(502, "both_te_cl_present")
    value = content_length(lengths)[0] if lengths else b""
    status = response.status
    if status < 200 or status == 204:
        # Neither may have a length (RFC 9110 8.6). A target that gives one may send that body too: not used again.
        if codings or int(value or b"0"):
            response.keep_alive = False
        response.length = NONE
        return b""
    if method == b"HEAD" or status == 304:
        response.length = NONE
    elif codings:
        response.length = CHUNKED
    elif lengths:
        response.length = int(value)
    else:
        response.length = UNTIL_CLOSE
        response.keep_alive = False
    return value
