"""Whom the certificates of targets must be from, while nlb runs: another file reaches traffic and probes,
a bad one changes nothing.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.daemon import PATIENCE, Daemon, call, daemon
from tests.sites import edge
from tests.targets import Target
from tests.waiting import until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


class Secret(Target):
    """A server that proves itself with a certificate of `authority`."""

    def __init__(self, authority: trustme.CA) -> None:
        self.authority = authority
        super().__init__(self._speak)

    def _speak(self, sock: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("inner.test").configure_cert(context)
        try:
            with context.wrap_socket(sock, server_side=True) as tls:
                tls.recv(65536)
                tls.sendall(ANSWER)
        except OSError:
            pass  # whoever does not believe us goes away


class Site:
    def __init__(self, nlb: Daemon, target: Secret, ca: Path) -> None:
        self.nlb = nlb
        self.target = target
        self.ca = ca

    def status(self) -> bytes:
        with call(self.nlb.port) as sock:
            sock.sendall(REQUEST)
            return sock.recv(65536).split(b" ")[1]

    def said(self, text: str) -> int:
        return self.nlb.output().count(text)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    ca = tmp_path / "ca.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca))
    with Secret(authority) as target:
        text = edge() + (
            f'[[target_group]]\nname = "web"\nprotocol = "https"\ntargets = ["t1=127.0.0.1:{target.port}"]\n'
            f'target_tls = {{ ca = "{ca}", server_name = "inner.test" }}\n'
            'health_check = { protocol = "https", interval = 0.1, fast_interval = 0.05 }\n'
        )
        with daemon(tmp_path, text, workers=2) as nlb:
            nlb.has_health(t1="healthy")
            yield Site(nlb, target, ca)


def test_other_authorities_reach_traffic_and_probes(site: Site) -> None:
    assert site.status() == b"200"
    site.target.authority = trustme.CA()
    site.nlb.has_health(t1="unhealthy")
    assert site.status() == b"502"  # the only one there is, so it is asked
    generation = site.nlb.ask("status")["config"]["generation"]
    site.target.authority.cert_pem.write_to_path(str(site.ca))
    until(lambda: site.said("target_tls.ca: ") == 1, PATIENCE)
    site.nlb.has_health(t1="healthy")
    assert {site.status() for _ in range(20)} == {b"200"}  # whichever worker it is
    assert f"group web: target_tls.ca: {site.ca} has another content" in site.nlb.output()
    assert site.nlb.ask("status")["config"]["generation"] == generation
    assert "0 changes" in site.nlb.ctl("reload").stdout + site.nlb.output()


def test_a_bad_file_is_told_and_the_old_authorities_are_believed(site: Site) -> None:
    probes = site.nlb.targets()["t1"]["probes"]["ok"]
    site.ca.write_text("nonsense")
    until(lambda: site.said("holds no certificate that can be read") == 1, PATIENCE)
    until(lambda: site.nlb.targets()["t1"]["probes"]["ok"] > probes + 20, PATIENCE)
    assert {site.status() for _ in range(10)} == {b"200"}
    assert site.nlb.targets()["t1"]["health"]["state"] == "healthy"
    assert "cannot probe" not in site.nlb.output()
