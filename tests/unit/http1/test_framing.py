"""Where chunked bodies end: the bodies of tests/vectors/bodies.toml, and any payload in any chunks and reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.http1.framing import Dechunker, chunk, last_chunk
from tests.heads import BODIES, Body
from tests.unit.http1.reading import dechunked


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_a_body_is_read_to_its_end_or_refused(body: Body) -> None:
    assert dechunked(body.raw) == (body.error or body.read)


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_a_body_that_comes_byte_by_byte_is_read_alike(body: Body) -> None:
    assert dechunked(body.raw, range(1, len(body.raw))) == (body.error or body.read)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(min_value=0, max_value=200), max_size=6),
    st.sampled_from([b"", b"X-Sum: 1\r\n"]),
    st.binary(max_size=10),
)
def test_what_chunks_say_comes_out_whole(payloads: list[bytes], cuts: list[int], trailers: bytes, rest: bytes) -> None:
    data = b"".join(map(chunk, payloads)) + last_chunk(trailers) + rest
    places = sorted({min(cut, len(data)) for cut in cuts})
    assert dechunked(data, places) == (b"".join(payloads), trailers, rest)


def test_the_middle_of_a_chunk_is_not_copied() -> None:
    dechunker = Dechunker()
    dechunker.feed(b"100\r\n")
    data = b"x" * 100
    assert dechunker.feed(data) is data


def test_payload_is_given_before_its_line_end_has_come() -> None:
    dechunker = Dechunker()
    assert [dechunker.feed(data) for data in (b"5\r", b"\nhel", b"lo", b"\r\n0", b"\r\n\r\n")] == [
        b"",
        b"hel",
        b"lo",
        b"",
        b"",
    ]
    assert dechunker.done


def test_an_empty_chunk_is_not_sent_because_it_would_end_the_body() -> None:
    assert chunk(b"") == b""
    assert chunk(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"
