"""What version 2 tells beside addresses: values with a type and a length, section 2.2. One of them, SSL, has others in
it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nlb.net.proxy_protocol.crc32c import crc32c
from nlb.net.proxy_protocol.refusal import BadProxyHeader

ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
_VERSION, _COMMON_NAME, _CIPHER, _SIGNATURE, _KEY = 0x21, 0x22, 0x23, 0x24, 0x25  # within SSL
# Of these there is one: a second would be another reading.
_ONCE = frozenset((ALPN, AUTHORITY, CRC32C, UNIQUE_ID, SSL, NETNS))
_LONGEST_UNIQUE_ID = 128

_BY_TLS, _CERTIFICATE_NOW, _CERTIFICATE_EVER = 0x01, 0x02, 0x04

_TLV, _TLS = struct.Struct("!BH"), struct.Struct("!BI")

# Bytes that a TLV takes beside its value.
OVERHEAD = _TLV.size


@dataclass(frozen=True, slots=True)
class Tls:
    """What is said of the client's TLS. `has_certificate`: the client showed one; `is_remembered`: not in this
    connection, but earlier in the session that it resumes; `is_verified`: it was found good. `signature` and `key` are
    those of the certificate that the client was shown. Texts are "" where nothing is said."""

    version: str = ""
    has_certificate: bool = False
    is_verified: bool = False
    common_name: str = ""
    cipher: str = ""
    signature: str = ""
    key: str = ""
    is_remembered: bool = False


# --- read; all raise BadProxyHeader


def read_tlvs(header: bytes, at: int) -> dict[int, bytes]:
    """Those of a whole header, from `at` to its end."""
    found: dict[int, bytes] = {}
    while at < len(header):
        kind, value, after = _tlv_at(header, at)
        if kind in found and kind in _ONCE:
            raise BadProxyHeader("bad_tlv")
        if kind == CRC32C:
            _check_sum(header, value, after)
        if kind != NOOP:
            found.setdefault(kind, value)
        at = after
    if len(found.get(UNIQUE_ID, b"")) > _LONGEST_UNIQUE_ID:
        raise BadProxyHeader("bad_tlv")
    _text(found.get(AUTHORITY, b""))
    return found


def _check_sum(header: bytes, value: bytes, end: int) -> None:
    if len(value) != 4:
        raise BadProxyHeader("bad_tlv")
    if crc32c(header[: end - 4] + bytes(4) + header[end:]) != int.from_bytes(value):
        raise BadProxyHeader("bad_checksum")


def _tlv_at(block: bytes, at: int) -> tuple[int, bytes, int]:
    """Type and value of the TLV that begins there, and where it ends."""
    begin = at + OVERHEAD
    if begin > len(block):
        raise BadProxyHeader("bad_tlv")
    kind, length = _TLV.unpack_from(block, at)
    if begin + length > len(block):
        raise BadProxyHeader("bad_tlv")
    return kind, block[begin : begin + length], begin + length


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadProxyHeader("bad_tlv") from None


def read_tls(value: bytes) -> Tls | None:
    """The value of an SSL TLV. None: the client does not speak TLS."""
    if len(value) < _TLS.size:
        raise BadProxyHeader("bad_tlv")
    flags, verify = _TLS.unpack_from(value)
    texts: dict[int, str] = {}
    at = _TLS.size
    while at < len(value):
        kind, said, at = _tlv_at(value, at)
        if kind in (_VERSION, _COMMON_NAME, _CIPHER, _SIGNATURE, _KEY):
            if kind in texts:
                raise BadProxyHeader("bad_tlv")
            texts[kind] = _text(said)
    if not flags & _BY_TLS:
        return None
    certificate = bool(flags & (_CERTIFICATE_NOW | _CERTIFICATE_EVER))
    return Tls(
        version=texts.get(_VERSION, ""),
        has_certificate=certificate,
        is_verified=certificate and verify == 0,
        common_name=texts.get(_COMMON_NAME, ""),
        cipher=texts.get(_CIPHER, ""),
        signature=texts.get(_SIGNATURE, ""),
        key=texts.get(_KEY, ""),
        is_remembered=certificate and not flags & _CERTIFICATE_NOW,
    )


# --- write


def encode_tlv(kind: int, value: bytes) -> bytes:
    return _TLV.pack(kind, len(value)) + value


def encode_tls(tls: Tls) -> bytes:
    """The value of an SSL TLV."""
    flags = _BY_TLS
    if tls.has_certificate:
        # "Was presented at least once": whoever showed one now has done that too.
        flags |= _CERTIFICATE_EVER if tls.is_remembered else _CERTIFICATE_NOW | _CERTIFICATE_EVER
    parts = [_TLS.pack(flags, 0 if tls.has_certificate and tls.is_verified else 1)]
    for kind, said in (
        (_VERSION, tls.version),
        (_COMMON_NAME, tls.common_name),
        (_CIPHER, tls.cipher),
        (_SIGNATURE, tls.signature),
        (_KEY, tls.key),
    ):
        if said:
            parts.append(encode_tlv(kind, said.encode()))
    return b"".join(parts)
