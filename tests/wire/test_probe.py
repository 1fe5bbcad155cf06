"""Probes against servers on real sockets: TCP, words and HTTP. TLS is in test_probe_tls.py."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nlb.control.questions import LONGEST_ANSWER
from nlb.model.address import Address
from nlb.net.proxy_protocol.reading import parse
from tests.wire.stage import RESET, Stage, bound

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


families = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX], ids=lambda it: it.name)


@families
def test_tcp_a_listening_target_passes(stage: Stage, family: socket.AddressFamily) -> None:
    server, address = stage.serve(None, family=family)
    stage.probe(address, "tcp")
    assert stage.verdict() == (True, "connected")
    stage.until(lambda: bool(server.connections) and bool(server.connections[0].end))
    assert server.connections[0].end == "closed"  # a reset would be an error in the target's log


@families
@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_a_target_that_does_not_listen_refuses(stage: Stage, family: socket.AddressFamily, protocol: str) -> None:
    sock, address = bound(family, stage.path)
    with sock:
        stage.probe(address, protocol)
        assert stage.verdict() == (False, "connection refused")


def test_a_unix_socket_that_is_not_there(stage: Stage) -> None:
    stage.probe(Address("", 0, str(stage.path)), "tcp")
    assert stage.verdict() == (False, "no such socket")


@families
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_target_that_wants_a_proxy_header_is_told_that_nobody_is_behind_it(
    stage: Stage, family: socket.AddressFamily, version: str
) -> None:
    server, address = stage.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", family=family)
    stage.probe(address, proxy_protocol=version)
    assert stage.verdict() == (True, "status 200")
    said = server.connections[0].request
    header = parse(said)
    assert header is not None
    assert said[header.size :].startswith(b"GET / HTTP/1.1\r\n")
    if version == "v2":
        assert header.source is None
    elif header.source is not None:
        assert (header.source.host, header.destination) == (address.host, address)


def test_a_port_of_its_own_for_checks_gets_no_proxy_header(stage: Stage) -> None:
    server, address = stage.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    stage.probe(address, proxy_protocol="v2", port=address.port)
    assert stage.verdict() == (True, "status 200")
    assert server.connections[0].request.startswith(b"GET ")


@families
def test_http_a_good_status_passes(stage: Stage, family: socket.AddressFamily) -> None:
    server, address = stage.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", family=family)
    stage.probe(address, path="/healthz")
    assert stage.verdict() == (True, "status 200")
    host = "localhost" if address.is_unix else str(address)
    assert server.connections[0].request.startswith(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n".encode())


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        pytest.param([b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n"], (True, "status 302"), id="redirect"),
        pytest.param([b"HTTP/1.1 503 No\r\n\r\n"], (False, "status 503, wanted 200-399"), id="503"),
        pytest.param([bytes([byte]) for byte in OK], (True, "status 200"), id="byte by byte"),
        pytest.param([OK, RESET], (True, "status 200"), id="reset after the status"),
        pytest.param([b"HTTP/1.1 20", RESET], (False, "connection reset"), id="reset in the middle of it"),
        pytest.param([RESET], (False, "connection reset"), id="reset instead of it"),
        pytest.param([], (False, "closed without an answer"), id="closed instead of it"),
        pytest.param([b"HTTP/1.1 20"], (False, "not an HTTP answer"), id="closed in the middle of it"),
        pytest.param([b"220 mail.example ESMTP\r\n", None], (False, "not an HTTP answer"), id="another protocol"),
        pytest.param([b"\x00\x01", None], (False, "not an HTTP answer"), id="garbage, then silence"),
        pytest.param([b"HTTP/1.1 " + b"2" * 4096] * 4 + [None], (False, "not an HTTP answer"), id="an endless line"),
    ],
)
def test_http_answers(stage: Stage, script: list[Any], verdict: tuple[bool, str]) -> None:
    _, address = stage.serve(*script)
    stage.probe(address)
    assert stage.verdict() == verdict


@families
def test_an_answer_to_no_question_is_heard_too(stage: Stage, family: socket.AddressFamily) -> None:
    """A server that is overloaded may say so to everyone and read nothing; a unix socket then refuses the question."""
    _, address = stage.serve(b"HTTP/1.1 503 Overloaded\r\n\r\n", family=family, rude=True)
    stage.probe(address)
    assert stage.verdict() == (False, "status 503, wanted 200-399")


@pytest.mark.parametrize("script", [[None], [b"HTTP/1.1 20", None]], ids=["from the start", "after some bytes"])
def test_http_silence(stage: Stage, script: list[Any]) -> None:
    _, address = stage.serve(*script)
    stage.probe(address, timeout="100ms")
    assert stage.verdict() == (False, "connected, but no answer in 0.1 s")


def test_a_full_queue_does_not_answer_a_connect(stage: Stage) -> None:
    """The kernel drops what a listener has no room for: to us, a host that is silent."""
    sock, address = bound(socket.AF_INET, stage.path)
    with sock:
        sock.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((address.host, address.port))
        stage.probe(address, "tcp", timeout="100ms")
        assert stage.verdict() == (False, "no answer in 0.1 s")
        for filler in fillers:
            filler.close()


def test_a_page_is_read_to_its_end_so_its_server_sees_no_reset(stage: Stage) -> None:
    page = [b"x" * 1000] * 10
    server, address = stage.serve(OK, b"Content-Type: text/plain\r\n\r\n", *page)
    stage.probe(address)
    assert stage.verdict() == (True, "status 200")
    stage.until(lambda: server.connections[0].closed)
    assert (server.connections[0].script, server.connections[0].end) == ([], "")


def test_an_endless_page_is_cut(stage: Stage) -> None:
    server, address = stage.serve(OK, *[b"x" * 4096] * 10_000)
    stage.probe(address)
    assert stage.verdict() == (True, "status 200")
    stage.until(lambda: server.connections[0].closed)
    assert server.connections[0].script
    assert server.connections[0].sent >= LONGEST_ANSWER


def test_the_next_probe_ends_the_last_one_for_good(stage: Stage) -> None:
    server, address = stage.serve(OK, None)
    prober = stage.probe(address)
    stage.verdict()
    assert not server.connections[0].end
    prober.now()
    stage.until(lambda: len(stage.reports) == 2 and server.connections[0].closed)
    assert len(server.connections) == 2


def test_stop_ends_the_connection(stage: Stage) -> None:
    server, address = stage.serve(None)
    prober = stage.probe(address)
    stage.until(lambda: bool(server.connections) and bool(server.connections[0].request))
    prober.stop()
    stage.until(lambda: server.connections[0].closed)
    assert not stage.reports


def test_another_port_may_be_asked(stage: Stage) -> None:
    _, traffic = stage.serve(b"HTTP/1.1 500 No\r\n")
    health, address = stage.serve(OK)
    stage.probe(traffic, port=address.port)
    assert stage.verdict() == (True, "status 200")
    assert f"Host: 127.0.0.1:{address.port}\r\n".encode() in health.connections[0].request


def test_probes_go_on_one_after_the_other(stage: Stage) -> None:
    server, address = stage.serve(OK)
    prober = stage.probe(address)
    for number in range(1, 6):
        stage.until(lambda number=number: len(stage.reports) == number)  # type: ignore[misc]
        prober.now()
    assert stage.reports == [(True, "status 200")] * 5
    assert len(server.connections) == 5


def test_without_descriptors_nobody_is_blamed(stage: Stage) -> None:
    server, address = stage.serve(OK)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    prober = stage.probe(address)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        stage.until(lambda: bool(stage.events.said))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not stage.reports
    prober.now()
    assert stage.verdict() == (True, "status 200")
    assert stage.events.said == ["cannot probe web/web01: too many open files here (said once for all targets)"]
    assert server.connections


# --- words


def test_what_is_sent_and_what_is_expected(stage: Stage) -> None:
    server, address = stage.serve(b"+PO", b"NG\r\n", None, question=b"PING\r\n")
    stage.probe(address, "tcp", send="PING\r\n", expect="+PONG")
    assert stage.verdict() == (True, "answered '+PONG'")
    stage.until(lambda: bool(server.connections[0].end))
    assert (server.connections[0].request, server.connections[0].end) == (b"PING\r\n", "closed")


def test_a_greeting_may_be_expected(stage: Stage) -> None:
    server, address = stage.serve(b"220 mail.example ESMTP\r\n", None, question=b"")
    stage.probe(address, "tcp", expect="220 ")
    assert stage.verdict() == (True, "answered '220 '")
    stage.until(lambda: bool(server.connections[0].end))
    assert (server.connections[0].request, server.connections[0].end) == (b"", "closed")


def test_words_may_be_sent_without_any_expected(stage: Stage) -> None:
    server, address = stage.serve(None, question=b"QUIT")
    stage.probe(address, "tcp", send="QUIT\r\n")
    assert stage.verdict() == (True, "connected")
    stage.until(lambda: bool(server.connections) and bool(server.connections[0].end))
    assert (server.connections[0].request, server.connections[0].end) == (b"QUIT\r\n", "closed")


def test_what_a_server_says_after_the_expected_words_meets_no_reset(stage: Stage) -> None:
    server, address = stage.serve(b"+OK\r\n", *[b"x" * 1000] * 10, question=b"INFO")
    stage.probe(address, "tcp", send="INFO", expect="+OK")
    stage.until(lambda: bool(server.connections) and server.connections[0].closed)
    assert stage.reports == [(True, "answered '+OK'")]
    assert server.connections[0].end != "reset"


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        pytest.param([b"-LOADING\r\n"], (False, "answered '-LOADING', wanted '+PONG'"), id="another answer"),
        pytest.param([], (False, "closed without an answer"), id="closed"),
        pytest.param([RESET], (False, "connection reset"), id="reset"),
        pytest.param([b"x" * 4096] * 3 + [None], (False, f"answered '{'x' * 60}...', wanted '+PONG'"), id="endless"),
    ],
)
def test_words_that_do_not_come(stage: Stage, script: list[Any], verdict: tuple[bool, str]) -> None:
    _, address = stage.serve(*script, question=b"PING")
    stage.probe(address, "tcp", send="PING", expect="+PONG")
    assert stage.verdict() == verdict


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ([None], "connected, but no answer in 0.1 s"),
        ([b"-LOADING\r\n", None], "answered '-LOADING', wanted '+PONG' in 0.1 s"),
    ],
)
def test_words_that_do_not_come_in_time(stage: Stage, script: list[Any], detail: str) -> None:
    _, address = stage.serve(*script, question=b"PING")
    stage.probe(address, "tcp", send="PING", expect="+PONG", timeout="100ms")
    assert stage.verdict() == (False, detail)
