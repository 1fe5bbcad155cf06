"""What a TLS handshake costs the worker, by key and version, new and resumed. `python -m loadtests.handshakes`; 20 s.

Client and listener are in one process, over socket pairs; only the listener's calls are counted, in CPU time, in
rounds that take turns, of which the median counts. `outside` is what is not in OpenSSL's own handshake: the socket
wrapped, a name chosen, the end. For comparison, `openssl speed ecdsap256 rsa2048 ecdhx25519` says what signature and
key exchange cost, which no handshake can do without. Printed besides: messages and bulk, and ClientHellos read.
"""

from __future__ import annotations

import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import trustme

from nlb.net.client_hello import parse
from nlb.net.sockets import WANTS
from nlb.net.tickets import resumption_works
from nlb.net.tls import ServerContext, TlsSocket

ROUNDS = 7
PER_ROUND = 150
MESSAGES = 3000
BULK = 256 << 20
PIECE = 65536
KINDS = {"P-256": trustme.KeyType.ECDSA, "RSA-2048": trustme.KeyType.RSA}
VERSIONS = ("TLSv1_3", "TLSv1_2")
NAME = "shop.example"

clock = time.thread_time


@dataclass
class Case:
    """A kind of handshake; `costs` are seconds each, of all and of what is outside of OpenSSL's part, per round."""

    title: str
    server: ServerContext
    client: ssl.SSLContext
    session: ssl.SSLSession | None = None
    costs: list[tuple[float, float]] = field(default_factory=list)

    def round(self) -> None:
        whole = outside = 0.0
        for _ in range(PER_ROUND):
            with ExitStack() as stack:
                ours, theirs = ends(stack)
                began = clock()
                connection = self.server.wrap(ours)
                wrapped = clock() - began
                client = connect(self.client, theirs, self.session)
                inside = shake_hands(connection, client)
                began = clock()
                connection.sock.close()
                resumed = connection.is_resumed
                del connection
                closed = clock() - began
                client.close()
            if resumed != (self.session is not None):
                raise SystemExit(f"{self.title}: resumed is {resumed}")
            whole += wrapped + inside + closed
            outside += wrapped + closed
        self.costs.append((whole / PER_ROUND, outside / PER_ROUND))


def ends(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for sock in pair:
        stack.enter_context(sock).setblocking(False)
    return pair


def connect(context: ssl.SSLContext, sock: socket.socket, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    return context.wrap_socket(sock, do_handshake_on_connect=False, server_hostname=NAME, session=session)


def shake_hands(ours: TlsSocket, theirs: ssl.SSLSocket) -> float:
    """CPU time of our side, in seconds."""
    spent = 0.0
    waiting: list[Callable[[], None] | None] = [theirs.do_handshake, ours.handshake]
    while any(waiting):
        for number, step in enumerate(waiting):
            if step is None:
                continue
            began = clock()
            with suppress(*WANTS):
                step()
                waiting[number] = None
            spent += clock() - began if number else 0.0
    return spent


def anyone(version: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion[version]
    return context


def listener(*pems: str) -> ServerContext:
    """With a name that is not the default's, so that choosing it is counted."""
    certificates = [{"names": [name], "pem": pem} for name, pem in zip(("default.example", NAME), pems, strict=False)]
    keys: dict[str, Any] = {"policy": "intermediate", "alpn": ["http/1.1"], "client_ca": "", "client_auth": "off"}
    return ServerContext(keys | {"strict_sni": False, "certificates": certificates, "default": [0]}, b"s" * 32)


def session_with(server: ServerContext, client: ssl.SSLContext) -> ssl.SSLSession | None:
    with ExitStack() as stack:
        ours, theirs = ends(stack)
        connection, other = server.wrap(ours), connect(client, theirs)
        shake_hands(connection, other)
        with suppress(ssl.SSLWantReadError):
            other.recv(1)
        session = other.session
        other.close()
    return session


def cases() -> list[Case]:
    made = []
    authority = trustme.CA()
    for kind, key in KINDS.items():
        pems = [
            authority.issue_cert(name, key_type=key).private_key_and_cert_chain_pem.bytes().decode()
            for name in ("default.example", NAME)
        ]
        for version in VERSIONS:
            server, client = listener(*pems), anyone(version)
            said = f"{kind:8} {version.replace('_', '.').replace('v', ' ')}"
            made.append(Case(f"{said} new", server, client))
            made.append(Case(f"{said} resumed", server, client, session_with(server, client)))
    return made


def joined(stack: ExitStack, server: ServerContext) -> tuple[TlsSocket, ssl.SSLSocket]:
    ours, theirs = ends(stack)
    connection, client = server.wrap(ours), connect(anyone("TLSv1_3"), theirs)
    shake_hands(connection, client)
    stack.enter_context(client)
    return connection, client


def message(server: ServerContext, size: int) -> tuple[float, float]:
    """Seconds of one recv and one send."""
    data = bytes(size)
    heard = said = 0.0
    with ExitStack() as stack:
        connection, client = joined(stack, server)
        for _ in range(MESSAGES):
            client.send(data)
            began = clock()
            connection.recv(PIECE)
            between = clock()
            connection.send(data)
            said += clock() - between
            heard += between - began
            client.recv(PIECE)
    return heard / MESSAGES, said / MESSAGES


def bulk(server: ServerContext) -> float:
    """Bytes per second of CPU, sent in pieces of PIECE."""
    with ExitStack() as stack:
        connection, client = joined(stack, server)
        client.setblocking(True)

        def swallow() -> None:
            room = bytearray(1 << 18)
            left = BULK
            while left > 0:
                left -= client.recv_into(room)

        thread = threading.Thread(target=swallow)
        thread.start()
        data, sent, spent = bytes(PIECE), 0, 0.0
        while sent < BULK:
            began = clock()
            try:
                sent += connection.send(data)
            except ssl.SSLWantWriteError:
                time.sleep(0.0002)
            spent += clock() - began
        thread.join()
    return BULK / spent


def hello_cost() -> float:
    out = ssl.MemoryBIO()
    client = anyone("TLSv1_3").wrap_bio(ssl.MemoryBIO(), out, server_hostname=NAME)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    said = out.read()
    began = clock()
    for _ in range(10_000):
        parse(said)
    return (clock() - began) / 10_000


def main() -> None:
    print(f"{ssl.OPENSSL_VERSION}; resumption across workers: {resumption_works() or 'yes'}")
    every = cases()
    for _ in range(ROUNDS):
        for case in every:
            case.round()
    print(f"{'':26}{'us':>7}{'outside':>9}{'per CPU-second':>16}")
    for case in every:
        whole, outside = (statistics.median(costs) for costs in zip(*case.costs, strict=True))
        print(f"{case.title:26}{whole * 1e6:7.0f}{outside * 1e6:9.1f}{1 / whole:16,.0f}")
    server = every[0].server
    for size in (100, 1024, 16384):
        heard, said = message(server, size)
        print(f"message of {size:5} bytes: recv {heard * 1e6:.1f} us, send {said * 1e6:.1f} us")
    print(f"bulk: {bulk(server) / 1e6:,.0f} MB per CPU-second")
    print(f"a ClientHello read without decrypting: {hello_cost() * 1e6:.1f} us")


if __name__ == "__main__":
    main()
