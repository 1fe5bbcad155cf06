"""Probes by programs, with real processes."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nlb.balance.target import Target
from nlb.control.exec_probe import Program, Run, spawn
from nlb.model.address import Address
from nlb.model.config import HealthCheck
from nlb.net.loop import Handler, Loop, Owner, Watch
from tests.wire.stage import Stage

TARGET = Address("10.0.0.11", 5432)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


class Asker:
    """Who wants to know. What it was told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def begun(self) -> None:
        self.told.append("begun")

    def answered(self, ok: bool, detail: str) -> None:
        self.told.append((ok, detail))

    def unable(self, words: str) -> None:
        self.told.append(words)

    def crashed(self, error: Exception) -> None:
        raise error


Script = Callable[[str], str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Write a shell script; its path."""

    def write(text: str) -> str:
        path = tmp_path / "check"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def gone(pid: int) -> bool:
    """Has it ended? An orphan may stay a zombie for as long as its new parent likes."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def pid_in(file: Path) -> int:
    text = file.read_text() if file.exists() else ""
    return int(text) if text.endswith("\n") else 0


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        pytest.param("exit 0", (True, "exit 0"), id="silent"),
        pytest.param("echo; echo leader; echo lag 0", (True, "leader"), id="with words"),
        pytest.param("echo in recovery >&2", (True, "in recovery"), id="words on stderr"),
        pytest.param("exit 1", (False, "exit 1"), id="no"),
        pytest.param("echo lag 30 s; exit 2", (False, "exit 2: lag 30 s"), id="no, with words"),
        pytest.param("kill -9 $$", (False, "killed by SIGKILL"), id="killed"),
        pytest.param("echo before; kill -SEGV $$", (False, "killed by SIGSEGV: before"), id="crashed"),
        pytest.param("kill -40 $$", (False, "killed by signal 40"), id="a signal without a name"),
        pytest.param("read line && exit 1; exit 0", (True, "exit 0"), id="nothing to read"),
        pytest.param("printf x%.0s $(seq 5000); exit 1", (False, f"exit 1: {'x' * 157}..."), id="a long line"),
    ],
)
def test_how_it_ends_is_the_answer(stage: Stage, script: Script, text: str, verdict: tuple[bool, str]) -> None:
    stage.probe(TARGET, "exec", command=[script(text)])
    assert stage.verdict() == verdict


def test_no_shell_reads_its_arguments(stage: Stage, script: Script) -> None:
    words = "$(id); {name} > x * '"
    stage.probe(TARGET, "exec", command=[script('echo "$# $1 $2"'), words, "{host}:{port}"], port=8008)
    assert stage.verdict() == (True, "2 $(id); web01 > x * ' 10.0.0.11:8008")


