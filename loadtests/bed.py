"""An nlb over targets of a fixed capacity, as a process of its own: `python -m loadtests.bed 4 50` is four targets
that serve 50 requests per second each, and an nlb that knows the first of them.

It ends, with all that it started, when its stdin does: nothing is left running, however the one who wanted it ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nlb.admin.client import Client
from nlb.cli.pdeath import die_with_parent
from nlb.errors import NlbError

GROUP = "out"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"

# Seconds. For things that take a moment, on a box that is busy with something else.
PATIENCE = 20.0


class BedError(Exception):
    """There is nothing to measure: nlb does not run, or does not do what it is told."""


class Bed:
    """The process, for the one who wants it. Close it at the end."""

    def __init__(self, targets: int, rate: float) -> None:
        """Returns when nlb is ready to forward to the first target. Raises BedError."""
        # In a session of its own, so that a Ctrl-C reaches only us, who end things in their order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtests.bed", str(targets), str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout
        try:
            places = self._process.stdout.readline()
        except BaseException:
            self.close()
            raise
        if not places:
            self.close()
            raise BedError("nlb and its targets did not start; what they said is above")
        self._places: dict[str, Any] = json.loads(places)
        self.url = f"http://127.0.0.1:{self._places['port']}"

    def add(self, number: int) -> None:
        """Give nlb one more target, and return when it has traffic. Raises BedError."""
        address = f"127.0.0.1:{self._places['targets'][number - 1]}"
        self.ctl("target", "add", GROUP, f"target{number}={address}")
        until = time.monotonic() + PATIENCE
        while len(usable := self._usable()) < number:
            if time.monotonic() > until:
                raise BedError(
                    f"nlb forwards to {', '.join(usable)} only, {PATIENCE:g} s after target{number} was added"
                )
            time.sleep(0.05)

    def ctl(self, *arguments: str) -> Any:
        """`nlb ctl`, as an operator would; gives its answer."""
        command = ["nlb", "ctl", "--socket", self._places["admin"], "--json", *arguments]
        try:
            done = subprocess.run(
                [sys.executable, "-m", *command], capture_output=True, text=True, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            raise BedError(f"`{' '.join(command)}` was not done within {PATIENCE:g} s") from None
        if done.returncode:
            raise BedError(f"`{' '.join(command)}` ended with exit code {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _usable(self) -> list[str]:
        return [target["name"] for target in self.ctl("targets", GROUP)["targets"] if target["usable"]]


class Steady:
    """A web server that answers one request at a time, in the order of their coming, and sleeps over each.

    When an answer is due is reckoned, not when sleep returned: waking up late costs no capacity, so that it is the
    same on every box.
    """

    def __init__(self, rate: float) -> None:
        self._service = 1 / rate
        self._free = 0.0  # when the last one in the queue will have its answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        try:
            await reader.readuntil(b"\r\n\r\n")
            self._free = due = max(now(), self._free) + self._service
            await asyncio.sleep(due - now())
            writer.write(ANSWER)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # a probe, or a client that did not wait
        except asyncio.CancelledError:
            pass  # the end; Python 3.11's streams would print a traceback
        finally:
            writer.close()


@contextmanager
def nlb(folder: str, target: int) -> Iterator[tuple[int, str]]:
    """A ready nlb with this target: its port and its admin socket."""
    admin = f"{folder}/nlb.sock"
    config = Path(folder, "nlb.toml")
    # Two workers, because an added target counts only once all of them use it.
    config.write_text(
        f'workers = 2\nshutdown_timeout = 1\n[admin]\nsocket = "{admin}"\nstate_dir = "{folder}/state"\nweb = false\n'
        f'[[listener]]\nbind = "127.0.0.1:0"\n[[target_group]]\nname = "{GROUP}"\n'
        f'targets = ["target1=127.0.0.1:{target}"]\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "nlb", "serve", "-c", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent(signal.SIGTERM),
    )
    try:
        yield _ready(process, admin), admin
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(process: subprocess.Popen[bytes], admin: str) -> int:
    """The port, as soon as connections to it go somewhere."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            with Client(admin) as client:
                status = client.ask("status", {})
                if status["ready"]:
                    return int(status["listeners"][0]["binds"][0].rpartition(":")[2])
        except (OSError, NlbError):
            pass  # not there yet
        time.sleep(0.05)
    sys.exit(f"nlb was not ready within {PATIENCE:g} s" if process.poll() is None else "nlb ended at once")


async def serve(count: int, rate: float) -> None:
    """Until stdin ends."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def heard() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            done.set()

    loop.add_reader(sys.stdin, heard)
    loop.add_signal_handler(signal.SIGTERM, done.set)
    servers = [await asyncio.start_server(Steady(rate).serve, "127.0.0.1", 0, backlog=1024) for _ in range(count)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    with tempfile.TemporaryDirectory() as folder, nlb(folder, ports[0]) as (port, admin):
        print(json.dumps({"port": port, "admin": admin, "targets": ports}), flush=True)
        await done.wait()


def main() -> None:
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))


if __name__ == "__main__":
    main()
