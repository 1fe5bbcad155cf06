"""What a health check says to a target, and how the answer is judged."""

from __future__ import annotations

from typing import Any

import pytest

import nlb
from nlb.balance.target import Target
from nlb.control.answers import (
    LONGEST_HEAD,
    arguments,
    asked,
    environment,
    first_line,
    judge_http,
    judge_text,
    request,
    unlike,
)
from nlb.model.address import parse_address
from nlb.model.health_check import HealthCheck
from nlb.model.values import matcher


def target(address: str) -> Target:
    return Target(7, "db01", "db", parse_address(address))


def said(address: str = "10.0.0.11:3000", **settings: Any) -> list[str]:
    """The lines of a request."""
    check = HealthCheck(protocol="http", **settings)
    text = request(parse_address(address), check).decode()
    assert text.endswith("\r\n\r\n")
    return text.split("\r\n")[:-2]


@pytest.mark.parametrize(
    ("address", "port", "where"),
    [
        ("10.0.0.11:3000", None, "10.0.0.11:3000"),
        ("10.0.0.11:3000", 8080, "10.0.0.11:8080"),
        ("[::1]:3000", 8080, "[::1]:8080"),
        ("unix:/run/app.sock", 8080, "unix:/run/app.sock"),
    ],
)
def test_where_a_target_is_asked(address: str, port: int | None, where: str) -> None:
    assert str(asked(parse_address(address), HealthCheck(port=port))) == where


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.0.0.11:3000", "10.0.0.11:3000"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ("[fe80::1%eth0]:80", "[fe80::1]:80"),
        ("unix:/run/app.sock", "localhost"),
    ],
)
def test_the_request(address: str, host: str) -> None:
    assert said(address, path="/healthz?deep=1") == [
        "GET /healthz?deep=1 HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: nlb/{nlb.__version__} (health check)",
        "Accept: */*",
        "Connection: close",
    ]


def test_method_host_and_headers_are_as_the_config_says() -> None:
    lines = said(method="HEAD", host="shop.example:8443", headers={"X-Probe": "a b", "authorization": "Bearer x"})
    assert lines[:2] == ["HEAD / HTTP/1.1", "Host: shop.example:8443"]
    assert lines[4:] == ["X-Probe: a b", "authorization: Bearer x", "Connection: close"]


def test_a_header_of_the_config_takes_the_place_of_ours() -> None:
    lines = said(headers={"user-agent": "ELB-HealthChecker/2.0", "ACCEPT": "text/plain"})
    assert lines[2:] == ["user-agent: ELB-HealthChecker/2.0", "ACCEPT: text/plain", "Connection: close"]


MORE = None
NOT_HTTP = (False, "not an HTTP answer")


