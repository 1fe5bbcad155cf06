"""What a large reload costs: 1,000 groups and 10,000 targets added, changed and removed again, under traffic.

`python -m loadtests.reload`. Reported: seconds per reload, how long the loops of the workers stood still, and how
long `status` took on the admin socket meanwhile.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from loadtests.rig import BALANCER_CORE, LOAD_CORE, free_port, running, wait_for_port
from nlb.observe.counters import LAG

GROUPS = 1000
TARGETS = 10  # per group
CHECK = '[target_group.health_check]\nprotocol = "tcp"\ninterval = 10\n'


def ask(path: str, verb: str) -> Any:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(path)
        sock.sendall(json.dumps({"verb": verb, "args": {}}).encode() + b"\n")
        with sock.makefile() as lines:
            answer = json.loads(lines.readline())
    if not answer["ok"]:
        raise RuntimeError(answer["error"])
    return answer["data"]


def config(folder: str, port: int, target: int, groups: int, policy: str, step: int) -> str:
    head = (
        f'workers = 2\nshutdown_timeout = 1\n[admin]\nsocket = "{folder}/nlb.sock"\nstate_dir = "{folder}/state"\n'
        f'web = false\n[[listener]]\nname = "in"\nbind = "127.0.0.1:{port}"\ntarget_group = "main"\n'
        f'[[target_group]]\nname = "main"\ntargets = ["127.0.0.1:{target}"]\n'
    )
    parts = [head]
    for number in range(groups):
        addresses = (f"127.{1 + number // 250}.{number % 250}.{step + n}:{target}" for n in range(TARGETS))
        targets = ", ".join(f'"{address}"' for address in addresses)
        parts.append(f'[[target_group]]\nname = "g{number}"\npolicy = "{policy}"\ntargets = [{targets}]\n{CHECK}')
    return "".join(parts)


class Traffic(threading.Thread):
    """Short echoes through the listener, one after another; keeps the longest."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.stopping = False
        self.longest = 0.0
        self.failures = 0

    def run(self) -> None:
        sock = socket.create_connection(("127.0.0.1", self.port))
        while not self.stopping:
            began = time.perf_counter()
            sock.sendall(b"x")
            if sock.recv(1) != b"x":
                self.failures += 1
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except OSError:
                self.failures += 1
            self.longest = max(self.longest, time.perf_counter() - began)
            time.sleep(0.002)


class Asker(threading.Thread):
    """Asks for the status again and again, as `nlb ctl status` does."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.stopping = False
        self.took: list[float] = []

    def run(self) -> None:
        while not self.stopping:
            began = time.perf_counter()
            ask(self.path, "status")
            self.took.append(time.perf_counter() - began)
            time.sleep(0.05)


def lags(path: str) -> list[int]:
    workers = ask(path, "status")["workers"]
    return [sum(worker["lag"]["counts"][bucket] for worker in workers) for bucket in range(len(LAG) + 1)]


def one_reload(path: str, port: int, name: str) -> None:
    before = lags(path)
    traffic, asker = Traffic(port), Asker(path)
    traffic.start()
    asker.start()
    began = time.perf_counter()
    done = ask(path, "reload")
    seconds = time.perf_counter() - began
    asker.stopping = traffic.stopping = True
    asker.join()
    traffic.join()
    if "refused" in done:
        raise RuntimeError(done["refused"])
    blocked = [after - then for after, then in zip(lags(path), before, strict=True)]
    worst = max((bound for bound, count in zip((*LAG, float("inf")), blocked, strict=True) if count), default=0.0)
    print(
        f"{name:34}{seconds:7.2f} s   worker turns over 1 ms: {sum(blocked):4d}, all under {worst * 1000:g} ms   "
        f"status: median {statistics.median(asker.took) * 1000:.0f} ms, longest {max(asker.took) * 1000:.0f} ms   "
        f"echo: longest {traffic.longest * 1000:.0f} ms, {traffic.failures} failures",
        flush=True,
    )


def main() -> int:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port, target = free_port(), free_port()
        stack.enter_context(running([sys.executable, "-m", "loadtests.echo", str(target), "0.0.0.0"], LOAD_CORE))
        wait_for_port(target)
        file, path = Path(folder, "nlb.toml"), f"{folder}/nlb.sock"
        file.write_text(config(folder, port, target, 0, "round_robin", 1))
        cores = f"{BALANCER_CORE},{LOAD_CORE}"
        command = ["taskset", "-c", cores, sys.executable, "-m", "nlb", "serve", "-c", str(file)]
        stack.enter_context(running(command, BALANCER_CORE))
        wait_for_port(port)
        time.sleep(1)
        for name, groups, policy, step in (
            (f"add {GROUPS} groups", GROUPS, "round_robin", 1),
            ("change every target", GROUPS, "round_robin", 101),
            ("remove them", 0, "round_robin", 1),
            ("add 20 Maglev groups", 20, "maglev", 1),
            ("change every target of these", 20, "maglev", 101),
        ):
            file.write_text(config(folder, port, target, groups, policy, step))
            one_reload(path, port, name)
            time.sleep(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
