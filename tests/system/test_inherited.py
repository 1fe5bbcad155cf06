"""Sockets that were there before nlb, as systemd hands them over: used, never closed, found again by a later config."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.daemon import PATIENCE, Daemon, daemon
from tests.targets import Target, echo, say
from tests.traffic import Traffic
from tests.waiting import until

# Becomes nlb with descriptors 3, 4, ... as sd_listen_fds(3) says. Arguments: names, descriptors, and the command.
LAUNCHER = """
import fcntl, os, sys
names, fds = sys.argv[1], [int(fd) for fd in sys.argv[2].split(",")]
high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for place, fd in enumerate(high):
    os.dup2(fd, 3 + place)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": names}
os.execv(sys.argv[3], sys.argv[3:])
"""


class Manager:
    """Holds sockets and starts nlb with them, again and again."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._sockets: list[socket.socket] = []
        self._names: list[str] = []

    def opens(self, name: str = "nlb.socket", sock: socket.socket | None = None) -> socket.socket:
        """Another socket, by default a listening one on a port of its own."""
        sock = sock or socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._sockets.append(self._stack.enter_context(sock))
        self._names.append(name)
        return sock

    def starts(self, config: str, **options: Any) -> Daemon:
        descriptors = [sock.fileno() for sock in self._sockets]
        numbers = ",".join(map(str, descriptors))
        launcher = [sys.executable, "-c", LAUNCHER, ":".join(self._names), numbers]
        started = daemon(self.folder, config, launcher=launcher, descriptors=descriptors, **options)
        return self._stack.enter_context(started)


@pytest.fixture
def manager(tmp_path: Path, stack: ExitStack) -> Manager:
    return Manager(tmp_path, stack)


@pytest.fixture
def target(stack: ExitStack) -> Target:
    return stack.enter_context(Target(echo))


def group(target: Target) -> str:
    return f'[[target_group]]\nname = "out"\ntargets = ["t1=127.0.0.1:{target.port}"]\n'


def listener(where: str, name: str = "in") -> str:
    return f'[[listener]]\nname = "{name}"\nbind = "{where}"\n'