@pytest.mark.parametrize(
    ("received", "ended", "verdict"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n", False, (True, "status 200"), id="fine"),
        pytest.param(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n<p>", False, (True, "status 200"), id="1.0, and more after it"),
        pytest.param(b"HTTP/1.1 204\r\n", False, (True, "status 204"), id="no reason"),
        pytest.param(b"HTTP/1.1 302 Found\n", False, (True, "status 302"), id="bare LF"),
        pytest.param(b"HTTP/1.1 200 \xe4\r\n", True, (True, "status 200"), id="a reason in Latin-1"),
        pytest.param(b"HTTP/1.1 503 No\r\n", False, (False, "status 503, wanted 200-399"), id="503"),
        pytest.param(b"HTTP/1.1 999 No\r\n", True, (False, "status 999, wanted 200-399"), id="999"),
        pytest.param(b"", False, MORE, id="nothing yet"),
        pytest.param(b"HT", False, MORE, id="two bytes"),
        pytest.param(b"HTTP/1.1 200 OK", False, MORE, id="half a line"),
        pytest.param(b"HTTP/1.1 200 OK\r", False, MORE, id="all but the last byte"),
        pytest.param(b"HTTP/1.1 " + b"2" * (LONGEST_HEAD - 10), False, MORE, id="a long line"),
        pytest.param(b"HTTP/1.1 " + b"2" * LONGEST_HEAD, False, NOT_HTTP, id="too long a line"),
        pytest.param(b"", True, (False, "closed without an answer"), id="closed"),
        pytest.param(b"HTTP/1.1 200 OK", True, NOT_HTTP, id="closed in the middle"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", False, NOT_HTTP, id="ssh"),
        pytest.param(b"\x15\x03\x01", False, NOT_HTTP, id="TLS alert, no need to wait for its end"),
        pytest.param(b"HTTP/2.0 200 OK\r\n", False, NOT_HTTP, id="another HTTP"),
        pytest.param(b"HTTP/1.1 20\r\n", False, NOT_HTTP, id="a short status"),
        pytest.param(b"HTTP/1.1 2000 OK\r\n", False, NOT_HTTP, id="a long status"),
        pytest.param(b"HTTP/1.1  200 OK\r\n", False, NOT_HTTP, id="two spaces"),
        pytest.param(b"HTTP/1.1 OK 200\r\n", False, NOT_HTTP, id="the wrong way round"),
        pytest.param(b"\r\nHTTP/1.1 200 OK\r\n", False, NOT_HTTP, id="an empty line first"),
    ],
)
def test_an_http_answer(received: bytes, ended: bool, verdict: tuple[bool, str] | None) -> None:
    assert judge_http(received, ended, matcher("200-399")) == verdict


def test_the_matcher_decides_and_is_quoted() -> None:
    wanted = matcher("200,301-302")
    assert judge_http(b"HTTP/1.1 302 Found\r\n", False, wanted) == (True, "status 302")
    assert judge_http(b"HTTP/1.1 204 No Content\r\n", False, wanted) == (False, "status 204, wanted 200,301-302")


PONG = (True, "answered '+PONG'")


@pytest.mark.parametrize(
    ("received", "ended", "verdict"),
    [
        pytest.param(b"+PONG\r\n", False, PONG, id="fine"),
        pytest.param(b"+PONG", False, PONG, id="before the end of the line"),
        pytest.param(b"-hello\r\n+PONG\r\n", True, PONG, id="later"),
        pytest.param(b"x" * (LONGEST_HEAD - 5) + b"+PONG", False, PONG, id="just within the first 8 KiB"),
        pytest.param(b"", False, MORE, id="nothing yet"),
        pytest.param(b"+PON", False, MORE, id="a part of it"),
        pytest.param(b"-LOADING\r\n", False, MORE, id="something else, so far"),
        pytest.param(b"", True, (False, "closed without an answer"), id="closed"),
        pytest.param(b"+PON", True, (False, "answered '+PON', wanted '+PONG'"), id="closed in the middle"),
        pytest.param(b"-LOADING\r\n", True, (False, "answered '-LOADING', wanted '+PONG'"), id="another answer"),
        pytest.param(
            b"x" * LONGEST_HEAD + b"+PONG", False, (False, f"answered '{'x' * 60}...', wanted '+PONG'"), id="too late"
        ),
    ],
)
def test_an_answer_in_words(received: bytes, ended: bool, verdict: tuple[bool, str] | None) -> None:
    assert judge_text(received, ended, "+PONG") == verdict


def test_words_are_bytes() -> None:
    assert judge_text(b"a\x00\xffb", False, "\x00\xff") == (True, "answered '?\xff'")
    assert judge_text("\xff".encode(), True, "\xff\x00") == (False, "answered '\xc3\xbf', wanted '\xff?'")


def test_what_came_instead_is_quoted_on_one_line() -> None:
    assert unlike(b"220 mail\r\n250 ok\r\n", "+\r\n") == "answered '220 mail', wanted '+'"
    assert unlike(b"\x1b[31mred", "+") == "answered '?[31mred', wanted '+'"


COMMAND = ("/bin/check", "--at={host}:{port}", "{address}", "{name} of {group}", "{}", "$HOME {", "{host}{host}")


@pytest.mark.parametrize(
    ("address", "port", "words"),
    [
        ("10.0.0.11:5432", None, ["--at=10.0.0.11:5432", "10.0.0.11:5432", "10.0.0.1110.0.0.11"]),
        ("10.0.0.11:5432", 8008, ["--at=10.0.0.11:8008", "10.0.0.11:8008", "10.0.0.1110.0.0.11"]),
        ("[::1]:5432", None, ["--at=::1:5432", "[::1]:5432", "::1::1"]),
        ("unix:/run/pg", 8008, ["--at=/run/pg:", "unix:/run/pg", "/run/pg/run/pg"]),
    ],
)
def test_a_program_is_told_the_target(address: str, port: int | None, words: list[str]) -> None:
    where = asked(parse_address(address), HealthCheck(port=port))
    path, at, whole, who, *rest, twice = arguments(COMMAND, target(address), where)
    assert [at, whole, twice] == words
    assert (path, who, rest) == ("/bin/check", "db01 of db", ["{}", "$HOME {"])


def test_the_environment_of_a_program_is_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    told = environment(target("10.0.0.11:5432"), parse_address("10.0.0.11:8008"))
    assert told == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "NLB_TARGET_HOST": "10.0.0.11",
        "NLB_TARGET_PORT": "8008",
        "NLB_TARGET_ADDRESS": "10.0.0.11:8008",
        "NLB_TARGET_NAME": "db01",
        "NLB_TARGET_GROUP": "db",
    }


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"leader\n", "leader"),
        (b"\n  lag 3 s \nmore", "lag 3 s"),
        (b"\x1b[31mno\x07", "?[31mno?"),
        (b"caf\xe9", "caf\ufffd"),
        (b"x" * 160, "x" * 160),
        (b"x" * 161, "x" * 157 + "..."),
    ],
)
def test_the_first_line_of_an_output(output: bytes, line: str) -> None:
    assert first_line(output) == line
