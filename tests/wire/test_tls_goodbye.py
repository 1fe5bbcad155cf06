"""The end of a session in TLS, to clients that read slowly: all of it, and then the goodbye that tells it from a cut.

Buffers are tiny and answers of many sizes, so that some of them end just where there is room for no byte more.
"""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import trustme

from nlb.model.address import Address
from tests.unit.proxy.http_stage import GROUP, SITE
from tests.waiting import PATIENCE
from tests.wire.rig import Origin, Rig

SMALLEST = 1  # the kernel makes more of it, some 4 KB to send and 2 KB to receive
# About how much fills them on Linux 6, and anything.
SIZES = sorted({*range(3800, 4100, 50), *range(5550, 5750, 50), *range(6550, 6900, 50), *range(2500, 10500, 1000)})


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def tls_spec(ca: trustme.CA) -> dict[str, Any]:
    pem = ca.issue_cert("www.example").private_key_and_cert_chain_pem.bytes().decode()
    spec = {"policy": "intermediate", "alpn": [], "client_ca": "", "client_auth": "off", "strict_sni": False}
    return spec | {"certificates": [{"names": ["www.example"], "pem": pem}], "default": [0]}


class Client:
    """A client that reads when it is told to, and knows a goodbye from a bare end."""

    def __init__(self, rig: Rig, ca: trustme.CA, address: Address) -> None:
        self.sock = rig.connect(address, receive_buffer=SMALLEST)
        context = ssl.create_default_context()
        ca.configure_trust(context)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="www.example")
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._in.write(self.sock.recv(65536))
        self._flush()

    def say(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def say_goodbye(self) -> None:
        """And go on reading."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        self.sock.sendall(self._out.read())

    def read(self, most: int = 1000) -> tuple[bytes, str]:
        """All that comes, and how it ends: goodbye, end or reset."""
        got = b""
        while True:
            try:
                data = self._tls.read(65536)
                if not data:
                    return got, "goodbye"
                got += data
            except ssl.SSLZeroReturnError:
                return got, "goodbye"
            except ssl.SSLWantReadError:
                try:
                    came = self.sock.recv(most)
                except ConnectionResetError:
                    return got, "reset"
                if not came:
                    return got, "end"
                self._in.write(came)


def listener(rig: Rig, ca: trustme.CA, group: int, **also: Any) -> Address:
    return rig.listen(group, tls=tls_spec(ca), handshake_timeout=PATIENCE, send_buffer=SMALLEST, **also)


def heard_out(target: socket.socket) -> bytes:
    got = b""
    while data := target.recv(65536):
        got += data
    return got


class Readers:
    """Clients that read to the end beside each other: with so small windows the kernel takes its time."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._pool = rig.stack.enter_context(ThreadPoolExecutor(len(SIZES)))
        self._reading: dict[int, Future[tuple[bytes, str]]] = {}

    def begin(self, size: int, client: Client) -> None:
        """Once all has been done that can be done without it."""
        self._rig.settle()
        self._rig.settle()
        self._reading[size] = self._pool.submit(client.read)

    def fates(self) -> dict[int, tuple[int, str]]:
        """How many zeros each has read in the end, and how it ended."""
        found = {size: reading.result() for size, reading in self._reading.items()}
        return {size: (got.count(b"\0"), end) for size, (got, end) in found.items()}


ALL_WELL = {size: (size, "goodbye") for size in SIZES}


@pytest.mark.parametrize("last", ["the target", "the client"])
def test_a_session_ends_with_all_bytes_and_goodbye(rig: Rig, ca: trustme.CA, last: str) -> None:
    origin = rig.origin()
    address = listener(rig, ca, rig.group(origin))
    readers = Readers(rig)
    for size in SIZES:
        client = Client(rig, ca, address)
        with origin.accept() as target:
            if last == "the target":
                client.say_goodbye()
                assert heard_out(target) == b""
            target.sendall(bytes(size))
            target.shutdown(socket.SHUT_WR)
            rig.settle()
            if last == "the client":
                client.say_goodbye()
                assert heard_out(target) == b""
        readers.begin(size, client)
    assert readers.fates() == ALL_WELL
    rig.until(lambda: rig.outcomes == {"data/done": len(SIZES)})


@pytest.fixture
def web(rig: Rig) -> tuple[Origin, int]:
    origin = rig.origin()
    return origin, rig.group(origin, protocol="http", odd={"http": GROUP | {"pool_size": 0}})


@pytest.mark.parametrize("more", [b"", b"and what nobody asked for"], ids=["it is silent", "it sends on"])
def test_a_last_answer_is_read_to_its_end(rig: Rig, ca: trustme.CA, web: tuple[Origin, int], more: bytes) -> None:
    origin, group = web
    address = listener(rig, ca, group, http=SITE)
    readers = Readers(rig)
    for size in SIZES:
        client = Client(rig, ca, address)
        client.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + more)
        with origin.accept() as target:
            target.recv(65536)
            target.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + bytes(size))
        readers.begin(size, client)
    assert readers.fates() == ALL_WELL
    rig.until(lambda: rig.outcomes == {"data/done": len(SIZES)})


def test_so_it_is_for_a_client_that_leaves_while_it_is_answered(
    rig: Rig, ca: trustme.CA, web: tuple[Origin, int]
) -> None:
    origin, group = web
    address = listener(rig, ca, group, http=SITE)
    readers = Readers(rig)
    for size in SIZES:
        client = Client(rig, ca, address)
        client.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        target = rig.stack.enter_context(origin.accept())
        target.recv(65536)
        target.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        rig.settle()
        client.say_goodbye()
        rig.settle()
        target.sendall(bytes(size))
        readers.begin(size, client)
    assert readers.fates() == ALL_WELL
