"""Probes that speak TLS, against OpenSSL's own server side in threads."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import trustme

from nlb.control.trust import tls_context
from nlb.model.address import Address
from tests.targets import Target
from tests.wire.stage import Stage

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)


class Authority:
    """Signs certificates. `file` is its own."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._ca = trustme.CA()
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def server(self, *names: str, **details: Any) -> ssl.SSLContext:
        """A server's side with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, **details).configure_cert(context)
        return context


class TlsServer:
    """Answers every connection with `answer` once it has heard something; `heard` gets (the name that the client
    asked for, the request, how it ended)."""

    def __init__(self, context: ssl.SSLContext, answer: bytes = OK) -> None:
        self.heard: SimpleQueue[tuple[str | None, bytes, str]] = SimpleQueue()
        self._context = context
        self._answer = answer
        self._name: str | None = None
        context.sni_callback = self._asked_for
        self.target = Target(self._serve)
        self.address = Address("127.0.0.1", self.target.port)

    def _asked_for(self, sock: Any, name: str | None, context: ssl.SSLContext) -> None:
        self._name = name

    def _serve(self, sock: socket.socket) -> None:
        with self._context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as tls:
            request = tls.recv(65536)
            if request:
                tls.sendall(self._answer)
            end = "closed in order"
            try:
                if request.startswith(b"GET "):
                    tls.unwrap()
                else:
                    while tls.recv(65536):
                        pass
            except OSError as error:
                end = str(error)
            self.heard.put((self._name, request, end))


def heard(stage: Stage, server: TlsServer) -> tuple[str | None, bytes, str]:
    stage.until(lambda: not server.heard.empty())
    return server.heard.get()


Serve = Callable[..., TlsServer]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[TlsServer] = []

    def make(context: ssl.SSLContext, answer: bytes = OK) -> TlsServer:
        servers.append(TlsServer(context, answer))
        return servers[-1]

    yield make
    for server in servers:
        server.target.stop()


def test_https_without_a_name_checks_no_certificate(stage: Stage, serve: Serve, authority: Authority) -> None:
    server = serve(authority.server("shop.example", not_after=LONG_AGO, not_before=LONG_AGO))
    stage.probe(server.address, "https", path="/healthz")
    assert stage.verdict() == (True, "status 200")
    name, request, _ = heard(stage, server)
    assert name is None
    assert request.startswith(f"GET /healthz HTTP/1.1\r\nHost: {server.address}\r\n".encode())


def test_a_target_that_is_given_by_a_name_is_asked_for_it(stage: Stage, serve: Serve, authority: Authority) -> None:
    server = serve(authority.server("shop.example"))
    stage.probe(server.address, "https", server_name="shop.example", tls_verify=True, tls_ca=str(authority.file))
    assert stage.verdict() == (True, "status 200")
    assert heard(stage, server)[0] == "shop.example"


@pytest.mark.parametrize(
    ("keys", "host"),
    [({"tls_server_name": "shop.example"}, ""), ({"host": "shop.example:8443"}, "shop.example:8443")],
    ids=["tls_server_name", "host"],
)
def test_a_name_is_asked_for_and_must_be_in_the_certificate(
    stage: Stage, serve: Serve, authority: Authority, keys: dict[str, str], host: str
) -> None:
    server = serve(authority.server("shop.example"))
    stage.probe(server.address, "https", tls_ca=str(authority.file), **keys)
    assert stage.verdict() == (True, "status 200")
    name, request, _ = heard(stage, server)
    assert name == "shop.example"
    assert f"\r\nHost: {host or server.address}\r\n".encode() in request


def test_without_a_name_the_certificate_must_be_for_the_address(
    stage: Stage, serve: Serve, authority: Authority
) -> None:
    server = serve(authority.server("127.0.0.1"))
    stage.probe(server.address, "https", tls_ca=str(authority.file))
    assert stage.verdict() == (True, "status 200")


@pytest.mark.parametrize(
    ("names", "details", "keys", "why"),
    [
        pytest.param(
            ["other.example"],
            {},
            {"tls_server_name": "shop.example"},
            "Hostname mismatch, certificate is not valid for 'shop.example'",
            id="another name",
        ),
        pytest.param(
            ["shop.example"],
            {},
            {},
            "IP address mismatch, certificate is not valid for '127.0.0.1'",
            id="no name for the address",
        ),
        pytest.param(
            ["shop.example"],
            {"not_after": LONG_AGO, "not_before": LONG_AGO},
            {"tls_server_name": "shop.example"},
            "certificate has expired",
            id="expired",
        ),
    ],
)
def test_a_certificate_that_is_refused(
    stage: Stage,
    serve: Serve,
    authority: Authority,
    names: list[str],
    details: dict[str, Any],
    keys: dict[str, str],
    why: str,
) -> None:
    server = serve(authority.server(*names, **details))
    stage.probe(server.address, "https", tls_ca=str(authority.file), **keys)
    assert stage.verdict() == (False, f"certificate refused: {why}")


def test_a_stranger_s_signature_is_refused(stage: Stage, serve: Serve, tmp_path: Path, authority: Authority) -> None:
    server = serve(Authority(tmp_path, "stranger").server("shop.example"))
    stage.probe(server.address, "https", tls_ca=str(authority.file), tls_server_name="shop.example")
    ok, detail = stage.verdict()
    assert not ok
    assert detail.startswith("certificate refused: ")


def test_tls_verify_false_takes_any(stage: Stage, serve: Serve, authority: Authority) -> None:
    server = serve(authority.server("other.example"))
    stage.probe(server.address, "https", tls_server_name="shop.example", tls_verify=False)
    assert stage.verdict() == (True, "status 200")


def test_tls_alone_shakes_hands_and_parts_in_order(stage: Stage, serve: Serve, authority: Authority) -> None:
    server = serve(authority.server("shop.example"))
    stage.probe(server.address, "tls", tls_ca=str(authority.file), tls_server_name="shop.example")
    assert stage.verdict() == (True, "connected, TLSv1.3")
    assert heard(stage, server) == ("shop.example", b"", "closed in order")


def test_words_over_tls(stage: Stage, serve: Serve, authority: Authority) -> None:
    server = serve(authority.server("db.example"), b"+PONG\r\n")
    stage.probe(server.address, "tls", send="PING\r\n", expect="+PONG")
    assert stage.verdict() == (True, "answered '+PONG'")
    assert heard(stage, server) == (None, b"PING\r\n", "closed in order")


def test_a_page_of_several_records_is_read_to_its_end(stage: Stage, serve: Serve, authority: Authority) -> None:
    server = serve(authority.server("shop.example"), OK + b"x" * 200_000)
    stage.probe(server.address, "https")
    assert stage.verdict() == (True, "status 200")
    assert heard(stage, server)[2] == "closed in order"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        pytest.param([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "no TLS: wrong version number", id="a plain server"),
        pytest.param([], "closed in the middle of the TLS handshake", id="closed"),
    ],
)
def test_a_target_that_speaks_no_tls(stage: Stage, script: list[Any], why: str) -> None:
    _, address = stage.serve(*script, question=b"\x16\x03")
    stage.probe(address, "https")
    assert stage.verdict() == (False, why)


def test_a_handshake_that_does_not_end(stage: Stage) -> None:
    _, address = stage.serve(None)
    stage.probe(address, "https", timeout="100ms")
    assert stage.verdict() == (False, "connected, but no TLS handshake in 0.1 s")


@pytest.mark.parametrize(
    ("text", "why"), [(None, "no such file or directory"), ("nothing", "holds no certificate")], ids=["missing", "bad"]
)
def test_authorities_that_cannot_be_read_are_no_result(
    stage: Stage, tmp_path: Path, text: str | None, why: str
) -> None:
    file = tmp_path / "ca.pem"
    if text:
        file.write_text(text)
    _, address = stage.serve(None)
    stage.probe(address, "https", tls_ca=str(file))
    stage.until(lambda: bool(stage.events.said))
    assert stage.events.said == [f"cannot probe web/web01: tls_ca {file}: {why} (said once for all targets)"]
    assert not stage.reports


def test_a_context_is_shared_and_made_anew_when_its_file_has_changed(tmp_path: Path) -> None:
    first = Authority(tmp_path)
    context = tls_context(True, str(first.file))
    assert tls_context(True, str(first.file)) is context
    assert tls_context(False, None) is tls_context(False, None)
    first.file.rename(tmp_path / "old.pem")
    second = Authority(tmp_path)
    renewed = tls_context(True, str(second.file))
    assert renewed is not context
    assert renewed.get_ca_certs() != context.get_ca_certs()


@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: file.write_text("nothing")], ids=["gone", "bad"])
def test_authorities_that_were_good_go_on_when_their_file_is_bad(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    authority = Authority(tmp_path)
    context = tls_context(True, str(authority.file))
    spoil(authority.file)
    assert tls_context(True, str(authority.file)) is context
    other = Authority(tmp_path)
    assert other.file == authority.file
    assert tls_context(True, str(authority.file)).get_ca_certs() != context.get_ca_certs()
