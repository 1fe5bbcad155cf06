"""The latest results of a target: what is kept, in what order, and how little room it takes."""

from __future__ import annotations

import tracemalloc

import pytest

from nlb.control.history import LENGTH, LONGEST, History


def after(count: int) -> History:
    history = History()
    for number in range(count):
        history.add(1_700_000_000.25 + number, number % 3 > 0, f"status {number}", number / 1000, number % 10 == 0)
    return history


def test_a_result_comes_back_as_it_was() -> None:
    history = History()
    history.add(1_700_000_000.125, True, "status 200", 0.0015, True)
    assert list(history) == [
        {
            "at": 1_700_000_000.125,
            "by": "probe",
            "ok": True,
            "detail": "status 200",
            "took": 0.0015,
            "count": 1,
            "changed": True,
        }
    ]


@pytest.mark.parametrize("count", [0, 1, LENGTH - 1, LENGTH, LENGTH + 1, 3 * LENGTH, 3 * LENGTH + 7])
def test_the_latest_are_kept_oldest_first(count: int) -> None:
    first = max(0, count - LENGTH)
    history = after(count)
    assert len(history) == count - first
    assert [result["detail"] for result in history] == [f"status {number}" for number in range(first, count)]
    assert [result["at"] for result in history] == [1_700_000_000.25 + number for number in range(first, count)]
    assert [result["ok"] for result in history] == [number % 3 > 0 for number in range(first, count)]
    assert [result["changed"] for result in history] == [number % 10 == 0 for number in range(first, count)]


def traffic(history: History) -> list[tuple[str, int, bool]]:
    return [(result["detail"], result["count"], result["changed"]) for result in history if result["by"] == "traffic"]


def test_connects_that_failed_are_told_apart_and_have_no_time() -> None:
    history = History()
    history.add_traffic(1000.0, "connection refused (seen by traffic)", 3, True)
    (result,) = history
    assert (result["by"], result["ok"], result["took"], result["count"]) == ("traffic", False, None, 3)


def test_a_run_of_failed_connects_is_one_result() -> None:
    history = History()
    history.add(1000.0, True, "connected", 0.001, False)
    for number in range(500):
        history.add_traffic(1001.0 + number, "refused", 3, False)
    assert traffic(history) == [("refused", 1500, False)]
    assert [result["at"] for result in history] == [1000.0, 1500.0]


def test_a_run_ends_with_a_probe_another_cause_or_a_change() -> None:
    history = History()
    history.add_traffic(1.0, "refused", 1, False)
    history.add_traffic(2.0, "late", 1, False)
    history.add_traffic(3.0, "late", 1, True)
    history.add_traffic(4.0, "late", 1, False)
    history.add_traffic(5.0, "late", 1, False)
    history.add(6.0, False, "late", 0.1, False)
    history.add_traffic(7.0, "late", 1, False)
    assert traffic(history) == [
        ("refused", 1, False),
        ("late", 1, False),
        ("late", 1, True),
        ("late", 2, False),
        ("late", 1, False),
    ]


@pytest.mark.parametrize("before", [LENGTH - 1, LENGTH, LENGTH + 1, 2 * LENGTH])
def test_a_run_goes_on_over_the_end_of_the_ring(before: int) -> None:
    history = after(before)
    history.add_traffic(2.0, "refused", 1, False)
    history.add_traffic(3.0, "refused", 1, False)
    assert traffic(history) == [("refused", 2, False)]
    assert list(history)[-1]["at"] == 3.0


def test_a_long_detail_is_cut() -> None:
    history = History()
    history.add(1.0, True, "x" * 10_000, 0.1, False)
    assert next(iter(history))["detail"] == "x" * LONGEST


def test_a_calm_target_takes_little_room() -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    histories = [History() for _ in range(20)]
    for number in range(LENGTH * 2):
        for history in histories:
            history.add(1_700_000_000.0 + number, True, f"status {200}", 0.001, False)
    size = (tracemalloc.get_traced_memory()[0] - before) / len(histories)
    tracemalloc.stop()
    assert size < 1600
