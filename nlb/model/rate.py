"""How often something may happen: "50/s burst 100"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nlb.model.values import kind

# Of a rate and a burst.
MOST = 1_000_000

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE = re.compile(r"([0-9]{1,9})/([1-9][0-9]{0,3})?([smhd])(?: burst ([0-9]{1,9}))?")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many per `seconds`, and `burst` at once after a pause."""

    count: int
    seconds: float
    burst: int

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    def __str__(self) -> str:
        unit = next((unit for unit, length in _UNITS.items() if length == self.seconds), None)
        unit = unit or next(
            f"{self.seconds / length:g}{unit}"
            for unit, length in reversed(_UNITS.items())
            if self.seconds % length == 0
        )
        return f"{self.count}/{unit} burst {self.burst}"


def rate(value: object) -> Rate:
    """Read "50/s burst 100". Without a burst it is as much as comes in one unit."""
    if isinstance(value, Rate):
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        shown = f"'{value}'" if isinstance(value, str) else kind(value)
        raise ValueError(f'{shown} is not a rate; write one such as "50/s", "5/m burst 10" or "100/10s"')
    count, times, unit, burst = match.groups()
    read = Rate(int(count), int(times or 1) * _UNITS[unit], int(burst or count))
    for number, what in ((read.count, "a rate"), (read.burst, "a burst")):
        if not 1 <= number <= MOST:
            raise ValueError(f"{number} is outside 1-{MOST}, the bounds of {what}")
    return read
