"""Where a redirect leads."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.http1.redirect import PLACEHOLDERS, Redirect
from nlb.model import actions
from tests.unit.http1.asking import ask


def location(spec: dict[str, Any], url: str, port: int = 80, protocol: str = "http") -> str:
    request = ask(url)
    return Redirect({"status": 301, **spec}).location(request, protocol, request.host, port).decode()


@pytest.mark.parametrize(
    ("spec", "url", "port", "there"),
    [
        pytest.param({"protocol": "https"}, "http://a.example/x?y=1", 80, "https://a.example/x?y=1", id="to https"),
        pytest.param({"protocol": "https"}, "http://a.example/", 8080, "https://a.example/", id="its own port"),
        pytest.param(
            {"protocol": "https", "port": "#{port}"}, "http://a.example/", 8080, "https://a.example/", id="same"
        ),
        pytest.param({"protocol": "https", "port": "8443"}, "http://a/", 80, "https://a:8443/", id="to a port"),
        pytest.param({"port": "80"}, "http://a/", 8080, "http://a/", id="a port that goes without saying"),
        pytest.param({"host": "www.#{host}"}, "http://a.example/x", 80, "http://www.a.example/x", id="host"),
        pytest.param({"host": "b"}, "http://a/x", 8080, "http://b:8080/x", id="the port stays"),
        pytest.param({"path": "/new/#{path}"}, "http://a/old/x?q", 80, "http://a/new/old/x?q", id="path"),
        pytest.param({"path": "/"}, "http://a/old/x?q", 80, "http://a/?q", id="the query stays"),
        pytest.param({"path": "/", "query": ""}, "http://a/old/x?q", 80, "http://a/", id="no query"),
        pytest.param({"query": "from=#{path}&#{query}"}, "http://a/x?q", 80, "http://a/x?from=x&q", id="query"),
        pytest.param(
            {"path": "/#{protocol}/#{host}/#{port}"}, "http://a/?q", 81, "http://a:81/http/a/81?q", id="every word"
        ),
        pytest.param({"host": "b"}, "http://a//evil/%2e?x%0d", 80, "http://b//evil/%2e?x%0d", id="as it was written"),
        pytest.param({"path": "/x"}, "http://[2001:db8::1]:81/", 81, "http://[2001:db8::1]:81/x", id="IPv6"),
        pytest.param({"path": None, "query": None, "host": "b"}, "http://a/x?y", 80, "http://b/x?y", id="None"),
    ],
)
def test_location(spec: dict[str, Any], url: str, port: int, there: str) -> None:
    assert location(spec, url, port) == there


def test_from_https() -> None:
    assert location({"path": "/y"}, "http://a/x", 443, "https") == "https://a/y"
    assert location({"protocol": "http"}, "http://a/x", 443, "https") == "http://a/x"


@pytest.mark.parametrize("path", ["/evil.example/x", "//evil.example/x", "/%5Cevil.example", "/\\evil.example"])
def test_without_a_host_no_client_chooses_one(path: str) -> None:
    class NoHost:
        query = b"q"

        def __init__(self, path: bytes) -> None:
            self.path = path

    there = Redirect({"status": 302, "path": "/#{path}"}).location(NoHost(path.encode()), "http", "", 80)
    assert there.startswith(b"/")
    assert there[1:2] not in (b"/", b"\\")
    assert there.endswith(b"?q")


def test_the_words_are_those_of_the_config() -> None:
    assert PLACEHOLDERS == actions.PLACEHOLDERS
