"""HTTP clients for tests: one that keeps its connection and reads answers with h11, and a crowd of them."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count

import h11

from tests.clients import PACE, PATIENCE, Clients
from tests.waiting import until
from tests.webtargets import text_of

HOST = "nlb.test"

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    interim: tuple[int, ...] = ()  # statuses that came before it
    trailers: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The value of a header, several joined; "" if there is none."""
        return ", ".join(self.all(name))

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Client:
    """One connection, for `with`. `source` is the address that it comes from."""

    def __init__(self, port: int, source: str = "", host: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection((host, port), PATIENCE, (source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = h11.Connection(h11.CLIENT)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    @property
    def is_over(self) -> bool:
        """The last answer was the last one on this connection."""
        return self._reader.their_state is not h11.DONE

    @property
    def was_left(self) -> bool:
        """The other side has closed the connection, as it may between two requests."""
        return bool(select.select([self.sock], [], [], 0)[0])

    def ask(
        self, target: str = "/", method: str = "GET", headers: Headers = (), body: bytes = b"", host: str = HOST
    ) -> Answer:
        """A request and its answer."""
        self.say(target, method, headers, body, host)
        return self.hear()

    def say(
        self, target: str = "/", method: str = "GET", headers: Headers = (), body: bytes = b"", host: str = HOST
    ) -> None:
        """A request. With a body it says its length."""
        length = [("Content-Length", str(len(body)))] if body else []
        request = h11.Request(method=method, target=target, headers=[("Host", host), *headers, *length])
        self.sock.sendall(self.wire(request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()))

    def wire(self, *events: h11.Event) -> bytes:
        """The bytes of the next request."""
        if self._reader.our_state is not h11.IDLE:
            self._reader.start_next_cycle()
        return b"".join(self._reader.send(event) or b"" for event in events)

    def hear(self) -> Answer:
        """The answer to what was said. Raises ConnectionError when there is none."""
        head: h11.Response | None = None
        body, interim = b"", []
        while True:
            event = self._reader.next_event()
            if event is h11.NEED_DATA:
                data = self.sock.recv(65536)
                if not data and head is None:
                    raise ConnectionError("closed without an answer")
                self._reader.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                assert head is not None
                return Answer(head.status_code, text_of(head.headers), body, tuple(interim), text_of(event.headers))


def get(port: int, target: str = "/", host: str = HOST, headers: Headers = (), method: str = "GET") -> Answer:
    """One request on a connection of its own."""
    with Client(port) as client:
        return client.ask(target, method, headers, host=host)


def everything(port: int, raw: bytes, source: str = "") -> bytes:
    """All that comes back for these bytes, until the connection ends, in whatever way."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0) if source else None) as sock:
        try:
            sock.sendall(raw)
            while data := sock.recv(65536):
                got += data
        except ConnectionError:  # it was refused before all of it was sent; what was answered may be lost with it
            pass
    return got


def read_to(sock: socket.socket, end: bytes) -> bytes:
    """What comes, up to these bytes."""
    got = b""
    while not got.endswith(end):
        data = sock.recv(65536)
        assert data, f"it ended with {got!r}"
        got += data
    return got


class Crowd(Clients):
    """Some keep their connections as long as they may, some make one for each request. Whoever does not get 200 is in
    `errors`."""

    def __init__(
        self,
        port: int,
        keepers: int = 8,
        newcomers: int = 2,
        request: Callable[[Client], Answer] = Client.ask,
        forgives: Callable[[], bool] = lambda: False,
    ) -> None:
        """Where `forgives` says so, a connection may break; the client makes another."""
        super().__init__([partial(self._visit, keeps) for keeps in [True] * keepers + [False] * newcomers])
        self.answers = 0
        self._port = port
        self._request = request
        self._forgives = forgives

    def goes_on(self, answers: int = 200) -> None:
        """Wait until there were so many answers more, or an error."""
        before = self.answers
        until(lambda: self.errors or self.answers >= before + answers, PATIENCE)
        assert not self.errors, self.errors

    def _visit(self, keeps: bool) -> None:
        client: Client | None = None
        for number in count():
            if self.stopping.wait(PACE):
                break
            try:
                if client is not None and client.was_left:
                    client.sock.close()
                    client = None
                if client is None:
                    client = Client(self._port)
                answer = self._request(client)
                if answer.status != 200:
                    self.errors.append(f"request {number}: {answer}")
                with self.lock:
                    self.answers += 1
                if client.is_over or not keeps:
                    client.sock.close()
                    client = None
            except (OSError, h11.RemoteProtocolError) as error:
                if client is not None:
                    client.sock.close()
                client = None
                if not self._forgives():
                    self.errors.append(f"request {number}: {error!r}")
        if client is not None:
            client.sock.close()
