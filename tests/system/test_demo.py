"""The real `nlb demo`: what it starts, what it says, and that nothing of it is left, however it ends."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic

import psutil
import pytest

from tests.endings import all_end

# Seconds for anything that must happen; far more than it takes, for busy boxes.
PATIENCE = 30.0

EXPLAINED = "Ctrl-C ends it all"


class Demo:
    """A running demo and what it has said so far."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._screen, screen = os.openpty()
        command = [sys.executable, "-m", "nlb", "demo", *options]
        environment = {**os.environ, "TMPDIR": str(folder)}
        self.process = subprocess.Popen(command, stdin=screen, stdout=screen, stderr=screen, env=environment)
        os.close(screen)
        self.said = ""

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until it has said this."""
        end = monotonic() + PATIENCE
        while not (match := re.search(pattern, self.said)):
            readable, _, _ = select.select([self._screen], [], [], max(0.0, end - monotonic()))
            assert readable, f"{pattern!r} was not said in {PATIENCE} s, but:\n{self.said}"
            assert self._read(), f"it ended without saying {pattern!r}, but:\n{self.said}"
        return match

    def family(self) -> list[int]:
        """Its processes."""
        top = psutil.Process(self.process.pid)
        return [process.pid for process in (top, *top.children(recursive=True))]

    def code(self) -> int:
        """Its exit code; all that it said is read."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)

    def _read(self) -> bool:
        try:
            read = os.read(self._screen, 65536)
        except OSError:  # a terminal's way to say that nobody writes to it any more
            return False
        self.said += read.decode().replace("\r\n", "\n")
        return True


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where it puts its files; short, since the path of a socket must be."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Demo]]:
    """Starts a demo, which is gone after the test."""
    demos: list[Demo] = []

    def start(*options: str) -> Demo:
        demos.append(Demo(folder, *(options or ("--port", "0"))))
        return demos[-1]

    yield start
    for demo in demos:
        demo.close()


def get(address: str, host: str = "sample-elb.localhost", path: str = "/") -> str:
    """The page at host:port, asked for by the demo's name; of a redirect, where it leads."""
    connection = HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        response = connection.getresponse()
        return response.getheader("Location") or response.read().decode()
    finally:
        connection.close()


