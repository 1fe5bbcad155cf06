"""TLS through the real nlb: who is shown which certificate, who is let in, renewal, resumption, and TLS to targets."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.daemon import PATIENCE, call, daemon
from tests.pairs import Pairs, certificates
from tests.sites import edge, group, rule
from tests.targets import Target, echo
from tests.waiting import until
from tests.webtargets import WebTarget

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")

INNER = 'sni = "inner.*"\nforward = "pass"'

REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


def secure(name: str, keys: str, more: str = "", tls: str = "") -> str:
    """An https listener."""
    text = edge(name=name, more=f"{keys}\n{f'tls = {{ {tls} }}' if tls else ''}\n{more}")
    return text.replace('protocol = "http"', 'protocol = "https"', 1)


@dataclass(frozen=True)
class Met:
    """What a client saw."""

    names: tuple[str, ...]
    version: str
    alpn: str | None
    resumed: bool
    session: ssl.SSLSession | None
    answer: bytes

    @property
    def status(self) -> bytes:
        return self.answer.split(b" ")[1] if self.answer else b""


class Visitor:
    """A client that believes the authority of the tests."""

    def __init__(self, pairs: Pairs, version: ssl.TLSVersion | None = None, identity: str = "") -> None:
        self.context = ssl.create_default_context(cafile=str(pairs.ca))
        if version:
            self.context.minimum_version = self.context.maximum_version = version
        if identity:
            self.context.load_cert_chain(f"{identity}.pem", f"{identity}.key")

    def meet(self, port: int, name: str | None = "a.test", session: ssl.SSLSession | None = None) -> Met:
        """Shake hands, ask for a page. Without a name the certificate is only checked for who signed it. Raises
        OSError."""
        self.context.check_hostname = name is not None
        with (
            call(port) as sock,
            self.context.wrap_socket(sock, server_hostname=name, session=session) as tls,
        ):
            tls.sendall(REQUEST)
            answer = b""
            while data := tls.recv(65536):
                answer += data
            certificate: Any = tls.getpeercert()
            names = tuple(value for _, value in certificate["subjectAltName"])
            return Met(
                names, tls.version() or "", tls.selected_alpn_protocol(), bool(tls.session_reused), tls.session, answer
            )


def tls_target(context: ssl.SSLContext, serve: Callable[[Any], None]) -> Callable[[socket.socket], None]:
    def speak(sock: socket.socket) -> None:
        try:
            with context.wrap_socket(sock, server_side=True) as tls:
                serve(tls)
        except OSError:
            pass  # whoever does not believe us goes away

    return speak


def page(body: bytes) -> Callable[[Any], None]:
    def serve(sock: Any) -> None:
        while sock.recv(65536):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    return serve


class Site:
    """One nlb with a listener of each kind, and two workers."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.pairs = pairs = Pairs(folder)
        others = folder / "others"
        others.mkdir()
        self.others = Pairs(others)
        self.web = stack.enter_context(WebTarget("t1"))
        self.echo = stack.enter_context(Target(echo))
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        inner = pairs.write("inner", "inner.test")
        server.load_cert_chain(f"{inner}.pem", f"{inner}.key")
        self.inner = stack.enter_context(Target(tls_target(server, page(b"inner"))))
        a, w = pairs.write("a", "a.test"), pairs.write("w", "*.w.test")
        rsa = pairs.write("rsa", "a.test", key_type=trustme.KeyType.RSA)
        keys, mutual = certificates(a, w), f'client_ca = "{pairs.ca}"'
        inner_group = group([self.inner]).replace('protocol = "http"', 'protocol = "https"')

        def encrypted(name: str, tls: str) -> str:
            return inner_group.replace('name = "web"', f'name = "{name}"') + f"target_tls = {{ {tls} }}\n"

        text = (
            secure("edge", keys)
            + secure("strict", keys, tls="strict_sni = true")
            + secure("modern", keys, tls='policy = "modern"')
            + secure("both", certificates(a, rsa))
            + secure("mutual", keys, tls=mutual)
            + secure("asking", keys, tls=f'{mutual}, client_auth = "optional"')
            + edge("tcp", name="raw").replace('"http"', f'"tls"\n{keys}')
            + edge("tcp", more=rule("in", INNER), name="through").replace('"http"', '"tcp"')
            + edge("good", name="good")
            + edge("liar", name="liar")
            + edge("stranger", name="stranger")
            + edge("careless", name="careless")
            + secure("again", keys).replace('target_group = "web"', 'target_group = "good"')
            + edge(name="plain", more=rule("up", 'redirect = { status = 301, protocol = "https", port = "443" }'))
            + group([self.web])
            + group([self.echo], name="tcp").replace('"http"', '"tcp"')
            + group([self.inner], name="pass").replace('"http"', '"tcp"')
            + encrypted("good", f'ca = "{pairs.ca}", server_name = "inner.test"')
            + encrypted("liar", f'ca = "{pairs.ca}", server_name = "other.test"')
            + encrypted("stranger", f'ca = "{self.others.ca}", server_name = "inner.test"')
            + encrypted("careless", "verify = false")
        )
        self.nlb = stack.enter_context(daemon(folder, text, workers=2, web=True))
        self.ports = self.nlb.ports

    def outcomes(self, listener: str) -> dict[str, int]:
        counted: dict[str, int] = self.nlb.listener(listener)["outcomes"]
        return counted


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("tls"), stack)


