"""Turns by weight: exact, spread out, and undisturbed by who comes and goes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.balance.turns import turns

weights = st.lists(st.integers(1, 1000), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("weights", "length", "order"),
    [
        ([1], 3, "aaa"),
        ([1, 1, 1], 7, "abcabca"),
        ([4, 4], 4, "abab"),
        ([1, 2], 3, "bab"),
        ([1, 2, 5], 8, "cbcaccbc"),
        ([1, 4], 5, "bbabb"),
    ],
)
def test_the_order(weights: list[int], length: int, order: str) -> None:
    assert "".join("abc"[turn] for turn in turns(weights, length)) == order


@given(weights)
def test_over_a_whole_round_everyone_gets_exactly_the_weight(weights: list[int]) -> None:
    assert Counter(turns(weights, sum(weights))) == Counter(dict(enumerate(weights)))


@given(weights)
def test_turns_come_in_the_order_of_their_times(weights: list[int]) -> None:
    """Turn k (from 0) of weight w comes at (k + 0.5) / w, so the times of the turns never go back."""
    had = [0] * len(weights)
    last = 0.0
    for turn in turns(weights, sum(weights)):
        due = (had[turn] + 0.5) / weights[turn]
        assert due >= last
        last = due
        had[turn] += 1


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=12), st.integers(0, 11))
def test_the_order_of_the_rest_does_not_change_when_one_leaves(weights: list[int], leaver: int) -> None:
    leaver %= len(weights)
    rest = weights[:leaver] + weights[leaver + 1 :]
    before = [turn for turn in turns(weights, sum(weights)) if turn != leaver]
    after = [turn + (turn >= leaver) for turn in turns(rest, sum(rest))]
    assert before == after


@given(weights, st.integers(60, 200))
def test_the_length_is_what_was_asked_for_and_even_the_lightest_gets_a_turn(weights: list[int], length: int) -> None:
    order = turns(weights, length)
    assert len(order) == length
    if sum(weights) >= length:
        assert set(order) == set(range(len(weights)))
