"""Header lines that the operator sets or removes, in requests or responses of a group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# They say where a message ends and what becomes of the connection: ours alone, or the far end would read another one.
FRAMING = frozenset(
    ("connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[ -~\u0080-\U0010ffff\t]*")


class HeaderEdit:
    """`set` puts a line in the place of all lines of that name, `remove` takes them out; `set` wins. Names are the same
    in any case."""

    __slots__ = ("_lines", "_marks", "_named")

    def __init__(self, set: Mapping[str, str], remove: Iterable[str]) -> None:
        put = [_checked(name) for name in set]
        names = {*put, *map(_checked, remove)}
        for name in put:
            if put.count(name) > 1:
                raise ValueError(f"'{name}' is set twice; the case of letters makes no difference")
        self._lines = "".join(f"{name}: {_value(name, value)}\r\n" for name, value in set.items()).encode()
        self._marks = tuple(f"\n{name}:".encode() for name in sorted(names))
        alternatives = "|".join(re.escape(name) for name in sorted(names))
        self._named = re.compile(rf"(?im)^(?:{alternatives}):[^\n]*\n".encode())

    def __bool__(self) -> bool:
        return bool(self._marks)

    def apply(self, fields: bytes) -> bytes:
        """`fields` is a block of canonical header lines."""
        # Mostly none of the lines is there. To know that costs a third of a search by the regular expression, which
        # tries every position for the start of a line.
        low = b"\n" + fields.lower()
        for mark in self._marks:
            if mark in low:
                fields = self._named.sub(b"", fields)
                break
        return fields + self._lines


def _checked(name: str) -> str:
    """In lower case."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name}' is not a header name; write letters, digits and hyphens, such as X-Env")
    if name.lower() in FRAMING:
        raise ValueError(f"'{name}' says where a message or its connection ends; nlb alone writes it")
    return name.lower()


def _value(name: str, value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of '{name}' has a control character in it; a header value is one line of text")
    return value.strip(" \t")
