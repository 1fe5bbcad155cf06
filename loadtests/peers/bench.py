"""What all candidates of a run stand on: the targets behind them, certificates, files."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from loadtests.rig import LOAD_CORE, MissingError, free_port, need, running, wait_for_port

CONFIGS = Path(__file__).parent / "configs"
ROOT = Path(__file__).parents[2]
LOCAL = "127.0.0.1"
FEW = 4  # targets that need no network of our own
FILES = {"100k": 102_400, "bulk": 100_000_000}  # bytes

_KEYS = {"ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["-newkey", "rsa:2048"]}


class CandidateError(Exception):
    """It does not start, or does not do what it is there for."""


class Certificate(NamedTuple):
    cert: str
    key: str
    both: str  # one file


@dataclass
class Bench:
    """What all candidates of a run stand on: the targets behind them, and files."""

    folder: Path
    port: int  # of the targets
    secure_port: int
    own_network: bool
    certificates: dict[str, Certificate]
    pid: int  # of the targets
    checkout: Path = ROOT  # whose nlb is measured
    before: Path | None = None  # another one to compare it with

    def targets(self, count: int) -> list[str]:
        """Addresses of so many targets. Raises CandidateError."""
        if count <= FEW:
            return [f"127.0.0.{1 + number}:{self.port}" for number in range(count)]
        if not self.own_network:
            raise CandidateError(f"{count} targets need root: so many addresses are taken in a network of our own only")
        return [f"127.1.{number // 250}.{1 + number % 250}:{self.port}" for number in range(count)]


@contextmanager
def bench(own_network: bool, checkout: Path, before: Path | None) -> Iterator[Bench]:
    """The targets, running. Raises MissingError."""
    with tempfile.TemporaryDirectory(prefix="nlb-peers-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is somebody else
        for file, size in FILES.items():
            with (folder / file).open("wb") as content:
                content.truncate(size)
        certificates = {key: _certificate(folder, key) for key in _KEYS}
        port, secure_port = free_port(), free_port()
        hosts = ["*"] if own_network else [f"127.0.0.{1 + number}" for number in range(FEW)]
        secure = f"{LOCAL}:{secure_port}"
        facts = {
            "folder": name,
            "descriptors": descriptors(),
            "addresses": [*(f"{host}:{port}" for host in hosts), secure],
            "secure": secure,
            "certificate": certificates["ec"],
        }
        (folder / "target.conf").write_text(render("target.nginx.conf", facts))
        said = folder / "said"
        command = [need("nginx"), "-c", f"{folder}/target.conf"]
        process = stack.enter_context(running(command, LOAD_CORE, said=said))
        try:
            wait_for_port(port)
        except TimeoutError:
            raise MissingError(f"nginx, as the target, does not start: {tail(said)}") from None
        yield Bench(folder, port, secure_port, own_network, certificates, process.pid, checkout, before)


def _certificate(folder: Path, key: str) -> Certificate:
    made = Certificate(*(str(folder / f"{key}.{part}") for part in ("cert", "key", "pem")))
    names = ["-subj", "/CN=bench.test", "-addext", "subjectAltName=DNS:bench.test,DNS:*.bench.test"]
    command = [need("openssl"), "req", "-x509", "-nodes", "-days", "2", *_KEYS[key], *names]
    done = subprocess.run([*command, "-keyout", made.key, "-out", made.cert], capture_output=True, check=False)
    if done.returncode:
        raise MissingError(f"openssl makes no certificate: {done.stderr.decode().strip()}")
    Path(made.both).write_bytes(Path(made.cert).read_bytes() + Path(made.key).read_bytes())
    return made


def render(template: str, facts: dict[str, Any]) -> str:
    made = Environment(
        loader=FileSystemLoader(CONFIGS),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return made.get_template(template).render(facts)


def descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def tail(path: Path) -> str:
    """What a program said last."""
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:])


def box() -> dict[str, str]:
    """What a reader must know of where it was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"cores": f"{os.cpu_count()} of {names[0] if names else os.uname().machine}", "kernel": os.uname().release}