def test_its_environment_is_minimal(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    copy = ["/bin/cp", "/proc/self/environ", str(tmp_path / "environ")]
    stage.probe(TARGET, "exec", command=copy)
    assert stage.verdict() == (True, "exit 0")
    names = {entry.partition("=")[0] for entry in (tmp_path / "environ").read_text().split("\0") if entry}
    assert {name.removeprefix("NLB_TARGET_") for name in names} == {
        *("PATH", "LANG"),
        *("HOST", "PORT", "ADDRESS", "NAME", "GROUP"),
    }


def test_it_has_no_descriptor_of_ours(tmp_path: Path) -> None:
    """Not even of those that were handed to us, as systemd does with sockets."""
    handed, closed = os.pipe()
    os.set_inheritable(handed, True)
    os.set_inheritable(closed, True)
    stage = Stage(tmp_path)
    os.close(closed)
    stage.probe(TARGET, "exec", command=["/bin/ls", "-C", "-w0", "/proc/self/fd"])
    assert stage.verdict() == (True, "0  1  2  3")  # 3 is the folder that ls reads
    stage.close()
    os.close(handed)


def test_at_the_timeout_all_of_it_is_killed(stage: Stage, script: Script, tmp_path: Path) -> None:
    check = HealthCheck(protocol="exec", command=[script("sleep 600 & echo asking; echo $! > child; wait")])
    asker = Asker()
    program = Program(stage.loop, Target(0, "db01", "db", TARGET), check, asker, stage.shared.programs)
    program.ask()
    stage.until(lambda: pid_in(tmp_path / "child"))
    stage.loop.turn(0)  # what it said before is there
    program.late()
    assert asker.told == ["begun", (False, "no answer in 2 s, killed: asking")]
    program.ask()
    assert asker.told[2:] == [f"{tmp_path}/check was killed and has not ended yet"]
    stage.until(lambda: gone(pid_in(tmp_path / "child")))


def test_a_timeout_by_the_clock(stage: Stage, script: Script) -> None:
    stage.probe(TARGET, "exec", command=[script("exec sleep 600")], timeout="100ms")
    assert stage.verdict() == (False, "no answer in 0.1 s, killed")


def test_what_it_leaves_behind_is_killed(stage: Stage, script: Script, tmp_path: Path) -> None:
    stage.probe(TARGET, "exec", command=[script("sleep 600 & echo $! > child; echo fine")])
    assert stage.verdict() == (True, "fine")
    stage.until(lambda: gone(pid_in(tmp_path / "child")))


def test_stop_kills_it(stage: Stage, script: Script, tmp_path: Path) -> None:
    prober = stage.probe(TARGET, "exec", command=[script("echo $$ > me; exec sleep 600")])
    stage.until(lambda: pid_in(tmp_path / "me"))
    prober.stop()
    stage.until(lambda: gone(pid_in(tmp_path / "me")))
    assert not stage.reports


def test_no_process_and_no_descriptor_stays(stage: Stage, script: Script) -> None:
    prober = stage.probe(TARGET, "exec", command=[script("echo fine")])
    stage.verdict()
    before = sorted(os.listdir("/proc/self/fd"))
    for number in range(2, 12):
        prober.now()
        stage.until(lambda number=number: len(stage.reports) == number)  # type: ignore[misc]
    assert stage.reports == [(True, "fine")] * 11
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_endless_output_is_cut(stage: Stage) -> None:
    stage.probe(TARGET, "exec", command=["/usr/bin/yes"])
    assert stage.verdict() == (False, "killed by SIGPIPE: y")


@pytest.mark.parametrize(
    ("mode", "why"), [(None, "no such file or directory"), (0o644, "permission denied")], ids=["missing", "no program"]
)
def test_a_program_that_cannot_be_run_is_no_result(stage: Stage, tmp_path: Path, mode: int | None, why: str) -> None:
    path = tmp_path / "check"
    if mode:
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    stage.probe(TARGET, "exec", command=[str(path)])
    stage.until(lambda: bool(stage.events.said))
    assert stage.events.said == [f"cannot probe web/web01: cannot run {path}: {why} (said once for all targets)"]
    assert not stage.reports


@pytest.mark.parametrize("room", [1, 2])
def test_without_descriptors_it_is_no_result_and_nothing_stays(stage: Stage, script: Script, room: int) -> None:
    prober = stage.probe(TARGET, "exec", command=[script("echo fine")])
    before = sorted(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(room)]
    highest = max(taken)  # so one less can be opened than were
    for fd in taken:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        stage.until(lambda: bool(stage.events.said) or bool(stage.reports))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not stage.reports
    assert sorted(os.listdir("/proc/self/fd")) == before
    prober.now()
    assert stage.verdict() == (True, "fine")


class Full(Loop):
    """Has room for its own descriptor and so many more."""

    def __init__(self, room: int) -> None:
        self._room = 1 + room
        super().__init__()

    def watch(self, fd: int, events: int, handler: Handler, owner: Owner) -> Watch:
        if not self._room:
            raise OSError(errno.ENOSPC, "scripted")
        self._room -= 1
        return super().watch(fd, events, handler, owner)


@pytest.mark.parametrize("room", [0, 1])
def test_what_cannot_be_watched_has_ended(script: Script, room: int) -> None:
    loop = Full(room)
    before = sorted(os.listdir("/proc/self/fd"))
    pid, output = spawn([script("exec sleep 600")], {}, [])
    with pytest.raises(OSError, match="scripted"):
        Run(loop, pid, output, lambda run: None, Asker())
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    loop.close()