# --- which certificate


@pytest.mark.parametrize(
    ("asked", "shown"),
    [("a.test", "a.test"), ("A.TEST", "a.test"), ("x.w.test", "*.w.test"), (None, "a.test")],
)
def test_a_client_gets_the_certificate_of_the_name_that_it_asks_for(site: Site, asked: str, shown: str) -> None:
    met = Visitor(site.pairs).meet(site.ports["edge"], asked)
    assert (met.names, met.version, met.alpn, met.status) == ((shown,), "TLSv1.3", None, b"200")


@pytest.mark.parametrize("asked", ["unknown.test", "w.test", "x.y.w.test"])
def test_a_name_that_nobody_has_gets_the_default(site: Site, asked: str) -> None:
    visitor = Visitor(site.pairs)
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        visitor.meet(site.ports["edge"], asked)


@pytest.mark.parametrize("asked", ["unknown.test", None])
def test_strict_sni_refuses_it(site: Site, asked: str | None) -> None:
    visitor = Visitor(site.pairs)
    before = site.outcomes("strict").get("preface/unknown_name", 0)
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        visitor.meet(site.ports["strict"], asked)
    assert visitor.meet(site.ports["strict"], "a.test").status == b"200"
    until(lambda: site.outcomes("strict").get("preface/unknown_name", 0) == before + 1)


@pytest.mark.parametrize(
    ("version", "listener"),
    [("TLSv1_2", "edge"), ("TLSv1_3", "edge"), ("TLSv1_3", "modern")],
)
def test_versions(site: Site, version: str, listener: str) -> None:
    met = Visitor(site.pairs, ssl.TLSVersion[version]).meet(site.ports[listener])
    assert met.version.replace(".", "_") == version


def test_modern_is_1_3_alone(site: Site) -> None:
    with pytest.raises(ssl.SSLError):
        Visitor(site.pairs, ssl.TLSVersion.TLSv1_2).meet(site.ports["modern"])
    until(lambda: site.outcomes("modern").get("preface/old_version"))


@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_keys_of_two_kinds_serve_one_name(site: Site, kind: str) -> None:
    context = Visitor(site.pairs, ssl.TLSVersion.TLSv1_2).context
    context.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
    with call(site.ports["both"]) as sock, context.wrap_socket(sock, server_hostname="a.test") as tls:
        assert (tls.cipher() or ("",))[0] == f"ECDHE-{kind}-AES128-GCM-SHA256"


# --- who is let in


def test_clients_that_show_who_they_are_are_let_in_and_targets_are_told(site: Site) -> None:
    ann = site.pairs.write("ann", "ann@example.test", common_name="ann")
    for listener in ("mutual", "asking"):
        assert Visitor(site.pairs, identity=ann).meet(site.ports[listener]).status == b"200"
        assert "CN=ann" in site.web.seen[-1].get("X-Client-Cert-Subject")
        assert len(site.web.seen[-1].get("X-Client-Cert-Fingerprint")) == 64