def test_what_it_prints_works_until_ctrl_c_ends_everything(start: Callable[..., Demo], folder: Path) -> None:
    demo = start()
    demo.until(EXPLAINED)
    # The live line gives way to the result.
    assert "\r\033[KWaiting for nlb to start\r\033[K" in demo.said
    assert re.search(r"\r\033\[KHealthy after \d+\.\d s: web01, web02, web03\.\n", demo.said)
    port = demo.until(r"curl -s http://sample-elb\.localhost:(\d+)/")[1]
    status = demo.until(r"http://(127\.0\.0\.1:\d+)/metrics")[1]
    nlb, export = demo.until(r"(\S.*) ctl targets")[1], demo.until(r"export NLB_SOCKET=\S+")[0]
    targets = subprocess.run(
        f"{export}; {nlb} ctl targets", shell=True, capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    pages = [get(f"127.0.0.1:{port}") for _ in range(6)]

    # Whichever worker gets a connection goes on in its own round, and one of two gets at least three of six.
    assert {re.findall(r"web0\d", page)[0] for page in pages} == {"web01", "web02", "web03"}
    assert targets.returncode == 0, targets.stderr
    assert re.findall(r"^(web0\d) ", targets.stdout, re.MULTILINE) == ["web01", "web02", "web03"]
    assert "nlb" in get(status)

    family = demo.family()
    assert len(family) == 7  # itself, three web servers, nlb and its two workers
    demo.process.send_signal(signal.SIGINT)
    assert demo.code() == 0
    assert "nothing is left behind" in demo.said
    assert all_end(family, PATIENCE)
    assert not list(folder.iterdir())


def test_the_http_show_sends_hosts_to_their_groups(start: Callable[..., Demo], folder: Path) -> None:
    demo = start("--http", "--port", "0")
    demo.until(EXPLAINED)
    port = demo.until(r"curl -s http://api\.localhost:(\d+)/")[1]
    export = demo.until(r"export NLB_SOCKET=\S+")[0]
    explain, requests = demo.until(r"(\S.* explain \S+)")[1], demo.until(r"(\S.* ctl requests)")[1]
    address = f"127.0.0.1:{port}"

    pages = [get(address, "app.localhost") for _ in range(6)]

    assert {re.findall(r"app0\d", page)[0] for page in pages} == {"app01", "app02"}
    assert "Hello from api01" in get(address, "api.localhost")
    assert get(address, "closed.localhost") == "back at noon\n"
    assert get(address, "app.localhost", "/old/page") == f"http://app.localhost:{port}/"
    command = f"{export}; {explain} && {requests}"
    said = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert said.returncode == 0, said.stderr
    assert re.search(r"^yes +rule api: ", said.stdout, re.MULTILINE)
    assert re.search(r"^choice: api01, ", said.stdout, re.MULTILINE)
    assert re.search(r"^edge +default +app +6 ", said.stdout, re.MULTILINE)
    demo.until(r"info request outcome=request/fixed_response .* host=closed\.localhost rule=closed ")
    family = demo.family()
    demo.process.send_signal(signal.SIGINT)
    assert demo.code() == 0
    assert all_end(family, PATIENCE)
    assert not list(folder.iterdir())


def test_what_it_prints_of_tls_works(start: Callable[..., Demo], folder: Path) -> None:
    demo = start("--tls", "--port", "0")
    demo.until(EXPLAINED)
    port = int(demo.until(r"https://api\.localhost:(\d+)/")[1])
    plain = demo.until(r"curl -sL --cacert \S+ http://app\.localhost:(\d+)/")[1]
    authority, renewing = demo.until(r"--cacert (\S+)")[1], demo.until(r"cd \S+; cp \S+ \S+; cp \S+ \S+")[0]
    context = ssl.create_default_context(cafile=authority)

    def until_when(name: str) -> str:
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as sock,
            context.wrap_socket(sock, server_hostname=name) as tls,
        ):
            certificate = tls.getpeercert() or {}
            assert certificate["subjectAltName"] == (("DNS", name),)
            return str(certificate["notAfter"])

    demo.until(r"warning nlb listener edge: certificate \S+/app\.pem: it ends on .*, in 13 days")
    before = until_when("app.localhost")
    assert get(f"127.0.0.1:{plain}", "app.localhost", "/x") == f"https://app.localhost:{port}/x"
    assert subprocess.run(renewing, shell=True, check=False).returncode == 0
    demo.until(r"info nlb listener edge: new certificate for app\.localhost, valid until ")
    assert until_when("app.localhost") != before
    assert until_when("api.localhost") == until_when("api.localhost")
    demo.process.send_signal(signal.SIGINT)
    assert demo.code() == 0
    assert not list(folder.iterdir())


@pytest.mark.parametrize("moment", ["Web servers:", "Waiting for nlb to start"])
def test_ctrl_c_while_it_starts_is_as_good(start: Callable[..., Demo], folder: Path, moment: str) -> None:
    demo = start()
    demo.until(moment)
    family = demo.family()

    demo.process.send_signal(signal.SIGINT)

    assert demo.code() == 0
    assert "Traceback" not in demo.said
    assert all_end(family, PATIENCE)
    assert not list(folder.iterdir())


def test_nothing_outlives_a_killed_demo(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.until(EXPLAINED)
    family = demo.family()
    demo.process.kill()
    assert all_end(family, PATIENCE)


def test_a_taken_port_is_replaced_and_said(start: Callable[..., Demo]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        demo = start("--port", str(taken))
        other = demo.until(rf"Port {taken} is taken: using (\d+) instead\.")[1]
        demo.until(EXPLAINED)
        assert "Hello from web0" in get(f"127.0.0.1:{other}")


def test_a_web_server_that_dies_is_missed(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.until(EXPLAINED)
    os.kill(int(demo.until(r"kill (\d+)")[1]), signal.SIGTERM)
    demo.until(r"web01 was killed by SIGTERM\. To bring it back, in another terminal:\n  python3 -m http\.server")
    demo.until("web/web01 is unhealthy")


def test_without_nlb_the_demo_is_over(start: Callable[..., Demo], folder: Path) -> None:
    demo = start()
    demo.until(EXPLAINED)
    (nlb,) = [child for child in psutil.Process(demo.process.pid).children() if "serve" in child.cmdline()]
    family = demo.family()
    with suppress(psutil.NoSuchProcess):
        nlb.kill()

    assert demo.code() == 1
    assert "nlb serve was killed by SIGKILL; the demo is over" in demo.said
    assert all_end(family, PATIENCE)
    assert not list(folder.iterdir())
