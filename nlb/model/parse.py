"""TOML text to Config, or every mistake in it at once, each with its place and what would be right.

Three readers, each blind to what the others see: the TOML parser (is it TOML?), the schema (is each key right?) and
the checks (do the parts fit?). Places are only looked for when there is something to point at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import tomli
from pydantic import ValidationError

from nlb.errors import ConfigError, Mistake
from nlb.model.checks import Wrong, whole
from nlb.model.config import Config
from nlb.model.phrases import REPEATED, printable, sentence, syntax
from nlb.model.positions import Positions
from nlb.model.sketch import Path

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ALIEN = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of characters, which no UTF-8 has
_LONG_NUMBER = re.compile(r"[0-9][0-9_]{4000,}")

# Characters of a message and of one key in a path, which may quote the file.
_LONGEST = 600
_LONGEST_KEY = 64


def parse(text: str, filename: str, also: Callable[[Config], Iterable[Wrong]] = lambda config: ()) -> Config:
    """Raises ConfigError with every mistake; `filename` is for its text. `also` may find more in a config that is good
    so far: what can only be judged by those who will use it."""
    data = _toml(text, filename)
    wrong: list[Wrong] = []
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        wrong = [_wrong(details, data) for details in error.errors(include_url=False, include_input=False)]
    wrong += whole(data)
    if not wrong:
        wrong += also(config)
    if wrong:
        raise ConfigError(filename, _Teller(text, data).mistakes(wrong))
    return config


def _toml(text: str, filename: str) -> dict[str, Any]:
    try:
        if alien := _ALIEN.search(text):
            raise tomli.TOMLDecodeError("this is not a character of a text file", text, alien.start())
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        mistake = _syntax_mistake(error, text)
    except ValueError:
        match = _LONG_NUMBER.search(text)
        mistake = _at(Positions(text), match.start() if match else 0, "this number has too many digits")
    except RecursionError:
        places = Positions(text)
        mistake = _at(places, places.deepest, "too much is nested in one another here; a config needs three levels")
    raise ConfigError(filename, [mistake])


def _syntax_mistake(error: tomli.TOMLDecodeError, text: str) -> Mistake:
    if error.msg.startswith(REPEATED):
        places = Positions(text)
        if repeated := places.repeated:
            line = places.line_column(repeated.before)[0]
            return _at(places, repeated.offset, f"'{repeated.name}' is given again; line {line} has it, write it once")
    if text.startswith("\ufeff"):
        return Mistake(1, 1, "", "the file begins with a byte order mark; save it as UTF-8 without one (BOM)")
    message = syntax(error.msg, error.doc[error.pos : error.pos + 1])
    return Mistake(error.lineno, error.colno, "", printable(message, _LONGEST))


def _at(places: Positions, offset: int, message: str) -> Mistake:
    return Mistake(*places.line_column(offset), "", printable(message, _LONGEST))


def _wrong(error: Any, data: dict[str, Any]) -> Wrong:
    """An error of the schema in our words."""
    path: Path = error["loc"]
    message = sentence(error, _reach(data, path)[1])
    return Wrong(path, message, at_key=error["type"] == "extra_forbidden")


def _reach(data: dict[str, Any], path: Path) -> tuple[Path, Any]:
    """As far along a path as the data goes, and what is there. A default is at the table that lacks it, and the parts
    of a target written as text are at the text."""
    value: Any = data
    for depth, part in enumerate(path):
        is_there = part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))
        if not is_there:
            return path[:depth], value
        value = value[part]
    return path, value


class _Teller:
    """Gives mistakes their places and spells their paths."""

    def __init__(self, text: str, data: dict[str, Any]) -> None:
        self._places = Positions(text)
        self._data = data
        self._names = {key: _names(data.get(key)) for key in ("listener", "target_group")}

    def mistakes(self, wrong: list[Wrong]) -> list[Mistake]:
        return [self._mistake(one) for one in wrong]

    def _mistake(self, wrong: Wrong) -> Mistake:
        path, _ = _reach(self._data, wrong.path)
        offset = self._places.key(path) if wrong.at_key else self._places.value(path)
        line, column = self._places.line_column(offset)
        message = printable(wrong.message, _LONGEST) + self._see(wrong.other, line)
        return Mistake(line, column, self._spelled(path), message)

    def _see(self, other: Path | None, line: int) -> str:
        """Where the other half of a collision is: not when it is beside this one, nor a default that no line has."""
        if other is None:
            return ""
        path, value = _reach(self._data, other)
        if path != other and isinstance(value, dict):
            return ""
        there, _ = self._places.line_column(self._places.value(path))
        return f" (see line {there})" if there != line else ""

    def _spelled(self, path: Path) -> str:
        """`target_group.web.targets[2].weight`: tables of a list by their names where those tell them apart."""
        spelled = ""
        for depth, part in enumerate(path):
            if isinstance(part, str):
                key = part if _BARE_KEY.fullmatch(part) else f'"{printable(part, _LONGEST_KEY)}"'
                spelled += f".{key}" if spelled else key
            else:
                name = self._names.get(str(path[0]), {}).get(part) if depth == 1 else None
                spelled += f".{name}" if name else f"[{part}]"
        return spelled


def _names(tables: object) -> dict[int, str]:
    """Number in the list -> name, of tables whose name is good to read and not another's too."""
    if not isinstance(tables, list):
        return {}
    names = [table.get("name") if isinstance(table, dict) else None for table in tables]
    count = Counter(name for name in names if isinstance(name, str))
    return {
        number: name
        for number, name in enumerate(names)
        if isinstance(name, str) and count[name] == 1 and _BARE_KEY.fullmatch(name)
    }
