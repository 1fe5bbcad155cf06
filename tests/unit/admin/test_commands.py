"""The table of commands: what each verb does, and that a bad request changes nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nlb.admin.commands import APART, COMMANDS, FAMILIES, KINDS, execute
from nlb.control.inquiry import Inquiry, parse_url
from nlb.errors import AdminError
from nlb.model.address import Address
from tests.unit.admin.canned import (
    CONFIG,
    EXPLAINED,
    NOW,
    SESSION,
    FakeController,
    blocked,
    certificate,
    http_snapshot,
    override,
)

ROOT = Path(__file__).resolve().parents[3]


def ask(controller: FakeController, verb: object, args: object = None) -> Any:
    """The answer to a request; it must be given exactly once."""
    answers: list[Any] = []
    execute(controller, verb, {} if args is None else args, lambda: "ann", answers.append)
    assert len(answers) == 1
    return answers[0]


def test_status_tells_everything_but_the_targets() -> None:
    status = ask(FakeController(), "status")
    assert status["version"] == "0.1.0"
    assert status["not_ready"] == ""
    assert [worker["index"] for worker in status["workers"]] == [1, 2]
    web = status["groups"][0]
    assert (web["name"], web["targets"], web["usable"], web["sessions"]) == ("web", 3, 2, 6)


@pytest.mark.parametrize(("count", "told"), [(0, []), (1, [2]), (2, [1, 2]), (1000, [0, 1, 2])])
def test_status_gives_the_latest_events(count: int, told: list[int]) -> None:
    controller = FakeController()
    assert ask(controller, "status", {"events": count})["events"] == [controller.facts["events"][n] for n in told]


@pytest.mark.parametrize(
    ("args", "names"),
    [
        ({}, ["web/web01", "web/web02", "web/node", "api/node"]),
        ({"group": "api"}, ["api/node"]),
        ({"target": "node"}, ["web/node", "api/node"]),
        ({"target": "api/node"}, ["api/node"]),
        ({"group": "web", "target": "node"}, ["web/node"]),
    ],
)
def test_targets_of_all_groups_or_the_chosen_ones(args: dict[str, str], names: list[str]) -> None:
    rows = ask(FakeController(), "targets", args)["targets"]
    assert [f"{row['group']}/{row['name']}" for row in rows] == names


def test_explain_asks_control_what_was_asked() -> None:
    controller = FakeController()
    args = {"url": "http://a:81/x", "header": ["A: 1"], "source": "192.0.2.7"}
    answer = ask(controller, "explain", args)
    assert answer | {"now": 0} == EXPLAINED | {"now": 0}
    inquiry = Inquiry(parse_url("http://a:81/x"), "GET", ("A: 1",), Address("192.0.2.7", 0))
    assert controller.calls == [("explain", inquiry)]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "explain needs a url: what a client would ask for"),
        ({"url": 7}, "url: 7 is not a text"),
        ({"url": "a"}, "url: 'a' is no URL"),
        ({"url": "http://a/", "header": "A: 1"}, "header: must be a list of texts"),
        ({"url": "http://a/", "header": [1]}, "header: must be a list of texts"),
        ({"url": "http://a/", "source": "a"}, "source: 'a' is not an IP address"),
    ],
)
def test_explain_refuses_what_it_cannot_read(args: dict[str, Any], message: str) -> None:
    with pytest.raises(AdminError, match=message):
        ask(FakeController(), "explain", args)


def test_explain_is_no_command_of_nlb_ctl() -> None:
    assert not set(APART) & set(COMMANDS)


def test_targets_says_which_groups_fail_open() -> None:
    groups = ask(FakeController(), "targets")["groups"]
    assert [(group["name"], group["fail_open"]) for group in groups] == [("web", False), ("api", True)]


def test_health_is_of_one_target() -> None:
    answer = ask(FakeController(), "health", {"target": "api/node"})
    assert (answer["target"]["group"], [each["detail"] for each in answer["results"]]) == ("api", ["status 200"])
    with pytest.raises(AdminError, match="health needs a target"):
        ask(FakeController(), "health")


def test_errors_count_every_ending_and_explain_it() -> None:
    rows = ask(FakeController(), "errors")["outcomes"]
    assert [(row["outcome"], row["sessions"], row["requests"]) for row in rows] == [
        ("data/done", 230, 0),
        ("data/client_reset", 6, 0),
        ("connect/refused", 4, 0),
    ]
    assert rows[2]["meaning"] == "every target tried refused the connection: nothing listens on its port"
    assert rows[2]["listeners"] == {"web": {"sessions": 4, "requests": 0}}
    assert ask(FakeController(), "errors", {"listener": "api"})["outcomes"] == []


def test_errors_count_sessions_and_requests_apart() -> None:
    rows = ask(FakeController(http_snapshot()), "errors")["outcomes"]
    assert [(row["outcome"], row["sessions"], row["requests"]) for row in rows] == [
        ("data/done", 270, 900),
        ("request/redirect", 0, 80),
        ("response/timeout", 0, 18),
        ("request/idle", 12, 0),
        ("data/client_reset", 6, 0),
        ("connect/refused", 4, 0),
        ("request/bad_head", 2, 2),
    ]
    assert rows[0]["listeners"] == {
        "web": {"sessions": 230, "requests": 0},
        "edge": {"sessions": 40, "requests": 900},
    }


def test_requests_are_told_by_rule_group_and_status() -> None:
    answer = ask(FakeController(http_snapshot()), "requests")
    assert [(row["listener"], row["rule"], row["group"], row["requests"]) for row in answer["routes"]] == [
        ("edge", "old", "", 80),
        ("edge", "api", "api-v1", 318),
        ("edge", "default", "pages", 600),
    ]
    assert answer["routes"][2]["statuses"] == {"1xx": 2, "2xx": 590, "3xx": 0, "4xx": 7, "5xx": 0, "none": 1}
    assert answer["desync"] == [
        {"listener": "edge", "class": "ambiguous", "reason": "suspicious_header", "count": 5},
        {"listener": "edge", "class": "severe", "reason": "bad_header", "count": 2},
    ]
    assert ask(FakeController(http_snapshot()), "requests", {"listener": "edge"}) == answer


@pytest.mark.parametrize(
    ("facts", "args", "said"),
    [
        (http_snapshot(), {"listener": "web"}, "'web' does not speak http: there are only sessions"),
        (http_snapshot(), {"listener": "edg"}, "no listener is called 'edg' (did you mean edge?)"),
        (None, {}, "no listener speaks http: there are only sessions"),
    ],
    ids=["tcp", "unknown", "none"],
)
def test_who_has_no_requests(facts: Any, args: dict[str, str], said: str) -> None:
    with pytest.raises(AdminError, match=re.escape(said)):
        ask(FakeController(facts), "requests", args)


@pytest.mark.parametrize("verb", ["status", "watch", "listeners"])
def test_what_is_asked_for_often_does_not_tell_every_rule(verb: str) -> None:
    edge = ask(FakeController(http_snapshot()), verb)["listeners"][-1]
    assert (edge["name"], edge["requests"]) == ("edge", 1000)
    assert "routes" not in edge


@pytest.mark.parametrize("group", ["pages", "api-v1"])
def test_watching_a_group_shows_the_listeners_whose_rules_lead_there(group: str) -> None:
    answer = ask(FakeController(http_snapshot()), "watch", {"group": group})
    assert [row["name"] for row in answer["listeners"]] == ["edge"]
    assert "durations" not in answer["groups"][0]


@pytest.mark.parametrize(
    ("verb", "args", "call"),
    [
        ("drain", {}, ("set_admin", "web01", "drain", "", None, "ann")),
        ("drain", {"timeout": "30m"}, ("set_admin", "web01", "drain", "", 1800.0, "ann")),
        ("drain", {"timeout": 0, "reason": "kernel"}, ("set_admin", "web01", "drain", "kernel", 0.0, "ann")),
        ("drain", {"timeout": None, "reason": None}, ("set_admin", "web01", "drain", "", None, "ann")),
        ("maint", {"reason": "disk"}, ("set_admin", "web01", "maint", "disk", None, "ann")),
        ("ready", {}, ("set_admin", "web01", "ready", "", None, "ann")),
        ("weight", {"weight": 5}, ("set_weight", "web01", 5, "", "ann")),
        ("weight", {"weight": "0", "reason": "slow"}, ("set_weight", "web01", 0, "slow", "ann")),
        ("drain", {"for": "30m", "timeout": 5}, ("set_admin", "web01", "drain", "", 5.0, "ann", 1800.0)),
        ("maint", {"for": "1s"}, ("set_admin", "web01", "maint", "", None, "ann", 1.0)),
        ("weight", {"weight": 5, "for": 90}, ("set_weight", "web01", 5, "", "ann", 90.0)),
    ],
)
def test_changes_name_the_user_and_answer_with_the_target(
    verb: str, args: dict[str, Any], call: tuple[object, ...]
) -> None:
    controller = FakeController()
    answer = ask(controller, verb, {"target": "web01", **args})
    assert controller.calls == [call]
    assert answer["targets"] == [controller.target("web01")]


@pytest.mark.parametrize(
    ("verb", "args", "call"),
    [
        (
            "target add",
            {"group": "web", "target": "web04=10.0.0.14:3000"},
            ("add_target", "web", "web04=10.0.0.14:3000", 1, "", "ann"),
        ),
        (
            "target add",
            {"group": "web", "target": "10.0.0.14", "weight": "3", "reason": "load", "for": "2h"},
            ("add_target", "web", "10.0.0.14", 3, "load", "ann", 7200.0),
        ),
        ("target remove", {"target": "web01"}, ("remove_target", "web01", "", "ann")),
        (
            "target remove",
            {"target": "web/web01", "reason": "fire", "for": "1d"},
            ("remove_target", "web/web01", "fire", "ann", 86400.0),
        ),
        ("reload", {}, ("reload", "ann")),
    ],
)
def test_what_workers_must_take_in_answers_with_what_was_done(
    verb: str, args: dict[str, Any], call: tuple[object, ...]
) -> None:
    controller = FakeController()
    assert ask(controller, verb, args) == controller.result
    assert controller.calls == [call]
    assert COMMANDS[verb].slow


def test_overrides_are_listed_and_counted_in_the_status() -> None:
    controller = FakeController()
    assert ask(controller, "overrides")["overrides"] == []
    controller.wishes = [override("web/web01", "weight", 5)]
    assert ask(controller, "overrides")["overrides"] == controller.wishes
    assert ask(controller, "status")["overrides"] == 1


@pytest.mark.parametrize(
    ("args", "call"),
    [
        ({"network": "198.51.100.7"}, ("block", "198.51.100.7", "", "ann")),
        ({"network": "198.51.100.7", "keep": False}, ("block", "198.51.100.7", "", "ann")),
        ({"network": "198.51.100.7", "keep": True}, ("block", "198.51.100.7", "", "keep", "ann")),
        (
            {"network": "2001:db8::/32", "for": "1h", "reason": "scans"},
            ("block", "2001:db8::/32", "scans", "ann", 3600.0),
        ),
    ],
)
def test_a_block_names_the_user_and_answers_with_itself(args: dict[str, Any], call: tuple[object, ...]) -> None:
    controller = FakeController()
    answer = ask(controller, "block", args)
    assert controller.calls == [call]
    assert answer["blocks"] == controller.blocks
    assert answer["keep"] is args.get("keep", False)


def test_unblocking_answers_with_what_is_lifted() -> None:
    controller = FakeController()
    controller.blocks = [blocked("10.0.0.1")]
    assert ask(controller, "unblock", {"network": "10.0.0.1"})["blocks"] == controller.blocks
    assert controller.calls == [("unblock", "10.0.0.1", "ann")]
    with pytest.raises(AdminError, match=r"10\.0\.0\.2 is not blocked"):
        ask(controller, "unblock", {"network": "10.0.0.2"})


def test_who_is_blocked_is_listed_up_to_a_limit() -> None:
    controller = FakeController()
    controller.blocks = [blocked(f"10.0.0.{number}") for number in range(150)]
    answer = ask(controller, "blocked")
    assert (len(answer["blocks"]), answer["total"]) == (100, 150)
    assert ask(controller, "blocked", {"limit": 3})["blocks"] == controller.blocks[:3]


def test_certificates_are_listed_for_all_listeners_or_one() -> None:
    controller = FakeController()
    rows = controller.facts["certificates"] = [certificate("web", "a.test"), certificate("api", "b.test")]
    assert ask(controller, "certs")["certificates"] == rows
    assert ask(controller, "certs", {"listener": "api"})["certificates"] == rows[1:]
    with pytest.raises(AdminError, match="no listener is called 'wep'"):
        ask(controller, "certs", {"listener": "wep"})


@pytest.mark.parametrize("verb", ["block", "unblock"])
@pytest.mark.parametrize(
    ("network", "error"),
    [
        (None, "needs a network: an address or a network, such as 198.51.100.7"),
        ("office", "network: 'office' is not a network"),
        ("10.0.0.1/8", "network: 10.0.0.1/8 has host bits; write 10.0.0.0/8"),
        (7, "network: 7 is not a text"),
    ],
)
def test_what_is_no_network_is_refused(verb: str, network: Any, error: str) -> None:
    controller = FakeController()
    with pytest.raises(AdminError, match=re.escape(error)):
        ask(controller, verb, {"network": network})
    assert controller.calls == []


def test_the_running_config_comes_with_what_operators_changed() -> None:
    controller = FakeController()
    controller.wishes = [override("web/web01", "added", 1)]
    answer = ask(controller, "config")
    assert answer["config"] == CONFIG
    assert answer["about"]["generation"] == 1
    assert answer["overrides"] == controller.wishes


@pytest.mark.parametrize(
    ("args", "told", "missed"),
    [
        ({}, [0, 1, 2], False),
        ({"limit": 2}, [1, 2], False),
        ({"kind": "operator"}, [1], False),
        ({"kind": "worker"}, [], False),
        ({"after": NOW - 60}, [1, 2], False),
        ({"after": str(NOW - 60), "kind": "target"}, [2], False),
        ({"after": NOW - 2}, [], False),
        ({"after": NOW - 999}, [0, 1, 2], True),
    ],
)
def test_events_of_a_kind_and_after_one(args: dict[str, Any], told: list[int], missed: bool) -> None:
    controller = FakeController()
    answer = ask(controller, "events", args)
    assert answer["events"] == [controller.facts["events"][number] for number in told]
    assert (answer["last"], answer["missed"]) == (NOW - 2, missed)


def test_a_clock_that_is_set_back_hides_no_event() -> None:
    controller = FakeController()
    controller.facts["events"].append({"at": NOW - 5000, "level": "info", "kind": "nlb", "text": "back in time"})
    answer = ask(controller, "events", {"after": NOW - 2})
    assert [event["text"] for event in answer["events"]] == ["back in time"]
    assert answer["last"] == NOW - 5000


def test_before_the_first_event_there_is_nothing_to_tell_and_nothing_missed() -> None:
    controller = FakeController()
    controller.facts["events"] = []
    assert ask(controller, "events")["last"] is None
    assert not ask(controller, "events")["missed"]


@pytest.mark.parametrize(
    ("args", "names", "listeners"),
    [
        ({}, ["web01", "web02", "node", "node"], ["web", "api"]),
        ({"group": "api"}, ["node"], ["api"]),
        ({"limit": 2}, ["web01", "web02"], ["web", "api"]),
    ],
)
def test_watch_takes_one_picture(args: dict[str, Any], names: list[str], listeners: list[str]) -> None:
    answer = ask(FakeController(), "watch", args)
    assert [row["name"] for row in answer["targets"]] == names
    assert [row["name"] for row in answer["listeners"]] == listeners
    assert answer["groups"][-1] | {"targets": 1, "usable": 0, "sessions": 2} == answer["groups"][-1]


def test_who_asks_is_not_looked_up_for_a_look() -> None:
    def who() -> str:
        raise AssertionError("asking a directory server may take long")

    execute(FakeController(), "targets", {}, who, lambda answer: None)


def test_sessions_are_answered_when_the_workers_have() -> None:
    controller = FakeController()
    controller.session_rows = None
    answers: list[Any] = []
    execute(controller, "sessions", {"limit": 5, "target": "web01"}, lambda: "ann", answers.append)
    assert controller.calls == [("sessions", 5, "web01", None)]
    assert answers == []
    controller.held[0]([SESSION])
    assert answers == [{"sessions": [SESSION], "limit": 5}]


@pytest.mark.parametrize(
    ("verb", "args", "error"),
    [
        ("drian", {}, "unknown command 'drian' (did you mean drain?)"),
        ("", {}, "unknown command ''; there are: status, targets,"),
        (None, {}, "unknown command 'None'; there are:"),
        (["drain"], {}, "unknown command '"),
        ("x" * 100_000, {}, "unknown command 'xxx"),
        ("status", [], "the arguments of status must be an object"),
        ("status", {"event": 1}, "status takes no 'event' (did you mean events?)"),
        ("status", {"events": -1}, "events: -1 is outside 0-1000"),
        ("status", {"events": True}, "events: True is not a whole number"),
        ("block", {"network": "10.0.0.1", "keep": "yes"}, "keep: 'yes' is neither true nor false"),
        ("status", {"events": 1.5}, "events: 1.5 is not a whole number"),
        ("targets", {"group": "wep"}, "no group is called 'wep' (did you mean web?)"),
        ("targets", {"target": "web1"}, "no target is called 'web1' (did you mean web01"),
        ("errors", {"listener": "wev"}, "no listener is called 'wev' (did you mean web?)"),
        ("drain", {}, "drain needs a target"),
        ("drain", {"target": ""}, "target: an empty name names nothing"),
        ("drain", {"target": 7}, "target: 7 is not a text"),
        ("drain", {"target": "web03"}, "no target is called 'web03' (did you mean web"),
        ("drain", {"target": "web01", "who": "root"}, "drain takes no 'who'"),
        ("drain", {"target": "web01", "timeout": "soon"}, "timeout: 'soon' is not a duration"),
        ("drain", {"target": "web01", "timeout": -1}, "timeout: a duration cannot be negative"),
        ("drain", {"target": "web01", "timeout": float("nan")}, "timeout: nan is not a duration"),
        ("drain", {"target": "web01", "timeout": True}, "timeout: a duration is seconds or text"),
        ("drain", {"target": "web01", "reason": "\x1b[2J"}, "reason: control characters are not allowed"),
        ("drain", {"target": "web01", "reason": "\ud800"}, "reason: control characters are not allowed"),
        ("drain", {"target": "web01", "reason": "x" * 201}, "reason: 201 characters are too many"),
        ("weight", {"target": "web01"}, "weight needs a weight: 0 (no new work) to 1000"),
        ("weight", {"target": "web01", "weight": 1001}, "weight: 1001 is outside 0-1000"),
        ("weight", {"target": "web01", "weight": "٣"}, "weight: '٣' is not a whole number"),
        ("weight", {"target": "web01", "weight": "9" * 5000}, "weight: '999"),
        ("sessions", {"limit": 0}, "limit: 0 is outside 1-10000"),
        ("drain", {"target": "web01", "for": 0}, "for: must be from 1s to 366d, such as 30m"),
        ("drain", {"target": "web01", "for": "367d"}, "for: must be from 1s to 366d, such as 30m"),
        ("drain", {"target": "web01", "for": "soon"}, "for: 'soon' is not a duration"),
        ("ready", {"target": "web01", "for": "1h"}, "ready takes no 'for'"),
        ("target", {}, "unknown command 'target' (did you mean targets?)"),
        ("target add", {"group": "web"}, "target add needs a target: its name and address"),
        ("target add", {"group": "web", "target": "a=b", "weight": -1}, "weight: -1 is outside 0-1000"),
        ("target remove", {}, "target remove needs a target"),
        ("events", {"kind": "targets"}, "kind: 'targets' is none of target, group,"),
        ("events", {"kind": ["target"]}, "kind: '['target']' is none of"),
        ("events", {"after": "yesterday"}, "after: 'yesterday' is not a number"),
        ("events", {"after": True}, "after: 'True' is not a number"),
        ("watch", {"group": "wep"}, "no group is called 'wep' (did you mean web?)"),
    ],
)
def test_a_bad_request_is_refused_and_changes_nothing(verb: object, args: object, error: str) -> None:
    controller = FakeController()
    before = controller.facts["groups"][0]["targets"][0]["admin"]
    with pytest.raises(AdminError) as refused:
        ask(controller, verb, args)
    assert str(refused.value).startswith(error)
    assert len(str(refused.value)) < 6000
    assert controller.facts["groups"][0]["targets"][0]["admin"] is before


def test_every_command_says_what_it_does_in_one_line() -> None:
    for verb, command in COMMANDS.items():
        assert command.verb == verb
        assert len(command.help) <= 61, verb  # more goes on in the next line of the list of commands
        assert command.help.endswith(".")
        assert not command.more or command.more.endswith(".")


def test_a_verb_of_two_words_belongs_to_a_family() -> None:
    assert {verb.partition(" ")[0] for verb in COMMANDS if " " in verb} == set(FAMILIES)


def test_every_kind_of_event_may_be_asked_for() -> None:
    source = "".join(path.read_text() for path in ROOT.glob("nlb/**/*.py"))
    said = set(re.findall(r'\bsay\(\s*(?:"\w+"|\w+),\s*"(\w+)"', source))
    assert said == set(KINDS)
