"""What is typed behind `nlb explain`, as a request."""

from __future__ import annotations

import pytest

from nlb.control.inquiry import Inquiry, Url, check_headers, parse_source, parse_url
from nlb.model.address import Address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a.example/x?y=1", Url("http", "a.example", "a.example", 0, "/x?y=1")),
        ("HTTP://A.example:8080/", Url("http", "A.example:8080", "a.example", 8080, "/")),
        ("http://a", Url("http", "a", "a", 0, "/")),
        ("http://a?x#y", Url("http", "a", "a", 0, "/?x")),
        ("http://a/x#y?z", Url("http", "a", "a", 0, "/x")),
        ("http://[2001:db8::1]:81/x", Url("http", "[2001:db8::1]:81", "2001:db8::1", 81, "/x")),
        ("https://a/", Url("https", "a", "a", 0, "/")),
        ("tcp://10.0.0.1:5432", Url("tcp", "10.0.0.1:5432", "10.0.0.1", 5432, "/")),
        ("http://a/%2e/../b c", Url("http", "a", "a", 0, "/%2e/../b c")),
    ],
)
def test_a_url(text: str, url: Url) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "a.example/x", "ftp://a/", "http:///x", "http://a:b/", "http://u@a:1:2/", "http://:80"]
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(ValueError, match="write http://"):
        parse_url(text)


def test_a_url_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="20000 are allowed"):
        parse_url("http://a/" + "x" * 20_000)


def test_a_head() -> None:
    asked = Inquiry(parse_url("http://a:81/x"), "POST", ("X-Canary: 1", "Content-Length: 3"))
    assert asked.head == b"POST /x HTTP/1.1\r\nHost: a:81\r\nX-Canary: 1\r\nContent-Length: 3\r\n\r\n"


def test_a_host_of_its_own() -> None:
    assert Inquiry(parse_url("http://10.0.0.1/"), headers=("host: a",)).head == b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


def test_what_no_terminal_can_write_is_passed_on() -> None:
    assert b"/\xff" in Inquiry(parse_url("http://a/\udcff")).head


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", Address("192.0.2.7", 0)),
        ("192.0.2.7:40000", Address("192.0.2.7", 40000)),
        ("2001:db8::7", Address("2001:db8::7", 0)),
        ("[2001:db8::7]:1", Address("2001:db8::7", 1)),
    ],
)
def test_a_source(text: str, address: Address) -> None:
    assert parse_source(text) == address


@pytest.mark.parametrize("text", ["", "a.example", "1.2.3", "unix:/x", "192.0.2.7:x"])
def test_what_is_no_source(text: str) -> None:
    with pytest.raises(ValueError, match=" "):
        parse_source(text)


def test_headers() -> None:
    check_headers(["A: 1", "B:", ": c"])
    with pytest.raises(ValueError, match="write 'Name: value'"):
        check_headers(["A 1"])
    with pytest.raises(ValueError, match="too many"):
        check_headers(["A: 1"] * 301)
