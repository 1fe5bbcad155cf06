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

from nlb.cli.series import series
from nlb.control import certificates, config_file
from nlb.errors import ConfigError
from nlb.model import doubts, places
from nlb.model.address import DnsName
from nlb.model.config import Config, HealthCheck, Listener, Target, TargetGroup
from nlb.model.health_check import TLS
from nlb.model.limits import PER_SESSION, RESERVED, max_connections
from nlb.model.phrases import printable
from nlb.model.units import format_duration
from nlb.net.tickets import resumption_works

# Targets of a group and rules of a listener that are shown; `--json` has them all.
_SHOWN = 20
_LONGEST = 300  # characters of the conditions of a rule, and of what it does


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
    warnings = [
        *doubts.warnings(config),
        *certificates.warnings(config),
        *_alone(config, box),
        *too_many(config, box),
        *not_here(config),
    ]
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
        if listener.shield.model_fields_set:
            yield f"  shield {printable(str(listener.shield), _LONGEST)}"
        yield from _rule_lines(listener)
    for group in config.groups:
        yield ""
        yield _group_line(group)
        yield from _target_lines(group.targets)
    yield ""
    if config.shield.model_fields_set:
        yield f"shield   {printable(str(config.shield), _LONGEST)}"
    raised = f" (the soft limit of {box.soft} is raised at the start)" if box.soft != box.descriptors else ""
    yield f"limits   {box.descriptors} descriptors per worker{raised}: room for {box.sessions(config)} sessions"
    yield f"metrics  up to about {series(config, workers)} series"


def _web(config: Config) -> str:
    return f"http://{config.admin.web}/ (and /metrics, /healthz, /ready)" if config.admin.web else "off"


def _listener_line(listener: Listener, default: int) -> str:
    binds = ", ".join(str(bind) for bind in listener.binds)
    limits = (listener.max_connections, listener.shield.max_connections)
    most = min((limit for limit in limits if limit), default=default)
    idle = format_duration(listener.idle_timeout)
    about = f"{listener.protocol}, at most {most} sessions, idle ones end after {idle}"
    if listener.is_encrypted:
        about += f", {_tls(listener)}"
    if listener.speaks_http:
        about += f", desync {listener.desync}"
    if listener.proxy_protocol == "accept":
        about += ", PROXY headers needed"
    if listener.speaks_http or listener.proxy_protocol == "accept":
        about += f", {_trust(listener)}"
    called = "" if listener.name == binds else f"{listener.name} on "
    return f"listener {called}{binds} -> group {listener.target_group} ({about})"


def _trust(listener: Listener) -> str:
    proxies = len(listener.trusted_proxies)
    return f"trusts the proxies in {_count(proxies, 'network')}" if proxies else "trusts no proxy"


def _tls(listener: Listener) -> str:
    clients = {"off": "", "optional": ", asks for clients' certificates", "required": ", needs clients' certificates"}
    folders = sum(item.directory is not None for item in listener.certificates)
    counts = (len(listener.certificates) - folders, "certificate"), (folders, "folder")
    shown = " and ".join(_count(number, noun) for number, noun in counts if number)
    return f"{listener.tls.policy} TLS with {shown}{clients[listener.tls.client_auth]}"


def _rule_lines(listener: Listener) -> Iterator[str]:
    """In the order in which they are tried. What fits none goes where the listener's own line says."""
    shown = listener.rules[:_SHOWN]
    width = max((len(rule.name) for rule in shown), default=0)
    for rule in shown:
        yield f"  rule {rule.name:{width}}  {printable(rule.when, _LONGEST)} -> {printable(rule.then, _LONGEST)}"
    if len(listener.rules) > _SHOWN:
        yield f"  and {len(listener.rules) - _SHOWN} more"


def _group_line(group: TargetGroup) -> str:
    policy = f"{group.policy} by {group.hash_key}" if group.policy == "maglev" else group.policy
    about = f"{_count(len(group.targets), 'target')}, {policy}, {_health(group.health_check)}"
    if group.protocol != "tcp":
        about = f"{group.protocol}, {about}"
    if group.is_encrypted:
        about += ", certificates verified" if group.target_tls.verify else ", certificates NOT verified"
    if group.proxy_protocol != "none":
        about += f", PROXY {group.proxy_protocol}"
    if group.speaks_http and group.stickiness:
        about += f", sticky by {group.stickiness}"
    return f"group {group.name}: {about}"


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


def _alone(config: Config, box: Box) -> Iterator[str]:
    """Of sessions of TLS that only the worker which began them can resume."""
    is_asked = box.workers(config) > 1 and any(listener.is_encrypted for listener in config.listeners)
    if is_asked and (why := resumption_works()):
        yield f"tls: clients that come back are known by the worker that they met only: {why}"


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
