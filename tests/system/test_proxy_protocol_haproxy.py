"""PROXY headers of version 2 beside haproxy's: it is told the same of a client by nlb as nlb's targets by haproxy."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nlb.net.proxy_protocol.header import Header
from nlb.net.proxy_protocol.reading import parse
from nlb.net.proxy_protocol.tlvs import SSL
from tests.daemon import PATIENCE, call, daemon
from tests.pairs import Pairs, certificates
from tests.sites import edge, group
from tests.targets import Target
from tests.waiting import until

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")

VERSIONS = {"TLSv1_2": ssl.TLSVersion.TLSv1_2, "TLSv1_3": ssl.TLSVersion.TLSv1_3}

HAPROXY = """
global
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  timeout connect 20s
  timeout client 20s
  timeout server 20s
frontend told
  mode http
  bind fd@{told} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[fc_pp_authority] %[fc_pp_unique_id]"
frontend telling
  mode tcp
  bind fd@{telling} ssl crt {crt} ca-file {ca} verify optional alpn postgresql
  unique-id-format %{{+X}}o\\ %ci%cp%Ts%rt
  default_backend recorder
backend recorder
  mode tcp
  server one 127.0.0.1:{target} send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-key,cert-sig,unique-id,authority,crc32c
"""  # noqa: E501 - a line is a line


class Recorder(Target):
    """Keeps the PROXY header that each connection begins with, and ends it in order."""

    def __init__(self) -> None:
        self.headers: list[Header] = []
        super().__init__(self._listen)

    def _listen(self, sock: socket.socket) -> None:
        said = b""
        while not (header := parse(said)):
            said += sock.recv(65536)
        self.headers.append(header)
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


@contextmanager
def running_haproxy(config: Path, listening: Sequence[socket.socket]) -> Iterator[None]:
    command = ["haproxy", "-q", "-db", "-f", str(config)]
    process = subprocess.Popen(command, pass_fds=[sock.fileno() for sock in listening])
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


class Site:
    """nlb in front of haproxy and of a recorder, and haproxy in front of the recorder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.pairs = pairs = Pairs(folder)
        self.recorder = stack.enter_context(Recorder())
        told, telling = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        self.haproxy = telling.getsockname()[1]
        shop = pairs.write("shop", "shop.test")
        crt = folder / "shop.both"
        crt.write_bytes(Path(f"{shop}.pem").read_bytes() + Path(f"{shop}.key").read_bytes())
        numbers = {"told": told.fileno(), "telling": telling.fileno(), "target": self.recorder.port}
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(crt=crt, ca=pairs.ca, **numbers))
        stack.enter_context(running_haproxy(config, [told, telling]))
        tls = f'client_ca = "{pairs.ca}", client_auth = "optional", alpn = ["postgresql"]'
        listener = f'"tls"\n{certificates(shop)}\ntls = {{ {tls} }}\naccess_log = true'
        to = 'health_check = { protocol = "none" }\nproxy_protocol = "v2"'
        text = (
            edge("recorder", name="in").replace('"http"', listener, 1).replace("access_log = false\n", "")
            + edge("haproxy", name="told").replace('"http"', listener, 1).replace("access_log = false\n", "")
            + group([self.recorder], to, "recorder").replace('"http"', '"tcp"', 1)
            + f'[[target_group]]\nname = "haproxy"\ntargets = ["127.0.0.1:{told.getsockname()[1]}"]\n{to}\n'
        )
        self.nlb = stack.enter_context(daemon(folder, text))

    def client(self, version: str, common_name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.pairs.ca))
        context.minimum_version = context.maximum_version = VERSIONS[version]
        context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        context.set_alpn_protocols(["h2", "postgresql"])
        if common_name:
            path = self.pairs.write("client", "client@shop.test", common_name=common_name)
            context.load_cert_chain(f"{path}.pem", f"{path}.key")
        return context

    def told(self, port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[Header, ssl.SSLSession]:
        """The header that a target got of a client that connected there, and what the client may come back with."""
        before = len(self.recorder.headers)
        with (
            call(port) as sock,
            context.wrap_socket(sock, server_hostname="shop.test", session=session) as tls,
        ):
            assert tls.recv(100) == b"hello"
            assert tls.session_reused == (session is not None)
            assert tls.session
            until(lambda: len(self.recorder.headers) > before, PATIENCE)
            ours = tls.getsockname()
            header = self.recorder.headers[-1]
            assert header.source is not None
            assert (header.source.host, header.source.port) == ours
            return header, tls.session


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("haproxy"), stack)


@pytest.mark.parametrize("common_name", ["", "client7", "Zoë, & <Söhne>"])
@pytest.mark.parametrize("version", VERSIONS)
def test_targets_are_told_what_haproxy_tells(site: Site, version: str, common_name: str) -> None:
    context = site.client(version, common_name)
    ours, _ = site.told(site.nlb.ports["in"], context, None)
    theirs, _ = site.told(site.haproxy, context, None)
    assert ours.tls == theirs.tls
    assert ours.tls is not None
    assert (ours.tls.common_name, ours.tls.has_certificate) == (common_name, bool(common_name))
    assert set(ours.tlvs) == set(theirs.tlvs)
    # Behind the flags stands what verifying came to: not 0 without a certificate, which haproxy 2.6 says nevertheless.
    told = 5 if common_name else 1
    assert ours.tlvs[SSL][:told] == theirs.tlvs[SSL][:told]
    assert (ours.authority, ours.alpn) == (theirs.authority, theirs.alpn) == ("shop.test", b"postgresql")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_comes_back_is_known_by_the_certificate_of_before(site: Site, version: str) -> None:
    context = site.client(version, "client7")
    again = []
    for port in (site.nlb.ports["in"], site.haproxy):
        _, session = site.told(port, context, None)
        again.append(site.told(port, context, session)[0])
    ours, theirs = again
    assert ours.tls is not None
    assert theirs.tls is not None
    assert (ours.tls.is_remembered, ours.tls.is_verified, ours.tls.common_name) == (True, True, "client7")
    assert ours.tlvs[SSL][:5] == theirs.tlvs[SSL][:5]
    # Of the certificate that haproxy would have shown.
    assert ours.tls == replace(theirs.tls, signature="", key="")


def test_haproxy_is_told_who_asks_for_whom(site: Site) -> None:
    context = site.client("TLSv1_3", "")
    with call(site.nlb.ports["told"]) as sock, context.wrap_socket(sock, server_hostname="shop.test") as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := tls.recv(65536):
            answer += data
        host, port = tls.getsockname()
    client, authority, unique_id = answer.rpartition(b"\r\n\r\n")[2].decode().split(" ")
    assert (client, authority) == (f"{host}:{port}", "shop.test")
    assert re.fullmatch("[0-9a-f]{32}", unique_id)
    line = re.compile(rf" client={client} group=haproxy .* unique_id={unique_id}$", re.MULTILINE)
    until(lambda: line.search(site.nlb.output()), PATIENCE)


def test_each_session_has_an_id_of_its_own(site: Site) -> None:
    context = site.client("TLSv1_3", "")
    ids = {site.told(site.nlb.ports["in"], context, None)[0].unique_id for _ in range(3)}
    assert len(ids) == 3
