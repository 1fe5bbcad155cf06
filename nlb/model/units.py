"""Durations and sizes as people write them, and durations as people read them. In and out are plain numbers:
seconds and bytes.
"""

from __future__ import annotations

import math
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"{_PART.pattern}(?: ?{_PART.pattern})*")
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")


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
