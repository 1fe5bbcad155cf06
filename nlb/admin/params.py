"""The parameters of admin commands, and readers for what people and programs write there.

A reader takes what was written, text or JSON, and gives the value or raises ValueError with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nlb.control import inquiry
from nlb.model.nearest import did_you_mean
from nlb.model.units import parse_duration
from nlb.shield.cidr import parse

# A reason is shown in one column of a table and kept in the state directory.
LONGEST_TEXT = 200

# Seconds. Shorter is over before anybody can look; what shall last longer belongs into the config.
SHORTEST_TIME, LONGEST_TIME = 1.0, 366 * 86400.0


@dataclass(frozen=True, slots=True)
class Param:
    """One argument or option of a command."""

    name: str
    help: str
    read: Callable[[Any], Any]
    metavar: str
    default: Any = None
    argument: bool = False  # given by its place, not as --name
    required: bool = False
    words: tuple[str, ...] = ()  # all that it may be, where those are few
    names: str = ""  # whose name it is: target, group or listener
    many: bool = False  # an option that may be given several times: `read` gets the list
    flag: bool = False  # an option that is given or not, and has no value


def read_text(written: object) -> str:
    if not isinstance(written, str):
        raise ValueError(f"{written!r} is not a text")
    if len(written) > LONGEST_TEXT:
        raise ValueError(f"{len(written)} characters are too many; {LONGEST_TEXT} are allowed")
    if not written.isprintable():
        raise ValueError("control characters are not allowed")
    return written


def read_name(written: object) -> str:
    if not (name := read_text(written)):
        raise ValueError("an empty name names nothing")
    return name


def read_url(written: object) -> str:
    if not isinstance(written, str):
        raise ValueError(f"{written!r} is not a text")
    inquiry.parse_url(written)
    return written


def read_source(written: object) -> str:
    """An address that a client may have."""
    inquiry.parse_source(text := read_text(written))
    return text


def read_network(written: object) -> str:
    """An address, or a network with its length."""
    parse(text := read_text(written))
    return text


def read_headers(written: object) -> list[str]:
    """Lines of a head."""
    if not isinstance(written, (list, tuple)) or not all(isinstance(line, str) for line in written):
        raise ValueError("must be a list of texts such as 'X-Canary: 1'")
    inquiry.check_headers(written)
    return list(written)


def read_protocols(written: object) -> list[str]:
    """Names of protocols, as ALPN has them."""
    if not isinstance(written, (list, tuple)) or not all(isinstance(name, str) for name in written):
        raise ValueError("must be a list of names such as h2")
    inquiry.check_protocols(written)
    return list(written)


def read_flag(written: object) -> bool:
    if not isinstance(written, bool):
        raise ValueError(f"{written!r} is neither true nor false")
    return written


def read_time(written: object) -> float:
    """For how long something shall hold."""
    seconds = parse_duration(written)
    if not SHORTEST_TIME <= seconds <= LONGEST_TIME:
        raise ValueError("must be from 1s to 366d, such as 30m")
    return seconds


def read_number(written: object) -> float:
    """A number of a JSON request, or the same as text."""
    try:
        if isinstance(written, (int, float, str)) and not isinstance(written, bool):
            return float(written)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{str(written)[:40]!r} is not a number")


def whole(least: int, most: int) -> Callable[[Any], int]:
    """A reader of whole numbers from `least` to `most`."""

    def read(written: object) -> int:
        if isinstance(written, str) and written.isascii() and written.isdigit() and len(written) < 20:
            written = int(written)
        if isinstance(written, bool) or not isinstance(written, int):
            raise ValueError(f"{written!r} is not a whole number from {least} to {most}")
        if not least <= written <= most:
            raise ValueError(f"{written} is outside {least}-{most}")
        return written

    return read


def one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    """A reader of one of these words."""

    def read(written: object) -> str:
        if written not in words:
            wanted = str(written)[:40]
            raise ValueError(f"'{wanted}' is none of {', '.join(words)}{did_you_mean(wanted, words)}")
        return str(written)

    return read
