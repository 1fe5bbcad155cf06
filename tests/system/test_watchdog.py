"""A worker that stands still is replaced, and where it stood is in the log; systemd hears that we live."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from tests.daemon import PATIENCE, Daemon, daemon
from tests.targets import Target, echo
from tests.traffic import Traffic
from tests.waiting import until

# Gives every python process that finds it a signal on which its main thread stands still, as after a bug.
HANG = """
import signal, time

def stand_still(number, frame):
    while True:
        time.sleep(60)

signal.signal(signal.SIGRTMIN, stand_still)
"""


@pytest.fixture
def config(stack: ExitStack) -> str:
    target = stack.enter_context(Target(echo))
    return (
        '[[listener]]\nname = "in"\nbind = "127.0.0.1:0"\n'
        f'[[target_group]]\nname = "out"\ntargets = ["t1=127.0.0.1:{target.port}"]\n'
    )


def is_replaced(nlb: Daemon, pid: int, index: int = 0) -> None:
    def replaced() -> bool:
        worker = nlb.workers()[index]
        return worker["state"] == "running" and worker["pid"] != pid

    until(replaced, PATIENCE)


def test_workers_that_stand_still_are_replaced(tmp_path: Path, stack: ExitStack, config: str) -> None:
    """One hangs, one is stopped from outside. The third serves on, and who waits in the queues of the two is served by
    their replacements."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(HANG)
    environment = {"PYTHONPATH": str(tmp_path / "hook")}
    nlb = stack.enter_context(daemon(tmp_path, config, workers=3, environment=environment))
    nlb.has_health(t1="healthy")
    port = nlb.port
    hangs, stopped, works = (worker["pid"] for worker in nlb.workers())
    psutil.Process(hangs).send_signal(signal.SIGRTMIN)
    psutil.Process(stopped).suspend()
    with Traffic(lambda: socket.create_connection(("127.0.0.1", port), timeout=PATIENCE), talkers=0) as traffic:
        is_replaced(nlb, hangs, 0)
        is_replaced(nlb, stopped, 1)
        traffic.goes_on()
    assert traffic.errors == []
    why = "died: stuck, its loop stood still for 5 s; killed"
    said = nlb.output()
    assert f"worker 1 (pid {hangs}) {why};" in said
    assert "in stand_still" in said
    assert f"worker 2 (pid {stopped}) {why}; it gave no stack, its process is stopped;" in said
    assert nlb.workers()[2]["pid"] == works


def test_a_fatal_signal_leaves_a_stack_too(tmp_path: Path, stack: ExitStack, config: str) -> None:
    nlb = stack.enter_context(daemon(tmp_path, config))
    pid = nlb.workers()[0]["pid"]
    psutil.Process(pid).send_signal(signal.SIGSEGV)
    is_replaced(nlb, pid)
    assert "died: killed by SIGSEGV" in nlb.output()
    assert "Fatal Python error: Segmentation fault" in nlb.output()


def test_systemd_hears_that_we_live_until_we_stop(tmp_path: Path, stack: ExitStack, config: str) -> None:
    path = str(tmp_path / "notify.sock")
    systemd = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    systemd.bind(path)
    systemd.settimeout(PATIENCE)
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "900000"}
    nlb = stack.enter_context(daemon(tmp_path, config, environment=environment, top="shutdown_timeout = 7"))

    def hears(word: str) -> str:
        while word not in (said := systemd.recv(4096).decode()):
            pass
        return said

    hears("READY=1")
    for _ in range(3):
        hears("WATCHDOG=1")
    nlb.stop()
    assert hears("STOPPING=1") == "STOPPING=1\nEXTEND_TIMEOUT_USEC=12000000"


def test_a_control_that_stands_still_is_silent(tmp_path: Path, stack: ExitStack, config: str) -> None:
    path = str(tmp_path / "notify.sock")
    systemd = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    systemd.bind(path)
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "900000"}
    nlb = stack.enter_context(daemon(tmp_path, config, environment=environment))
    control = psutil.Process(nlb.process.pid)
    control.suspend()
    until(lambda: control.status() == psutil.STATUS_STOPPED, PATIENCE)
    systemd.settimeout(0)
    with suppress(BlockingIOError):
        while True:
            systemd.recv(4096)
    systemd.settimeout(0.9)  # an interval
    with pytest.raises(TimeoutError):
        systemd.recv(4096)
    control.resume()
    systemd.settimeout(PATIENCE)
    while systemd.recv(4096) != b"WATCHDOG=1":
        pass
