"""Where in the text of a TOML file each key and value stands. The parser tells values only, so when one of them is
wrong this scans the text again, lexically, and builds a tree of the places.

It never raises and reads each character once or twice, whatever the text. For a text that the parser accepts the
tree has every path of the parsed data; for one that it refuses the tree reaches as far as it makes sense.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import tomli

_BLANK = re.compile(r"(?>(?:[ \t\r\n]++|#[^\n]*+)*)")
_SPACE = re.compile(r"[ \t]*+")
_KEY = re.compile(r"""[A-Za-z0-9_-]++|"(?>(?:[^"\\\n]++|\\.)*)"|'[^'\n]*+'""")
_STRING = re.compile(
    r'"""(?>(?:[^"\\]++|\\.|"{1,2}(?!"))*)"{3,5}'
    r"|'''(?>(?:[^']++|'{1,2}(?!'))*)'{3,5}"
    r'|"(?>(?:[^"\\\n]++|\\[^\n])*)"'
    r"|'[^'\n]*+'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]++")

Path = Sequence[str | int]


class Spot:
    """Offsets of a key and of its value. An element of an array has no key of its own: both are where it begins.
    A table is a value that stands at its header, or where it is first named.
    """

    __slots__ = ("inside", "is_array", "is_given", "key", "value")

    def __init__(self, key: int, value: int) -> None:
        self.key = key
        self.value = value
        self.inside: dict[str | int, Spot] = _NOTHING
        self.is_array = False
        self.is_given = False  # by an assignment or a header of its own, not only as a part of a longer name

    def put(self, name: str | int, place: Spot) -> Spot:
        if not self.inside:
            self.inside = {}
        self.inside[name] = place
        return place

    def append(self, at: int) -> Spot:
        return self.put(len(self.inside), Spot(at, at))


# Most places are plain values with nothing inside; a dict for each would cost more than all the rest.
_NOTHING: dict[str | int, Spot] = {}


class Repeated(NamedTuple):
    """A key or table that is given twice."""

    name: str
    offset: int
    before: int


class Positions:
    """The places of one text."""

    def __init__(self, text: str) -> None:
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.repeated: Repeated | None = None  # the first one
        self.deepest = 0  # where most arrays and tables are in one another, or a key has most parts
        self._depth = 0
        self._text = text
        self.root = Spot(0, 0)
        self._scan()

    def line_column(self, offset: int) -> tuple[int, int]:
        """Both from 1; a column is a character."""
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def key(self, path: Path) -> int:
        """Offset of the last key of the path, or of the nearest one above it that is in the text."""
        return self._nearest(path).key

    def value(self, path: Path) -> int:
        """Offset of the value, likewise."""
        return self._nearest(path).value

    def _nearest(self, path: Path) -> Spot:
        place = self.root
        for part in path:
            if part not in place.inside:
                break
            place = place.inside[part]
        return place

    def _scan(self) -> None:
        text = self._text
        table, at = self.root, 0
        while (at := self._past(_BLANK, at)) < len(text):
            if text[at] == "[":
                found = self._header(at)
                if found is None:
                    return
                table, at = found
                continue
            after = self._assignment(table, at)
            if after is None:
                return
            at = after

    def _header(self, at: int) -> tuple[Spot, int] | None:
        """`[a.b]` or `[[a.b]]`: the table that the following lines fill, and where the header ends."""
        brackets = 2 if self._text.startswith("[[", at) else 1
        keys, end = self._keys(self._past(_SPACE, at + brackets))
        if not keys or not self._text.startswith("]" * brackets, end):
            return None
        table = self._descend(self.root, keys[:-1])
        name, offset = keys[-1]
        place = table.inside.get(name) or table.put(name, Spot(offset, at))
        if brackets == 2:
            if place.is_given and not place.is_array:
                self._note_repeated(name, offset, place)
            place.is_array = place.is_given = True
            return place.append(at), end + 2
        if place.is_given:
            self._note_repeated(name, offset, place)
        place.key, place.value, place.is_given = offset, at, True
        return place, end + 1

    def _assignment(self, table: Spot, at: int) -> int | None:
        """`a.b = value`: where it ends."""
        found = self._name(table, at)
        if found is None:
            return None
        return self._value(*found)

    def _name(self, table: Spot, at: int) -> tuple[Spot, int] | None:
        """`a.b =`: the place of the key and where its value begins."""
        keys, end = self._keys(at)
        if not keys or not self._text.startswith("=", end):
            return None
        value = self._past(_SPACE, end + 1)
        table = self._descend(table, keys[:-1])
        name, offset = keys[-1]
        if name in table.inside:
            self._note_repeated(name, offset, table.inside[name])
        place = table.put(name, Spot(offset, value))
        place.is_given = True
        return place, value

    def _value(self, place: Spot, at: int) -> int | None:
        """Any value, with what is in it: where it ends. Arrays and inline tables in one another go on a stack of
        our own, since a text may nest them deeper than Python calls."""
        text = self._text
        open_places: list[Spot] = []
        while True:
            opening = text[at : at + 1]
            if opening in ("[", "{"):
                place.is_array = opening == "["
                open_places.append(place)
                self._note_depth(len(open_places), at)
                at += 1
            else:
                match = _STRING.match(text, at) if opening in ('"', "'") else _SCALAR.match(text, at)
                if match is None:
                    return None
                at = match.end()
            # After a value or an opening bracket: close what ends here, then come to the next element.
            while open_places:
                at = self._past(_BLANK, at)
                around = open_places[-1]
                if text.startswith(",", at) and around.inside:
                    at = self._past(_BLANK, at + 1)
                if not text.startswith("]" if around.is_array else "}", at):
                    break
                open_places.pop()
                at += 1
            if not open_places:
                return at
            around = open_places[-1]
            if around.is_array:
                place = around.append(at)
                continue
            found = self._name(around, at)
            if found is None:
                return None
            place, at = found

    def _keys(self, at: int) -> tuple[list[tuple[str, int]], int]:
        """The parts of a dotted key with their offsets, and where it ends with the blanks after it."""
        keys: list[tuple[str, int]] = []
        while match := _KEY.match(self._text, at):
            keys.append((_unquoted(match.group()), at))
            at = self._past(_SPACE, match.end())
            if not self._text.startswith(".", at):
                self._note_depth(len(keys), keys[0][1])
                return keys, at
            at = self._past(_SPACE, at + 1)
        return [], at

    def _descend(self, place: Spot, keys: list[tuple[str, int]]) -> Spot:
        """Along keys, making what is not there yet; an array of tables stands for its last table."""
        for name, offset in keys:
            place = place.inside.get(name) or place.put(name, Spot(offset, offset))
            if place.is_array:
                place = place.inside.get(len(place.inside) - 1, place)
        return place

    def _note_repeated(self, name: str, offset: int, before: Spot) -> None:
        if self.repeated is None:
            self.repeated = Repeated(name, offset, before.key)

    def _note_depth(self, depth: int, at: int) -> None:
        if depth > self._depth:
            self._depth, self.deepest = depth, at

    def _past(self, pattern: re.Pattern[str], at: int) -> int:
        match = pattern.match(self._text, at)
        return match.end() if match else at


def _unquoted(key: str) -> str:
    if key[0] == "'" or (key[0] == '"' and "\\" not in key):
        return key[1:-1]
    if key[0] != '"':
        return key
    try:
        unquoted: str = tomli.loads(f"key = {key}")["key"]
    except tomli.TOMLDecodeError:
        return key
    return unquoted
