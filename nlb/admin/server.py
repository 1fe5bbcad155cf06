"""The admin socket: JSON lines over a unix socket, on control's loop. It never waits for a client.

    {"verb": "drain", "args": {"target": "web01"}}   ->   {"ok": true, "version": "...", "data": {...}}
                                                     or   {"ok": false, "version": "...", "error": "..."}

A client is always in one of these states; `watch.handler` is the one it is in:

    reading --a whole line--> waiting --the answer--> writing --all of it taken--> reading
                                                         `--after a last answer--> discarding --> closed

One request at a time: the next is looked at when the client has taken the answer to the one before. So a client
that asks and never reads costs the memory of one answer, and is closed when it has been still for too long.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nlb import __version__
from nlb.admin.commands import execute
from nlb.admin.verbs import Controller
from nlb.errors import AdminError
from nlb.net.loop import READ, WRITE, Handler, Loop
from nlb.net.sockets import WOULD_BLOCK, peer

log = logging.getLogger(__name__)

MAX_CLIENTS = 64
LONGEST_REQUEST = 64 * 1024  # bytes; the longest honest one has a few hundred
PATIENCE = 60.0  # seconds without a request or without taking a byte of the answer; then the client is closed
LAST_PATIENCE = 2.0  # seconds for a refused client to read why, while what it still sends is thrown away
NO_DESCRIPTOR = 1.0  # seconds until the next accept when none was left
CHUNK = 16 * 1024

# Gets what a worker of a killed control hands in with its knock, and its process id.
OnKnock = Callable[[socket.socket, int], None]


class AdminServer:
    """Serves the admin socket `sock` (bound, listening) on `loop` until `close()`."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        controller: Controller | None,
        patience: float = PATIENCE,
        on_knock: OnKnock | None = None,
    ) -> None:
        """`controller` may come later, when there is one; till then only workers are heard."""
        self.loop = loop
        self.patience = patience
        self.controller = controller
        self.on_knock = on_knock
        self.clients: set[Client] = set()
        self._sock = sock
        sock.setblocking(False)
        self._watch = loop.watch(sock.fileno(), READ, self._accept, self)

    def close(self) -> None:
        """Let go of the socket and of every client. May be called twice."""
        self._watch.forget()
        for client in list(self.clients):
            client.close()
        self._sock.close()

    def crashed(self, error: Exception) -> None:
        log.error("error while accepting an admin client", exc_info=error)

    def _accept(self, mask: int) -> None:
        try:
            sock, _ = self._sock.accept()
        except WOULD_BLOCK:
            return
        except OSError:
            # No descriptor is left. The client stays in the queue, so asking at once would be a busy loop.
            self._watch.want(0)
            self.loop.call_at(self.loop.now + min(NO_DESCRIPTOR, self.patience), self._resume, self)
            return
        sock.setblocking(False)
        if len(self.clients) < MAX_CLIENTS:
            self.clients.add(Client(self, sock))
            return
        with sock, suppress(OSError):
            sock.send(_line({"ok": False, "error": f"{MAX_CLIENTS} admin clients are connected already"}))

    def _resume(self) -> None:
        if self._watch.fd >= 0:
            self._watch.want(READ)


