"""`nlb ctl` against the real daemon: its answers, and what scripts may build on."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from nlb.model.parse import parse
from tests.daemon import PATIENCE, Daemon, daemon
from tests.targets import Target, echo
from tests.waiting import until

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture
def target(stack: ExitStack) -> Target:
    return stack.enter_context(Target(echo))


@pytest.fixture
def nlb(tmp_path: Path, stack: ExitStack, target: Target) -> Daemon:
    nlb = stack.enter_context(daemon(tmp_path, config(target)))
    nlb.has_health(t1="healthy")
    return nlb


def config(target: Target, more: str = "") -> str:
    return (
        '[[listener]]\nname = "in"\nbind = "127.0.0.1:0"\n'
        f'[[target_group]]\nname = "web"\nport = {target.port}\ntargets = ["t1=127.0.0.1"]\n{more}'
    )


def test_status_tells_of_the_config_and_of_a_refused_reload(nlb: Daemon, target: Target) -> None:
    digest = nlb.ask("status")["config"]["hash"]
    assert f"config {nlb.config}, hash {digest}, generation 1, loaded " in nlb.ctl("status").stdout
    nlb.write(config(target, "tries = 5\n"))
    nlb.ask("reload")
    assert ", generation 2, loaded " in nlb.ctl("status").stdout
    nlb.write(config(target, "trise = 5\n"))
    assert nlb.ctl("reload").returncode == 1
    status = nlb.ctl("status").stdout
    assert ", generation 2, loaded " in status
    assert "\nthe last reload was refused, nothing was changed:\n" in status
    assert "target_group.web.trise: unknown key" in status
    nlb.write(config(target))
    nlb.ask("reload")
    assert "refused" not in nlb.ctl("status", "--events", "0").stdout


def test_the_printed_config_is_what_runs(nlb: Daemon, target: Target) -> None:
    for arguments in (["config"], ["config", "--all"]):
        printed = nlb.ctl(*arguments)
        assert printed.returncode == 0, printed
        assert parse(printed.stdout, "printed") == parse(nlb.config.read_text(), "file")
    nlb.config.write_text(nlb.ctl("config").stdout)
    assert "nothing to do" in nlb.ctl("reload").stdout


def test_the_difference_of_a_file_is_what_its_reload_says(nlb: Daemon, target: Target, tmp_path: Path) -> None:
    same = nlb.ctl("config", "--diff", str(nlb.config))
    assert (same.returncode, same.stdout) == (0, f"a reload of {nlb.config} would change nothing\n")
    nlb.write(config(target, 'tries = 5\npolicy = "maglev"\n[[listener]]\nname = "b"\nbind = "127.0.0.1:0"\n'))
    other = nlb.ctl("config", "--diff", str(nlb.config))
    assert other.returncode == 1
    assert len(other.stdout.splitlines()) == 3
    assert nlb.ctl("reload").stdout.startswith(other.stdout)
    assert json.loads(nlb.ctl("config", "--diff", str(nlb.config), "--json").stdout)["steps"] == []


def test_a_file_with_mistakes_cannot_be_compared(nlb: Daemon, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("workers = 0\n")
    done = nlb.ctl("config", "--diff", str(wrong))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{wrong}:1:11: workers: " in done.stderr
    done = nlb.ctl("config", "--diff", str(tmp_path / "missing.toml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no such file" in done.stderr


def test_a_target_that_was_added_is_in_the_printed_config_and_said_to_be(nlb: Daemon) -> None:
    assert nlb.ctl("target", "add", "web", "t2=127.0.0.2", "--weight", "3", "--reason", "load").returncode == 0
    printed = nlb.ctl("config").stdout
    assert "(127.0.0.2:" in printed
    assert ": added, weight 3 by " in printed
    (group,) = parse(printed, "printed").groups
    assert [(item.name, item.weight) for item in group.targets] == [("t1", 1), ("t2", 3)]
    done = nlb.ctl("config", "--diff", str(nlb.config))
    assert done.returncode == 0
    assert "these overrides would stay:\n  web/t2 (127.0.0.2:" in done.stdout


def test_what_cannot_be_done_is_refused_in_words(nlb: Daemon) -> None:
    for arguments, why in (
        (["target", "add", "wep", "t2=127.0.0.2:80"], "no group is called 'wep'"),
        (["target", "add", "web", "t1=127.0.0.2:80"], "group web has t1 at "),
        (["target", "add", "web", "t2=127.0.0.1"], "group web has t1 at "),
        (["target", "add", "web", "t2=127.0.0.1:port"], "address: 'port' is not a port"),
        (["target", "remove", "t2"], "no target is called 't2'"),
        (["drain", "t2", "--for", "1h"], "no target is called 't2'"),
    ):
        done = nlb.ctl(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert why in done.stderr
    assert nlb.ask("overrides")["overrides"] == []


def lines(stack: ExitStack, nlb: Daemon, *arguments: str) -> subprocess.Popen[str]:
    """A `nlb ctl` that goes on; its lines are read from `stdout`."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(nlb.ctl_command(*arguments), stdout=subprocess.PIPE, text=True, env=environment)
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def test_events_are_followed_as_they_happen(nlb: Daemon, stack: ExitStack) -> None:
    process = lines(stack, nlb, "events", "--follow", "--kind", "operator", "--json")
    assert process.stdout
    for word in ("drain", "ready"):
        assert nlb.ctl(word, "t1", "--reason", "for a test").returncode == 0
        event = json.loads(process.stdout.readline())
        assert f"web/t1 {word} by " in event["text"]
        assert event["text"].endswith(": for a test")
        assert (event["group"], event["target"]) == ("web", "t1")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0


