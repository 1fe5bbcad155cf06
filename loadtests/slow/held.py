"""How many connections a port has, and what its balancer uses meanwhile, looked at while an attack goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from loadtests.peers.starting import Started
from loadtests.rig import Cpu, cpu

# Seconds between looks.
EVERY = 0.5

_ESTABLISHED = "01"  # linux/tcp_states.h


def connections(port: int) -> int:
    """Open ones, as the kernel of the box tells: so it is the same for every balancer."""
    end = f":{port:04X}"
    rows = [line.split(maxsplit=4) for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(state == _ESTABLISHED and local.endswith(end) for _, local, _, state, _ in rows)


def carriers(one: Started) -> list[int]:
    """The processes of a balancer that have its clients' connections."""
    assert one.pid is not None
    parent = psutil.Process(one.pid)
    workers = [child for child in parent.children(recursive=True) if "nlb.proxy.worker" in child.cmdline()]
    return [worker.pid for worker in workers] or one.pids


class Look:
    """`held` connections and `memory`, in bytes, at most; `cpu` in all."""

    def __init__(self, port: int, pids: list[int]) -> None:
        self.held = 0
        self.memory = self.first = self._memory(pids)
        self.cpu: Cpu = cpu(pids)
        self._port = port
        self._pids = pids

    def again(self) -> None:
        self.held = max(self.held, connections(self._port))
        self.memory = max(self.memory, self._memory(self._pids))

    @staticmethod
    def _memory(pids: list[int]) -> int:
        # What is shared is in it too: to tell it apart, the kernel would stop the process for a while.
        return sum(psutil.Process(pid).memory_info().rss for pid in pids)


@contextmanager
def looking(port: int, pids: list[int]) -> Iterator[Look]:
    look = Look(port, pids)
    ends = threading.Event()

    def run() -> None:
        # This thread only: looking shall take nothing from the clients, which have the same core.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while not ends.wait(EVERY):
            look.again()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield look
    finally:
        ends.set()
        thread.join()
        look.cpu = cpu(pids) - look.cpu