def place(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"


def call(sock: socket.socket) -> socket.socket:
    return socket.create_connection(sock.getsockname(), timeout=PATIENCE)


def works(sock: socket.socket) -> bool:
    with call(sock) as client:
        client.sendall(b"hello")
        return client.recv(100) == b"hello"


def test_a_restart_under_load_refuses_nobody(manager: Manager, target: Target) -> None:
    sock = manager.opens()
    config = listener(place(sock)) + group(target)
    nlb = manager.starts(config, workers=2)
    with Traffic(lambda: call(sock), talkers=0) as traffic:
        traffic.goes_on(100)
        assert nlb.stop() == 0
        manager.starts(config, workers=2)
        traffic.goes_on(200)
    assert traffic.errors == []


def test_whoever_connects_while_nlb_is_down_is_served_when_it_is_up(manager: Manager, target: Target) -> None:
    sock = manager.opens()
    config = listener(place(sock)) + group(target)
    with call(sock) as early:
        early.sendall(b"early")
        nlb = manager.starts(config)
        assert early.recv(100) == b"early"
    nlb.stop()
    with call(sock) as later:
        later.sendall(b"later")
        manager.starts(config)
        assert later.recv(100) == b"later"


def test_all_workers_share_it(manager: Manager, target: Target) -> None:
    sock = manager.opens()
    nlb = manager.starts(listener(place(sock)) + group(target), workers=2)
    nlb.has_health(t1="healthy")
    with ExitStack() as clients:

        def both_have_some() -> bool:
            clients.enter_context(call(sock))
            return all(worker["sessions"] for worker in nlb.workers())

        until(both_have_some, PATIENCE)


def test_a_name_decides_where_no_address_fits(manager: Manager, target: Target) -> None:
    sock = manager.opens("in")
    nlb = manager.starts(listener("127.0.0.1:0") + group(target))
    assert nlb.listener()["binds"] == [place(sock)]
    assert works(sock)


def test_a_unix_socket(manager: Manager, target: Target, tmp_path: Path) -> None:
    path = str(tmp_path / "in.sock")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    manager.opens("nlb.socket", sock)
    nlb = manager.starts(listener(f"unix:{path}") + group(target), workers=2)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    nlb.stop()
    assert Path(path).exists()


def test_it_outlives_reloads_that_do_not_want_it(manager: Manager, target: Target) -> None:
    sock, other = manager.opens(), manager.opens()
    both = listener(place(sock)) + listener(place(other), "other") + group(target)
    nlb = manager.starts(both, workers=2)
    assert works(sock)
    nlb.write(listener(place(other), "other") + group(target))
    nlb.ask("reload")
    assert f"{place(sock)} is no listener's now" in nlb.output()
    with call(sock) as waiting:
        waiting.sendall(b"waited")
        nlb.write(both)
        nlb.ask("reload")
        assert waiting.recv(100) == b"waited"
    assert works(sock)
    assert works(other)


def test_a_listener_that_changes_its_name_keeps_it(manager: Manager, target: Target) -> None:
    sock = manager.opens()
    nlb = manager.starts(listener(place(sock)) + group(target))
    nlb.write(listener(place(sock), "renamed") + group(target))
    nlb.ask("reload")
    assert works(sock)
    nlb.stop()
    manager.starts(listener(place(sock)) + group(target))
    assert works(sock)


def test_what_a_reload_adds_may_have_been_given_at_the_start(manager: Manager, target: Target) -> None:
    sock = manager.opens()
    nlb = manager.starts(listener("127.0.0.1:0") + group(target))
    assert f"the inherited socket {place(sock)} (nlb.socket) is no listener's" in nlb.output()
    nlb.write(listener(place(sock)) + group(target))
    nlb.ask("reload")
    assert works(sock)


def test_the_operators_doors(manager: Manager, target: Target, tmp_path: Path) -> None:
    path = str(tmp_path / "nlb.sock")
    door = socket.socket(socket.AF_UNIX)
    door.bind(path)
    door.listen()
    manager.opens("nlb.socket", door)
    web = manager.opens("admin.web")
    nlb = manager.starts(listener("127.0.0.1:0") + group(target), web=True)
    with urlopen(f"http://{place(web)}/healthz") as page:
        assert page.status == 200
    nlb.stop()
    assert Path(path).exists()
    with socket.socket(socket.AF_UNIX) as early:
        early.connect(path)
        early.settimeout(PATIENCE)
        early.sendall(b'{"verb": "status"}\n')
        manager.starts(listener("127.0.0.1:0") + group(target))
        assert early.recv(100).startswith(b'{"version"')


def test_what_is_no_listening_socket_is_told_and_left_alone(manager: Manager, target: Target, stack: ExitStack) -> None:
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connected, _ = (stack.enter_context(sock) for sock in socket.socketpair())
    manager.opens("udp", datagrams)
    manager.opens("pair", connected)
    sock = manager.opens()
    nlb = manager.starts(listener(place(sock)) + group(target))
    assert "the inherited descriptor 3 (udp) is not used: it is no stream socket" in nlb.output()
    assert "the inherited descriptor 4 (pair) is not used: it does not listen" in nlb.output()
    assert works(sock)


def test_a_session_is_finished_by_the_nlb_that_accepted_it(manager: Manager, stack: ExitStack) -> None:
    """While it finishes, it accepts no other: those wait for the next."""
    target = stack.enter_context(Target(echo))
    sock = manager.opens()
    config = listener(place(sock)) + group(target)
    nlb = manager.starts(config, top="shutdown_timeout = 20")
    nlb.has_health(t1="healthy")
    old = stack.enter_context(call(sock))
    old.sendall(b"old")
    assert old.recv(100) == b"old"
    nlb.process.terminate()
    until(lambda: "stopping" in nlb.output(), PATIENCE)
    new = stack.enter_context(call(sock))
    new.sendall(b"new")
    old.sendall(b"still old")
    assert old.recv(100) == b"still old"
    assert target.accepted >= 1
    old.close()
    assert nlb.process.wait(PATIENCE) == 0
    manager.starts(config, top="shutdown_timeout = 0.1")
    assert new.recv(100) == b"new"


def test_sockets_announced_to_another_process_are_not_ours(manager: Manager, tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(say(b"hello")))
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    nlb = stack.enter_context(daemon(tmp_path, listener("127.0.0.1:0") + group(target), environment=environment))
    assert "inherited" not in nlb.output()
