"""The same key to the same target, and no target with far more than its share."""

from __future__ import annotations

from array import array
from collections import Counter
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlb.balance.affinity import Maglev, flow_key
from nlb.balance.policy import Means
from nlb.balance.target import Target
from tests.unit.balance.box import Worker, built, make, small_table


def keys(count: int) -> list[bytes]:
    return [flow_key("198.51.100.7", port, "flow") for port in range(count)]


def test_the_same_key_meets_the_same_target_in_every_process() -> None:
    one = built(Maglev(Means()), make([1, 2, 3]))
    two = built(Maglev(Means(1)), make([1, 2, 3]))
    assert [one.choose(key, ()).id for key in keys(500)] == [two.choose(key, ()).id for key in keys(500)]  # type: ignore[union-attr]


def test_keys_spread_by_weight() -> None:
    targets = make([1, 3])
    policy = built(Maglev(Means()), targets)
    served = Counter(policy.choose(key, ()) for key in keys(4000))
    assert 900 <= served[targets[0]] <= 1100


def test_a_table_from_elsewhere_is_used_as_it_is() -> None:
    targets = make([1, 1, 1])
    table = array("I", [2] * 7).tobytes()
    policy = built(Maglev(Means()), targets, table)
    assert {policy.choose(key, ()) for key in keys(50)} == {targets[1]}
    assert policy.table() == table


def test_a_table_may_lie_in_shared_memory() -> None:
    targets = make([1, 1, 1])
    made = built(Maglev(Means()), targets).table()
    block = memoryview(b"\0" * 12 + made)
    lent = built(Maglev(Means()), targets, block[12:])
    assert lent.table() == made


def test_without_a_table_it_builds_the_same_one() -> None:
    assert built(Maglev(Means()), make([1, 2])).table() == built(Maglev(Means()), make([1, 2]), b"").table() != b""


def test_keys_of_a_target_that_failed_spread_evenly_and_the_same_everywhere() -> None:
    targets = make([1, 1, 1, 1, 1])
    one, two = built(Maglev(Means()), targets), built(Maglev(Means(1)), targets)
    dead = targets[0]
    moved = [key for key in keys(5000) if one.choose(key, ()) is dead]
    instead = [one.choose(key, (dead,)) for key in moved]
    assert instead == [two.choose(key, (dead,)) for key in moved]
    shares = Counter(instead)
    assert dead not in shares
    assert max(shares.values()) <= 1.2 * len(moved) / 4


def test_a_table_that_is_older_than_the_candidates_still_serves() -> None:
    """Between a change and the new table, slots of who left go to the others."""
    targets = make([1, 1, 1])
    table = built(Maglev(Means()), targets).table()
    policy = built(Maglev(Means()), targets[1:], table)
    assert {policy.choose(key, ()) for key in keys(200)} == set(targets[1:])


def test_a_newcomer_that_the_table_does_not_know_is_found_when_the_others_were_tried() -> None:
    targets = make([1, 1, 1])
    table = built(Maglev(Means()), targets[:2]).table()
    assert built(Maglev(Means()), targets, table).choose(b"key", targets[:2]) is targets[2]


@pytest.mark.parametrize("ids", [(1, 2, 3), (3, 1, 2), (7, 40, 32_000)], ids=["all", "in any order", "far apart"])
def test_ids_may_be_any(ids: tuple[int, ...]) -> None:
    targets = make([1, 1, 1])
    for target, number in zip(targets, ids, strict=True):
        target.id = number
    table = array("I", [*ids, *ids, 39, 33_000]).tobytes()
    policy = built(Maglev(Means()), targets, table)
    assert {policy.choose(key, ()) for key in keys(200)} == set(targets)


def test_maglev_has_none_when_all_were_tried_or_nobody_is_there() -> None:
    targets = make([1, 1])
    policy = built(Maglev(Means()), targets)
    assert policy.choose(b"key", targets) is None
    assert built(policy, ()).choose(b"key", ()) is None
    assert policy.table() == b""


def test_an_empty_key_has_a_place_too() -> None:
    policy = built(Maglev(Means()), make([1, 1, 1]))
    assert policy.choose(b"", ()) is policy.choose(b"", ()) is not None


# --- bounded load