def test_without_a_certificate_only_where_it_is_optional(site: Site) -> None:
    assert Visitor(site.pairs).meet(site.ports["asking"]).status == b"200"
    assert site.web.seen[-1].get("X-Client-Cert-Subject") == ""
    with pytest.raises(OSError, match=r"CERTIFICATE_REQUIRED|reset|EOF|Broken"):
        Visitor(site.pairs).meet(site.ports["mutual"])
    until(lambda: site.outcomes("mutual").get("preface/no_client_certificate"))


def test_a_certificate_of_another_authority_is_refused(site: Site) -> None:
    eve = site.others.write("eve", "eve@example.test")
    for listener in ("mutual", "asking"):
        with pytest.raises(OSError, match=r"UNKNOWN_CA|reset|EOF|Broken"):
            Visitor(site.pairs, identity=eve).meet(site.ports[listener])
        until(lambda listener=listener: site.outcomes(listener).get("preface/bad_client_certificate"))  # type: ignore[misc]


def test_an_expired_certificate_of_a_client_is_refused(site: Site) -> None:
    old = site.pairs.write("old", "old@example.test", begins=-9, days=-1)
    with pytest.raises(OSError, match=r"CERTIFICATE_EXPIRED|reset|EOF|Broken"):
        Visitor(site.pairs, identity=old).meet(site.ports["mutual"])


def test_a_client_that_does_not_believe_us_is_counted(site: Site) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Visitor(site.others).meet(site.ports["again"])
    until(lambda: site.outcomes("again").get("preface/client_alert"))


def test_plain_http_is_told_that_it_is_wrong_here(site: Site) -> None:
    with call(site.ports["edge"]) as sock:
        sock.sendall(REQUEST)
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"HTTPS" in answer
    until(lambda: site.outcomes("edge").get("preface/plain_http"))


# --- what is inside


def test_tls_is_taken_off_what_is_no_http(site: Site) -> None:
    context = Visitor(site.pairs).context
    body = bytes(range(256)) * 4096
    with call(site.ports["raw"]) as sock, context.wrap_socket(sock, server_hostname="a.test") as tls:
        tls.sendall(body)
        got = b""
        while len(got) < len(body):
            got += tls.recv(65536)
        assert got == body


def test_tls_is_passed_on_by_the_name_in_it(site: Site) -> None:
    context = Visitor(site.pairs).context
    with call(site.ports["through"]) as sock, context.wrap_socket(sock, server_hostname="inner.test") as tls:
        tls.sendall(REQUEST)
        assert tls.recv(65536).endswith(b"inner")
    with call(site.ports["through"]) as sock:  # no TLS at all: the default
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"


def test_http_is_sent_to_https_by_one_rule(site: Site) -> None:
    with call(site.ports["plain"]) as sock:
        sock.sendall(REQUEST)
        assert b"Location: https://a.test/\r\n" in sock.recv(65536)


# --- to targets


@pytest.mark.parametrize(
    ("listener", "status"), [("good", b"200"), ("careless", b"200"), ("liar", b"502"), ("stranger", b"502")]
)
def test_targets_must_show_whom_they_are(site: Site, listener: str, status: bytes) -> None:
    with call(site.ports[listener]) as sock:
        sock.sendall(REQUEST)
        answer = sock.recv(65536)
    assert answer.split(b" ")[1] == status
    if status == b"502":
        until(lambda: site.nlb.listener(listener)["exchanges"].get("connect/certificate"))


def test_tls_on_both_sides(site: Site) -> None:
    assert Visitor(site.pairs).meet(site.ports["again"]).answer.endswith(b"inner")


