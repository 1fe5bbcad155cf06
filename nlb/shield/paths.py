"""What a target will take a path for, whatever it was written like; and which paths no target shall see.

Targets read alike what clients ordinarily send. They differ about an encoded slash, a backslash, `;` and `//`: for one
it separates, for the next it is part of a name. So an odd path has several readings, one for each combination of those
that occur in it, and it is refused for any of them. The first one reads most into it, and is the one that is shown:

    /a/%2e%2e/b -> /b    /a;v=1/b -> /a/b    /a//b/./c/ -> /a/b/c/    /a%2fb -> /a/b    /%61 -> /a

A reading is decoded, once. Only what would become another by it keeps its escape: `%` itself, controls, and the slash
where it is part of a name. What some targets would decode twice, or not at all, is told as odd.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from nlb.shield.patterns import Patterns
from nlb.shield.words import BAD_PATH, DENIED_PATH

# A path without any of these is read alike by all, as it stands.
_odd = re.compile(rb"[%;\\]|//|/\.\.?(?:/|\Z)").search

# Bytes to be read, in all readings of a path together. Honest ones of several oddities are far shorter.
_MOST = 8192

# What is odd about a path beside its having several readings.
ODDITIES = ZERO_BYTE, TOO_MANY, DOUBLE, BAD_ESCAPE, CONTROL, OVERLONG = (
    *("zero_byte", "too_many_readings", "double_encoding", "bad_escape", "control_character", "overlong_utf8"),
)

# No target shall see these, whatever is denied.
_BAD = (ZERO_BYTE, TOO_MANY)

_ESCAPES = (
    (ZERO_BYTE, rb"%00"),
    (DOUBLE, rb"%25[0-9A-Fa-f]{2}"),
    (BAD_ESCAPE, rb"%(?![0-9A-Fa-f]{2})"),
    (CONTROL, rb"%(?:[01][0-9A-Fa-f]|7[Ff])"),
)
_odd_escape = re.compile(b"|".join(pattern for _, pattern in _ESCAPES)).search
_overlong = re.compile(rb"[\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]").search

_DIGITS = "0123456789abcdefABCDEF"
_KEPT = frozenset((0x25, 0x7F, *range(0x20)))
_BYTES = {high + low: int(high + low, 16) for high in _DIGITS for low in _DIGITS}

# The two digits of an escape -> what it is in a reading.
_DECODED = {digits.encode(): b"%%%02X" % byte if byte in _KEPT else bytes((byte,)) for digits, byte in _BYTES.items()}
_WITHOUT_SLASHES = _DECODED | {b"2f": b"%2F", b"2F": b"%2F"}
# In a pattern, an escape never stands for a wildcard, and a backslash would.
_IN_PATTERNS = _DECODED | {b"2a": b"\\*", b"2A": b"\\*", b"3f": b"\\?", b"3F": b"\\?", b"5c": b"/", b"5C": b"/"}


class Reading(NamedTuple):
    """`paths` are all readings that do not climb out of the root, the one that is shown first. `odd` is one of
    ODDITIES, or ""."""

    paths: tuple[bytes, ...]
    climbs: bool
    odd: str


def read(path: bytes) -> Reading:
    """A path as it stands in a request, without the query."""
    if _odd(path) is None or not path.startswith(b"/"):  # such as *
        return Reading((path,), False, "")
    escaped = b"%" in path
    decoded = _decode(path, _DECODED) if escaped else path
    slashed = decoded.replace(b"\\", b"/")
    has = (b"%2f" in path or b"%2F" in path, b"\\" in decoded, b";" in decoded, b"//" in slashed or b"/;" in slashed)
    odd = _oddity(path, decoded) if escaped else ""
    if True not in has:
        only = _resolve(decoded, True, True, True)
        return Reading((), True, odd) if only is None else Reading((only,), False, odd)
    ways = list(product(*((True, False) if one else (True,) for one in has)))
    if len(ways) * len(path) > _MOST:
        return Reading((), False, TOO_MANY)
    kept = _decode(path, _WITHOUT_SLASHES) if has[0] else decoded
    found = [_resolve(decoded if slash else kept, back, params, merged) for slash, back, params, merged in ways]
    paths = tuple(dict.fromkeys(each for each in found if each is not None))
    return Reading(paths, None in found, odd)


def normalise(path: bytes) -> bytes | None:
    """The reading that is shown; None for a path that climbs out of the root in any."""
    paths, climbs, _ = read(path)
    return None if climbs or not paths else paths[0]


def matched(path: bytes, normalises: bool) -> list[bytes]:
    """What patterns are matched with, in lower case; nothing, of a path that no target shall see. Where paths are not
    normalised they are taken as they stand, and may climb."""
    if not normalises or _odd(path) is None:
        return [path.lower()]
    paths, climbs, odd = read(path)
    return [] if climbs or odd in _BAD else [each.lower() for each in paths]


def compiled(patterns: Sequence[str], normalises: bool) -> Patterns | None:
    """With `*` and `?`, and matching in any case: there are targets that open /.GIT. None where there are none."""
    texts = [_pattern(text) for text in patterns] if normalises else list(patterns)
    return Patterns(texts) if texts else None


class DeniedPaths:
    """What a listener refuses for its path alone."""

    __slots__ = ("_normalises", "_patterns")

    def __init__(self, patterns: Sequence[str], normalises: bool) -> None:
        self._patterns = compiled(patterns, normalises)
        self._normalises = normalises

    def __bool__(self) -> bool:
        return self._normalises or self._patterns is not None

    def judge(self, path: bytes) -> str:
        """A word of `words`, "" for a path that may pass."""
        values = matched(path, self._normalises)
        if not values:
            return BAD_PATH
        return DENIED_PATH if self._patterns is not None and self._patterns.any(values) else ""


def _decode(path: bytes, table: dict[bytes, bytes]) -> bytes:
    first, *others = path.split(b"%")
    parts = [first]
    for other in others:
        decoded = table.get(other[:2])
        parts.append(b"%25" + other if decoded is None else decoded + other[2:])
    return b"".join(parts)


def _resolve(path: bytes, back: bool, params: bool, merged: bool) -> bytes | None:
    """Without dot segments and with single slashes; None if it climbs. `back`: a backslash is a slash; `params`: what
    follows a `;` is no part of the name; `merged`: slashes are made one before `..` takes away what stands before it.
    """
    if back:
        path = path.replace(b"\\", b"/")
    kept: list[bytes] = []
    name = b""
    for segment in path.split(b"/")[1:]:
        name = segment.partition(b";")[0] if params else segment
        if name == b"..":
            if not kept:
                return None
            kept.pop()
        elif name != b"." and (name or not merged):
            kept.append(name)
    names = [each for each in kept if each]
    if names and name in (b"", b".", b".."):
        names.append(b"")  # a directory keeps the slash at its end
    return b"/" + b"/".join(names)


def _oddity(path: bytes, decoded: bytes) -> str:
    if _odd_escape(path):
        return next(word for word, pattern in _ESCAPES if re.search(pattern, path))
    return OVERLONG if _overlong(decoded) else ""


def _pattern(text: str) -> str:
    """As the readings that it is matched with: who copies a path from a log writes %20 for a blank."""
    if "%" not in text:
        return text
    try:
        return _decode(text.encode(), _IN_PATTERNS).decode()
    except UnicodeDecodeError:
        return text
