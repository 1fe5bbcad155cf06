"""TLS towards targets: verified by default, by name or address."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from nlb.net.sockets import WANTS
from nlb.net.tls import TlsSocket
from nlb.net.tls_client import ClientContext, name_for, trusting
from tests.authority import Authority
from tests.tlsends import shake_hands

Reach = Callable[..., tuple[TlsSocket, OSError | None]]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def target(authority: Authority) -> ssl.SSLContext:
    """A target's side, with names and an address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.ca.issue_cert("shop.example", "192.0.2.7", "bücher.example").configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    return context


@pytest.fixture
def reach(target: ssl.SSLContext) -> Iterator[Reach]:
    """Our side after the handshake with the target, or why there was none."""
    with ExitStack() as stack:

        def meet(context: ClientContext, name: str, session: Any = None) -> tuple[TlsSocket, OSError | None]:
            ours, theirs = socket.socketpair()
            for sock in (ours, theirs):
                stack.enter_context(sock).setblocking(False)
            connection = context.wrap(ours, name, session)
            other = target.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False)
            stack.callback(other.close)
            stack.callback(connection.close)
            failed, _ = shake_hands(connection, other)
            return connection, failed

        yield meet


def test_a_verified_target(reach: Reach, authority: Authority, target: ssl.SSLContext) -> None:
    asked = []
    target.sni_callback = lambda sock, name, context: asked.append(name)
    connection, failed = reach(ClientContext(authorities=authority.pem, alpn=["http/1.1"]), "shop.example")
    assert failed is None
    assert (connection.alpn, connection.version, connection.server_name) == ("http/1.1", "TLSv1.3", "shop.example")
    assert asked == ["shop.example"]


@pytest.mark.parametrize("name", ["shop.example", "192.0.2.7", "xn--bcher-kva.example"])
def test_names_in_the_certificate(reach: Reach, authority: Authority, name: str) -> None:
    assert reach(ClientContext(authorities=authority.pem), name)[1] is None


@pytest.mark.parametrize(
    ("trusted", "name", "why"),
    [
        (True, "other.example", "Hostname mismatch, certificate is not valid for 'other.example'."),
        (True, "192.0.2.8", "IP address mismatch, certificate is not valid for '192.0.2.8'."),
        (False, "shop.example", "unable to get local issuer certificate"),
    ],
)
def test_a_target_that_is_not_believed(reach: Reach, authority: Authority, trusted: bool, name: str, why: str) -> None:
    context = ClientContext(authorities=authority.pem if trusted else None)
    failed = reach(context, name)[1]
    assert isinstance(failed, ssl.SSLCertVerificationError)
    assert failed.verify_message == why


def test_unverified_only_when_it_is_said(reach: Reach) -> None:
    assert reach(ClientContext(verify=False), "anyone.example")[1] is None
    assert reach(ClientContext(verify=False), "")[1] is None


def test_verified_without_a_name_is_not_possible(reach: Reach, authority: Authority) -> None:
    with pytest.raises(ValueError, match="whom the certificate must be for is not said"):
        reach(ClientContext(authorities=authority.pem), "")


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_coming_back_to_a_target(reach: Reach, authority: Authority, target: ssl.SSLContext, version: str) -> None:
    target.maximum_version = ssl.TLSVersion[version]
    context = ClientContext(authorities=authority.pem)
    first, _ = reach(context, "shop.example")
    with pytest.raises(WANTS):
        first.recv(1)
    again, failed = reach(context, "shop.example", first.session)
    assert failed is None
    assert again.is_resumed


def test_authorities_that_are_none() -> None:
    with pytest.raises(OSError, match=r"NO_CERTIFICATE|no start line|not enough data"):
        ClientContext(authorities="hello")
    with pytest.raises(FileNotFoundError):
        trusting(file="/nowhere.pem")


def test_groups_that_check_alike_share_what_was_read(authority: Authority) -> None:
    one, same = (ClientContext(authorities=authority.pem, alpn=["http/1.1"]) for _ in range(2))
    other = ClientContext(authorities=authority.pem)
    assert one._context is same._context is not other._context
    assert ClientContext()._context is ClientContext()._context


@pytest.mark.parametrize(
    ("name", "known_as"),
    [("shop.example", "shop.example"), ("192.0.2.7", "192.0.2.7"), ("bücher.example", "xn--bcher-kva.example")],
)
def test_names_as_certificates_have_them(name: str, known_as: str) -> None:
    assert name_for(name) == known_as


@pytest.mark.parametrize("name", [".example", "ä..example", "ü" * 70])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=r"begins with a dot|is no host name"):
        name_for(name)
