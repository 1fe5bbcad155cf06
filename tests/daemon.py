"""The real `nlb serve` process, driven as an operator drives it: config file, signals, `nlb ctl`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import until

# Seconds for things that involve several processes, on a box that is busy with something else.
PATIENCE = 20.0


def call(port: int) -> socket.socket:
    """A client's connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def answer(port: int) -> bytes:
    """All that a target says on a connection of its own."""
    got = b""
    with call(port) as sock:
        while data := sock.recv(65536):
            got += data
    return got


def refused(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        call(port).close()
    except ConnectionRefusedError:
        return True
    return False


class Daemon:
    """One running nlb. `ports` are the listeners' ports, by name."""

    def __init__(
        self,
        folder: Path,
        config: str,
        workers: int = 1,
        top: str = "",
        wait: bool = True,
        orphans: bool = False,
        environment: Mapping[str, str] | None = None,
        launcher: Sequence[str] = (),
        descriptors: Sequence[int] = (),
        web: bool = False,
    ) -> None:
        """`config` is listeners and groups; `top` are keys above all tables.

        With `orphans` its workers outlive it when it is killed. `launcher` is a program that becomes nlb; it inherits
        `descriptors`. Without `web` there are no pages, which take part of the start.
        """
        self.folder = folder
        self.socket = str(folder / "nlb.sock")
        self.config = folder / "nlb.toml"
        self._head = (workers, top, '"127.0.0.1:0"' if web else "false")
        self.write(config)
        self.log = folder / "log"
        self._said_before = len(self.output()) if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*launcher, sys.executable, "-m", "nlb", "serve", "-c", str(self.config)]
                + ["--no-orphans"] * (not orphans),
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                pass_fds=descriptors,
            )
        if wait:
            until(lambda: self.process.poll() is not None or self.is_running(), PATIENCE)
            assert self.process.poll() is None, self.output()

    def write(self, config: str) -> None:
        """Put new listeners and groups into the config file."""
        workers, top, web = self._head
        admin = f'[admin]\nsocket = "{self.socket}"\nstate_dir = "{self.folder}/state"\nweb = {web}\n'
        self.config.write_text(f"workers = {workers}\n{top}\n{admin}\n{config}")

    def output(self) -> str:
        return self.log.read_text()

    def is_running(self) -> bool:
        if not os.path.exists(self.socket):
            return False
        return "ready:" in self.output()[self._said_before :]

    def ask(self, verb: str, **args: Any) -> Any:
        """One request on the admin socket."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(self.socket)
            sock.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
            with sock.makefile() as lines:
                answer = json.loads(lines.readline())
        assert answer["ok"], answer
        return answer["data"]

    def ctl_command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "nlb", "ctl", "--socket", self.socket, *arguments]

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.ctl_command(*arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    @property
    def web(self) -> str:
        """The address of the web pages."""
        return next(line.split("on ")[1] for line in self.output().splitlines() if "status page" in line)

    @property
    def ports(self) -> dict[str, int]:
        listeners = self.ask("listeners")["listeners"]
        return {item["name"]: int(item["binds"][0].rpartition(":")[2]) for item in listeners}

    @property
    def port(self) -> int:
        return next(iter(self.ports.values()))

    def targets(self) -> dict[str, Any]:
        return {target["name"]: target for target in self.ask("targets")["targets"]}

    def listener(self, name: str = "in") -> Any:
        return next(item for item in self.ask("listeners")["listeners"] if item["name"] == name)

    def workers(self) -> list[Any]:
        return self.ask("status")["workers"]

    def publishes(self) -> None:
        """Wait until the first worker has published what moved, as it does once a second."""
        turns = self.workers()[0]["turns"]
        until(lambda: self.workers()[0]["turns"] > turns, PATIENCE)

    def has_health(self, **wanted: str) -> None:
        """Wait until targets have these states of health."""

        def holds() -> bool:
            targets = self.targets()
            return all(targets[name]["health"]["state"] == state for name, state in wanted.items())

        until(holds, PATIENCE)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


@contextmanager
def daemon(folder: Path, config: str, workers: int = 1, top: str = "", **options: Any) -> Iterator[Daemon]:
    """A running nlb; ended at the end if it still runs."""
    nlb = Daemon(folder, config, workers, top, **options)
    try:
        yield nlb
    finally:
        if nlb.process.poll() is None:
            nlb.process.terminate()
            try:
                nlb.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                nlb.process.kill()
                nlb.process.wait()
