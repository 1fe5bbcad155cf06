"""Listeners, as control tells of them: what they are like, which sockets they get, whom their shield lets in. What is
told anew holds for whoever comes from now on; sessions keep what they began with.
"""

from __future__ import annotations

from typing import Any

from nlb.net.loop import Loop
from nlb.net.sockets import ListeningSocket
from nlb.net.tls import ServerContext
from nlb.observe.counters import Row
from nlb.observe.log import Log
from nlb.proxy.group import WorkerGroup
from nlb.proxy.guard import Guard, Shield
from nlb.proxy.listener import Listener, Session
from nlb.proxy.pipe import KernelPipes
from nlb.proxy.preface import HelloRule
from nlb.proxy.reports import Reports
from nlb.proxy.site import Site
from nlb.shield.cidr import Networks


class Opener:
    """Opens, changes and shuts the worker's listeners."""

    def __init__(
        self,
        loop: Loop,
        rows: list[Row],
        index: int,
        groups: dict[int, WorkerGroup],
        listeners: dict[int, Listener],
        sessions: dict[Session, None],
        guard: Guard,
        tickets: bytes,
        log: Log,
        reports: Reports,
    ) -> None:
        """`groups`, `listeners` and `sessions` are the worker's, `tickets` is the secret of session tickets."""
        self._loop = loop
        self._rows = rows
        self._row = rows[index]
        self._groups = groups
        self._listeners = listeners
        self._sessions = sessions
        self._guard = guard
        self._shields: dict[int, Shield] = {}  # by the listener's number
        self._tickets = tickets
        self._log = log
        self._reports = reports
        self._pipes = KernelPipes()

    def open(self, spec: dict[str, Any], fds: list[int]) -> None:
        """A new listener, or a known one with what is another now, and more sockets of it."""
        number = spec["number"]
        listener = self._listeners.get(number)
        if listener is None:
            listener = self._listeners[number] = Listener(
                spec["name"],
                self._loop,
                self._groups[spec["group"]],
                self._row.listener(number),
                [row.listener(number) for row in self._rows],
                self._pipes,
                self._sessions,
                None,
                self._reports.event,
                self._reports.bug,
            )
        listener.group = self._groups[spec["group"]]
        listener.site = Site(spec["http"], self._groups, self._row) if spec["http"] else None
        self._open_preface(listener, spec)
        listener.idle_timeout = spec["idle_timeout"]
        listener.max_connections = spec["max_connections"]
        listener.access_log = self._log if spec["access_log"] else None
        self._shield(listener, spec, fds[len(spec["binds"]) :])
        for bind, fd in zip(spec["binds"], fds, strict=False):  # behind them are the shield's
            listener.open(ListeningSocket(fd), bind, bind in spec.get("lasting", ()))

    def certify(self, number: int, tls: dict[str, Any]) -> None:
        """For handshakes from now on; connections keep what they have."""
        listener = self._listeners.get(number)
        if listener is not None:
            listener.tls = ServerContext(tls, self._tickets)

    def share_tickets(self, secret: bytes) -> None:
        """Another secret of session tickets."""
        self._tickets = secret
        for listener in self._listeners.values():
            if listener.tls is not None:
                listener.tls.share_tickets(secret)

    def shut(self, number: int, binds: list[str]) -> None:
        """Take what queues there, then accept there no more. Without sockets the listener is none."""
        listener = self._listeners[number]
        for bind in binds:
            listener.shut(bind)
        if not listener.is_open:
            del self._listeners[number]
            self._shields.pop(number)
            self._guard.forget(number)

    def arm(self) -> None:
        """A listener whose shield has nothing to do need not have it. Blocks come and go."""
        for number, shield in self._shields.items():
            self._listeners[number].shield = shield if shield else None

    def _open_preface(self, listener: Listener, spec: dict[str, Any]) -> None:
        """What clients have to say before their sessions begin."""
        tls, proxies = spec.get("tls"), spec.get("proxies")
        listener.tls = ServerContext(tls, self._tickets) if tls else None
        listener.asks_identity = tls is not None and tls["client_auth"] != "off"
        listener.handshake_timeout = spec.get("handshake_timeout", 0.0)
        listener.proxies = Networks(proxies) if proxies is not None else None
        listener.proxy_header_timeout = spec.get("proxy_header_timeout", 0.0)
        listener.hellos = tuple(
            HelloRule(rule["sni"], rule["alpn"], [(self._groups[number], weight) for number, weight in rule["forward"]])
            for rule in spec.get("hellos", ())
        )

    def _shield(self, listener: Listener, spec: dict[str, Any], fds: list[int]) -> None:
        """`fds` are the lists of `spec`: deny, then allow."""
        number, shield = spec["number"], spec["shield"]
        lists = [shield[key] for key in ("deny", "allow") if shield[key] is not None]
        for of_list, fd in zip(lists, fds, strict=True):
            self._guard.take_in(of_list, fd)
        rows = [row.listener(number) for row in self._rows]
        self._shields[number] = self._guard.shield(number, listener.name, shield, rows, listener.words)
        self.arm()
