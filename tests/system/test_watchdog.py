"""A worker that stands still is replaced, and where it stood is in the log; systemd hears that we live."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
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
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def config(stack: ExitStack) -> str:
    target = stack.enter_context(Target(echo))
    return (
        '[[listener]]\nname = "in"\nbind = "127.0.0.1:0"\n'
        f'[[target_group]]\nname = "out"\ntargets = ["t1=127.0.0.1:{target.port}"]\n'
    )


def is_replaced(nlb: Daemon, pid: int) -> None:
    until(lambda: nlb.workers()[0]["state"] == "running" and nlb.workers()[0]["pid"] != pid, PATIENCE)


def test_a_worker_that_hangs_is_replaced_and_its_stack_logged(tmp_path: Path, stack: ExitStack, config: str) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(HANG)
    environment = {"PYTHONPATH": str(tmp_path / "hook")}
    nlb = stack.enter_context(daemon(tmp_path, config, environment=environment))
    pid = nlb.workers()[0]["pid"]
    psutil.Process(pid).send_signal(signal.SIGRTMIN)
    is_replaced(nlb, pid)
    said = nlb.output()
    assert f"worker 1 (pid {pid}) died: stuck, its loop stood still for 5 s; killed" in said
    assert "in stand_still" in said
    assert "no stack" not in said
    with socket.create_connection(("127.0.0.1", nlb.port), timeout=PATIENCE) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_a_worker_that_is_stopped_from_outside_is_replaced(tmp_path: Path, stack: ExitStack, config: str) -> None:
    """The other one serves on; who waits in the queue of the stopped one is served by its replacement."""
    nlb = stack.enter_context(daemon(tmp_path, config, workers=2))
    nlb.has_health(t1="healthy")
    port, pid = nlb.port, nlb.workers()[0]["pid"]
    psutil.Process(pid).suspend()
    with Traffic(lambda: socket.create_connection(("127.0.0.1", port), timeout=PATIENCE), talkers=0) as traffic:
        is_replaced(nlb, pid)
        traffic.goes_on()
    assert traffic.errors == []
    assert "it gave no stack, its process is stopped" in nlb.output()
    assert [worker["restarts"] for worker in nlb.workers()] == [1, 0]


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
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1500000"}
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
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1500000"}
    nlb = stack.enter_context(daemon(tmp_path, config, environment=environment))
    control = psutil.Process(nlb.process.pid)
    control.suspend()
    until(lambda: control.status() == psutil.STATUS_STOPPED, PATIENCE)
    systemd.settimeout(0)
    with pytest.raises(BlockingIOError):
        while True:
            systemd.recv(4096)
    systemd.settimeout(1.5)  # an interval
    with pytest.raises(TimeoutError):
        systemd.recv(4096)
    control.resume()
    systemd.settimeout(PATIENCE)
    while systemd.recv(4096) != b"WATCHDOG=1":
        pass
