"""One listening address in this worker: accepts in bursts, refuses what is over the limit, begins sessions."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection
from time import time
from typing import Any, NamedTuple

from nlb.balance.target import Target
from nlb.net.loop import READ, Loop, Watch
from nlb.net.sockets import BACKLOG, WOULD_BLOCK, reset_on_close
from nlb.net.tls import Connection, ServerContext, TlsSocket
from nlb.observe import counters
from nlb.observe.access import REQUEST, SESSION
from nlb.observe.counters import ACCEPTED, ACTIVE, EXCHANGE_OUTCOME_WORD, OUTCOME_WORD, Words, observe
from nlb.observe.log import Log
from nlb.proxy import accounts
from nlb.proxy.exchange import Exchange
from nlb.proxy.group import WorkerGroup
from nlb.proxy.guard import Shield, accepted
from nlb.proxy.http import HttpSession
from nlb.proxy.introduction import identity_of
from nlb.proxy.pipe import KernelPipes
from nlb.proxy.preface import HelloRule, Preface
from nlb.proxy.site import Site
from nlb.proxy.tcp import TcpSession
from nlb.shield.cidr import Networks
from nlb.shield.sources import NOBODY, Source
from nlb.shield.words import BLOCKED, DENIED, LIMIT, RATE, SOURCE_LIMIT

# Accepted per wake-up: enough to amortise the wake-up, few enough that sessions do not wait.
BURST = 32

# Seconds without accepting when no descriptor is left. Level-triggered, we would spin on it.
PAUSE = 0.1

# Seconds without a pause after which a shortage is over. While it lasts, every session that ends makes room for one.
CALM = 1.0

# Why a connection was reset at once -> the word that counts it.
_TURNED_AWAY = {word: OUTCOME_WORD[f"accept/{word}"] for word in (DENIED, BLOCKED, LIMIT, SOURCE_LIMIT, RATE)}

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Report = Callable[[str, str], None]  # level, text
Session = TcpSession | HttpSession | Preface


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
        sessions: dict[Session, None],
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
        self.site: Site | None = None  # of http; None is tcp
        # What clients have to say before all else; None and () where nothing is wanted.
        self.tls: ServerContext | None = None
        self.asks_identity = False  # for a certificate of the client's
        self.proxies: Networks | None = None  # whose PROXY header is wanted, and believed
        self.hellos: tuple[HelloRule, ...] = ()
        self.proxy_header_timeout = self.handshake_timeout = 0.0
        self.shield: Shield | None = None  # while it has something to ask or to count
        self._entered: dict[Session, tuple[Shield, int]] = {}  # whom it counts, until they leave
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
    def is_leaving(self) -> bool:
        """Nobody can connect any more, so what is connected shall end when it can."""
        return not self._doors

    @property
    def open_at(self) -> list[tuple[str, socket.socket]]:
        """What it accepts on, each with its bind."""
        return [(door.bind, door.acceptor.sock) for door in self._doors]

    def open(self, sock: socket.socket, bind: str = "", lasts: bool = False) -> None:
        """Accept on `sock`, which is the listener's from now on; `bind` is what the config calls it. One that `lasts`
        will have another to accept on it when we end."""
        acceptor = _Acceptor(self, sock, _port(sock))
        watch = self.loop.watch(sock.fileno(), READ, acceptor.ready, self)
        self._doors.append(_Door(bind, acceptor, watch, lasts))

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
            if not self._accept(door.acceptor):
                break
        self._leave(door)

    def _leave(self, door: _Door) -> None:
        self._doors.remove(door)
        door.watch.forget()
        self.loop.close_later(door.acceptor.sock)
        if self.is_leaving:
            for session in [session for session in self.sessions if session.listener is self]:
                session.retire()

    def burst(self, acceptor: _Acceptor) -> None:
        """One, and twice as many each time as long as they are there: to ask once more and hear that nobody is costs as
        much as to accept one."""
        for _ in range(acceptor.burst):
            if not self._accept(acceptor):
                acceptor.burst = 1
                return
        acceptor.burst = min(2 * acceptor.burst, BURST)

    def _accept(self, acceptor: _Acceptor) -> bool:
        """One connection; False when there is none."""
        try:
            client, address = acceptor.sock.accept()
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
        shield, source, word = self.shield, NOBODY, ""
        if shield is not None:
            source = accepted(address)
            word = shield.judge(source) if self.proxies is None else shield.judge_proxy(source)
        if word or sum([row[ACTIVE] for row in self._everywhere]) >= self.max_connections:
            words[_TURNED_AWAY[word or LIMIT]] += 1
            reset_on_close(client)
            client.close()
            return True
        client.setblocking(False)
        words[ACTIVE] += 1
        session: Session
        if self.tls is not None or self.proxies is not None or self.hellos:
            session = Preface(self, client, address, acceptor.port)
        else:
            session = self._session(client, address, acceptor.port)
        self.sessions[session] = None
        if shield is not None and self.proxies is None:
            self._enter(session, shield, source)
        session.begin()
        return True

    def judge_client(self, session: Session, address: Any) -> str:
        """Of whom a trusted proxy told, after its header: the word that refuses, or "" and the session counts as one of
        the client's. `address` is as accept would have said it."""
        shield = self.shield
        if shield is None:
            return ""
        source = accepted(address)
        word = shield.judge_client(source)
        if not word:
            self._enter(session, shield, source)
        return word

    def offended(self, address: Any, offence: str) -> None:
        """A client did what may get it blocked: a word of shield/offences.py."""
        if self.shield is not None:
            self.shield.offended(accepted(address), offence)

    def _enter(self, session: Session, shield: Shield, source: Source) -> None:
        ticket = shield.enter(source)
        if ticket is not None:
            self._entered[session] = shield, ticket

    def _leave_shield(self, session: Session) -> None:
        shield, ticket = self._entered.pop(session, (None, 0))
        if shield is not None:
            shield.leave(ticket)

    def _session(self, client: Connection, address: Any, port: int) -> TcpSession | HttpSession:
        if self.site is None:
            return TcpSession(self, client, address)
        return HttpSession(self, client, address, port)

    def prefaced(self, preface: Preface) -> None:
        """A client has said what it had to: its session begins."""
        session = self._session(preface.tls or preface.client, preface.client_address, preface.port)
        session.began = preface.began
        self.replaced(preface, session)
        watch = preface.client_watch
        assert watch is not None
        if isinstance(session, HttpSession):
            if self.asks_identity and preface.tls is not None:
                session.identity = identity_of(preface.tls)
            return session.begin(watch)
        watch.forget()
        if preface.group is not None:
            session.group = preface.group
        return session.begin()

    def shook_hands(self, tls: TlsSocket) -> None:
        """Count a TLS handshake."""
        self.words[counters.TLS_RESUMED if tls.is_resumed else counters.TLS_FULL] += 1

    def ended(self, session: Session, target: Target | None = None) -> None:
        """Count a session that closed; `target` is the last it had."""
        words = self.words
        del self.sessions[session]
        if self._entered:
            self._leave_shield(session)
        words[ACTIVE] -= 1
        words[OUTCOME_WORD[session.outcome]] += 1
        observe(words, counters.DURATIONS, counters.DURATION, self.loop.now - session.began)
        if self.access_log and isinstance(session, TcpSession) and session.exchange is None:
            self.access_log.write(SESSION, time(), accounts.of_session(session, target))

    def exchanged(self, exchange: Exchange, target: Target | None) -> None:
        """Count an exchange that ended."""
        words, now = self.words, self.loop.now
        words[EXCHANGE_OUTCOME_WORD[exchange.outcome]] += 1
        if exchange.route is not None:
            exchange.route[exchange.status // 100] += 1
        if exchange.is_routed:
            group = exchange.group.words
            group[counters.HTTP_REQUESTS] += 1
            if exchange.status != 101:  # a tunnel lasts as long as it likes
                observe(group, counters.REQUEST_DURATIONS, counters.LATENCY, now - exchange.began)
        if self.access_log and exchange.session.site.is_logged(exchange.request):
            self.access_log.write(REQUEST, time(), accounts.of_exchange(exchange, target))

    def replaced(self, session: Session, successor: Session) -> None:
        """A session goes on as another."""
        del self.sessions[session]
        self.sessions[successor] = None
        if session in self._entered:
            self._entered[successor] = self._entered.pop(session)

    def crashed(self, error: Exception) -> None:
        self.words[OUTCOME_WORD["accept/bug"]] += 1
        self.report_bug(error, f"listener {self.name}")

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


class _Acceptor:
    """Joins a descriptor's events to the socket they are about."""

    __slots__ = ("burst", "listener", "port", "sock")

    def __init__(self, listener: Listener, sock: socket.socket, port: int) -> None:
        self.listener = listener
        self.sock = sock
        self.port = port
        self.burst = 1  # connections to accept when it wakes up next

    def ready(self, mask: int) -> None:
        self.listener.burst(self)


class _Door(NamedTuple):
    """One socket that is accepted on."""

    bind: str
    acceptor: _Acceptor
    watch: Watch
    lasts: bool


def _port(sock: socket.socket) -> int:
    """0 for a unix socket."""
    name = sock.getsockname()
    return name[1] if isinstance(name, tuple) else 0
