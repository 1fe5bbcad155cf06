"""Authorities that sign what a test asks for, in files and in memory; with faults that trustme would not make."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)

ECDSA = trustme.KeyType.ECDSA
RSA = trustme.KeyType.RSA

_BY_KIND = {
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-1024": lambda: rsa.generate_private_key(65537, 1024),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "dsa": lambda: dsa.generate_private_key(2048),
}


def key_pem(key: Any, password: bytes = b"") -> bytes:
    secrecy = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secrecy))


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Made:
    """A certificate and its key, made by hand."""

    def __init__(
        self,
        *names: str,
        kind: str = "ecdsa",
        start: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + 90 * DAY,
        by: Made | None = None,
        subject: str = "made",
        says_where_its_issuer_is: bool = False,
    ) -> None:
        self.key: Any = _BY_KIND[kind]()
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(by.subject if by else self.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        if says_where_its_issuer_is:
            place = x509.UniformResourceIdentifier("http://ca.example/i.crt")
            access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), False)
        signer = by.key if by else self.key
        is_edwards = isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
        self.certificate = builder.sign(signer, None if is_edwards else hashes.SHA256())

    @property
    def cert(self) -> bytes:
        return certificate_pem(self.certificate)

    @property
    def secret(self) -> bytes:
        return key_pem(self.key)


class Authority:
    """One of trustme's. `pem` is its own certificate."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.pem = self.ca.cert_pem.bytes().decode()

    def pair(self, *names: str, **details: Any) -> str:
        """Key, certificate and chain, as one text."""
        made = self.ca.issue_cert(*names, **details)
        return made.private_key_and_cert_chain_pem.bytes().decode()

    def client(self, subject: str = "", **details: Any) -> ssl.SSLContext:
        """A client's side, which believes this authority, with a certificate of it for this name."""
        context = ssl.create_default_context(cadata=self.pem)
        if subject:
            self.ca.issue_cert(subject, **details).configure_cert(context)
        return context


def spec(*pairs: tuple[Sequence[str], str], **keys: Any) -> dict[str, Any]:
    """What control sends to workers for a listener."""
    return {
        "policy": "intermediate",
        "alpn": [],
        "client_ca": "",
        "client_auth": "off",
        "strict_sni": False,
        "certificates": [{"names": list(names), "pem": pem} for names, pem in pairs],
        "default": [0],
        **keys,
    }


def write(folder: Path, **files: bytes | str) -> None:
    """`a_pem=...` makes the file a.pem."""
    for name, body in files.items():
        path = folder / ".".join(name.rsplit("_", 1))
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
