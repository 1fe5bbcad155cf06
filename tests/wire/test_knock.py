"""A knock at the admin socket: from a worker, with the end of a channel. Operators have no business with it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nlb.admin.server import AdminServer
from nlb.control.orphans import Orphans
from nlb.model.address import Address
from nlb.net.loop import Loop
from nlb.net.sockets import listen
from nlb.observe.log import Events
from tests.waiting import until

KNOCK = b'{"verb": "knock"}\n'


class Hall:
    """An admin server that has no controller yet, and who came in."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "nlb.sock")
        self.loop = Loop()
        self.came: list[tuple[socket.socket, int]] = []
        door = listen(Address("", 0, self.path), 1)[0]
        self.server = AdminServer(self.loop, door, None, on_knock=lambda end, pid: self.came.append((end, pid)))

    def ask(self, request: bytes, *descriptors: int) -> Any:
        """The answer to one request that comes with these descriptors."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            socket.send_fds(client, [request], descriptors)
            client.setblocking(False)
            answer = bytearray()

            def answered() -> bool:
                self.loop.turn(0.01)
                try:
                    answer.extend(client.recv(65536))
                except BlockingIOError:
                    return False
                return answer.endswith(b"\n")

            until(answered, between=lambda: None)
        return json.loads(answer)

    def close(self) -> None:
        self.server.close()
        self.loop.turn(0)
        self.loop.close()
        for end, _ in self.came:
            end.close()


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    hall = Hall(tmp_path)
    yield hall
    hall.close()


def test_a_worker_hands_in_its_channel(hall: Hall) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            assert hall.ask(KNOCK, theirs.fileno())["ok"]
        ((end, pid),) = hall.came
        assert pid == os.getpid()
        end.send(b"welcome")
        assert ours.recv(100) == b"welcome"


def test_nobody_else_knocks(hall: Hall) -> None:
    assert "only a worker of nlb knocks" in hall.ask(KNOCK)["error"]
    assert hall.came == []


def test_what_is_no_socket_is_closed(hall: Hall) -> None:
    reading, writing = os.pipe()
    assert "only a worker of nlb knocks" in hall.ask(KNOCK, writing)["error"]
    os.close(writing)
    assert os.read(reading, 1) == b"", "somebody keeps the other end"
    os.close(reading)


def test_what_nobody_asked_for_is_closed(hall: Hall) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            hall.ask(b'{"verb": "status"}\n', theirs.fileno())
        ours.setblocking(False)

        def closed() -> bool:
            hall.loop.turn(0.01)
            try:
                return ours.recv(1) == b""
            except BlockingIOError:
                return False

        until(closed, between=lambda: None)


def test_operators_wait_until_there_is_a_controller(hall: Hall) -> None:
    assert hall.ask(b'{"verb": "status"}\n')["error"] == "nlb is starting; ask again in a moment"


def test_a_worker_of_ours_is_no_orphan(hall: Hall) -> None:
    orphans = Orphans(hall.loop, Events())
    known: list[int] = []
    orphans.disowns = lambda pid: known.append(pid) or True  # type: ignore[func-returns-value]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        orphans.knocked(theirs, 812)
        assert ours.recv(1) == b""
    assert known == [812]
    assert orphans.alive == []


def test_one_that_has_ended_since_is_no_orphan_either(hall: Hall) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    orphans = Orphans(hall.loop, Events())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        orphans.knocked(theirs, ended.pid)
        assert ours.recv(1) == b""
    assert orphans.alive == []
