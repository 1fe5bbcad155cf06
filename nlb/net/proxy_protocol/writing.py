"""The headers that we send: for clients to targets, and of our own connections, which nobody stands behind."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping

from nlb.model.address import Address
from nlb.net.proxy_protocol.crc32c import crc32c
from nlb.net.proxy_protocol.header import (
    INET,
    INET6,
    LOCAL,
    PREAMBLE,
    PROXY,
    SIGNATURE,
    STREAM,
    UNIX,
    UNIX_PATH,
    V4,
    V6,
)
from nlb.net.proxy_protocol.refusal import LARGEST
from nlb.net.proxy_protocol.tlvs import CRC32C, OVERHEAD, encode_tlv

# What needs no addresses.
LOCAL_V2 = SIGNATURE + bytes((2 << 4 | LOCAL, 0, 0, 0))
UNKNOWN_V1 = b"PROXY UNKNOWN\r\n"

_EMPTY_CRC = encode_tlv(CRC32C, bytes(4))


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

    Never more than what `parse` takes: a TLV for which no room is left is left out. `crc` adds a checksum.
    """
    if local or source is None or not (source.host or source.path):
        return LOCAL_V2
    family, body = _address_block(source, destination)
    room = LARGEST - PREAMBLE - len(body) - crc * len(_EMPTY_CRC)
    for kind, value in tlvs.items():
        if kind != CRC32C and OVERHEAD + len(value) <= room:
            room -= OVERHEAD + len(value)
            body += encode_tlv(kind, value)
    body += crc * _EMPTY_CRC
    header = b"%b%b%b%b" % (SIGNATURE, bytes((2 << 4 | PROXY, family << 4 | STREAM)), len(body).to_bytes(2), body)
    return header[:-4] + crc32c(header).to_bytes(4) if crc else header


def probe_header(version: str, ours: Address | None, target: Address | None) -> bytes:
    """What a health check says to a target that expects "v1" or "v2". Version 1 has no LOCAL, so the line is about the
    probe's own connection, as section 2.1 wants: some servers refuse UNKNOWN."""
    return LOCAL_V2 if version == "v2" else encode_v1(ours, target)


def _address_block(source: Address, destination: Address | None) -> tuple[int, bytes]:
    """Family and bytes. Where one side is IPv6, an IPv4 address is written as ::ffff:192.0.2.1."""
    if source.path:
        return UNIX, _unix_field(source) + _unix_field(destination)
    destination = _an_ip(destination, source)
    ports = source.port, destination.port
    if source.is_v6 or destination.is_v6:
        return INET6, V6.pack(_packed_v6(source.host), _packed_v6(destination.host), *ports)
    return INET, V4.pack(*_packed_v4(source.host), *_packed_v4(destination.host), *ports)


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
    return packed[:UNIX_PATH].ljust(UNIX_PATH, b"\0")
