"""A client's certificate in the words that headers carry: all ASCII, without control characters, whatever is in it."""

from __future__ import annotations

import hashlib
import ssl
from typing import Any, NamedTuple

from nlb.net.tls import TlsSocket

# OpenSSL's name of an attribute -> RFC 4514's (section 3). Others keep OpenSSL's, as its own tools print them.
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}

_ESCAPED = frozenset('"+,;<>\\')


class PeerCertificate(NamedTuple):
    """`fingerprint` is SHA-256 in small hexadecimal digits, `serial` in large ones as OpenSSL prints it."""

    subject: str
    issuer: str
    serial: str
    fingerprint: str


def peer_certificate(connection: TlsSocket) -> PeerCertificate | None:
    """What the client showed, verified by the context that asked for it; None when it showed none. 20 us: once per
    connection."""
    der = connection.certificate_der()
    if not der:
        return None
    read = _read(connection)
    return PeerCertificate(
        distinguished_name(read.get("subject", ())),
        distinguished_name(read.get("issuer", ())),
        read.get("serialNumber", ""),
        hashlib.sha256(der).hexdigest(),
    )


def common_name(connection: TlsSocket) -> str:
    """The first CN of the certificate that the client showed, as it stands there; "" where there is none."""
    parts = (pair for part in _read(connection).get("subject", ()) for pair in part)
    return next((value for key, value in parts if key == "commonName"), "")


def _read(connection: TlsSocket) -> dict[str, Any]:
    try:
        return connection.certificate()
    except (ssl.SSLError, ValueError):  # signed by an authority that we trust, and still not readable for Python
        return {}


def distinguished_name(name: Any) -> str:
    """RFC 4514, from Python's tuples of tuples: the most specific part first."""
    return ",".join("+".join(f"{_SHORT.get(key, key)}={_escape(value)}" for key, value in part) for part in name[::-1])


def _escape(value: str) -> str:
    if value.isalnum() and value.isascii():
        return value
    signs = [_sign(sign) for sign in value]
    if value[:1] in ("#", " "):
        signs[0] = f"\\{value[0]}"
    if value[1:].endswith(" "):
        signs[-1] = "\\ "
    return "".join(signs)


def _sign(sign: str) -> str:
    if sign in _ESCAPED:
        return f"\\{sign}"
    if " " <= sign <= "~":
        return sign
    return "".join(f"\\{byte:02X}" for byte in sign.encode("utf-8", "surrogatepass"))
