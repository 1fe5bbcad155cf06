"""What clients get from rules that answer, and in place of targets that cannot; and what targets learn of clients."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.daemon import PATIENCE, Daemon, daemon
from tests.sites import UNASKED, edge, group, rule
from tests.targets import Target
from tests.waiting import until
from tests.webclients import Client, everything, get, read_to
from tests.webtargets import Seen, WebTarget, reply

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

RULES = (
    rule("moved", 'path = "/old/*"\nredirect = { status = 301, protocol = "https", path = "/new/#{path}" }')
    + rule("closed", 'host = "closed.test"\nfixed_response = { status = 503, body = "back at noon" }')
    + rule("plain", 'path = "/hello"\nfixed_response = { status = 200, content_type = "text/html", body = "<p>hi" }')
    + rule("gone", 'path = "/gone"\nforward = "gone"')
    + rule("odd", 'path = "/odd"\nforward = "odd"')
    + rule("early", 'path = "/early"\nforward = "early"')
    + rule("slow", 'path = "/slow"\nforward = "slow"')
)

PAGE = "<h1>We are looking into it</h1>"


class Site:
    """One nlb with a listener of each kind."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.web, self.odd = (stack.enter_context(WebTarget(name)) for name in ("t1", "t2"))
        self.slow = stack.enter_context(WebTarget("t3", respond=self._never))
        gone = WebTarget("t4")
        gone.stop()
        (folder / "502.html").write_text(PAGE)
        self.released = threading.Event()
        stack.callback(self.released.set)
        hurried = "header_timeout = 0.2\nmin_body_rate = 100000\nmin_body_rate_after = 0.2\nidle_timeout = 0.5"
        text = (
            edge(more=RULES)
            + edge(name="told", more=f"reason_header = true\nmax_body = 10\n{hurried}\n{RULES}")
            + edge(name="paged", more=f'error_pages = {{ 502 = "{folder}/502.html" }}\n{RULES}')
            + edge(name="trusting", more='trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]\nforwarded = "append"')
            + edge(name="replacing", more='x_forwarded = "replace"\nforwarded = "replace"\nvia = false')
            + edge(name="keeping", more='x_forwarded = "preserve"\nforwarded = "preserve"\nrequest_id = false')
            + edge(name="silent", more='x_forwarded = "remove"\ntraceparent = false')
            + group([self.web])
            + group([self.odd], UNASKED, "odd")
            + group([gone], UNASKED, "gone")
            + group([stack.enter_context(Target(_early))], UNASKED, "early")
            + group([self.slow], f"response_timeout = 0.2\n{UNASKED}", "slow")
        )
        self.nlb: Daemon = stack.enter_context(daemon(folder, text))
        self.ports = self.nlb.ports

    def _never(self, seen: Seen) -> bytes:
        self.released.wait()
        return b""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("nlb"), stack)


