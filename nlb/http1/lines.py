"""What heads of both kinds share when they are read line by line: where the head ends, its limits, names and values."""

from __future__ import annotations

import re

from nlb.http1.facts import FIELDS_LIMIT, LINE_LIMIT, BadHead
from nlb.http1.fields import TOKEN

URI_TOO_LONG = (414, "uri_too_long")
HEAD_TOO_LARGE = (431, "head_too_large")

# Bare CR, bare LF and NUL: what C programs and lenient parsers end a line or a string at. A CR that is last in the data
# may still get its LF.
_BAD_BYTE = re.compile(rb"\x00|(?<!\r)\n|\r(?!\n|\Z)")
_LINE = rb"(" + TOKEN + rb"++):[ \t]*+([\t -~\x80-\xff]*+)\r\n"
_PAIR = re.compile(_LINE)
_BLOCK = re.compile(rb"(?>(?:" + _LINE + rb")*)")


def find_end(data: bytes, scanned: int, limit: int) -> tuple[int, int]:
    """Where the head starts, and its blank line, or -1 if that has not come. BadHead once no blank line can save it."""
    start = 2 if data.startswith(b"\r\n") else 0  # one empty line before a head is skipped (RFC 9112 2.2)
    end = data.find(b"\r\n\r\n", max(start, scanned - 3))
    if data.startswith(b"\r\n", start):
        raise BadHead(400, "bad_method")
    if end < 0:
        check_bytes(data, start, scanned, len(data))
        begun = data.rfind(b"\n", 0, scanned) + 1
        if max(map(len, data[begun:].split(b"\n"))) > LINE_LIMIT + 1:  # with its CR
            first = data.find(b"\n", start)
            raise BadHead(*(HEAD_TOO_LARGE if 0 <= first <= start + LINE_LIMIT + 1 else URI_TOO_LONG))
    if (len(data) if end < 0 else end + 4) - start > limit:
        raise BadHead(*HEAD_TOO_LARGE)
    return start, end


def check_bytes(data: bytes, start: int, scanned: int, end: int) -> None:
    """BadHead if a byte cannot be in any head. Done as bytes come, so that bare line feeds are answered and not waited
    behind; and before a complete head is refused for anything else, so that reads cut otherwise end alike.
    """
    bad = _BAD_BYTE.search(data, max(start, scanned - 1), end)
    if bad is not None:
        raise BadHead(400, "bad_header" if 0 <= data.find(b"\r\n", start) < bad.start() else "bad_uri")


def read_fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values of whole lines, within the limits."""
    if block.count(b"\n") > FIELDS_LIMIT:  # before anything is made of them
        raise BadHead(431, "too_many_fields")
    found = _pairs(block)
    if found is None:
        raise BadHead(400, _fault(block))
    if len(block) > LINE_LIMIT and max(map(len, block.split(b"\r\n"))) > LINE_LIMIT:
        raise BadHead(*HEAD_TOO_LARGE)
    return found


def _pairs(block: bytes) -> list[tuple[bytes, bytes]] | None:
    """Names and values of whole lines, blanks behind a value included. None if a line is not well-formed."""
    # Two passes in C: the patterns are possessive, so neither ever goes back.
    return _PAIR.findall(block) if _BLOCK.fullmatch(block) else None


def _fault(block: bytes) -> str:
    """The reason word for a block of which `_pairs` made nothing: that of the first line that is wrong."""
    good = _BLOCK.match(block)
    assert good is not None  # it matches nothing, too
    line = block[good.end() :].partition(b"\r\n")[0]
    return "empty_header" if not line.strip(b" \t") or line.startswith(b":") else "bad_header"
