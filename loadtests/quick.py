"""nlb beside HAProxy in one run: CPU per TCP message and bulk throughput. `python -m loadtests.quick`

Needs haproxy, nginx (the target) and wrk from Debian. Rounds alternate between the two, so that drift hits both;
medians are printed, and the ratio to HAProxy, which is steadier than any figure. About a minute and a half.
"""

from __future__ import annotations

import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.rig import BALANCER_CORE, LOAD_CORE, MissingError, cpu, free_port, need, nlb, running, wait_for_port

ROUNDS = 5
SECONDS = 3
CLIENTS = 64
BULK = 100_000_000  # bytes


@dataclass
class Candidate:
    """Somebody in front of the target."""

    name: str
    port: int
    pids: list[int]


@contextmanager
def target() -> Iterator[int]:
    """nginx with a file of 1 KiB and one of 100 MB; gives its port."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        Path(folder, "1k").write_bytes(b"x" * 1024)
        with Path(folder, "bulk").open("wb") as file:
            file.truncate(BULK)
        Path(folder).chmod(0o755)
        config = Path(folder, "nginx.conf")
        config.write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log;\n"
            "events { worker_connections 4096; }\n"
            "http { access_log off; keepalive_requests 1000000000; sendfile on; server {\n"
            f"  listen 127.0.0.1:{port} backlog=4096; root {folder}; }} }}\n"
        )
        with running([need("nginx"), "-c", str(config)], LOAD_CORE):
            wait_for_port(port)
            yield port


@contextmanager
def haproxy(target_port: int) -> Iterator[Candidate]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        config = Path(folder, "haproxy.cfg")
        config.write_text(
            "global\n  nbthread 1\n  maxconn 4000\n"
            "defaults\n  mode tcp\n  option splice-auto\n  timeout connect 5s\n"
            "  timeout client 350s\n  timeout server 350s\n"
            f"listen in\n  bind 127.0.0.1:{port}\n  server t 127.0.0.1:{target_port}\n"
        )
        with running([need("haproxy"), "-f", str(config)], BALANCER_CORE) as process:
            wait_for_port(port)
            yield Candidate("haproxy", port, [process.pid])


def messages(candidate: Candidate, *options: str) -> float:
    """Microseconds of the balancer's CPU per request and answer of 1 KiB."""
    before = cpu(candidate.pids)
    command = ["taskset", "-c", str(LOAD_CORE), need("wrk"), "-t1", f"-c{CLIENTS}", f"-d{SECONDS}s", *options]
    out = subprocess.run(
        [*command, f"http://127.0.0.1:{candidate.port}/1k"], capture_output=True, text=True, check=True
    ).stdout
    if "Socket errors" in out or "Non-2xx" in out:
        raise RuntimeError(f"{candidate.name}: {out}")
    found = re.search(r"(\d+) requests in", out)
    assert found
    return (cpu(candidate.pids) - before).total / int(found.group(1)) * 1e6


def bulk(candidate: Candidate) -> float:
    """Bytes per second of one download."""
    buffer = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", candidate.port)) as sock:
        began = time.perf_counter()
        sock.sendall(b"GET /bulk HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        got = 0
        while n := sock.recv_into(buffer):
            got += n
    if got < BULK:
        raise RuntimeError(f"{candidate.name}: {got} bytes of {BULK}")
    return got / (time.perf_counter() - began)


def main() -> int:
    try:
        for program in ("haproxy", "nginx", "wrk"):
            need(program)
    except MissingError as missing:
        print(missing, file=sys.stderr)
        return 2
    with ExitStack() as stack:
        port = stack.enter_context(target())
        ours = stack.enter_context(nlb([port]))
        candidates = [stack.enter_context(haproxy(port)), Candidate("nlb", ours.port, ours.pids)]
        measures = [
            ("CPU per TCP message, us", messages),
            ("CPU per new connection, us", lambda candidate: messages(candidate, "-H", "Connection: close")),
            ("bulk, GB/s", lambda candidate: bulk(candidate) / 1e9),
        ]
        print(f"{'':28}{'haproxy':>10}{'nlb':>10}{'ratio':>8}   (medians of {ROUNDS} alternating rounds)")
        for name, measure in measures:
            seen: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
            for _ in range(ROUNDS):
                for candidate in candidates:
                    seen[candidate.name].append(measure(candidate))
            theirs, mine = (statistics.median(seen[candidate.name]) for candidate in candidates)
            print(f"{name:28}{theirs:10.2f}{mine:10.2f}{mine / theirs:8.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
