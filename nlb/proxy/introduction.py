"""How a target is told who its client is: by a PROXY header before everything else, or by headers of each request."""

from __future__ import annotations

from typing import Any

from nlb.http1.edits import HeaderEdit
from nlb.model.address import Address
from nlb.net import proxy_protocol
from nlb.net.peer_certificate import peer_certificate
from nlb.net.proxy_protocol import ALPN, AUTHORITY
from nlb.net.tls import Connection, TlsSocket


def introduction(version: str, client_address: Any, client: Connection) -> bytes:
    """`client_address` is the one that is believed, as accept would say it."""
    source, destination = _address(client_address), _address(client.getsockname())
    if version == "v1":
        return proxy_protocol.encode_v1(source, destination)
    return proxy_protocol.encode_v2(source, destination, _facts(client))


# What clients cannot say themselves where they are asked for a certificate: theirs are taken out.
_IDENTITY = ("X-Client-Cert-Subject", "X-Client-Cert-Issuer", "X-Client-Cert-Serial", "X-Client-Cert-Fingerprint")


def identity_of(tls: TlsSocket) -> HeaderEdit:
    """Headers about the client's certificate, in the place of any that the client sent; none where it has none."""
    certificate = peer_certificate(tls)
    return HeaderEdit({} if certificate is None else dict(zip(_IDENTITY, certificate, strict=True)), _IDENTITY)


def _address(name: Any) -> Address | None:
    """None for a unix socket: targets have no use for its path."""
    return Address(name[0].removeprefix("::ffff:"), name[1]) if isinstance(name, tuple) else None


def _facts(client: Connection) -> dict[int, bytes]:
    if not isinstance(client, TlsSocket):
        return {}
    told = {AUTHORITY: client.server_name.encode(), ALPN: client.alpn.encode()}
    return {type_: value for type_, value in told.items() if value}
