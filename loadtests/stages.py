"""What a stage of the scale-out check measured, and what the stages together say. Figures in, words out: nothing here
measures, and nothing needs locust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

# Of the throughput that targets have, how much must arrive: 4 targets shall give 3.2 times what one gives.
EFFICIENCY = 0.8


def read_stages(text: str) -> list[int]:
    """How many targets each stage has, from "1,2,4"."""
    try:
        stages = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"'{text}' is not a list of numbers of targets, like 1,2,4") from None
    if len(stages) < 2 or stages[0] != 1 or stages != sorted(stages):
        raise ValueError(f"'{text}' does not begin with 1 target and grow, like 1,2,4")
    return stages


def title(targets: int) -> str:
    return "1 target" if targets == 1 else f"{targets} targets"


@dataclass(frozen=True)
class Stage:
    """The requests that were answered in these seconds, each with the milliseconds it took. `failed` are those of the
    warm-up too: a request that is lost while targets are added is lost."""

    targets: int
    seconds: float
    times: Sequence[float]
    failed: int = 0

    @property
    def throughput(self) -> float:
        """Requests per second."""
        return len(self.times) / self.seconds

    @property
    def p50(self) -> float:
        return self._percentile(50)

    @property
    def p99(self) -> float:
        return self._percentile(99)

    def _percentile(self, percent: int) -> float:
        """By nearest rank: a time that somebody waited."""
        if not self.times:
            return 0.0
        return sorted(self.times)[ceil(percent / 100 * len(self.times)) - 1]


# What is told of a stage: the column's head, how the figure is got, and its digits after the point.
FIGURES = (
    ("requests/s", lambda stage: stage.throughput, 1),
    ("p50 ms", lambda stage: stage.p50, 0),
    ("p99 ms", lambda stage: stage.p99, 0),
)


def rows(stages: Sequence[Stage]) -> list[list[str]]:
    """A table with its head: each figure, and its ratio to the first stage's."""
    head = ["targets"]
    for name, _, _ in FIGURES:
        head += [name, "ratio"]
    table = [[*head, "failed"]]
    for stage in stages:
        row = [str(stage.targets)]
        for _, figure, digits in FIGURES:
            row += [f"{figure(stage):.{digits}f}", ratio(figure(stage), figure(stages[0]))]
        table.append([*row, str(stage.failed)])
    return table


def ratio(one: float, other: float) -> str:
    return f"{one / other:.2f}" if other else "-"


@dataclass(frozen=True)
class Verdict:
    good: bool
    text: str


def verdict(stages: Sequence[Stage]) -> Verdict:
    """Do all targets together give nearly as many times what one gives, and is every request answered?"""
    first, last = stages[0], stages[-1]
    wanted = EFFICIENCY * last.targets / first.targets
    if failed := sum(stage.failed for stage in stages):
        return Verdict(False, f"{failed} requests failed; none should, whatever is added")
    if not first.throughput:
        return Verdict(False, f"no request was answered by {title(first.targets)}")
    reached = last.throughput / first.throughput
    text = f"{title(last.targets)} give {reached:.2f} times the throughput of {title(first.targets)}"
    if reached < wanted:
        return Verdict(False, f"{text}; at least {wanted:.1f} was wanted")
    return Verdict(True, f"{text} (wanted: at least {wanted:.1f})")


def lines(stages: Sequence[Stage]) -> str:
    """The table, for a terminal."""
    table = rows(stages)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in table)
