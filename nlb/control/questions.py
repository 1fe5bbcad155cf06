"""Asking a target over a connection: plain or TLS, silent, with words, or in HTTP. One question, one answer; nothing
here blocks.

    connecting ──> [shaking_hands ──>] asking ──> hearing ──> answer ──> leaving, until the next question
         └── nothing to say, nothing to hear ───────────────> answer

The state of a question under way is the handler that the loop calls next. How long it may take, and when to ask
again, is for the prober.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from nlb.balance.target import Target
from nlb.control.answers import Verdict, asked, judge_http, judge_text, request, unlike
from nlb.control.trust import say_goodbye, tls_context, trouble_with, words_for
from nlb.model.address import Address
from nlb.model.health_check import HTTP, TLS
from nlb.net.loop import READ, WRITE, Loop, Watch
from nlb.net.proxy_protocol.writing import probe_header
from nlb.net.sockets import WANTS, WOULD_BLOCK, dial, error_of

if TYPE_CHECKING:
    from nlb.model.health_check import HealthCheck

# Bytes of an answer that are read for politeness, after the verdict; what is longer is cut with a reset.
LONGEST_ANSWER = 1 << 20

# Bytes of one read: what a TLS record holds, so that nothing stays behind in OpenSSL where epoll cannot see it.
_READ = 16384

# Trouble of this box. It says nothing about the target, so it is not a result.
OWN_FAULTS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC, errno.EADDRNOTAVAIL)


class Asker(Protocol):
    """Who wants to know. Told once per question, unless that is dropped first."""

    def begun(self) -> None:
        """The target is asked from now on, not from the call of `ask`: its time begins again."""

    def answered(self, ok: bool, detail: str) -> None: ...

    def unable(self, words: str) -> None:
        """It could not be asked, for a reason of this box."""

    def crashed(self, error: Exception) -> None: ...


class Question(Protocol):
    def ask(self) -> None: ...

    def late(self) -> None:
        """Time is over: drop it, and answer with what is known."""

    def drop(self) -> None:
        """Let go of everything. Nothing is answered."""


class Conversation:
    """A Question over a connection."""

    def __init__(self, loop: Loop, target: Target, settings: HealthCheck, asker: Asker) -> None:
        self._loop = loop
        self._target = target
        self._settings = settings
        self._asker = asker
        self._socket: socket.socket | None = None
        self._watch: Watch | None = None
        self._unsent = b""
        self._received = b""
        self._allowance = 0

    def ask(self) -> None:
        self.drop()  # what was left of the last answer: it had a whole interval
        self._received = b""
        try:
            self._socket, error = dial(self._address)
            if error in (0, errno.EINPROGRESS):
                self._watch = self._loop.watch(self._socket.fileno(), WRITE, self.connecting, self._asker)
                return
            self._failed(OSError(error, ""))
        except OSError as trouble:
            self._failed(trouble)

    def late(self) -> None:
        self._end(False, f"{self._so_far()} in {self._settings.timeout:g} s")

    def drop(self) -> None:
        if self._watch:
            self._watch.forget()
            self._watch = None
        if self._socket:
            self._loop.close_later(self._socket)
            self._socket = None

    # --- the states

    def connecting(self, mask: int) -> None:
        error = error_of(self._open())
        if error:
            return self._failed(OSError(error, ""))
        if self._target.proxy_protocol and self._settings.port is None:
            try:
                self._introduce(self._open())
            except OSError as trouble:
                return self._failed(trouble)
        if self._settings.protocol in TLS:
            self._encrypt(mask)
        else:
            self._speak(mask)

    def shaking_hands(self, mask: int) -> None:
        sock = self._open()
        assert isinstance(sock, ssl.SSLSocket)
        try:
            sock.do_handshake()
        except WANTS as wants:
            self._wait_for(wants, READ)
        except OSError as trouble:
            self._failed(trouble)
        else:
            self._speak(mask)

    def asking(self, mask: int) -> None:
        try:
            sent = self._open().send(self._unsent)
        except WOULD_BLOCK as wants:
            return self._wait_for(wants, WRITE)
        except OSError:
            sent = len(self._unsent)  # some answer at once and read nothing: what they said can still be read
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._said_all()

    def hearing(self, mask: int) -> None:
        try:
            data = self._open().recv(_READ)
        except WOULD_BLOCK as wants:
            return self._wait_for(wants, READ)
        except OSError as trouble:
            return self._failed(trouble)
        self._received += data
        if verdict := self._judge(ended=not data):
            self._leave(*verdict)

    def leaving(self, mask: int) -> None:
        sock = self._open()
        try:
            data = sock.recv(65536)
        except WOULD_BLOCK:
            return
        except OSError:
            data = b""
        self._allowance -= len(data)
        if not data or self._allowance <= 0:
            say_goodbye(sock)
            self.drop()

    # --- between them

    def _introduce(self, sock: socket.socket) -> None:
        """The target expects a PROXY header; we come for ourselves. An empty socket buffer has room for it."""
        ours = sock.getsockname()
        source = Address(ours[0], ours[1]) if isinstance(ours, tuple) else None
        sock.send(probe_header(self._target.proxy_protocol, source, self._address))

    def _encrypt(self, mask: int) -> None:
        settings = self._settings
        try:
            context = tls_context(settings.tls_verify, settings.tls_ca)
        except OSError as trouble:
            return self._give_up(trouble_with(settings.tls_ca, trouble))
        name = settings.tls_server_name or self._target.server_name
        try:
            self._socket = context.wrap_socket(self._open(), do_handshake_on_connect=False, server_hostname=name)
        except OSError as trouble:
            self._socket = None  # it was taken over, and is closed
            assert self._watch is not None
            self._watch.closing()
            return self._failed(trouble)
        self._go_on(WRITE, self.shaking_hands)
        self.shaking_hands(mask)

    def _speak(self, mask: int) -> None:
        settings = self._settings
        http = settings.protocol in HTTP
        self._unsent = request(self._address, settings) if http else (settings.send or "").encode("latin-1")
        if self._unsent:
            self._go_on(WRITE, self.asking)
            self.asking(mask)
        else:
            self._said_all()

    def _said_all(self) -> None:
        settings = self._settings
        if settings.protocol in HTTP or settings.expect is not None:
            self._go_on(READ, self.hearing)
        elif settings.send is not None or settings.protocol in TLS:
            sock = self._open()
            self._leave(True, f"connected, {sock.version()}" if isinstance(sock, ssl.SSLSocket) else "connected")
        else:
            # An orderly end: many servers log a reset as an error, every two seconds.
            self._end(True, "connected")

    def _judge(self, ended: bool) -> Verdict | None:
        settings = self._settings
        if settings.protocol in HTTP:
            return judge_http(self._received, ended, settings.matcher)
        return judge_text(self._received, ended, settings.expect or "")

    def _so_far(self) -> str:
        """How far a target came that is late."""
        handler = self._watch and self._watch.handler
        if handler in (None, self.connecting):
            return "no answer"
        if handler == self.shaking_hands:
            return "connected, but no TLS handshake"
        if self._received and self._settings.expect and self._settings.protocol not in HTTP:
            return unlike(self._received, self._settings.expect)
        return "connected, but no answer"

    # --- its end

    def _failed(self, trouble: OSError) -> None:
        if trouble.errno in OWN_FAULTS and not isinstance(trouble, ssl.SSLError):
            self._give_up(f"{words_for(trouble)} here")
        else:
            self._end(False, words_for(trouble))

    def _give_up(self, words: str) -> None:
        self.drop()
        self._asker.unable(words)

    def _end(self, ok: bool, detail: str) -> None:
        self.drop()
        self._asker.answered(ok, detail)

    def _leave(self, ok: bool, detail: str) -> None:
        """A server that still sends its page, or greets, would meet a reset, and log it. So read on, while the prober
        rests."""
        sock = self._open()
        if self._settings.protocol not in HTTP:  # there the server ends it; some take our end for a change of mind
            say_goodbye(sock)
            with suppress(OSError):  # it is gone already: `leaving` finds out
                sock.shutdown(socket.SHUT_WR)
        self._allowance = LONGEST_ANSWER
        self._go_on(READ, self.leaving)
        self._asker.answered(ok, detail)

    def _open(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    def _go_on(self, events: int, handler: Callable[[int], None]) -> None:
        assert self._watch is not None
        self._watch.handler = handler
        self._watch.want(events)

    def _wait_for(self, wants: OSError, usual: int) -> None:
        """TLS may have to write in order to read, and the other way round."""
        assert self._watch is not None
        if isinstance(wants, WANTS):
            usual = WRITE if isinstance(wants, ssl.SSLWantWriteError) else READ
        self._watch.want(usual)

    @property
    def _address(self) -> Address:
        return asked(self._target.address, self._settings)
