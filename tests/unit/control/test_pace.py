"""Rates: over as many seconds as are known, up to ten."""

from __future__ import annotations

import pytest

from nlb.control.pace import KEPT, Pace


def pace(*counts: int | None, key: int = 3) -> Pace:
    """A sample each second, from second 0 on; None where the counter was not there."""
    made = Pace()
    for second, count in enumerate(counts):
        made.sample(float(second), {} if count is None else {key: count})
    return made


@pytest.mark.parametrize(
    ("counts", "now", "count", "rate"),
    [
        ([], 1.0, 5, None),
        ([0], 0.1, 5, None),
        ([0], 1.0, 5, 5.0),
        ([0, 10], 2.0, 30, 15.0),
        ([0, 10], 1.2, 24, 20.0),
        ([None, 10], 2.0, 30, 20.0),
        ([7, 7, 7], 3.0, 7, 0.0),
        ([900, 900], 2.0, 3, None),
        (list(range(0, 1000, 10)), 100.0, 1000, 10.0),
        ([0] * 90 + [100] * KEPT, 100.0, 100, 0.0),
    ],
    ids=[
        "no sample yet",
        "just sampled",
        "one second",
        "over all samples",
        "between two samples",
        "it came later",
        "nothing moves",
        "another owner",
        "steady",
        "what was longer ago does not count",
    ],
)
def test_a_rate(counts: list[int | None], now: float, count: int, rate: float | None) -> None:
    assert pace(*counts).of(3, now, count) == rate
    assert pace(*counts).of(4, now, count) is None
