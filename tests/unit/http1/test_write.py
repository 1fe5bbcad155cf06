"""Heads as they leave: what is said of framing and of the connection, and that a strict parser reads the same."""

from __future__ import annotations

import h11
import pytest

from nlb.http1.head import Request, Response, parse_request, parse_response
from nlb.http1.write import request_head, response_head

OURS = b"X-Ours: 1\r\n"


def request(*lines: str) -> Request:
    found = parse_request("\r\n".join([*lines, "", ""]).encode())
    assert found is not None
    return found


def response(*lines: str, method: bytes = b"GET") -> Response:
    found = parse_response("\r\n".join([*lines, "", ""]).encode(), method)
    assert found is not None
    return found


def sent(*lines: str) -> bytes:
    found = request(*lines)
    return request_head(found, found.fields, OURS)


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        pytest.param(
            ["GET /a?b=c HTTP/1.1", "Host: x"], ["GET /a?b=c HTTP/1.1", "Host: x", "X-Ours: 1"], id="ordinary"
        ),
        pytest.param(
            ["GET / HTTP/1.1", "Host: x", "Connection: keep-alive", "Accept: */*"],
            ["GET / HTTP/1.1", "Host: x", "Accept: */*", "X-Ours: 1"],
            id="the connection is not passed on",
        ),
        pytest.param(
            ["POST / HTTP/1.1", "Host: x", "Content-Length: 5"],
            ["POST / HTTP/1.1", "Host: x", "Content-Length: 5", "X-Ours: 1"],
            id="a length",
        ),
        pytest.param(
            ["POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked"],
            ["POST / HTTP/1.1", "Host: x", "X-Ours: 1", "Transfer-Encoding: chunked"],
            id="chunks",
        ),
        pytest.param(
            ["GET / HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket"],
            ["GET / HTTP/1.1", "Host: x", "X-Ours: 1", "Connection: upgrade", "Upgrade: websocket"],
            id="an upgrade",
        ),
        pytest.param(
            ["OPTIONS * HTTP/1.1", "Host: x"], ["OPTIONS * HTTP/1.1", "Host: x", "X-Ours: 1"], id="asterisk form"
        ),
        pytest.param(
            ["GET / HTTP/1.0", "Host: x"], ["GET / HTTP/1.1", "Host: x", "X-Ours: 1"], id="HTTP/1.0 with a host"
        ),
        pytest.param(["GET / HTTP/1.0"], ["GET / HTTP/1.0", "X-Ours: 1"], id="HTTP/1.0 without a host stays HTTP/1.0"),
    ],
)
def test_a_request_as_a_target_gets_it(came: list[str], goes: list[str]) -> None:
    head = sent(*came)
    assert head == "\r\n".join([*goes, "", ""]).encode()
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert event.target == goes[0].split()[1].encode()


def test_edited_fields_go_in_the_place_of_those_that_came() -> None:
    found = request("GET / HTTP/1.1", "Host: x", "X-Debug: 1")
    assert request_head(found, b"Host: y\r\n", b"") == b"GET / HTTP/1.1\r\nHost: y\r\n\r\n"


OK = "HTTP/1.1 200 OK"
LENGTH, CHUNKED, UNTIL_CLOSE = [OK, "Content-Length: 5"], [OK, "Transfer-Encoding: chunked"], [OK, "Connection: close"]


@pytest.mark.parametrize(
    ("came", "minor", "close", "goes"),
    [
        pytest.param(LENGTH, 1, False, [OK, "Content-Length: 5"], id="length"),
        pytest.param(LENGTH, 1, True, [OK, "Content-Length: 5", "Connection: close"], id="length, the last one"),
        pytest.param(LENGTH, 0, False, [OK, "Content-Length: 5", "Connection: keep-alive"], id="HTTP/1.0 kept alive"),
        pytest.param(LENGTH, 0, True, [OK, "Content-Length: 5", "Connection: close"], id="HTTP/1.0, the last one"),
        pytest.param(CHUNKED, 1, False, [OK, "Transfer-Encoding: chunked"], id="chunked"),
        pytest.param(CHUNKED, 1, True, [OK, "Transfer-Encoding: chunked", "Connection: close"], id="chunked, the last"),
        pytest.param(CHUNKED, 0, True, [OK, "Connection: close"], id="no chunks for HTTP/1.0"),
        pytest.param(UNTIL_CLOSE, 1, True, [OK, "Connection: close"], id="until close"),
        pytest.param(["HTTP/1.0 204 No Content"], 1, False, ["HTTP/1.1 204 No Content"], id="HTTP/1.0 of a target"),
        pytest.param(["HTTP/1.1 100 Continue"], 1, True, ["HTTP/1.1 100 Continue"], id="100 says nothing of the end"),
        pytest.param(
            ["HTTP/1.1 103 Early Hints", "Link: </a>"], 1, False, ["HTTP/1.1 103 Early Hints", "Link: </a>"], id="103"
        ),
        pytest.param(
            ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"],
            1,
            False,
            ["HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"],
            id="101",
        ),
    ],
)
def test_a_response_as_a_client_gets_it(came: list[str], minor: int, close: bool, goes: list[str]) -> None:
    found = response(*came)
    assert response_head(found, found.fields, b"", minor, close) == "\r\n".join([*goes, "", ""]).encode()


def test_our_lines_stand_behind_those_of_the_target() -> None:
    found = response(*LENGTH)
    assert response_head(found, found.fields, OURS, 1, False).endswith(b"Content-Length: 5\r\nX-Ours: 1\r\n\r\n")


def test_an_answer_to_head_keeps_the_length_of_what_is_not_sent() -> None:
    found = response(*LENGTH, method=b"HEAD")
    assert b"Content-Length: 5\r\n" in response_head(found, found.fields, b"", 1, False)