def test_checks_verify_as_the_traffic_does(tmp_path: Path, site: Site) -> None:
    head = f'[[target_group]]\nprotocol = "https"\ntargets = ["NAME=127.0.0.1:{site.inner.port}"]\n'
    check = 'health_check = { protocol = "https", interval = 0.1, fast_interval = 0.05 }\n'
    believes = f'ca = "{site.pairs.ca}"'
    text = edge("g1") + "".join(
        head.replace("NAME", f"t{number}") + f'name = "g{number}"\ntarget_tls = {{ {tls} }}\n{check}'
        for number, tls in enumerate((f'{believes}, server_name = "inner.test"', believes, "verify = false"), 1)
    )
    with daemon(tmp_path, text) as nlb:
        nlb.has_health(t1="healthy", t2="unhealthy", t3="healthy")
        assert "certificate refused" in nlb.targets()["t2"]["health"]["reason"]


# --- resumption


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_clients_that_come_back_are_known_by_every_worker(site: Site, version: str) -> None:
    visitor = Visitor(site.pairs, ssl.TLSVersion[version])
    session = visitor.meet(site.ports["edge"]).session
    resumed = 0
    for _ in range(40):
        met = visitor.meet(site.ports["edge"], session=session)
        resumed += met.resumed
        session = met.session if version == "TLSv1_3" else session
    print(f"{version}: {resumed} of 40 handshakes resumed with 2 workers")
    assert resumed == 40


def test_a_session_is_worth_nothing_where_more_is_asked(site: Site) -> None:
    visitor = Visitor(site.pairs, ssl.TLSVersion.TLSv1_2)
    session = visitor.meet(site.ports["edge"]).session
    with pytest.raises(OSError, match=r"HANDSHAKE_FAILURE|CERTIFICATE_REQUIRED|reset|EOF|Broken"):
        visitor.meet(site.ports["mutual"], session=session)


# --- renewal