def test_a_daemon_that_ends_ends_the_following(nlb: Daemon, stack: ExitStack) -> None:
    process = lines(stack, nlb, "events", "--follow")
    assert process.stdout
    process.stdout.readline()
    nlb.process.kill()
    assert process.wait(PATIENCE) == 4


def test_watch_shows_what_moves(nlb: Daemon, stack: ExitStack) -> None:
    process = lines(stack, nlb, "watch", "--json", "--interval", "200ms")
    assert process.stdout
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", nlb.port), timeout=PATIENCE))
    moved: set[str] = set()

    def all_has_moved() -> bool:
        sock.sendall(b"x" * 1000)
        assert sock.recv(1000)
        assert process.stdout
        look = json.loads(process.stdout.readline())
        for rates in (row["rates"] for kind in ("listeners", "targets") for row in look[kind]):
            moved.update(counter for counter, rate in rates.items() if rate > 0)
        return moved >= {"received", "sent"} and look["targets"][0]["sessions"] == 1

    until(all_has_moved, PATIENCE)


def test_the_deploy_script_of_the_readme(nlb: Daemon, stack: ExitStack, target: Target, tmp_path: Path) -> None:
    """Word for word, with an `ssh` that only says whom it would have reached."""
    ports = {name: stack.enter_context(Target(echo)).port for name in ("web01", "web02")}
    for name, port in ports.items():
        assert nlb.ctl("target", "add", "web", f"{name}=127.0.0.1:{port}").returncode == 0
    nlb.has_health(web01="healthy", web02="healthy")
    for name, text in {"nlb": f'exec {sys.executable} -m nlb "$@"', "ssh": 'nlb ctl targets --json; echo "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (script,) = re.findall(r"```sh\n(for server in .*?)```", README.read_text(), re.DOTALL)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "NLB_SOCKET": nlb.socket}
    done = subprocess.run(
        ["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    seen = [json.loads(line)["targets"] for line in done.stdout.splitlines() if line.startswith("{")]
    states = [[row["admin"]["state"] for row in rows] for rows in seen]
    assert states == [["ready", "drain", "ready"], ["ready", "ready", "drain"]]
    assert [line for line in done.stdout.splitlines() if "systemctl" in line] == [
        "web01 sudo systemctl restart app",
        "web02 sudo systemctl restart app",
    ]
    assert all(row["usable"] for row in nlb.targets().values())
    assert [one["what"] for one in nlb.ask("overrides")["overrides"]] == ["added", "added"]


def test_tab_completes_the_names_of_this_daemon(nlb: Daemon) -> None:
    asked = {"COMP_WORDS": "nlb ctl drain ", "COMP_CWORD": "3", "_NLB_COMPLETE": "bash_complete"}
    environment = {**os.environ, **asked, "NLB_SOCKET": nlb.socket}
    command = [sys.executable, "-m", "nlb"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("plain,t1\n", "")
