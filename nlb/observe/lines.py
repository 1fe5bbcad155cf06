"""What a record looks like: a line of text for people, a JSON object for programs, fields for the journal. All three
come from one list of fields and say the same words; what a stranger sent never leaves its quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _json_string
from typing import Any

Convert = Callable[[Any], str]

# As syslog and the journal number them.
_PRIORITIES = {"error": 3, "warning": 4, "info": 6}

# Harmless between spaces and behind "key=". "-" alone stands for nothing.
_is_bare = re.compile(r"(?!-\Z)[!#-<>-\[\]-~]++").fullmatch


def timestamp(seconds: float) -> str:
    """Unix seconds as `2026-11-23T10:04:30.123Z`."""
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second(whole: int) -> str:
    # Asked for once per line, another one each second: 0.1 us instead of 1.5.
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def quoted(text: str) -> str:
    """As a JSON string, in ASCII: no byte of it can end a line or the quotes."""
    string = _json_string(text)
    if "\\ud" in string:  # half of a pair, which stands for a byte that was no UTF-8, is not valid in JSON
        return _json_string(text.encode(errors="backslashreplace").decode())
    return string


def plain_or_quoted(text: str) -> str:
    return text if _is_bare(text) else quoted(text)


def printable(line: str) -> str:
    """Without anything that a terminal would act on, or another program take for the end of the line."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def _wire(data: bytes) -> str:
    text = data.decode(errors="surrogateescape")
    return text if _is_bare(text) else quoted(text)


def _quoted_wire(data: bytes) -> str:
    return quoted(data.decode(errors="surrogateescape"))


@dataclass(frozen=True, slots=True)
class Type:
    """How a field's value is written: its slot in the line, and what is done to the value before, if anything."""

    text: str
    json: str
    to_text: Convert | None = None
    to_json: Convert | None = None


NUMBER = Type("%d", "%d")
SECONDS = Type("%.6f", "%.6f")
WORD = Type("%s", '"%s"')  # a name of the config or one of our words: they have neither spaces nor quotes
TEXT = Type("%s", "%s", plain_or_quoted, quoted)  # from a stranger
WIRE = Type("%s", "%s", _wire, _quoted_wire)  # the same as bytes


def optional(kind: Type) -> Type:
    """The same, or None: `-` in text, null in JSON."""
    return Type("%s", "%s", _or(kind.text, kind.to_text, "-"), _or(kind.json, kind.to_json, "null"))


def _or(slot: str, convert: Convert | None, nothing: str) -> Convert:
    if convert is not None:
        return lambda value: nothing if value is None else convert(value)
    if slot in ("%s", "%d"):  # a third of the time of the one below, and a line of a request has many of them
        return lambda value: nothing if value is None else value
    return lambda value: nothing if value is None else slot % value


@dataclass(frozen=True, slots=True)
class _Form:
    """A line with a slot for the time and one for each value, in order, so many times over."""

    template: str
    converts: tuple[tuple[int, Convert], ...]
    times: int = 1


class Layout:
    """A kind of record that is written often: everything that is the same in each is put together here."""

    def __init__(self, kind: str, fields: Mapping[str, Type]) -> None:
        types = list(fields.values())
        text = f"{kind} " + " ".join(f"{name}={kind.text}" for name, kind in fields.items())
        members = ",".join(f'"{name}":{kind.json}' for name, kind in fields.items())
        entries = "".join(f"NLB_{name.upper()}={kind.text}\n" for name, kind in fields.items())
        to_text = tuple((at, kind.to_text) for at, kind in enumerate(types) if kind.to_text)
        to_json = tuple((at, kind.to_json) for at, kind in enumerate(types) if kind.to_json)
        self._forms = {
            "text": _Form(f"%s info {text}\n", to_text),
            "json": _Form(f'{{"time":"%s","level":"info","kind":"{kind}",{members}}}\n', to_json),
            "journal": _Form(f"NLB_TIME=%s\nMESSAGE={text}\n{_journal_head('info', kind)}{entries}", to_text, 2),
        }

    def line(self, form: str, seconds: float, values: list[Any]) -> bytes:
        """A record of that time. `values` are in the order of the fields and are used up."""
        layout = self._forms[form]
        for at, convert in layout.converts:
            values[at] = convert(values[at])
        return (layout.template % (timestamp(seconds), *values * layout.times)).encode(errors="backslashreplace")


def event(form: str, seconds: float, level: str, kind: str, text: str, facts: Mapping[str, Any]) -> bytes:
    """A record that says its matter in words; `facts` are for programs, and the text has them too."""
    said = [printable(line) for line in text.rstrip("\n").split("\n")]
    return _EVENTS[form](timestamp(seconds), level, kind, said, facts)


def _text_event(time: str, level: str, kind: str, said: list[str], facts: Mapping[str, Any]) -> bytes:
    return "".join(f"{time} {level} {kind} {line}\n" for line in said).encode()


def _json_event(time: str, level: str, kind: str, said: list[str], facts: Mapping[str, Any]) -> bytes:
    record = {"time": time, "level": level, "kind": kind, "text": "\n".join(said), **facts}
    values = (quoted(value) if isinstance(value, str) else json.dumps(value) for value in record.values())
    return ("{" + ",".join(f'"{name}":{value}' for name, value in zip(record, values, strict=True)) + "}\n").encode()


def _journal_event(time: str, level: str, kind: str, said: list[str], facts: Mapping[str, Any]) -> bytes:
    message = "\n".join(said).encode()
    entries = "".join(f"NLB_{name.upper()}={printable(str(value))}\n" for name, value in facts.items())
    head = f"NLB_TIME={time}\n{_journal_head(level, kind)}{entries}".encode(errors="backslashreplace")
    # The one form in which a value may have several lines: its length before it.
    return head + b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n"


def _journal_head(level: str, kind: str) -> str:
    return f"PRIORITY={_PRIORITIES[level]}\nSYSLOG_IDENTIFIER=nlb\nNLB_KIND={kind}\n"


_EVENTS = {"text": _text_event, "json": _json_event, "journal": _journal_event}
