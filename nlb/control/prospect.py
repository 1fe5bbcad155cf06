"""Who of a group would get a request, or a connection: every target with in or out and why, and the choice. A copy of
the group is asked, since a policy may note whom it has chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any

from nlb.balance import why
from nlb.balance.affinity import flow_key
from nlb.balance.group import Group
from nlb.balance.own import PREFIX
from nlb.balance.policy import Means
from nlb.balance.target import Rows, Target
from nlb.control.registration import ManagedGroup
from nlb.http1.facts import Request
from nlb.http1.sticky import Sticky
from nlb.model.address import Address, DnsName
from nlb.model.config import TargetGroup
from nlb.model.units import format_duration

Data = dict[str, Any]

_SOMEWHERE = Address("192.0.2.1", 80)


@dataclass(frozen=True, slots=True)
class View:
    """A group that may be asked. `key` signs its cookies, and is empty where it is not known. `names` are those in the
    place of targets, of which only a running nlb knows who they are."""

    settings: TargetGroup
    group: Group
    key: bytes = b""
    names: Mapping[Target, DnsName] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Client:
    """The address that is believed, and the port, 0 where nobody knows it."""

    host: str
    port: int


def live(managed: ManagedGroup, rows: Rows, now: float, key: bytes) -> View:
    """A running group. `rows` are the sessions that each worker has with every target, `now` is the loop's."""
    targets = [_copy(member.target, rows) for member in managed.members.values()]
    group = _group(managed.settings, targets)
    group.waiting = managed.balance.waiting
    group.rebuild(managed.table, now)
    return View(managed.settings, group, key)


def written(settings: TargetGroup) -> View:
    """A group as a file has it: everybody is healthy, and has nothing to do."""
    names: dict[Target, DnsName] = {}
    targets = []
    for number, item in enumerate(settings.targets):
        address = item.address if isinstance(item.address, Address) else _SOMEWHERE
        target = Target(number, item.name, settings.name, address, item.weight, item.backup, item.max_connections)
        target.set_health("healthy", "", 0.0)
        targets.append(target)
        if isinstance(item.address, DnsName):
            names[target] = item.address
    group = _group(settings, targets)
    group.rebuild()
    return View(settings, group, b"", names)


def _group(settings: TargetGroup, targets: list[Target]) -> Group:
    """As workers have it. A policy of the operator's own is not called up for this: who is in is no matter of it."""
    is_own = settings.policy.startswith(PREFIX)
    policy, slow_start = ("round_robin", 0.0) if is_own else (settings.policy, settings.slow_start)
    means = Means(max_load=settings.max_load)
    group = Group(settings.name, policy, targets, settings.hash_key, slow_start, means)
    group.policy = settings.policy
    return group


def _copy(target: Target, rows: Rows) -> Target:
    limits = target.backup, target.max_connections
    copy = Target(target.id, target.name, target.group, target.address, target.weight, *limits)
    copy.admin, copy.health, copy.resolve = target.admin, target.health, target.resolve
    copy.slow_from = target.slow_from
    copy.rows = rows
    return copy


def prospect(view: View, share: float, client: Client | None, request: Request | None = None) -> Data:
    """JSON data. `share` is the part of what comes that this group gets; `client` None: nothing is known of it."""
    group = view.group
    choice = _choice(view, client, request)
    return {
        "name": group.name,
        "share": share,
        "policy": group.policy,
        "hash_key": group.hash_key if group.needs_key else None,
        "fail_open": group.fail_open,
        "waiting": group.waiting,
        "notes": list(_notes(view, request)),
        "targets": [_target(view, standing) for standing in why.standings(group)],
        "choice": {"target": choice.target.name if choice.target else None, "why": choice.why},
    }


def _target(view: View, standing: why.Standing) -> Data:
    target = standing.target
    return {
        "name": target.name,
        "address": str(view.names.get(target, target.address)),
        "weight": target.weight,
        "share": standing.share,
        "sessions": target.sessions,
        "state": standing.state,
        "why": standing.why,
    }


def _choice(view: View, client: Client | None, request: Request | None) -> why.Choice:
    group = view.group
    target = _named(view, request)
    if target is not None and group.admits(target):
        return why.Choice(target, "which the client's cookie names")
    if view.names and (group.needs_key or len(group.targets) == 1):
        return why.Choice(None, "among the addresses that DNS says, which a file does not know")
    key = None
    if client is not None and (client.port or group.hash_key == "source_ip"):
        key = flow_key(client.host, client.port, group.hash_key)
    return why.choice(group, key)


def _notes(view: View, request: Request | None) -> Iterator[str]:
    """What else there is to know of the group."""
    settings = view.settings
    if view.names:
        yield f"looked up while nlb runs, each address a target of its own: {', '.join(map(str, view.names.values()))}"
    if view.group.is_easing:
        yield f"slow start: shares of targets that came back grow for {format_duration(settings.slow_start)}"
    if settings.stickiness and request:
        yield f"sticky by cookie {_sticky(view).cookie.decode()}: {_about_cookie(view, request)}"


def _about_cookie(view: View, request: Request) -> str:
    mark = _sticky(view).cookie + b"="
    if not any(mark in line for line in request.get(b"cookie")):
        return "the client has none and gets one"
    if not view.key:
        return "whether the client's holds, only the daemon knows"
    target = _named(view, request)
    if target is None:
        return "the client's does not hold: forged, expired, or of a target that is gone"
    if not view.group.admits(target):
        return f"the client's names {target.name}, which may not be used now"
    return f"the client's names {target.name}"


def _named(view: View, request: Request | None) -> Target | None:
    """The target that a cookie of the client names."""
    if not view.key or request is None or view.settings.stickiness is None:
        return None
    return _sticky(view).find(request, time())


def _sticky(view: View) -> Sticky:
    settings = view.settings.stickiness
    assert settings is not None
    targets = {f"{target.name} {target.address}": target for target in view.group.targets}
    name = settings.name or settings.cookie
    return Sticky(settings.type, name, settings.duration, view.key, view.group.name, targets)
