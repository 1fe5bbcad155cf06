"""HTTP targets for tests. They read with h11, which is strict, and keep all that they read."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11

from tests.targets import Target


@dataclass(frozen=True)
class Seen:
    """A whole request, as a target understood it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int  # which of the target's
    trailers: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The value of a header, several joined; "" if there is none."""
        return ", ".join(self.all(name))

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


Respond = Callable[[Seen], bytes | list[bytes]]


def reply(body: bytes = b"", *lines: str, status: str = "200 OK") -> bytes:
    """A response with these header lines."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *lines))
    return b"%sContent-Length: %d\r\n\r\n%s" % (head.encode("latin-1"), len(body), body)


class WebTarget(Target):
    """Answers every request with what `respond` makes of it, in one write or several; by default with its name. A head
    that says `Connection: close` ends the connection behind the response, and b"" ends it at once.

    `seen` are the whole requests, `broken` what h11 took offence at, `streams` the bytes of each connection.
    """

    def __init__(self, name: str = "", respond: Respond | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.respond = respond or (lambda _: reply(name.encode()))
        self.seen: list[Seen] = []
        self.broken: list[str] = []
        self.streams: list[bytearray] = []
        super().__init__(self._converse, host, port)

    def _converse(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number, stream = len(self.streams), bytearray()
        self.streams.append(stream)
        unread = b""
        while True:
            # A parser for each request, so that `respond` may answer whatever it likes.
            reader = h11.Connection(h11.SERVER)
            if unread:
                reader.receive_data(unread)
            try:
                seen = _request(reader, sock, stream, number)
            except h11.RemoteProtocolError as error:
                self.broken.append(f"{error}: {bytes(stream)!r}")
                return
            if seen is None:
                return
            unread, _ = reader.trailing_data
            self.seen.append(seen)
            answer = self.respond(seen)
            pieces = answer if isinstance(answer, list) else [answer]
            for piece in pieces:
                if not piece:
                    return
                sock.sendall(piece)
            if b"connection: close" in b"".join(pieces).partition(b"\r\n\r\n")[0].lower():
                return


def _request(reader: h11.Connection, sock: socket.socket, stream: bytearray, number: int) -> Seen | None:
    """The next one; None when the connection ends before it is whole."""
    head: h11.Request | None = None
    body = b""
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            if reader.they_are_waiting_for_100_continue:
                sock.sendall(reader.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            data = sock.recv(65536)
            stream += data
            if not data:
                return None
            reader.receive_data(data)
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            method, target = head.method.decode(), head.target.decode()
            return Seen(method, target, text_of(head.headers), body, number, text_of(event.headers))
        else:
            return None


def text_of(headers: Any) -> tuple[tuple[str, str], ...]:
    """Those of an event of h11."""
    return tuple((name.decode(), value.decode("latin-1")) for name, value in headers.raw_items())
