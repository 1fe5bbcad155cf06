"""Bytes that nobody would send, made from pieces that somebody does; and the judge is h11 (tests/fuzz_heads.py)."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz_heads import TARGETS, check_body, check_request, check_response, corpus

CUTS = st.lists(st.integers(min_value=0, max_value=300), max_size=5).map(sorted)

# Pieces that heads are made of, and those that attackers put between them.
PIECES = [
    *[b"GET", b"POST", b"HEAD", b"OPTIONS", b" ", b"/", b"*", b"/a?b", b"http://a", b"http://b/", b" HTTP/1.1\r\n"],
    *[b" HTTP/1.0\r\n", b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\nHost: a\r\n", b"Host: a\r\n", b"Host: b:80\r\n"],
    *[
        b"Content-Length: ",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:",
        b"chunked",
    ],
    *[b"Connection: ", b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n", b"keep-alive"],
    *[
        b"Expect: 100-continue\r\n",
        b"TE: trailers\r\n",
        b"X-Forwarded-For: 1\r\n",
        b"Content_Length: 1\r\n",
        b"A:b\r\n",
    ],
    *[
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\t",
        b":",
        b": ",
        b",",
        b"0",
        b"3",
        b"+",
        b"\x0b",
        b"\xe9",
        b"_",
        b"a",
    ],
]
RESPONSE_PIECES = [
    *[
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 ",
        b"204",
        b"304",
        b"101",
        b"103",
        b" No\r\n",
        b"Server: a\r\n",
    ],
    *PIECES[19:],
]
BODY_PIECES = [
    b"0\r\n",
    b"3\r\nabc\r\n",
    b"a",
    b"0",
    b"3",
    b"\r\n",
    b"\r",
    b"\n",
    b";",
    b"=",
    b'"',
    b"\\",
    b" ",
    b"+",
    b"X: y\r\n",
    b"Host: a\r\n",
]


def made_of(pieces: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(pieces), max_size=14).map(b"".join)


def spoilt(kind: str) -> st.SearchStrategy[bytes]:
    """A vector with a few bytes taken out and others put in."""
    known = st.sampled_from([each for each in corpus(kind) if len(each) < 600])
    change = st.tuples(st.integers(0, 600), st.integers(0, 3), st.sampled_from([b"", *PIECES]))
    return st.builds(_spoil, known, st.lists(change, min_size=1, max_size=3))


def _spoil(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for where, taken, put in changes:
        at = where % (len(data) + 1)
        data = data[:at] + put + data[at + taken :]
    return data


@given(st.one_of(made_of(PIECES), spoilt("request")), CUTS)
def test_a_request_is_refused_or_read_as_a_strict_server_reads_it(data: bytes, cuts: list[int]) -> None:
    check_request(data, cuts)


@given(st.one_of(made_of(RESPONSE_PIECES), spoilt("response")), st.sampled_from([b"GET", b"HEAD"]), CUTS)
def test_a_response_is_refused_or_read_as_a_strict_client_reads_it(data: bytes, method: bytes, cuts: list[int]) -> None:
    check_response(data, method, cuts)


@given(st.one_of(made_of(BODY_PIECES), spoilt("body")), CUTS)
def test_a_chunked_body_has_one_end(data: bytes, cuts: list[int]) -> None:
    check_body(data, cuts)


@pytest.mark.parametrize("kind", TARGETS)
def test_the_corpus_passes_the_fuzz_target(kind: str) -> None:
    for known in corpus(kind):
        TARGETS[kind](known)


@pytest.mark.skipif(not find_spec("atheris"), reason="atheris is not installed (it needs clang): pip install atheris")
@pytest.mark.parametrize("kind", TARGETS)
def test_atheris_finds_nothing_in_a_few_runs(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz_heads", kind, str(tmp_path), "-runs=3000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
