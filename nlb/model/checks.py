"""What only the whole file shows: names used twice, addresses taken twice, groups that nobody defines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from nlb.model import limits, speaking
from nlb.model.address import Address, DnsName
from nlb.model.nearest import did_you_mean
from nlb.model.rule import STEP
from nlb.model.sketch import (
    GroupSketch,
    ListenerSketch,
    Name,
    Path,
    Place,
    RuleSketch,
    Sketch,
    asked_by,
    in_front,
    sketch,
)
from nlb.model.sketch import Wrong as Wrong  # for those who look for it here

# Nobody reads a thousand names, and to find the nearest among them a thousand times takes seconds.
_SHOWN = 10
_GUESSES = 50


def whole(data: dict[str, Any]) -> list[Wrong]:
    """Every mistake of this kind in what TOML gave, whatever else is wrong in it."""
    seen = sketch(data)
    return [
        *_nothing_there(data),
        *_same_names("listener", (listener.name for listener in seen.listeners)),
        *_same_names("target_group", (group.name for group in seen.groups)),
        *_groups_nobody_defines(seen),
        *speaking.mistakes(seen),
        *_rules(seen),
        *_same_addresses(seen),
        *_same_targets(seen.groups),
        *_circles(seen),
    ]


def _nothing_there(data: dict[str, Any]) -> Iterator[Wrong]:
    unknown = data.keys() - {"listener", "target_group"}  # one that is like what is missing is told already
    if data.get("listener", []) == [] and not did_you_mean("listener", unknown):
        yield Wrong((), 'no listener, so nobody could connect; write [[listener]] and below it bind = "0.0.0.0:80"')
    if data.get("target_group", []) == [] and not did_you_mean("target_group", unknown):
        advice = 'write [[target_group]] and below it name = "web" and targets = ["10.0.0.11:3000"]'
        yield Wrong((), f"no target_group, so there is nobody to forward to; {advice}")


def _same_names(what: str, names: Iterable[Name | None]) -> Iterator[Wrong]:
    first: dict[str, Name] = {}
    for name in names:
        before = first.setdefault(name.text, name) if name else None
        if name is None or before is None or before is name:
            continue
        if name.is_default and before.is_default and not name.text.endswith(":0"):
            continue  # then they have one address too, which is told
        message = f"another {what} has the name '{name.text}' already; write a name of its own"
        yield Wrong(name.path, message, before.path)


def _groups_nobody_defines(seen: Sketch) -> Iterator[Wrong]:
    names = {group.name.text: None for group in seen.groups if group.name}
    if not names:
        return
    known = ("one of " if len(names) > 1 else "") + ", ".join(list(names)[:_SHOWN])
    known += f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    for listener in seen.listeners:
        if not listener.is_group_given and len(seen.groups) > 1:
            yield Wrong(listener.path, f"target_group is missing and there are several; write {known}")
    wrong = (asked for listener in seen.listeners for asked in asked_by(listener) if asked.text not in names)
    for count, asked in enumerate(wrong, 1):
        guess = did_you_mean(asked.text, names) if count <= _GUESSES else ""
        message = f"there is no target_group with the name '{asked.text}'; write {known}{guess}"
        yield Wrong(asked.path, message)


def _rules(seen: Sketch) -> Iterator[Wrong]:
    for listener in seen.listeners:
        yield from _same_names("rule of the listener", (rule.name for rule in listener.rules))
        yield from _same_priorities(listener.rules)
        ports = {place.address.port for place in listener.binds if not place.address.is_unix}
        for rule in listener.rules if 0 not in ports else ():  # 0 is any free one
            yield from _ports_nobody_asks(rule, ports)
    count = sum(len(listener.rules) for listener in seen.listeners)
    if count > limits.RULES:
        yield Wrong(("listener",), f"{count} rules in all are too many; there is room for {limits.RULES}")
    ways = sum(1 + sum(max(1, len(rule.groups)) for rule in listener.rules) for listener in seen.listeners)
    if count <= limits.RULES and ways > limits.ROUTES:
        yield Wrong(("listener",), f"{ways} groups of all rules are too many; there is room for {limits.ROUTES}")


def _same_priorities(rules: list[RuleSketch]) -> Iterator[Wrong]:
    for before, rule in pairwise(rules):
        if rule.priority is not None and rule.priority == before.priority:
            message = f"priority {rule.priority} is that of another rule already, so neither comes first"
            hint = f"; a rule without one has {STEP} times its place in the file"
            yield Wrong((*rule.path, "priority"), message + hint, (*before.path, "priority"))


def _ports_nobody_asks(rule: RuleSketch, ports: set[int]) -> Iterator[Wrong]:
    for port, path in rule.ports:
        if port not in ports:
            known = " or ".join(map(str, sorted(ports))) or "no port, because its listener has none"
            yield Wrong(path, f"the listener does not listen on port {port}; write {known}")


def _same_addresses(seen: Sketch) -> Iterator[Wrong]:
    """Linux lets 0.0.0.0:80 take port 80 on every IPv4 address. IPv6 sockets of ours are IPv6 only, so [::]:80 takes
    it on every IPv6 address."""
    taken: dict[tuple[bool, int, str], dict[str, tuple[Place, str]]] = {}
    for place, owner in _listened_on(seen):
        address = place.address
        if address.port == 0 and not address.is_unix:
            continue  # any free port
        hosts = taken.setdefault((address.is_v6, address.port, address.path), {})
        found = hosts.get(address.host) or hosts.get("::" if address.is_v6 else "0.0.0.0")
        if found is None and address.host in ("0.0.0.0", "::"):
            found = next(iter(hosts.values()), None)
        hosts.setdefault(address.host, (place, owner))
        if found is None:
            continue
        before, holder = found
        if before.address == address:
            message = f"{address} is taken by {holder} already; write another address or port"
        else:
            everywhere = "[::]" if address.is_v6 else "0.0.0.0"
            message = (
                f"{address} collides with {before.address} of {holder}: {everywhere} takes the port on every address; "
                "write another port"
            )
        yield Wrong(place.path, message, before.path)


def _listened_on(seen: Sketch) -> Iterator[tuple[Place, str]]:
    """Every address that the daemon would listen on, with the words for whoever wants it."""
    if seen.web:
        yield seen.web, "the status page ([admin] web)"
    if seen.socket:
        yield seen.socket, "the admin socket ([admin] socket)"
    for listener in seen.listeners:
        for place in listener.binds:
            yield place, _called(listener)


def _called(listener: ListenerSketch) -> str:
    return f"listener '{listener.name.text}'" if listener.name and not listener.name.is_default else "a listener"


def _same_targets(groups: list[GroupSketch]) -> Iterator[Wrong]:
    for group in groups:
        yield from _same_names("target of the group", (target.name for target in group.targets))
        first: dict[Address | DnsName, Path] = {}
        for target in group.targets:
            before = first.setdefault(target.address, target.path)
            if before is not target.path:
                message = f"{target.address} is in the group already; `weight` gives a target a bigger share"
                yield Wrong((*target.path, "address"), message, before)
    count = sum(len(group.targets) for group in groups)
    if count > limits.TARGETS:
        yield Wrong(("target_group",), f"{count} targets in all are too many; there is room for {limits.TARGETS}")


def _circles(seen: Sketch) -> Iterator[Wrong]:
    """Targets that are the very listener in front of them. What a name stands for is not known here."""
    places: dict[str, dict[Address, Place]] = {}
    for listener in seen.listeners:
        for asked in {asked.text for asked in in_front(listener, seen)}:
            places.setdefault(asked, {}).update({place.address: place for place in listener.binds})
    for group in seen.groups:
        binds = places.get(group.name.text, {}) if group.name else {}
        for target in group.targets if binds else ():
            if isinstance(address := target.address, DnsName):
                continue
            itself = binds.get(address) or binds.get(_everywhere(address))
            if itself and address.host not in ("0.0.0.0", "::"):  # those are no targets in any case
                message = f"{address} is where the listener of this group listens; write the server's own port"
                yield Wrong((*target.path, "address"), message, itself.path)


def _everywhere(address: Address) -> Address:
    """The bind that would take connections to this address, if it is one of this box for sure."""
    if address.host.startswith("127."):
        return Address("0.0.0.0", address.port)
    if address.host == "::1":
        return Address("::", address.port)
    return address
