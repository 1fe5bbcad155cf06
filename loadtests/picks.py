"""What a choice of a target costs, among 10 and among 10,000. `python -m loadtests.picks`; some 20 seconds.

Each policy chooses for a group in a steady state: sessions end at random and others take their places, all counted in
memory as workers share it. A choice among 10,000 may cost 1.5 times as much as among 10, with least_connections twice
as much; else this exits with 1. Printed besides: what it costs to be told that a session left, to look at what other
workers did, and to build anew after a change.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from nlb.balance.group import Group
from nlb.balance.policy import Means
from nlb.balance.target import Target
from nlb.model.address import Address
from nlb.observe import counters
from nlb.observe.counters import ACTIVE, Row

FEW, MANY = 10, 10_000
WORKERS = 2
PER_TARGET = 20  # sessions that each worker has with a target
PICKS = 40_000
BATCH = 200
ROUNDS = 5


@dataclass(frozen=True)
class Case:
    policy: str
    bar: float
    max_load: float | None = None
    max_connections: int | None = None

    @property
    def title(self) -> str:
        more = f", max_load {self.max_load}" if self.max_load else ""
        return self.policy + more + (", limits" if self.max_connections else "")


CASES = [
    Case("round_robin", 1.5),
    Case("round_robin", 1.5, max_connections=1000),
    Case("least_connections", 2.0),
    Case("least_connections", 2.0, max_connections=1000),
    Case("random_two", 1.5),
    Case("maglev", 1.5),
    Case("maglev", 1.5, max_load=1.25),
    Case("source_ip", 1.5),
]


@dataclass
class Costs:
    """Of one choice and one ending in microseconds; of a look and a build in milliseconds."""

    pick: float
    left: float
    look: float
    build: float


class Bench:
    """A group as one of two workers has it, with its sessions."""

    def __init__(self, case: Case, count: int) -> None:
        memory = memoryview(bytearray(counters.size(WORKERS)))
        rows = [Row(memory, number) for number in range(WORKERS)]
        self.random = Random(1)
        self.targets = [self._target(number, rows, case.max_connections) for number in range(count)]
        means = Means(random=self.random.random, max_load=case.max_load)
        self.group = Group("web", case.policy, self.targets, means=means)
        self.group.rebuild()
        self.keys = [b"198.51.%d.%d" % divmod(number % 65_536, 256) for number in range(PICKS)]
        self.sessions: list[Target] = []
        self.counts_at_once = case.policy == "least_connections"
        for number in range(PER_TARGET * count):
            self.take([self.keys[number % PICKS]])

    def _target(self, number: int, rows: list[Row], limit: int | None) -> Target:
        target = Target(number, f"web{number}", "web", Address("10.0.0.1", 3000), max_connections=limit)
        target.words = rows[0].target(number)
        target.rows = tuple(row.sessions for row in rows)
        target.health.state = "healthy"
        rows[1].target(number)[ACTIVE] = PER_TARGET
        return target

    def take(self, keys: list[bytes]) -> float:
        """Seconds that the choices for these took. To count a session at one of 10,000 targets costs as much as to
        choose it, and is no part of the choice; only least_connections must see each before the next one comes."""
        pick = self.group.pick
        found: list[Any] = []
        began = time.thread_time()
        if self.counts_at_once:
            for key in keys:
                target: Any = pick(key, ())
                target.words[ACTIVE] += 1
                found.append(target)
        else:
            found = [pick(key, ()) for key in keys]
        took = time.thread_time() - began
        if not self.counts_at_once:
            for target in found:
                target.words[ACTIVE] += 1
        self.sessions += found
        return took

    def leave(self, target: Target) -> None:
        target.words[ACTIVE] -= 1  # type: ignore[index]
        if self.group.attentive:
            self.group.left(target)

    def measure(self) -> Costs:
        """In CPU time, and the median of many batches: what else this box does should not show."""
        batches = [self._batch(first) for _ in range(ROUNDS) for first in range(0, PICKS, BATCH)]
        pick, left = (statistics.median(costs) * 1e6 for costs in zip(*batches, strict=True))
        return Costs(pick, left, _milliseconds(self.group.look), _milliseconds(self._rebuild))

    def _batch(self, first: int) -> tuple[float, float]:
        """Seconds for one choice, and for one ending."""
        size = min(BATCH, len(self.sessions) // 2)
        ending = [self._any() for _ in range(size)]
        began = time.thread_time()
        for target in ending:
            self.leave(target)
        left = (time.thread_time() - began) / size
        return self.take(self.keys[first : first + size]) / size, left

    def _any(self) -> Target:
        """A session that ends. The last one takes its place: to move all behind it would empty the caches."""
        place = self.random.randrange(len(self.sessions))
        self.sessions[place], last = self.sessions[-1], self.sessions[place]
        self.sessions.pop()
        return last

    def _rebuild(self) -> None:
        weights = self.targets[0].weight
        self.targets[0].weight = 3 - weights  # 1 and 2 by turns
        self.group.rebuild()


def _milliseconds(action: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        action()
        times.append(time.thread_time() - began)
    return min(times) * 1000


def main() -> int:
    gc.set_threshold(50_000, 20, 100)  # as in a worker
    print(f"{'':30} {'pick us':>15}        {'left us':>13} {'look ms':>9} {'build ms':>9}")
    print(f"{'':30} {'of 10':>7} {'10,000':>7} {'ratio':>6} {'of 10':>6} {'10,000':>6} {'10,000':>9} {'10,000':>9}")
    missed = 0
    for case in CASES:
        few, many = Bench(case, FEW).measure(), Bench(case, MANY).measure()
        ratio = many.pick / few.pick
        missed += ratio > case.bar
        verdict = "" if ratio <= case.bar else f"  above {case.bar}"
        print(
            f"{case.title:30} {few.pick:7.2f} {many.pick:7.2f} {ratio:6.2f} {few.left:6.2f} {many.left:6.2f}"
            f" {many.look:9.2f} {many.build:9.2f}{verdict}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
