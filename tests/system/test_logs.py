"""The logs of the real processes: complete, readable by programs, rotated without a loss, and never in the way."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest

from tests.daemon import PATIENCE, Daemon, answer
from tests.targets import Target, say
from tests.waiting import until

Start = Callable[..., Daemon]

# More access lines than a pipe holds, which is 64 KiB.
MANY = 600


def config(target: Target, log: str) -> str:
    """One listener `in` that writes access lines, one group `out`, and the keys of [log]."""
    return (
        f'[log]\n{log}\n[[listener]]\nname = "in"\nbind = "127.0.0.1:0"\naccess_log = true\n'
        f'[[target_group]]\nname = "out"\ntargets = ["t1=127.0.0.1:{target.port}"]\n'
    )


def calls(port: int, count: int) -> None:
    """So many sessions, several at a time, and each with its answer."""
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(answer, [port] * count)) == {b"hello"}


def events(nlb: Daemon) -> list[str]:
    return [event["text"] for event in nlb.ask("status")["events"]]


def lines(*paths: Path) -> list[str]:
    return [line for path in paths if path.exists() for line in path.read_text().splitlines()]


def sessions(*paths: Path) -> int:
    return sum(" session " in line or '"kind":"session"' in line for line in lines(*paths))


@pytest.fixture
def target(stack: ExitStack) -> Target:
    return stack.enter_context(Target(say(b"hello")))


@pytest.fixture
def start(tmp_path: Path, target: Target, stack: ExitStack) -> Start:
    """Starts an nlb with these keys of [log], whatever becomes of its log."""

    def make(log: str, workers: int = 1, **options: Any) -> Daemon:
        nlb = Daemon(tmp_path, config(target, log), workers, wait=False, **options)
        stack.callback(nlb.process.wait)
        stack.callback(nlb.process.kill)

        def is_running() -> bool:
            try:
                return any(text.startswith("ready:") for text in events(nlb))
            except (FileNotFoundError, ConnectionRefusedError):
                return False

        until(lambda: nlb.process.poll() is not None or is_running(), PATIENCE)
        assert nlb.process.poll() is None
        nlb.has_health(t1="healthy")
        return nlb

    return make


def test_a_session_and_an_event_as_text(start: Start) -> None:
    nlb = start("")
    calls(nlb.port, 3)
    assert nlb.stop() == 0
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    written = nlb.output()
    assert len(re.findall(rf"^{time} info nlb ready: 1 of 1 targets usable$", written, re.MULTILINE)) == 1
    line = (
        rf"^{time} info session outcome=data/done listener=in client=127\.0\.0\.1:\d+ group=out target=t1 "
        r"duration=\d+\.\d{6} connect=\d+\.\d{6} first_byte=\d+\.\d{6} received=0 sent=5 tries=1 unique_id=-$"
    )
    assert len(re.findall(line, written, re.MULTILINE)) == 3


def test_everything_as_json(start: Start) -> None:
    nlb = start('format = "json"', workers=2)
    calls(nlb.port, 40)
    assert nlb.ctl("drain", "t1", "--reason", 'a "quoted" reason').returncode == 0
    assert nlb.stop() == 0
    records: list[dict[str, Any]] = [json.loads(line) for line in lines(nlb.log)]
    assert all(list(record)[:3] == ["time", "level", "kind"] for record in records)
    ended = [record for record in records if record["kind"] == "session"]
    assert len(ended) == 40
    for record in ended:
        assert (record["outcome"], record["listener"], record["group"]) == ("data/done", "in", "out")
        assert (record["target"], record["sent"], record["tries"]) == ("t1", 5, 1)
        assert record["duration"] >= record["connect"] >= 0
    (operator,) = [record for record in records if record["kind"] == "operator"]
    assert (operator["group"], operator["target"]) == ("out", "t1")
    assert 'a "quoted" reason' in operator["text"]


def test_files_are_rotated_without_a_loss(tmp_path: Path, start: Start) -> None:
    happened, access = tmp_path / "events.log", tmp_path / "access.log"
    nlb = start(f'file = "{happened}"\naccess_file = "{access}"', workers=2)
    port, moved = nlb.port, list[Path]()
    workers = [psutil.Process(worker["pid"]) for worker in nlb.workers()]

    def opened(process: psutil.Process) -> set[str]:
        return {file.path for file in process.open_files()}

    for turn in range(3):
        calls(port, 50)
        moved += [path.rename(tmp_path / f"{path.name}.{turn}") for path in (happened, access)]
        nlb.process.send_signal(signal.SIGUSR1)
        until(lambda: all(str(access) in opened(worker) for worker in workers), PATIENCE)
    calls(port, 50)
    assert nlb.stop() == 0
    assert " info operator log files opened anew, SIGUSR1" in lines(happened)[0]
    assert sessions(access, *(path for path in moved if "access" in path.name)) == 200
    assert sessions(access) == 50
    assert sessions(happened, *(path for path in moved if "events" in path.name)) == 0


def test_a_worker_that_gets_the_signal_too_lives_on(start: Start) -> None:
    """`systemctl kill` sends it to every process of the service."""
    nlb = start("", workers=2)
    pids = [worker["pid"] for worker in nlb.workers()]
    for pid in [*pids, nlb.process.pid]:
        os.kill(pid, signal.SIGUSR1)
    until(lambda: any("opened anew" in text for text in events(nlb)), PATIENCE)
    calls(nlb.port, 10)
    assert [(worker["pid"], worker["restarts"]) for worker in nlb.workers()] == [(pid, 0) for pid in pids]


def test_a_new_file_that_cannot_be_opened_leaves_the_old_one(tmp_path: Path, start: Start) -> None:
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "nlb.log"
    nlb = start(f'file = "{path}"')
    calls(nlb.port, 10)
    (tmp_path / "logs").rename(tmp_path / "moved")
    nlb.process.send_signal(signal.SIGUSR1)
    told = f"cannot write the log to {path}: No such file or directory; make its folder first; going on as before"
    until(lambda: {told, f"worker 1: {told}"} <= set(events(nlb)), PATIENCE)
    calls(nlb.port, 10)
    assert nlb.stop() == 0
    old = tmp_path / "moved" / "nlb.log"
    assert sessions(old) == 20
    assert any(line.endswith(told) for line in lines(old))


def test_a_reload_changes_the_log(tmp_path: Path, target: Target, start: Start) -> None:
    nlb = start("")
    port = nlb.port
    path = tmp_path / "other.log"
    calls(port, 5)
    nlb.write(config(target, f'format = "json"\nfile = "{path}"'))
    nlb.process.send_signal(signal.SIGHUP)
    until(lambda: any("generation 2" in text for text in events(nlb)), PATIENCE)
    calls(port, 5)
    assert nlb.stop() == 0
    assert (sessions(nlb.log), sessions(path)) == (5, 5)
    assert all(json.loads(line) for line in lines(path))


# --- trouble


def test_a_reader_of_stderr_that_is_stuck_stops_nothing(start: Start, stack: ExitStack) -> None:
    """stderr is a pipe that blocks, and nobody reads it."""
    reader, writer = os.pipe()
    stack.callback(os.close, reader)
    onto_the_pipe = ["sh", "-c", f'exec "$@" 2>/dev/fd/{writer}', "sh"]
    nlb = start("", workers=2, launcher=onto_the_pipe, descriptors=[writer])
    os.close(writer)
    for _ in range(3):
        calls(nlb.port, MANY)
    assert nlb.ctl("drain", "t1").returncode == 0, "control is not stuck either"
    got, stopped = b"", False
    while select.select([reader], [], [], PATIENCE)[0] and (data := os.read(reader, 65536)):
        got += data
        # What waited is written once somebody reads.
        if not stopped and got.count(b" info session ") == 3 * MANY:
            nlb.process.terminate()
            stopped = True
    assert nlb.process.wait(PATIENCE) == 0
    assert {line.split(b" ")[1] for line in got.splitlines()} == {b"info"}, "lines of several processes do not mix"


def test_a_full_disk_stops_nothing_and_is_told(start: Start) -> None:
    nlb = start('file = "/dev/full"')
    calls(nlb.port, 50)

    def told() -> list[str]:
        return [text.split(";")[0] for text in events(nlb) if "/dev/full" in text]

    until(lambda: len(told()) == 2, PATIENCE)
    problem = "log to /dev/full: No space left on device"
    assert sorted(told()) == [problem, f"worker 1: {problem}"]
    assert nlb.stop() == 0


def test_lines_that_are_lost_are_counted(start: Start) -> None:
    nlb = start("", web=True)
    with urlopen(nlb.web + "metrics", timeout=PATIENCE) as page:
        shown = page.read().decode()
    assert 'nlb_log_lines_dropped_total{process="control"} 0.0' in shown
    assert 'nlb_log_lines_dropped_total{process="worker-1"} 0.0' in shown


@pytest.mark.parametrize(
    ("log", "code", "told"),
    [
        (
            'file = "{folder}/missing/nlb.log"',
            1,
            "log.file: cannot write the log to {folder}/missing/nlb.log: No such file or directory; "
            "make its folder first\n",
        ),
        (
            'access_file = "{folder}"',
            1,
            "log.access_file: cannot write the log to {folder}: Is a directory; name a file in that folder\n",
        ),
        ('format = "jsn"', 2, "log.format: 'jsn' is not known; write text or json (did you mean json?)\n"),
        ('file = "nlb.log"', 2, "log.file: 'nlb.log' must be stderr, stdout, journal or an absolute path"),
    ],
)
def test_a_log_that_cannot_be_written_is_an_error_at_the_start(
    log: str, code: int, told: str, tmp_path: Path, target: Target
) -> None:
    path = tmp_path / "nlb.toml"
    path.write_text(config(target, log.replace("{folder}", str(tmp_path))))
    command = [sys.executable, "-m", "nlb", "serve", "-c", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code
    assert told.replace("{folder}", str(tmp_path)) in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
