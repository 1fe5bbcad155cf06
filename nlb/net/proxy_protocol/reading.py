"""A header read. It has one reading or is refused; whether its sender is believed is for the caller to say."""

from __future__ import annotations

import ipaddress
import re

from nlb.model.address import Address
from nlb.net.proxy_protocol.header import (
    INET,
    INET6,
    LOCAL,
    PREAMBLE,
    PROXY,
    SIGNATURE,
    SIZES,
    TRANSPORTS,
    UNIX,
    UNIX_PATH,
    V4,
    V6,
    Header,
)
from nlb.net.proxy_protocol.refusal import LARGEST, LONGEST_LINE, BadProxyHeader
from nlb.net.proxy_protocol.tlvs import SSL, read_tls, read_tlvs

_FIRST_WORD = b"PROXY "
_END = re.compile(rb"[\r\n]")
_FIELDS = re.compile(rb"(TCP4|TCP6) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)")
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rb"%b(?:\.%b){3}" % (_OCTET, _OCTET))
# With dots as well: inet_ntop writes ::ffff:192.0.2.1, and so do proxies.
_IPV6 = re.compile(rb"[0-9A-Fa-f:.]+")
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")


def parse(data: bytes) -> Header | None:
    """The header that a connection begins with; None: call again with more. Raises BadProxyHeader as soon as no
    further byte could make it right, with the reason that the whole would have."""
    if data[:1] == b"P":
        return _parse_line(data)
    if not data.startswith(SIGNATURE[: len(data)]):
        raise BadProxyHeader("no_header")
    return _parse_binary(data)


# --- version 1, section 2.1


def _parse_line(data: bytes) -> Header | None:
    if not data.startswith(_FIRST_WORD[: len(data)]):
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
    line, size = data[len(_FIRST_WORD) : end], end + 2
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
    command = data[12] & 15 if there > 12 else LOCAL
    if command not in (LOCAL, PROXY):
        raise BadProxyHeader("bad_command")
    if there > 13 and command == PROXY and (data[13] >> 4 not in SIZES or data[13] & 15 not in TRANSPORTS):
        raise BadProxyHeader("bad_family")
    if there < PREAMBLE:
        return None
    size = PREAMBLE + int.from_bytes(data[14:16])
    if size > LARGEST:
        raise BadProxyHeader("too_long")
    family = data[13] >> 4
    if command == PROXY and size < PREAMBLE + SIZES[family]:
        raise BadProxyHeader("too_short")
    if there < size:
        return None
    if command == LOCAL:
        # "Discard the protocol block including the family".
        return Header(2, "LOCAL", None, None, {}, size)
    tlvs, tls = {}, None
    if size > PREAMBLE + SIZES[family]:
        tlvs = read_tlvs(data[:size], PREAMBLE + SIZES[family])
        tls = read_tls(tlvs[SSL]) if SSL in tlvs else None
    # With a transport of none the addresses may be anything.
    source, destination = _addresses(family, data) if data[13] & 15 else (None, None)
    return Header(2, "PROXY", source, destination, tlvs, size, tls)


def _addresses(family: int, data: bytes) -> tuple[Address | None, Address | None]:
    if family == INET:
        a, b, c, d, e, f, g, h, source_port, destination_port = V4.unpack_from(data, PREAMBLE)
        return Address(f"{a}.{b}.{c}.{d}", source_port), Address(f"{e}.{f}.{g}.{h}", destination_port)
    if family == INET6:
        source, destination, source_port, destination_port = V6.unpack_from(data, PREAMBLE)
        return Address(_v6_text(source), source_port), Address(_v6_text(destination), destination_port)
    if family == UNIX:
        paths = data[PREAMBLE : PREAMBLE + 2 * UNIX_PATH]
        return _unix(paths[:UNIX_PATH]), _unix(paths[UNIX_PATH:])
    return None, None


def _v6_text(packed: bytes) -> str:
    ip = ipaddress.IPv6Address(packed)
    return str(ip.ipv4_mapped or ip)


def _unix(field: bytes) -> Address | None:
    abstract, rest = ("@", field[1:]) if field[0] == 0 else ("", field)
    path = rest.partition(b"\0")[0].decode(errors="backslashreplace")
    return Address("", 0, abstract + path) if path else None
