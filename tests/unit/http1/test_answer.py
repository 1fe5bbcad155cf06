"""Responses: what each head of tests/vectors/heads/responses.toml is read as, by both tiers and in any reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.http1 import answer, head
from nlb.http1.facts import BadHead, Response
from nlb.http1.head import parse_response
from tests.heads import RESPONSES, Head
from tests.unit.http1.reading import Ending, ending, in_reads

PASSED = [each for each in RESPONSES if not each.status]
REFUSED = [each for each in RESPONSES if each.status]


def method_of(vector: Head) -> bytes:
    method: bytes = vector.facts.get("method", b"GET")
    return method


@pytest.mark.parametrize("vector", PASSED, ids=str)
def test_a_response_with_one_reading_is_passed_on_in_it(vector: Head) -> None:
    response = parse_response(vector.raw, method_of(vector))
    assert response is not None
    expected = {
        {"response_status": "status"}.get(key, key): value for key, value in vector.facts.items() if key != "method"
    }
    assert {key: getattr(response, key) for key in expected} == expected
    assert vector.raw[: response.size].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("vector", REFUSED, ids=str)
def test_a_response_without_one_reading_is_502(vector: Head) -> None:
    with pytest.raises(BadHead) as caught:
        parse_response(vector.raw, b"GET")
    assert (caught.value.status, caught.value.reason) == (vector.status, vector.reason)
    assert str(caught.value) == vector.reason, "no byte of the target gets into an error"


@pytest.mark.parametrize("vector", RESPONSES, ids=str)
def test_it_is_read_alike_by_both_tiers_and_in_any_reads(vector: Head) -> None:
    method = method_of(vector)

    def parse(data: bytes, scanned: int = 0) -> Response | None:
        return parse_response(data, method, scanned)

    whole = ending(parse, vector.raw)
    assert whole == ending(lambda data: answer.parse_response(data, method, 0), vector.raw)
    assert whole == in_reads(parse, vector.raw, range(0, len(vector.raw), 1 if len(vector.raw) < 1000 else 997))


@pytest.mark.parametrize("name", ["nginx", "nginx, chunked", "uvicorn", "Node", "Apache", "until close", "no phrase"])
def test_what_most_servers_send_has_the_fast_shape(name: str) -> None:
    vector = next(each for each in RESPONSES if each.name == f"responses: {name}")
    assert head._RESPONSE.match(vector.raw)


NAMES = st.sampled_from(
    b"Server Date Connection Content-Length Transfer-Encoding Keep-Alive Upgrade Trailer TE X-Hop Set-Cookie"
    b" Content_Length Proxy-Connection Vary".split()
)
VALUES = st.sampled_from(
    [b"a", b"keep-alive", b"close", b"x-hop", b"0", b"5", b"05", b"chunked", b"websocket", b"a ", b"", b"\xe9"]
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=7)
STATUSES = st.sampled_from([b"100", b"101", b"103", b"200", b"204", b"206", b"304", b"404", b"500", b"999"])


def _tier(method: bytes, data: bytes) -> Ending:
    return ending(lambda data: answer.parse_response(data, method, 0), data)


@given(st.sampled_from([b"GET", b"HEAD"]), STATUSES, FIELDS, st.integers(min_value=0, max_value=1))
def test_both_tiers_end_alike_on_any_fields(
    method: bytes, status: bytes, fields: list[tuple[bytes, bytes]], minor: int
) -> None:
    block = b"".join(b"%b: %b\r\n" % each for each in fields)
    data = b"HTTP/1.%d %b OK\r\n%b\r\nrest" % (minor, status, block)
    assert ending(parse_response, data, method) == _tier(method, data)


@pytest.mark.parametrize("count", [58, 59, 60, 119, 120, 254, 255, 256, 257])
def test_many_fields_are_counted_alike_by_both_tiers(count: int) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (count - 1) + b"Content-Length: 0\r\n\r\n"
    assert ending(parse_response, data, b"GET") == _tier(b"GET", data)
