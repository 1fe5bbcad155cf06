"""Who may be chosen: candidates, backups, failing open, waiting for the first verdict, slow start."""

from __future__ import annotations

from array import array
from collections import Counter

import pytest

from nlb.balance.group import Group
from nlb.balance.policy import Means
from nlb.balance.target import Target
from nlb.model.address import Address

HEALTH = {"+": "healthy", "-": "unhealthy", "?": "initial"}


def make(health: str, policy: str = "round_robin") -> Group:
    """A group of targets a, b, c, ...; one mark each: healthy +, unhealthy -, initial ?, in drain D, of weight 0 W."""
    targets = []
    for number, mark in enumerate(health):
        target = Target(number, "abcdef"[number], "web", Address("10.0.0.1", 3000 + number), 0 if mark == "W" else 1)
        target.set_health(HEALTH.get(mark, "healthy"), "", 0)
        target.set_admin("drain" if mark == "D" else "ready", "", 0)
        targets.append(target)
    return Group("web", policy, targets)


def rebuilt(health: str, policy: str = "round_robin") -> Group:
    group = make(health, policy)
    group.rebuild()
    return group


def names(group: Group) -> str:
    return "".join(target.name for target in group.candidates)


def become(group: Group, number: int, state: str) -> bool:
    group.targets[number].set_health(state, "", 0)
    return group.rebuild()


@pytest.mark.parametrize(
    ("health", "candidates", "fail_open", "waiting"),
    [
        pytest.param("+++", "abc", False, False, id="all healthy"),
        pytest.param("+-+", "ac", False, False, id="one unhealthy"),
        pytest.param("+?-", "a", False, False, id="one verdict is enough to go on"),
        pytest.param("+DW", "a", False, False, id="drain and weight 0 are out"),
        pytest.param("---", "abc", True, False, id="nobody healthy: all"),
        pytest.param("-DW", "a", True, False, id="failing open keeps what the operator took out"),
        pytest.param("DW", "", False, False, id="nobody eligible: nobody"),
        pytest.param("", "", False, False, id="no targets"),
        pytest.param("???", "abc", False, True, id="no verdict yet"),
        pytest.param("--?", "abc", False, True, id="the last verdict may still be a good one"),
        pytest.param("-D", "a", True, False, id="a drained one's verdict is not waited for"),
    ],
)
def test_candidates(health: str, candidates: str, fail_open: bool, waiting: bool) -> None:
    group = rebuilt(health)
    assert (names(group), group.fail_open, group.waiting) == (candidates, fail_open, waiting)


def test_a_target_that_nobody_asked_yet_is_not_waited_for_if_it_may_not_be_used() -> None:
    group = make("?")
    group.targets[0].set_admin("maint", "", 0)
    group.rebuild()
    assert not group.waiting


def test_waiting_ends_with_the_first_good_verdict() -> None:
    group = rebuilt("???")
    assert become(group, 1, "healthy")
    assert (names(group), group.waiting, group.fail_open) == ("b", False, False)


def test_waiting_ends_when_every_verdict_is_bad() -> None:
    group = rebuilt("??")
    become(group, 0, "unhealthy")
    assert group.waiting
    become(group, 1, "unhealthy")
    assert (group.waiting, group.fail_open) == (False, True)


def test_when_the_first_verdict_is_late_the_group_fails_open() -> None:
    group = rebuilt("??")
    group.stop_waiting()
    assert (names(group), group.waiting, group.fail_open) == ("ab", False, True)
    group.rebuild()
    assert (group.waiting, group.fail_open) == (False, True)


def test_waiting_never_comes_back() -> None:
    """Whoever waits is woken once; a second wait would have nobody to end it."""
    group = rebuilt("+?")
    become(group, 0, "unhealthy")
    assert (names(group), group.waiting, group.fail_open) == ("ab", False, True)


def test_stop_waiting_means_nothing_to_a_group_that_does_not_wait() -> None:
    group = rebuilt("+-")
    group.stop_waiting()
    assert not group.fail_open


def test_a_group_without_anybody_waits_for_nobody_and_does_not_fail_open() -> None:
    group = rebuilt("DW")
    group.stop_waiting()
    assert not group.fail_open
    assert group.pick(b"", ()) is None


def test_rebuild_tells_whether_candidates_changed() -> None:
    group = make("+-+")
    assert group.rebuild()
    assert not group.rebuild()
    assert become(group, 1, "healthy")
    assert not become(group, 1, "healthy")


def test_a_new_weight_is_a_change_of_candidates() -> None:
    group = rebuilt("++")
    group.targets[1].set_weight(3)
    assert group.rebuild()
    assert Counter(target.name for target in (group.pick(b"", ()) for _ in range(8)) if target) == {"a": 2, "b": 6}


def test_a_change_that_touches_no_candidate_is_none() -> None:
    group = rebuilt("+-")
    group.targets[1].set_weight(0)
    assert not group.rebuild()


def test_the_last_target_that_fails_stays_the_candidate_and_the_group_fails_open() -> None:
    group = rebuilt("+")
    assert not become(group, 0, "unhealthy")
    assert (names(group), group.fail_open) == ("a", True)


def test_recovery_ends_failing_open() -> None:
    group = rebuilt("---")
    become(group, 2, "healthy")
    assert (names(group), group.fail_open) == ("c", False)


def test_picks_go_round_among_candidates() -> None:
    group = rebuilt("+-++")
    assert [target.name for target in (group.pick(b"", ()) for _ in range(4)) if target] == ["a", "c", "d", "a"]


def test_each_worker_begins_elsewhere() -> None:
    targets = rebuilt("++++").targets
    firsts = set()
    for number in range(2):
        group = Group("web", "round_robin", targets, means=Means(number))
        group.rebuild()
        firsts.add(group.pick(b"", ()))
    assert len(firsts) == 2


