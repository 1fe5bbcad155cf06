"""Servers that play a script, and probers that ask them, on one loop: so nothing depends on who is faster."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import pytest

from nlb.balance.health import Health
from nlb.balance.target import Target
from nlb.control.probe import Prober, Shared
from nlb.model.address import Address
from nlb.model.config import HealthCheck
from nlb.net.loop import READ, WRITE, Loop, Watch
from nlb.net.sockets import reset_on_close

# A bound for what takes milliseconds: a test that waits this long has failed.
PATIENCE = 10.0

RESET = "reset"


def bound(family: socket.AddressFamily, path: Path) -> tuple[socket.socket, Address]:
    """A socket with an address that nobody else can get, not listening yet."""
    sock = socket.socket(family)
    if family == socket.AF_UNIX:
        sock.bind(str(path))
        return sock, Address("", 0, str(path))
    try:
        sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    except OSError:
        sock.close()
        pytest.skip("this box has no IPv6")
    return sock, Address(*sock.getsockname()[:2])


class Server:
    """Plays a script to each connection: pieces to send one by one, at most one a turn; then it closes in order, or
    with RESET at the end. None instead of a piece: be silent from there on.

    It waits for `question` first, the end of a request; without one it greets. If `rude`, it says everything at once
    and reads nothing.
    """

    def __init__(
        self, loop: Loop, listener: socket.socket, script: list[Any], rude: bool = False, question: bytes = b"\r\n\r\n"
    ) -> None:
        self.loop = loop
        self.question = question
        self.listener = listener
        self.script = script
        self.rude = rude
        self.connections: list[Connection] = []
        listener.listen(16)
        listener.setblocking(False)
        self.watch = loop.watch(listener.fileno(), READ, self.accept, self)

    def accept(self, mask: int) -> None:
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        self.connections.append(Connection(self, sock))

    def crashed(self, error: Exception) -> None:
        raise error

    def close(self) -> None:
        self.watch.forget()
        self.listener.close()
        for connection in self.connections:
            connection.close()


class Connection:
    """`request` is what was asked, `end` how the prober's side ended: "closed", "reset", or "" so far."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.sock = sock
        self.question = server.question
        self.script = list(server.script)
        self.request = b""
        self.end = ""
        self.sent = 0
        self.closed = False
        self.watch: Watch = server.loop.watch(sock.fileno(), READ, self.listening, server)
        if not server.question:
            self.answer()
        while server.rude and not self.closed:
            self.answering(WRITE)

    def listening(self, mask: int) -> None:
        if self.ended():
            return self.close()
        if self.question in self.request and self.watch.events == READ:
            self.answer()
        return None

    def answer(self) -> None:
        self.watch.handler = self.answering
        self.watch.want(READ | WRITE)

    def answering(self, mask: int) -> None:
        if mask & READ and self.ended():
            return self.close()
        if self.script and self.script[0] is None:
            self.watch.handler = self.listening
            return self.watch.want(READ)
        if not self.script or self.script[0] == RESET:
            if self.script:
                reset_on_close(self.sock)
            return self.close()
        try:
            self.sent += self.sock.send(self.script[0])
        except BlockingIOError:
            return None
        except ConnectionError:
            self.end = "reset"
            return self.close()
        self.script.pop(0)
        return None

    def ended(self) -> bool:
        try:
            data = self.sock.recv(4096)
        except BlockingIOError:
            return False
        except ConnectionError:
            self.end = "reset"
            return True
        self.request += data
        if not data:
            self.end = "closed"
        return not data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.watch.forget()
            self.sock.close()


class FakeEvents:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, level: str, kind: str, text: str, **facts: str) -> None:
        self.said.append(text)

    def bug(self, error: Exception, where: str) -> None:
        raise error


class Stage:
    """A loop, servers and probers on it, and what was reported."""

    def __init__(self, tmp_path: Path) -> None:
        self.loop = Loop()
        self.path = tmp_path / "s"
        self.events = FakeEvents()
        self.shared = Shared(self.loop, Random(1), self.events)  # type: ignore[arg-type]
        self.reports: list[tuple[bool, str]] = []
        self.probers: list[Prober] = []
        self.servers: list[Server] = []

    def serve(
        self,
        *script: Any,
        family: socket.AddressFamily = socket.AF_INET,
        rude: bool = False,
        question: bytes = b"\r\n\r\n",
    ) -> tuple[Server, Address]:
        sock, address = bound(family, self.path)
        self.servers.append(Server(self.loop, sock, list(script), rude, question))
        return self.servers[-1], address

    def probe(
        self, address: Address, protocol: str = "http", proxy_protocol: str = "", server_name: str = "", **settings: Any
    ) -> Prober:
        check = HealthCheck(**{"protocol": protocol, "interval": 60, "timeout": 30, **settings})
        target = Target(0, "web01", "web", address)
        target.proxy_protocol = proxy_protocol
        target.server_name = server_name or target.server_name
        prober = Prober(self.shared, target, check, Health(2, 3), self.report)
        self.probers.append(prober)
        prober.start()
        return prober

    def report(self, ok: bool, detail: str, took: float) -> None:
        assert took >= 0
        self.reports.append((ok, detail))

    def verdict(self) -> tuple[bool, str]:
        """The first report, as soon as it is there."""
        self.until(lambda: bool(self.reports))
        return self.reports[0]

    def until(self, happened: Callable[[], bool]) -> None:
        end = monotonic() + PATIENCE
        while not happened():
            assert monotonic() < end, "it did not happen"
            self.loop.turn(0.1)

    def close(self) -> None:
        for prober in self.probers:
            prober.stop()
        for server in self.servers:
            server.close()
        self.loop.close()
