"""A listener's side of TLS, against Python's client over real sockets."""

from __future__ import annotations

import gc
import os
import random
import select
import socket
import ssl
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from nlb.net import tls as module
from nlb.net.peer_certificate import peer_certificate
from nlb.net.sockets import WANTS, WOULD_BLOCK, reset_on_close
from nlb.net.tls import HANDSHAKE_CAUSES, ServerContext, TlsSocket, handshake_cause, parted
from nlb.net.tls_context import server_context
from tests.authority import ECDSA, RSA, Authority, spec
from tests.tlsends import Meeting, anyone, kind_in

SECRET = b"s" * 32
VERSIONS = ["TLSv1_2", "TLSv1_3"]

Meet = Callable[..., Meeting]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def shop(authority: Authority) -> str:
    return authority.pair("shop.example", key_type=ECDSA)


@pytest.fixture
def meet(stack: ExitStack) -> Meet:
    return lambda *args, **keys: Meeting(stack, *args, **keys)


def received(end: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            data += end.recv(size - len(data))
        except WANTS:
            pass
    return data


# --- the handshake


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_and_facts(meet: Meet, shop: str, version: str) -> None:
    server = ServerContext(spec((["shop.example"], shop), alpn=["http/1.1"]))
    client = anyone(version)
    client.set_alpn_protocols(["h2", "http/1.1"])
    met = meet(server, client)
    assert (met.failed, met.refused) == (None, None)
    ours = met.ours
    assert ours.version == version.replace("_", ".")
    assert "AES" in ours.cipher
    assert (ours.alpn, ours.server_name, ours.is_resumed) == ("http/1.1", "shop.example", False)
    assert ours.send(b"hello") == 5
    assert received(met.theirs, 5) == b"hello"
    met.theirs.send(b"thanks")
    assert received(ours, 6) == b"thanks"
    with pytest.raises(ssl.SSLWantReadError):
        ours.recv(10)
    assert issubclass(ssl.SSLWantReadError, WOULD_BLOCK)


def test_no_facts_before(stack: ExitStack, shop: str) -> None:
    ours, theirs = socket.socketpair()
    stack.enter_context(theirs)
    ours.setblocking(False)
    connection = ServerContext(spec((["shop.example"], shop))).wrap(ours)
    with pytest.raises(ssl.SSLWantReadError):
        connection.handshake()
    assert (connection.version, connection.cipher, connection.alpn, connection.server_name) == ("", "", "", "")
    connection.close()
    assert theirs.recv(10) == b""


def ciphers(names: str) -> ssl.SSLContext:
    client = anyone("TLSv1_2")
    client.set_ciphers(names)
    return client


def group(name: str) -> ssl.SSLContext:
    client = anyone()
    client.set_ecdh_curve(name)
    return client


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("policy", "client", "outcome"),
    [
        ("intermediate", lambda: anyone("TLSv1_3"), "TLS_AES_128_GCM_SHA256"),
        ("modern", lambda: anyone("TLSv1_3"), "TLS_AES_128_GCM_SHA256"),
        ("intermediate", lambda: anyone("TLSv1_2"), "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("modern", lambda: anyone("TLSv1_2"), "old_version"),
        ("intermediate", lambda: ciphers("ECDHE-ECDSA-AES256-SHA384"), "no_common_cipher"),
        ("intermediate", lambda: ciphers("ECDHE-RSA-AES128-GCM-SHA256"), "no_common_cipher"),
        ("intermediate", lambda: ciphers("ECDHE-ECDSA-CHACHA20-POLY1305"), "ECDHE-ECDSA-CHACHA20-POLY1305"),
        (
            "intermediate",
            lambda: ciphers("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"),
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
        (
            "intermediate",
            lambda: ciphers("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"),
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        ("intermediate", lambda: group("prime256v1"), "TLS_AES_128_GCM_SHA256"),
        ("intermediate", lambda: group("secp521r1"), "no_common_cipher"),
        (
            "intermediate",
            lambda: anyone("TLSv1_1", minimum_version=ssl.TLSVersion.TLSv1_1, options=ssl.OP_ALL),
            "old_version",
        ),
    ],
)
def test_what_a_policy_allows(
    meet: Meet, shop: str, policy: str, client: Callable[[], ssl.SSLContext], outcome: str
) -> None:
    wants = client()
    if wants.maximum_version == ssl.TLSVersion.TLSv1_1:
        wants.set_ciphers("ALL:@SECLEVEL=0")
    met = meet(ServerContext(spec((["shop.example"], shop), policy=policy)), wants)
    if met.failed:
        assert handshake_cause(met.failed) == outcome
    else:
        assert met.ours.cipher == outcome


# --- which certificate


@pytest.fixture(scope="module")
def many(authority: Authority) -> dict[str, Any]:
    names = ["default.example", "shop.example", "*.shop.example", "deep.er.shop.example"]
    return spec(*(([name], authority.pair(name)) for name in names))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("shop.example", "shop.example"),
        ("SHOP.Example", "shop.example"),
        ("www.shop.example", "*.shop.example"),
        ("deep.er.shop.example", "deep.er.shop.example"),
        ("other.er.shop.example", None),
        ("example", None),
        ("192.0.2.1", None),
        (None, None),
    ],
)
def test_the_name_chooses_the_certificate(
    meet: Meet, many: dict[str, Any], version: str, asked: str | None, served: str | None
) -> None:
    met = meet(ServerContext(many), anyone(version), asked)
    assert met.names == [served or "default.example"]
    said = asked.lower() if asked and not asked[0].isdigit() else ""
    assert met.ours.server_name == said
    strict = meet(ServerContext(many | {"strict_sni": True}), anyone(version), asked)
    if served:
        assert strict.names == [served]
    else:
        assert strict.failed is not None
        assert handshake_cause(strict.failed) == "unknown_name"
        assert "UNRECOGNIZED_NAME" in str(strict.refused)


def test_names_meet_the_same_context_again(meet: Meet, many: dict[str, Any]) -> None:
    server = ServerContext(many)
    for _ in range(2):
        assert meet(server, anyone(), "shop.example").names == ["shop.example"]


@pytest.mark.parametrize(
    ("client", "kind"),
    [
        (anyone, "ecdsa"),
        (lambda: ciphers("ECDHE-RSA-AES128-GCM-SHA256"), "rsa"),
        (lambda: ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"), "ecdsa"),
    ],
)
@pytest.mark.parametrize("place", ["default", "named"])
def test_ecdsa_and_rsa_side_by_side(
    meet: Meet, authority: Authority, client: Callable[[], ssl.SSLContext], kind: str, place: str
) -> None:
    pairs = [(["shop.example"], authority.pair("shop.example", key_type=which)) for which in (RSA, ECDSA)]
    other = ([], authority.pair("other.example"))
    server = ServerContext(spec(*pairs, default=[0, 1]) if place == "default" else spec(other, *pairs, default=[0]))
    context = client()
    met = meet(server, context)
    assert met.names == ["shop.example"]
    assert kind_in(met.theirs.getpeercert(binary_form=True) or b"") == kind
    assert met.ours.shown == ("ecdsa-with-SHA256", "RSA2048" if kind == "rsa" else "EC256")
    again = meet(server, context, session=met.session)
    assert again.ours.is_resumed
    assert again.ours.shown == ("", "")


def hearing(stack: ExitStack, made_of: dict[str, Any], name: bytes) -> TlsSocket:
    """A client has asked for this name, which Python's would not."""
    ours, theirs = socket.socketpair()
    stack.enter_context(theirs)
    ours.setblocking(False)
    said = ssl.MemoryBIO()
    instead = "a" * len(name) if len(name) < 60 else name.decode()
    client = anyone().wrap_bio(ssl.MemoryBIO(), said, server_hostname=instead)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    theirs.send(said.read().replace(instead.encode(), name))
    return ServerContext(made_of).wrap(ours)


def test_a_name_that_is_none_fills_no_log(stack: ExitStack, shop: str, capfd: pytest.CaptureFixture[str]) -> None:
    connection = hearing(stack, spec((["shop.example"], shop)), b"\xff" * 8)
    with pytest.raises(ssl.SSLError) as failed:
        connection.handshake()
    connection.close()
    assert handshake_cause(failed.value) == "unknown_name"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a\nb.example", "x\x7f.example", ".".join(["a" * 50] * 5)])
def test_a_strange_name_is_served_and_not_told_on(stack: ExitStack, shop: str, name: str) -> None:
    connection = hearing(stack, spec((["shop.example"], shop)), name.encode())
    with pytest.raises(ssl.SSLWantReadError):
        connection.handshake()
    assert connection.server_name == ""
    connection.close()


# --- client certificates


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("auth", "who", "outcome"),
    [
        ("off", "alice", None),
        ("optional", "", None),
        ("optional", "alice", "alice"),
        ("optional", "stranger", "bad_client_certificate"),
        ("required", "alice", "alice"),
        ("required", "", "no_client_certificate"),
        ("required", "stranger", "bad_client_certificate"),
    ],
)
@pytest.mark.parametrize("name", ["shop.example", "other.example"])
def test_client_certificates(
    meet: Meet, authority: Authority, version: str, auth: str, who: str, outcome: str | None, name: str
) -> None:
    pairs = [([host], authority.pair(host)) for host in ("shop.example", "other.example")]
    server = ServerContext(spec(*pairs, client_auth=auth, client_ca=authority.pem), SECRET)
    client = anyone(version)
    if who:
        signer = authority if who == "alice" else Authority()
        signer.ca.issue_cert(f"{who}@shop.example", common_name=who).configure_cert(client)
    met = meet(server, client, name)
    if outcome in HANDSHAKE_CAUSES:
        assert met.failed is not None
        assert handshake_cause(met.failed) == outcome
        return
    assert met.failed is None
    shown = peer_certificate(met.ours)
    assert (shown and shown.subject.partition(",")[0]) == (outcome and f"CN={outcome}")
    if shown is None:
        return
    assert len(shown.fingerprint) == 64
    assert int(shown.serial, 16) > 0
    assert "O=trustme" in shown.issuer
    again = meet(server, client, name, session=met.session)
    assert again.ours.is_resumed
    assert peer_certificate(again.ours) == shown


def test_clients_are_told_whose_certificates_are_wanted(stack: ExitStack, authority: Authority, shop: str) -> None:
    server = ServerContext(spec((["shop.example"], shop), client_auth="required", client_ca=authority.pem))
    ours, theirs = socket.socketpair()
    stack.enter_context(theirs)
    ours.setblocking(False)
    said = ssl.MemoryBIO()
    client = anyone("TLSv1_2").wrap_bio(ssl.MemoryBIO(), said, server_hostname="shop.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    theirs.send(said.read())
    connection = server.wrap(ours)
    with pytest.raises(ssl.SSLWantReadError):
        connection.handshake()
    # In TLS 1.2 all of this is in the clear. The name of an authority is its subject, as it stands in its certificate.
    assert theirs.recv(65536).count(b"Testing CA") >= 2
    connection.close()


# --- tickets


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_comes_back_to_another_worker(meet: Meet, many: dict[str, Any], version: str) -> None:
    one, other, stranger = (ServerContext(many, secret) for secret in (SECRET, SECRET, b"t" * 32))
    client = anyone(version)
    for name in ("shop.example", "default.example", "www.shop.example"):
        session = meet(one, client, name).session
        again = meet(other, client, name, session=session)
        assert again.ours.is_resumed
        assert again.ours.server_name == name
        assert again.theirs.session_reused
        assert not meet(stranger, client, name, session=session).ours.is_resumed


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_comes_back_after_a_renewal(meet: Meet, authority: Authority, version: str) -> None:
    old, new = (spec((["shop.example"], authority.pair("shop.example"))) for _ in range(2))
    client = anyone(version)
    session = meet(ServerContext(old, SECRET), client).session
    assert meet(ServerContext(new, SECRET), client, session=session).ours.is_resumed


@pytest.mark.parametrize("version", VERSIONS)
def test_another_secret_ends_what_the_first_began(meet: Meet, shop: str, version: str) -> None:
    server = ServerContext(spec((["shop.example"], shop)), SECRET)
    client = anyone(version)
    session = meet(server, client).session
    assert server.share_tickets(b"t" * 32)
    again = meet(server, client, session=session)
    assert again.failed is None
    assert not again.ours.is_resumed
    assert meet(server, client, session=again.session).ours.is_resumed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "keys",
    [
        lambda authority: {"client_auth": "required", "client_ca": authority.pem},
        lambda authority: {"client_auth": "optional", "client_ca": Authority().pem},
    ],
    ids=["a certificate is required here", "of another authority"],
)
def test_a_ticket_lets_nobody_in_where_a_certificate_is_asked_for(
    meet: Meet, authority: Authority, shop: str, version: str, keys: Any
) -> None:
    pair = (["shop.example"], shop)
    easy = ServerContext(spec(pair, client_auth="optional", client_ca=authority.pem), SECRET)
    hard = ServerContext(spec(pair, **keys(authority)), SECRET)
    client = anyone(version)
    session = meet(easy, client).session
    assert meet(easy, client, session=session).ours.is_resumed
    met = meet(hard, client, session=session)
    assert met.failed is not None or not met.ours.is_resumed


def test_without_openssl_in_reach_all_but_tickets_works(
    meet: Meet, shop: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in ("tls", "tls_context", "tickets"):
        monkeypatch.setattr(f"nlb.net.{where}.openssl", lambda: None)
    keys = {"client_auth": "required", "client_ca": authority.pem}
    server = ServerContext(spec((["shop.example"], shop), **keys), SECRET)
    assert not server.share_tickets(SECRET)
    client = authority.client("alice@shop.example", common_name="alice")
    met = meet(server, client)
    assert met.failed is None
    assert met.ours.shown == ("", "")
    assert meet(server, client, session=met.session).ours.is_resumed
    met.ours.close()
    assert met.theirs.recv(1) == b""


# --- ends


@pytest.mark.parametrize("version", VERSIONS)
def test_goodbye_from_the_client(meet: Meet, shop: str, version: str) -> None:
    met = meet(ServerContext(spec((["shop.example"], shop))), anyone(version))
    met.theirs.send(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        met.theirs.unwrap()
    assert received(met.ours, 10) == b"last words"
    assert met.ours.recv(10) == b""
    assert met.ours.recv(10) == b""


def test_an_end_without_goodbye_is_told_from_one_with(meet: Meet, shop: str) -> None:
    met = meet(ServerContext(spec((["shop.example"], shop))), anyone())
    met.theirs.send(b"cut sh")
    met.theirs.shutdown(socket.SHUT_RDWR)
    assert received(met.ours, 6) == b"cut sh"
    with pytest.raises(ssl.SSLEOFError):
        met.ours.recv(10)


def test_half_of_a_half_closed_connection_is_not_lost(meet: Meet, shop: str) -> None:
    met = meet(ServerContext(spec((["shop.example"], shop))), anyone())
    met.theirs.send(b"under way already, ")
    met.ours.shutdown(socket.SHUT_WR)
    assert met.theirs.recv(10) == b""
    met.theirs.send(b"and said after that")
    assert received(met.ours, 38) == b"under way already, and said after that"
    with pytest.raises(ssl.SSLWantReadError):
        met.ours.recv(1)
    met.theirs.unwrap()
    assert met.ours.recv(10) == b""


def test_what_is_held_up_arrives_once_and_the_goodbye_after_it(meet: Meet, shop: str) -> None:
    met = meet(ServerContext(spec((["shop.example"], shop))), anyone())
    data = random.Random(1).randbytes(4 << 20)
    unsent, held_up, got = memoryview(data), 0, b""
    while unsent:
        try:
            unsent = unsent[met.ours.send(unsent[:65536]) :]
        except ssl.SSLWantWriteError:
            held_up += 1
            got += drained(met.theirs, 100_000)
    assert held_up > 10
    said = False
    while not said:
        try:
            met.ours.shutdown(socket.SHUT_WR)
            said = True
        except ssl.SSLWantWriteError:
            got += drained(met.theirs, 10_000)
    assert got + received(met.theirs, len(data) - len(got)) == data
    assert met.theirs.recv(10) == b""


def drained(end: ssl.SSLSocket, size: int) -> bytes:
    """What is there, until it is at least so much."""
    got = b""
    with suppress(ssl.SSLWantReadError):
        while len(got) < size:
            got += end.recv(65536)
    return got


@pytest.mark.parametrize("in_reach", [True, False], ids=["", "without openssl in reach"])
def test_goodbye_waits_for_room(meet: Meet, shop: str, monkeypatch: pytest.MonkeyPatch, in_reach: bool) -> None:
    if not in_reach:
        monkeypatch.setattr("nlb.net.tls.openssl", lambda: None)
    met = meet(ServerContext(spec((["shop.example"], shop))), anyone("TLSv1_2"))
    below, other = met.ours.sock, met.theirs.fileno()
    with suppress(BlockingIOError):
        while True:
            below.send(bytes(1 << 16))
    for _ in range(2):
        assert not parted(met.ours)
        with pytest.raises(ssl.SSLWantWriteError):
            met.ours.shutdown(socket.SHUT_WR)
    with suppress(BlockingIOError):
        while True:
            os.read(other, 1 << 16)
    assert parted(met.ours)
    met.ours.shutdown(socket.SHUT_WR)
    said = os.read(other, 100)
    assert said.startswith(b"\x15\x03\x03")
    assert len(said) == 5 + said[4]
    assert os.read(other, 100) == b""


@pytest.mark.parametrize("version", VERSIONS)
def test_goodbye_to_a_client_that_is_gone(meet: Meet, shop: str, version: str) -> None:
    server = ServerContext(spec((["shop.example"], shop)))
    met, other = (meet(server, anyone(version)) for _ in range(2))
    met.theirs.close()
    with suppress(BrokenPipeError):
        met.ours.shutdown(socket.SHUT_WR)
    met.ours.close()
    with pytest.raises(ssl.SSLWantReadError):
        other.ours.recv(1)


def test_a_close_in_the_middle_of_a_write_harms_no_other_connection(meet: Meet, shop: str) -> None:
    server = ServerContext(spec((["shop.example"], shop)))
    met, other = (meet(server, anyone()) for _ in range(2))
    with suppress(ssl.SSLWantWriteError):
        for _ in range(1000):
            met.ours.send(bytes(1 << 16))
    met.ours.close()
    with pytest.raises(ssl.SSLWantReadError):
        other.ours.recv(1)


def test_closing_says_goodbye(meet: Meet, shop: str) -> None:
    met = meet(ServerContext(spec((["shop.example"], shop))), anyone())
    met.ours.send(b"bye")
    met.ours.close()
    met.ours.close()
    assert received(met.theirs, 3) == b"bye"
    assert met.theirs.recv(10) == b""


def test_who_has_nothing_to_say_has_parted(stack: ExitStack, meet: Meet, shop: str) -> None:
    """A socket without TLS, one that is to be reset, one that never shook hands."""
    one, two = socket.socketpair()
    stack.enter_context(two)
    assert parted(one)
    server = ServerContext(spec((["shop.example"], shop)))
    fresh = server.wrap(one)
    assert parted(fresh)
    fresh.close()
    met = meet(server, anyone())
    reset_on_close(met.ours)
    assert parted(met.ours)
    with pytest.raises(ssl.SSLWantReadError):
        met.theirs.recv(10)


def test_a_reset_says_nothing(meet: Meet, shop: str) -> None:
    met = meet(ServerContext(spec((["shop.example"], shop))), anyone())
    reset_on_close(met.ours)
    met.ours.close()
    with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
        met.theirs.recv(10)


# --- what goes wrong


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n", "plain_http"),
        (b"OPTIONS / HTTP/1.1\r\nHost: shop.example\r\n\r\n", "plain_http"),
        (b"CONNECT a:443 HTTP/1.1\r\n\r\n", "plain_http"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not_tls"),
        (bytes(100), "not_tls"),
        (bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + bytes(20), "not_tls"),
        (b"\x16\x03\x01\xff\xff" + bytes(100), "not_tls"),
        (b"\x16\x03\x01\x00\x10" + bytes(100), "not_tls"),
        (b"\x16\x03\x01\x00\x08\x01\x00\x00\x04abcd", "bad_handshake"),
        (b"\x16\x03\x01", "client_closed"),
        (b"", "client_closed"),
    ],
)
def test_what_is_said_instead_of_a_handshake(stack: ExitStack, shop: str, said: bytes, cause: str) -> None:
    ours, theirs = socket.socketpair()
    stack.enter_context(theirs)
    ours.setblocking(False)
    theirs.send(said)
    theirs.shutdown(socket.SHUT_WR)
    connection = ServerContext(spec((["shop.example"], shop))).wrap(ours)
    with pytest.raises(OSError, match=r".") as failed:
        connection.handshake()
    assert handshake_cause(failed.value, ours) == cause
    connection.close()


def test_a_plain_answer_to_a_plain_request(stack: ExitStack, shop: str) -> None:
    ours, theirs = socket.socketpair()
    stack.enter_context(theirs)
    ours.setblocking(False)
    theirs.send(b"GET / HTTP/1.1\r\n\r\n")
    connection = ServerContext(spec((["shop.example"], shop))).wrap(ours)
    with pytest.raises(ssl.SSLError):
        connection.handshake()
    connection.sock.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.close()
    assert theirs.recv(100) == b"HTTP/1.1 400 Bad Request\r\n\r\n"


def test_a_client_that_does_not_trust_us(meet: Meet, shop: str) -> None:
    for version in VERSIONS:
        client = ssl.create_default_context()
        client.maximum_version = ssl.TLSVersion[version]
        met = meet(ServerContext(spec((["shop.example"], shop))), client)
        assert met.failed is not None
        assert handshake_cause(met.failed) == "client_alert"


def test_a_reset_in_the_middle(stack: ExitStack, shop: str) -> None:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    theirs = socket.create_connection(listener.getsockname())
    ours, _ = listener.accept()
    ours.setblocking(False)
    connection = ServerContext(spec((["shop.example"], shop))).wrap(ours)
    with pytest.raises(ssl.SSLWantReadError):
        connection.handshake()
    reset_on_close(theirs)
    theirs.close()
    select.select([ours], [], [], 10)
    with pytest.raises(OSError, match=r".") as failed:
        connection.handshake()
    assert handshake_cause(failed.value) == "client_reset"
    connection.close()


def test_a_client_that_asks_anew_in_mid_life_is_refused(shop: str) -> None:
    assert server_context("intermediate").options & ssl.OP_NO_RENEGOTIATION


def test_every_cause_has_its_meaning() -> None:
    assert set(module._CAUSES.values()) < set(HANDSHAKE_CAUSES)


# --- memory


def test_a_reload_leaves_nothing_behind(meet: Meet, many: dict[str, Any]) -> None:
    """Workers freeze what they have, so whatever only a collection would find stays for ever."""
    server = ServerContext(many, SECRET)
    met = meet(server, anyone(), "shop.example")
    assert server._initial.sni_callback is not None
    names = server._initial.sni_callback.__self__  # type: ignore[attr-defined]
    kept = [weakref.ref(one) for one in (server._initial, *names._made.values(), met.ours)]
    assert len(kept) == 3
    gc.disable()
    try:
        met.ours.close()
        del server, names, met
        assert [one() for one in kept] == [None] * 3
    finally:
        gc.enable()


def test_a_client_s_side_without_a_name_is_refused() -> None:
    one, two = socket.socketpair()
    with one, two, pytest.raises(ValueError, match="whom the certificate must be for is not said"):
        TlsSocket(one, ssl.create_default_context(), False)
