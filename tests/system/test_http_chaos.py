"""The worst that clients and targets do, all at once. Whoever gets an answer gets their own, and in the end the books
balance: nobody was forgotten, nothing was counted twice.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import h11
import pytest

from tests.daemon import PATIENCE, daemon
from tests.sites import UNASKED, edge, group, rule
from tests.waiting import until
from tests.webtargets import Seen, WebTarget

CLIENTS = 10
CONNECTIONS = 20

# Below these, everything that hangs ends soon.
HURRIED = "idle_timeout = 1\nheader_timeout = 0.3\nmin_body_rate = 1000\nmin_body_rate_after = 0.3\naccess_log = true\n"
FIXED = rule("fixed", 'path = "/fixed/*"\nfixed_response = { status = 200, body = "here" }')
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-For: nobody\r\n\r\npoison"

_RESET = struct.pack("ii", 1, 0)


def body_of(path: str) -> bytes:
    """What belongs to it."""
    return path.encode() * (crc32(path.encode()) % 3000)


def moody(rng: random.Random) -> WebTarget:
    """A target that mostly answers, in all forms; it also leaves, stops in the middle, or says too much."""

    def respond(seen: Seen) -> bytes | list[bytes]:
        body, mood = body_of(seen.target), rng.random()
        start = f"HTTP/1.1 200 OK\r\nX-For: {seen.target}\r\n".encode()
        if mood < 0.04:
            return b""
        if mood < 0.3:
            whole = start + b"Transfer-Encoding: chunked\r\n\r\n"
            if seen.method != "HEAD":
                pieces = [body[at : at + 7000] for at in range(0, len(body), 7000)]
                whole += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        elif mood < 0.35:
            return start + b"Connection: close\r\n\r\n" + body * (seen.method != "HEAD")
        else:
            whole = start + b"Content-Length: %d\r\n\r\n" % len(body) + body * (seen.method != "HEAD")
        if mood > 0.95:
            return whole + POISON  # in a packet of its own, behind the next request, nobody could tell it apart
        cut = rng.randrange(1, len(whole))
        if mood > 0.9:
            return [whole[:cut], b""] if rng.random() < 0.7 else [b"This is no HTTP\r\n\r\n", b""]
        return [whole[:cut], whole[cut:]]

    return WebTarget(respond=respond)


class Customer(threading.Thread):
    """Makes connections one after the other, asks several things on each, and is not always patient."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__()
        self.number = number
        self.answered = 0
        self.wrong: list[str] = []
        self._port = port
        self._rng = random.Random(number)

    def run(self) -> None:
        for connection in range(CONNECTIONS):
            with (
                suppress(OSError, h11.RemoteProtocolError),  # it was cut, which is what it should see
                socket.create_connection(("127.0.0.1", self._port), PATIENCE) as sock,
            ):
                self._visit(sock, f"{self.number}-{connection}")

    def _visit(self, sock: socket.socket, name: str) -> None:
        rng, unread = self._rng, b""
        for turn in range(rng.randrange(1, 5)):
            kinds = [rng.choice(("web", "web", "web", "fixed")) for _ in range(rng.choice((1, 1, 1, 4)))]
            asked = [
                (rng.choice(("GET", "GET", "HEAD", "POST", "PUT")), f"/{kind}/{name}-{turn}-{number}")
                for number, kind in enumerate(kinds)
            ]
            raw = b"".join(request(rng, method, path) for method, path in asked)
            cut = rng.randrange(len(raw))
            mood = rng.random()
            sock.sendall(raw[:cut])
            if mood < 0.06:
                if mood < 0.03:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return
            sock.sendall(raw[cut:])
            if mood < 0.1:
                return
            for method, path in asked:
                answer, unread = hear(sock, method, unread)
                if answer is None:
                    return
                self._compare(path, method, *answer)

    def _compare(self, path: str, method: str, status: int, about: str, body: bytes) -> None:
        """Whatever nlb answers itself says nothing of whom it is for."""
        self.answered += 1
        expected = body_of(path) if method != "HEAD" else b""
        if path.startswith("/fixed"):
            expected, about = b"here" if method != "HEAD" else b"", path
        if status == 200 and (about, body) != (path, expected):
            self.wrong.append(f"{method} {path} got {about}: {body[:50]!r}, {len(body)} of {len(expected)} bytes")


def request(rng: random.Random, method: str, path: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\n".encode()
    if method not in ("POST", "PUT"):
        return head + b"\r\n"
    body = bytes(rng.choice((0, 10, 70_000)))
    if rng.random() < 0.5:
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    return (
        head
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"")
        + b"0\r\n\r\n"
    )


def hear(sock: socket.socket, method: str, unread: bytes) -> tuple[tuple[int, str, bytes] | None, bytes]:
    """The next answer, as status, X-For and body, and what came behind it; None when the connection has ended."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    if unread:
        reader.receive_data(unread)
    status, about, body = 0, "", b""
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            data = sock.recv(65536)
            if not data and not status:
                return None, b""
            reader.receive_data(data)
        elif isinstance(event, h11.Response):
            status = event.status_code
            about = dict(event.headers).get(b"x-for", b"").decode()
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return (status, about, body), reader.trailing_data[0]


@pytest.fixture
def targets() -> Iterator[list[WebTarget]]:
    with moody(random.Random(1)) as one, moody(random.Random(2)) as two:
        yield [one, two]


def test_everybody_gets_their_own_answer_and_the_books_balance(tmp_path: Path, targets: list[WebTarget]) -> None:
    text = edge(more=HURRIED + FIXED) + group(targets, f'policy = "least_connections"\nresponse_timeout = 2\n{UNASKED}')
    with daemon(tmp_path, text, workers=2) as nlb:
        customers = [Customer(number, nlb.port) for number in range(CLIENTS)]
        for customer in customers:
            customer.start()
        for customer in customers:
            customer.join()
        assert not [wrong for customer in customers for wrong in customer.wrong]
        assert sum(customer.answered for customer in customers) > CLIENTS * CONNECTIONS

        until(lambda: nlb.listener("edge")["sessions"] == 0, PATIENCE)
        assert all(target["sessions"] == 0 for target in nlb.targets().values())
        facts = nlb.listener("edge")
        assert sum(facts["outcomes"].values()) == facts["accepted"] == CLIENTS * CONNECTIONS
        assert not [name for name in (*facts["outcomes"], *facts["exchanges"]) if name.endswith("/bug")], nlb.output()
        (web,) = nlb.ask("status")["groups"]
        rules = nlb.ask("requests")["routes"]
        assert web["requests"] == sum(row["requests"] for row in rules if row["group"] == "web")
        assert [worker["restarts"] for worker in nlb.workers()] == [0, 0]
        assert nlb.stop() == 0
    assert nlb.output().count(" info request ") == facts["requests"]
    assert not [broken for target in targets for broken in target.broken]
