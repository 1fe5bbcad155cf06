"""Who puts load on a candidate: wrk where it can, else clients of our own. Each is a command that prints, as its last
line, what it did as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from loadtests.rig import need

SCRIPT = Path(__file__).parent / "configs" / "wrk.lua"
HOST = "h%d.bench.test"  # the names of host rules

# Seconds beyond those of the load itself, after which it is given up.
PATIENCE = 60


class LoadError(Exception):
    """The load did not run, or what it brought was not what was asked for."""


@dataclass(frozen=True)
class Place:
    """Where to connect to."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Done:
    """What a load did."""

    units: float
    seconds: float
    errors: int
    p50: float | None = None  # ms
    p99: float | None = None


class Load(Protocol):
    @property
    def path(self) -> str:
        """What is asked for, and how many bytes are the answer."""

    @property
    def size(self) -> int: ...

    def command(self, at: Place, seconds: int) -> list[str]: ...


@dataclass(frozen=True)
class Kept:
    """wrk: requests on connections that are kept, the next one as soon as the answer is there."""

    path: str = "/1k"
    size: int = 1024
    clients: int = 64
    hosts: int = 0  # to be asked for by turns
    paths: int = 0  # below `path`, by turns; no answer has the head of the one before

    def command(self, at: Place, seconds: int) -> list[str]:
        options = ["-t1", f"-c{self.clients}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
        url = f"{'https' if at.tls else 'http'}://{at}{self.path}"
        return [need("wrk"), *options, url, "--", str(self.hosts), HOST, str(self.paths)]


@dataclass(frozen=True)
class Fresh:
    """A new connection for each request; its time is from the connect to the end. wrk cannot tell this time, and does
    not make more connections a second than our own."""

    path: str = "/1k"
    size: int = 1024
    clients: int = 32

    def command(self, at: Place, seconds: int) -> list[str]:
        return _ours("fresh", at, seconds, self)


@dataclass(frozen=True)
class Bulk:
    """Downloads of one large file, over and over. Its units are MB."""

    streams: int
    path: str = "/bulk"
    size: int = 100_000_000

    def command(self, at: Place, seconds: int) -> list[str]:
        return _ours("bulk", at, seconds, self)


@dataclass(frozen=True)
class Paced:
    """Requests at a fixed rate on kept connections. Their times count from when they were due: who is late is late."""

    rate: float
    path: str = "/1k"
    size: int = 1024
    clients: int = 64

    def command(self, at: Place, seconds: int) -> list[str]:
        return _ours("paced", at, seconds, self)


@dataclass(frozen=True)
class HalfPeak:
    """Paced, at half of what the slowest candidate does of this; the rate is found when all are there."""

    peak: Kept

    @property
    def path(self) -> str:
        return self.peak.path

    @property
    def size(self) -> int:
        return self.peak.size

    def command(self, at: Place, seconds: int) -> list[str]:
        return self.peak.command(at, seconds)

    def paced(self, peaks: list[float]) -> Paced:
        return Paced(round(min(peaks) / 2, -2), self.peak.path, self.peak.size, self.peak.clients)


@dataclass(frozen=True)
class Handshakes:
    """A TLS connection for each request, one after another."""

    resume: bool
    path: str = "/1k"
    size: int = 1024

    def command(self, at: Place, seconds: int) -> list[str]:
        return _ours("handshakes", at, seconds, self)


@dataclass(frozen=True)
class Held:
    """Connections that ask once and then stay, as its own process: `Holding`."""

    count: int
    path: str = "/1k"
    size: int = 1024

    def command(self, at: Place, seconds: int) -> list[str]:
        return _ours("held", at, seconds, self)


def _ours(what: str, at: Place, seconds: int, load: Any) -> list[str]:
    order = {"what": what, "host": at.host, "port": at.port, "tls": at.tls, "seconds": seconds, **asdict(load)}
    return [sys.executable, "-m", "loadtests.peers.client", json.dumps(order)]


def run(load: Load, at: Place, seconds: int) -> Done:
    """Raises LoadError."""
    command = load.command(at, seconds)
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise LoadError(f"{Path(command[0]).name} did not end within {seconds + PATIENCE} s") from None
    if ended.returncode:
        raise LoadError((ended.stderr or ended.stdout).strip().splitlines()[-1])
    return done(ended.stdout, getattr(load, "size", 0))


def done(text: str, size: int) -> Done:
    """What its last line says. Raises LoadError when it brought fewer bytes than `size` for each unit."""
    said = json.loads(text.strip().splitlines()[-1])
    units, brought = said["units"], said.pop("bytes", None)
    if not units:
        raise LoadError("not one answer")
    if brought is not None and brought < units * size:
        raise LoadError(f"{brought} bytes for {units:g} answers of {size}")
    return Done(**said)


class Holding:
    """Connections that are there, idle, until `close` has asked each once more."""

    def __init__(self, load: Held, at: Place) -> None:
        """Returns when all have their first answer. Raises LoadError."""
        self._process = subprocess.Popen(
            load.command(at, 0), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        if not self._process.stdout.readline():
            said = self._process.communicate()[1].strip().splitlines()
            raise LoadError(said[-1] if said else "the connections could not be made")

    def close(self) -> Done:
        """Raises LoadError."""
        out, said = self._process.communicate(timeout=PATIENCE)
        if self._process.returncode:
            raise LoadError(said.strip().splitlines()[-1])
        return done(out, 0)

    def kill(self) -> None:
        """As often as one likes; does nothing once it has ended."""
        self._process.kill()
        self._process.communicate()
