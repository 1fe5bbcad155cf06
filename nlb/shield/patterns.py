"""Patterns of the config: `*` is any run of characters, also none, and `?` any one; a backslash before one of them
means the character itself. Compiled once, and matched in time that is proportional to what is matched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_TOKEN = re.compile(rb"\\([*?])|([*?])|([^*?\\]+|\\)", re.DOTALL)


class Patterns:
    """Does one of these match a whole value?"""

    __slots__ = ("_exact", "_fold", "_others", "_prefixes", "texts")

    def __init__(self, texts: Sequence[str], fold: bool = True) -> None:
        """`fold`: the values will be in lower case, and patterns shall match in any."""
        self.texts = list(texts)
        self._fold = fold
        exact, prefixes, others = set(), [], []
        for text in texts:
            value = text.encode().lower() if fold else text.encode()
            if not is_wild(text):
                exact.add(value)
            elif text.endswith("*") and not is_wild(text[:-1]):
                prefixes.append(value[:-1])
            else:
                others.append(_regexp(value))
        self._exact = frozenset(exact)
        self._prefixes = tuple(prefixes)
        self._others = re.compile(b"|".join(others), re.DOTALL).fullmatch if others else None

    def match(self, value: bytes) -> bool:
        if value in self._exact or value.startswith(self._prefixes):
            return True
        return self._others is not None and self._others(value) is not None

    def fitting(self, values: Collection[bytes]) -> list[str]:
        """Those that match one of the values. For people: it compiles each anew."""
        return [text for text in self.texts if Patterns([text], self._fold).any(values)]

    def any(self, values: Collection[bytes]) -> bool:
        if self._others is None and not self._prefixes:
            return not self._exact.isdisjoint(values)
        return any(map(self.match, values))


def _regexp(pattern: bytes) -> bytes:
    """What stands between two stars is taken at the first place where it fits, and never sought again (atomic groups):
    else a value of 16 KiB could keep `*a*b*c*d` busy for hours."""
    parts = [b""]  # between the stars
    for escaped, wild, literal in _TOKEN.findall(pattern):
        if wild == b"*":
            parts.append(b"")
        else:
            parts[-1] += b"." if wild else re.escape(escaped or literal)
    first, *middle = parts
    if not middle:
        return first
    last = middle.pop()
    return first + b"".join([b"(?>.*?%b)" % part for part in middle if part]) + b".*" + last


def is_wild(text: str) -> bool:
    """Has it a wildcard, or an escape?"""
    return "*" in text or "?" in text or "\\" in text
