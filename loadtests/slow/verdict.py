"""From visits to figures, and whether they are good. Nothing here measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from loadtests.peers.client import percentile
from loadtests.slow.sentinel import Standstill
from loadtests.slow.visitors import KEPT, NEW, Visit

# What normal clients may notice: twice the time of a calm hour, or this many milliseconds.
TIMES, ENOUGH = 2.0, 10.0

# The share of the connections wanted that makes it an attack.
HELD = 0.9


@dataclass(frozen=True)
class Times:
    """Milliseconds that visitors of a kind waited."""

    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.p50:.2f} {self.p99:.2f}"


@dataclass
class Figures:
    """Of one attack on one balancer."""

    calm: dict[str, Times | None]
    under: dict[str, Times | None]
    errors: Counter[str]  # of visitors, by what was wrong
    left_out: int = 0  # visits while the box itself stood still
    wanted: int = 0  # connections that the attacker would hold
    held: int = 0  # those it had, at most
    cpu: float = 0.0  # cores that the balancer used, under attack
    calm_cpu: float = 0.0
    memory: float = 0.0  # MiB that it grew by, at most
    outcomes: dict[str, int] = field(default_factory=dict)

    @property
    def allowed(self) -> dict[str, float]:
        """The p99 that would be good, in ms, by kind."""
        return {kind: max(TIMES * times.p99, ENOUGH) for kind, times in self.calm.items() if times}

    @property
    def trouble(self) -> str:
        """What is not good; empty if all is."""
        if self.errors:
            return f"{self.errors.total()} errors: {self.errors.most_common(1)[0][0]}"
        if self.held < self.wanted * HELD:
            return "too few attackers came in to judge"
        kept, allowed = self.under[KEPT], self.allowed.get(KEPT)
        if kept is None or allowed is None:
            return "too few visits to judge"
        return f"p99 is over {allowed:.1f} ms" if kept.p99 > allowed else ""


def figures(
    visits: Iterable[Visit],
    calm: Sequence[tuple[float, float]],
    under: tuple[float, float],
    standstills: Sequence[Standstill] = (),
) -> Figures:
    """`calm` and `under` are spans of time. An error in the time between counts as well."""
    visits = list(visits)
    whole = min(start for start, _ in calm), max(end for _, end in calm)
    errors = Counter(visit.wrong for visit in visits if visit.wrong and _is_in(visit, [whole]))
    fair = [visit for visit in visits if not any(each.meets(visit.at, visit.seconds) for each in standstills)]
    left_out = sum(_is_in(visit, [whole]) for visit in visits) - sum(_is_in(visit, [whole]) for visit in fair)
    return Figures(_by_kind(fair, calm), _by_kind(fair, [under]), errors, left_out)


def _by_kind(visits: Sequence[Visit], spans: Sequence[tuple[float, float]]) -> dict[str, Times | None]:
    within = [visit for visit in visits if not visit.wrong and _is_in(visit, spans)]
    return {kind: _times([visit.seconds for visit in within if visit.kind == kind]) for kind in (KEPT, NEW)}


def _is_in(visit: Visit, spans: Iterable[tuple[float, float]]) -> bool:
    return any(start <= visit.at < end for start, end in spans)


def _times(seconds: list[float]) -> Times | None:
    seconds.sort()
    return Times(percentile(seconds, 0.50), percentile(seconds, 0.99)) if seconds else None


def grown(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> dict[str, int]:
    """Counters that moved, as `sessions data/done`, the most first."""
    moved = {
        f"{table} {name}": count - before.get(table, {}).get(name, 0)
        for table, counts in after.items()
        for name, count in counts.items()
    }
    return dict(sorted(((name, count) for name, count in moved.items() if count > 0), key=lambda item: -item[1]))
