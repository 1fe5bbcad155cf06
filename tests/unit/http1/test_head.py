"""Requests: what each head of tests/vectors is read as, and that both tiers read alike, however the bytes come."""

from __future__ import annotations

import re
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.http1 import answer, careful, framing, head, lengths, lines, origin
from nlb.http1.desync import CLASS_OF
from nlb.http1.facts import BadHead, Request
from nlb.http1.head import IDEMPOTENT, parse_request
from tests.heads import BAD, GOOD, HEADS, SMUGGLING, Head
from tests.unit.http1.reading import ending, facts, in_reads

PASSED = [each for each in HEADS if not each.status]
REFUSED = [each for each in HEADS if each.status]


@pytest.mark.parametrize("vector", PASSED, ids=str)
def test_a_head_with_one_reading_is_passed_on_in_it(vector: Head) -> None:
    request = parse_request(vector.raw)
    assert request is not None
    assert (request.reason, CLASS_OF[request.reason]) == (vector.reason, vector.desync_class)
    assert {key: getattr(request, key) for key in vector.facts} == vector.facts
    assert vector.raw[: request.size].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("vector", REFUSED, ids=str)
def test_a_head_without_one_reading_is_refused(vector: Head) -> None:
    with pytest.raises(BadHead) as caught:
        parse_request(vector.raw)
    assert (caught.value.status, caught.value.reason) == (vector.status, vector.reason)
    assert CLASS_OF[vector.reason] == vector.desync_class
    assert str(caught.value) == vector.reason, "no byte of the client gets into an error"


@pytest.mark.parametrize("vector", [each for each in HEADS if len(each.raw) < 1000], ids=str)
def test_a_head_that_comes_byte_by_byte_is_read_alike(vector: Head) -> None:
    assert in_reads(parse_request, vector.raw, range(len(vector.raw))) == ending(parse_request, vector.raw)


@pytest.mark.parametrize("vector", [each for each in HEADS if len(each.raw) > 1000], ids=str)
def test_a_long_head_that_comes_in_reads_is_read_alike(vector: Head) -> None:
    assert in_reads(parse_request, vector.raw, range(0, len(vector.raw), 997)) == ending(parse_request, vector.raw)


@pytest.mark.parametrize("vector", PASSED, ids=str)
def test_both_tiers_read_alike(vector: Head) -> None:
    request, slowly = parse_request(vector.raw), careful.parse_request(vector.raw, 0)
    assert request is not None
    assert slowly is not None
    assert facts(request) == facts(slowly)


@pytest.mark.parametrize(
    "name", ["wrk", "curl", "a browser", "python-requests with a body", "chunked", "the next request follows"]
)
def test_what_most_clients_send_has_the_fast_shape(name: str) -> None:
    vector = next(each for each in GOOD if each.name == f"good: {name}")
    assert head._REQUEST.match(vector.raw)


def test_the_vectors_have_names_of_their_own_and_every_reason_has_a_vector() -> None:
    assert len({each.name for each in HEADS}) == len(GOOD) + len(BAD) + len(SMUGGLING)
    assert {each.reason for each in HEADS} == set(CLASS_OF) - {"bad_chunk"}  # which is said of bodies


def test_the_fast_shape_knows_every_port_and_nothing_else() -> None:
    shape = b"GET / HTTP/1.1\r\nHost: a:%b\r\n\r\n"
    known = [port for port in range(100_000) if head._REQUEST.match(shape % str(port).encode())]
    assert known == [*range(1, 65_536)]
    assert not any(head._REQUEST.match(shape % port) for port in (b"", b"08", b"080", b"-1", b"8a", b"655350"))


