"""One condition at a time: which requests it fits, and what is said of those it does not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from nlb.http1.conditions import Asked, Condition, compiled
from nlb.http1.head import parse_request
from tests.unit.http1.asking import ask


def one(**spec: Any) -> Condition:
    (condition,) = compiled(spec)
    return condition


def fits(condition: Condition, url: str, *lines: str, method: str = "GET", port: int = 80, source: str = "") -> bool:
    return condition.holds(asked(url, *lines, method=method, port=port, source=source))


def asked(url: str, *lines: str, method: str = "GET", port: int = 80, source: str = "") -> Asked:
    request = ask(url, method, *lines)
    return Asked(request, port, source)


@pytest.mark.parametrize(
    ("spec", "url", "fit"),
    [
        pytest.param({"host": ["api.example.com"]}, "http://API.example.com/", True, id="hosts have no case"),
        pytest.param({"host": ["API.Example.com"]}, "http://api.example.com/", True, id="nor in a rule"),
        pytest.param({"host": ["api.example.com"]}, "http://api.example.com:8080/", True, id="a host has no port"),
        pytest.param({"host": ["*.example.com"]}, "http://a.b.example.com/", True, id="all under a domain"),
        pytest.param({"host": ["*.example.com"]}, "http://example.com/", False, id="not the domain itself"),
        pytest.param({"host": ["api-?.*"]}, "http://api-1.example.com/", True, id="other wildcards"),
        pytest.param({"path": ["/v1/*"]}, "http://a/v1/", True, id="path by prefix"),
        pytest.param({"path": ["/v1/*"]}, "http://a/v1", False, id="the slash belongs to the prefix"),
        pytest.param({"path": ["/v1/*"]}, "http://a/V1/x", False, id="paths have case"),
        pytest.param({"path": ["/v1"]}, "http://a/v1?x=1", True, id="a path ends before the query"),
        pytest.param({"path": ["/v1"]}, "http://a/v1;x=1", False, id="parameters of a path are path"),
        pytest.param({"path": ["/a/b"]}, "http://a/a%2Fb", False, id="paths are not decoded"),
        pytest.param({"path": ["/"]}, "http://a/", True, id="the root"),
        pytest.param({"path": ["*.png", "/img/*"]}, "http://a/x/y.png", True, id="any of several"),
        pytest.param({"path_regex": ["^/v[0-9]+/"]}, "http://a/v12/x", True, id="regular expression"),
        pytest.param({"path_regex": ["[.]php$"]}, "http://a/x.php?a=b", True, id="without the query"),
        pytest.param({"path_regex": ["admin"]}, "http://a/x/admin/y", True, id="anywhere"),
        pytest.param({"path_regex": ["^/a$", "^/b$"]}, "http://a/c", False, id="none of several"),
        pytest.param({"query": {"version": ["2"]}}, "http://a/?version=2", True, id="query"),
        pytest.param({"query": {"version": ["2"]}}, "http://a/?VERSION=2", True, id="keys have no case"),
        pytest.param({"query": {"version": ["BETA"]}}, "http://a/?version=beta", True, id="values have no case"),
        pytest.param({"query": {"version": ["2"]}}, "http://a/?version=1&version=2", True, id="any occurrence"),
        pytest.param({"query": {"version": ["2"]}}, "http://a/?version=22", False, id="the whole value"),
        pytest.param({"query": {"version": ["2*"]}}, "http://a/?x&version=22", True, id="value by pattern"),
        pytest.param({"query": {"version": ["2"]}}, "http://a/?v%65rsion=%32", True, id="key and value are decoded"),
        pytest.param({"query": {"q": ["a b"]}}, "http://a/?q=a+b", True, id="a plus is a space"),
        pytest.param({"query": {"q": ["a+b"]}}, "http://a/?q=a%2bb", True, id="an encoded plus is one"),
        pytest.param({"query": {"q": ["*"]}}, "http://a/?q", True, id="a key alone is there"),
        pytest.param({"query": {"q": [""]}}, "http://a/?q", True, id="its value is empty"),
        pytest.param({"query": {"q": ["*"]}}, "http://a/", False, id="no query"),
        pytest.param({"query": {"q": ["a=b"]}}, "http://a/?q=a=b", True, id="the first = divides"),
        pytest.param({"query": {"q": ["%zz"]}}, "http://a/?q=%zz", True, id="what cannot be decoded is itself"),
        pytest.param({"query": {"q": ["käse"]}}, "http://a/?q=k%C3%A4se", True, id="UTF-8"),
    ],
)
def test_a_condition_on_the_url(spec: dict[str, Any], url: str, fit: bool) -> None:
    assert fits(one(**spec), url) == fit


@pytest.mark.parametrize(
    ("wanted", "lines", "fit"),
    [
        pytest.param(["1", "yes*"], ["X-Canary: 1"], True, id="a value"),
        pytest.param(["1", "yes*"], ["x-canary: YES please"], True, id="no case"),
        pytest.param(["1"], ["X-Canary: 0", "X-Canary: 1"], True, id="any of several lines"),
        pytest.param(["1"], ["X-Canary: 0"], False, id="another value"),
        pytest.param(["*"], [], False, id="no such line"),
        pytest.param(["*"], ["X-Canary:"], True, id="an empty one is there"),
        pytest.param(["1"], ["X-Canary: 0, 1"], False, id="a line is one value"),
    ],
)
def test_a_condition_on_a_header(wanted: list[str], lines: list[str], fit: bool) -> None:
    assert fits(one(header={"X-Canary": wanted}), "http://a/", *lines) == fit


def test_methods_have_case() -> None:
    method = one(method=["GET", "POST"])
    assert fits(method, "http://a/", method="POST")
    assert not fits(method, "http://a/", method="post")


def test_ports() -> None:
    assert fits(one(port=[8080, 80]), "http://a/", port=8080)
    assert not fits(one(port=[8080]), "http://a/", port=80)


@pytest.mark.parametrize(
    ("source", "fit"),
    [("192.0.2.7", True), ("::ffff:192.0.2.7", True), ("198.51.100.1", False), ("2001:db8::1", True), ("", False)],
)
def test_sources(source: str, fit: bool) -> None:
    assert fits(one(source=["192.0.2.0/24", "2001:db8::/32"]), "http://a/", source=source) == fit


def test_a_source_is_what_the_caller_believes_whatever_the_request_says() -> None:
    assert not fits(one(source=["192.0.2.0/24"]), "http://a/", "X-Forwarded-For: 192.0.2.7", source="198.51.100.1")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"host": ["a.example"]}, "host www.example.com is not a.example"),
        ({"host": ["a.example", "b.example"]}, "host www.example.com is none of a.example, b.example"),
        ({"host": ["*.example.net"]}, "host www.example.com does not match *.example.net"),
        ({"host": ["*.example.com", "*.net"]}, "host www.example.com matches *.example.com"),
        ({"host": ["*.example.com", "www.example.com"]}, "host www.example.com"),
        ({"host": ["www.example.com"]}, "host www.example.com"),
        ({"host": list("abcdefg")}, "host www.example.com is none of a, b, c, d, e and 2 more"),
        ({"port": [81, 82]}, "port 80 is none of 81, 82"),
        ({"method": ["PUT"]}, "method GET is not PUT"),
        ({"path": ["/v1/*", "/v2"]}, "path /x\x7f/\x85ä matches none of /v1/*, /v2"),
        ({"path_regex": ["^/v1"]}, "path /x\x7f/\x85ä does not match path_regex ^/v1"),
        ({"path_regex": ["^/v1", "x"]}, "path /x\x7f/\x85ä matches path_regex ^/v1 or x"),
        ({"source": ["10.0.0.0/8"]}, "source 192.0.2.7 is not in 10.0.0.0/8"),
        ({"source": ["10.0.0.0/8", "192.0.2.0/24"]}, "source 192.0.2.7 is in 192.0.2.0/24"),
        ({"source": ["10.0.0.0/8", "::1"]}, "source 192.0.2.7 is in none of 10.0.0.0/8, ::1"),
        ({"header": {"X-Canary": ["1"]}}, "there is no header X-Canary"),
        ({"header": {"X-Env": ["a", "b*"]}}, "header X-Env: Prod and Test matches none of a, b*"),
        ({"header": {"X-Env": ["test"]}}, "header X-Env: Prod and Test"),
        ({"query": {"v": ["2"]}}, "the query has no v"),
        ({"query": {"Q": ["2"]}}, "query Q=1 and Q=3 is not 2"),
    ],
)
def test_why(spec: dict[str, Any], why: str) -> None:
    class Odd:
        method = b"GET"
        host = "www.example.com"
        path = "/x\x7f/\x85ä".encode()
        query = b"q=3&q=1"

        def get(self, name: bytes) -> list[bytes]:
            return {b"x-env": [b"Prod", b"Test"]}.get(name, [])

    said = one(**spec).why(Asked(Odd(), 80, "192.0.2.7"))
    assert said == re.sub(r"[\x7f\x85]", lambda found: repr(found[0])[1:-1], why)


def test_a_client_without_an_address_and_a_request_without_a_host() -> None:
    assert one(source=["10.0.0.0/8"]).why(asked("http://a/")) == "no address of the client is known"
    request = parse_request(b"GET / HTTP/1.0\r\n\r\n")
    assert request is not None
    nobody = Asked(request, 80, "")
    assert one(host=["a"]).why(nobody) == "the request has no host"
    assert one(host=["*"]).holds(nobody)
