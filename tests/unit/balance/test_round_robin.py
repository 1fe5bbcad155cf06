"""In turns by weight, from a start of each worker's own."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.balance.policy import Means, Policy
from nlb.balance.round_robin import LONGEST_SCHEDULE, RoundRobin
from tests.unit.balance.box import built, chosen, make


@pytest.mark.parametrize(
    ("weights", "served"),
    [
        ([1], "aaaa"),
        ([1, 1, 1], "abcabc"),
        ([1, 2, 5], "cbcaccbccbcaccbc"),
        ([10, 20, 50], "cbcaccbc"),
        ([3, 3], "abab"),
        ([], "--"),
    ],
)
def test_round_robin_by_weight(weights: list[int], served: str) -> None:
    assert chosen(built(RoundRobin(Means()), make(weights)), len(served)) == served


@given(st.lists(st.integers(1, 50), min_size=1, max_size=10), st.integers(0, 16))
def test_a_round_from_any_start_gives_everyone_exactly_the_weight(weights: list[int], offset: int) -> None:
    policy = built(RoundRobin(Means(offset)), make(weights))
    assert Counter(chosen(policy, sum(weights))) == Counter(
        {chr(ord("a") + number): weight for number, weight in enumerate(weights)}
    )


@pytest.mark.parametrize("first_worker_gets", range(31))
def test_of_the_first_30_connections_nobody_gets_more_than_12_however_two_workers_share_them(
    first_worker_gets: int,
) -> None:
    targets = make([1, 1, 1])
    one, two = built(RoundRobin(Means()), targets), built(RoundRobin(Means(1)), targets)
    served = Counter(chosen(one, first_worker_gets) + chosen(two, 30 - first_worker_gets))
    assert max(served.values()) <= 12


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_workers_start_far_apart(workers: int) -> None:
    targets = make([1] * 20)
    starts = sorted(ord(chosen(built(RoundRobin(Means(number)), targets), 1)) for number in range(workers))
    gaps = [(after - before) % 20 or 20 for before, after in zip(starts, starts[1:] + starts[:1], strict=True)]
    assert min(gaps) >= 20 // workers // 2
    assert max(gaps) <= 20 // workers * 2


def test_round_robin_goes_on_where_it_was_after_a_rebuild() -> None:
    targets = make([1, 1, 1, 1])
    policy = built(RoundRobin(Means()), targets)
    assert chosen(policy, 2) == "ab"
    assert chosen(built(policy, targets), 2) == "cd"


def test_workers_stay_apart_when_the_group_came_up_target_by_target() -> None:
    targets = make([1] * 10)
    served = []
    for number in range(2):
        policy: Policy = RoundRobin(Means(number))
        for count in range(11):
            built(policy, targets[:count])
        served.append(chosen(policy, 1))
    assert served[0] != served[1]


def test_a_smaller_group_does_not_strand_the_cursor() -> None:
    targets = make([1, 1, 1, 1])
    policy = built(RoundRobin(Means()), targets)
    chosen(policy, 3)
    assert set(chosen(built(policy, targets[:2]), 4)) == {"a", "b"}
    assert chosen(built(policy, ()), 1) == "-"
    assert chosen(built(policy, targets[3:]), 1) == "d"


def test_those_who_were_tried_are_passed_over() -> None:
    targets = make([1, 1, 1])
    policy = built(RoundRobin(Means()), targets)
    assert chosen(policy, 4, targets[:1]) == "bcbc"
    assert chosen(policy, 2, targets[:2]) == "cc"


def test_when_all_were_tried_there_is_none_and_nobody_loses_a_turn() -> None:
    targets = make([1, 1, 1])
    policy = built(RoundRobin(Means()), targets)
    assert chosen(policy, 3, targets) == "---"
    assert sorted(chosen(policy, 3)) == ["a", "b", "c"]


def test_the_load_of_a_target_that_fails_spreads_over_all_the_others() -> None:
    """Every session that meets the dead target goes to the next in turn, which is a turn spent."""
    targets = make([1, 1, 1, 1])
    dead = targets[:1]
    policy = built(RoundRobin(Means()), targets)
    served: Counter[str] = Counter()
    for _ in range(300):
        first = chosen(policy, 1)
        served[first if first != "a" else chosen(policy, 1, dead)] += 1
    assert max(served.values()) - min(served.values()) <= 2


@pytest.mark.parametrize("weights", [[1000, 999] * 50, [1] + [1000] * 99])
def test_a_schedule_is_bounded_and_leaves_nobody_out(weights: list[int]) -> None:
    policy = built(RoundRobin(Means()), make(weights))
    served = Counter(chosen(policy, LONGEST_SCHEDULE))
    assert len(served) == len(weights)
    ideal = LONGEST_SCHEDULE / sum(weights)
    assert all(abs(served[target.name] - target.weight * ideal) <= 1 for target in make(weights))
    assert chosen(policy, 100) == chosen(built(RoundRobin(Means()), make(weights)), 100)


def test_what_weights_have_in_common_makes_no_schedule_longer() -> None:
    picks = LONGEST_SCHEDULE + 150
    assert chosen(built(RoundRobin(Means()), make([1000, 2000] * 50)), picks) == chosen(
        built(RoundRobin(Means()), make([1, 2] * 50)), picks
    )


def test_it_has_no_table_and_asks_for_no_key() -> None:
    policy = built(RoundRobin(Means()), make([1, 2]))
    assert (policy.table(), policy.needs_key, policy.attentive) == (b"", False, False)


def test_other_weights_than_the_targets_own() -> None:
    """As while one of them starts slowly."""
    targets = make([1, 1])
    policy = RoundRobin(Means())
    policy.build(targets, [20, 2], None)
    assert Counter(chosen(policy, 110)) == {"a": 100, "b": 10}
