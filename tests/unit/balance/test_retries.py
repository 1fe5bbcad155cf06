"""The budget of repeats: a part of the requests, of whatever window they were."""

from __future__ import annotations

import pytest

from nlb.balance.retries import LEAST, WINDOW, RetryBudget


class Requests:
    """A group that had so many."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        return self.count


def granted(budget: RetryBudget, now: float) -> int:
    """How many repeats it allows now."""
    allowed = 0
    while budget.allows(now):
        allowed += 1
    return allowed


@pytest.mark.parametrize(
    ("percent", "requests", "repeats"), [(20, 0, LEAST), (20, 10, LEAST), (20, 100, 20), (1, 1000, 10), (0, 1000, 0)]
)
def test_a_part_of_the_requests_may_be_repeated(percent: float, requests: int, repeats: int) -> None:
    count = Requests()
    budget = RetryBudget(percent, count)
    budget.turn(100.0)
    count.count += requests
    assert granted(budget, 105.0) == repeats


def test_what_fails_first_in_a_window_counts_on_the_one_before() -> None:
    count = Requests()
    budget = RetryBudget(20, count)
    budget.turn(100.0)
    count.count += 1000
    budget.turn(100.0 + WINDOW)
    assert granted(budget, 100.0 + WINDOW) == 200
    assert granted(budget, 100.0 + 2 * WINDOW - 0.1) == 0, "once in each window"


def test_after_two_quiet_windows_little_is_left() -> None:
    count = Requests()
    budget = RetryBudget(20, count)
    budget.turn(100.0)
    count.count += 1000
    budget.turn(100.0 + WINDOW)
    budget.turn(100.0 + 2 * WINDOW)
    assert granted(budget, 101.0 + 2 * WINDOW) == LEAST
