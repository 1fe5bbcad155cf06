"""The PROXY protocol: who a connection is made for, in a header before its first byte. Versions 1 and 2, read and
written. A header has one reading or is refused; whether its sender is believed is for the caller to say.

Sections are those of the specification, haproxy's doc/proxy-protocol.txt.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from nlb.model.address import Address

# Bytes of the longest line of version 1, with its end; section 2.1.
LONGEST_LINE = 107
# Of version 2, where 65551 are possible: addresses and a certificate's names fit many times.
LARGEST = 4096

# Types of TLVs, section 2.2, and those within SSL.
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
_VERSION, _COMMON_NAME, _CIPHER, _SIGNATURE, _KEY = 0x21, 0x22, 0x23, 0x24, 0x25
# Of these there is one: a second would be another reading.
_ONCE = frozenset((ALPN, AUTHORITY, CRC32C, UNIQUE_ID, SSL, NETNS))
_LONGEST_UNIQUE_ID = 128

_BY_TLS, _CERTIFICATE_NOW, _CERTIFICATE_EVER = 0x01, 0x02, 0x04

# Why a header is refused -> what that means.
REASONS = {
    "no_header": "what came first is no PROXY header",
    "bad_line": "a line of version 1 that is malformed",
    "bad_address": "an address or port of version 1 that is not of its protocol, or not in its canonical form",
    "too_long": f"a line over {LONGEST_LINE} bytes, or a header of version 2 over {LARGEST}",
    "bad_version": "a binary header of another version than 2",
    "bad_command": "a command other than LOCAL and PROXY",
    "bad_family": "an address family or transport that there is not",
    "too_short": "no room for the addresses of its family",
    "bad_tlv": "a TLV that is malformed, too long, or there twice",
    "bad_checksum": "its CRC32C is wrong",
}

_SIGNATURE_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_SIGNATURE_V1 = b"PROXY "
_LOCAL, _PROXY = 0, 1
_UNSPEC, _INET, _INET6, _UNIX = 0, 1, 2, 3
_TRANSPORTS = (0, 1, 2)  # none, stream, datagram
_STREAM = 1
_UNIX_PATH = 108
_SIZES = {_UNSPEC: 0, _INET: 12, _INET6: 36, _UNIX: 2 * _UNIX_PATH}
_V4, _V6, _TLV, _TLS = (struct.Struct(layout) for layout in ("!8B2H", "!16s16s2H", "!BH", "!BI"))
_EMPTY_CRC = _TLV.pack(CRC32C, 4) + bytes(4)

_END = re.compile(rb"[\r\n]")
_FIELDS = re.compile(rb"(TCP4|TCP6) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)")
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rb"%b(?:\.%b){3}" % (_OCTET, _OCTET))
# With dots as well: inet_ntop writes ::ffff:192.0.2.1, and so do proxies.
_IPV6 = re.compile(rb"[0-9A-Fa-f:.]+")
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")

# What needs no addresses.
LOCAL_V2 = _SIGNATURE_V2 + b"\x20\0\0\0"
UNKNOWN_V1 = b"PROXY UNKNOWN\r\n"


class BadProxyHeader(Exception):  # noqa: N818 - it is the header that is bad
    """Carries no bytes of the sender: `reason` is one of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Tls:
    """What the sender says of the client's TLS. `is_verified`: the client showed a certificate, in this connection or
    earlier in its session, and it was found good. Texts are "" where nothing is said."""

    version: str = ""
    has_certificate: bool = False
    is_verified: bool = False
    common_name: str = ""
    cipher: str = ""
    signature: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """`source` and `destination` are None where the connection's own ends hold: in LOCAL headers, for UNKNOWN and
    AF_UNSPEC, for a unix socket without a name. IPv4 in the disguise of IPv6 is IPv4; the path of an abstract unix
    socket begins with @. `tlvs` has no NOOPs, and of a LOCAL header none. `size` is where the client's bytes begin."""

    version: int
    command: str  # PROXY or LOCAL
    source: Address | None
    destination: Address | None
    tlvs: Mapping[int, bytes]
    size: int
    tls: Tls | None = None

    @property
    def authority(self) -> str:
        """The name that the client asked for."""
        return self.tlvs.get(AUTHORITY, b"").decode()

    @property
    def alpn(self) -> bytes:
        return self.tlvs.get(ALPN, b"")

    @property
    def unique_id(self) -> bytes:
        return self.tlvs.get(UNIQUE_ID, b"")


def parse(data: bytes) -> Header | None:
    """The header that a connection begins with; None: call again with more. Raises BadProxyHeader as soon as no
    further byte could make it right, with the reason that the whole would have."""
    if data[:1] == b"P":
        return _parse_line(data)
    if not data.startswith(_SIGNATURE_V2[: len(data)]):
        raise BadProxyHeader("no_header")
    return _parse_binary(data)


# --- version 1, section 2.1


