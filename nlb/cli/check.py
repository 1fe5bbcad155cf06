"""`nlb check`: what a config would run, or everything that is wrong with it. It asks this box for its limits and
touches nothing.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from nlb.control import config_file
from nlb.errors import OUTCOMES, ConfigError
from nlb.model import doubts, places
from nlb.model.address import DnsName
from nlb.model.config import Config, HealthCheck, Listener, Target, TargetGroup
from nlb.model.health_check import TLS
from nlb.model.limits import PER_SESSION, RESERVED, max_connections
from nlb.model.units import format_duration
from nlb.observe.counters import DURATION, LAG, LATENCY

# Targets of a group that are shown; `--json` has them all.
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Box:
    """What this machine gives, and what a config makes of it. `descriptors` is the limit after the start."""

    cores: int
    soft: int
    descriptors: int
    socket: str
    state_dir: str

    def workers(self, config: Config) -> int:
        return self.cores if config.workers == "auto" else config.workers

    def sessions(self, config: Config) -> int:
        """What all workers can hold; also what a listener gets that names no limit."""
        return max_connections(self.descriptors) * self.workers(config)


@click.command()
@click.option("-c", "--config", "path", default=places.CONFIG, show_default=True, help="The config file.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")
def check(path: str, as_json: bool) -> None:
    """Check a config file and say what would run.

    Exit code 0: it is good (doubts are told as warnings). 2: it has mistakes; every one is told.
    """
    try:
        config = config_file.read(path)
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps(_mistakes(path, error), indent=2))
        else:
            click.echo(error, err=True)
        sys.exit(2)
    box = this_box()
    warnings = [*doubts.warnings(config), *too_many(config, box), *not_here(config)]
    if as_json:
        click.echo(json.dumps({"ok": True, "file": path, **_facts(config, box), "warnings": warnings}, indent=2))
        return
    click.echo("\n".join([f"{path}: good", "", *summary(config, box)]))
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def this_box() -> Box:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    socket = places.admin_sockets(os.environ, os.getuid(), tempfile.gettempdir())[0]
    state_dir = places.state_dir(os.environ, os.getuid(), str(Path.home()))
    return Box(len(os.sched_getaffinity(0)), soft, hard, socket, state_dir)


def summary(config: Config, box: Box) -> Iterator[str]:
    """Lines for people: who listens, where it goes, what it may cost."""
    workers = box.workers(config)
    why = " (one per usable core)" if config.workers == "auto" else ""
    yield f"{_count(workers, 'worker')}{why}; sessions have {format_duration(config.shutdown_timeout)} at shutdown"
    yield f"admin socket  {config.admin.socket or box.socket}"
    yield f"state         {config.admin.state_dir or box.state_dir}"
    yield f"status page   {_web(config)}"
    yield ""
    for listener in config.listeners:
        yield _listener_line(listener, box.sessions(config))
    for group in config.groups:
        yield ""
        yield _group_line(group)
        yield from _target_lines(group.targets)
    yield ""
    raised = f" (the soft limit of {box.soft} is raised at the start)" if box.soft != box.descriptors else ""
    yield f"limits   {box.descriptors} descriptors per worker{raised}: room for {box.sessions(config)} sessions"
    yield f"metrics  up to about {series(config, workers)} series"


def _web(config: Config) -> str:
    return f"http://{config.admin.web}/ (and /metrics, /healthz, /ready)" if config.admin.web else "off"


def _listener_line(listener: Listener, default: int) -> str:
    binds = ", ".join(str(bind) for bind in listener.binds)
    most = listener.max_connections or default
    idle = format_duration(listener.idle_timeout)
    about = f"{listener.protocol}, at most {most} sessions, idle ones end after {idle}"
    called = "" if listener.name == binds else f"{listener.name} on "
    return f"listener {called}{binds} -> group {listener.target_group} ({about})"


def _group_line(group: TargetGroup) -> str:
    policy = f"{group.policy} by {group.hash_key}" if group.policy == "maglev" else group.policy
    return f"group {group.name}: {_count(len(group.targets), 'target')}, {policy}, {_health(group.health_check)}"


def _health(check: HealthCheck) -> str:
    if check.protocol == "none":
        return "no health check: targets count as healthy"
    return f"health check {check.question} every {format_duration(check.interval)}"


def _target_lines(targets: tuple[Target, ...]) -> Iterator[str]:
    shown = targets[:_SHOWN]
    width = max((len(target.name) for target in shown), default=0)
    for target in shown:
        address = str(target.address)
        named = address if target.name == address else f"{target.name:{width}}  {address}"
        weight = f"  weight {target.weight}" if target.weight != 1 else ""
        looked_up = f"  looked up{' (SRV)' * target.srv}, each address is a target"
        yield f"  {named}{weight}{looked_up if isinstance(target.address, DnsName) else ''}"
    if len(targets) > _SHOWN:
        yield f"  and {len(targets) - _SHOWN} more"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def series(config: Config, workers: int) -> int:
    """Roughly how many time series a scrape of /metrics has once every kind of outcome was seen."""

    def histogram(bounds: tuple[float, ...]) -> int:
        return len(bounds) + 3  # a bucket for the rest, the sum and the count

    per_listener = 5 + len(OUTCOMES) + histogram(DURATION)
    per_group = 9 + 2 * histogram(LATENCY)
    per_target = 12
    per_worker = 8 + histogram(LAG)
    listeners, groups = len(config.listeners), len(config.groups)
    total = per_listener * listeners + per_group * groups + per_target * config.target_count + per_worker * workers
    return round(total + 10, -1)


def too_many(config: Config, box: Box) -> Iterator[str]:
    """Listeners that are promised more sessions than the descriptors are enough for."""
    room = box.sessions(config)
    for listener in config.listeners:
        wanted = listener.max_connections or 0
        if wanted > room:
            needed = RESERVED + PER_SESSION * -(-wanted // box.workers(config))
            yield (
                f"listener.{listener.name}.max_connections: {wanted} is more than the {room} sessions that "
                f"{box.descriptors} descriptors per worker allow; LimitNOFILE (ulimit -Hn) would have to be {needed}"
            )


def not_here(config: Config) -> Iterator[str]:
    """What health checks need, and this user on this box does not have. It may be on the box that runs nlb."""
    for group in config.groups:
        check, path = group.health_check, f"target_group.{group.name}.health_check"
        program, authorities = (check.command or ("",))[0], check.tls_ca or ""
        if check.protocol == "exec" and not os.access(program, os.X_OK):
            yield f"{path}.command: {program} cannot be run here; without it no target is asked"
        if check.protocol in TLS and check.tls_verify and authorities and not os.access(authorities, os.R_OK):
            yield f"{path}.tls_ca: {authorities} cannot be read here; without it no target is asked"


def _facts(config: Config, box: Box) -> dict[str, Any]:
    """The same for programs: the config with every default in its place, and what it comes to on this box."""
    workers = box.workers(config)
    return {
        "config": config.model_dump(mode="json", by_alias=True),
        "workers": workers,
        "socket": config.admin.socket or box.socket,
        "state_dir": config.admin.state_dir or box.state_dir,
        "limits": {
            "descriptors": box.descriptors,
            "sessions_per_worker": max_connections(box.descriptors),
            "sessions": box.sessions(config),
            "series": series(config, workers),
        },
    }


def _mistakes(path: str, error: ConfigError) -> dict[str, Any]:
    mistakes = [asdict(mistake) for mistake in error.mistakes]
    if not mistakes:  # there was no text to point into
        mistakes = [{"line": None, "column": None, "path": "", "message": str(error)}]
    return {"ok": False, "file": path, "errors": mistakes}
