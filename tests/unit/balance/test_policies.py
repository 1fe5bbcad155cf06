"""What holds for every policy."""

from __future__ import annotations

from array import array
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlb.balance.policies import POLICIES
from nlb.balance.policies import make as make_policy
from nlb.balance.policy import Means
from nlb.model.values import POLICIES as WORDS
from tests.unit.balance.box import Worker, built, make, small_table

ALL = [*POLICIES, "python:tests.unit.balance.own_policies:Last"]


def means(max_load: float | None = None) -> Means:
    return Means(random=Random(1).random, max_load=max_load)


def test_the_words_of_the_config_are_the_policies_that_there_are() -> None:
    assert set(WORDS) == set(POLICIES)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("max_load", [None, 1.25])
@settings(deadline=None)
@given(
    weights=st.lists(st.integers(1, 20), max_size=6),
    tried=st.sets(st.integers(0, 5)),
    key=st.binary(max_size=8),
    workers=st.integers(0, 2),
)
def test_whoever_is_chosen_is_a_candidate_that_was_not_tried(
    name: str, max_load: float | None, weights: list[int], tried: set[int], key: bytes, workers: int
) -> None:
    targets = make(weights, workers)
    left = [target for number, target in enumerate(targets) if number not in tried]
    table = array("I", [1, 2, 3, 4, 5, 6, 1, 3]).tobytes() if weights else None
    policy = built(make_policy(name, means(max_load)), targets, table)
    found = policy.choose(key, tuple(target for target in targets if target not in left))
    assert (found in left) if left else (found is None)


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from("+++-?b"), st.integers(0, 7)), max_size=60))
def test_nothing_that_comes_and_goes_breaks_one(name: str, steps: list[tuple[str, int]]) -> None:
    targets = make([1, 2, 3, 1, 1, 2, 5], workers=2)
    table = small_table(targets)
    worker = Worker(make_policy(name, means(1.5)), targets, table=table)
    there = targets
    for what, number in steps:
        if what == "+" and there:
            assert worker.takes(bytes([number])) in there
        elif what == "-" and worker.sessions:
            worker.ends(number)
        elif what == "?":
            worker.policy.look()
        elif what == "b":
            there = targets[number:]
            built(worker.policy, there, table)


def test_who_asks_for_a_key_and_who_wants_attention() -> None:
    wants = {name: (policy(Means()).needs_key, policy(Means()).attentive) for name, policy in POLICIES.items()}
    assert wants == {
        "round_robin": (False, False),
        "least_connections": (False, True),
        "random_two": (False, False),
        "maglev": (True, False),
        "source_ip": (True, False),
    }
