"""Numbers of listeners, groups and targets: each has one owner, and changes hands as late as possible."""

from __future__ import annotations

from nlb.control.numbers import Numbers


def test_each_taker_gets_another_number() -> None:
    numbers = Numbers(3)
    assert [numbers.take() for _ in range(3)] == [(0, False), (1, False), (2, False)]
    assert numbers.left == 0


def test_a_number_is_taken_again_only_when_no_fresh_one_is_left() -> None:
    numbers = Numbers(3)
    numbers.take()
    numbers.give_back(0)
    assert numbers.left == 3
    assert numbers.take() == (1, False)
    assert numbers.take() == (2, False)
    assert numbers.take() == (0, True), "its counters must be cleared"


def test_free_numbers_go_in_the_order_in_which_they_came_back() -> None:
    numbers = Numbers(2)
    numbers.take(), numbers.take()
    numbers.give_back(1)
    numbers.give_back(0)
    assert [number for number, _ in (numbers.take(), numbers.take())] == [1, 0]
