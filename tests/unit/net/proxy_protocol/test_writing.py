"""PROXY headers that we write: each is read as it was meant, and never longer than what is read."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nlb.model.address import Address
from nlb.net.proxy_protocol.header import Header
from nlb.net.proxy_protocol.reading import parse
from nlb.net.proxy_protocol.refusal import LARGEST, LONGEST_LINE
from nlb.net.proxy_protocol.tlvs import ALPN, AUTHORITY, CRC32C, NETNS, SSL, UNIQUE_ID, Tls, encode_tls
from nlb.net.proxy_protocol.writing import LOCAL_V2, encode_v1, encode_v2, probe_header

ENDS = Address("192.0.2.1", 1), Address("192.0.2.2", 2)
PORTS = st.integers(0, 65535)
V4 = st.builds(Address, st.ip_addresses(v=4).map(str), PORTS)
V6 = st.builds(Address, st.ip_addresses(v=6).filter(lambda ip: not ip.ipv4_mapped).map(str), PORTS)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50)
UNIX = st.builds(lambda name: Address("", 0, "/" + name), NAMES.filter(lambda name: len(name.encode()) < 107))
ABSTRACT = st.builds(lambda name: Address("", 0, "@" + name), st.text("abc/.-", min_size=1, max_size=107))
ANYWHERE = st.one_of(st.none(), V4, V6, UNIX, ABSTRACT)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
TLS = st.builds(Tls, TEXTS, st.just(True), st.booleans(), TEXTS, TEXTS, TEXTS, TEXTS, st.booleans())
NO_CERTIFICATE = st.builds(Tls, TEXTS)
TLVS = st.fixed_dictionaries(
    {},
    optional={
        ALPN: st.binary(max_size=20),
        AUTHORITY: TEXTS.map(str.encode),
        UNIQUE_ID: st.binary(max_size=128),
        SSL: (TLS | NO_CERTIFICATE).map(encode_tls),
        NETNS: st.binary(max_size=20),
        0xEA: st.binary(max_size=200),
    },
)


@given(st.one_of(st.tuples(V4, V4), st.tuples(V6, V6), st.tuples(V4, V6), st.tuples(V6, V4)))
def test_a_line_that_we_write_is_read_as_it_was_meant(ends: tuple[Address, Address]) -> None:
    line = encode_v1(*ends)
    header = parse(line + b"rest")
    assert header == Header(1, "PROXY", *ends, {}, len(line))
    assert len(line) <= LONGEST_LINE
    assert line.startswith(b"PROXY TCP6 " if any(end.is_v6 for end in ends) else b"PROXY TCP4 ")


@given(
    st.one_of(
        *(st.tuples(one, other) for one in (V4, V6) for other in (V4, V6)),
        *(st.tuples(one, other) for one in (UNIX, ABSTRACT) for other in (UNIX, ABSTRACT, st.none())),
    ),
    TLVS,
    st.booleans(),
    st.binary(max_size=10),
)
def test_a_binary_header_too(
    ends: tuple[Address, Address | None], tlvs: dict[int, bytes], crc: bool, rest: bytes
) -> None:
    written = encode_v2(*ends, tlvs, crc=crc)
    header = parse(written + rest)
    assert header is not None
    assert (header.version, header.command, header.size) == (2, "PROXY", len(written))
    assert (header.source, header.destination) == ends
    assert header.tlvs == tlvs | ({CRC32C: written[-4:]} if crc else {})


@given(TLS)
def test_what_is_told_of_tls_is_read_as_it_was_meant(tls: Tls) -> None:
    header = parse(encode_v2(*ENDS, {SSL: encode_tls(tls)}))
    assert header is not None
    assert header.tls == tls


def test_what_was_not_shown_was_not_verified() -> None:
    header = parse(encode_v2(*ENDS, {SSL: encode_tls(Tls("TLSv1.3", is_verified=True))}))
    assert header is not None
    assert header.tls == Tls("TLSv1.3")


@given(ANYWHERE, ANYWHERE)
def test_whatever_the_ends_are_something_can_be_said(source: Address | None, destination: Address | None) -> None:
    """The address of a client is never lost because our own end has none."""
    for written in (encode_v1(source, destination), encode_v2(source, destination)):
        header = parse(written)
        assert header is not None
        if source and source.host:
            assert header.source == source
    if source is None:
        assert encode_v1(source, destination) == b"PROXY UNKNOWN\r\n"
        assert encode_v2(source, destination, {ALPN: b"h2"}) == LOCAL_V2


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        (*ENDS, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
        (Address("2001:db8::1", 1), Address("192.0.2.2", 2), b"PROXY TCP6 2001:db8::1 ::ffff:c000:202 1 2\r\n"),
        (Address("fe80::1%eth0", 1), Address("fe80::2%eth0", 2), b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"),
        (Address("192.0.2.1", 1), Address("", 0, "/run/a"), b"PROXY TCP4 192.0.2.1 0.0.0.0 1 0\r\n"),
        (Address("::1", 1), None, b"PROXY TCP6 ::1 :: 1 0\r\n"),
        (None, Address("192.0.2.2", 2), b"PROXY UNKNOWN\r\n"),
        (Address("", 0), Address("192.0.2.2", 2), b"PROXY UNKNOWN\r\n"),
    ],
)
def test_lines_that_we_write(source: Address | None, destination: Address | None, line: bytes) -> None:
    assert encode_v1(source, destination) == line


def test_probes_say_that_nobody_stands_behind_them() -> None:
    ours, target = Address("10.0.0.1", 40000), Address("10.0.0.11", 3000)
    local = bytes.fromhex("0d0a0d0a000d0a515549540a 20 00 0000")
    assert encode_v2(ours, target, {ALPN: b"h2"}, local=True) == probe_header("v2", ours, target) == local
    assert probe_header("v1", ours, target) == b"PROXY TCP4 10.0.0.1 10.0.0.11 40000 3000\r\n"
    assert probe_header("v1", None, None) == b"PROXY UNKNOWN\r\n"


@given(st.dictionaries(st.integers(6, 31), st.binary(max_size=3000), max_size=8), st.booleans())
@example({6: bytes(70_000), 7: b"a"}, True)
@example({6: bytes(4065)}, False)
def test_what_has_no_room_is_left_out_and_the_rest_is_read(tlvs: dict[int, bytes], crc: bool) -> None:
    written = encode_v2(*ENDS, tlvs, crc=crc)
    header = parse(written)
    assert header is not None
    assert len(written) <= LARGEST
    left_out = {kind: value for kind, value in tlvs.items() if kind not in header.tlvs}
    assert all(header.tlvs[kind] == value for kind, value in tlvs.items() if kind not in left_out)
    assert all(len(written) + 3 + len(value) > LARGEST for value in left_out.values())
