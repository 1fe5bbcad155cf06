"""What sources are limited to, by real processes that share one memory."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from nlb.shield import connections, table
from nlb.shield.connections import Connections

WORKERS = 2

# A worker that does what it is told, a line at a time: Python that prints one line of JSON.
CHILD = """
import json, mmap, sys
from time import monotonic
from nlb.shield.buckets import Buckets
from nlb.shield.connections import Connections
from nlb.shield.offences import Offences

memory = memoryview(mmap.mmap(int(sys.argv[1]), 0))
buckets, offences = Buckets(memory), Offences(memory)
connections = Connections(memory, int(sys.argv[2]), int(sys.argv[3]))

def rush(begin, end, rate, burst, work):
    # `work` is what else a connection costs, in rounds of nothing
    passed = tried = 0
    while (first := monotonic()) < begin:
        pass
    while (now := monotonic()) < end:
        last = now
        tried += 1
        passed += buckets.take(0, 7, rate, burst, now)
        for _ in range(work):
            pass
    return passed, tried, first, last

for line in sys.stdin:
    print(json.dumps(eval(line)), flush=True)
"""


@dataclass
class Worker:
    process: subprocess.Popen[str]

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> object:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def ask(self, line: str) -> object:
        self.tell(line)
        return self.answer()


class Box:
    """The memory, and processes that have it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("table")
        os.ftruncate(self.fd, table.size(WORKERS))
        self.memory = memoryview(mmap.mmap(self.fd, 0))
        table.prepare(self.memory, os.urandom(16))
        self.workers: list[Worker] = []

    def start(self, index: int) -> Worker:
        command = [sys.executable, "-c", CHILD, str(self.fd), str(WORKERS), str(index)]
        environment = os.environ | {"PYTHONHASHSEED": str(index + 1)}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[self.fd], env=environment
        )
        self.workers.append(Worker(process))
        return self.workers[-1]

    def close(self) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.communicate()
        os.close(self.fd)


@pytest.fixture
def box() -> Iterator[Box]:
    box = Box()
    yield box
    box.close()


def test_50_a_second_is_50_a_second_with_two_workers(box: Box) -> None:
    """Both try some 10,000 times a second, as fast as a worker can refuse."""
    seconds, rate, burst = 2.0, 50.0, 10
    workers = [box.start(index) for index in range(WORKERS)]
    (now,) = {max(float(str(worker.ask("monotonic()"))) for worker in workers)}
    begin = now + 0.05
    for worker, work in zip(workers, (1000, 1370), strict=True):  # equal ones would keep step
        worker.tell(f"rush({begin}, {begin + seconds}, {rate}, {burst}, {work})")
    results = [worker.answer() for worker in workers]
    passed, tried, first, last = zip(*results, strict=True)  # type: ignore[arg-type]
    assert sum(tried) > 10 * sum(passed)
    assert sum(passed) == pytest.approx(burst + (max(last) - min(first)) * rate, rel=0.1)


def test_a_worker_that_is_killed_leaves_no_connections_behind(box: Box) -> None:
    one, other = box.start(0), box.start(1)
    assert one.ask("[connections.enter(0, 7) and 1 for _ in range(3)]") == [1, 1, 1]
    assert other.ask("connections.enter(0, 7) and connections.count(0, 7)") == 4
    one.process.kill()
    one.process.wait()
    assert other.ask("connections.count(0, 7)") == 4
    connections.clear(box.memory, 0)
    assert other.ask("connections.count(0, 7)") == 1
    assert box.start(0).ask("connections.enter(0, 7) and connections.count(0, 7)") == 2
    assert Connections(box.memory, WORKERS, 0).count(0, 7) == 1  # of the other; its own it would know


def test_offences_are_counted_together(box: Box) -> None:
    one, other = box.start(0), box.start(1)
    said = [worker.ask("offences.count(1, 7, 20, 60.0, monotonic())") for _ in range(10) for worker in (one, other)]
    assert said == [False] * 19 + [True]
