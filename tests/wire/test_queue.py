"""The queue over real sockets: two workers that share their counts, each with its own loop, in front of one target."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from nlb.balance.target import Target as Served
from nlb.model.address import Address
from nlb.net.loop import Loop
from nlb.net.sockets import bound_to, listen
from nlb.observe import counters
from nlb.observe.counters import ACCEPTED, OUTCOME_WORD, QUEUED, Row
from nlb.proxy.group import WorkerGroup
from nlb.proxy.listener import Listener
from nlb.proxy.pipe import KernelPipes
from nlb.proxy.tcp import TcpSession
from tests.targets import Target, echo
from tests.waiting import until

SPEC: dict[str, Any] = {
    "name": "web",
    "policy": "least_connections",
    "hash_key": "flow",
    "max_load": None,
    "slow_start": 0.0,
    "queue": 10,
    "queue_timeout": 60.0,
    "tries": 3,
    "connect_timeout": 5.0,
    "source": [],
    "transparent": False,
    "http": None,
}


class Worker:
    """One worker's part of the data path, on a port of its own."""

    def __init__(self, rows: list[Row], index: int, servers: list[Target], room: int, settings: dict[str, Any]) -> None:
        self.loop = Loop()
        self.sessions: dict[TcpSession, None] = {}
        self.bugs: list[Exception] = []
        row = rows[index]
        everywhere = [row.group(0) for row in rows]
        self.group = WorkerGroup(self.loop, self, row.group(0), everywhere, lambda *_: None, lambda *_: None)
        targets = [self._target(number, server.port, room, rows, row) for number, server in enumerate(servers)]
        self.group.load(SPEC | settings, targets, index, Random(index).random)
        self.group.rebuild()
        self.words = row.listener(0)
        everyone = [row.listener(0) for row in rows]
        self.listener = Listener(
            "in",
            self.loop,
            self.group,
            self.words,
            everyone,
            KernelPipes(),
            self.sessions,
            None,
            lambda level, text: None,
            lambda error, where: self.bugs.append(error),
        )
        self.listener.idle_timeout = 350.0
        self.listener.max_connections = 1000
        (sock,) = listen(Address("127.0.0.1", 0), 1)
        self.port = bound_to(sock).port
        self.listener.open(sock)

    def _target(self, number: int, port: int, room: int, rows: list[Row], row: Row) -> Served:
        target = Served(number, f"web{number}", "web", Address("127.0.0.1", port), max_connections=room)
        target.words = row.target(number)
        target.rows = tuple(row.sessions for row in rows)
        target.health.state = "healthy"
        return target

    def crashed(self, error: Exception) -> None:
        self.bugs.append(error)

    @property
    def queued(self) -> int:
        return self.group.words[QUEUED]

    def ended(self, outcome: str) -> int:
        return self.words[OUTCOME_WORD[outcome]]

    def close(self) -> None:
        self.loop.post(self._end, self)  # in a turn, as everything that closes
        self.loop.turn(0)
        self.loop.close()

    def _end(self) -> None:
        self.listener.close()
        for session in list(self.sessions):
            session.close("shutdown")


class Box:
    """Workers and their clients. Nothing moves but in `until`."""

    def __init__(self, servers: list[Target], room: int, **settings: Any) -> None:
        memory = memoryview(bytearray(counters.size(2)))
        rows = [Row(memory, index) for index in range(2)]
        self.workers = [Worker(rows, index, servers, room, settings) for index in range(2)]
        self.clients: list[socket.socket] = []

    def connect(self, worker: int) -> socket.socket:
        """A client of this worker, that has said its number and has been accepted."""
        words = self.workers[worker].words
        accepted = words[ACCEPTED]
        sock = socket.create_connection(("127.0.0.1", self.workers[worker].port))
        sock.setblocking(False)
        self.clients.append(sock)
        sock.send(b"%d" % len(self.clients))
        self.until(lambda: words[ACCEPTED] > accepted)
        return sock

    def until(self, condition: Any) -> None:
        until(condition, between=self.turn)

    def turn(self) -> None:
        for worker in self.workers:
            worker.loop.turn(0.001)

    def is_served(self, sock: socket.socket) -> bool:
        """Has its target answered?"""
        try:
            return bool(sock.recv(100, socket.MSG_PEEK))
        except BlockingIOError:
            return False

    def serves(self, *socks: socket.socket) -> None:
        """Wait until all of these are."""
        self.until(lambda: all(self.is_served(sock) for sock in socks))

    def close(self) -> None:
        for sock in self.clients:
            sock.close()
        for worker in self.workers:
            worker.close()
        assert [worker.bugs for worker in self.workers] == [[], []]


