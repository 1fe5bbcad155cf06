"""PROXY headers: what each vector is read as, however the bytes come. The vectors have every line and combination of
the specification, and what haproxy and curl really send.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from nlb.net.proxy_protocol.header import Header
from nlb.net.proxy_protocol.reading import parse
from nlb.net.proxy_protocol.refusal import REASONS, BadProxyHeader
from nlb.net.proxy_protocol.tlvs import CRC32C, Tls
from nlb.net.proxy_protocol.writing import LOCAL_V2

VECTORS = Path(__file__).resolve().parents[3] / "vectors/proxy_protocol"


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
    assert {vector.reason for vector in BAD} == set(REASONS)
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
        (LOCAL_V2[:12] + b"\x11", "bad_version"),
        (LOCAL_V2[:12] + b"\x2f", "bad_command"),
        (LOCAL_V2[:12] + b"\x21\xff", "bad_family"),
        (LOCAL_V2[:12] + b"\x21\x11\0\x0b", "too_short"),
        (LOCAL_V2[:12] + b"\x21\x11\xff\xff", "too_long"),
    ],
)
def test_what_can_never_become_a_header_is_not_waited_for(begun: bytes, reason: str) -> None:
    assert outcome(begun[:-1]) is None
    assert outcome(begun) == reason


STARTS = st.sampled_from(
    [
        b"",
        b"PROXY ",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 ",
        b"PROXY TCP6 ",
        LOCAL_V2[:12],
        *(LOCAL_V2[:12] + start for start in (b"\x20", b"\x21\x11\0", b"\x21\x11\0\x14" + bytes(12), b"\x21\0\0")),
    ]
)


@given(STARTS, st.binary(max_size=200) | st.text("PROXYTCP46 .:0123456789af\r\n", max_size=120).map(str.encode))
def test_any_bytes_are_a_header_or_waited_for_or_refused_with_a_known_reason(start: bytes, more: bytes) -> None:
    data = start + more
    found = outcome(data)
    if isinstance(found, str):
        assert found in REASONS
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
    assert found is None or isinstance(found, Header) or found in REASONS


@given(st.sampled_from([vector for vector in GOOD if "crc32c" in vector.name]), st.data())
def test_a_checksum_finds_every_damaged_bit(vector: Vector, data: st.DataObject) -> None:
    """Unless there is no checksum any more: its type is under it, too."""
    raw = bytearray(vector.header)
    raw[data.draw(st.integers(16, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = outcome(bytes(raw))
    assert not isinstance(found, Header) or CRC32C not in found.tlvs
