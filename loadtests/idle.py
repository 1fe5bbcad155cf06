"""What idle sessions cost: memory and CPU of the worker, and what busy sessions among them lose.

`python -m loadtests.idle [SESSIONS]` (default 8,000; each takes two descriptors of the worker). About a minute.
"""

from __future__ import annotations

import resource
import selectors
import socket
import statistics
import sys
import time

from loadtests.rig import LOAD_CORE, Nlb, cpu, free_port, memory, nlb, running, wait_for_port

BUSY = 100
SECONDS = 3.0
ROUNDS = 5
WATCH = 10.0


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def throughput(busy: list[socket.socket]) -> float:
    """Messages per second that go to and fro over these, one under way on each."""
    selector = selectors.DefaultSelector()
    for sock in busy:
        selector.register(sock, selectors.EVENT_READ)
        sock.send(b"x" * 1024)
    until = time.perf_counter() + SECONDS
    done = 0
    while time.perf_counter() < until:
        for key, _ in selector.select():
            sock = key.fileobj  # type: ignore[assignment]
            sock.recv(65536)
            sock.send(b"x" * 1024)
            done += 1
    for sock in busy:
        sock.recv(65536)
    selector.close()
    return done / SECONDS


def settled(balancer: Nlb, sessions: int) -> None:
    """Until nlb has so many sessions."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        listeners = balancer.ctl("listeners")["listeners"]  # type: ignore[index, call-overload]
        if listeners[0]["sessions"] == sessions:
            time.sleep(1.5)  # and the worker's sweep has gone over them
            return
        time.sleep(0.2)
    raise TimeoutError(f"nlb has not {sessions} sessions")


def main() -> int:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = free_port()
    echo = [sys.executable, "-m", "loadtests.echo", str(port)]
    with running(echo, LOAD_CORE):
        wait_for_port(port)
        with nlb([port], listener=f"max_connections = {wanted + BUSY + 100}") as balancer:
            worker = balancer.workers[0]
            for sock in [connect(balancer.port) for _ in range(500)]:
                sock.close()  # a worker that has served once: its buffers and caches are there
            settled(balancer, 0)
            before = memory(worker)
            idle = [connect(balancer.port) for _ in range(wanted)]
            settled(balancer, wanted)
            each = (memory(worker) - before) / wanted
            print(f"{wanted} idle sessions: {each / 1024:.2f} KiB of the worker's memory each", flush=True)
            used = cpu([worker])
            time.sleep(WATCH)
            print(f"CPU while idle: {(cpu([worker]) - used).total / WATCH:.2%} of a core", flush=True)
            for sock in idle:
                sock.close()
            settled(balancer, 0)
            alone: list[float] = []
            among: list[float] = []
            for _ in range(ROUNDS):
                busy = [connect(balancer.port) for _ in range(BUSY)]
                alone.append(throughput(busy))
                idle = [connect(balancer.port) for _ in range(wanted)]
                settled(balancer, wanted + BUSY)
                among.append(throughput(busy))
                for sock in busy + idle:
                    sock.close()
                settled(balancer, 0)
            ratio = statistics.median(a / b for a, b in zip(among, alone, strict=True))
            print(
                f"{BUSY} busy sessions: {statistics.median(alone):.0f} messages/s alone, "
                f"{statistics.median(among):.0f} among {wanted} idle ones; ratio {ratio:.3f} "
                f"(median of {ROUNDS} pairs)"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
