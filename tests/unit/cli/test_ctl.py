"""`nlb ctl` as a whole, against a daemon with a made-up controller: what it prints, and how it exits."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest

from nlb.admin import client as admin_client
from nlb.admin.commands import COMMANDS
from nlb.cli import main
from tests.unit.admin.canned import NOW, SESSION, Daemon, FakeController, blocked, certificate, http_snapshot, override

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def nlb(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `nlb` with arguments: exit code, standard output, standard error."""
    monkeypatch.setenv("NLB_SOCKET", daemon.path)

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(args)
        code = end.value.code
        assert code is None or isinstance(code, int)
        return (code or 0, *capsys.readouterr())

    return run


def test_targets_for_people_on_a_pipe(nlb: Run) -> None:
    code, out, err = nlb("ctl", "targets")
    assert (code, err) == (0, "")
    banner, _, table = out.partition("\n")
    assert banner == "FAIL-OPEN: no target of 'api' is healthy; all are used"
    lines = table.splitlines()
    assert " ".join(lines[0].split()) == (
        "target group address weight admin health sessions connections failures since reason, last probe"
    )
    assert [line.split()[:2] for line in lines[1:]] == [
        ["web01", "web"],
        ["web02", "web"],
        ["node", "web"],
        ["node", "api"],
    ]
    assert lines[2].split()[2:9] == ["10.0.0.2:3000", "1", "drain", "healthy", "2", "120", "0"]
    assert lines[2].endswith("30s    4m 30s left; deploy; connected")
    assert lines[4].endswith("connection refused")


def test_a_long_name_is_never_cut(nlb: Run, daemon: Daemon) -> None:
    name = "web-" + "x" * 300
    daemon.controller.facts["groups"][0]["targets"][0]["name"] = name
    assert name in nlb("ctl", "targets", "web")[1]


def test_workers_of_a_killed_control_are_in_the_status(nlb: Run, daemon: Daemon) -> None:
    daemon.controller.facts["orphans"] = [{"pid": 812, "since": NOW - 120, "sessions": 34}]
    assert "worker of a killed control, pid 812: 34 sessions, for 2m" in nlb("ctl", "status")[1]


