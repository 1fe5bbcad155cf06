"""Bodies pass without being held, however large they are."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.daemon import PATIENCE, Daemon, daemon
from tests.sites import UNASKED, edge, group
from tests.targets import Target
from tests.waiting import until
from tests.webclients import read_to

SIZE = 1 << 30
CHUNK = 100_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"

# Of the worker's own memory, whatever the size of a body.
MOST = 2 << 20


def swallow(sock: socket.socket, size: int) -> int:
    """Read so many bytes, which the kernel throws away; returns how many came before the end."""
    left, place = size, bytearray(1 << 20)
    while left and (got := sock.recv_into(place, min(left, len(place)), socket.MSG_TRUNC)):
        left -= got
    return size - left


class Depot(Target):
    """Sends as many zeros as the path of a GET says, with ?chunks in chunks; counts those that a POST brings."""

    def __init__(self, folder: Path) -> None:
        self.received = 0
        self._zeros = folder / "zeros"
        self._zeros.touch()
        os.truncate(self._zeros, SIZE)
        super().__init__(self._trade)

    def send(self, sock: socket.socket, size: int) -> None:
        with self._zeros.open("rb") as file:
            sock.sendfile(file, count=size)

    def _trade(self, sock: socket.socket) -> None:
        while line := _line(sock):
            method, path, _ = line.split(b" ", 2)
            size = int(path[1:].partition(b"?")[0])
            while _line(sock) != b"":
                pass
            if method == b"POST":
                self.received += swallow(sock, size)
                sock.sendall(HEAD % 0)
            elif method == b"GET" and path.endswith(b"?chunks"):
                sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(size // CHUNK):
                    sock.sendall(b"%x\r\n%b\r\n" % (CHUNK, bytes(CHUNK)))
                sock.sendall(b"0\r\n\r\n")
            elif method == b"GET":
                sock.sendall(HEAD % size)
                self.send(sock, size)


def _line(sock: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        data = sock.recv(1)
        if not data:
            return b""
        line += data
    return line[:-2]


def memory(nlb: Daemon) -> int:
    """Bytes that are the worker's own."""
    return int(psutil.Process(nlb.workers()[0]["pid"]).memory_full_info().uss)


def test_a_gibibyte_each_way_leaves_no_trace(tmp_path: Path, stack: ExitStack) -> None:
    depot = stack.enter_context(Depot(tmp_path))
    nlb = stack.enter_context(daemon(tmp_path, edge() + group([depot])))
    with socket.create_connection(("127.0.0.1", nlb.port), PATIENCE) as sock:

        def trade(size: int) -> None:
            sock.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % size)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            assert swallow(sock, size) == size
            sock.sendall(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (size, size))
            depot.send(sock, size)
            assert read_to(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")

        trade(1 << 22)  # once through: buffers are there
        before = memory(nlb)
        trade(SIZE)
        assert memory(nlb) - before < MOST
    assert depot.received == SIZE + (1 << 22)
    assert depot.accepted == 1
    until(lambda: nlb.listener("edge")["sent"] >= SIZE, PATIENCE)
    assert nlb.listener("edge")["received"] >= SIZE
    until(lambda: nlb.targets()["t1"]["sent"] >= SIZE, PATIENCE)


def test_chunks_leave_no_trace_either(tmp_path: Path, stack: ExitStack) -> None:
    depot = stack.enter_context(Depot(tmp_path))
    nlb = stack.enter_context(daemon(tmp_path, edge() + group([depot])))

    def fetch(size: int) -> int:
        with socket.create_connection(("127.0.0.1", nlb.port), PATIENCE) as sock:
            sock.sendall(b"GET /%d?chunks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % size)
            return swallow(sock, 1 << 62)

    fetch(1 << 22)
    before = memory(nlb)
    assert fetch(200 * CHUNK * 10) > 200 * CHUNK * 10
    assert memory(nlb) - before < MOST


def test_slow_readers_cost_no_memory(tmp_path: Path, stack: ExitStack) -> None:
    """Twenty who read nothing more: what they do not take stays with the target."""
    depot = stack.enter_context(Depot(tmp_path))
    nlb = stack.enter_context(daemon(tmp_path, edge() + group([depot], f"response_timeout = 600\n{UNASKED}")))

    def slow(count: int) -> None:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", nlb.port), PATIENCE))
            sock.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % SIZE)
            assert sock.recv(1) == b"H"

    slow(2)
    before = memory(nlb)
    slow(20)
    moved = [-1, 0]

    def stands_still() -> bool:
        moved.append(nlb.targets()["t1"]["sent"])
        return moved[-1] == moved[-2] > 20 << 16

    until(stands_still, PATIENCE, between=nlb.publishes)
    assert memory(nlb) - before < 20 * (300 << 10)
