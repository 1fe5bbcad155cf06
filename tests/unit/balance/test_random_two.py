"""Two at random, the less loaded wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from nlb.balance.policy import Means
from nlb.balance.random_two import RandomTwo
from nlb.balance.round_robin import one_round
from tests.unit.balance.box import Worker, built, chosen, make


def draws(*numbers: float) -> Callable[[], float]:
    """What chance says, over and over."""
    said = list(numbers)

    def random() -> float:
        said.append(said.pop(0))
        return said[-1]

    return random


def seeded(seed: int = 7) -> Means:
    return Means(random=Random(seed).random)


@pytest.mark.parametrize(
    ("sessions", "weights", "winner"),
    [
        pytest.param([5, 4, 0], [1, 1, 1], "b", id="the second is less loaded"),
        pytest.param([4, 5, 0], [1, 1, 1], "a", id="the first is less loaded"),
        pytest.param([5, 5, 0], [1, 1, 1], "a", id="of equals the first drawn"),
        pytest.param([4, 9, 0], [1, 2, 1], "a", id="9 for a weight of 2 are more than 4 for 1"),
        pytest.param([4, 7, 0], [1, 2, 1], "b", id="7 for a weight of 2 are less than 4 for 1"),
    ],
)
def test_of_a_and_b_the_less_loaded_wins(sessions: list[int], weights: list[int], winner: str) -> None:
    targets = make(weights, workers=1)
    for target, count in zip(targets, sessions, strict=True):
        target.rows[0][target.id] = count  # type: ignore[index]
    turns = one_round(weights)
    a, b = (turns.index(place) / len(turns) for place in (0, 1))
    assert chosen(built(RandomTwo(Means(random=draws(a, b))), targets), 1) == winner


def test_the_same_one_drawn_again_is_no_second() -> None:
    targets = make([1, 1], workers=1)
    targets[0].rows[0][1] = 9  # type: ignore[index]
    assert chosen(built(RandomTwo(Means(random=draws(0.0, 0.0, 0.0, 0.9))), targets), 1) == "b"


def test_sessions_of_all_workers_count() -> None:
    targets = make([1, 1], workers=2)
    targets[0].rows[1][1] = 1  # type: ignore[index]
    assert chosen(built(RandomTwo(Means(random=draws(0.0, 0.9))), targets), 1) == "b"


def test_sessions_that_stay_spread_far_more_evenly_than_by_chance() -> None:
    """1,000 on 100 targets: at random, the fullest would have about 19."""
    worker = Worker(RandomTwo(seeded()), make([1] * 100, workers=1))
    for _ in range(1000):
        worker.takes()
    counts = Counter(worker.sessions)
    assert max(counts.values()) <= 13
    assert len(counts) == 100


def test_sessions_that_stay_spread_by_weight() -> None:
    worker = Worker(RandomTwo(seeded()), make([1, 2, 5] * 4, workers=1))
    for _ in range(800):
        worker.takes()
    counts = Counter(worker.sessions)
    assert all(abs(counts[target] - 25 * target.weight) <= 0.3 * 25 * target.weight for target in counts)


def test_while_nothing_is_open_work_is_shared_by_weight() -> None:
    policy = built(RandomTwo(seeded()), make([1, 4], workers=1))
    served = Counter(chosen(policy, 2000))
    assert 300 <= served["a"] <= 500


def test_a_single_target_is_always_right() -> None:
    assert chosen(built(RandomTwo(seeded()), make([3], workers=1)), 3) == "aaa"


def test_one_that_has_nearly_all_the_weight_need_not_find_a_second() -> None:
    policy = built(RandomTwo(Means(random=draws(0.25))), make([1, 1000], workers=1))
    assert chosen(policy, 2) == "bb"


def test_those_who_were_tried_are_not_chosen_however_chance_falls() -> None:
    targets = make([1000, 1, 1], workers=1)
    policy = built(RandomTwo(seeded()), targets)
    assert set(chosen(policy, 200, targets[:1])) == {"b", "c"}
    assert chosen(policy, 1, targets) == "-"


def test_a_process_that_was_given_no_chance_says_so() -> None:
    with pytest.raises(RuntimeError, match="does not choose"):
        built(RandomTwo(Means()), make([1, 1])).choose(b"", ())
