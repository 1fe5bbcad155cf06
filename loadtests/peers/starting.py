"""A candidate set up for a job, started, and asked whether it really does that job."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.peers.bench import LOCAL, Bench, CandidateError, descriptors, render, tail
from loadtests.peers.candidates import Candidate, Direct, Nginx, Setup
from loadtests.peers.cases import Case, Job
from loadtests.peers.loads import HOST, Place
from loadtests.rig import BALANCER_CORE, LOAD_CORE, free_port, running, wait_for_port

# Seconds for a balancer to start, to find its targets healthy and to do its job.
PATIENCE = 20.0


class UnableError(Exception):
    """This job is not for this candidate."""


@dataclass
class Started:
    """A candidate that does its job."""

    name: str
    place: Place
    pid: int | None = None
    folder: Path | None = None  # of its files

    @property
    def pids(self) -> list[int]:
        """All its processes."""
        if self.pid is None:
            return []
        return [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]


@contextmanager
def started(candidate: Candidate, job: Job, case: Case, bench: Bench) -> Iterator[Started]:
    """Set up for `job`, running and doing it. Raises UnableError, MissingError or CandidateError."""
    if isinstance(candidate, Direct):
        secure = job.protocol == "https"
        yield Started(candidate.name, Place(LOCAL, bench.secure_port if secure else bench.port, secure))
        return
    setup = set_up(candidate, job, bench)
    if why := candidate.unable(setup):
        raise UnableError(why)
    said = setup.folder / "said"
    cores = str(BALANCER_CORE) if case.cores == 1 else f"{BALANCER_CORE},{LOAD_CORE}"
    with ExitStack() as stack:
        process = stack.enter_context(
            running(candidate.command(setup), cores, candidate.cwd(), candidate.environment(setup), said)
        )
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if process.poll() is not None:
                    raise CandidateError("it ended at once")
                wait_for_port(setup.port, 0.1)
                does_its_job(setup.place, job, case.load.path, case.load.size, setup.facts["groups"])
                break
            except (CandidateError, OSError, TimeoutError, http.client.HTTPException) as error:
                if process.poll() is None and time.monotonic() < until:
                    time.sleep(0.1)
                    continue
                raise CandidateError(f"{error}; it said: {tail(said) or 'nothing'}") from None
        yield Started(candidate.name, setup.place, process.pid, setup.folder)


def set_up(candidate: Candidate, job: Job, bench: Bench) -> Setup:
    """Write its files. Raises CandidateError when there can be none."""
    folder = bench.folder / f"{candidate.name}-{time.monotonic_ns()}"
    folder.mkdir()
    targets = bench.targets(job.targets)
    half = len(targets) // 2
    secure = job.protocol == "https"
    setup = Setup(job, folder, free_port())
    setup.facts = {
        "folder": str(folder),
        "host": LOCAL,
        "port": setup.port,
        "spare_port": free_port(),
        "workers": job.workers,
        "targets": targets,
        "groups": [targets[:half], targets[half:]] if job.hosts else [targets],
        "hosts": [HOST % number for number in range(job.hosts)],
        "checks": job.checks,
        "certificate": bench.certificates[job.key] if secure else None,
        "descriptors": descriptors(),
        "modules": f"load_module {Nginx.module};" if Nginx.module.exists() else "",
    }
    for template, name in candidate.files(job):
        (folder / name).write_text(render(template, setup.facts))
    return setup


def does_its_job(place: Place, job: Job, path: str, size: int, groups: list[list[str]]) -> None:
    """It answers as the target would, every target gets its turn, and host rules lead to their groups. Raises
    CandidateError or OSError."""
    status, body = _ask(place, path, "bench.test")
    if status != 200 or body != size:
        raise CandidateError(f"{path} brought status {status} and {body} bytes, not 200 and {size}")
    asked = {"bench.test": groups[0]}
    if job.hosts:
        numbers = {0, min(1, job.hosts - 1), job.hosts // 2, job.hosts - 1}
        asked |= {HOST % number: groups[number % len(groups)] for number in numbers}
    for host, targets in asked.items():
        addresses = {target.rpartition(":")[0] for target in targets}
        wanted = min(len(addresses), 8)
        seen: set[str] = set()
        # Each worker goes its own round, so with several of them one may come twice before another comes once.
        for _ in range(wanted if job.workers == 1 else 8 * wanted):
            status, _ = _ask(place, "/who", host, seen)
            if status != 200:
                raise CandidateError(f"host {host}: status {status}")
        if not seen <= addresses:
            raise CandidateError(f"host {host} led to {', '.join(sorted(seen - addresses))}")
        if len(seen) < wanted:
            raise CandidateError(f"host {host}: {wanted} requests reached {len(seen)} of {len(addresses)} targets")


def _ask(place: Place, path: str, host: str, seen: set[str] | None = None) -> tuple[int, int]:
    """Status, and bytes of the body; a short body is added to `seen`."""
    if place.tls:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            place.host, place.port, timeout=5, context=ssl._create_unverified_context()
        )
    else:
        connection = http.client.HTTPConnection(place.host, place.port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse()
        count, first = 0, answer.read(1 << 20)
        data = first
        while data:
            count += len(data)
            data = answer.read(1 << 20)
        if seen is not None:
            seen.add(first.decode("latin-1"))
        return answer.status, count
    finally:
        connection.close()
