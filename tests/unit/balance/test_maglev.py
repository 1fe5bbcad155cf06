"""Maglev tables: fair, the same everywhere, and calm when a target comes or goes."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.balance.maglev import SLOTS, build

Named = list[tuple[str, int]]


def equal(count: int) -> Named:
    return [(f"web{number:03}", 1) for number in range(count)]


def owners(targets: Named, slots: int = SLOTS) -> list[str]:
    return [targets[index][0] for index in build(targets, slots)]


def moved(before: list[str], after: list[str], gone: str) -> float:
    """Which part of the slots that the others held got another owner?"""
    kept = [(old, new) for old, new in zip(before, after, strict=True) if old != gone]
    return sum(old != new for old, new in kept) / len(kept)


@pytest.mark.parametrize("count", [1, 2, 3, 100, 650])
def test_equal_targets_get_equal_shares_within_one_percent(count: int) -> None:
    shares = Counter(build(equal(count)))
    assert len(shares) == count
    assert max(shares.values()) <= 1.01 * SLOTS / count


@pytest.mark.parametrize("gone", [0, 17, 50, 99])
def test_removing_one_of_100_moves_at_most_3_percent_of_the_others_slots(gone: int) -> None:
    targets = equal(100)
    rest = targets[:gone] + targets[gone + 1 :]
    assert moved(owners(targets), owners(rest), targets[gone][0]) <= 0.03


def test_removing_one_of_100_with_mixed_weights_moves_as_little() -> None:
    targets = [(name, 1 + number % 5) for number, (name, _) in enumerate(equal(100))]
    rest = targets[:42] + targets[43:]
    assert moved(owners(targets), owners(rest), targets[42][0]) <= 0.03


def test_a_changed_weight_moves_little_more_than_what_it_must() -> None:
    targets = equal(100)
    heavier = [*targets[:10], (targets[10][0], 2), *targets[11:]]
    before, after = owners(targets), owners(heavier)
    must = 1 / 101
    assert sum(old != new for old, new in zip(before, after, strict=True)) / SLOTS <= must + 0.03


@pytest.mark.parametrize("weights", [[1, 2, 5], [1000, 1, 1], [7] * 9 + [21], list(range(1, 101))])
def test_shares_follow_weights_to_one_slot(weights: list[int]) -> None:
    shares = Counter(build([(f"web{number:03}", weight) for number, weight in enumerate(weights)]))
    ideal = [SLOTS * weight / sum(weights) for weight in weights]
    assert all(abs(shares[number] - share) <= 1 for number, share in enumerate(ideal))


def test_even_the_lightest_of_very_different_weights_gets_a_slot() -> None:
    weights = [1000] * 99 + [1]
    assert set(build([(f"web{number:03}", weight) for number, weight in enumerate(weights)])) == set(range(100))


@given(st.permutations([("a", 1), ("b", 2), ("c", 3), ("d", 1), ("e", 7)]))
def test_the_order_given_makes_no_difference(targets: Named) -> None:
    assert owners(targets, 251) == owners(sorted(targets), 251)


@given(st.integers(1, 12))
def test_only_ratios_of_weights_matter(factor: int) -> None:
    assert build([("a", factor), ("b", 3 * factor)], 251) == build([("a", 1), ("b", 3)], 251)


def test_a_small_ring_by_hand() -> None:
    """11 slots, 3 targets: 4, 4 and 3 slots; each target's first slot is the start of its permutation."""
    assert sorted(Counter(owners(equal(3), 11)).items()) == [("web000", 4), ("web001", 4), ("web002", 3)]


def test_the_table_is_the_same_in_every_version() -> None:
    """Nodes of a cluster may run different versions while they are updated, and must choose alike."""
    table = build([("web01", 1), ("web02", 2), ("web03", 1)])
    assert sha256(",".join(map(str, table)).encode()).hexdigest()[:16] == "333989775fdf8098"


def test_without_targets_there_is_no_table() -> None:
    assert not build([])
