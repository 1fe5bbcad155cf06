"""How policies choose, with targets handed to them; what becomes a candidate is test_group's matter."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.balance.policy import LONGEST_SCHEDULE, POLICIES, Maglev, Policy, RoundRobin, flow_key
from nlb.balance.target import Target
from nlb.model.address import Address


def make(weights: Iterable[int]) -> tuple[Target, ...]:
    """Targets a, b, c, ... with ids from 1."""
    return tuple(
        Target(number + 1, chr(ord("a") + number), "web", Address("10.0.0.1", 3000 + number), weight)
        for number, weight in enumerate(weights)
    )


def built(policy: Policy, targets: tuple[Target, ...], table: bytes | memoryview | None = None) -> Policy:
    policy.build(targets, table)
    return policy


def chosen(policy: Policy, picks: int, tried: tuple[Target, ...] = ()) -> str:
    found = [policy.choose(b"", tried) for _ in range(picks)]
    return "".join(target.name if target else "-" for target in found)


def keys(count: int) -> list[bytes]:
    return [flow_key("198.51.100.7", port, "flow") for port in range(count)]


# --- round robin


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
    assert chosen(built(RoundRobin(0), make(weights)), len(served)) == served


@given(st.lists(st.integers(1, 50), min_size=1, max_size=10), st.integers(0, 16))
def test_a_round_from_any_start_gives_everyone_exactly_the_weight(weights: list[int], offset: int) -> None:
    policy = built(RoundRobin(offset), make(weights))
    assert Counter(chosen(policy, sum(weights))) == Counter(
        {chr(ord("a") + number): weight for number, weight in enumerate(weights)}
    )


@pytest.mark.parametrize("first_worker_gets", range(31))
def test_of_the_first_30_connections_nobody_gets_more_than_12_however_two_workers_share_them(
    first_worker_gets: int,
) -> None:
    targets = make([1, 1, 1])
    one, two = built(RoundRobin(0), targets), built(RoundRobin(1), targets)
    served = Counter(chosen(one, first_worker_gets) + chosen(two, 30 - first_worker_gets))
    assert max(served.values()) <= 12


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_workers_start_far_apart(workers: int) -> None:
    targets = make([1] * 20)
    starts = sorted(ord(chosen(built(RoundRobin(number), targets), 1)) for number in range(workers))
    gaps = [(after - before) % 20 or 20 for before, after in zip(starts, starts[1:] + starts[:1], strict=True)]
    assert min(gaps) >= 20 // workers // 2
    assert max(gaps) <= 20 // workers * 2


def test_round_robin_goes_on_where_it_was_after_a_rebuild() -> None:
    targets = make([1, 1, 1, 1])
    policy = built(RoundRobin(0), targets)
    assert chosen(policy, 2) == "ab"
    assert chosen(built(policy, targets), 2) == "cd"


def test_workers_stay_apart_when_the_group_came_up_target_by_target() -> None:
    targets = make([1] * 10)
    served = []
    for number in range(2):
        policy: Policy = RoundRobin(number)
        for count in range(11):
            policy.build(targets[:count], None)
        served.append(chosen(policy, 1))
    assert served[0] != served[1]


def test_a_smaller_group_does_not_strand_the_cursor() -> None:
    targets = make([1, 1, 1, 1])
    policy = built(RoundRobin(0), targets)
    chosen(policy, 3)
    assert set(chosen(built(policy, targets[:2]), 4)) == {"a", "b"}
    assert chosen(built(policy, ()), 1) == "-"
    assert chosen(built(policy, targets[3:]), 1) == "d"


def test_those_who_were_tried_are_passed_over() -> None:
    targets = make([1, 1, 1])
    policy = built(RoundRobin(0), targets)
    assert chosen(policy, 4, targets[:1]) == "bcbc"
    assert chosen(policy, 2, targets[:2]) == "cc"


def test_when_all_were_tried_there_is_none_and_nobody_loses_a_turn() -> None:
    targets = make([1, 1, 1])
    policy = built(RoundRobin(0), targets)
    assert chosen(policy, 3, targets) == "---"
    assert sorted(chosen(policy, 3)) == ["a", "b", "c"]


def test_the_load_of_a_target_that_fails_spreads_over_all_the_others() -> None:
    """Every session that meets the dead target goes to the next in turn, which is a turn spent."""
    targets = make([1, 1, 1, 1])
    dead = targets[:1]
    policy = built(RoundRobin(0), targets)
    served: Counter[str] = Counter()
    for _ in range(300):
        first = chosen(policy, 1)
        served[first if first != "a" else chosen(policy, 1, dead)] += 1
    assert max(served.values()) - min(served.values()) <= 2


@pytest.mark.parametrize("weights", [[1000, 999] * 50, [1] + [1000] * 99])
def test_a_schedule_is_bounded_and_leaves_nobody_out(weights: list[int]) -> None:
    policy = built(RoundRobin(0), make(weights))
    served = Counter(chosen(policy, LONGEST_SCHEDULE))
    assert len(served) == len(weights)
    ideal = LONGEST_SCHEDULE / sum(weights)
    assert all(abs(served[target.name] - target.weight * ideal) <= 1 for target in make(weights))
    assert chosen(policy, 100) == chosen(built(RoundRobin(0), make(weights)), 100)


def test_what_weights_have_in_common_makes_no_schedule_longer() -> None:
    picks = LONGEST_SCHEDULE + 150
    assert chosen(built(RoundRobin(0), make([1000, 2000] * 50)), picks) == chosen(
        built(RoundRobin(0), make([1, 2] * 50)), picks
    )


# --- maglev


def test_the_same_key_meets_the_same_target_in_every_process() -> None:
    one = built(Maglev(0), make([1, 2, 3]))
    two = built(Maglev(1), make([1, 2, 3]))
    assert [one.choose(key, ()).id for key in keys(500)] == [two.choose(key, ()).id for key in keys(500)]  # type: ignore[union-attr]


def test_keys_spread_by_weight() -> None:
    targets = make([1, 3])
    policy = built(Maglev(0), targets)
    served = Counter(policy.choose(key, ()) for key in keys(4000))
    assert 900 <= served[targets[0]] <= 1100


def test_a_table_from_elsewhere_is_used_as_it_is() -> None:
    targets = make([1, 1, 1])
    table = array("I", [2] * 7).tobytes()
    policy = built(Maglev(0), targets, table)
    assert {policy.choose(key, ()) for key in keys(50)} == {targets[1]}
    assert policy.table() == table


def test_a_table_may_lie_in_shared_memory() -> None:
    targets = make([1, 1, 1])
    made = built(Maglev(0), targets).table()
    block = memoryview(b"\0" * 12 + made)
    lent = built(Maglev(0), targets, block[12:])
    assert lent.table() == made


def test_without_a_table_it_builds_the_same_one() -> None:
    assert built(Maglev(0), make([1, 2])).table() == built(Maglev(0), make([1, 2]), b"").table() != b""


def test_keys_of_a_target_that_failed_spread_evenly_and_the_same_everywhere() -> None:
    targets = make([1, 1, 1, 1, 1])
    one, two = built(Maglev(0), targets), built(Maglev(1), targets)
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
    table = built(Maglev(0), targets).table()
    policy = built(Maglev(0), targets[1:], table)
    assert {policy.choose(key, ()) for key in keys(200)} == set(targets[1:])


def test_a_newcomer_that_the_table_does_not_know_is_found_when_the_others_were_tried() -> None:
    targets = make([1, 1, 1])
    table = built(Maglev(0), targets[:2]).table()
    assert built(Maglev(0), targets, table).choose(b"key", targets[:2]) is targets[2]


def test_maglev_has_none_when_all_were_tried_or_nobody_is_there() -> None:
    targets = make([1, 1])
    policy = built(Maglev(0), targets)
    assert policy.choose(b"key", targets) is None
    assert built(policy, ()).choose(b"key", ()) is None
    assert policy.table() == b""


def test_an_empty_key_has_a_place_too() -> None:
    policy = built(Maglev(0), make([1, 1, 1]))
    assert policy.choose(b"", ()) is policy.choose(b"", ()) is not None


# --- both


@pytest.mark.parametrize("name", POLICIES)
@given(
    weights=st.lists(st.integers(1, 20), max_size=6),
    tried=st.sets(st.integers(0, 5)),
    key=st.binary(max_size=8),
)
def test_whoever_is_chosen_is_a_candidate_that_was_not_tried(
    name: str, weights: list[int], tried: set[int], key: bytes
) -> None:
    targets = make(weights)
    left = [target for number, target in enumerate(targets) if number not in tried]
    policy = built(POLICIES[name](0), targets, array("I", [1, 2, 3, 4, 5, 6, 1, 3]).tobytes() if weights else None)
    found = policy.choose(key, tuple(target for target in targets if target not in left))
    assert (found in left) if left else (found is None)


def test_only_maglev_asks_for_a_key_and_has_a_table() -> None:
    wants = {name: POLICIES[name](0).needs_key for name in POLICIES}
    assert wants == {"round_robin": False, "maglev": True}
    assert built(RoundRobin(0), make([1, 2])).table() == b""


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