class Client:
    """One connection to the admin socket. Owner of its handlers: an error in them closes it alone."""

    __slots__ = (
        "_answer",
        "_deadline",
        "_given",
        "_inbox",
        "_last",
        "_serial",
        "_server",
        "_sock",
        "_still_until",
        "_watch",
    )

    def __init__(self, server: AdminServer, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self._inbox = bytearray()
        self._given: list[socket.socket] = []  # came with the requests
        self._answer = memoryview(b"")
        self._serial = 0  # of the request being done; an answer to an earlier one is late
        self._last = False  # nothing more is read from this client
        self._watch = server.loop.watch(sock.fileno(), READ, self.reading, self)
        self._still_until = server.loop.now + server.patience
        self._deadline = server.loop.call_at(self._still_until, self._look_at_the_clock, self)

    def reading(self, mask: int) -> None:
        try:
            received, fds, _, _ = socket.recv_fds(self._sock, CHUNK, 1)
        except WOULD_BLOCK:
            return
        except OSError:
            self.close()
            return
        self._take_in(fds)
        self._inbox += received
        if not received:
            self._last = True
            if self._inbox:
                self._inbox += b"\n"  # a last line without its end is a request all the same
        self._next()

    def waiting(self, mask: int) -> None:
        """Only told when the client is gone: it will not take the answer."""
        self.close()

    def writing(self, mask: int) -> None:
        try:
            sent = self._sock.send(self._answer)
        except WOULD_BLOCK:
            return
        except OSError:
            self.close()
            return
        self._answer = self._answer[sent:]
        self._still_until = self._server.loop.now + self._server.patience
        if not self._answer:
            self._next()

    def discarding(self, mask: int) -> None:
        try:
            if not self._sock.recv(CHUNK):
                self.close()
        except WOULD_BLOCK:
            pass
        except OSError:
            self.close()

    def close(self) -> None:
        """The only exit. May be called twice."""
        if self in self._server.clients:
            self._server.clients.discard(self)
            self._serial += 1
            self._deadline.cancel()
            self._watch.forget()
            self._drop_given()
            self._server.loop.close_later(self._sock)

    def crashed(self, error: Exception) -> None:
        log.error("error while serving an admin client", exc_info=error)
        self.close()

    def _next(self) -> None:
        """Do the next whole request, wait for one, or come to the end."""
        end = self._inbox.find(b"\n")
        if (end if end >= 0 else len(self._inbox)) > LONGEST_REQUEST:
            self._dismiss(f"the request is longer than {LONGEST_REQUEST} bytes")
        elif end >= 0:
            line = bytes(self._inbox[:end])
            del self._inbox[: end + 1]
            self._do(line)
        elif self._last:
            self._part()
        else:
            self._become(READ, self.reading)

    def _dismiss(self, why: str) -> None:
        """Answer with an error and close."""
        self._last = True
        self._inbox.clear()
        self._serial += 1
        self._take(self._serial, {"ok": False, "error": why})

    def _part(self) -> None:
        """Everything was answered. Closing now could reset the client before it has read that: it goes first."""
        with suppress(OSError):  # it may be gone already
            self._sock.shutdown(socket.SHUT_WR)
        self._become(READ, self.discarding)
        self._deadline.cancel()
        self._still_until = self._server.loop.now + min(LAST_PATIENCE, self._server.patience)
        self._deadline = self._server.loop.call_at(self._still_until, self._look_at_the_clock, self)

    def _do(self, line: bytes) -> None:
        self._serial += 1
        serial = self._serial
        self._still_until = self._server.loop.now + self._server.patience
        self._become(0, self.waiting)
        verb: object = None
        try:
            request = _parse(line)
            verb = request.get("verb")
            controller = self._server.controller
            if verb == "knock":
                self._knock()
                return
            if controller is None:
                raise AdminError("nlb is starting; ask again in a moment")
            execute(
                controller,
                verb,
                request.get("args", {}),
                self._user,
                lambda data: self._take(serial, {"ok": True, "data": data}),
            )
        except AdminError as error:
            self._take(serial, {"ok": False, "error": str(error)})
        except Exception:
            log.exception("internal error in the admin command '%s'", verb)
            self._take(serial, {"ok": False, "error": f"internal error in '{verb}', see the log of nlb"})

    def _knock(self) -> None:
        """A worker whose control was killed gives us the end of a channel. No command of an operator's, so it is not in
        their table."""
        pid, uid = peer(self._sock)
        if self._server.on_knock is None or uid != os.geteuid() or not self._given:
            raise AdminError("only a worker of nlb knocks, and it brings a channel")
        self._server.on_knock(self._given.pop(), pid)
        self._take(self._serial, {"ok": True, "data": {}})

    def _take_in(self, fds: list[int]) -> None:
        """One descriptor is kept, the latest, if it is a socket."""
        for fd in fds:
            self._drop_given()
            try:
                self._given.append(socket.socket(fileno=fd))
            except OSError:
                os.close(fd)

    def _drop_given(self) -> None:
        while self._given:
            self._given.pop().close()

    def _take(self, serial: int, answer: dict[str, Any]) -> None:
        """The answer to one request. Called once for each; a later call, or one after the end, does nothing."""
        if serial != self._serial or self not in self._server.clients:
            return
        self._serial += 1
        try:
            line = _line(answer)
        except (TypeError, ValueError) as error:
            log.error("an admin answer is not JSON", exc_info=error)
            line = _line({"ok": False, "error": "internal error, see the log of nlb"})
        self._answer = memoryview(line)
        self._become(WRITE, self.writing)

    def _become(self, events: int, handler: Handler) -> None:
        self._watch.handler = handler
        self._watch.want(events)

    def _look_at_the_clock(self) -> None:
        """The deadline is moved only when it is reached: cheaper than at every byte."""
        if self._server.loop.now >= self._still_until:
            self.close()
        else:
            self._deadline = self._server.loop.call_at(self._still_until, self._look_at_the_clock, self)

    def _user(self) -> str:
        """Who asks, from the kernel: cannot be lied about."""
        uid = peer(self._sock)[1]
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"uid {uid}"


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line.decode())
    except (ValueError, RecursionError):
        raise AdminError('a request is one line of JSON, like {"verb": "status", "args": {}}') from None
    if not isinstance(request, dict):
        raise AdminError('a request is a JSON object, like {"verb": "status", "args": {}}')
    return request


def _line(answer: dict[str, Any]) -> bytes:
    return f"{json.dumps({'version': __version__, **answer})}\n".encode()
