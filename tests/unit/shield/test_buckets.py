"""Token buckets: what passes in which time, whoever shares the table, and what a flood of sources can do to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.shield import table
from nlb.shield.buckets import Buckets
from tests.unit.shield.shared import memory

NOW = 1_000_000.0  # a box that has been up for days

MEMORY = memory()


def takes(buckets: Buckets, count: int, now: float, rate: float = 50.0, burst: int = 100, key: int = 7) -> int:
    """How many of so many pass."""
    return sum(buckets.take(1, key, rate, burst, now) for _ in range(count))


@pytest.mark.parametrize(
    ("rate", "burst"), [(50.0, 100), (50.0, 1), (5 / 60, 5), (1e6, 1_000_000), (1e6, 1), (1 / 86400, 3), (100.0, 10)]
)
@pytest.mark.parametrize("now", [0.0, 1.0, NOW, 1e8])
def test_a_burst_passes_and_not_one_more(rate: float, burst: int, now: float) -> None:
    buckets = Buckets(memory())
    at_once = min(burst, 1000)
    # After three years, times of a million a second are rounded by a hundredth of what a token takes.
    error = 2 if now == 1e8 and rate == 1e6 else 0
    assert abs(takes(buckets, at_once + 10, now, rate, at_once) - at_once) <= error


def test_tokens_grow_with_time_up_to_the_burst() -> None:
    buckets = Buckets(memory())
    assert takes(buckets, 150, NOW) == 100
    assert takes(buckets, 150, NOW + 0.1) == 5
    assert takes(buckets, 150, NOW + 0.11) == 0
    assert takes(buckets, 150, NOW + 0.12) == 1
    assert takes(buckets, 150, NOW + 1.12) == 50
    assert takes(buckets, 150, NOW + 3600) == 100


def test_what_is_refused_costs_no_token() -> None:
    buckets = Buckets(memory())
    takes(buckets, 100, NOW)
    assert takes(buckets, 10_000, NOW + 0.01) == 0
    assert takes(buckets, 10, NOW + 0.02) == 1


@given(
    st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=60),
    st.sampled_from([0.5, 2.0, 10.0]),
    st.integers(1, 8),
)
def test_buckets_do_what_the_textbook_says(pauses: list[float], rate: float, burst: int) -> None:
    buckets = Buckets(MEMORY)
    memory_of_others = MEMORY[table.HEAD :]
    memory_of_others[: table.BUCKETS] = bytes(table.BUCKETS)
    now, tokens = NOW, float(burst)
    for pause in pauses:
        now += pause
        tokens = min(tokens + pause * rate, float(burst))
        passes = buckets.take(1, 7, rate, burst, now)
        if abs(tokens - 1) > 0.02:  # else rounding decides
            assert passes == (tokens >= 1)
        tokens -= passes


def test_every_source_and_every_kind_has_a_bucket_of_its_own() -> None:
    buckets = Buckets(memory())
    takes(buckets, 100, NOW)
    assert not buckets.take(1, 7, 50.0, 100, NOW)
    assert buckets.take(2, 7, 50.0, 100, NOW)
    assert buckets.take(1, 8, 50.0, 100, NOW)
    assert buckets.take(1, 7 | 1 << 64, 50.0, 100, NOW)


def test_workers_share_a_bucket() -> None:
    block = memory(2)
    workers = [Buckets(block), Buckets(block)]
    assert sum(workers[number % 2].take(1, 7, 50.0, 100, NOW) for number in range(300)) == 100


def test_clocks_of_two_workers_may_differ_by_a_turn_of_their_loops() -> None:
    block = memory(2)
    ahead, behind = Buckets(block), Buckets(block)
    passed = 0
    for turn in range(2000):
        passed += ahead.take(1, 7, 50.0, 1, NOW + turn * 0.001)
        passed += behind.take(1, 7, 50.0, 1, NOW + turn * 0.001 - 0.01)
    assert passed == pytest.approx(100, abs=2)


@pytest.mark.parametrize(
    ("taken", "rate", "burst", "wait"),
    [(0, 50.0, 100, 0.0), (1, 50.0, 100, 0.0), (100, 50.0, 100, 0.02), (5, 5 / 60, 5, 12.0), (99, 50.0, 100, 0.0)],
)
def test_how_long_until_there_is_a_token(taken: int, rate: float, burst: int, wait: float) -> None:
    buckets = Buckets(memory())
    takes(buckets, taken, NOW, rate, burst)
    assert buckets.wait(1, 7, rate, burst, NOW) == pytest.approx(wait, abs=1e-6)
    assert buckets.wait(1, 7, rate, burst, NOW + wait) == pytest.approx(0, abs=1e-6)


def test_a_rate_that_is_changed_keeps_nobody_out_for_what_he_owed_the_old_one() -> None:
    buckets = Buckets(memory())
    assert takes(buckets, 9, NOW, 1 / 3600, 5) == 5  # full again in 5 hours
    assert takes(buckets, 9, NOW) == 0  # 50/s burst 100 from now on
    assert takes(buckets, 150, NOW + 1) == 50


def meetings(secret: bytes, keys: Iterable[int]) -> set[frozenset[int]]:
    """Pairs of sources that meet in one set."""
    part = table.buckets(memory(secret=secret))
    held: dict[int, list[int]] = {}
    for key in keys:
        held.setdefault(part.name(1, key) & part.mask, []).append(key)
    return {frozenset(pair) for each in held.values() for pair in combinations(each, 2)}


def test_who_meets_is_another_matter_with_another_secret() -> None:
    ours, others = (meetings(bytes([number]) * 16, range(0x0A000000, 0x0A004000)) for number in (77, 78))
    assert len(ours) > 5000
    assert len(ours & others) < 20  # by chance 0.5


NETWORKS = {
    "a network": range(0x0A000000, 0x0A000000 + 65536),
    "the first of every /24": range(0, 65536 << 8, 256),
    "the first of every /16": range(0, 65536 << 16, 65536),
    "the /64s of a /48": [1 << 64 | 0x20010DB8 << 32 | number for number in range(65536)],
}


@pytest.mark.parametrize("keys", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("kind", [0, 1, 300])
def test_sources_spread_over_the_sets(keys: Iterable[int], kind: int) -> None:
    part = table.buckets(memory())
    held = Counter(part.name(kind, key) & part.mask for key in keys)
    # 4 in a set on average: by chance 98 % of the sets have some, and 1 in 4,000 more than 12.
    assert len(held) > 0.97 * table.BUCKETS / table.SET
    assert max(held.values()) < 20
    assert sum(count > 12 for count in held.values()) < 16


def test_a_flood_of_sources_grows_nothing_and_frees_no_heavy_one() -> None:
    """A million sources would take seconds here, so the table is filled several times over in one set."""
    block = memory()
    buckets = Buckets(block)
    assert takes(buckets, 200, NOW) == 100
    part = table.buckets(block)
    at = part.name(1, 7) & part.mask
    neighbours = [key for key in range(1000, 900_000) if part.name(1, key) & part.mask == at]
    assert len(neighbours) > 4 * table.WAYS
    for number, key in enumerate(neighbours):
        assert buckets.take(1, key, 50.0, 100, NOW + number * 1e-6)
    assert takes(buckets, 10, NOW + 1e-3) == 0
    assert block.nbytes == table.size(1)


def test_who_is_forgotten_is_forgiven() -> None:
    block = memory()
    buckets = Buckets(block)
    assert takes(buckets, 6, NOW, 1.0, 5) == 5
    part = table.buckets(block)
    at = part.name(1, 7) & part.mask
    for key in range(1000, 900_000):
        if part.name(1, key) & part.mask == at:
            takes(buckets, 9, NOW, 1.0, 9, key)  # full later than ours
    assert takes(buckets, 6, NOW, 1.0, 5) == 5
