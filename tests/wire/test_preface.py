"""What comes before a session, on real sockets: PROXY headers, names in a hello, TLS on either side."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from nlb.model.address import Address, parse_address
from nlb.net.proxy_protocol.reading import parse
from nlb.net.proxy_protocol.tlvs import ALPN, AUTHORITY
from nlb.net.proxy_protocol.writing import encode_v1, encode_v2
from nlb.net.sockets import reset_on_close
from nlb.observe import counters
from tests.waiting import PATIENCE
from tests.wire.rig import Rig, carry, fate

CLIENT = parse_address("203.0.113.9:41000")
OURS = parse_address("192.0.2.1:443")


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def served(ca: trustme.CA, *names: str) -> dict[str, Any]:
    pair = ca.issue_cert(*names)
    pem = pair.private_key_pem.bytes() + b"".join(blob.bytes() for blob in pair.cert_chain_pems)
    return {"names": list(names), "pem": pem.decode()}


def tls_spec(*certificates: dict[str, Any], **also: Any) -> dict[str, Any]:
    spec = {"policy": "intermediate", "alpn": [], "client_ca": "", "client_auth": "off", "strict_sni": False}
    return spec | {"certificates": list(certificates), "default": [0]} | also


def client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


# --- the PROXY protocol


@pytest.mark.parametrize("header", [encode_v1(CLIENT, OURS), encode_v2(CLIENT, OURS)], ids=["v1", "v2"])
def test_the_client_that_a_trusted_proxy_tells_of(rig: Rig, header: bytes) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin), proxies=["127.0.0.0/8"], proxy_header_timeout=PATIENCE)
    client = rig.connect(address)
    client.sendall(header + b"hello")
    target = rig.stack.enter_context(origin.accept())
    assert target.recv(100) == b"hello"
    assert [session["client"] for session in rig.sessions()] == ["203.0.113.9:41000"]


def test_a_header_that_comes_byte_by_byte(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin), proxies=["127.0.0.0/8"], proxy_header_timeout=PATIENCE)
    client = rig.connect(address)
    for byte in encode_v2(CLIENT, OURS) + b"!":
        client.sendall(bytes((byte,)))
        rig.settle()
    target = rig.stack.enter_context(origin.accept())
    assert target.recv(100) == b"!"


@pytest.mark.parametrize(
    ("proxies", "said"),
    [
        (["127.0.0.0/8"], b"GET / HTTP/1.1\r\n"),
        (["127.0.0.0/8"], b"PROXY TCP4 203.0.113.9 192.0.2.1 70000 443\r\n"),
        (["10.0.0.0/8"], encode_v1(CLIENT, OURS)),
    ],
    ids=["none", "wrong", "a stranger's"],
)
def test_what_is_no_header_to_be_believed_never_reaches_a_target(rig: Rig, proxies: list[str], said: bytes) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin), proxies=proxies, proxy_header_timeout=PATIENCE)
    client = rig.connect(address)
    try:
        client.sendall(said)
    except ConnectionError:
        pass  # a stranger is reset at once
    assert fate(client) == "reset"
    rig.until(lambda: rig.outcomes == {"preface/bad_proxy_header": 1})
    assert rig.active == 0


def test_a_header_that_never_comes(rig: Rig) -> None:
    address = rig.listen(rig.group(rig.origin()), proxies=["127.0.0.0/8"], proxy_header_timeout=0.01)
    assert fate(rig.connect(address)) == "reset"
    rig.until(lambda: rig.outcomes == {"preface/timeout": 1})


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_target_is_told_who_its_client_is(rig: Rig, version: str) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin, proxy_protocol=version))
    client, target = rig.through(address, origin)
    client.sendall(b"hello")
    said = target.recv(1000)
    while b"hello" not in said:
        said += target.recv(1000)
    header = parse(said)
    assert header
    assert header.source == Address(*client.getsockname())
    assert header.destination == Address(*client.getpeername())
    assert said[header.size :] == b"hello"


# --- TLS that is passed on


def test_the_name_in_a_hello_leads_to_its_group(rig: Rig, ca: trustme.CA) -> None:
    front, secret = rig.origin(), rig.origin()
    default, special = rig.group(front), rig.group(secret)
    hellos = [{"sni": ["*.secret.example"], "alpn": [], "forward": [[special, 1]]}]
    address = rig.listen(default, hellos=hellos, handshake_timeout=PATIENCE)
    for name, origin in (("www.secret.example", secret), ("www.example", front)):
        client = rig.connect(address)
        hello = ssl.MemoryBIO()
        end = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname=name)
        with pytest.raises(ssl.SSLWantReadError):
            end.do_handshake()
        said = hello.read()
        client.sendall(said[:7])
        rig.settle()
        client.sendall(said[7:])
        target = rig.stack.enter_context(origin.accept())
        got = b""
        while len(got) < len(said):
            got += target.recv(65536)
        assert got == said


def test_what_is_no_hello_goes_to_the_default(rig: Rig) -> None:
    front, secret = rig.origin(), rig.origin()
    default, special = rig.group(front), rig.group(secret)
    hellos = [{"sni": [], "alpn": [], "forward": [[special, 1]]}]
    client = rig.connect(rig.listen(default, hellos=hellos, handshake_timeout=PATIENCE))
    client.sendall(b"SSH-2.0-x\r\n")
    assert rig.stack.enter_context(front.accept()).recv(100) == b"SSH-2.0-x\r\n"


# --- TLS that ends here


def test_bytes_in_the_clear_behind_tls(rig: Rig, ca: trustme.CA) -> None:
    origin = rig.origin()
    spec = tls_spec(served(ca, "www.example"), served(ca, "*.other.example"))
    address = rig.listen(rig.group(origin), tls=spec, handshake_timeout=PATIENCE)
    for name in ("www.example", "a.other.example"):
        with client_context(ca).wrap_socket(rig.connect(address), server_hostname=name) as client:
            target = rig.stack.enter_context(origin.accept())
            assert carry(client, target, b"x" * 300_000) == b"x" * 300_000
            assert carry(target, client, b"y" * 300_000) == b"y" * 300_000
            target.close()
            assert client.recv(1) == b""
    rig.until(lambda: not rig.active)


def test_plain_http_on_a_port_of_tls_is_told_so(rig: Rig, ca: trustme.CA) -> None:
    address = rig.listen(rig.group(rig.origin()), tls=tls_spec(served(ca, "a")), handshake_timeout=PATIENCE)
    client = rig.connect(address)
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.recv(1000).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    rig.until(lambda: rig.outcomes == {"preface/plain_http": 1})


def test_who_came_before_a_listener_ceased_to_speak_tls_is_served_as_it_was(rig: Rig, ca: trustme.CA) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin), tls=tls_spec(served(ca, "a")), handshake_timeout=PATIENCE)
    before = rig.connect(address)
    rig.until(lambda: rig.active)
    rig.amend(tls=None)
    with client_context(ca).wrap_socket(before, server_hostname="a") as client:
        client.sendall(b"hello")
        assert rig.stack.enter_context(origin.accept()).recv(100) == b"hello"


def test_a_handshake_that_never_comes(rig: Rig, ca: trustme.CA) -> None:
    address = rig.listen(rig.group(rig.origin()), tls=tls_spec(served(ca, "a")), handshake_timeout=0.01)
    assert fate(rig.connect(address)) == "reset"
    rig.until(lambda: rig.outcomes == {"preface/timeout": 1})


def test_a_client_that_does_not_trust_us(rig: Rig, ca: trustme.CA) -> None:
    address = rig.listen(rig.group(rig.origin()), tls=tls_spec(served(ca, "a")), handshake_timeout=PATIENCE)
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(rig.connect(address), server_hostname="a")
    rig.until(lambda: rig.outcomes == {"preface/client_alert": 1})


def greeting(ca: trustme.CA) -> bytes:
    """A ClientHello."""
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client_context(ca).wrap_bio(ssl.MemoryBIO(), out, server_hostname="a").do_handshake()
    return out.read()


@contextlib.contextmanager
def halted(rig: Rig) -> Iterator[None]:
    """While the worker stands still, others do what it will find all at once."""
    os.kill(rig.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(rig.process.pid, signal.SIGCONT)


def test_handshakes_that_come_at_once_have_a_turn_of_the_loop_each(rig: Rig, ca: trustme.CA) -> None:
    address = rig.listen(rig.group(rig.origin()), tls=tls_spec(served(ca, "a")), handshake_timeout=PATIENCE)
    words = rig.row.worker
    rig.until(lambda: words[counters.TURNS])
    hello, before = greeting(ca), words[counters.TURNS]
    with halted(rig):
        clients = [rig.connect(address) for _ in range(100)]
        for client in clients:
            client.sendall(hello)
    for client in clients:
        assert client.recv(3).startswith(b"\x16\x03"), "a handshake's record"
    rig.turns_of_a_sweep()
    assert words[counters.TURNS] - before >= 100


def test_who_left_before_its_turn_ends_as_one_that_left(rig: Rig, ca: trustme.CA) -> None:
    address = rig.listen(rig.group(rig.origin()), tls=tls_spec(served(ca, "a")), handshake_timeout=PATIENCE)
    hello = greeting(ca)
    with halted(rig):
        clients = [rig.connect(address) for _ in range(20)]
        for client in clients:
            client.sendall(hello)
        for client in clients[10:15]:
            client.close()
        for client in clients[15:]:
            reset_on_close(client)
            client.close()
    rig.until(lambda: rig.outcomes == {"preface/client_closed": 5, "preface/client_reset": 5})
    assert rig.active == 10


# --- TLS to the target


@pytest.mark.parametrize(
    ("name", "trusted", "outcome"),
    [
        ("target.example", True, ""),
        ("other.example", True, "connect/certificate"),
        ("target.example", False, "connect/certificate"),
    ],
    ids=["good", "another name", "an unknown authority"],
)
def test_a_target_is_verified(rig: Rig, ca: trustme.CA, name: str, trusted: bool, outcome: str) -> None:
    origin = rig.origin()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("target.example").configure_cert(context)
    authority = ca if trusted else trustme.CA()
    tls = {"verify": True, "ca": authority.cert_pem.bytes().decode(), "server_name": name, "alpn": []}
    address = rig.listen(rig.group(origin, tries=1, odd={"tls": tls}))
    client = rig.connect(address)
    client.sendall(b"hello")
    accepted = rig.stack.enter_context(origin.accept())
    accepted.setblocking(False)
    served_end = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
    rig.stack.enter_context(served_end)

    def shaken() -> bool:
        try:
            served_end.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True
        return True

    rig.until(shaken)
    if outcome:
        rig.until(lambda: rig.outcomes == {outcome: 1})
        return
    got = bytearray()

    def heard() -> bool:
        try:
            got.extend(served_end.recv(100))
        except ssl.SSLWantReadError:
            pass
        return bytes(got) == b"hello"

    rig.until(heard)
    served_end.send(b"world")
    assert client.recv(100) == b"world"


def test_handshakes_with_targets_have_a_turn_of_the_loop_each_too(rig: Rig) -> None:
    origin = rig.origin()
    tls = {"verify": False, "ca": None, "server_name": "", "alpn": []}
    address = rig.listen(rig.group(origin, tries=1, odd={"tls": tls}))
    words = rig.row.worker
    rig.until(lambda: words[counters.TURNS])
    before = words[counters.TURNS]
    with halted(rig):
        for _ in range(50):
            rig.connect(address)
    targets = [rig.stack.enter_context(origin.accept()) for _ in range(50)]
    for target in targets:
        assert target.recv(3).startswith(b"\x16\x03"), "a handshake's record"
    rig.turns_of_a_sweep()
    assert words[counters.TURNS] - before >= 50
    for target in targets:
        reset_on_close(target)
        target.close()
    rig.until(lambda: rig.outcomes == {"connect/tls": 50})


def test_the_facts_of_tls_go_on_in_a_proxy_header(rig: Rig, ca: trustme.CA) -> None:
    origin = rig.origin()
    spec = tls_spec(served(ca, "www.example"), alpn=["postgresql"])
    address = rig.listen(rig.group(origin, proxy_protocol="v2"), tls=spec, handshake_timeout=PATIENCE)
    context = client_context(ca)
    context.set_alpn_protocols(["postgresql"])
    with context.wrap_socket(rig.connect(address), server_hostname="www.example") as client:
        client.sendall(b"hello")
        target = rig.stack.enter_context(origin.accept())
        said = target.recv(1000)
        header = parse(said)
        assert header
        assert (header.tlvs[AUTHORITY], header.tlvs[ALPN]) == (b"www.example", b"postgresql")
        assert header.tls is not None
        assert (header.tls.version, header.tls.cipher) == (client.version(), (client.cipher() or [""])[0])
        assert (header.tls.signature, header.tls.key) == ("ecdsa-with-SHA256", "EC256")
        assert not header.tls.has_certificate
        assert len(header.unique_id) == 32


@pytest.mark.parametrize("common_name", ["alice", "", "é" * 30])
def test_a_client_s_certificate_goes_on_in_a_proxy_header(rig: Rig, ca: trustme.CA, common_name: str) -> None:
    origin = rig.origin()
    authority = ca.cert_pem.bytes().decode()
    spec = tls_spec(served(ca, "www.example"), client_auth="required", client_ca=authority)
    address = rig.listen(rig.group(origin, proxy_protocol="v2"), tls=spec, handshake_timeout=PATIENCE)
    context = client_context(ca)
    named = {"common_name": common_name} if common_name else {}
    ca.issue_cert("client@www.example", **named).configure_cert(context)
    with context.wrap_socket(rig.connect(address), server_hostname="www.example") as client:
        client.sendall(b"hello")
        header = parse(rig.stack.enter_context(origin.accept()).recv(1000))
        assert header
        assert header.tls
        assert (header.tls.has_certificate, header.tls.is_verified, header.tls.is_remembered) == (True, True, False)
        assert header.tls.common_name == common_name


def test_an_id_is_the_same_at_every_target_that_is_tried(rig: Rig, ca: trustme.CA) -> None:
    """A target that does not speak TLS has got the header before it fails."""
    origins = rig.origin(), rig.origin()
    tls = {"verify": False, "ca": None, "server_name": "", "alpn": []}
    address = rig.listen(rig.group(*origins, proxy_protocol="v2", tries=2, odd={"tls": tls}))
    rig.connect(address)
    ids = []
    for origin in origins:
        with origin.accept() as target:
            header = parse(target.recv(28 + 10 + 35 + 7))
            assert header
            ids.append(header.unique_id)
            target.sendall(b"this is no TLS\r\n")
    assert ids[0] == ids[1]


def test_a_client_that_half_closes_in_tls(rig: Rig, ca: trustme.CA) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin), tls=tls_spec(served(ca, "a")), handshake_timeout=PATIENCE)
    client = client_context(ca).wrap_socket(rig.connect(address), server_hostname="a")
    rig.stack.enter_context(client)
    client.sendall(b"last words")
    target = rig.stack.enter_context(origin.accept())
    assert target.recv(100) == b"last words"
    target.sendall(b"an answer")
    target.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b"an answer"
    assert client.recv(100) == b""