def held(counts: Counter[str], targets: tuple[Target, ...], max_load: float) -> bool:
    """Does nobody have more than his share allows?"""
    whole, sessions = sum(target.weight for target in targets), sum(counts.values())
    return all(counts[target.name] <= ceil(max_load * sessions * target.weight / whole + 1e-9) for target in targets)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(1, 300), st.sampled_from([1.05, 1.25, 2.0]))
def test_one_busy_client_cannot_push_a_target_over_its_share(
    weights: list[int], sessions: int, max_load: float
) -> None:
    targets = make(weights, workers=1)
    worker = Worker(Maglev(Means(max_load=max_load)), targets, table=small_table(targets))
    served: Counter[str] = Counter()
    for _ in range(sessions):
        served[worker.takes(b"198.51.100.7").name] += 1
        assert held(served, targets, max_load)


def test_many_clients_stay_where_they_are_as_long_as_the_load_is_even() -> None:
    targets = make([1] * 10, workers=1)
    free, bounded = built(Maglev(Means()), targets), Worker(Maglev(Means(max_load=1.25)), targets)
    at_home = sum(bounded.takes(key) is free.choose(key, ()) for key in keys(1000))
    assert at_home >= 970


def test_a_client_comes_back_when_its_target_has_room_again() -> None:
    targets = make([1] * 4, workers=1)
    worker = Worker(Maglev(Means(max_load=1.25)), targets)
    home = worker.takes(b"key")
    assert worker.takes(b"key") is not home
    worker.ends(0)
    worker.ends(0)
    assert worker.takes(b"key") is home


def test_the_next_place_of_a_key_is_the_same_in_every_worker() -> None:
    targets = make([1] * 5, workers=2)
    one, two = (Worker(Maglev(Means(max_load=1.25)), targets, number) for number in range(2))
    home = built(Maglev(Means()), targets).choose(b"key", ())
    assert home is not None
    one.row[home.id] = 50  # type: ignore[index]
    for worker in (one, two):
        worker.policy.look()
    first = one.takes(b"key")
    assert first is not home
    assert two.takes(b"key") is first


def test_sessions_of_other_workers_count() -> None:
    targets = make([1, 1, 1], workers=2)
    worker = Worker(Maglev(Means(max_load=1.25)), targets)
    home = worker.takes(b"key")
    worker.ends(0)
    home.rows[1][home.id] = 1  # type: ignore[index]
    assert worker.takes(b"key") is not home


def test_the_share_follows_the_sessions_of_all_workers_after_a_look() -> None:
    targets = make([1] * 4, workers=2)
    worker = Worker(Maglev(Means(max_load=1.25)), targets)
    home = worker.takes(b"key")
    for target in targets:
        target.rows[1][target.id] = 10  # type: ignore[index]
    assert worker.takes(b"key") is not home, "it seems to have 11 of 12 sessions"
    worker.policy.look()
    assert worker.takes(b"key") is home


def test_when_all_others_were_tried_the_load_is_no_matter() -> None:
    targets = make([1, 1, 1], workers=1)
    worker = Worker(Maglev(Means(max_load=1.25)), targets)
    for _ in range(3):
        worker.takes(b"key", targets[1:])
    assert {target.name for target in worker.sessions} == {"a"}


def test_only_a_bounded_load_wants_attention() -> None:
    assert [Maglev(Means(max_load=load)).attentive for load in (None, 1.25)] == [False, True]


# --- keys


@pytest.mark.parametrize(
    ("host", "port", "hash_key", "key"),
    [
        ("198.51.100.7", 40000, "flow", b"198.51.100.7 40000"),
        ("198.51.100.7", 40000, "source_ip", b"198.51.100.7"),
        ("::ffff:198.51.100.7", 40000, "flow", b"198.51.100.7 40000"),
        ("::ffff:198.51.100.7", 40000, "source_ip", b"198.51.100.7"),
        ("2001:db8::7", 40000, "flow", b"2001:db8::7 40000"),
        ("2001:db8::7", 40000, "source_ip", b"2001:db8::7"),
        ("fe80::7%eth0", 40000, "source_ip", b"fe80::7"),
        ("", 0, "flow", b""),
        ("", 0, "source_ip", b""),
    ],
)
def test_the_key_of_a_client(host: str, port: int, hash_key: str, key: bytes) -> None:
    assert flow_key(host, port, hash_key) == key