def _parse_line(data: bytes) -> Header | None:
    if not data.startswith(_SIGNATURE_V1[: len(data)]):
        raise BadProxyHeader("no_header")
    found = _END.search(data, 0, LONGEST_LINE)
    if found is None:
        if len(data) >= LONGEST_LINE:
            raise BadProxyHeader("too_long")
        return None
    end = found.start()
    if data[end] == 10:
        raise BadProxyHeader("bad_line")
    if end + 2 > LONGEST_LINE:
        raise BadProxyHeader("too_long")
    if len(data) == end + 1:
        return None
    if data[end + 1] != 10:
        raise BadProxyHeader("bad_line")
    line, size = data[len(_SIGNATURE_V1) : end], end + 2
    if line == b"UNKNOWN" or line.startswith(b"UNKNOWN "):
        return Header(1, "PROXY", None, None, {}, size)
    fields = _FIELDS.fullmatch(line)
    if fields is None:
        raise BadProxyHeader("bad_line")
    read = _ipv4 if fields[1] == b"TCP4" else _ipv6
    source, destination = read(fields[2]), read(fields[3])
    return Header(1, "PROXY", Address(source, _port(fields[4])), Address(destination, _port(fields[5])), {}, size)


def _ipv4(said: bytes) -> str:
    if not _IPV4.fullmatch(said):
        raise BadProxyHeader("bad_address")
    return said.decode()


def _ipv6(said: bytes) -> str:
    if not _IPV6.fullmatch(said):
        raise BadProxyHeader("bad_address")
    try:
        ip = ipaddress.IPv6Address(said.decode())
    except ValueError:
        raise BadProxyHeader("bad_address") from None
    return str(ip.ipv4_mapped or ip)


def _port(said: bytes) -> int:
    if not _PORT.fullmatch(said) or int(said) > 65535:
        raise BadProxyHeader("bad_address")
    return int(said)


# --- version 2, section 2.2


def _parse_binary(data: bytes) -> Header | None:
    there = len(data)
    if there > 12 and data[12] >> 4 != 2:
        raise BadProxyHeader("bad_version")
    command = data[12] & 15 if there > 12 else _LOCAL
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader("bad_command")
    if there > 13 and command == _PROXY and (data[13] >> 4 not in _SIZES or data[13] & 15 not in _TRANSPORTS):
        raise BadProxyHeader("bad_family")
    if there < 16:
        return None
    size = 16 + int.from_bytes(data[14:16])
    if size > LARGEST:
        raise BadProxyHeader("too_long")
    family = data[13] >> 4
    if command == _PROXY and size < 16 + _SIZES[family]:
        raise BadProxyHeader("too_short")
    if there < size:
        return None
    if command == _LOCAL:
        # "Discard the protocol block including the family".
        return Header(2, "LOCAL", None, None, {}, size)
    tlvs, tls = {}, None
    if size > 16 + _SIZES[family]:
        tlvs = _read_tlvs(data[:size], 16 + _SIZES[family])
        tls = _read_tls(tlvs[SSL]) if SSL in tlvs else None
    # With a transport of none the addresses may be anything.
    source, destination = _addresses(family, data) if data[13] & 15 else (None, None)
    return Header(2, "PROXY", source, destination, tlvs, size, tls)


def _addresses(family: int, data: bytes) -> tuple[Address | None, Address | None]:
    if family == _INET:
        a, b, c, d, e, f, g, h, source_port, destination_port = _V4.unpack_from(data, 16)
        return Address(f"{a}.{b}.{c}.{d}", source_port), Address(f"{e}.{f}.{g}.{h}", destination_port)
    if family == _INET6:
        source, destination, source_port, destination_port = _V6.unpack_from(data, 16)
        return Address(_v6_text(source), source_port), Address(_v6_text(destination), destination_port)
    if family == _UNIX:
        return _unix(data[16 : 16 + _UNIX_PATH]), _unix(data[16 + _UNIX_PATH : 16 + 2 * _UNIX_PATH])
    return None, None


def _v6_text(packed: bytes) -> str:
    ip = ipaddress.IPv6Address(packed)
    return str(ip.ipv4_mapped or ip)


def _unix(field: bytes) -> Address | None:
    abstract, rest = ("@", field[1:]) if field[0] == 0 else ("", field)
    path = rest.partition(b"\0")[0].decode(errors="backslashreplace")
    return Address("", 0, abstract + path) if path else None


def _read_tlvs(header: bytes, at: int) -> dict[int, bytes]:
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
    begin = at + 3
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


def _read_tls(value: bytes) -> Tls | None:
    """None: the client does not speak TLS."""
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
    said_of = (texts.get(kind, "") for kind in (_COMMON_NAME, _CIPHER, _SIGNATURE, _KEY))
    return Tls(texts.get(_VERSION, ""), certificate, certificate and verify == 0, *said_of)


# --- what we send


