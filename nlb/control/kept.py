"""What operators wish and what must survive a restart, as it is kept: a document with a list of entries, each of which
may have an end. An operator may have edited it, so each entry is judged by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol, TypeVar

from nlb.control.state import Data, Say, StateDir
from nlb.model.phrases import printable

# Characters of any text here; names and reasons are held shorter where they come in.
LONGEST = 256

# Unix seconds; past any date that anybody could mean, and no longer than a float is exact.
_END_OF_TIME = 1e12

# Damaged entries that an event shows, and characters of each.
_SHOWN = 5
_SHOWN_LENGTH = 200


class Entry(Protocol):
    """A dataclass; times are unix seconds, and without `until` it lasts."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def when(self) -> float: ...

    @property
    def until(self) -> float | None: ...


E = TypeVar("E", bound=Entry)


def load(state: StateDir | None, what: str, kind: type[E], take_in: Callable[[E], None], say: Say) -> None:
    """Give `take_in` every entry of the document that is called `what`, as its list is. It raises ValueError for one
    that cannot be used: what is damaged is named, and left out."""

    def check(data: Data) -> None:
        if not isinstance(data.get(what), list):
            raise ValueError(f"it has no list of {what}")

    data = state.load(what, check) if state else None
    damaged = list(_damaged(data[what], kind, take_in)) if data else []
    if data and damaged:
        more = [f"and {len(damaged) - _SHOWN} more"] if len(damaged) > _SHOWN else []
        head = f"{len(damaged)} of {len(data[what])} {what} on disk cannot be used and are dropped"
        say("error", "operator", "\n".join([head, *damaged[:_SHOWN], *more]))


def save(state: StateDir | None, what: str, entries: Iterable[Entry]) -> None:
    if state:
        state.save(what, {what: [plain(entry) for entry in entries]})


def plain(entry: Entry) -> Data:
    """As JSON data."""
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}


def judge(entry: Entry, *texts: str) -> None:
    """Are its times and these fields of the right type, and of a size that we keep? Raises ValueError."""
    for name in texts:
        value = getattr(entry, name)
        if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST:
            raise ValueError(f"{name} must be text on one line, of at most {LONGEST} characters")
    _time("when", entry.when)
    if entry.until is not None:
        _time("until", entry.until)


def ended(entries: Iterable[E], now: float) -> list[E]:
    """Those whose time has come; `now` in unix seconds."""
    return [entry for entry in entries if entry.until is not None and entry.until <= now]


def next_end(entries: Iterable[Entry]) -> float | None:
    """When the next one ends, in unix seconds."""
    return min((entry.until for entry in entries if entry.until is not None), default=None)


def _damaged(entries: list[object], kind: type[E], take_in: Callable[[E], None]) -> Iterator[str]:
    for entry in entries:
        try:
            take_in(_read(entry, kind))
        except ValueError as error:
            yield f"{printable(json.dumps(entry), _SHOWN_LENGTH)}: {printable(str(error), _SHOWN_LENGTH)}"


def _read(entry: object, kind: type[E]) -> E:
    names = [field.name for field in fields(kind)]
    if not isinstance(entry, dict):
        raise ValueError("not an object")
    if missing := [name for name in names if name not in entry]:
        raise ValueError(f"{missing[0]} is missing")
    if unknown := [name for name in entry if name not in names]:
        raise ValueError(f"{unknown[0]} is unknown")
    return kind(**entry)


def _time(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < _END_OF_TIME:
        raise ValueError(f"{name} must be unix seconds")
