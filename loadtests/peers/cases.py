"""What is measured: a case is a job for the balancers, a load, the figure that it is about, and what nlb must reach."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from loadtests.peers.figures import Bar
from loadtests.peers.loads import Bulk, Fresh, HalfPeak, Handshakes, Held, Kept, Load


@dataclass(frozen=True)
class Job:
    """What a balancer is set up for."""

    protocol: Literal["tcp", "http", "https"]
    workers: int = 1
    targets: int = 4
    hosts: int = 0  # rules, one exact host each, that lead to two groups by turns
    key: Literal["ec", "rsa"] = "ec"  # P-256, or RSA of 2048 bits

    @property
    def checks(self) -> bool:
        """Are targets asked for their health? Not thousands of them: the checks would be what is measured."""
        return self.targets <= 1000


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    unit: str
    kind: str  # the figure that it is about: one of figures.KINDS
    job: Job
    load: Load
    bars: tuple[Bar, ...] = ()
    # nlb once more with another job, to compare it with itself: name -> job.
    also: tuple[tuple[str, Job], ...] = ()
    quick: bool = False  # part of a quick run
    note: str = ""

    @property
    def has_limit(self) -> bool:
        """Is it worth measuring without a balancer? Neither where connections only stay, nor where it would be what
        another case measures already."""
        plain = self.job in (TCP, HTTP, HTTPS, replace(HTTPS, key="rsa"))
        return plain and not isinstance(self.load, Held)

    @property
    def cores(self) -> int:
        """How many the balancer has, one for each worker."""
        return self.job.workers


TCP, HTTP, HTTPS = Job("tcp"), Job("http"), Job("https")
TWO = "two workers on two cores, which load and targets share"
NO_CHECKS = "no health checks: of 10,000 targets they would be most of the work"

# Handshakes per second of CPU must be 0.9 times HAProxy's, resumed ones 0.7 times; as CPU for each of them:
HANDSHAKES, RESUMED = 1.11, 1.43


def hosts(count: int) -> Case:
    return Case(
        f"http-hosts-{count}",
        f"HTTP requests on kept connections to {count} host{'s' * (count > 1)} by turns, a rule for each",
        "request",
        "cpu",
        replace(HTTP, hosts=count),
        Kept(hosts=count),
        (Bar("cpu", 1.05, 1.0, to="nlb-1-rule"),) if count > 1 else (),
        (("nlb-1-rule", replace(HTTP, hosts=1)),) if count > 1 else (),
    )


def targets(count: int) -> Case:
    return Case(
        f"tcp-targets-{count}",
        f"TCP connections, each for one request, to {count:,} target{'s' * (count > 1)}",
        "connection",
        "cpu",
        replace(TCP, targets=count),
        Fresh(),
        (),
        (("nlb-1-target", replace(TCP, targets=1)),) if count > 1 else (),
        note=NO_CHECKS if count > 1000 else "",
    )


def idle(protocol: Job, name: str) -> Case:
    bars = (Bar("memory", 1.0, 0.5),)
    title = f"4,000 idle {name} connections after one answer each"
    note = "memory of the balancer's own (USS) above what it had before them; CPU of the whole balancer while they idle"
    return Case(f"{protocol.protocol}-idle", title, "connection", "memory", protocol, Held(4000), bars, note=note)


CASES: tuple[Case, ...] = (
    Case(
        "tcp-messages",
        "TCP messages on 64 kept connections, an answer of 1 KiB to each",
        "message",
        "cpu",
        TCP,
        Kept(),
        (Bar("cpu", 1.25, 1.0),),
        quick=True,
    ),
    Case(
        "tcp-connections",
        "TCP connections, each for one request",
        "connection",
        "cpu",
        TCP,
        Fresh(),
        (Bar("cpu", 1.5, 1.1),),
        quick=True,
    ),
    Case(
        "tcp-bulk",
        "TCP download of 100 MB, one at a time",
        "MB",
        "throughput",
        TCP,
        Bulk(1),
        (Bar("throughput", 1.0, 1.1),),
        quick=True,
    ),
    Case(
        "tcp-bulk-4",
        "TCP downloads of 100 MB, four at a time",
        "MB",
        "throughput",
        TCP,
        Bulk(4),
        (Bar("throughput", 1.0, 1.1),),
    ),
    Case(
        "tcp-half-load",
        "TCP messages at half of what the slowest balancer can do at most",
        "message",
        "p99",
        TCP,
        HalfPeak(Kept()),
    ),
    idle(TCP, "TCP"),
    targets(1),
    targets(100),
    targets(10_000),
    Case(
        "tcp-messages-2-workers",
        "TCP messages on 64 kept connections, two workers",
        "message",
        "cpu",
        replace(TCP, workers=2),
        Kept(),
        (Bar("cpu", 1.10, 1.0, to="nlb-1-worker"),),
        (("nlb-1-worker", TCP),),
        note=TWO,
    ),
    Case(
        "tcp-share-2-workers",
        "1,000 TCP connections over two workers",
        "connection",
        "share",
        replace(TCP, workers=2),
        Held(1000),
        (Bar("share", 0.6, 0.5, to=""),),
        note="threads of one process cannot be told apart from outside",
    ),
    Case(
        "http-requests",
        "HTTP requests on 64 kept connections, an answer of 1 KiB to each",
        "request",
        "cpu",
        HTTP,
        Kept(),
        (Bar("cpu", 1.45, 1.0), Bar("cpu", 0.3, 0.2, to="caddy")),
        quick=True,
    ),
    Case(
        "http-paths",
        "HTTP requests on 64 kept connections, for 100 paths by turns: no head is that of the one before",
        "request",
        "cpu",
        HTTP,
        Kept(paths=100),
    ),
    Case(
        "http-100k",
        "HTTP requests on 16 kept connections, an answer of 100 KiB to each",
        "request",
        "cpu",
        HTTP,
        Kept("/100k", 102_400, clients=16),
    ),
    Case(
        "http-connections",
        "HTTP connections, each for one request",
        "connection",
        "cpu",
        HTTP,
        Fresh(),
        (Bar("cpu", 1.6, 1.1),),
        quick=True,
    ),
    hosts(1),
    hosts(100),
    hosts(10_000),
    Case(
        "http-half-load",
        "HTTP requests at half of what the slowest balancer can do at most",
        "request",
        "p99",
        HTTP,
        HalfPeak(Kept()),
    ),
    idle(HTTP, "HTTP"),
    Case(
        "http-requests-2-workers",
        "HTTP requests on 64 kept connections, two workers",
        "request",
        "cpu",
        replace(HTTP, workers=2),
        Kept(),
        (Bar("cpu", 1.10, 1.0, to="nlb-1-worker"),),
        (("nlb-1-worker", HTTP),),
        note=TWO,
    ),
    Case(
        "https-full",
        "HTTPS connections, each a full handshake (P-256) and one request",
        "handshake",
        "cpu",
        HTTPS,
        Handshakes(resume=False),
        (Bar("cpu", HANDSHAKES, 1.0),),
        quick=True,
    ),
    Case(
        "https-full-rsa",
        "HTTPS connections, each a full handshake (RSA-2048) and one request",
        "handshake",
        "cpu",
        replace(HTTPS, key="rsa"),
        Handshakes(resume=False),
        (Bar("cpu", HANDSHAKES, 1.0),),
    ),
    Case(
        "https-resumed",
        "HTTPS connections, each a resumed handshake and one request",
        "handshake",
        "cpu",
        HTTPS,
        Handshakes(resume=True),
        (Bar("cpu", RESUMED, 1.0),),
    ),
    Case(
        "https-requests",
        "HTTPS requests on 64 kept connections, an answer of 1 KiB to each",
        "request",
        "cpu",
        HTTPS,
        Kept(),
        quick=True,
    ),
    Case(
        "https-bulk",
        "HTTPS download of 100 MB, one at a time",
        "MB",
        "throughput",
        HTTPS,
        Bulk(1),
        (Bar("throughput", 0.8, 1.0),),
    ),
)

NAMED = {case.name: case for case in CASES}