def test_a_maglev_group_shares_its_table() -> None:
    """Control builds it, workers use it: same ids, same choice."""
    control, worker = rebuilt("+++", "maglev"), make("+++", "maglev")
    worker.rebuild(memoryview(control.table()))
    picked = [(control.pick(key, ()), worker.pick(key, ())) for key in (b"one", b"two", b"three", b"four")]
    assert all(ours and theirs and ours.id == theirs.id for ours, theirs in picked)


def test_a_new_table_is_taken_even_when_candidates_are_the_same() -> None:
    group = rebuilt("++", "maglev")
    only_b = array("I", [1] * 7).tobytes()
    assert not group.rebuild(only_b)
    assert {group.pick(bytes([key]), ()) for key in range(50)} == {group.targets[1]}


def test_a_maglev_group_without_a_table_builds_its_own() -> None:
    group = rebuilt("++", "maglev")
    assert group.needs_key
    assert group.table()
    assert group.pick(b"key", ()) in group.targets


def test_round_robin_has_no_table_to_share() -> None:
    group = rebuilt("++")
    assert group.table() == b""
    assert not group.needs_key


# --- backups


def with_backups(health: str, backups: str) -> Group:
    group = make(health)
    for target in group.targets:
        target.backup = target.name in backups
    group.rebuild()
    return group


@pytest.mark.parametrize(
    ("health", "backups", "candidates", "fail_open", "waiting"),
    [
        pytest.param("+++", "c", "ab", False, False, id="not needed"),
        pytest.param("-++", "c", "b", False, False, id="one of the others is enough"),
        pytest.param("--+", "c", "c", False, False, id="nobody else is usable"),
        pytest.param("DW+", "c", "c", False, False, id="nobody else may be used"),
        pytest.param("--++", "cd", "cd", False, False, id="all backups work together"),
        pytest.param("---", "c", "ab", True, False, id="failing open leaves them out"),
        pytest.param("D--", "bc", "bc", True, False, id="unless there is nobody else"),
        pytest.param("??+", "c", "c", False, True, id="the others are waited for first"),
        pytest.param("-?+", "c", "c", False, True, id="as long as one may turn out well"),
        pytest.param("D?+", "bc", "c", False, False, id="backups alone need no waiting"),
        pytest.param("--?", "c", "ab", True, False, id="a backup is not waited for"),
        pytest.param("++", "ab", "ab", False, False, id="only backups"),
    ],
)
def test_backups(health: str, backups: str, candidates: str, fail_open: bool, waiting: bool) -> None:
    group = with_backups(health, backups)
    assert (names(group), group.fail_open, group.waiting) == (candidates, fail_open, waiting)


def test_a_backup_serves_until_another_is_back() -> None:
    group = with_backups("-+", "b")
    assert names(group) == "b"
    assert become(group, 0, "healthy")
    assert names(group) == "a"


def test_when_the_first_verdict_is_late_a_healthy_backup_serves() -> None:
    group = with_backups("??+", "c")
    group.stop_waiting()
    assert (names(group), group.waiting, group.fail_open) == ("c", False, False)


# --- slow start


def easing(policy: str = "round_robin", slow_start: float = 30.0) -> Group:
    """b has just come back, at 1000."""
    group = Group("web", policy, make("+-+").targets, slow_start=slow_start)
    group.arrived(999.0)
    group.rebuild(now=999.0)
    group.targets[1].set_health("healthy", "", 0)
    group.arrived(1000.0)
    group.rebuild(now=1000.0)
    return group


def shares(group: Group, picks: int) -> Counter[str]:
    """Of sessions that end before the next one comes."""
    served: Counter[str] = Counter()
    for _ in range(picks):
        target = group.pick(b"", ())
        assert target is not None
        group.left(target)
        served[target.name] += 1
    return served


@pytest.mark.parametrize("policy", ["round_robin", "least_connections"])
def test_who_comes_back_begins_with_a_tenth(policy: str) -> None:
    group = easing(policy)
    assert group.is_easing
    assert abs(shares(group, 42)["b"] - 2) <= 1
    assert group.rebuild(now=1015.0)
    assert abs(shares(group, 51)["b"] - 11) <= 1
    assert group.rebuild(now=1030.0)
    assert not group.is_easing
    assert abs(shares(group, 30)["b"] - 10) <= 1


def test_between_two_steps_nothing_is_built() -> None:
    group = easing()
    assert not group.rebuild(now=1000.5)


@pytest.mark.parametrize(("policy", "seconds"), [("maglev", 30.0), ("source_ip", 30.0), ("round_robin", 0.0)])
def test_without_slow_start_it_has_all_at_once(policy: str, seconds: float) -> None:
    group = easing(policy, seconds)
    assert not group.is_easing
    assert all(target.slow_from == 0 for target in group.targets)


# --- policies


def test_source_ip_is_keyed_by_the_clients_address() -> None:
    groups = [Group("web", policy, [], hash_key="flow") for policy in ("source_ip", "maglev")]
    assert [(group.hash_key, group.needs_key) for group in groups] == [("source_ip", True), ("flow", True)]


def test_a_policy_of_the_operators_own() -> None:
    group = rebuilt("+++", "python:tests.unit.balance.own_policies:Last")
    assert {group.pick(b"", ()) for _ in range(3)} == {group.targets[2]}


def test_its_failures_are_heard() -> None:
    heard: list[str] = []
    own = "python:tests.unit.balance.own_policies:FailsToChoose"
    group = Group("web", own, make("++").targets, means=Means(failed=heard.append))
    group.rebuild()
    assert [target.name for target in (group.pick(b"", ()) for _ in range(2)) if target] == ["a", "b"]
    assert len(heard) == 2
