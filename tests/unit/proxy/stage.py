"""A listener with a group behind it, and every connection played by the test."""

from __future__ import annotations

import errno
import socket
from mmap import mmap
from random import Random
from typing import Any

from nlb.balance.target import Target
from nlb.model.address import Address
from nlb.observe import counters
from nlb.observe.counters import ACTIVE, OUTCOME_WORD, Row
from nlb.observe.log import Log
from nlb.proxy.group import WorkerGroup
from nlb.proxy.listener import Listener
from nlb.proxy.pipe import KernelPipes
from nlb.proxy.tcp import TcpSession
from tests.fakes import Dialled, Door, End, HandLoop

Dial = End | int | Exception  # joined at once or being connected; failed with an errno; no socket could be made


class NoPipes(KernelPipes):
    """Scripted ends cannot be spliced: bytes are copied."""

    def take(self) -> tuple[int, int] | None:
        return None


# What control says of a group.
SPEC: dict[str, Any] = {
    "name": "web",
    "policy": "round_robin",
    "hash_key": "flow",
    "max_load": None,
    "slow_start": 0.0,
    "queue": 100,
    "queue_timeout": 5.0,
    "tries": 3,
    "connect_timeout": 5.0,
    "source": [],
    "transparent": False,
    "http": None,
}


def two_rows() -> list[Row]:
    """Counters of two workers. Of mapped memory only what is written to takes room, and time."""
    memory = memoryview(mmap(-1, counters.size(2)))
    return [Row(memory, index) for index in range(2)]


class Play:
    """One listener, one group of targets a, b, c, and their counters. `dials` says how dialling goes, in order."""

    def __init__(
        self,
        *dials: Dial,
        targets: str = "abc",
        health: str = "healthy",
        limit: int = 100,
        elsewhere: int = 0,
        access_log: Log | None = None,
        room: int | None = None,
        **settings: Any,
    ) -> None:
        """`limit` is the listener's, `room` every target's, `elsewhere` what the listener has in another worker;
        `settings` are the group's."""
        self.loop = HandLoop()
        self.dials = list(dials)
        self.dialled: list[str] = []  # names of targets
        self.failed: list[tuple[str, str]] = []  # (target, cause) as told to control
        self.events: list[tuple[str, str]] = []
        self.bugs: list[tuple[Exception, str]] = []
        self.sessions: dict[TcpSession, None] = {}
        self.row, self.other_row = two_rows()
        self.targets = {name: self._target(number, name, health, room) for number, name in enumerate(targets)}
        self.group = self._group(SPEC | settings)
        self.words = self.row.listener(0)
        self.listener = Listener(
            "front",
            self.loop,  # type: ignore[arg-type]
            self.group,
            self.words,
            [self.words, self.other_row.listener(0)],
            NoPipes(),
            self.sessions,
            access_log,
            lambda level, text: self.events.append((level, text)),
            lambda error, where: self.bugs.append((error, where)),
        )
        self.other_row.listener(0)[ACTIVE] = elsewhere
        self.listener.max_connections = limit
        self.listener.idle_timeout = 350.0
        self.door = Door()
        self.loop.know(self.door)
        self.listener.open(self.door)  # type: ignore[arg-type]

    def arrives(self, client: End | None = None, address: Any = ("192.0.2.7", 40000)) -> End:
        """A client connects, and everything that can happen happens."""
        client = self.queues(client, address)
        self.loop.settle()
        return client

    def queues(self, client: End | None = None, address: Any = ("192.0.2.7", 40000)) -> End:
        """A client connects; the loop does not turn yet."""
        client = client or End()
        client.peer = address
        self.loop.know(client)
        self.door.queue.append((client, address))
        return client

    def mark(self, name: str, **facts: Any) -> None:
        """Facts about a target changed: admin, health, resolve, weight or max_connections."""
        target = self.targets[name]
        target.weight = facts.pop("weight", target.weight)
        target.max_connections = facts.pop("max_connections", target.max_connections)
        for fact, state in facts.items():
            getattr(target, fact).state = state
        self.group.rebuild()
        self.loop.settle()

    def sweep(self, seconds: float = 1.0) -> None:
        """Time passes, and the worker makes its round."""
        self.loop.pass_time(seconds)
        for session in list(self.sessions):
            session.sweep(self.loop.now)
        self.loop.settle()

    @property
    def session(self) -> TcpSession:
        """The only one."""
        (session,) = self.sessions
        return session

    @property
    def outcomes(self) -> dict[str, int]:
        """How sessions ended, and how often."""
        return {outcome: self.words[word] for outcome, word in OUTCOME_WORD.items() if self.words[word]}

    @property
    def active(self) -> dict[str, int]:
        """Every gauge that is not 0."""
        gauges = {"front": self.words[ACTIVE], **{name: self.row.target(t.id)[ACTIVE] for name, t in self._numbered()}}
        return {name: value for name, value in gauges.items() if value}

    def target_words(self, word: int) -> dict[str, int]:
        """One word of every target, where it is not 0."""
        found = {name: self.row.target(target.id)[word] for name, target in self._numbered()}
        return {name: value for name, value in found.items() if value}

    def _numbered(self) -> list[tuple[str, Target]]:
        return list(self.targets.items())

    def _group(self, spec: dict[str, Any]) -> WorkerGroup:
        group = WorkerGroup(
            self.loop,  # type: ignore[arg-type]
            self,
            self.row.group(0),
            [self.row.group(0), self.other_row.group(0)],
            self._connect_failed,
            lambda level, text: self.events.append((level, text)),
            self._dial,
        )
        group.load(spec, list(self.targets.values()), 0, Random(1).random)
        group.rebuild()
        return group

    def crashed(self, error: Exception) -> None:
        """Something failed that belongs to no session."""
        raise error

    def _target(self, number: int, name: str, health: str, room: int | None) -> Target:
        target = Target(number, name, "web", Address("192.0.2.100", 3000 + number), max_connections=room)
        target.health.state = health
        target.words = self.row.target(number)
        target.rows = (self.row.sessions, self.other_row.sessions)
        return target

    def _dial(self, address: Address) -> tuple[socket.socket, int]:
        self.dialled.append("abcdefgh"[address.port - 3000])
        dial = self.dials.pop(0)
        if isinstance(dial, Exception):
            raise dial
        end = End() if isinstance(dial, int) else dial
        self.loop.know(end)
        error = dial if isinstance(dial, int) else errno.EINPROGRESS if isinstance(dial, Dialled) else 0
        return end, error  # type: ignore[return-value]

    def _connect_failed(self, target: Target, cause: str) -> None:
        self.failed.append((target.name, cause))