# Canonical heads: what the fast shape knows, in any order and number, so that it is asked for all that it may meet.
NAMES = st.sampled_from(
    b"Host host Accept User-Agent Connection Content-Length Transfer-Encoding Cookie TE Te Tea Expect Upgrade Via Vi"
    b" Trailer X-Forwarded-For X-Forwarded-Port x-forwarded-proto X-Forwarded-Host X-Request-Id Forwarded Traceparent"
    b" Keep-Alive Proxy-Connection HTTP2-Settings Upgrade-Insecure-Requests X-A Content-Type Content_Length Hos"
    b" Hostt".split()
)
VALUES = st.sampled_from(
    b"|x y |a|a.b:80|keep-alive|Keep-Alive|close|upgrade|0|5|17|05|chunked|websocket|h2c|100-continue|te, x-a|host"
    b"|trailers|[::1]:60001|\xe9".split(b"|")
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"TRACE", b"TRACES", b"CONNECT", b"get"])
TARGETS = st.sampled_from([b"/", b"/a?b#", b"/a?b", b"*", b"http://a/b", b"http://b?c", b"//", b"/a b"])


def _head(method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], minor: int = 1) -> bytes:
    block = b"".join(b"%b: %b\r\n" % each for each in fields)
    return b"%b %b HTTP/1.%d\r\n%b\r\n" % (method, target, minor, block)


@given(METHODS, TARGETS, FIELDS, st.booleans())
def test_both_tiers_end_alike_on_any_fields(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], with_host: bool
) -> None:
    data = _head(method, target, [(b"Host", b"a")] * with_host + fields) + b"rest"
    assert ending(parse_request, data) == ending(lambda data: careful.parse_request(data, 0), data)


@given(FIELDS, st.integers(min_value=0, max_value=1))
def test_what_is_passed_on_reads_the_same_a_second_time(fields: list[tuple[bytes, bytes]], minor: int) -> None:
    """One reading: a proxy behind us that reads as we do finds nothing to take out, and no other length."""
    try:
        request = parse_request(_head(b"POST", b"/a?b", [(b"Host", b"a"), *fields], minor))
    except BadHead:
        return
    assert request is not None
    chunked = b"Transfer-Encoding: chunked\r\n" if request.length == -1 else b""
    again = parse_request(b"POST /a?b HTTP/1.1\r\n" + request.fields + chunked + b"\r\n")
    assert again is not None
    assert again.reason in ("", "non_compliant_header")
    assert (again.fields, again.length, again.host, again.special, again.upgrade, again.expects) == (
        request.fields,
        request.length,
        request.host,
        None,
        b"",
        request.expects,
    )


@pytest.mark.parametrize("limit", [head._FAST_LIMIT, 1000])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_tiers_meet_without_a_seam(limit: int, more: int) -> None:
    for start in (b"GET / HTTP/1.1\r\nHost: a\r\nA: ", b"GET / HTTP/1.1\r\nVia: c\r\nHost: a\r\nA: "):
        data = start + b"b" * (limit + more - len(start) - 4) + b"\r\n\r\n"
        request, slowly = parse_request(data), careful.parse_request(data, 0)
        assert request is not None
        assert slowly is not None
        assert facts(request) == facts(slowly)
        assert request.size == limit + more


@pytest.mark.parametrize("count", [58, 59, 60, 61, 118, 119, 254, 255, 256])
@pytest.mark.parametrize("told", [0, 1, 16, 17])
def test_many_fields_are_counted_alike_by_both_tiers(count: int, told: int) -> None:
    data = _head(b"GET", b"/", [(b"a", b"b")] * count + [(b"Host", b"a")] + [(b"Via", b"c")] * told)
    assert ending(parse_request, data) == ending(lambda data: careful.parse_request(data, 0), data)


def request_of(*fields: bytes) -> Request:
    request = parse_request(
        b"GET /a/b?c=d?e HTTP/1.1\r\nHost: a\r\n" + b"".join(each + b"\r\n" for each in fields) + b"\r\n"
    )
    assert request is not None
    return request