def curl(*arguments: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "20", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done
    return done.stdout.replace("\r\n", "\n")


@needs_curl
def test_curl_is_redirected(site: Site) -> None:
    port = site.ports["edge"]
    said = curl("-i", "-H", "Host: shop.test", f"http://127.0.0.1:{port}/old/a/b?c=d")
    assert said.startswith("HTTP/1.1 301 Moved Permanently\n")
    assert "\nLocation: https://shop.test/new/old/a/b?c=d\n" in said


@needs_curl
def test_curl_gets_a_fixed_response(site: Site) -> None:
    port = site.ports["edge"]
    said = curl("-i", "-H", "Host: closed.test", f"http://127.0.0.1:{port}/")
    assert said.startswith("HTTP/1.1 503 Service Unavailable\n")
    assert said.endswith("\n\nback at noon")
    # Both on one connection, the second without its body.
    said = curl("-i", f"http://127.0.0.1:{port}/hello", "--next", "-I", f"http://127.0.0.1:{port}/hello")
    assert said.count("HTTP/1.1 200 OK\nContent-Type: text/html\nContent-Length: 5\n") == 2
    assert said.count("<p>hi") == 1


@needs_curl
def test_curl_waits_for_100_continue_before_it_uploads(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 2_000_000)
    port = site.ports["edge"]
    address = f"http://127.0.0.1:{port}/upload"
    said = curl("-v", "--expect100-timeout", "20", "--stderr", "-", "-T", str(file), address)
    assert "HTTP/1.1 100 " in said
    assert "HTTP/1.1 200 OK" in said
    curl("-H", "Transfer-Encoding: chunked", "-T", str(file), address)
    assert [seen.body for seen in site.web.seen if seen.target == "/upload"] == [b"x" * 2_000_000] * 2


def test_errors_are_told_to_people_and_to_programs(site: Site) -> None:
    port = site.ports["edge"]
    plain = get(port, "/gone")
    assert (plain.status, plain.get("Content-Type")) == (502, "text/plain; charset=utf-8")
    assert plain.body.startswith(b"502 Bad Gateway\n")
    page = get(port, "/gone", headers=[("Accept", "text/html,*/*")])
    assert (page.status, page.get("Content-Type")) == (502, "text/html; charset=utf-8")
    assert b"<h1>502 Bad Gateway</h1>" in page.body
    own = get(site.ports["paged"], "/gone")
    assert (own.status, own.body.decode(), own.get("Content-Type")) == (502, PAGE, "text/html; charset=utf-8")
    assert not plain.get("X-Nlb-Reason"), "strangers learn nothing unless it is configured"


def raw(status: str = "200 OK", more: bytes = b"") -> Callable[[Seen], bytes]:
    return lambda _: f"HTTP/1.1 {status}\r\n".encode() + more


FAILURES = {
    "refused": ("/gone", None, 502, "connect/refused"),
    "late": ("/slow", None, 504, "response/timeout"),
    "closed": ("/odd", lambda _: b"", 502, "response/target_closed"),
    "closed in the head": (
        "/odd",
        lambda _: [b"HTTP/1.1 200 OK\r\nConnection: close\r\n"],
        502,
        "response/target_closed",
    ),
    "not http": ("/odd", lambda _: b"SSH-2.0-OpenSSH\r\n\r\n", 502, "response/bad_head"),
    "two lengths": ("/odd", raw(more=b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na"), 502, "response/bad_head"),
    "length and chunks": (
        "/odd",
        raw(more=b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        502,
        "response/bad_head",
    ),
    "too large a head": ("/odd", raw(more=b"A: " + b"a" * 40_000 + b"\r\n\r\n"), 502, "response/bad_head"),
    "a tunnel that nobody asked for": (
        "/odd",
        raw("101 Switching Protocols", b"Upgrade: a\r\n\r\n"),
        502,
        "response/bad_head",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_target_that_fails_is_answered_for(site: Site, name: str) -> None:
    path, respond, status, outcome = FAILURES[name]
    if respond:
        site.odd.respond = respond
    with Client(site.ports["told"]) as client:
        answer = client.ask(path)
        assert (answer.status, answer.get("X-Nlb-Reason")) == (status, outcome)
        # The client's connection is none the worse for it.
        assert client.ask("/").body == b"t1"
    until(lambda: site.nlb.targets()["t1"]["sessions"] == 0, PATIENCE)


def test_a_response_that_is_cut_is_cut_for_the_client(site: Site) -> None:
    site.odd.respond = raw(more=b"Connection: close\r\nContent-Length: 10\r\n\r\nabc")
    assert everything(site.ports["edge"], b"GET /odd HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b"abc")
    until(lambda: site.nlb.listener("edge")["outcomes"].get("data/target_closed") == 1, PATIENCE)


RULE_BREAKERS = {
    "a head that does not end": (b"GET / HTTP/1.1\r\nHost: a\r\n", 408, "request/timeout"),
    "a body that does not come": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
        408,
        "request/slow_body",
    ),
    "chunks that do not come": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        408,
        "request/slow_body",
    ),
    "a body that is too large": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413, "request/too_large"),
    "a long address": (b"GET /" + b"a" * 16384 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "request/too_large"),
    "a long line": (b"GET / HTTP/1.1\r\nHost: a\r\nB: " + b"b" * 16384 + b"\r\n\r\n", 431, "request/too_large"),
    "a method that is not for us": (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405, "request/bad_head"),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "request/bad_head"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "request/bad_head"),
}


def test_a_client_that_does_not_keep_to_the_rules_is_told(site: Site) -> None:
    port, raws = site.ports["told"], [raw for raw, _, _ in RULE_BREAKERS.values()]
    with ThreadPoolExecutor(len(raws)) as pool:
        said = pool.map(everything, [port] * len(raws), raws)
    for (name, (_, status, outcome)), answer in zip(RULE_BREAKERS.items(), said, strict=True):
        assert answer.startswith(b"HTTP/1.1 %d " % status), (name, answer)
        assert f"X-Nlb-Reason: {outcome}\r\n".encode() in answer, (name, answer)
        assert b"Connection: close\r\n" in answer, (name, answer)


def test_a_client_that_says_nothing_is_parted_from_in_order(site: Site) -> None:
    assert everything(site.ports["told"], b"") == b""
    said = everything(site.ports["told"], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert said.endswith(b"\r\n\r\nt1")


def test_clients_of_http_1_0(site: Site) -> None:
    port = site.ports["edge"]
    site.odd.respond = raw(more=b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    for head in (b"GET /odd HTTP/1.0\r\n\r\n", b"GET /odd HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"):
        said = everything(port, head)
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert said.endswith(b"\r\n\r\nabc"), "it knows no chunks, and its end is that of the connection"
        assert b"Connection: close\r\n" in said
    assert everything(port, b"GET / HTTP/1.0\r\n\r\n").endswith(b"t1")
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        for _ in range(3):
            sock.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert b"Connection: keep-alive\r\n" in read_to(sock, b"t1")
    assert site.web.seen[-1].get("Via") == "1.0 nlb"
    assert not site.web.broken


FORGED = [
    ("X-Forwarded-For", "203.0.113.7, 10.1.1.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "443"),
    ("Forwarded", "for=203.0.113.7"),
    ("X-Request-Id", "from-the-client"),
]
US = "for=127.0.0.1;proto=http;host=nlb.test"
NAMES = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Port", "Forwarded", "X-Request-Id")


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        ("edge", ("203.0.113.7, 10.1.1.1, 127.0.0.1", "http", "PORT", "", "from-the-client")),
        ("trusting", ("203.0.113.7, 10.1.1.1, 127.0.0.1", "https", "443", f"for=203.0.113.7, {US}", "from-the-client")),
        ("replacing", ("127.0.0.1", "http", "PORT", US, "from-the-client")),
        ("keeping", ("203.0.113.7, 10.1.1.1", "https", "443", "for=203.0.113.7", "from-the-client")),
        ("silent", ("", "", "", "", "from-the-client")),
    ],
)
def test_what_a_target_learns_of_a_client_that_says_much(site: Site, listener: str, expected: tuple[str, ...]) -> None:
    port = site.ports[listener]
    assert get(port, headers=FORGED).status == 200
    seen = site.web.seen[-1]
    assert tuple(seen.get(name) for name in NAMES) == tuple(text.replace("PORT", str(port)) for text in expected)
    assert seen.get("Host") == "nlb.test"


def test_what_a_target_learns_of_a_client_that_says_nothing(site: Site) -> None:
    for listener in ("edge", "silent", "keeping", "replacing"):
        assert get(site.ports[listener]).status == 200
    edge, silent, keeping, replacing = site.web.seen[-4:]
    assert edge.get("X-Forwarded-For") == "127.0.0.1"
    assert edge.get("Via") == "1.1 nlb"
    assert len(edge.get("X-Request-Id")) == 32
    assert edge.get("traceparent").startswith(f"00-{edge.get('X-Request-Id')}-")
    assert (silent.get("X-Forwarded-For"), silent.get("traceparent")) == ("", "")
    assert (keeping.get("X-Forwarded-For"), keeping.get("X-Request-Id")) == ("", "")
    assert replacing.get("Via") == ""


def test_connection_and_what_it_names_stay_on_this_side(site: Site) -> None:
    site.odd.respond = raw(
        more=b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 2\r\nContent-Length: 0\r\n\r\n"
    )
    answer = get(
        site.ports["edge"], "/odd", headers=[("Connection", "X-Mine"), ("X-Mine", "1"), ("X-Far", "2"), ("TE", "a")]
    )
    seen = site.odd.seen[-1]
    assert [seen.get(name) for name in ("Connection", "X-Mine", "TE", "X-Far")] == ["", "", "", "2"]
    assert [answer.get(name) for name in ("Connection", "X-Hop", "Keep-Alive", "X-End")] == ["", "", "", "2"]


def test_a_post_is_never_sent_twice_and_a_get_is(site: Site) -> None:
    """The target closes a connection that it kept, once it has read a request on it."""
    port, calls = site.ports["edge"], list[str]()

    def closes_once(seen: Seen) -> bytes:
        calls.append(seen.method)
        return reply(b"again") if len(calls) == 2 else b""

    for method, status, times in (("POST", 502, 1), ("PATCH", 502, 1), ("GET", 200, 2), ("PUT", 200, 2)):
        site.odd.respond = lambda _: reply(b"kept")
        assert get(port, "/odd").body == b"kept"
        calls.clear()
        site.odd.respond = closes_once
        with Client(port) as client:
            answer = client.ask("/odd", method=method, body=b"x" if method != "GET" else b"")
        assert (answer.status, calls) == (status, [method] * times)


def test_a_response_may_come_before_its_request_has_ended(site: Site) -> None:
    """The client sends on for a while, hears the answer, and its connection ends."""
    with socket.create_connection(("127.0.0.1", site.ports["edge"]), PATIENCE) as sock:
        sock.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        said = read_to(sock, b"too much")
        sock.sendall(b"x" * 1000)  # it has not heard yet
        assert sock.recv(1) == b""
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close\r\n" in said


def _early(sock: socket.socket) -> None:
    while b"\r\n\r\n" not in sock.recv(65536):
        pass
    sock.sendall(reply(b"too much", status="413 Content Too Large"))
    while sock.recv(65536):
        pass


def test_rules_may_ask_for_the_port(tmp_path: Path) -> None:
    with ExitStack() as held:
        ports = [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)]
    rules = rule("second", f'port = {ports[1]}\nforward = "two"') + rule(
        "third", f"port = {ports[2]}\nredirect = {{ port = {ports[0]} }}"
    )
    bind = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    with WebTarget("one") as one, WebTarget("two") as two:
        text = edge(more=rules, bind=f"[{bind}]") + group([one]) + group({"u1": two}, name="two")
        with daemon(tmp_path, text, workers=2):
            assert [get(port).body for port in ports[:2]] == [b"one", b"two"]
            moved = get(ports[2], "/a?b")
            assert (moved.status, moved.get("Location")) == (302, f"http://nlb.test:{ports[0]}/a?b")
            assert one.seen[-1].get("X-Forwarded-Port") == str(ports[0])


def test_headers_are_edited_on_both_ways(tmp_path: Path) -> None:
    edits = (
        'request_headers = { set = { X-Env = "prod", Host = "inner.test" }, remove = ["X-Debug"] }\n'
        'response_headers = { set = { Strict-Transport-Security = "max-age=1" }, remove = "Server" }\n'
    )
    with (
        WebTarget(respond=lambda _: reply(b"", "Server: secret/1.0", "strict-transport-security: no")) as target,
        daemon(tmp_path, edge() + group([target], edits + UNASKED)) as nlb,
    ):
        answer = get(nlb.port, headers=[("x-env", "test"), ("X-DEBUG", "1"), ("X-Other", "2")])
    (seen,) = target.seen
    assert [seen.get(name) for name in ("X-Env", "X-Debug", "X-Other", "Host")] == ["prod", "", "2", "inner.test"]
    assert answer.all("Strict-Transport-Security") == ["max-age=1"]
    assert not answer.all("Server")
