"""Least connections: always the least loaded of what a worker can know, in turn among equals."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlb.balance.least_connections import CORRECTIONS, LeastConnections
from nlb.balance.policy import Means
from nlb.balance.target import Target
from tests.unit.balance.box import Worker, built, chosen, make

WEIGHTS = st.lists(st.integers(1, 5), min_size=1, max_size=8)


def load(target: Target) -> float:
    return target.sessions / target.weight


def alone(weights: list[int]) -> Worker:
    return Worker(LeastConnections(Means()), make(weights, workers=1))


def together(weights: list[int], workers: int) -> list[Worker]:
    targets = make(weights, workers)
    return [Worker(LeastConnections(Means(number)), targets, number) for number in range(workers)]


# --- one worker


@settings(deadline=None)
@given(WEIGHTS, st.lists(st.integers(-3, 10), max_size=150))
def test_every_choice_is_a_least_loaded_target(weights: list[int], steps: list[int]) -> None:
    """Steps below 0 are arrivals; others end the session at that place."""
    worker = alone(weights)
    targets = worker.targets
    for step in steps:
        if step >= 0 and worker.sessions:
            worker.ends(step)
        else:
            least = min(load(target) for target in targets)
            target = worker.takes()
            assert (target.sessions - 1) / target.weight == least


def test_sessions_that_stay_fill_all_targets_evenly() -> None:
    worker = alone([1, 2, 5])
    worker.serves(80)
    assert Counter(target.name for target in worker.sessions) == {"a": 10, "b": 20, "c": 50}


@pytest.mark.parametrize(
    ("weights", "served"), [([1, 1, 1], "abcabcabc"), ([1, 2, 5], "cbcaccbccbcaccbc"), ([10, 20, 50], "cbcaccbc")]
)
def test_equals_take_turns_by_weight_as_in_round_robin(weights: list[int], served: str) -> None:
    """Every session ends before the next one comes, so all are always equal."""
    worker = alone(weights)
    names = ""
    for _ in served:
        names += worker.takes().name
        worker.ends(0)
    assert names == served


def test_a_slow_target_gets_what_it_can_do() -> None:
    """Sessions on a never end, those on the others at once."""
    worker = alone([1, 1, 1])
    for _ in range(90):
        if worker.takes().name != "a":
            worker.ends(-1)
    assert Counter(target.name for target in worker.sessions) == {"a": 1}


def test_a_newcomer_is_the_least_loaded_one() -> None:
    targets = make([1, 1, 1], workers=1)
    worker = Worker(LeastConnections(Means()), targets[:2])
    worker.serves(6)
    built(worker.policy, targets)
    assert worker.serves(3) == "ccc"


def test_a_newcomer_does_not_make_up_for_turns_that_it_missed() -> None:
    targets = make([1, 1, 1], workers=1)
    worker = Worker(LeastConnections(Means()), targets[:2])
    for _ in range(100):
        worker.takes()
        worker.ends(0)
    built(worker.policy, targets)
    names = ""
    for _ in range(6):
        names += worker.takes().name
        worker.ends(0)
    assert sorted(names) == ["a", "a", "b", "b", "c", "c"]


def test_a_target_that_was_busy_for_long_does_not_make_up_for_turns_either() -> None:
    worker = alone([1, 1, 1])
    worker.serves(3)
    for _ in range(300):
        worker.ends(-1)  # c's; a and b have one each
        worker.takes()
    for _ in range(3):
        worker.ends(0)
    names = ""
    for _ in range(9):
        names += worker.takes().name
        worker.ends(0)
    assert max(Counter(names).values()) <= 4


def test_a_rebuild_does_not_begin_the_turns_anew() -> None:
    targets = make([1, 1, 1, 1], workers=1)
    worker = Worker(LeastConnections(Means()), targets)
    names = ""
    for _ in range(8):
        names += worker.takes().name
        worker.ends(0)
        built(worker.policy, targets)
    assert sorted(names) == sorted("aabbccdd")


def test_a_target_that_left_and_came_back_is_known_by_its_sessions() -> None:
    targets = make([1, 1], workers=1)
    worker = Worker(LeastConnections(Means()), targets)
    worker.serves(4)
    built(worker.policy, targets[:1])
    worker.ends([target.name for target in worker.sessions].index("b"))
    built(worker.policy, targets)
    assert worker.serves(1) == "b"


def test_those_who_were_tried_are_passed_over_and_stay_what_they_are() -> None:
    worker = alone([1, 1, 1])
    a, b, c = worker.targets
    assert worker.takes(tried=(a, b)) is c
    assert worker.policy.choose(b"", (a, b, c)) is None
    assert worker.serves(2) == "ab"


def test_a_full_target_is_left_alone_until_somebody_leaves_it() -> None:
    worker = alone([1, 1])
    a = worker.policy.choose(b"", ())
    assert a is not None
    worker.policy.full(a)
    worker.policy.look()
    assert worker.serves(3) == "bbb"
    worker.policy.left(a)
    assert worker.serves(1) == "a"


def test_when_all_are_full_there_is_none() -> None:
    worker = alone([1, 1])
    for _ in range(2):
        target = worker.policy.choose(b"", ())
        assert target is not None
        worker.policy.full(target)
    assert worker.policy.choose(b"", ()) is None


def test_thousands_of_endings_change_nothing() -> None:
    """Old opinions are thrown away in time, and only those."""
    worker = alone([1, 2, 3])
    worker.serves(60)
    for place in range(5000):
        worker.ends(place * 7)
        worker.takes()
    assert Counter(target.name for target in worker.sessions) == {"a": 10, "b": 20, "c": 30}


def test_who_left_and_is_no_candidate_is_nobodys_business() -> None:
    targets = make([1, 1], workers=1)
    worker = Worker(LeastConnections(Means()), targets)
    worker.serves(2)
    built(worker.policy, targets[:1])
    worker.ends(1)
    assert worker.serves(2) == "aa"


def test_where_nobody_counts_it_takes_turns() -> None:
    policy = built(LeastConnections(Means()), make([1, 1, 1]))
    assert chosen(policy, 6) == "abcabc"


def test_without_candidates_there_is_none() -> None:
    policy = built(LeastConnections(Means()), ())
    policy.look()
    assert policy.choose(b"", ()) is None


# --- several workers


@settings(deadline=None)
@given(
    weights=WEIGHTS,
    workers=st.integers(2, 4),
    steps=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("+++--?"), st.integers(0, 50)), max_size=120),
)
def test_a_choice_is_only_worse_by_what_others_ended_since_the_last_look(
    weights: list[int], workers: int, steps: list[tuple[int, str, int]]
) -> None:
    """Whoever is chosen has, at that moment, no more for its weight than any other target plus what other workers
    ended there since this one looked."""
    box = together(weights, workers)
    targets = box[0].targets
    unseen: list[Counter[Target]] = [Counter() for _ in box]  # per worker: endings elsewhere since its last look
    for number, what, place in steps:
        number %= workers
        worker = box[number]
        if what == "+":
            most = min((target.sessions + unseen[number][target]) / target.weight for target in targets)
            target = worker.takes()
            assert (target.sessions - 1) / target.weight <= most
        elif what == "?":
            worker.policy.look()
            unseen[number].clear()
        elif worker.sessions:
            target = worker.ends(place)
            for other in range(workers):
                unseen[other][target] += other != number
    for worker in box:
        worker.policy.look()
        least = min(load(target) for target in targets)
        target = worker.takes()
        assert (target.sessions - 1) / target.weight == least, "after a look everything is known"


@settings(deadline=None)
@given(st.integers(1, 10), st.lists(st.integers(0, 3), max_size=80))
def test_however_arrivals_fall_on_workers_no_two_targets_differ_by_more_than_one(count: int, turns: list[int]) -> None:
    box = together([1] * count, 4)
    for number in turns:
        box[number].takes()
    counts = [target.sessions for target in box[0].targets]
    assert max(counts) - min(counts) <= 1


def test_workers_begin_elsewhere() -> None:
    first = [chosen(built(LeastConnections(Means(number)), make([1] * 20)), 1) for number in range(3)]
    assert len(set(first)) == 3


def test_what_others_took_is_seen_in_the_moment_of_the_choice() -> None:
    one, two = together([1, 1, 1], 2)
    two.serves(2)
    taken = {target.name for target in two.sessions}
    assert one.serves(1) not in taken


def test_what_others_ended_is_seen_by_a_look() -> None:
    one, two = together([1, 1], 2)
    for _ in range(6):
        two.takes()
    one.policy.look()
    while any(target.name == "a" for target in two.sessions):
        two.ends([target.name for target in two.sessions].index("a"))
    one.policy.look()
    assert one.serves(3) == "aaa"


def test_one_choice_does_not_put_right_more_than_so_many_opinions() -> None:
    """Others took thousands since the last look: the choice stays quick, if less good."""
    one, two = together([1] * (2 * CORRECTIONS), 2)
    two.serves(len(two.row) - 1)
    assert one.takes() in one.targets
    one.policy.look()
    counts = Counter(one.takes() for _ in range(2 * CORRECTIONS - 1))
    assert max(counts.values()) == 1
