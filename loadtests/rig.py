"""What every measurement needs: programs started, pinned and ended, their CPU time read, an nlb to look at.

All traffic stays on loopback. The balancer has one core to itself, load and targets share another.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from nlb.cli.pdeath import die_with_parent

BALANCER_CORE = 0
LOAD_CORE = 1

_TICK = os.sysconf("SC_CLK_TCK")


class MissingError(Exception):
    """A program that this measurement needs is not installed."""


def need(program: str, how: str = "") -> str:
    """Its path. Programs from PyPI lie beside the interpreter. Raises MissingError, which says how to install it."""
    beside = Path(sys.executable).parent
    found = shutil.which(program) or shutil.which(program, path=f"{beside}:/usr/sbin:/sbin")
    if not found:
        raise MissingError(f"{program} is not installed: {how or f'apt-get install {program}'}")
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_port(port: int, seconds: float = 10) -> None:
    """Until something accepts there; raises TimeoutError."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


@contextmanager
def running(
    command: list[str],
    core: int | str,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    said: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program pinned to a core, or to several ("0,1"); ended, and waited for, at the end. `env` is added to the
    environment; what it says goes to the file `said`. It dies with us, however we end."""
    with (said or Path(os.devnull)).open("ab") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU time. The total is exact; the kernel tells its parts by ticks of 10 ms."""

    user: float
    system: float
    total: float

    def __sub__(self, other: Cpu) -> Cpu:
        user, system, total = self.user - other.user, self.system - other.system, self.total - other.total
        ticks = user + system
        share = user / ticks if ticks else 0.0
        return Cpu(total * share, total * (1 - share), total)


def cpu(pids: list[int]) -> Cpu:
    """CPU time that these processes have used."""
    user = system = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user += int(fields[11])
        system += int(fields[12])
    return Cpu(user / _TICK, system / _TICK, sum(time.clock_gettime(_clock(pid)) for pid in pids))


def _clock(pid: int) -> int:
    """The CPU clock of a process, all its threads: clock_getcpuclockid(3), which Python has for threads only."""
    return (~pid << 3) | 2


def memory(pid: int) -> int:
    """Bytes of memory that are this process's own (USS)."""
    return int(psutil.Process(pid).memory_full_info().uss)


class Nlb:
    """A real `nlb serve` and its admin socket."""

    def __init__(self, process: subprocess.Popen[bytes], admin: str, port: int) -> None:
        self.process = process
        self.port = port
        self._admin = admin

    def ctl(self, *arguments: str) -> dict[str, object] | list[object]:
        command = [sys.executable, "-m", "nlb", "ctl", "--socket", self._admin, *arguments, "--json"]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    @property
    def workers(self) -> list[int]:
        status = self.ctl("status")
        assert isinstance(status, dict)
        return [worker["pid"] for worker in status["workers"]]  # type: ignore[attr-defined]

    @property
    def pids(self) -> list[int]:
        """Control and workers."""
        return [self.process.pid, *self.workers]


@contextmanager
def nlb(targets: list[int], workers: int = 1, listener: str = "", group: str = "") -> Iterator[Nlb]:
    """An nlb in front of these ports of 127.0.0.1, all of it on the balancer's core when it has one worker."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        port = free_port()
        config = Path(folder, "nlb.toml")
        addresses = ", ".join(f'"127.0.0.1:{target}"' for target in targets)
        config.write_text(
            f'workers = {workers}\nshutdown_timeout = 1\n[admin]\nsocket = "{folder}/nlb.sock"\n'
            f'state_dir = "{folder}/state"\nweb = "127.0.0.1:{free_port()}"\n'
            f'[[listener]]\nname = "in"\nbind = "127.0.0.1:{port}"\n{listener}\n'
            f'[[target_group]]\nname = "out"\ntargets = [{addresses}]\n{group}\n'
        )
        cores = BALANCER_CORE if workers == 1 else f"{BALANCER_CORE},{LOAD_CORE}"
        command = [sys.executable, "-m", "nlb", "serve", "-c", str(config)]
        process = stack.enter_context(running(command, cores))
        wait_for_port(port)
        time.sleep(1)  # first verdicts
        yield Nlb(process, f"{folder}/nlb.sock", port)
