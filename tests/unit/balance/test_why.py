"""Why a target is in or out, in words; and whom the next session gets, where that can be told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.balance.affinity import flow_key
from nlb.balance.group import Group
from nlb.balance.policies import POLICIES
from nlb.balance.policy import Means
from nlb.balance.target import ADMIN_STATES, HEALTH_STATES, RESOLVE_STATES, Target
from nlb.balance.why import FULL, IN, OUT, choice, standings
from nlb.model.address import Address
from tests.unit.balance.box import make

KEY = flow_key("192.0.2.7", 40000, "flow")


def grouped(*targets: Target, policy: str = "round_robin", waiting: bool = False, means: Means | None = None) -> Group:
    group = Group("web", policy, list(targets), means=means or Means())
    group.waiting = waiting
    group.rebuild()
    return group


def said(*targets: Target, waiting: bool = False) -> list[tuple[str, str]]:
    return [(standing.state, standing.why) for standing in standings(grouped(*targets, waiting=waiting))]


def test_who_is_healthy_is_in_and_gets_its_share() -> None:
    a, b = make([1, 3])
    a.set_health("healthy", "status 200", 0)
    found = standings(grouped(a, b))
    assert [(each.target, each.state, each.why, each.share) for each in found] == [
        (a, IN, "healthy: status 200", 0.25),
        (b, IN, "healthy", 0.75),
    ]


def test_why_a_target_is_out() -> None:
    a, drained, weightless, lost, sick, new, reserve = make([1, 1, 0, 1, 1, 1, 1])
    drained.set_admin("drain", "deploy", 0)
    lost.set_resolve("none", "no such name", 0)
    sick.set_health("unhealthy", "connection refused", 0)
    new.set_health("initial", "", 0)
    reserve.backup = True
    assert said(a, drained, weightless, lost, sick, new, reserve) == [
        (IN, "healthy"),
        (OUT, "drain by the operator: deploy"),
        (OUT, "weight 0"),
        (OUT, "DNS has no address for it: no such name"),
        (OUT, "unhealthy: connection refused"),
        (OUT, "no health verdict yet"),
        (OUT, "healthy; backup, for when no other target is usable"),
    ]


def test_the_operators_word_comes_before_all_others() -> None:
    (a,) = make([0])
    a.set_admin("maint", "", 0)
    a.set_health("unhealthy", "connection refused", 0)
    assert said(a) == [(OUT, "maint by the operator")]


def test_a_backup_that_is_used() -> None:
    a, reserve = make([1, 1])
    a.set_health("unhealthy", "", 0)
    reserve.backup = True
    assert said(a, reserve) == [(OUT, "unhealthy"), (IN, "healthy; backup, and no other target is usable")]


def test_failing_open() -> None:
    a, b = make([1, 1])
    for target in (a, b):
        target.set_health("unhealthy", "connection refused", 0)
    why = "unhealthy: connection refused; used all the same, since the group fails open"
    assert said(a, b) == [(IN, why), (IN, why)]


def test_before_the_first_verdict() -> None:
    (a,) = make([1])
    a.set_health("initial", "", 0)
    assert said(a, waiting=True) == [(IN, "no health verdict yet; until there is one, sessions wait")]
    assert choice(grouped(a, waiting=True), KEY).why.startswith("it waits for the first health verdict")


def test_a_full_one() -> None:
    a, b = make([1, 1], workers=2)
    a.max_connections = 3
    a.rows[0][a.id], a.rows[1][a.id] = 1, 2  # type: ignore[index]
    assert said(a, b) == [(FULL, "it has 3 sessions, and its max_connections is 3"), (IN, "healthy")]
    assert choice(grouped(a, b), None) == (b, "the only one with room")
    b.max_connections = 0
    assert choice(grouped(a, b), None).target is None


TARGETS = st.lists(
    st.tuples(*map(st.sampled_from, (ADMIN_STATES, HEALTH_STATES, RESOLVE_STATES)), st.integers(0, 2), st.booleans()),
    max_size=5,
)


@given(TARGETS, st.booleans())
def test_in_is_who_is_a_candidate_and_the_reason_why_not_is_true(
    facts: list[tuple[str, str, str, int, bool]], waiting: bool
) -> None:
    targets = []
    for number, (admin, health, resolve, weight, backup) in enumerate(facts):
        target = Target(number, f"t{number}", "web", Address("10.0.0.1", number + 1), weight, backup)
        target.admin.state, target.health.state, target.resolve.state = admin, health, resolve
        targets.append(target)
    group = grouped(*targets, waiting=waiting)
    found = standings(group)
    assert [each.target for each in found if each.state != OUT] == list(group.candidates)
    assert sum(each.share for each in found) == pytest.approx(1.0 if group.candidates else 0.0)
    for target, state, why, _ in found:
        truths = {
            "drain": target.admin.state == "drain",
            "maint": target.admin.state == "maint",
            "DNS": target.resolve.state == "none",
            "weight": target.weight == 0,
            "unhealthy": target.health.state == "unhealthy",
            "no": target.health.state == "initial",
            "healthy": target.usable and (state == IN or target.backup),
        }
        assert truths[re.split("[ :;]", why)[0]]


# --- the choice


def test_nobody() -> None:
    assert choice(grouped(), KEY) == (None, "nobody: every target is out")


@pytest.mark.parametrize("policy", POLICIES)
def test_the_only_one(policy: str) -> None:
    (a,) = make([1])
    assert choice(grouped(a, policy=policy), None) == (a, "the only one that is in")


@pytest.mark.parametrize("policy", ["maglev", "source_ip"])
def test_by_a_key_it_is_the_one_that_gets_the_session(policy: str) -> None:
    group = grouped(*make([1, 1, 1]), policy=policy)
    assert choice(group, KEY).target is group.pick(KEY, ())
    assert choice(group, KEY).why.endswith("always this one, while the targets stay as they are")


def test_without_the_key_nobody_knows() -> None:
    assert choice(grouped(*make([1, 1]), policy="source_ip"), None) == (
        None,
        "by the client's address, of which not enough is known here",
    )


def test_with_a_bound_on_loads_it_is_for_now() -> None:
    targets = make([1, 1, 1], workers=1)
    group = grouped(*targets, policy="maglev", means=Means(max_load=1.25))
    first = choice(group, KEY).target
    assert first is not None
    first.rows[0][first.id] = 50  # type: ignore[index]
    busy = choice(grouped(*targets, policy="maglev", means=Means(max_load=1.25)), KEY)
    assert busy.target not in (None, first)
    assert busy.why == "by the client's address and port: for now, as it has room"


def test_least_connections() -> None:
    a, b, c = targets = make([1, 2, 1], workers=1)
    a.rows[0][a.id], a.rows[0][b.id], a.rows[0][c.id] = 2, 3, 2  # type: ignore[index]
    assert choice(grouped(*targets, policy="least_connections"), None) == (
        b,
        "which has the fewest sessions for its weight: 3",
    )
    a.rows[0][a.id] = a.rows[0][c.id] = 1  # type: ignore[index]
    tied = choice(grouped(*targets, policy="least_connections"), None)
    assert tied == (None, "whose turn it is of those with the fewest sessions for their weight: a, c")


@pytest.mark.parametrize("policy", ["round_robin", "random_two", "python:tests.nowhere:Mine"])
def test_what_cannot_be_told_is_a_sentence(policy: str) -> None:
    group = grouped(*make([1, 1]))
    group.policy = policy
    target, why = choice(group, KEY)
    assert target is None
    assert " " in why
