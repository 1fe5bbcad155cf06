"""How a target is told who its client is: by a PROXY header before everything else, or by headers of each request."""

from __future__ import annotations

from typing import Any

from nlb.http1.edits import HeaderEdit
from nlb.model.address import Address
from nlb.net.peer_certificate import common_name, peer_certificate
from nlb.net.proxy_protocol.tlvs import ALPN, AUTHORITY, SSL, UNIQUE_ID, Tls, encode_tls
from nlb.net.proxy_protocol.writing import encode_v1, encode_v2
from nlb.net.tls import Connection, TlsSocket


def introduction(version: str, client_address: Any, client: Connection, unique_id: str) -> bytes:
    """`client_address` is the one that is believed, as accept would say it; `unique_id` is this session's, which only
    v2 has room for."""
    source, destination = _address(client_address), _address(client.getsockname())
    if version == "v1":
        return encode_v1(source, destination)
    return encode_v2(source, destination, {**_facts(client), UNIQUE_ID: unique_id.encode()})


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
    told = {ALPN: client.alpn.encode(), AUTHORITY: client.server_name.encode(), SSL: encode_tls(_tls(client))}
    return {type_: value for type_, value in told.items() if value}


def _tls(client: TlsSocket) -> Tls:
    # No context of ours lets a client in whose certificate was not found good.
    has_certificate = bool(client.certificate_der())
    signature, key = client.shown
    return Tls(
        version=client.version,
        has_certificate=has_certificate,
        is_verified=has_certificate,
        common_name=common_name(client) if has_certificate else "",
        cipher=client.cipher,
        signature=signature,
        key=key,
        is_remembered=has_certificate and client.is_resumed,
    )
