"""`nlb explain`: what it asks, prints and how it exits; of a daemon with a made-up controller, and of files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nlb.cli import main
from nlb.control.inquiry import Inquiry, parse_url
from nlb.model.address import Address
from tests.unit.admin.canned import EXPLAINED, Daemon

Run = Callable[..., tuple[int, str, str]]

FILE = """
[[listener]]
name = "edge"
bind = "0.0.0.0:8080"
protocol = "http"

  [[listener.rule]]
  path = "/old/*"
  redirect = { status = 301, path = "/new/#{path}" }

[[target_group]]
name = "web"
protocol = "http"
targets = ["web01=10.0.0.11:3000"]
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def nlb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `nlb explain` with arguments: exit code, standard output, standard error."""
    monkeypatch.setenv("NLB_SOCKET", "/nowhere/nlb.sock")

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["explain", *args])
        code = end.value.code
        assert code is None or isinstance(code, int)
        return (code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "nlb.toml"
    path.write_text(FILE)
    return str(path)


def told(daemon: Daemon, **changes: Any) -> None:
    daemon.controller.explanation = EXPLAINED | changes


def test_for_people(daemon: Daemon, nlb: Run) -> None:
    assert nlb("http://api.example.com/v1/x", "--socket", daemon.path) == (
        0,
        "listener edge (http, port 80): it listens on port 80\n"
        "request GET /v1/x, host api.example.com, client 192.0.2.7 (so says 10.0.0.5, a trusted proxy)\n"
        "no   rule old: path /v1/x does not match /old/*\n"
        "yes  rule api-v1: host api.example.com, path /v1/x matches /v1/*\n"
        "no   rule default: not asked\n"
        "goes to group api\n"
        "\n"
        "group api: source_ip by address, 1 of 2 targets in\n"
        "is   target  address         weight  share  sessions  why\n"
        "in   api01   10.0.0.21:3000       1  100 %        12  healthy: status 200\n"
        "out  api02   10.0.0.22:3000       1      -         3  drain by the operator: deploy\n"
        "choice: api01, the only one that is in\n",
        "",
    )


def test_for_programs(daemon: Daemon, nlb: Run) -> None:
    code, out, _ = nlb("http://api.example.com/v1/x", "--json", "--socket", daemon.path)
    answer = json.loads(out)
    assert (code, answer | {"now": 0}) == (0, EXPLAINED | {"now": 0})


def test_the_daemon_is_asked_what_was_typed(daemon: Daemon, nlb: Run) -> None:
    args = [
        "--method",
        "PUT",
        "--header",
        "A: 1",
        "--header",
        "B: 2",
        "--source",
        "192.0.2.7:4000",
        "--listener",
        "edge",
    ]
    assert nlb("http://a:81/x", *args, "--socket", daemon.path)[0] == 0
    client = Address("192.0.2.7", 4000)
    asked = Inquiry(parse_url("http://a:81/x"), "PUT", ("A: 1", "B: 2"), client, "edge")
    assert daemon.controller.calls == [("explain", asked)]


def test_a_refused_request(daemon: Daemon, nlb: Run) -> None:
    refuse = {
        "kind": "refuse",
        "status": 400,
        "text": "answered 400, bad_uri, which is severe: whatever the desync mode",
    }
    told(daemon, request=None, rules=[], groups=[], action=refuse)
    out = nlb("http://a/ b", "--socket", daemon.path)[1]
    assert out.splitlines()[-1] == f"refused: {refuse['text']}"


def test_an_odd_request(daemon: Daemon, nlb: Run) -> None:
    odd = {"class": "ambiguous", "reason": "suspicious_header", "verdict": "passes it", "client": None, "peer": None}
    told(daemon, request=EXPLAINED["request"] | odd)
    lines = nlb("http://a/", "--socket", daemon.path)[1].splitlines()
    assert lines[1:3] == [
        "request GET /v1/x, host api.example.com",
        "it is ambiguous (suspicious_header); desync mode defensive passes it",
    ]


def test_several_groups_tcp_and_hints(daemon: Daemon, nlb: Run) -> None:
    group = EXPLAINED["groups"][0] | {
        "share": 0.5,
        "fail_open": True,
        "targets": [],
        "notes": ["a note"],
        "choice": {"target": None, "why": "nobody: every target is out"},
    }
    listener = EXPLAINED["listener"] | {"protocol": "tcp", "port": 0}
    told(daemon, listener=listener, request=None, rules=[], groups=[group, group], hints=["more"])
    assert nlb("tcp://a", "--socket", daemon.path)[1].splitlines() == [
        "listener edge (tcp): it listens on port 80",
        "it hands bytes on as they are and knows no requests and no rules",
        "goes to group api",
        *(
            "",
            "group api, for 50 % of the connections: source_ip by address, 0 of 0 targets in",
            "FAIL-OPEN: no target of 'api' is healthy; all are used",
            "a note",
            "choice: nobody: every target is out",
        )
        * 2,
        "hint: more",
    ]


@pytest.mark.parametrize(
    ("name", "alpn", "said"),
    [
        ("mail.example.com", ["h2", "x"], "asks for mail.example.com and offers h2, x"),
        ("", [], "says no name"),
    ],
)
def test_a_tls_client_that_is_passed_on(daemon: Daemon, nlb: Run, name: str, alpn: list[str], said: str) -> None:
    listener = EXPLAINED["listener"] | {"protocol": "tcp"}
    told(daemon, listener=listener, request=None, hello={"name": name, "alpn": alpn})
    lines = nlb("tls://a", "--alpn", "h2", "--alpn", "x", "--socket", daemon.path)[1].splitlines()
    assert lines[1] == f"TLS passes through; the client {said}"
    assert lines[2].startswith("no   rule old")
    assert daemon.controller.calls == [("explain", Inquiry(parse_url("tls://a"), alpn=("h2", "x")))]


def test_what_is_decrypted_is_not_as_it_was(daemon: Daemon, nlb: Run) -> None:
    told(daemon, listener=EXPLAINED["listener"] | {"protocol": "tls"}, request=None, rules=[])
    lines = nlb("tls://a", "--socket", daemon.path)[1].splitlines()
    assert lines[1] == "it hands bytes on without encryption and knows no requests and no rules"


def test_by_a_file(file: str, nlb: Run) -> None:
    code, out, err = nlb("http://a/old/x", "-c", file)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "from the file alone: no health is known, so every target is taken for healthy",
        "listener edge (http, port 8080): it is the only one",
        "request GET /old/x, host a",
        "yes  rule 1: path /old/x matches /old/*",
        "no   rule default: not asked",
        "redirected: 301 to http://a:8080/new/old/x",
    ]


def test_by_a_file_for_programs(file: str, nlb: Run) -> None:
    code, out, _ = nlb("http://a/x", "-c", file, "--json")
    assert code == 0
    answer = json.loads(out)
    assert (answer["is_live"], answer["groups"][0]["choice"]["target"]) == (False, "web01")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["http://a/"], 4, "no nlb daemon answers, tried /nowhere/nlb.sock (not there); with -c FILE none is needed"),
        (["http://a/", "-c", "/nowhere/nlb.toml"], 2, "/nowhere/nlb.toml: there is no such file"),
        ([], 2, "Missing argument 'URL'"),
        (["a/x"], 2, "'a/x' is no URL of http, https, tcp, tls; write http://api.example.com/v1/x"),
        (["http://a/", "--source", "a"], 2, "'a' is not an IP address"),
        (["tls://a", "--alpn", "h 2"], 2, "'h 2' is not the name of a protocol; write one such as h2 or http/1.1"),
        (["tls://a", *["--alpn", "h2"] * 33], 2, "33 protocols are too many; 32 are allowed"),
        (["http://a/", "--header", "A"], 2, "'A' is no header; write 'Name: value'"),
    ],
)
def test_mistakes(args: list[str], code: int, said: str, nlb: Run) -> None:
    found, out, err = nlb(*args)
    assert (found, out) == (code, "")
    assert said in err


def test_a_listener_that_is_not_there(file: str, nlb: Run) -> None:
    code, _, err = nlb("http://a/", "-c", file, "--listener", "edgy")
    assert (code, err) == (1, "no listener is called 'edgy' (did you mean edge?)\n")