@pytest.fixture
def servers() -> Iterator[list[Target]]:
    with Target(echo) as one, Target(echo) as two:
        yield [one, two]


@pytest.fixture
def box(servers: list[Target]) -> Iterator[Any]:
    boxes: list[Box] = []

    def make(targets: int = 1, room: int = 1, **settings: Any) -> Box:
        boxes.append(Box(servers[:targets], room, **settings))
        return boxes[-1]

    yield make
    for made in boxes:
        made.close()


def test_a_place_goes_from_client_to_client(box: Any) -> None:
    web = box()
    first, second, third = (web.connect(0) for _ in range(3))
    web.serves(first)
    web.until(lambda: web.workers[0].queued == 2)
    first.close()
    web.serves(second)
    assert not web.is_served(third)
    second.close()
    web.serves(third)
    assert third.recv(10) == b"3"


def test_a_place_goes_from_worker_to_worker(box: Any) -> None:
    web = box()
    first, second = web.connect(0), web.connect(1)
    web.serves(first)
    web.until(lambda: web.workers[1].queued == 1)
    first.close()
    web.serves(second)


def test_two_workers_together_keep_the_limit(box: Any, servers: list[Target]) -> None:
    """Ten clients of each, three places at each of two targets: never more than one too many per target."""
    web = box(targets=2, room=3, queue=20)
    clients = [web.connect(number % 2) for number in range(20)]
    served: list[socket.socket] = []
    targets = [web.workers[0].group.balance.targets[number] for number in range(2)]
    while clients:
        web.until(lambda: any(web.is_served(sock) for sock in clients))
        assert all(target.sessions <= 4 for target in targets)
        for sock in [sock for sock in clients if web.is_served(sock)]:
            clients.remove(sock)
            served.append(sock)
            sock.close()
    assert len(served) == 20
    assert sum(server.accepted for server in servers) == 20


def test_a_worker_without_places_gets_one_though_another_always_has_somebody_waiting(box: Any) -> None:
    """Worker 0 has every place and gives it on at once, for ever; worker 1 cannot even see that it was free."""
    web = box()
    clients = [web.connect(0) for _ in range(3)]
    web.serves(clients[0])
    patient = web.connect(1)

    def goes_on() -> None:
        web.turn()
        if web.is_served(clients[0]):
            clients.pop(0).close()
            clients.append(web.connect(0))

    until(lambda: web.is_served(patient), between=goes_on)


def test_who_waits_too_long_is_reset(box: Any) -> None:
    web = box(queue_timeout=0.05)
    web.serves(web.connect(0))
    late = web.connect(0)
    web.until(lambda: web.workers[0].ended("pick/queue_timeout") == 1)
    with pytest.raises(ConnectionResetError):
        web.until(lambda: web.is_served(late))


def test_a_full_queue_resets_at_once(box: Any) -> None:
    web = box(queue=1)
    web.serves(web.connect(0))
    web.connect(1)
    web.until(lambda: web.workers[1].queued == 1)
    late = socket.create_connection(("127.0.0.1", web.workers[0].port))
    web.clients.append(late)
    web.until(lambda: web.workers[0].ended("pick/queue_full") == 1)
    with pytest.raises(ConnectionResetError):
        late.recv(1)


def test_a_client_that_resets_while_it_waits_gives_its_place_on(box: Any) -> None:
    """It is not read while it waits, so that is seen when its turn comes."""
    web = box()
    first, second, third = (web.connect(0) for _ in range(3))
    web.serves(first)
    web.until(lambda: web.workers[0].queued == 2)
    second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    second.close()
    first.close()
    web.serves(third)


def test_sessions_over_two_workers_spread_as_least_connections(box: Any) -> None:
    web = box(targets=2, room=100)
    clients = [web.connect(number % 2) for number in range(11)]
    web.serves(*clients)
    counts = [target.sessions for target in web.workers[0].group.balance.targets]
    assert sorted(counts) == [5, 6]
