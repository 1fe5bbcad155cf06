"""What was measured, and what that says: medians over rounds, and ratios. Figures in, figures out."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One candidate in one round."""

    units: float  # of work: messages, connections, MB
    seconds: float
    user: float | None = None  # seconds of CPU of the balancer's own processes; None where nobody stood between
    system: float | None = None
    errors: int = 0
    p50: float | None = None  # ms
    p99: float | None = None
    load: float | None = None  # how busy the core of load and targets was, 0 to 1
    others: float | None = None  # what somebody else took of the balancer's core, 0 to 1
    memory: float | None = None  # KiB per connection
    share: float | None = None  # of all connections that the busiest worker has

    def figure(self, kind: str) -> float | None:
        """One of KINDS; None where this sample has none."""
        if kind in ("p50", "p99", "memory", "share", "load", "others"):
            return getattr(self, kind)  # type: ignore[no-any-return]
        if kind == "throughput":
            return self.units / self.seconds
        if self.user is None or self.system is None:
            return None
        if kind == "utilisation":
            return (self.user + self.system) / self.seconds
        used = {"cpu": self.user + self.system, "user": self.user, "system": self.system}[kind]
        return used / self.units * 1e6


# Figures that a case can be about: what it is called, and whether more is better.
KINDS: dict[str, tuple[str, bool]] = {
    "cpu": ("CPU per {unit}, us", False),
    "throughput": ("{unit}/s", True),
    "p99": ("p99, ms", False),
    "memory": ("memory per {unit}, KiB", False),
    "share": ("share of the busiest worker", False),
}


@dataclass
class Result:
    """One candidate in one case."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    skipped: str = ""  # why it was not measured
    failed: str = ""  # what went wrong

    def median(self, kind: str) -> float | None:
        found = [value for sample in self.samples if (value := sample.figure(kind)) is not None]
        return statistics.median(found) if found else None

    @property
    def errors(self) -> int:
        return sum(sample.errors for sample in self.samples)


@dataclass(frozen=True)
class Ratio:
    """The median over rounds, each round against the other's same round, so that drift hits both; the extremes."""

    value: float
    least: float
    most: float


def ratio(of: Result | None, to: Result | None, kind: str) -> Ratio | None:
    """None where one of them has no such figure, as `direct` has no CPU."""
    if of is None or to is None:
        return None
    found = [
        mine / theirs
        for one, other in zip(of.samples, to.samples, strict=False)
        if (mine := one.figure(kind)) is not None and (theirs := other.figure(kind))
    ]
    return Ratio(statistics.median(found), min(found), max(found)) if found else None


@dataclass(frozen=True)
class Bar:
    """What a figure must reach, and should: as a ratio to another candidate's, or (`to` empty) as it is."""

    kind: str
    must: float
    aim: float
    to: str = "haproxy"

    def judge(self, results: Sequence[Result]) -> Verdict | None:
        """Of nlb. None where one of the two was not measured."""
        known = {result.name: result for result in results}
        mine = known.get("nlb")
        if self.to:
            found = ratio(mine, known.get(self.to), self.kind)
            value = found.value if found else None
        else:
            value = mine.median(self.kind) if mine else None
        return None if value is None else Verdict(self, value)


@dataclass(frozen=True)
class Verdict:
    bar: Bar
    value: float

    @property
    def word(self) -> str:
        if self._reaches(self.bar.aim):
            return "aim reached"
        return "good enough" if self._reaches(self.bar.must) else "MISSED"

    def __str__(self) -> str:
        bar = self.bar
        what = {"cpu": "CPU", "share": "share of the busiest worker"}.get(bar.kind, bar.kind)
        sign = ">=" if KINDS[bar.kind][1] else "<="
        whose = f" to {bar.to}" if bar.to else ""
        return f"{what}{whose} {self.value:.2f} (must {sign} {bar.must:g}, aim {bar.aim:g}): {self.word}"

    def _reaches(self, wanted: float) -> bool:
        # To the digits that are shown: 1.004 is told as 1.00, and calling that more than 1 would puzzle.
        value = round(self.value, 2)
        return value >= wanted if KINDS[self.bar.kind][1] else value <= wanted


@dataclass
class Measured:
    """One case, with all its candidates."""

    name: str
    title: str
    unit: str
    kind: str  # the figure that it is about
    bars: Sequence[Bar] = ()
    results: list[Result] = field(default_factory=list)
    note: str = ""  # what else a reader must know
    skipped: str = ""  # why nothing of it was measured

    @property
    def measured(self) -> list[Result]:
        return [result for result in self.results if result.samples and not result.failed]

    @property
    def is_bad(self) -> bool:
        """Did anybody fail, or any answer?"""
        return any(result.failed or result.errors for result in self.results)

    def result(self, name: str) -> Result | None:
        return next((result for result in self.results if result.name == name), None)

    def ratio(self, name: str, to: str = "haproxy") -> Ratio | None:
        return ratio(self.result(name), self.result(to), self.kind)

    @property
    def verdicts(self) -> list[Verdict]:
        return [verdict for bar in self.bars if (verdict := bar.judge(self.results))]

    @property
    def figure(self) -> str:
        return KINDS[self.kind][0].format(unit=self.unit)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "kind": self.kind,
            "figure": self.figure,
            "note": self.note,
            "skipped": self.skipped,
            "verdicts": [str(verdict) for verdict in self.verdicts],
            "candidates": [self._plain(result) for result in self.results],
        }

    def _plain(self, result: Result) -> dict[str, Any]:
        if result.skipped or result.failed:
            return {"name": result.name, "skipped": result.skipped, "failed": result.failed}
        kinds = (
            "throughput",
            "cpu",
            "user",
            "system",
            "p50",
            "p99",
            "utilisation",
            "load",
            "others",
            "memory",
            "share",
        )
        found = self.ratio(result.name)
        return {
            "name": result.name,
            "errors": result.errors,
            **{kind: value for kind in kinds if (value := result.median(kind)) is not None},
            "ratio": asdict(found) if found else None,
            "samples": [
                {key: value for key, value in asdict(sample).items() if value is not None} for sample in result.samples
            ],
        }


@dataclass(frozen=True)
class Change:
    """A candidate's ratio to HAProxy in an earlier run and in this one."""

    case: str
    candidate: str
    then: float
    now: float

    @property
    def by(self) -> float:
        return self.now / self.then - 1


def changes(now: Sequence[Measured], then: dict[str, Any]) -> list[Change]:
    """What both runs have. `then` is the JSON of the earlier one. Raises KeyError or TypeError if it is no such."""
    before = {
        (case["name"], candidate["name"]): candidate["ratio"]["value"]
        for case in then["cases"]
        for candidate in case["candidates"]
        if candidate.get("ratio")
    }
    return [
        Change(case.name, result.name, before[case.name, result.name], found.value)
        for case in now
        for result in case.results
        if result.name not in ("haproxy", "direct")
        and (case.name, result.name) in before
        and (found := case.ratio(result.name))
    ]
