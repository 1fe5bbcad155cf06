"""PROXY headers: what each vector is read as, however the bytes come, and that what we write is read as it was meant.
The vectors have every line and combination of the specification, and what haproxy and curl really send.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import example, given
from hypothesis import strategies as st

from nlb.model.address import Address
from nlb.net import proxy_protocol as pp
from nlb.net.proxy_protocol import BadProxyHeader, Header, Tls, encode_tls, encode_v1, encode_v2, parse

VECTORS = Path(__file__).resolve().parents[2] / "vectors/proxy_protocol"


@dataclass
class Vector:
    """A header and what is to be made of it."""

    name: str
    line: str = ""
    hex: list[str] = field(default_factory=list)
    rest: str = ""
    command: str = "PROXY"
    source: str = ""
    destination: str = ""
    tlvs: dict[str, str] | None = None
    tls: dict[str, Any] | None = None
    authority: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def header(self) -> bytes:
        return self.line.encode("latin-1") + from_hex(" ".join(self.hex))

    @property
    def raw(self) -> bytes:
        return self.header + self.rest.encode("latin-1")


def from_hex(text: str) -> bytes:
    """`00*108` stands for a byte that is repeated."""
    return bytes.fromhex(re.sub(r"([0-9a-f]{2})\*([0-9]+)", lambda match: match[1] * int(match[2]), text))


def vectors(name: str) -> list[Vector]:
    return [Vector(**each) for each in tomli.loads((VECTORS / name).read_text())["header"]]


GOOD, BAD = vectors("good.toml"), vectors("bad.toml")


def outcome(data: bytes) -> Header | str | None:
    try:
        return parse(data)
    except BadProxyHeader as error:
        return error.reason


@pytest.mark.parametrize("vector", GOOD, ids=str)
def test_a_good_header_is_read(vector: Vector) -> None:
    header = parse(vector.raw)
    assert header is not None
    assert (header.version, header.command) == (1 if vector.line else 2, vector.command)
    assert (str(header.source or ""), str(header.destination or "")) == (vector.source, vector.destination)
    assert header.size == len(vector.header)
    if vector.tlvs is not None or vector.tls is None:
        assert header.tlvs == {int(kind): from_hex(value) for kind, value in (vector.tlvs or {}).items()}
    assert header.tls == (Tls(**vector.tls) if vector.tls else None)
    assert vector.authority in ("", header.authority)


@pytest.mark.parametrize("vector", BAD, ids=str)
def test_a_bad_one_is_refused_with_its_reason(vector: Vector) -> None:
    with pytest.raises(BadProxyHeader) as caught:
        parse(vector.raw)
    assert str(caught.value) == caught.value.reason == vector.reason


def test_every_reason_has_a_vector_and_every_vector_a_name_of_its_own() -> None:
    assert {vector.reason for vector in BAD} == set(pp.REASONS)
    assert len({vector.name for vector in [*GOOD, *BAD]}) == len(GOOD) + len(BAD)


@pytest.mark.parametrize("vector", GOOD, ids=str)
def test_less_than_a_header_is_waited_for(vector: Vector) -> None:
    assert [parse(vector.header[:size]) for size in range(len(vector.header))] == [None] * len(vector.header)
    assert parse(vector.header + b"\r\nmore") == parse(vector.header)


@pytest.mark.parametrize("vector", BAD, ids=str)
def test_a_bad_one_that_comes_byte_by_byte_is_refused_alike(vector: Vector) -> None:
    seen = [outcome(vector.raw[:size]) for size in range(len(vector.raw) + 1)]
    refused = seen.index(vector.reason)
    assert seen == [None] * refused + [vector.reason] * (len(seen) - refused)


@pytest.mark.parametrize(
    ("begun", "reason"),
    [
        (b"G", "no_header"),
        (b"PROXI", "no_header"),
        (b"\r\n\r\n\0\r\nQUIT\r", "no_header"),
        (b"PROXY T\n", "bad_line"),
        (b"PROXY " + b"x" * 101, "too_long"),
        (pp.LOCAL_V2[:12] + b"\x11", "bad_version"),
        (pp.LOCAL_V2[:12] + b"\x2f", "bad_command"),
        (pp.LOCAL_V2[:12] + b"\x21\xff", "bad_family"),
        (pp.LOCAL_V2[:12] + b"\x21\x11\0\x0b", "too_short"),
        (pp.LOCAL_V2[:12] + b"\x21\x11\xff\xff", "too_long"),
    ],
)
def test_what_can_never_become_a_header_is_not_waited_for(begun: bytes, reason: str) -> None:
    assert outcome(begun[:-1]) is None
    assert outcome(begun) == reason


ENDS = Address("192.0.2.1", 1), Address("192.0.2.2", 2)
PORTS = st.integers(0, 65535)
V4 = st.builds(Address, st.ip_addresses(v=4).map(str), PORTS)
V6 = st.builds(Address, st.ip_addresses(v=6).filter(lambda ip: not ip.ipv4_mapped).map(str), PORTS)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50)
UNIX = st.builds(lambda name: Address("", 0, "/" + name), NAMES.filter(lambda name: len(name.encode()) < 107))
ABSTRACT = st.builds(lambda name: Address("", 0, "@" + name), st.text("abc/.-", min_size=1, max_size=107))
ANYWHERE = st.one_of(st.none(), V4, V6, UNIX, ABSTRACT)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
TLS = st.builds(Tls, TEXTS, st.just(True), st.booleans(), TEXTS, TEXTS, TEXTS, TEXTS)
NO_CERTIFICATE = st.builds(Tls, TEXTS)
TLVS = st.fixed_dictionaries(
    {},
    optional={
        pp.ALPN: st.binary(max_size=20),
        pp.AUTHORITY: TEXTS.map(str.encode),
        pp.UNIQUE_ID: st.binary(max_size=128),
        pp.SSL: (TLS | NO_CERTIFICATE).map(encode_tls),
        pp.NETNS: st.binary(max_size=20),
        0xEA: st.binary(max_size=200),
    },
)


@given(st.one_of(st.tuples(V4, V4), st.tuples(V6, V6), st.tuples(V4, V6), st.tuples(V6, V4)))
def test_a_line_that_we_write_is_read_as_it_was_meant(ends: tuple[Address, Address]) -> None:
    line = encode_v1(*ends)
    header = parse(line + b"rest")
    assert header == Header(1, "PROXY", *ends, {}, len(line))
    assert len(line) <= pp.LONGEST_LINE
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
    assert header.tlvs == tlvs | ({pp.CRC32C: written[-4:]} if crc else {})


@given(TLS)
def test_what_is_told_of_tls_is_read_as_it_was_meant(tls: Tls) -> None:
    header = parse(encode_v2(*ENDS, {pp.SSL: encode_tls(tls)}))
    assert header is not None
    assert header.tls == tls


def test_what_was_not_shown_was_not_verified() -> None:
    header = parse(encode_v2(*ENDS, {pp.SSL: encode_tls(Tls("TLSv1.3", is_verified=True))}))
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
        assert encode_v2(source, destination, {pp.ALPN: b"h2"}) == pp.LOCAL_V2


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
    local = from_hex("0d0a0d0a000d0a515549540a 20 00 0000")
    assert encode_v2(ours, target, {pp.ALPN: b"h2"}, local=True) == pp.probe_header("v2", ours, target) == local
    assert pp.probe_header("v1", ours, target) == b"PROXY TCP4 10.0.0.1 10.0.0.11 40000 3000\r\n"
    assert pp.probe_header("v1", None, None) == b"PROXY UNKNOWN\r\n"


@given(st.dictionaries(st.integers(6, 31), st.binary(max_size=3000), max_size=8), st.booleans())
@example({6: bytes(70_000), 7: b"a"}, True)
@example({6: bytes(4065)}, False)
def test_what_has_no_room_is_left_out_and_the_rest_is_read(tlvs: dict[int, bytes], crc: bool) -> None:
    written = encode_v2(*ENDS, tlvs, crc=crc)
    header = parse(written)
    assert header is not None
    assert len(written) <= pp.LARGEST
    left_out = {kind: value for kind, value in tlvs.items() if kind not in header.tlvs}
    assert all(header.tlvs[kind] == value for kind, value in tlvs.items() if kind not in left_out)
    assert all(len(written) + 3 + len(value) > pp.LARGEST for value in left_out.values())


STARTS = st.sampled_from(
    [
        b"",
        b"PROXY ",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 ",
        b"PROXY TCP6 ",
        pp.LOCAL_V2[:12],
        *(pp.LOCAL_V2[:12] + start for start in (b"\x20", b"\x21\x11\0", b"\x21\x11\0\x14" + bytes(12), b"\x21\0\0")),
    ]
)


@given(STARTS, st.binary(max_size=200) | st.text("PROXYTCP46 .:0123456789af\r\n", max_size=120).map(str.encode))
def test_any_bytes_are_a_header_or_waited_for_or_refused_with_a_known_reason(start: bytes, more: bytes) -> None:
    data = start + more
    found = outcome(data)
    if isinstance(found, str):
        assert found in pp.REASONS
    if isinstance(found, Header):
        assert found.size <= len(data)
        assert isinstance(found.authority, str)
    early = [outcome(data[:size]) for size in range(len(data))]
    known = next((each for each in early if each is not None), found)
    assert known == found, "more bytes change nothing about what was said"


@given(st.sampled_from([*GOOD, *BAD]), st.data())
def test_one_damaged_byte_is_survived(vector: Vector, data: st.DataObject) -> None:
    raw = bytearray(vector.raw)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    found = outcome(bytes(raw))
    assert found is None or isinstance(found, Header) or found in pp.REASONS


@given(st.sampled_from([vector for vector in GOOD if "crc32c" in vector.name]), st.data())
def test_a_checksum_finds_every_damaged_bit(vector: Vector, data: st.DataObject) -> None:
    """Unless there is no checksum any more: its type is under it, too."""
    raw = bytearray(vector.header)
    raw[data.draw(st.integers(16, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = outcome(bytes(raw))
    assert not isinstance(found, Header) or pp.CRC32C not in found.tlvs


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        # RFC 3720 B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_checksum_is_castagnolis(data: bytes, checksum: int) -> None:
    assert pp.crc32c(data) == checksum
