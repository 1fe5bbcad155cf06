"""A listener's side of TLS as curl and OpenSSL's own client see it."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from nlb.net.sockets import WOULD_BLOCK
from nlb.net.tls import ServerContext, TlsSocket
from tests.authority import ECDSA, RSA, Authority, spec

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
SECRET = b"s" * 32

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


class Stand:
    """Serves one connection after the other, by one context after the other, each as if it were another worker."""

    def __init__(self, contexts: list[ServerContext]) -> None:
        self.contexts = contexts
        self.resumed: list[bool] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        for number in range(1000):
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setblocking(False)
            connection = self.contexts[number % len(self.contexts)].wrap(client)
            try:
                self._speak(connection)
            except OSError:
                pass
            connection.close()

    def _speak(self, connection: TlsSocket) -> None:
        while True:
            try:
                connection.handshake()
                break
            except WOULD_BLOCK:
                select.select([connection], [], [], 10)
        self.resumed.append(connection.is_resumed)
        while True:
            try:
                if connection.recv(65536):
                    connection.send(ANSWER)
                return
            except WOULD_BLOCK:
                select.select([connection], [], [], 10)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def stand(authority: Authority) -> Iterator[Stand]:
    made = spec(
        (["shop.example"], authority.pair("shop.example", key_type=ECDSA)),
        (["shop.example"], authority.pair("shop.example", key_type=RSA)),
        (["*.shop.example"], authority.pair("*.shop.example")),
        alpn=["http/1.1"],
        client_auth="optional",
        client_ca=authority.pem,
        default=[0, 1],
    )
    stand = Stand([ServerContext(made, SECRET) for _ in range(2)])
    yield stand
    stand.close()


def run(*words: str, typed: str = "") -> str:
    done = subprocess.run(words, input=typed, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


@needs_curl
@pytest.mark.parametrize("version", [["--tls-max", "1.2"], ["--tlsv1.3"]], ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", ["shop.example", "www.shop.example"])
def test_curl(stand: Stand, authority: Authority, tmp_path: Path, version: list[str], name: str) -> None:
    trusted = tmp_path / "ca.pem"
    trusted.write_text(authority.pem)
    where = f"{name}:{stand.port}"
    said = run(
        "curl", "-sSv", *version, "--cacert", str(trusted), "--resolve", f"{where}:127.0.0.1", f"https://{where}/"
    )
    assert "HTTP/1.1 200 OK" in said
    assert "ok" in said.splitlines()
    assert "http/1.1" in said
    assert "unexpected eof" not in said.lower()


@needs_curl
def test_curl_with_a_certificate_of_its_own(stand: Stand, authority: Authority, tmp_path: Path) -> None:
    trusted, mine = tmp_path / "ca.pem", tmp_path / "me.pem"
    trusted.write_text(authority.pem)
    mine.write_text(authority.pair("me@shop.example"))
    where = f"shop.example:{stand.port}"
    # In TLS 1.3 the client may have sent its request by then, and meet a reset.
    words = ["curl", "-sS", "--tls-max", "1.2", "--cacert", str(trusted)]
    words += ["--resolve", f"{where}:127.0.0.1", f"https://{where}/"]
    assert run(*words, "--cert", str(mine)) == "ok\n"
    mine.write_text(Authority().pair("me@shop.example"))
    assert "alert unknown ca" in run(*words, "--cert", str(mine))


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client_comes_back_to_the_other_worker(stand: Stand, tmp_path: Path, version: str) -> None:
    kept = str(tmp_path / "session")
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{stand.port}", "-servername", "shop.example", version]
    request = "GET / HTTP/1.0\n\n"
    assert "New, TLSv1" in run(*words, "-ign_eof", "-sess_out", kept, typed=request)
    assert "Reused, TLSv1" in run(*words, "-ign_eof", "-sess_in", kept, typed=request)
    assert stand.resumed == [False, True]


@needs_openssl
@pytest.mark.parametrize(("wants", "gets"), [("ECDSA+SHA256", "ECDSA"), ("RSA-PSS+SHA256", "RSA-PSS")])
def test_openssl_s_client_meets_the_key_that_it_can_verify(stand: Stand, wants: str, gets: str) -> None:
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{stand.port}", "-sigalgs", wants]
    assert f"Peer signature type: {gets}" in run(*words, typed="Q\n")


@needs_openssl
def test_openssl_s_client_is_told_the_authorities(stand: Stand) -> None:
    said = run("openssl", "s_client", "-connect", f"127.0.0.1:{stand.port}", "-tls1_3", typed="Q\n")
    assert "Acceptable client certificate CA names" in said
    assert "Testing CA" in said
