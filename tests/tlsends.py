"""Both ends of a TLS connection in one thread: ours, and a client as Python has it."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from typing import Any

from nlb.net.sockets import WANTS
from nlb.net.tls import ServerContext, TlsSocket


def anyone(version: str = "TLSv1_3", **keys: Any) -> ssl.SSLContext:
    """A client that believes every certificate, and speaks no version above this."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion[version]
    for key, value in keys.items():
        setattr(context, key, value)
    return context


class Meeting:
    """A client met a listener. `failed` is what our side raised, `refused` what the client's did, if it did."""

    def __init__(
        self,
        stack: ExitStack,
        server: ServerContext,
        client: ssl.SSLContext,
        name: str | None = "shop.example",
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.ours_below, theirs = socket.socketpair()
        for sock in (self.ours_below, theirs):
            sock.setblocking(False)
        self.ours = server.wrap(self.ours_below)
        self.theirs = client.wrap_socket(
            theirs, do_handshake_on_connect=False, server_hostname=name, session=session, suppress_ragged_eofs=False
        )
        stack.callback(self.ours.sock.close)
        stack.callback(self.theirs.close)
        self.failed, self.refused = shake_hands(self.ours, self.theirs)

    @property
    def session(self) -> ssl.SSLSession | None:
        """What the client may come back with."""
        try:
            self.theirs.recv(1)  # tickets of TLS 1.3 come after the handshake
        except WANTS:
            pass
        return self.theirs.session

    @property
    def names(self) -> list[str]:
        """In the certificate that the client met."""
        return names_in(self.theirs.getpeercert(binary_form=True) or b"")


def shake_hands(ours: TlsSocket, theirs: ssl.SSLSocket) -> tuple[OSError | None, OSError | None]:
    """To the end, or to an error on either side."""
    waiting = [theirs.do_handshake, ours.handshake]
    errors: list[OSError | None] = [None, None]
    for turn in range(20):
        number = turn % 2
        if waiting[number] is None:
            continue
        try:
            waiting[number]()
        except WANTS:
            continue
        except OSError as error:
            errors[number] = error
        waiting[number] = None  # type: ignore[call-overload]
    if errors[1] is not None and errors[0] is None:
        try:
            theirs.recv(1)
        except OSError as error:
            errors[0] = error
    return errors[1], errors[0]


def names_in(der: bytes) -> list[str]:
    from cryptography import x509

    read = x509.load_der_x509_certificate(der)
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(names.get_values_for_type(x509.DNSName))


def kind_in(der: bytes) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

    return "rsa" if isinstance(x509.load_der_x509_certificate(der).public_key(), rsa.RSAPublicKey) else "ecdsa"
