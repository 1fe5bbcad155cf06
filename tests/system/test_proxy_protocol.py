"""The PROXY protocol through the real nlb: whom it believes, and what targets and their health checks are told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nlb.model.address import Address
from nlb.net.proxy_protocol.reading import parse
from nlb.net.proxy_protocol.writing import encode_v1, encode_v2
from tests.daemon import PATIENCE, Daemon, call, daemon
from tests.sites import edge, group
from tests.targets import Target
from tests.waiting import until
from tests.webtargets import WebTarget

CLIENT, FRONT = Address("203.0.113.9", 40000), Address("192.0.2.1", 443)
REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


class Recorder(Target):
    """Keeps what each connection begins with, and greets."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        super().__init__(self._listen)

    def _listen(self, sock: socket.socket) -> None:
        data = sock.recv(65536)
        self.heard.append(data)
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass  # closed with words unread, the greeting would be lost


class Site:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.web = stack.enter_context(WebTarget("t1"))
        self.one, self.two = (stack.enter_context(Recorder()) for _ in range(2))
        believing = 'proxy_protocol = "accept"\ntrusted_proxies = ["127.0.0.0/8"]\nproxy_header_timeout = 0.3'
        check = "health_check = { interval = 0.1, fast_interval = 0.1 }"
        text = (
            edge(name="in", more=believing)
            + edge(name="strict", more=believing.replace("127.0.0.0/8", "10.0.0.0/8"))
            + edge("out1", believing, name="out1").replace('"http"', '"tcp"')
            + edge("out2", name="out2").replace('"http"', '"tcp"')
            + group([self.web])
            + group({"one": self.one}, f'proxy_protocol = "v1"\n{check}', "out1").replace('"http"', '"tcp"')
            + group({"two": self.two}, f'proxy_protocol = "v2"\n{check}', "out2").replace('"http"', '"tcp"')
        )
        self.nlb: Daemon = stack.enter_context(daemon(folder, text))
        self.ports = self.nlb.ports

    def ask(self, listener: str, *says: bytes) -> bytes:
        got = b""
        with call(self.ports[listener]) as sock:
            for words in says:
                sock.sendall(words)
            while data := sock.recv(65536):
                got += data
        return got


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("proxy"), stack)


@pytest.mark.parametrize("header", [encode_v1(CLIENT, FRONT), encode_v2(CLIENT, FRONT)], ids=["v1", "v2"])
def test_the_client_that_the_header_tells_of_is_the_client(site: Site, header: bytes) -> None:
    assert site.ask("in", header, REQUEST).endswith(b"t1")
    assert site.web.seen[-1].get("X-Forwarded-For").startswith("203.0.113.9")


def test_a_local_header_is_the_proxys_own_connection(site: Site) -> None:
    assert site.ask("in", encode_v2(None, None, local=True), REQUEST).endswith(b"t1")
    assert site.web.seen[-1].get("X-Forwarded-For") == "127.0.0.1"


@pytest.mark.parametrize(
    ("listener", "says", "cause"),
    [
        ("in", REQUEST, "bad_proxy_header"),
        ("in", b"PROXY TCP9 1 2 3 4\r\n" + REQUEST, "bad_proxy_header"),
        ("strict", encode_v2(CLIENT, FRONT) + REQUEST, "bad_proxy_header"),
        ("in", b"PROXY TCP4 203.0.113.9 ", "timeout"),
    ],
    ids=["none", "malformed", "from a stranger", "unfinished"],
)
def test_without_a_good_header_nothing_reaches_a_target(site: Site, listener: str, says: bytes, cause: str) -> None:
    def count() -> int:
        return int(site.nlb.listener(listener)["outcomes"].get(f"preface/{cause}", 0))

    before, seen = count(), len(site.web.seen)
    with pytest.raises(ConnectionError):
        site.ask(listener, says)
    until(lambda: count() == before + 1, PATIENCE)
    assert len(site.web.seen) == seen


def test_targets_are_told_of_the_client_in_the_version_of_their_group(site: Site) -> None:
    assert site.ask("out1", encode_v2(CLIENT, FRONT), b"x") == b"hello"
    until(lambda: any(said.startswith(b"PROXY TCP4 203.0.113.9 ") for said in site.one.heard), PATIENCE)
    assert site.ask("out2", b"x") == b"hello"

    def told() -> bool:
        headers = [parse(said) for said in list(site.two.heard)]
        return any(header and header.source and header.source.host == "127.0.0.1" for header in headers)

    until(told, PATIENCE)


def test_health_checks_say_that_nobody_is_behind_them(site: Site) -> None:
    site.nlb.has_health(one="healthy", two="healthy")
    until(lambda: any(said.startswith(b"PROXY ") for said in list(site.one.heard)), PATIENCE)

    def is_local(said: bytes) -> bool:
        header = parse(said)
        return header is not None and header.source is None and header.size == len(said)

    until(lambda: any(is_local(said) for said in list(site.two.heard)), PATIENCE)
