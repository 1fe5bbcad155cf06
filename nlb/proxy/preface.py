"""What a connection has to say before its session begins: whom it is made for (PROXY header), whom it asks for (the
name in a TLS ClientHello), and that it can keep a secret (the TLS handshake). Each step is left out where the listener
does not want it.

    proxy header ──> hello ──> handshake ──> the session, in our place
         │             │           │
         └─────────────┴───────────┴─ late, wrong, gone: ended as preface/cause, and nothing of it reaches a target

Headers and hellos are looked at where they lie, in the kernel's buffer (MSG_PEEK), and only a header is taken, when it
is complete: what comes behind is still there for whoever reads next.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from random import random
from ssl import SSLWantWriteError
from typing import TYPE_CHECKING, Any

from nlb.balance.target import Target
from nlb.http1.replies import PLAIN, reply
from nlb.net.client_hello import Hello, NotTls
from nlb.net.client_hello import parse as parse_hello
from nlb.net.loop import BROKEN, HUNG_UP, READ, WRITE, Watch
from nlb.net.proxy_protocol.header import Header
from nlb.net.proxy_protocol.reading import parse as parse_header
from nlb.net.proxy_protocol.refusal import LARGEST, BadProxyHeader
from nlb.net.sockets import WOULD_BLOCK, reset_on_close, spelled, wait_for_more
from nlb.net.tls import HANDSHAKE_CAUSES, ServerContext, TlsSocket, handshake_cause
from nlb.shield.patterns import Patterns

if TYPE_CHECKING:
    from nlb.proxy.group import WorkerGroup
    from nlb.proxy.listener import Listener

# Bytes of a ClientHello that are looked at; more is no client's that we know.
_LARGEST_HELLO = 16384 + 5

# Endings that the client has been told of already, by an alert of TLS or in words; all others are resets.
_SAID = (*HANDSHAKE_CAUSES, "bug")

_PLAIN_HTTP = reply(400, b"This port speaks HTTPS. Write https:// in the address.\n", PLAIN, close=True)


class HelloRule:
    """A rule of a listener that passes TLS on: by what a client says in its hello, to which group."""

    __slots__ = ("_alpn", "_groups", "_names", "_weights")

    def __init__(self, names: list[str], alpn: list[str], groups: list[tuple[WorkerGroup, int]]) -> None:
        """Any of these names, or all where there is none; likewise the protocols. Groups with their weights."""
        self._names = Patterns(names) if names else None
        self._alpn = frozenset(name.encode() for name in alpn)
        self._groups = [group for group, _ in groups]
        self._weights = [weight for _, weight in groups]

    def matches(self, hello: Hello) -> bool:
        if self._names is not None and not self._names.match(hello.name.encode()):
            return False
        return not self._alpn or not self._alpn.isdisjoint(hello.alpn)

    def group(self, draw: Callable[[], float]) -> WorkerGroup:
        if len(self._groups) == 1:
            return self._groups[0]
        left = draw() * sum(self._weights)
        for group, weight in zip(self._groups, self._weights, strict=True):
            left -= weight
            if left < 0:
                return group
        return self._groups[-1]


class Preface:
    """Made by a listener for an accepted client; `begin` sets it off. Among the sessions until its session is there."""

    __slots__ = (
        "_context",
        "_deadline_at",
        "active_at",
        "began",
        "client",
        "client_address",
        "client_watch",
        "group",
        "header",
        "listener",
        "outcome",
        "peer",
        "port",
        "tls",
    )

    target: Target | None = None  # whoever looks for a target's sessions finds none here

    def __init__(self, listener: Listener, client: socket.socket, address: Any, port: int) -> None:
        """`address` is what accept said; `port` is the one of ours that was connected to."""
        self.listener = listener
        self.client = client
        self.peer = self.client_address = address
        self.port = port
        self.client_watch: Watch | None = None
        self.outcome = ""
        self.began = self.active_at = listener.loop.now
        self.group: WorkerGroup | None = None  # that the client's hello leads to; None: the listener's
        self.header: Header | None = None
        self.tls: TlsSocket | None = None
        self._context: ServerContext
        self._deadline_at = 0.0

    @property
    def client_name(self) -> str:
        return spelled(self.client_address)

    def begin(self) -> None:
        listener = self.listener
        self.client_watch = listener.loop.watch(self.client.fileno(), READ, self.reading_header, self)
        if listener.proxies is None:
            return self._greet()
        self._deadline_at = listener.loop.now + listener.proxy_header_timeout
        if isinstance(self.peer, tuple) and self.peer[0].removeprefix("::ffff:") not in listener.proxies:
            return self.close("bad_proxy_header")  # whoever is not trusted could say anything
        return None

    def _peek(self, size: int) -> bytes:
        """What is here, and stays here. Empty: nothing yet, or the client left, and the session ended."""
        try:
            data = self.client.recv(size, socket.MSG_PEEK)
        except WOULD_BLOCK:
            return b""
        except OSError:
            self.close("client_reset")
            return b""
        if not data:
            self.close("client_closed")
        return data

    # --- the PROXY header

    def reading_header(self, mask: int) -> None:
        data = self._peek(LARGEST)
        if not data:
            return None
        try:
            header = parse_header(data)
        except BadProxyHeader:
            self.listener.offended(self.peer, "bad_proxy_header")
            return self.close("bad_proxy_header")
        if header is None:
            return wait_for_more(self.client, len(data))
        self.client.recv(header.size)
        wait_for_more(self.client, 0)
        self.header = header
        if header.source is not None:
            source = header.source
            self.client_address = source.path if source.is_unix else (source.host, source.port)
            if word := self.listener.judge_client(self, self.client_address):
                return self.close(word)
        return self._greet()

    # --- the ClientHello, of a listener that does not decrypt

    def _greet(self) -> None:
        listener, watch = self.listener, self.client_watch
        assert watch is not None
        if listener.tls is not None:
            self._deadline_at = listener.loop.now + listener.handshake_timeout
            self._context = listener.tls  # the listener's may be another by the time that the hello is here, or none
            # Not at once: its hello is hardly ever here yet, and to hear so from OpenSSL costs more than a turn.
            watch.handler = self.shaking_hands
            return None
        if listener.hellos:
            self._deadline_at = listener.loop.now + listener.handshake_timeout
            watch.handler = self.reading_hello
            return self.reading_hello(READ)
        return self._over()

    def reading_hello(self, mask: int) -> None:
        data = self._peek(_LARGEST_HELLO)
        if not data:
            return None
        try:
            hello = parse_hello(data)
        except NotTls:
            return self._over()  # it names nobody: the default
        if hello is None and len(data) < _LARGEST_HELLO:
            return wait_for_more(self.client, len(data))
        wait_for_more(self.client, 0)
        if hello is not None:
            self.group = self._asked(hello)
        return self._over()

    def _asked(self, hello: Hello) -> WorkerGroup | None:
        return next((rule.group(random) for rule in self.listener.hellos if rule.matches(hello)), None)

    # --- the handshake

    def shaking_hands(self, mask: int) -> None:
        """A step takes up to a signature. Who leaves before it was begun costs none; later a client may have said all
        it has to say."""
        watch = self.client_watch
        assert watch is not None
        self.listener.loop.one_a_turn(watch, self._shake, self.left, 0 if self.tls else HUNG_UP)

    def left(self, mask: int) -> None:
        self.close("client_reset" if mask & BROKEN else "client_closed")

    def _shake(self) -> None:
        watch, listener = self.client_watch, self.listener
        assert watch is not None
        try:
            if self.tls is None:
                self.tls = self._context.wrap(self.client)
            self.tls.handshake()
        except SSLWantWriteError:
            return watch.want(WRITE)
        except WOULD_BLOCK:
            return watch.want(READ)
        except OSError as error:
            return self._failed(handshake_cause(error, self.client))
        listener.shook_hands(self.tls)
        return self._over()

    def _failed(self, cause: str) -> None:
        """OpenSSL has sent its alert, and whoever spoke plain HTTP is told so in plain HTTP. A client may have sent
        more by now: closed with words of it unread, what we said would be lost."""
        try:
            if cause == "plain_http":
                self.client.send(_PLAIN_HTTP)
            self.client.shutdown(socket.SHUT_WR)
            self.client.recv(65536)
        except OSError:
            pass
        self.listener.offended(self.client_address, "tls_alert")
        self.close(cause)

    # --- the end

    def _over(self) -> None:
        """All is said."""
        self.outcome = "data/done"
        self.listener.prefaced(self)

    def sweep(self, now: float) -> None:
        if self._deadline_at and now >= self._deadline_at:
            if self.listener.proxies is None or self.header is not None:  # else it is the proxy's fault
                self.listener.offended(self.client_address, "timeout")
            self.close("timeout")

    def retire(self) -> None:
        """The listener accepts no more; who has come already is served."""

    def expel(self, cause: str) -> None:
        """There is no target yet."""

    def crashed(self, error: Exception) -> None:
        self.listener.report_bug(error, f"preface of {self.client_name}")
        self.close("bug")

    def close(self, cause: str) -> None:
        """End, with the outcome preface/cause. May be called twice and acts once."""
        if self.outcome:
            return
        self.outcome = f"preface/{cause}"
        if cause not in _SAID:
            reset_on_close(self.client)
        if self.client_watch:
            self.client_watch.closing()
        self.listener.loop.close_later(self.client)
        self.listener.ended(self)

    def describe(self, now: float) -> dict[str, Any]:
        """What `nlb ctl sessions` shows."""
        return {
            "target": None,
            "group": self.listener.group.balance.name,
            "phase": "preface",
            "age": round(now - self.began, 3),
            "idle": round(now - self.active_at, 3),
            "received": 0,
            "sent": 0,
        }