def encode_v1(source: Address | None, destination: Address | None) -> bytes:
    """The line for a client; UNKNOWN for one that has no IP address."""
    if source is None or not source.host:
        return UNKNOWN_V1
    destination = _an_ip(destination, source)
    if source.is_v6 or destination.is_v6:
        theirs, ours, word = _in_hex(source.host), _in_hex(destination.host), "TCP6"
    else:
        theirs, ours, word = source.host, destination.host, "TCP4"
    return f"PROXY {word} {theirs} {ours} {source.port} {destination.port}\r\n".encode()


def encode_v2(
    source: Address | None,
    destination: Address | None,
    tlvs: Mapping[int, bytes] = {},
    local: bool = False,
    crc: bool = True,
) -> bytes:
    """The header for a client, or of a connection of our own (`local`), which has neither addresses nor TLVs. So has
    the one for a client without an address, on a unix socket: haproxy refuses AF_UNSPEC, and sends this itself.

    Never more than what `parse` takes: a TLV for which no room is left is left out. `crc` adds a checksum, which costs
    0.1 us a byte.
    """
    if local or source is None or not (source.host or source.path):
        return LOCAL_V2
    family, body = _address_block(source, destination)
    room = LARGEST - 16 - len(body) - crc * len(_EMPTY_CRC)
    for kind, value in tlvs.items():
        if kind != CRC32C and _TLV.size + len(value) <= room:
            room -= _TLV.size + len(value)
            body += _tlv(kind, value)
    body += crc * _EMPTY_CRC
    header = b"%b%b%b%b" % (_SIGNATURE_V2, bytes((0x21, family << 4 | _STREAM)), len(body).to_bytes(2), body)
    return header[:-4] + crc32c(header).to_bytes(4) if crc else header


def probe_header(version: str, ours: Address | None, target: Address | None) -> bytes:
    """What a health check says to a target that expects "v1" or "v2". Version 1 has no LOCAL, so the line is about the
    probe's own connection, as section 2.1 wants: some servers refuse UNKNOWN."""
    return LOCAL_V2 if version == "v2" else encode_v1(ours, target)


def encode_tls(tls: Tls) -> bytes:
    """The value of an SSL TLV."""
    # "Was presented at least once": whoever showed one now has done that too.
    flags = _BY_TLS | ((_CERTIFICATE_NOW | _CERTIFICATE_EVER) if tls.has_certificate else 0)
    parts = [_TLS.pack(flags, 0 if tls.has_certificate and tls.is_verified else 1)]
    for kind, said in (
        (_VERSION, tls.version),
        (_COMMON_NAME, tls.common_name),
        (_CIPHER, tls.cipher),
        (_SIGNATURE, tls.signature),
        (_KEY, tls.key),
    ):
        if said:
            parts.append(_tlv(kind, said.encode()))
    return b"".join(parts)


def _address_block(source: Address, destination: Address | None) -> tuple[int, bytes]:
    """Family and bytes. Where one side is IPv6, an IPv4 address is written as ::ffff:192.0.2.1."""
    if source.path:
        return _UNIX, _unix_field(source) + _unix_field(destination)
    destination = _an_ip(destination, source)
    ports = source.port, destination.port
    if source.is_v6 or destination.is_v6:
        return _INET6, _V6.pack(_packed_v6(source.host), _packed_v6(destination.host), *ports)
    return _INET, _V4.pack(*_packed_v4(source.host), *_packed_v4(destination.host), *ports)


def _an_ip(destination: Address | None, source: Address) -> Address:
    """Rather than not to tell the client's address where our own is not one, such as on a unix socket."""
    if destination and destination.host:
        return destination
    return Address("::" if source.is_v6 else "0.0.0.0", 0)


def _packed_v4(host: str) -> bytes:
    return bytes(map(int, host.split(".")))


def _packed_v6(host: str) -> bytes:
    if ":" not in host:
        return bytes(10) + b"\xff\xff" + _packed_v4(host)
    return ipaddress.IPv6Address(host.partition("%")[0]).packed


def _in_hex(host: str) -> str:
    """An address as groups of hex digits alone: with dots in it some readers refuse it."""
    if ":" not in host:
        high, low = struct.unpack("!HH", _packed_v4(host))
        return f"::ffff:{high:x}:{low:x}"
    return host.partition("%")[0]


def _unix_field(address: Address | None) -> bytes:
    path = address.path if address else ""
    packed = b"\0" + path[1:].encode() if path.startswith("@") else path.encode()
    return packed[:_UNIX_PATH].ljust(_UNIX_PATH, b"\0")


def _tlv(kind: int, value: bytes) -> bytes:
    return _TLV.pack(kind, len(value)) + value


# --- CRC32C, RFC 4960 appendix B


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's polynomial, its bits reversed
    return byte


_CRC_TABLE = tuple(map(_entry, range(256)))


def crc32c(data: bytes) -> int:
    crc, table = 0xFFFFFFFF, _CRC_TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
