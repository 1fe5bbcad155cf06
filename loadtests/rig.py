"""What every measurement needs: programs started, pinned and ended, their CPU time read, an nlb to look at.

All traffic stays on loopback. The balancer has one core to itself, load and targets share another.
"""

from __future__ import annotations

import json
import os
import shutil
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

BALANCER_CORE = 0
LOAD_CORE = 1

_TICK = os.sysconf("SC_CLK_TCK")


class MissingError(Exception):
    """A program that this measurement needs is not installed."""


def need(program: str) -> str:
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if not found:
        raise MissingError(f"{program} is not installed: apt-get install {program}")
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
def running(command: list[str], core: int, cwd: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program pinned to a core; ended, and waited for, at the end."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd
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
    """Seconds of CPU time."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user - other.user, self.system - other.system)


def cpu(pids: list[int]) -> Cpu:
    """CPU time that these processes have used."""
    user = system = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user += int(fields[11])
        system += int(fields[12])
    return Cpu(user / _TICK, system / _TICK)


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
        core = BALANCER_CORE if workers == 1 else 0
        command = [sys.executable, "-m", "nlb", "serve", "-c", str(config)]
        if workers > 1:
            command = ["taskset", "-c", f"{BALANCER_CORE},{LOAD_CORE}", *command]
        process = stack.enter_context(running(command, core))
        wait_for_port(port)
        time.sleep(1)  # first verdicts
        yield Nlb(process, f"{folder}/nlb.sock", port)
