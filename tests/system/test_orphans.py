"""Control is killed: its workers serve on, the next control relieves them, and nobody notices but the log."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.daemon import PATIENCE, Daemon
from tests.endings import all_end
from tests.targets import Target, echo
from tests.traffic import Traffic, speak
from tests.waiting import until

Start = Callable[..., "Nlb"]


class Nlb(Daemon):
    """A daemon with its workers' processes: they may outlive it."""

    def __init__(self, folder: Path, config: str, top: str = "", **options: object) -> None:
        super().__init__(folder, config, workers=2, top=top, **{"orphans": True, **options})
        self.crew = [psutil.Process(row["pid"]) for row in self.workers()]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it has been said since this control began."""
        until(lambda: self.output()[self._said_before :].count(text) >= times, PATIENCE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start nlb, or its successor. Of all that was started nothing is left."""
    started: list[Nlb] = []

    def start(config: str, top: str = "shutdown_timeout = 0.5", **options: object) -> Nlb:
        started.append(Nlb(tmp_path, config, top, **options))
        return started[-1]

    yield start
    for nlb in started:
        nlb.process.terminate()
        try:
            nlb.process.wait(PATIENCE)
        finally:
            nlb.process.kill()
            nlb.process.wait(PATIENCE)
            for process in nlb.crew:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
    all_end([process.pid for nlb in started for process in nlb.crew], PATIENCE)


@pytest.fixture
def target() -> Iterator[Target]:
    with Target(echo) as target:
        yield target


def config(target: Target, *binds: str) -> str:
    bind = ", ".join(f'"{bind}"' for bind in binds)
    address = f"127.0.0.1:{target.port}"
    return f'[[listener]]\nname = "in"\nbind = [{bind}]\n[[target_group]]\nname = "out"\ntargets = ["t1={address}"]\n'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def caller(port: int) -> Callable[[], socket.socket]:
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def end(processes: list[psutil.Process]) -> None:
    """They end by themselves."""
    assert all_end([process.pid for process in processes], PATIENCE)


def test_control_is_killed_under_load(start: Start, target: Target) -> None:
    port = free_port()
    text = config(target, f"127.0.0.1:{port}")
    first = start(text)
    first.has_health(t1="healthy")
    with Traffic(caller(port)) as traffic:
        traffic.goes_on()
        first.kill()
        traffic.goes_on(100)
        second = start(text)
        second.says("is relieved", 2)
        traffic.goes_on(100)
        assert second.listener()["accepted"] >= 100
        until(lambda: sum(orphan["sessions"] for orphan in second.ask("status")["orphans"]) == 4, PATIENCE)
        traffic.stop_talking()
        end(first.crew)
        traffic.goes_on()
    assert traffic.errors == []
    assert second.stop() == 0


def test_it_is_killed_again_and_again(start: Start, target: Target) -> None:
    port = free_port()
    text = config(target, f"127.0.0.1:{port}")
    controls = [start(text)]
    controls[0].has_health(t1="healthy")
    with Traffic(caller(port)) as traffic:
        for _ in range(2):
            controls[-1].kill()
            traffic.goes_on(20)
            controls.append(start(text))
        controls[-1].says("is relieved", 2)
        traffic.goes_on(20)
        assert len(controls[-1].ask("status")["orphans"]) >= 2
    assert traffic.errors == []
    for control in controls[:-1]:
        end(control.crew)


@pytest.fixture
def handed_on(start: Start, target: Target) -> Iterator[tuple[socket.socket, Nlb, Nlb]]:
    """A client of a control's worker; that control, which was killed; and the next, which has relieved its workers."""
    port = free_port()
    text = config(target, f"127.0.0.1:{port}")
    first = start(text)
    first.has_health(t1="healthy")
    with caller(port)() as client:
        speak(client, b"before")
        first.kill()
        second = start(text)
        second.says("is relieved", 2)
        yield client, first, second


def test_a_stop_ends_the_orphans_as_well(handed_on: tuple[socket.socket, Nlb, Nlb]) -> None:
    """Control waits for their sessions as for its own, and no longer."""
    client, first, second = handed_on
    speak(client, b"between")
    assert second.stop() == 0
    end(first.crew)
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_block_reaches_the_sessions_of_orphans(handed_on: tuple[socket.socket, Nlb, Nlb]) -> None:
    client, first, second = handed_on
    second.ask("block", network="127.0.0.1")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    end(first.crew)


def test_one_that_does_not_end_is_killed_at_the_stop(start: Start, target: Target) -> None:
    port = free_port()
    text = config(target, f"127.0.0.1:{port}")
    first = start(text)
    with caller(port)() as client:
        speak(client, b"before")
        first.kill()
        second = start(text)
        second.says("is relieved", 2)
        for process in first.crew:
            process.suspend()
        assert second.stop() == 0
    assert "did not end in time; killed" in second.output()
    end(first.crew)


def test_a_unix_listener_is_handed_on_too(start: Start, target: Target, tmp_path: Path) -> None:
    path = str(tmp_path / "in.sock")

    def call() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        return sock

    text = config(target, f"unix:{path}")
    first = start(text)
    first.has_health(t1="healthy")
    with Traffic(call) as traffic:
        first.kill()
        traffic.goes_on(20)
        start(text).says("is relieved", 2)
        traffic.goes_on(20)
    assert traffic.errors == []
    end(first.crew)


def test_an_address_that_the_new_config_has_not_is_given_up(start: Start, target: Target) -> None:
    ports = [free_port(), free_port()]
    first = start(config(target, *(f"127.0.0.1:{port}" for port in ports)))
    first.kill()
    second = start(config(target, f"127.0.0.1:{ports[0]}"))
    end(first.crew)
    with caller(ports[0])() as client:
        speak(client, b"hello")
    with pytest.raises(ConnectionRefusedError):
        caller(ports[1])()
    assert second.stop() == 0


def test_a_stranger_with_our_address_stays_an_error(start: Start, target: Target, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(AssertionError, match=rf"127\.0\.0\.1:{port} is already taken"):
            Daemon(tmp_path, config(target, f"127.0.0.1:{port}"))


def test_an_operator_does_not_knock(start: Start, target: Target) -> None:
    nlb = start(config(target, "127.0.0.1:0"))
    with pytest.raises(AssertionError, match="only a worker of nlb knocks"):
        nlb.ask("knock")


def test_a_worker_that_is_killed_with_its_control_holds_nobody_up(start: Start, target: Target) -> None:
    port = free_port()
    text = config(target, f"127.0.0.1:{port}")
    first = start(text)
    first.kill()
    os.kill(first.crew[0].pid, signal.SIGKILL)
    second = start(text)
    second.says("is relieved")
    with caller(port)() as client:
        speak(client, b"hello")
    end(first.crew)