def test_path_and_query_are_what_stands_before_and_behind_the_first_question_mark() -> None:
    request = request_of()
    assert (request.path, request.query) == (b"/a/b", b"c=d?e")
    request.target = b"/a"
    assert (request.path, request.query) == (b"/a", b"")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"cookie", [b"a=1", b"b=2"]),
        (b"Cookie", [b"a=1", b"b=2"]),
        (b"host", [b"a"]),
        (b"cook", []),
        (b"a=1", []),
        (b"x-forwarded-for", [b"192.0.2.1, 10.0.0.1"]),
        (b"X.Trailing", []),
        (b"x-trailing", [b"c"]),
        (b"connection", []),
    ],
)
def test_get_finds_the_values_of_a_field(name: bytes, values: list[bytes]) -> None:
    request = request_of(
        b"Cookie: a=1",
        b"X-Forwarded-For: 192.0.2.1",
        b"cookie: b=2",
        b"X-Forwarded-For: 10.0.0.1",
        b"X-Trailing: c ",
        b"Connection: keep-alive",
    )
    assert request.get(name) == values


@pytest.mark.parametrize(
    "data", [b"", b"\r", b"\r\n", b"\r\nG", b"GET", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nHost: a\r\n\r"]
)
def test_a_head_that_has_not_come_is_waited_for(data: bytes) -> None:
    assert parse_request(data) is None
    assert parse_request(data, len(data)) is None


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"GET / HTTP/1.1\n", 400, "bad_uri"),
        (b"GET / HTTP/1.1\r\nA: b\n", 400, "bad_header"),
        (b"GET / HTTP/1.1\r\nA: b\rc", 400, "bad_header"),
        (b"GET /\x00", 400, "bad_uri"),
        (b"\n", 400, "bad_uri"),
        (b"\r\n\r\n", 400, "bad_method"),
        (b"GET /" + b"a" * 17000, 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 17000, 431, "head_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 11000, 431, "head_too_large"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else None,
)
def test_a_head_that_cannot_be_saved_is_not_waited_for(data: bytes, status: int, reason: str) -> None:
    assert ending(parse_request, data) == (status, reason)


def test_a_get_is_repeated_and_a_post_is_not() -> None:
    assert [
        method
        for method in (b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"POST", b"PATCH", b"get")
        if method in IDEMPOTENT
    ] == [
        b"GET",
        b"HEAD",
        b"PUT",
        b"DELETE",
        b"OPTIONS",
    ]


def _patterns() -> list[tuple[str, re.Pattern[bytes]]]:
    modules = (head, careful, answer, lines, lengths, origin, framing)
    return [
        (f"{module.__name__}.{name}", value)
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern)
    ]


def _repeats(tree: object) -> list[tuple[object, int]]:
    """Every repetition in a parsed pattern that gives back what it took, with its most repetitions."""
    found = []
    if isinstance(tree, parser.SubPattern):
        tree = tree.data
    if isinstance(tree, list | tuple):
        if len(tree) == 2 and tree[0] == ops.ATOMIC_GROUP and len(tree[1]) == 1:
            # (?>(?:...)*) is a possessive repetition by another name: nothing in the group comes after it.
            return _repeats(tree[1][0][1])
        if len(tree) == 2 and tree[0] in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            low, high, _ = tree[1]
            found.append((low, high))
        for each in tree:
            found += _repeats(each)
    return found


@pytest.mark.parametrize(("name", "pattern"), _patterns(), ids=lambda value: value if isinstance(value, str) else "")
def test_no_pattern_gives_back_what_it_took(name: str, pattern: re.Pattern[bytes]) -> None:
    """What makes a regular expression quadratic, or worse, is a repetition that tries again with less. Ours are
    possessive, or alone in an atomic group; the exceptions are of fixed length (four digits) or an `or not`.
    """
    assert all(
        low == high or (low, high) == (0, 1) for low, high in _repeats(parser.parse(pattern.pattern, pattern.flags))
    ), name
