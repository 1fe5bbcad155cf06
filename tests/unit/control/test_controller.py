"""What control decides, result by result: flips, fail-open, sessions of failed targets, drains, wishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nlb.errors import AdminError
from tests.unit.control.stepped import Play

Make = Callable[..., Play]
WEB = {"web": ["a", "b", "c"]}


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Make]:
    """Make a controller over these groups; nothing listens yet."""
    plays: list[Play] = []

    def make(groups: dict[str, list[str]] = WEB, keys: str = "", check: str = "") -> Play:
        plays.append(Play(tmp_path, groups, keys, check))
        return plays[-1]

    yield make
    for made in plays:
        made.close()


# --- the start


def test_it_runs_once_every_group_has_a_verdict(play: Make) -> None:
    it = play()
    it.up("a", "b", "c")
    it.controller.start()
    assert (it.controller.state, it.controller.ready) == ("starting", False)
    it.loop.settle()
    assert (it.controller.state, it.controller.ready) == ("running", True)
    assert it.events.texts("target") == [f"web/{name} is healthy: connected" for name in "abc"]


def test_it_does_not_run_before_the_plane_is_up(play: Make) -> None:
    it = play()
    it.plane.up = False
    it.start("a", "b", "c")
    assert it.controller.state == "starting"
    it.plane.up = True
    it.controller.workers_changed()
    assert it.controller.state == "running"


def test_when_no_verdict_comes_in_a_second_the_group_fails_open(play: Make) -> None:
    it = play()
    it.loop.silent = True
    it.start("a", "b", "c")
    it.pass_time(0.9)
    assert (it.controller.state, it.fails_open()) == ("starting", False)
    it.pass_time(0.1)
    assert (it.controller.state, it.fails_open(), it.controller.ready) == ("running", True, False)
    assert it.events.said == [("error", "group", "group web FAILS OPEN: no target is healthy, all 3 are used")]


def test_when_all_fail_at_first_the_group_fails_open_at_once(play: Make) -> None:
    it = play()
    it.start()
    assert (it.controller.state, it.fails_open(), it.candidates()) == ("running", True, ["a", "b", "c"])


# --- flips


def test_three_failures_take_a_target_out_and_the_plane_is_told(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.down("b")
    it.pass_time(2.9)
    assert it.candidates() == ["a", "b", "c"]
    it.pass_time(0.2)
    assert it.candidates() == ["a", "c"]
    assert it.marked("b") == [["ready", "healthy", "ok", 1], ["ready", "unhealthy", "ok", 1]]
    assert it.events.said[-1] == ("warning", "target", "web/b is unhealthy: no such socket")
    assert it.of("b").transitions == 1


def test_two_passes_bring_it_back(play: Make) -> None:
    it = play()
    it.start("a", "b")
    it.up("c")
    it.pass_time(2)
    assert it.candidates() == ["a", "b"]
    it.pass_time(0.5)
    assert it.candidates() == ["a", "b", "c"]
    assert it.marked("c")[-1] == ["ready", "healthy", "ok", 1]
    assert it.events.said[-1] == ("info", "target", "web/c is healthy: connected")


def test_what_changes_in_one_turn_is_told_as_one(play: Make) -> None:
    it = play(keys='on_unhealthy = "keep"')
    it.start("a", "b", "c")
    it.plane.told.clear()
    it.down("a", "b")
    it.pass_time(3.1)
    [(targets, tables)] = it.plane.verbs("mark")
    assert [facts[2] for facts in targets] == ["unhealthy", "unhealthy"]
    assert tables == []


def test_a_table_goes_along_where_the_policy_has_one(play: Make) -> None:
    it = play(keys='policy = "maglev"')
    it.start("a", "b", "c")
    it.plane.told.clear()
    it.down("a")
    it.pass_time(3.1)
    [(_, tables)] = it.plane.verbs("mark")
    assert tables == [it.controller.groups["web"].number]


def test_each_group_is_judged_by_itself(play: Make) -> None:
    it = play({"web": ["a"], "api": ["a"]})
    it.up("a", group="api")
    it.start("a")
    it.down("a", group="api")
    it.pass_time(3.1)
    assert it.health("web/a", "api/a") == ["healthy", "unhealthy"]
    assert (it.fails_open("web"), it.fails_open("api")) == (False, True)


def test_a_newer_reason_for_the_same_health_is_told(play: Make) -> None:
    it = play()
    it.start("a", "b")
    since = it.of("c").target.health.since
    it.controller.connect_failed(it.of("c").target.id, "timeout", 1)
    assert it.reason("c") == "no answer to connect (seen by traffic)"
    it.pass_time(2.1)
    assert (it.reason("c"), it.of("c").target.health.since) == ("no such socket", since)


def test_a_result_against_the_state_does_not_change_its_reason(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.down("c")
    it.pass_time(2.1)
    assert (it.health("c"), it.reason("c")) == (["healthy"], "connected")


# --- fail open


def test_without_a_healthy_target_all_are_used_and_it_is_said(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.down("a", "b", "c")
    it.pass_time(3.1)
    assert (it.candidates(), it.fails_open(), it.controller.ready) == (["a", "b", "c"], True, False)
    assert it.events.texts("group") == ["group web FAILS OPEN: no target is healthy, all 3 are used"]


def test_the_first_that_is_healthy_again_ends_it(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.down("a", "b", "c")
    it.pass_time(3.1)
    it.up("b")
    it.pass_time(2.6)
    assert (it.candidates(), it.fails_open(), it.controller.ready) == (["b"], False, True)
    assert it.events.texts("group")[1:] == ["group web no longer fails open"]


def test_it_never_opens_to_what_the_operator_took_out(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.controller.set_admin("a", "maint", "", None, "ann")
    it.controller.set_weight("b", 0, "", "ann")
    it.down("c")
    it.pass_time(3.1)
    assert (it.candidates(), it.fails_open()) == (["c"], True)


# --- the sessions of a target that fails


@pytest.mark.parametrize(("mode", "resets"), [("keep", 0), ("drain", 0), ("reset", 1)])
def test_on_unhealthy(play: Make, mode: str, resets: int) -> None:
    it = play(keys=f'on_unhealthy = "{mode}"')
    it.start("a", "b", "c")
    it.has_sessions("a", 7)
    it.down("a")
    it.pass_time(3.1)
    assert it.plane.verbs("reset") == [(it.of("a").target.id, "unhealthy")] * resets
    assert ("web/a: 7 sessions reset, on_unhealthy" in it.events.texts("target")) is bool(resets)
    drain = it.of("a").drain
    assert (drain.cause if drain else None) == ("unhealthy" if mode == "drain" else None)


def test_when_all_fail_in_one_turn_no_session_is_reset(play: Make) -> None:
    """Then the group fails open, and its sessions may be all that still works."""
    it = play()
    it.start("a", "b", "c")
    it.has_sessions("a", 7)
    it.down("a", "b", "c")
    it.pass_time(3.5)
    assert it.fails_open()
    assert it.plane.verbs("reset") == []


def test_the_plane_knows_that_a_target_is_out_before_its_sessions_are_reset(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.plane.told.clear()
    it.down("a")
    it.pass_time(3.1)
    assert [told[0] for told in it.plane.told] == ["mark", "reset"]


@pytest.mark.parametrize("mode", ["keep", "drain", "reset"])
def test_no_session_is_touched_while_the_group_fails_open(play: Make, mode: str) -> None:
    it = play({"web": ["a"]}, keys=f'on_unhealthy = "{mode}"')
    it.start("a")
    it.has_sessions("a", 7)
    it.down("a")
    it.pass_time(600)
    assert it.fails_open()
    assert (it.plane.verbs("reset"), it.of("a").drain) == ([], None)


def test_a_drain_of_the_unhealthy_ends_with_a_reset(play: Make) -> None:
    it = play(keys='on_unhealthy = "drain"\nderegistration_delay = 30')
    it.start("a", "b", "c")
    it.has_sessions("a", 7)
    it.down("a")
    it.pass_time(32.5)
    assert it.plane.verbs("reset") == []
    it.pass_time(1)
    assert it.plane.verbs("reset") == [(it.of("a").target.id, "unhealthy")]
    assert it.events.texts("target")[-1] == "web/a: drain time ran out, 7 sessions reset"


def test_a_drain_of_the_unhealthy_ends_when_it_is_healthy_again(play: Make) -> None:
    it = play(keys='on_unhealthy = "drain"\nderegistration_delay = 30')
    it.start("a", "b", "c")
    it.has_sessions("a", 7)
    it.outage("a")
    assert it.of("a").drain
    it.pass_time(60)
    assert (it.of("a").drain, it.plane.verbs("reset")) == (None, [])


def test_a_drain_of_the_unhealthy_waits_while_the_group_fails_open(play: Make) -> None:
    it = play(keys='on_unhealthy = "drain"\nderegistration_delay = 30')
    it.start("a", "b", "c")
    it.has_sessions("a", 7)
    it.down("a")
    it.pass_time(10)
    it.down("b", "c")
    it.pass_time(60)
    assert it.fails_open()
    assert it.plane.verbs("reset") == []
    it.up("b")
    it.pass_time(3)
    assert it.plane.verbs("reset") == [(it.of("a").target.id, "unhealthy")]


def test_a_failure_leaves_the_operator_s_drain_alone(play: Make) -> None:
    it = play(keys='on_unhealthy = "drain"')
    it.start("a", "b", "c")
    it.has_sessions("a", 7)
    it.controller.set_admin("a", "drain", "", 20, "ann")
    drain = it.of("a").drain
    it.outage("a")
    it.pass_time(5)
    assert it.health("a") == ["healthy"]
    assert it.of("a").drain is drain
    it.pass_time(15)
    assert it.plane.verbs("reset") == [(it.of("a").target.id, "drain_timeout")]


# --- what traffic sees


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("refused", "connection refused (seen by traffic)"),
        ("timeout", "no answer to connect (seen by traffic)"),
        ("unreachable", "unreachable (seen by traffic)"),
    ],
)
def test_failed_connects_count_as_failed_probes(play: Make, cause: str, reason: str) -> None:
    it = play()
    it.start("a", "b", "c")
    number = it.of("a").target.id
    it.controller.connect_failed(number, cause, 2)
    assert it.health("a") == ["healthy"]
    it.controller.connect_failed(number, cause, 1)
    it.loop.settle()
    assert (it.health("a"), it.reason("a"), it.candidates()) == (["unhealthy"], reason, ["b", "c"])


def test_after_one_the_target_is_asked_at_once(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    before = it.of("a").passed
    it.controller.connect_failed(it.of("a").target.id, "refused", 1)
    it.loop.settle()
    assert it.of("a").passed == before + 1
    assert it.of("a").health.failures == 0


@pytest.mark.parametrize(
    ("names", "most", "out"),
    [
        ("ab", 50, "a"),
        ("abc", 50, "a"),
        ("abcd", 50, "ab"),
        ("abcd", 100, "abc"),
        ("abcd", 0, ""),
        ("a", 100, ""),
    ],
)
def test_traffic_takes_out_at_most_max_ejected_and_never_the_last(play: Make, names: str, most: int, out: str) -> None:
    it = play({"web": list(names)}, keys=f"max_ejected = {most}")
    it.start(*names)
    for name in names:
        it.controller.connect_failed(it.of(name).target.id, "refused", 1000)
    it.loop.settle()
    assert [name for name in names if it.health(name) == ["unhealthy"]] == list(out)
    assert not it.fails_open()


def test_what_probes_took_out_counts_for_max_ejected(play: Make) -> None:
    it = play({"web": list("abcd")})
    it.start("a", "b")
    assert it.candidates() == ["a", "b"]
    it.controller.connect_failed(it.of("a").target.id, "refused", 1000)
    assert it.health("a") == ["healthy"]


def test_a_probe_takes_out_what_traffic_may_not(play: Make) -> None:
    it = play({"web": ["a"]})
    it.start("a")
    it.down("a")
    it.controller.connect_failed(it.of("a").target.id, "refused", 1000)
    assert it.health("a") == ["healthy"]
    it.loop.settle()  # asked at once, and that failure decides
    assert (it.health("a"), it.reason("a")) == (["unhealthy"], "no such socket")


def test_who_is_in_maint_not_checked_or_gone_is_not_marked(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.controller.set_admin("a", "maint", "", None, "ann")
    it.controller.connect_failed(it.of("a").target.id, "refused", 1000)
    it.controller.connect_failed(4711, "refused", 1000)
    assert it.health("a", "b", "c") == ["healthy"] * 3
    unchecked = play({"free": ["x", "y", "z"]}, check='protocol = "none"')
    unchecked.controller.start()
    unchecked.controller.connect_failed(unchecked.of("x").target.id, "refused", 1000)
    assert unchecked.health("x") == ["healthy"]


# --- flaps


def flapped(it: Play, *names: str, times: int = 2) -> None:
    """So often out and in again; the next outage begins a hold."""
    for _ in range(times):
        it.outage(*names)
        it.pass_time(3)
        assert it.health(*names) == ["healthy"] * len(names)


def test_a_target_that_flaps_is_held_out_and_it_is_said(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    flapped(it, "a")
    it.outage("a")
    why = "no such socket; it flaps, so it is held out for 30s"
    assert it.events.texts("target")[-1] == f"web/a is unhealthy: {why}"
    it.pass_time(25)
    assert (it.health("a"), it.reason("a")) == (["unhealthy"], why)
    assert it.of("a").health.passes > 2
    it.pass_time(10)
    assert (it.health("a"), it.reason("a")) == (["healthy"], "connected")


def test_while_it_is_held_it_is_asked_at_the_usual_pace(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    flapped(it, "a")
    it.outage("a")
    before = it.of("a").passed
    it.pass_time(20)
    assert it.of("a").passed - before == 10


def test_the_only_target_is_never_held(play: Make) -> None:
    it = play({"web": ["a"]})
    it.start("a")
    flapped(it, "a", times=10)


def test_a_held_one_comes_back_when_it_is_needed(play: Make) -> None:
    """The others fail: holding it would leave the group without a usable target."""
    it = play()
    it.start("a", "b", "c")
    flapped(it, "a")
    it.outage("a")
    it.down("b", "c")
    it.pass_time(4)
    assert (it.candidates(), it.fails_open()) == (["a"], False)


@pytest.mark.parametrize(("names", "held"), [("abcd", ["unhealthy"] * 2), ("abc", ["healthy"] * 2)])
def test_holds_keep_out_no_more_than_max_ejected(play: Make, names: str, held: list[str]) -> None:
    """When most of a group flap together, the cause is likely not theirs."""
    it = play({"web": list(names)})
    it.start(*names)
    flapped(it, "a", "b")
    it.outage("a", "b")
    it.pass_time(3)
    assert it.health("a", "b") == held


def test_the_operator_may_end_a_hold(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    flapped(it, "a")
    it.outage("a")
    it.pass_time(3)
    assert it.health("a") == ["unhealthy"]
    it.controller.set_admin("a", "ready", "", None, "ann")
    it.loop.settle()
    assert it.health("a") == ["healthy"]
    assert it.events.texts("operator") == ["web/a is held out no longer, by ann"]


def test_ready_says_nothing_of_holds_where_there_is_none(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.controller.set_admin("a", "ready", "", None, "ann")
    assert it.events.texts("operator") == []


def test_flap_limit_0_never_holds(play: Make) -> None:
    it = play(check="flap_limit = 0")
    it.start("a", "b", "c")
    flapped(it, "a", times=10)


def test_traffic_s_flips_count_as_well(play: Make) -> None:
    """A target that answers probes and refuses clients would go in and out for ever."""
    it = play()
    it.start("a", "b", "c")
    for _ in range(3):
        it.controller.connect_failed(it.of("a").target.id, "refused", 3)
        assert it.health("a") == ["unhealthy"]
        it.pass_time(4)
    assert it.health("a") == ["unhealthy"]
    assert it.reason("a").endswith("it flaps, so it is held out for 30s")


# --- history


def test_every_result_is_kept_with_the_flips(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.controller.connect_failed(it.of("a").target.id, "refused", 1)
    it.down("a")
    it.pass_time(1.1)
    seen = [(result["by"], result["ok"], result["detail"], result["changed"]) for result in it.of("a").history]
    assert seen == [
        ("probe", True, "connected", True),
        ("traffic", False, "connection refused (seen by traffic)", False),
        ("probe", False, "no such socket", False),
        ("probe", False, "no such socket", True),
    ]


# --- drains


def test_a_drained_target_gets_no_work_and_is_empty_soon(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.controller.set_admin("a", "drain", "deploy", None, "ann")
    it.loop.settle()
    assert it.candidates() == ["b", "c"]
    assert it.marked("a")[-1] == ["drain", "healthy", "ok", 1]
    it.pass_time(0.5)
    assert it.events.texts("operator") == ["web/a drain by ann: deploy"]
    assert it.events.texts("target")[-1] == "web/a drained in 200ms"


@pytest.mark.parametrize(("mode", "resets", "fate"), [("reset", 1, "reset"), ("keep", 0, "kept")])
def test_a_drain_whose_time_runs_out(play: Make, mode: str, resets: int, fate: str) -> None:
    it = play(keys=f'on_drain_timeout = "{mode}"')
    it.start("a", "b", "c")
    it.has_sessions("a", 2)
    it.controller.set_admin("a", "drain", "", 10, "ann")
    it.pass_time(9.5)
    assert it.plane.verbs("reset") == []
    it.pass_time(1)
    assert it.plane.verbs("reset") == [(it.of("a").target.id, "drain_timeout")] * resets
    assert it.events.texts("target")[-1] == f"web/a: drain time ran out, 2 sessions {fate}"


def test_ready_ends_a_drain(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.has_sessions("a", 2)
    it.controller.set_admin("a", "drain", "", 10, "ann")
    it.pass_time(5)
    it.controller.set_admin("a", "ready", "", None, "ann")
    it.pass_time(60)
    assert (it.candidates(), it.of("a").drain, it.plane.verbs("reset")) == (["a", "b", "c"], None, [])


def test_a_target_in_drain_is_probed_and_one_in_maint_is_not(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.controller.set_admin("a", "drain", "", None, "ann")
    it.controller.set_admin("b", "maint", "", None, "ann")
    it.down("a", "b")
    it.pass_time(10)
    assert it.health("a", "b") == ["unhealthy", "healthy"]
    it.controller.set_admin("b", "ready", "", None, "ann")
    it.pass_time(1.1)
    assert it.health("b") == ["unhealthy"]


# --- wishes and names


def test_a_weight_is_told_and_0_takes_a_target_out(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.controller.set_weight("web/b", 5, "bigger", "ann")
    it.loop.settle()
    it.controller.set_weight("b", 0, "", "ann")
    it.loop.settle()
    assert it.marked("b")[1:] == [["ready", "healthy", "ok", 5], ["ready", "healthy", "ok", 0]]
    assert it.candidates() == ["a", "c"]
    assert it.events.texts("operator") == ["web/b weight 1 -> 5 by ann: bigger", "web/b weight 5 -> 0 by ann"]


def test_the_same_wish_again_is_no_news(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.loop.settle()
    told = len(it.plane.told)
    it.controller.set_weight("b", 1, "", "ann")
    it.controller.set_admin("b", "ready", "", None, "ann")
    it.loop.settle()
    assert (len(it.plane.told), it.events.texts("operator")) == (told, [])


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("node", "'node' is in several groups; say which: web/node, api/node"),
        ("web1", "no target is called 'web1'; did you mean web01"),
        ("web/nodes", "no target is called 'web/nodes'; did you mean web/node"),
        ("q", "no target is called 'q'; `nlb ctl targets` lists them"),
    ],
)
def test_a_name_that_is_none(play: Make, name: str, complaint: str) -> None:
    it = play({"web": ["web01", "node"], "api": ["node"]})
    with pytest.raises(AdminError) as caught:
        it.controller.find(name)
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize(
    ("name", "label"), [("web01", "web/web01"), ("web/node", "web/node"), ("api/node", "api/node")]
)
def test_a_name_finds_one_target(play: Make, name: str, label: str) -> None:
    it = play({"web": ["web01", "node"], "api": ["node"]})
    assert it.controller.find(name).label == label


def test_sessions_are_asked_of_the_plane_by_number(play: Make) -> None:
    it = play()
    it.controller.sessions(lambda rows: None, 5, "b", "web")
    assert it.plane.verbs("sessions") == [(5, it.of("b").target.id, "web")]
    with pytest.raises(AdminError, match="no listener is called 'wbe'; there are web"):
        it.controller.sessions(lambda rows: None, 5, None, "wbe")


# --- another config


def test_a_reload_keeps_health_and_history(play: Make) -> None:
    it = play()
    it.start("a", "b")
    before = list(it.of("a").history)
    it.reload(check="interval = 5")
    assert it.health("a", "b", "c") == ["healthy", "healthy", "unhealthy"]
    assert list(it.of("a").history) == before
    it.loop.settle()
    assert len(it.of("a").history) == len(before) + 1  # the new question is asked at once


def test_other_thresholds_hold_at_once_and_ask_nothing_new(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.down("a")
    it.reload(check="fall = 1")
    it.loop.settle()
    assert it.health("a") == ["unhealthy"]


def test_a_hold_ends_with_the_key_that_began_it(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    flapped(it, "a")
    it.outage("a")
    it.reload(check="flap_limit = 0")
    it.pass_time(3)
    assert it.health("a") == ["healthy"]


def test_without_a_check_every_target_is_healthy_and_never_asked(play: Make) -> None:
    it = play()
    it.start()
    it.reload(check='protocol = "none"')
    assert (it.health("a", "b", "c"), it.reason("a")) == (["healthy"] * 3, "not checked")
    asked = it.of("a").failed
    it.pass_time(60)
    assert it.of("a").failed == asked


# --- names


def test_what_dns_says_is_a_fact_about_the_targets_that_are_there(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    stands = [(name, it.of(name).target.address) for name in "ab"]
    for group, targets in (("web", [("gone", stands[0][1]), *stands]), ("removed", stands)):
        it.controller.resolved(group, targets, "stale", "SERVFAIL", 5.0)
    it.pass_time(0.01)
    assert [it.of(name).target.resolve.state for name in "abc"] == ["stale", "stale", "ok"]
    assert it.marked("a")[-1] == ["ready", "healthy", "stale", 1]
    assert it.candidates() == ["a", "b", "c"]
    it.controller.resolved("web", stands, "none", "NXDOMAIN", 6.0)
    it.loop.settle()
    assert it.candidates() == ["c"]


# --- the end


def test_stop_gives_sessions_their_time_and_a_second_one_none(play: Make) -> None:
    it = play()
    it.start("a", "b", "c")
    it.controller.stop()
    assert (it.controller.state, it.plane.verbs("stop")) == ("stopping", [(10.0,)])
    asked = it.of("a").passed
    it.pass_time(60)
    assert it.of("a").passed == asked
    it.controller.stop()
    assert it.plane.verbs("stop") == [(10.0,), (0.0,)]
