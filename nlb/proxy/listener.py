"""One listening address in this worker: accepts in bursts, refuses what is over the limit, begins sessions."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection
from time import time
from typing import NamedTuple

from nlb.balance.target import Target
from nlb.net.loop import READ, Loop, Watch
from nlb.net.sockets import BACKLOG, WOULD_BLOCK, reset_on_close
from nlb.observe import counters
from nlb.observe.counters import ACCEPTED, ACTIVE, OUTCOME_WORD, Words, observe
from nlb.observe.lines import NUMBER, SECONDS, TEXT, WORD, Layout, optional
from nlb.observe.log import Log
from nlb.proxy.group import WorkerGroup
from nlb.proxy.pipe import KernelPipes
from nlb.proxy.tcp import TcpSession

# Accepted per wake-up: enough to amortise the wake-up, few enough that sessions do not wait.
BURST = 32

# Seconds without accepting when no descriptor is left. Level-triggered, we would spin on it.
PAUSE = 0.1

# Seconds without a pause after which a shortage is over. While it lasts, every session that ends makes room for one.
CALM = 1.0

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Report = Callable[[str, str], None]  # level, text

# The access line. Its time is the session's end; `connect` counts from the beginning, `first_byte` from the connect.
SESSION = Layout(
    "session",
    {
        "outcome": WORD,
        "listener": WORD,
        "client": TEXT,
        "group": WORD,
        "target": optional(WORD),
        "duration": SECONDS,
        "connect": optional(SECONDS),
        "first_byte": optional(SECONDS),
        "received": NUMBER,
        "sent": NUMBER,
        "tries": NUMBER,
    },
)


class Listener:
    """A listener of the config in this worker: all its sockets, its group, its limit, its sessions."""

    def __init__(
        self,
        name: str,
        loop: Loop,
        group: WorkerGroup,
        words: Words,
        everywhere: list[Words],
        pipes: KernelPipes,
        sessions: dict[TcpSession, None],
        access_log: Log | None,
        report: Report,
        report_bug: Callable[[Exception, str], None],
    ) -> None:
        """`words` are this worker's counters, `everywhere` those of all workers: the limit is the box's."""
        self.name = name
        self.loop = loop
        self.group = group
        self.words = words
        self.pipes = pipes
        self.sessions = sessions
        self.report_bug = report_bug
        self.idle_timeout = 0.0
        self.max_connections = 0
        self._everywhere = everywhere
        self.access_log = access_log
        self._report = report
        self._doors: list[_Door] = []
        self._short = False  # of descriptors, or of memory
        self._paused_at = 0.0

    @property
    def is_open(self) -> bool:
        return bool(self._doors)

    @property
    def open_at(self) -> list[tuple[str, socket.socket]]:
        """What it accepts on, each with its bind."""
        return [(door.bind, door.sock) for door in self._doors]

    def open(self, sock: socket.socket, bind: str = "", lasts: bool = False) -> None:
        """Accept on `sock`, which is the listener's from now on; `bind` is what the config calls it. One that `lasts`
        will have another to accept on it when we end."""
        watch = self.loop.watch(sock.fileno(), READ, _Acceptor(self, sock).ready, self)
        self._doors.append(_Door(bind, sock, watch, lasts))

    def shut(self, bind: str) -> None:
        """Take what queues there already, then accept there no more."""
        for door in [door for door in self._doors if door.bind == bind]:
            self._shut(door)

    def close(self, handed_on: Collection[str] = ()) -> None:
        """As `shut`, everywhere. But what queues where others accept after us is theirs: where the socket lasts, and
        at the binds that were handed on."""
        for door in list(self._doors):
            if door.lasts or door.bind in handed_on:
                self._leave(door)
            else:
                self._shut(door)

    def _shut(self, door: _Door) -> None:
        # A connection in the queue has been promised to its client by the kernel's handshake. What comes while
        # we empty it is another matter: under a flood there would be no end.
        for _ in range(BACKLOG):
            if not self._accept(door.sock):
                break
        self._leave(door)

    def _leave(self, door: _Door) -> None:
        self._doors.remove(door)
        door.watch.forget()
        self.loop.close_later(door.sock)

    def burst(self, sock: socket.socket) -> None:
        for _ in range(BURST):
            if not self._accept(sock):
                return

    def _accept(self, sock: socket.socket) -> bool:
        """One connection; False when there is none."""
        try:
            client, address = sock.accept()
        except WOULD_BLOCK:
            return False
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                self._pause(error)
                return False
            return True  # this one went away while it queued (ECONNABORTED and its like); the next may be there
        if self._short and self.loop.now - self._paused_at > CALM:
            self._short = False
            self._report("info", f"listener {self.name}: accepting again")
        words = self.words
        words[ACCEPTED] += 1
        if sum([row[ACTIVE] for row in self._everywhere]) >= self.max_connections:
            words[OUTCOME_WORD["accept/limit"]] += 1
            reset_on_close(client)
            client.close()
            return True
        client.setblocking(False)
        words[ACTIVE] += 1
        session = TcpSession(self, client, address)
        self.sessions[session] = None
        session.begin()
        return True

    def ended(self, session: TcpSession, target: Target | None) -> None:
        """Count a session that closed; `target` is the last it had."""
        words = self.words
        del self.sessions[session]
        words[ACTIVE] -= 1
        words[OUTCOME_WORD[session.outcome]] += 1
        observe(words, counters.DURATIONS, counters.DURATION, self.loop.now - session.began)
        if self.access_log:
            self._write_down(session, target, self.access_log)

    def crashed(self, error: Exception) -> None:
        self.words[OUTCOME_WORD["accept/bug"]] += 1
        self.report_bug(error, f"listener {self.name}")

    def _write_down(self, session: TcpSession, target: Target | None, log: Log) -> None:
        began, connected_at, answered_at = session.began, session.connected_at, session.answered_at
        log.write(
            SESSION,
            time(),
            [
                session.outcome,
                self.name,
                session.client_name,
                session.group.balance.name,
                target.name if target else None,
                self.loop.now - began,
                connected_at - began if connected_at else None,
                answered_at - connected_at if answered_at else None,
                session.counted_up,
                session.counted_down,
                len(session.tried) + (target is not None),
            ],
        )

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: leave the queue to the kernel for a moment. Said once per shortage."""
        self._paused_at = self.loop.now
        if not self._short:
            self._short = True
            self._report("error", f"listener {self.name}: accepting pauses: {error.strerror}; raise LimitNOFILE")
        for door in self._doors:
            door.watch.want(0)
        self.loop.call_at(self.loop.now + PAUSE, self._resume, self)

    def _resume(self) -> None:
        for door in self._doors:
            door.watch.want(READ)


class _Door(NamedTuple):
    """One socket that is accepted on."""

    bind: str
    sock: socket.socket
    watch: Watch
    lasts: bool


class _Acceptor:
    """Joins a descriptor's events to the socket they are about."""

    __slots__ = ("listener", "sock")

    def __init__(self, listener: Listener, sock: socket.socket) -> None:
        self.listener = listener
        self.sock = sock

    def ready(self, mask: int) -> None:
        self.listener.burst(self.sock)
