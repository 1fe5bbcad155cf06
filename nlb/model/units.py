"""Durations, sizes and rates as people write them, and durations and rates as people read them. In and out are plain
numbers: seconds, bytes, events per second.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"{_PART.pattern}(?: ?{_PART.pattern})*")
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_RATE = re.compile(r"([0-9]{1,9})/([a-z]+)(?: burst ([0-9]{1,9}))?")

# A rate is shown by the first that makes it a whole number.
_RATE_UNITS = {unit: _SECONDS[unit] for unit in ("s", "m", "h", "d")}
_RATE_EXAMPLES = '"50/s burst 100", "5/m"'

# Events. Faster than any box; what a bucket counts stays exact up to here.
_MOST_EVENTS = 1_000_000


class Rate(NamedTuple):
    """So many events a second in the long run, and so many at once after a pause."""

    per_second: float
    burst: int


def parse_duration(value: object) -> float:
    """Seconds of a number, or of text such as "500ms", "10s", "1m 30s", "2h", "1d".

    Raises ValueError with a sentence that says what is wrong and what would be right.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _seconds(value)
    if not isinstance(value, str):
        raise ValueError('a duration is seconds or text such as "500ms", "10s", "30m", "2h"')
    if _NUMBER.fullmatch(value):
        return float(value)
    if _DURATION.fullmatch(value):
        return math.fsum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    if value.startswith("-"):
        raise ValueError("a duration cannot be negative")
    raise ValueError(f"'{_short(value)}' is not a duration; write seconds, or 500ms, 10s, 30m, 2h, 1d")


def parse_size(value: object) -> int:
    """Bytes of a whole number, or of text such as "64KiB", "1.5MiB", "2GiB". Raises ValueError as above."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("a size cannot be negative")
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a size is bytes or text such as "64KiB", "10MiB", "2GiB"')
    number, unit = match.groups()
    if unit and unit not in _BYTES:
        raise ValueError(f"'{_short(unit)}' is not a unit of size; write {', '.join(_BYTES)}")
    size = float(number) * _BYTES[unit or "B"]
    if not size.is_integer():
        raise ValueError(f"'{_short(str(value))}' is not a whole number of bytes")
    return int(number) * _BYTES[unit or "B"] if number.isdigit() else int(size)


def parse_rate(value: object) -> Rate:
    """Read "50/s burst 100" or "5/m", whose burst is 5. Raises ValueError with a sentence."""
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        said = f"'{_short(value)}' is not a rate; write" if isinstance(value, str) else "a rate is text such as"
        raise ValueError(f"{said} {_RATE_EXAMPLES}")
    count, unit, burst = int(match[1]), match[2], int(match[3] or match[1])
    if unit not in _RATE_UNITS:
        raise ValueError(f"'{_short(unit)}' is not a unit of a rate; write 50/s, 50/m, 50/h or 50/d")
    if count == 0 or burst == 0:
        raise ValueError(f"0 would refuse everybody; write a rate such as {_RATE_EXAMPLES}")
    if max(count, burst) > _MOST_EVENTS:
        raise ValueError(f"{max(count, burst)} is more than any limit needs; at most {_MOST_EVENTS}")
    return Rate(count / _RATE_UNITS[unit], burst)


def format_rate(rate: Rate) -> str:
    """As it may be written, in the shortest unit that makes a whole number: "50/s burst 100"."""
    counts = {unit: rate.per_second * length for unit, length in _RATE_UNITS.items()}
    whole = (unit for unit, count in counts.items() if round(count) and abs(count - round(count)) < 1e-6)
    unit = next(whole, "d")
    return f"{counts[unit]:.9g}/{unit} burst {rate.burst}"


def format_duration(seconds: float) -> str:
    """For people, so rounded: "0s", "250ms", "1.5s", then the two largest units: "1m 30s", "2h", "3d 4h"."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    milliseconds = round(seconds * 1000, 1)
    if 0 < milliseconds < 1000:
        return f"{milliseconds:g}ms"
    if round(seconds, 1) < 60:
        return f"{round(seconds, 1):g}s"
    rest, parts = round(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        parts.append(f"{count}{unit}" if count else "")
    first = next(place for place, part in enumerate(parts) if part)
    return " ".join(part for part in parts[first : first + 2] if part)


def _seconds(number: float) -> float:
    try:
        seconds = float(number)
    except OverflowError:
        raise ValueError("that is longer than any duration; write seconds, or 30m, 2h, 1d") from None
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} is not a duration; write seconds, or 30m, 2h, 1d")
    if seconds < 0:
        raise ValueError("a duration cannot be negative")
    return seconds


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