def test_targets_of_one_group_for_programs(nlb: Run, daemon: Daemon) -> None:
    code, out, _ = nlb("ctl", "targets", "api", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["targets"] == daemon.controller.facts["groups"][1]["targets"]
    assert answer["groups"][0]["fail_open"] is True


def test_status_shows_all_parts(nlb: Run) -> None:
    code, out, _ = nlb("ctl", "status")
    assert code == 0
    assert out.startswith("nlb 0.1.0, pid 4000, running for 1h, ready\nconfig /etc/nlb/nlb.toml, hash 3fa1c2d4, ")
    for part in ("FAIL-OPEN", "killed by SIGKILL", "0.0.0.0:80, [::]:80", "5 of 4000", "web/web02 drain by ann"):
        assert part in out


def test_names_without_a_good_answer_are_told_above_the_targets(nlb: Run, daemon: Daemon) -> None:
    known = {"name": "app", "host": "app.test:80", "reason": "SERVFAIL", "since": 0.0, "addresses": ["10.0.0.1"]}
    gone = {"name": "new", "host": "new.test:80", "reason": "NXDOMAIN", "since": 0.0, "addresses": []}
    daemon.controller.facts["groups"][0]["names"] = [
        known | {"state": "stale"},
        gone | {"state": "none"},
        known | {"name": "fine", "state": "ok"},
    ]
    assert nlb("ctl", "targets")[1].splitlines()[1:3] == [
        "STALE: web/app (app.test:80) keeps the addresses of its last answer: SERVFAIL",
        "NO ADDRESS: web/new (new.test:80): NXDOMAIN",
    ]
    assert "fine" not in nlb("ctl", "targets")[1]


def test_status_says_why_the_last_reload_was_refused(nlb: Run, daemon: Daemon) -> None:
    assert "reload" not in nlb("ctl", "status")[1]
    daemon.controller.facts["config"] |= {"reload_ok": False, "refused": "nlb.toml:3:1: x: no\nnlb.toml:4:1: y: no"}
    out = nlb("ctl", "status")[1]
    assert "\nthe last reload was refused, nothing was changed:\nnlb.toml:3:1: x: no\nnlb.toml:4:1: y: no\n" in out


def test_status_says_that_operators_changed_something(nlb: Run, daemon: Daemon) -> None:
    assert "override" not in nlb("ctl", "status")[1]
    daemon.controller.wishes = [override("web/web01", "weight", 5)]
    assert "\n1 override by operators: nlb ctl overrides\n" in nlb("ctl", "status")[1]


def test_targets_shows_who_leaves_and_what_operators_changed(nlb: Run, daemon: Daemon) -> None:
    first, _, third = daemon.controller.facts["groups"][0]["targets"]
    first["overrides"] = [override("web/web01", "admin", "drain", until=NOW + 600)]
    third |= {"leaving": True, "admin": {**third["admin"], "state": "drain"}}
    lines = nlb("ctl", "targets", "web")[1].splitlines()
    assert lines[0].endswith("by operators")
    assert lines[1].endswith("drain by ann, 10m left")
    assert lines[2].split()[4] == "drain"
    assert lines[3].split()[4] == "leaving"


def test_overrides_say_who_when_why_and_until(nlb: Run, daemon: Daemon) -> None:
    assert nlb("ctl", "overrides")[1] == "nothing is overridden: what runs is what the config file says\n"
    daemon.controller.wishes = [
        override("web/web01", "admin", "maint", reason="new disk", until=time() + 1500),
        override("api/node", "added", 2, who="bob"),
    ]
    lines = nlb("ctl", "overrides")[1].splitlines()
    assert lines[0].split() == ["target", "address", "change", "by", "when", "until", "reason"]
    assert lines[1].split()[:4] == ["web/web01", "10.0.0.1:3000", "maint", "ann"]
    assert re.search(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(in 2[45]m( \d+s)?\)  new disk$", lines[1])
    assert " added, weight 2 " in lines[2]
    assert json.loads(nlb("ctl", "overrides", "--json")[1])["overrides"] == daemon.controller.wishes


def test_blocks_say_who_when_why_and_until(nlb: Run, daemon: Daemon) -> None:
    assert nlb("ctl", "blocked")[1] == "nobody is blocked\n"
    daemon.controller.blocks = [
        blocked("203.0.113.0/24", reason="scans", until=time() + 1500),
        blocked("198.51.100.7", by="offences", who="", reason="offences at listener web, the last: severe"),
        blocked("2001:db8:1:2::/64", who="bob"),
    ]
    lines = nlb("ctl", "blocked")[1].splitlines()
    assert lines[0].split() == ["network", "by", "when", "until", "reason"]
    assert lines[1].split()[:2] == ["203.0.113.0/24", "ann"]
    assert re.search(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(in 2[45]m( \d+s)?\)  scans$", lines[1])
    assert lines[2].split()[:2] == ["198.51.100.7", "offences"]
    assert lines[3].split()[:2] == ["2001:db8:1:2::/64", "bob"]
    assert len(lines) == 4
    assert "only the first 2 of 3 are shown" in nlb("ctl", "blocked", "--limit", "2")[1]
    assert json.loads(nlb("ctl", "blocked", "--json")[1])["blocks"] == daemon.controller.blocks


def test_certificates_have_a_line_each_with_the_days_that_are_left(nlb: Run, daemon: Daemon) -> None:
    assert nlb("ctl", "certs")[1] == "no listener shows a certificate\n"
    daemon.controller.facts["certificates"] = [
        certificate("web", "a.test", "*.a.test", default=True),
        certificate("web", "b.test", kind="rsa", bits=2048, not_after=NOW - 86400, state="expired"),
    ]
    lines = nlb("ctl", "certs")[1].splitlines()
    assert lines[0].split() == ["listener", "names", "key", "from", "until", "days", "left", "file", "fingerprint"]
    assert lines[1].split()[:5] == ["web*", "a.test,", "*.a.test", "ECDSA", "256"]
    assert lines[1].split()[-3:] == ["60", "/etc/nlb/www.pem", "ab" * 8]
    assert lines[2].split()[-3] == "-1"
    assert len(json.loads(nlb("ctl", "certs", "--json")[1])["certificates"]) == 2


def test_events_are_a_line_each_and_go_on_below_when_they_have_more(nlb: Run, daemon: Daemon) -> None:
    daemon.controller.facts["events"].append(
        {"at": NOW, "level": "error", "kind": "nlb", "text": "bug in x\nTraceback\n  line\x1b[2J"}
    )
    lines = nlb("ctl", "events")[1].splitlines()
    assert len(lines) == 6
    assert lines[1].endswith("  info     operator  web/web02 drain by ann: deploy")
    assert lines[3].endswith("  error    nlb       bug in x")
    assert lines[4].strip() == "Traceback"
    assert lines[5].strip() == "line?[2J"
    assert len(nlb("ctl", "events", "--limit", "1", "--kind", "target")[1].splitlines()) == 1
    assert nlb("ctl", "events", "--kind", "worker")[1] == "nothing of this kind has happened yet\n"


def test_status_says_why_nlb_is_not_ready(nlb: Run, daemon: Daemon) -> None:
    daemon.controller.facts.update(ready=False, state="starting")
    assert "not ready: starting: waiting for first verdicts" in nlb("ctl", "status")[1]


def test_listeners(nlb: Run) -> None:
    lines = nlb("ctl", "listeners")[1].splitlines()
    assert lines[0].split() == ["listener", "address", "protocol", "group", "sessions", "accepted", "received", "sent"]
    assert lines[1].split() == (
        ["web", "0.0.0.0:80,", "[::]:80", "tcp", "web", "5", "of", "4000", "245", "8.0", "KiB", "10.0", "MiB"]
    )


def test_errors_explain_each_outcome(nlb: Run, daemon: Daemon) -> None:
    out = nlb("ctl", "errors")[1]
    assert "connect/refused           4  web        every target tried refused the connection" in out
    daemon.controller.facts["listeners"][0]["outcomes"] = {}
    assert nlb("ctl", "errors")[1] == "no session has ended yet\n"


def test_listeners_that_speak_http_have_requests(nlb: Run, daemon: Daemon) -> None:
    daemon.controller.facts = http_snapshot()
    heads, web, _, edge = (line.split() for line in nlb("ctl", "listeners")[1].splitlines())
    assert heads[4:] == ["sessions", "accepted", "requests", "requests/s", "received", "sent"]
    assert web[-7:-4] == ["245", "-", "-"]
    assert edge[:7] == ["edge", "0.0.0.0:443", "http", "pages", "and", "1", "more"]
    assert edge[-7:-4] == ["245", "1000", "42.5"]


def test_groups_that_speak_http_have_requests(nlb: Run, daemon: Daemon) -> None:
    daemon.controller.facts = http_snapshot()
    lines = nlb("ctl", "status")[1].splitlines()
    (pages,) = (line.split() for line in lines if line.startswith("pages "))
    assert pages == ["pages", "http", "round_robin", "1", "1", "2", "900", "97.8", "%", "3", "1", "0"]
    (web,) = (line.split() for line in lines if line.startswith("web  ") and "round_robin" in line)
    assert web == ["web", "tcp", "round_robin", "3", "2", "6", "-", "-", "-", "1", "0"]


def test_errors_of_requests_stand_beside_those_of_sessions(nlb: Run, daemon: Daemon) -> None:
    daemon.controller.facts = http_snapshot()
    lines = nlb("ctl", "errors", "--listener", "edge")[1].splitlines()
    assert lines[0].split() == ["outcome", "sessions", "requests", "listeners", "meaning"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["data/done", "40", "900", "edge"],
        ["request/redirect", "0", "80", "edge"],
        ["response/timeout", "0", "18", "edge"],
        ["request/idle", "12", "0", "edge"],
        ["request/bad_head", "2", "2", "edge"],
        [],
        ["shield", "refused", "would", "refuse"],
        ["denied", "7", "0", "edge"],
        ["bad_path", "0", "4", "edge"],
        ["request_rate", "3", "0", "edge"],
    ]


def test_requests_by_rule_group_and_status(nlb: Run, daemon: Daemon) -> None:
    code, _, err = nlb("ctl", "requests")
    assert (code, err) == (
        1,
        "no listener speaks http: there are only sessions, which `nlb ctl listeners` and `nlb ctl errors` count\n",
    )
    daemon.controller.facts = http_snapshot()
    code, out, _ = nlb("ctl", "requests", "--listener", "edge")
    assert code == 0
    assert [line.split()[:10] for line in out.splitlines()] == [
        ["listener", "rule", "group", "requests", "1xx", "2xx", "3xx", "4xx", "5xx", "none"],
        ["edge", "old", "-", "80", "0", "0", "80", "0", "0", "0"],
        ["edge", "api", "api-v1", "318", "0", "300", "0", "0", "18", "0"],
        ["edge", "default", "pages", "600", "2", "590", "0", "7", "0", "1"],
        [],
        ["requests", "that", "had", "something", "odd", "about", "them,", "by", "AWS's", "desync"],
        ["listener", "class", "reason", "requests"],
        ["edge", "ambiguous", "suspicious_header", "5"],
        ["edge", "severe", "bad_header", "2"],
    ]
    daemon.controller.facts["listeners"][-1] |= {"routes": [], "desync": {}}
    assert nlb("ctl", "requests")[1] == "no request has met a rule yet\n"


def test_sessions_are_listed_and_a_full_list_says_so(nlb: Run, daemon: Daemon) -> None:
    daemon.controller.session_rows = [SESSION, {**SESSION, "target": None, "phase": "pick"}]
    out = nlb("ctl", "sessions")[1]
    assert "192.0.2.7:51234  web       web    web01   data" in out
    assert "limit" not in out
    assert "only the first 2 are shown" in nlb("ctl", "sessions", "--limit", "2", "--target", "web01")[1]
    assert daemon.controller.calls[-1] == ("sessions", 2, "web01", None)


@pytest.mark.parametrize(
    ("args", "call", "told"),
    [
        (
            ["drain", "web01", "--timeout", "30m", "--reason", "new disk"],
            ("set_admin", "web01", "drain", "new disk", 1800.0),
            "web/web01: drain, 2 sessions left, 30m for them to finish\n",
        ),
        (["drain", "web01"], ("set_admin", "web01", "drain", "", None), "web/web01: drain, 2 sessions left, 5m for"),
        (
            ["maint", "api/node", "--reason", "disk"],
            ("set_admin", "api/node", "maint", "disk", None),
            "api/node: maint, 2 sessions left, 5m for them to finish\n",
        ),
        (["ready", "web02"], ("set_admin", "web02", "ready", "", None), "web/web02: ready, healthy, 2 sessions\n"),
        (["weight", "web01", "5"], ("set_weight", "web01", 5, ""), "web/web01: weight 5 (config 1)\n"),
        (
            ["target", "add", "web", "web04=10.0.0.14:3000", "--weight", "3", "--reason", "load"],
            ("add_target", "web", "web04=10.0.0.14:3000", 3, "load"),
            "group web: add target web04 (10.0.0.14:3000), weight 1\n"
            "generation 2, hash 77aa00ff: 0 of 812 sessions affected\n",
        ),
        (["target", "remove", "api/node"], ("remove_target", "api/node", ""), "group web: add"),
        (
            ["block", "203.0.113.0/24", "--reason", "scans"],
            ("block", "203.0.113.0/24", "scans"),
            "203.0.113.0/24 is blocked until nlb ctl unblock; what it has open is cut\n",
        ),
        (
            ["block", "203.0.113.0/24", "--keep"],
            ("block", "203.0.113.0/24", "", "keep"),
            "203.0.113.0/24 is blocked until nlb ctl unblock; what it has open stays\n",
        ),
        (["reload"], ("reload",), "group web: add"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_changes_are_made_and_said(
    nlb: Run, daemon: Daemon, args: list[str], call: tuple[object, ...], told: str
) -> None:
    code, out, err = nlb("ctl", *args)
    assert (code, err) == (0, "")
    assert out.startswith(told)
    assert daemon.controller.calls[-1][:-1] == call


def test_a_change_that_undoes_itself_says_when(nlb: Run, daemon: Daemon) -> None:
    code, out, _ = nlb("ctl", "drain", "web01", "--for", "30m", "--timeout", "1m")
    assert code == 0
    assert re.fullmatch(r"web/web01: drain, 2 sessions left, 1m for them to finish; undone in (30m|29m \d+s)\n", out)
    call = daemon.controller.calls[-1]
    assert (call[:5], call[6]) == (("set_admin", "web01", "drain", "", 60.0), 1800.0)


def test_a_block_that_ends_says_when_and_one_that_is_lifted_says_so(nlb: Run, daemon: Daemon) -> None:
    code, out, _ = nlb("ctl", "block", "198.51.100.7", "--for", "1h")
    assert code == 0
    assert re.fullmatch(r"198.51.100.7 is blocked for (1h|59m \d+s); what it has open is cut\n", out)
    assert nlb("ctl", "unblock", "198.51.100.7") == (0, "198.51.100.7 is not blocked any more\n", "")


@pytest.mark.parametrize("args", [["reload"], ["target", "add", "web", "web01"], ["target", "remove", "web01"]])
def test_what_is_refused_later_exits_1_too(nlb: Run, daemon: Daemon, args: list[str]) -> None:
    daemon.controller.result = {"refused": "nlb.toml:3:1: port: no"}
    assert nlb("ctl", *args) == (1, "", "refused, nothing was changed:\nnlb.toml:3:1: port: no\n")
    code, out, err = nlb("ctl", *args, "--json")
    assert (code, json.loads(out), err) == (1, daemon.controller.result, "")


def test_a_worker_that_has_not_confirmed_is_named(nlb: Run, daemon: Daemon) -> None:
    daemon.controller.result = {**daemon.controller.result, "steps": [], "workers_missing": [2]}
    lines = nlb("ctl", "reload")[1].splitlines()
    assert lines[:2] == ["nothing to do: what runs is as it should be already", "worker 2 has not confirmed yet"]


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (["drain", "web1"], 1, "no target is called 'web1' (did you mean web01?)"),
        (["targets", "wep"], 1, "no group is called 'wep' (did you mean web?)"),
        (["drain"], 2, "Missing argument 'TARGET'"),
        (["drian", "web01"], 2, "No such command 'drian'"),
        (["drain", "web01", "--timeout", "soon"], 2, "'soon' is not a duration; write seconds, or 500ms, 10s"),
        (["drain", "web01", "--timeout", "-1"], 2, "a duration cannot be negative"),
        (["weight", "web01", "1001"], 2, "Invalid value for 'WEIGHT': 1001 is outside 0-1000"),
        (["sessions", "--limit", "0"], 2, "0 is outside 1-10000"),
        (["status", "--colour"], 2, "--colour"),
        (["drain", "web01", "--for", "0"], 2, "must be from 1s to 366d"),
        (["target"], 2, "Add a target to a group at run time, or remove one."),
        (["target", "rm", "web01"], 2, "No such command 'rm'"),
        (["target", "add", "web"], 2, "Missing argument 'NAME=HOST:PORT'"),
        (["target", "add", "web", "x=1.2.3.4:5", "--weight", "x"], 2, "'x' is not a whole number from 0 to 1000"),
        (["events", "--kind", "targets"], 2, "'targets' is none of target, group, worker, operator, nlb"),
        (["watch", "--interval", "1ms"], 2, "must be 100ms or more"),
        (["watch", "--count", "0"], 2, "0 is outside 1-1000000"),
        (["block", "10.0.0.1/8"], 2, "10.0.0.1/8 has host bits; write 10.0.0.0/8"),
        (["block"], 2, "Missing argument 'ADDRESS|NETWORK'"),
        (["unblock", "192.0.2.1"], 1, "192.0.2.1 is not blocked; nlb ctl blocked lists who is"),
        (["watch", "wep"], 1, "no group is called 'wep' (did you mean web?)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_and_refusals(nlb: Run, daemon: Daemon, args: list[str], code: int, error: str) -> None:
    got, out, err = nlb("ctl", *args)
    assert (got, out) == (code, "")
    assert error in err
    assert "Traceback" not in err


def test_no_daemon_is_one_line_and_exit_code_4(nlb: Run, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.sock")
    expected = (4, "", f"no nlb daemon answers, tried {missing} (not there)\n")
    assert nlb("ctl", "--socket", missing, "status") == expected
    assert nlb("ctl", "status", "--socket", missing) == expected


@pytest.mark.parametrize("args", [["ctl", "status"], ["explain", "http://a/"]])
def test_a_socket_that_is_not_ours_to_use_is_told_of_in_our_words(
    nlb: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    """And not in click's, which knows no more than that it cannot be read."""
    path = tmp_path / "nlb.sock"
    path.touch()
    monkeypatch.setattr(admin_client, "Client", _forbid)
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    code, out, err = nlb(*args, "--socket", str(path))
    assert (code, out) == (1, "")
    assert err.startswith(f"no right to use {path} (")


def _forbid(path: str, patience: float) -> None:
    raise PermissionError(path)


def test_json_may_be_asked_for_before_the_verb(nlb: Run) -> None:
    assert json.loads(nlb("ctl", "--json", "listeners")[1])["listeners"][0]["name"] == "web"


def test_an_answer_of_another_shape_is_an_error_in_words(nlb: Run, daemon: Daemon) -> None:
    del daemon.controller.facts["listeners"][0]["binds"]
    code, out, err = nlb("ctl", "listeners")
    assert (code, out) == (1, "")
    assert err == f"the answer of the daemon at {daemon.path} was not understood\n"


def test_an_error_inside_the_daemon_is_no_traceback_here(nlb: Run, daemon: Daemon) -> None:
    daemon.controller.facts.pop("config")
    assert nlb("ctl", "status") == (1, "", "internal error in 'status', see the log of nlb\n")


def test_help_names_every_verb_and_exit_code(nlb: Run) -> None:
    code, out, _ = nlb("ctl", "--help")
    assert code == 0
    for verb, command in COMMANDS.items():
        assert f"  {verb} " in out
        assert command.help in out
    for line in ("0  done", "1  refused or failed", "2  wrong usage", "3  time ran out", "4  no daemon answers"):
        assert line in out


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_explains_its_arguments(nlb: Run, verb: str) -> None:
    out = nlb("ctl", *verb.split(), "--help")[1]
    for param in COMMANDS[verb].params:
        assert (param.metavar if param.argument else f"--{param.name}") in out


class Emptying(FakeController):
    """A drained target loses a session whenever somebody looks; `then` happens when it has so many left."""

    def __init__(self, sessions: int, left: int = 0, then: Callable[[dict[str, Any]], None] | None = None) -> None:
        super().__init__()
        self.row = self.target("web01")
        self.row["sessions"] = sessions
        self.left = left
        self.then = then

    def snapshot(self) -> dict[str, Any]:
        if self.row["admin"]["state"] == "drain" and self.row["sessions"]:
            self.row["sessions"] -= 1
            if self.row["sessions"] == self.left and self.then:
                self.then(self.row)
        return super().snapshot()


def time_runs_out(row: dict[str, Any]) -> None:
    row["drain"] |= {"seconds_left": 0.0, "ended": "timeout"}
    row["sessions"] = 0


def made_ready(row: dict[str, Any]) -> None:
    row["admin"] = {"state": "ready", "reason": "", "since": 0.0}


@pytest.mark.parametrize(
    ("controller", "code", "lines"),
    [
        (lambda: Emptying(0), 0, ["web/web01: drained, no session is left"]),
        (
            lambda: Emptying(2),
            0,
            [
                "web/web01: 2 sessions left, 5m for them to finish",
                "web/web01: 1 session left, 5m for them to finish",
                "web/web01: drained, no session is left",
            ],
        ),
        (
            lambda: Emptying(3, 1, time_runs_out),
            3,
            [
                "web/web01: 3 sessions left, 5m for them to finish",
                "web/web01: 2 sessions left, 5m for them to finish",
                "web/web01: time ran out with 2 sessions left",
            ],
        ),
        (
            lambda: Emptying(2, 1, made_ready),
            1,
            [
                "web/web01: 2 sessions left, 5m for them to finish",
                "web/web01: no longer draining, somebody made it ready; 1 session open",
            ],
        ),
    ],
    ids=["empty at once", "empties", "time runs out", "undone"],
)
def test_waiting_for_a_drain(
    nlb: Run, tmp_path: Path, controller: Callable[[], Emptying], code: int, lines: list[str]
) -> None:
    folder = tmp_path / "wait"
    folder.mkdir()
    with Daemon(folder, controller()) as daemon:
        got, out, err = nlb("ctl", "--socket", daemon.path, "drain", "web01", "--wait")
    assert (got, out.splitlines(), err) == (code, lines, "")


def test_waiting_for_a_drain_as_a_program(nlb: Run, tmp_path: Path) -> None:
    folder = tmp_path / "wait"
    folder.mkdir()
    with Daemon(folder, Emptying(1)) as daemon:
        code, out, _ = nlb("ctl", "--socket", daemon.path, "drain", "web01", "--wait", "--json")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [
        {"target": "web01", "group": "web", "state": "draining", "sessions": 1, "seconds_left": 300.0},
        {"target": "web01", "group": "web", "state": "empty", "sessions": 0, "seconds_left": 300.0},
    ]


def test_a_daemon_that_ends_while_somebody_waits(nlb: Run, tmp_path: Path) -> None:
    folder = tmp_path / "wait"
    folder.mkdir()
    controller = Emptying(5)
    with Daemon(folder, controller) as daemon:
        controller.on_snapshot = daemon.server.close
        code, out, err = nlb("ctl", "--socket", daemon.path, "drain", "web01", "--wait")
    assert code == 4
    assert out == "web/web01: 5 sessions left, 5m for them to finish\n"
    assert err.startswith(f"the daemon at {daemon.path} went away")


def test_ctrl_c_ends_the_waiting_but_not_the_drain(tmp_path: Path) -> None:
    with Daemon(tmp_path, Emptying(1_000_000)) as daemon:
        command = [sys.executable, "-m", "nlb", "ctl", "--socket", daemon.path, "drain", "web01", "--wait"]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.readline()
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            error = process.stderr.read()
        assert process.returncode == 130
        assert error == "\nnot waiting any longer; the drain goes on, `nlb ctl ready` ends it\n"
        assert daemon.controller.target("web01")["admin"]["state"] == "drain"


def on_a_terminal(daemon: Daemon, *args: str) -> tuple[int, str]:
    """Run the real command on a real terminal: exit code, everything that it showed."""
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-m", "nlb", "ctl", "--socket", daemon.path, *args]
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
        environment.pop("NO_COLOR", None)
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the terminal's other end is closed: EIO
                break
            shown += part
        return process.wait(10), shown.decode()
    finally:
        os.close(ours)


def test_on_a_terminal_the_progress_is_one_line_that_changes(tmp_path: Path) -> None:
    with Daemon(tmp_path, Emptying(2)) as daemon:
        code, shown = on_a_terminal(daemon, "drain", "web01", "--wait")
    assert code == 0
    assert shown.count("\n") == 1
    assert shown.split("\r\033[K")[1:] == [
        "web/web01: 2 sessions left, 5m for them to finish",
        "web/web01: 1 session left, 5m for them to finish",
        "web/web01: drained, no session is left\r\n",
    ]


def test_on_a_narrow_terminal_tables_have_colours_and_whole_names(daemon: Daemon) -> None:
    name = "web-" + "x" * 90
    daemon.controller.facts["groups"][0]["targets"][0]["name"] = name
    code, shown = on_a_terminal(daemon, "targets")
    assert code == 0
    assert name in shown
    assert "\033[32mhealthy" in shown
    assert "FAIL-OPEN: no target of 'api' is healthy; all are used" in shown


def test_watching_on_a_terminal_draws_over_itself_and_gives_the_terminal_back(daemon: Daemon) -> None:
    facts = daemon.controller.facts
    daemon.controller.on_snapshot = lambda: facts.update(now=facts["now"] + 1)
    code, shown = on_a_terminal(daemon, "watch", "--interval", "100ms", "--count", "2")
    assert code == 0
    before, drawn, after = re.split(r"\x1b\[\?1049[hl]", shown)
    assert (before, after) == ("", "")
    pictures = [re.sub(r"\x1b\[[\d;?]*\w", "", picture).splitlines() for picture in drawn.split("\033[H")[1:]]
    web01 = [next(line.split() for line in picture if line.startswith("web01")) for picture in pictures]
    no_rates, rates = ["-", "-", "-"], ["0.0", "0", "B", "0", "B"]
    assert web01 == [["web01", "web", "ready", "healthy", "2", *seen, "0"] for seen in (no_rates, rates, rates)]
    assert drawn.count("\033[J") == 3


def test_watching_for_a_pipe_is_a_line_each(nlb: Run) -> None:
    code, out, err = nlb("ctl", "watch", "api", "--interval", "100ms", "--count", "2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 2
    assert all(", 0 of 1 targets usable" in line for line in lines)
    looks = [
        json.loads(line) for line in nlb("ctl", "watch", "--json", "--interval", "0.1", "--count", "1")[1].splitlines()
    ]
    assert [row["name"] for row in looks[0]["targets"]] == ["web01", "web02", "node", "node"]


def test_ctrl_c_ends_watching_and_following_in_order(daemon: Daemon) -> None:
    for args in (["watch", "--interval", "100ms"], ["events", "--follow"]):
        command = [sys.executable, "-m", "nlb", "ctl", "--socket", daemon.path, *args]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stderr
            assert process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.stderr.read() == ""
        assert process.returncode == 0


def test_programs_do_not_pay_for_what_people_need(daemon: Daemon) -> None:
    """`nlb ctl` must start fast, so that scripts can call it in a loop."""
    code = (
        "import sys, nlb.cli\n"
        "try: nlb.cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = ('rich', 'flask', 'pydantic', 'prometheus_client', 'waitress', 'psutil', 'tomli', 'asyncio')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    ctl = ["ctl", "--socket", daemon.path]
    calls = [[*ctl, verb, "--json"] for verb in ("targets", "status", "overrides", "events", "config")]
    for args in (*calls, [*ctl, "watch", "--count", "1", "--interval", "100ms"], ["ctl", "--help"], ["--help"]):
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
        assert done.stdout
        assert done.stderr == "[]\n", args


def test_the_program_knows_its_version(nlb: Run) -> None:
    assert nlb("--version") == (0, "nlb 0.1.0\n", "")