class Renewing:
    """An nlb of its own, whose files change."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.pairs = Pairs(folder)
        self.web = stack.enter_context(WebTarget("t1"))
        path = self.pairs.write("a", "a.test", days=90)
        self.keys = certificates(path)
        self.nlb = stack.enter_context(daemon(folder, self.text(), workers=2))
        self.port = self.nlb.port

    def text(self, more: str = "") -> str:
        return secure("edge", self.keys, more) + group([self.web])

    def fingerprint(self) -> str:
        (row,) = self.nlb.ask("certs")["certificates"]
        return str(row["fingerprint"])

    def shown(self) -> str:
        """What a client sees."""
        context = Visitor(self.pairs).context
        with call(self.port) as sock, context.wrap_socket(sock, server_hostname="a.test") as tls:
            return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()


@pytest.fixture
def renewing(tmp_path: Path) -> Iterator[Renewing]:
    with ExitStack() as stack:
        yield Renewing(tmp_path, stack)


def test_a_renewed_certificate_is_shown_and_no_connection_is_touched(renewing: Renewing) -> None:
    before = renewing.fingerprint()
    context = Visitor(renewing.pairs).context
    with closing(context.wrap_socket(call(renewing.port), server_hostname="a.test")) as tls:
        renewing.pairs.write("a", "a.test", days=200)
        until(lambda: renewing.fingerprint() != before, PATIENCE)
        until(lambda: {renewing.shown() for _ in range(8)} == {renewing.fingerprint()}, PATIENCE)
        tls.sendall(REQUEST)
        assert tls.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert "new certificate for a.test, valid until" in renewing.nlb.output()


def test_a_bad_pair_keeps_the_old_one_and_a_reload_is_refused(renewing: Renewing) -> None:
    before = renewing.fingerprint()
    issue = renewing.pairs.authority.issue_cert
    renewing.pairs.put("a", issue("a.test"), key=issue("a.test"))
    until(lambda: "is not this certificate's; the old one goes on" in renewing.nlb.output(), PATIENCE)
    assert renewing.shown() == renewing.fingerprint() == before
    refused = renewing.nlb.ctl("reload")
    assert refused.returncode == 1
    assert "is not this certificate's" in refused.stderr
    assert renewing.shown() == before


def test_a_reload_takes_a_renewed_pair_at_once(renewing: Renewing) -> None:
    before = renewing.fingerprint()
    renewing.pairs.write("a", "a.test", days=200)
    renewing.nlb.ask("reload")
    assert renewing.fingerprint() != before
    assert renewing.shown() == renewing.fingerprint()


def test_a_reload_takes_tls_off_a_listener_and_puts_it_on_again(renewing: Renewing) -> None:
    encrypted = renewing.text()
    renewing.nlb.write(edge(name="edge") + group([renewing.web]))
    renewing.nlb.ask("reload")
    with call(renewing.nlb.port) as sock:
        sock.sendall(REQUEST)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert renewing.nlb.ask("certs")["certificates"] == []
    renewing.nlb.write(encrypted)
    renewing.nlb.ask("reload")
    renewing.port = renewing.nlb.port
    assert renewing.shown() == renewing.fingerprint()


def test_sessions_are_resumed_after_a_reload_and_by_a_new_worker(renewing: Renewing) -> None:
    visitor = Visitor(renewing.pairs)
    session = visitor.meet(renewing.port).session
    renewing.nlb.write(renewing.text("via = false"))
    renewing.nlb.ask("reload")
    met = visitor.meet(renewing.port, session=session)
    assert met.resumed
    before = {worker["pid"] for worker in renewing.nlb.workers()}
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    def are_others() -> bool:
        workers = renewing.nlb.workers()
        return all(worker["state"] == "running" and worker["pid"] not in before for worker in workers)

    until(are_others, PATIENCE)
    assert visitor.meet(renewing.port, session=met.session).resumed


# --- at the start


def check(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = folder / "nlb.toml"
    path.write_text(text)
    command = [sys.executable, "-m", "nlb", "check", "-c", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_an_expired_certificate_alone_is_refused(tmp_path: Path) -> None:
    pairs = Pairs(tmp_path)
    old, good = pairs.write("old", "a.test", begins=-9, days=-1), pairs.write("good", "b.test", days=10)
    web = '[[target_group]]\nname = "web"\nprotocol = "http"\n'
    alone = check(tmp_path, secure("edge", certificates(old)) + web)
    assert alone.returncode == 2
    assert "old.pem: it ended on" in alone.stderr
    beside = check(tmp_path, secure("edge", certificates(old, good)) + web)
    assert beside.returncode == 0
    assert "old.pem: it ended on" in beside.stderr
    assert "in 9 days" in beside.stderr


def test_keys_are_nowhere_to_be_seen(site: Site) -> None:
    def got(path: str) -> str:
        with urllib.request.urlopen(f"{site.nlb.web}{path}", timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    verbs = ("config", "status", "listeners", "certs", "events", "targets")
    shown = [site.nlb.output(), got(""), got("metrics"), *(str(site.nlb.ask(verb)) for verb in verbs)]
    state = [path.read_text() for path in (site.nlb.folder / "state").iterdir()]
    assert "nlb_tls_certificate_not_after_timestamp_seconds" in shown[2]
    secrets = [*site.pairs.secrets()]
    assert secrets
    assert not any(secret in text for secret in secrets for text in (*shown, *state))


def test_certificates_are_listed(site: Site) -> None:
    listed = site.nlb.ctl("certs", "--listener", "both").stdout.splitlines()
    assert [line.split()[:3] for line in listed[1:]] == [["both*", "a.test", "ECDSA"], ["both*", "a.test", "RSA"]]
    assert site.nlb.ctl("certs", "--listener", "plain").stdout == "no listener shows a certificate\n"


# --- with the tools that people use


@needs_curl
def test_curl(site: Site) -> None:
    port = site.ports["edge"]
    command = ["curl", "-sS", "--cacert", str(site.pairs.ca), "--resolve", f"x.w.test:{port}:127.0.0.1"]
    done = subprocess.run([*command, f"https://x.w.test:{port}/"], capture_output=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (b"t1", b"")


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_comes_back_five_times(site: Site, version: str) -> None:
    place = ["-connect", f"127.0.0.1:{site.ports['edge']}", "-servername", "a.test", "-CAfile", str(site.pairs.ca)]
    command = ["openssl", "s_client", version, "-reconnect", *place]
    done = subprocess.run(command, input=REQUEST, capture_output=True, timeout=60, check=False)
    assert b"Verify return code: 0 (ok)" in done.stdout
    if version == "-tls1_2":  # with 1.3 s_client does not wait for tickets
        assert done.stdout.count(b"Reused, TLSv1.2") == 5
