"""What a shell offers at Tab: commands and options without a daemon, names from one, and never a complaint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nlb.admin.commands import COMMANDS
from nlb.cli import COMMANDS as TOP
from nlb.cli.names import target_names
from tests.unit.admin.canned import Daemon, target


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


def run(words: str, socket: str) -> subprocess.CompletedProcess[str]:
    """What `nlb` is called as by the script of bash when Tab is pressed behind these words."""
    asked = {
        "NLB_SOCKET": socket,
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_NLB_COMPLETE": "bash_complete",
    }
    command = [sys.executable, "-m", "nlb"]
    return subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)


def offered(words: str, socket: str = "/nowhere/nlb.sock") -> list[str]:
    done = run(words, socket)
    assert done.stderr == ""
    return [line.removeprefix("plain,") for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("nlb ", list(TOP)),
        ("nlb c", ["check", "ctl", "completion"]),
        ("nlb ctl ", list(dict.fromkeys(verb.partition(" ")[0] for verb in COMMANDS))),
        ("nlb ctl target ", ["add", "remove"]),
        ("nlb ctl events --kind ", ["target", "group", "worker", "operator", "nlb"]),
        ("nlb ctl events --kind o", ["operator"]),
        ("nlb ctl drain web01 --w", ["--wait"]),
        ("nlb completion ", ["bash", "zsh", "fish"]),
        ("nlb explain http://a/ --so", ["--source", "--socket"]),
        ("nlb ctl config --diff ", ["file,"]),
    ],
)
def test_commands_and_options_need_no_daemon(words: str, expected: list[str]) -> None:
    assert offered(words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("nlb ctl drain ", ["web01", "web02", "web/node", "api/node"]),
        ("nlb ctl drain web/", ["web/node"]),
        ("nlb ctl target remove web0", ["web01", "web02"]),
        ("nlb ctl targets ", ["web", "api"]),
        ("nlb ctl targets a", ["api"]),
        ("nlb ctl target add ", ["web", "api"]),
        ("nlb ctl sessions --target api", ["api/node"]),
        ("nlb ctl errors --listener ", ["web", "api"]),
        ("nlb explain http://a/ --listener w", ["web"]),
    ],
)
def test_names_are_those_that_the_daemon_has(daemon: Daemon, words: str, expected: list[str]) -> None:
    assert offered(words, daemon.path) == expected


def test_the_daemon_that_is_named_is_asked(daemon: Daemon) -> None:
    assert offered(f"nlb ctl --socket {daemon.path} targets ") == ["web", "api"]
    assert offered(f"nlb ctl targets --socket {daemon.path} ") == ["web", "api"]


def test_without_a_daemon_no_name_is_offered_and_nothing_said() -> None:
    assert offered("nlb ctl drain ") == []


def test_a_daemon_that_answers_strangely_is_no_complaint(daemon: Daemon) -> None:
    daemon.controller.facts["groups"][0]["targets"][0].pop("leaving")
    assert offered("nlb ctl drain ", daemon.path) == []


def test_a_target_that_leaves_needs_no_completing() -> None:
    rows = [target(0, "web01"), target(1, "web01", leaving=True), target(2, "web02", group="api")]
    assert target_names(rows) == ["web01", "web02"]


def script(shell: str) -> str:
    command = [sys.executable, "-m", "nlb", "completion", shell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_takes_its_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    path = tmp_path / "script"
    path.write_text(script(shell))
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# What is run after the script to press Tab behind "nlb ctl drain web0", and to print what is offered.
PRESS = {
    "bash": 'COMP_WORDS=(nlb ctl drain web0) COMP_CWORD=3; _nlb_completion nlb drain; printf "%s\\n" "${COMPREPLY[@]}"',
    "fish": 'complete --do-complete "nlb ctl drain web0"',
    # The function that zsh calls, with the words as zsh gives them, and instead of a list on the screen a print.
    "zsh": "words=(nlb ctl drain web0) CURRENT=4; compadd() { shift 4; print -l ${(P)1} }; _nlb_completion",
}


@pytest.mark.parametrize("shell", PRESS)
def test_a_shell_completes_with_it(daemon: Daemon, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    nlb = tmp_path / "nlb"
    nlb.write_text(f'#!/bin/sh\nexec {sys.executable} -m nlb "$@"\n')
    nlb.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NLB_SOCKET": daemon.path}
    text = f"{'compdef() { }' if shell == 'zsh' else ''}\n{script(shell)}\n{PRESS[shell]}"
    done = subprocess.run([shell, "-c", text], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["web01", "web02"], "")
