"""`nlb demo`: three web servers and an nlb before them, on this box, to look at and to break. What is shown is in
shows.py.

Nothing that it starts outlives it: what ends in order is stopped here, and the kernel sees to the rest (`pdeath`).
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired
from time import monotonic

import click

from nlb.admin.client import Client
from nlb.cli.pdeath import die_with_parent
from nlb.cli.screen import Screen, columns
from nlb.cli.shows import HEAD, HTTP, PAGE, TCP, TLS, Show, filled
from nlb.errors import NlbError

STATUS_PORT = 9191

# Seconds that open connections get when the demo ends.
SHUTDOWN = 2

# Seconds between the looks at the targets while they start, and that nlb gets for an answer.
LOOK = 0.1
PATIENCE = 1.0

# Seconds beyond SHUTDOWN after which an nlb that does not end is killed.
GRACE = 5.0


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Where nlb listens. 0 takes free ports for everything, the web servers and the status page too.",
)
@click.option("--http", "reads_http", is_flag=True, help="Balance requests: rules for hosts, two groups.")
@click.option("--tls", "encrypts", is_flag=True, help="The same in HTTPS, with a certificate authority of its own.")
def demo(port: int, reads_http: bool, encrypts: bool) -> None:
    """Start three web servers and an nlb before them, and say what to try. Ctrl-C ends it all."""
    screen = Screen()
    asked_to_end = catch_signals()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="nlb-demo-") as folder,
            Demo(Path(folder), TLS if encrypts else HTTP if reads_http else TCP, screen, asked_to_end) as running,
        ):
            running.start(port)
            running.wait_until_healthy()
            running.explain()
            running.watch()
    except KeyboardInterrupt:
        screen.say("Stopped: nothing is left behind.")


def catch_signals() -> socket.socket:
    """From now on a request to end is a readable socket, so that it can only come where it is awaited: never in the
    middle of a start, and not a second time while the first one is obeyed."""
    noticed, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup wants it ignored
            signal.signal(number, lambda *_: None)
    return noticed


class Demo:
    """Everything that runs, and what is said of it. Leaving its `with` block ends it all."""

    def __init__(self, folder: Path, show: Show, screen: Screen, asked_to_end: socket.socket) -> None:
        self._folder = folder
        self._show = show
        self._screen = screen
        self._socket = str(folder / "nlb.sock")
        self._selector = selectors.DefaultSelector()
        self._selector.register(asked_to_end, selectors.EVENT_READ, "end")
        self._servers: dict[str, Popen[bytes]] = {}  # those alive
        self._ports: dict[str, int] = {}
        self._nlb: Popen[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *exception: object) -> None:
        self._screen.settle("")
        # nlb first: it would report the ends of the servers as failures.
        if self._nlb:
            self._nlb.terminate()
            try:
                self._nlb.wait(SHUTDOWN + GRACE)
            except TimeoutExpired:
                self._nlb.kill()
            self._hand_on()
        for server in self._servers.values():
            server.kill()
        for process in (self._nlb, *self._servers.values()):
            if process:
                process.wait()

    def start(self, port: int) -> None:
        """The web servers, the config, nlb: in this order, so that nlb finds them."""
        servers = self._show.servers
        doors = self._show.doors
        names = [*servers, "status", "nlb", *doors]
        wanted = [*servers.values(), STATUS_PORT, port, *doors.values()] if port else [0] * len(names)
        ports, self._ports = free_ports(wanted), {}
        for name, want, got in zip(names, wanted, ports, strict=True):
            self._ports[name] = got
            if want not in (0, got):
                self._screen.say(f"Port {want} is taken: using {got} instead.")
        for name in servers:
            self._start_server(name)
        self._screen.say("Web servers: " + ", ".join(f"{name} on port {self._ports[name]}" for name in servers) + ".")
        self._make_certificates()
        config = self._folder / "nlb.toml"
        config.write_text(self._config())
        self._screen.say(f"The config, {config}:\n")
        self._screen.say("".join(f"    {line}\n" if line else "\n" for line in config.read_text().splitlines()))
        self._start_nlb(config)

    def wait_until_healthy(self) -> None:
        """Until every server that lives is healthy in nlb's eyes, with a live line that says how far it is."""
        began = monotonic()
        while True:
            state, healths = self._healths()
            seen = ", ".join(f"{name} {health}" for name, health in healths.items())
            self._screen.live(f"Waiting for the targets: {seen}" if seen else "Waiting for nlb to start")
            if state == "running" and all(healths.get(name) == "healthy" for name in self._servers):
                break
            self._look(LOOK)
        self._look(0)
        self._screen.settle(f"Healthy after {monotonic() - began:.1f} s: {', '.join(self._servers)}.")

    def explain(self) -> None:
        """What to try next, in the words that work from where the user is."""
        name = next(iter(self._show.servers))
        first, status = self._servers.get(name), f"http://127.0.0.1:{self._ports['status']}/"
        words = {"nlb": how_to_call_nlb(), "socket": self._socket, **self._places()}
        kill = (f"kill {first.pid}" if first else "", f"{name} itself: watch it leave, below")
        self._screen.say("\nTry, in another terminal, from this folder:\n")
        self._screen.say(columns(*filled(self._show.tries, words), kill))
        self._screen.say("\nLook at, in a browser:\n")
        pages = filled(self._show.pages, words)
        self._screen.say(columns(*pages, (status, "how nlb is"), (f"{status}metrics", "its metrics")))
        self._screen.say("\nCtrl-C ends it all. What nlb reports:\n")

    def watch(self) -> None:
        """Hand on what nlb says, tell who died; until Ctrl-C, or the end of nlb."""
        while True:
            self._look(None)

    def _config(self) -> str:
        targets = {name: json.dumps(f"{name}=127.0.0.1:{self._ports[name]}") for name in self._show.servers}
        return HEAD.format(
            shutdown=SHUTDOWN,
            socket=json.dumps(self._socket),
            state=json.dumps(str(self._folder)),
            status=self._ports["status"],
        ) + self._show.config.format(**self._places(), **targets)

    def _places(self) -> dict[str, object]:
        doors = {name: self._ports[name] for name in self._show.doors}
        return {"port": self._ports["nlb"], "folder": self._folder, **doors}

    def _make_certificates(self) -> None:
        if not self._show.certificates:
            return
        from nlb.cli.authority import Authority  # 60 ms, for this demo alone

        authority = Authority("nlb demo")
        authority.write(self._folder / "ca.pem")
        for pair in self._show.certificates:
            place = self._folder / pair.file
            authority.issue([pair.host], place.with_suffix(".pem"), place.with_suffix(".key"), pair.days, pair.is_rsa)
        self._screen.say(f"A certificate authority of its own: {self._folder / 'ca.pem'}.")

    def _server_command(self, name: str) -> list[str]:
        where = ["--bind", "127.0.0.1", "--directory", str(self._folder / name)]
        return [sys.executable, "-m", "http.server", str(self._ports[name]), *where]

    def _start_server(self, name: str) -> None:
        pages = self._folder / name
        pages.mkdir()
        (pages / "index.html").write_text(PAGE.format(name=name))
        process = Popen(
            self._server_command(name),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for us; we end the others in order
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        self._servers[name] = process
        self._selector.register(os.pidfd_open(process.pid), selectors.EVENT_READ, name)

    def _start_nlb(self, config: Path) -> None:
        process = Popen(
            [sys.executable, "-m", "nlb", "serve", "--no-orphans", "-c", str(config)],
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        self._nlb = process
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, "words")
        self._selector.register(os.pidfd_open(process.pid), selectors.EVENT_READ, "nlb")

    def _healths(self) -> tuple[str, dict[str, str]]:
        """What nlb says of itself and of each target; nothing while it cannot be asked yet."""
        try:
            with Client(self._socket, PATIENCE) as client:
                state = client.ask("status", {"events": 0})["state"]
                targets = client.ask("targets", {})["targets"]
        except (OSError, NlbError):
            return "", {}
        return state, {target["name"]: target["health"]["state"] for target in targets}

    def _look(self, timeout: float | None) -> None:
        """Hear of what happened, waiting for it so long. Raises KeyboardInterrupt when asked to end."""
        for key, _ in self._selector.select(timeout):
            if key.data == "end":
                raise KeyboardInterrupt
            if key.data == "words":
                self._hand_on()
            elif key.data == "nlb":
                self._nlb_died()
            else:
                self._selector.unregister(key.fd)
                os.close(key.fd)
                self._server_died(key.data)

    def _hand_on(self) -> None:
        """Show what nlb wrote, by whole lines."""
        assert self._nlb is not None
        assert self._nlb.stdout is not None
        try:
            read = os.read(self._nlb.stdout.fileno(), 65536)
        except BlockingIOError:
            return
        if not read and self._nlb.stdout.fileno() in self._selector.get_map():
            self._selector.unregister(self._nlb.stdout)
        *lines, self._unread = (self._unread + read).split(b"\n")
        for line in lines:
            self._screen.say(line.decode(errors="replace"))

    def _server_died(self, name: str) -> None:
        how = in_words(self._servers.pop(name).wait())
        again = " ".join(["python3", *self._server_command(name)[1:]])
        self._screen.say(f"{name} {how}. To bring it back, in another terminal:\n  {again}")

    def _nlb_died(self) -> None:
        assert self._nlb is not None
        how = in_words(self._nlb.wait())
        self._hand_on()
        self._screen.settle("")
        raise NlbError(f"nlb serve {how}; the demo is over")


def free_ports(wanted: Sequence[int]) -> list[int]:
    """For each port wanted this one, or another where it cannot be listened on here; 0 is any."""
    with ExitStack() as held:  # all at once, so that none is given twice
        return [held.enter_context(_bound(port)).getsockname()[1] for port in wanted]


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what an ended demo left in TIME_WAIT takes no port
    try:
        sock.bind(("127.0.0.1", port))
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE or port == 0:
            raise NlbError(f"cannot listen on port {port}: {os.strerror(error.errno or 0)}") from None
        return _bound(0)
    return sock


def how_to_call_nlb() -> str:
    """What to type for this very nlb from the folder where the user is: `nlb`, `.venv/bin/nlb`, or longer."""
    script = Path(sys.executable).with_name("nlb")
    if not script.exists():
        return f"{sys.executable} -m nlb"
    found = shutil.which("nlb")
    if found and Path(found).samefile(script):
        return "nlb"
    return os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)


def in_words(code: int) -> str:
    """How a process ended, from its exit code."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
