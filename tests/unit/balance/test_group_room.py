"""A group whose targets take so many sessions each."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlb.balance.group import Group
from nlb.balance.policy import Means
from nlb.balance.target import Target
from tests.unit.balance.box import make, small_table


class Counted:
    """Targets a, b, c, ... with these limits, and whoever is picked is counted, by the first of the workers."""

    def __init__(self, *limits: int | None, policy: str = "round_robin", workers: int = 1) -> None:
        self.targets = make([1] * len(limits), workers)
        self.group = Group("web", policy, list(self.targets), means=Means(random=Random(1).random))
        self.sessions: list[Target] = []
        self.limit(*limits)

    def limit(self, *limits: int | None) -> bool:
        for target, limit in zip(self.targets, limits, strict=True):
            target.max_connections = limit
        return self.group.rebuild(small_table(self.targets) if self.group.needs_key else None)

    def take(self, key: bytes = b"key", tried: tuple[Target, ...] = ()) -> str:
        target = self.group.pick(key, tried)
        if target is None:
            return "-"
        self.count(target, 0, 1)
        self.sessions.append(target)
        return target.name

    def takes(self, sessions: int) -> str:
        return "".join(self.take() for _ in range(sessions))

    def end(self, name: str) -> bool:
        target = next(target for target in self.sessions if target.name == name)
        self.sessions.remove(target)
        self.count(target, 0, -1)
        return self.group.left(target)

    def count(self, target: Target, worker: int, sessions: int) -> None:
        target.rows[worker][target.id] += sessions  # type: ignore[index]


@pytest.mark.parametrize("policy", ["round_robin", "least_connections", "random_two", "maglev", "source_ip"])
def test_a_full_target_is_not_chosen(policy: str) -> None:
    counted = Counted(1, 2, 3, policy=policy)
    served = counted.takes(8)
    assert sorted(served) == sorted("abbccc--")
    assert served.endswith("--")


def test_a_group_is_limited_and_wants_attention_if_anybody_has_a_limit() -> None:
    free, limited = Counted(None, None).group, Counted(None, 1).group
    assert [(group.is_limited, group.attentive) for group in (free, limited)] == [(False, False), (True, True)]
    assert Counted(None, policy="least_connections").group.attentive


@pytest.mark.parametrize("policy", ["round_robin", "least_connections", "maglev"])
def test_who_leaves_a_full_target_makes_room(policy: str) -> None:
    counted = Counted(1, 1, policy=policy)
    assert sorted(counted.takes(3)) == sorted("ab-")
    assert counted.end("b")
    assert counted.takes(2) == "b-"


def test_who_leaves_one_that_was_not_full_makes_none() -> None:
    counted = Counted(5, 5)
    counted.takes(2)
    assert not counted.end("a")


@pytest.mark.parametrize("policy", ["round_robin", "least_connections", "maglev"])
def test_what_another_worker_made_room_for_is_found_by_a_look(policy: str) -> None:
    counted = Counted(1, 1, policy=policy, workers=2)
    for target in counted.targets:
        counted.count(target, 1, 1)
    assert counted.take() == "-"
    counted.count(counted.targets[1], 1, -1)
    assert counted.take() == "-"
    counted.group.look_for_room()
    assert counted.takes(2) == "b-"


def test_crowded_is_where_somebody_only_lacks_room() -> None:
    counted = Counted(1, None)
    a, b = counted.targets
    assert not counted.group.is_crowded(())
    assert counted.takes(2) == "ab"
    assert counted.take(tried=(b,)) == "-"
    assert counted.group.is_crowded((b,))
    assert not counted.group.is_crowded((a, b))
    assert not Counted(None).group.is_crowded(())


def test_when_most_are_full_those_with_room_are_found_whatever_the_policy_prefers() -> None:
    counted = Counted(*[1] * 15, None, policy="source_ip")
    assert sorted(counted.takes(40)) == sorted("abcdefghijklmno" + "p" * 25)


def test_a_limit_may_come_and_go() -> None:
    counted = Counted(None, None)
    counted.takes(4)
    assert not counted.limit(2, 2), "the candidates are the same"
    assert counted.take() == "-"
    counted.limit(None, 2)
    assert counted.takes(2) == "aa"
    counted.limit(None, None)
    assert counted.takes(4).count("b") == 2


@pytest.mark.parametrize("policy", ["round_robin", "least_connections", "random_two", "maglev", "source_ip"])
@settings(deadline=None)
@given(
    limits=st.lists(st.one_of(st.none(), st.integers(1, 3)), min_size=1, max_size=6),
    steps=st.lists(st.tuples(st.sampled_from("+++-"), st.integers(0, 99), st.integers(0, 5)), max_size=40),
)
def test_no_limit_is_passed_and_nobody_is_turned_away_while_there_is_room(
    policy: str, limits: list[int | None], steps: list[tuple[str, int, int]]
) -> None:
    counted = Counted(*limits, policy=policy)
    for what, number, place in steps:
        if what == "+":
            tried = counted.targets[place : place + 1]
            left = {target.name for target in counted.targets if target not in tried and has_room(target)}
            assert counted.take(bytes([number]), tried) in (left or {"-"})
        elif counted.sessions:
            counted.end(counted.sessions[number % len(counted.sessions)].name)


def has_room(target: Target) -> bool:
    return target.max_connections is None or target.sessions < target.max_connections
