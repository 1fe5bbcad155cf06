"""Counts of many targets, over all workers."""

from __future__ import annotations

from array import array

import pytest

from nlb.balance.loads import Loads
from tests.unit.balance.box import make


@pytest.mark.parametrize("targets", [0, 1, 2, 5])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_target_has_the_sum_over_all_workers(targets: int, workers: int) -> None:
    made = make([1] * targets, workers)
    for number, row in enumerate(made[0].rows if made else ()):
        for target in made:
            row[target.id] = 10**number * target.id  # type: ignore[index]
    ones = int("1" * workers or "0")
    assert list(Loads(made).read()) == [ones * target.id for target in made]


def test_only_those_asked_for_in_the_order_asked_for() -> None:
    made = make([1] * 4, workers=1)
    made[0].rows[0][:] = [0, 10, 20, 30, 40]  # type: ignore[index]
    assert list(Loads([made[3], made[0]]).read()) == [40, 10]


def test_counts_may_lie_in_shared_memory_between_other_words() -> None:
    (target,) = make([1])
    memory = memoryview(array("Q", range(30)))
    target.rows = (memory[2:15:5], memory[17:30:5])
    loads = Loads([target])
    assert list(loads.read()) == [7 + 22]
    memory[7] = 100
    assert (list(loads.read()), target.sessions) == ([122], 122)
