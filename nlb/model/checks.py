"""What only the whole file shows: names used twice, addresses taken twice, groups that nobody defines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nlb.model import limits
from nlb.model.address import Address, DnsName
from nlb.model.nearest import did_you_mean
from nlb.model.sketch import GroupSketch, ListenerSketch, Name, Path, Place, Sketch, sketch

# Nobody reads a thousand names, and to find the nearest among them a thousand times takes seconds.
_SHOWN = 10
_GUESSES = 50


@dataclass(frozen=True, slots=True)
class Wrong:
    """A mistake, the path in the data that it is about, and the path of what it collides with."""

    path: Path
    message: str
    other: Path | None = None
    at_key: bool = False  # the key is the mistake, not its value


def whole(data: dict[str, Any]) -> list[Wrong]:
    """Every mistake of this kind in what TOML gave, whatever else is wrong in it."""
    seen = sketch(data)
    return [
        *_nothing_there(data),
        *_same_names("listener", (listener.name for listener in seen.listeners)),
        *_same_names("target_group", (group.name for group in seen.groups)),
        *_groups_nobody_defines(seen),
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
    guesses = 0
    for listener in seen.listeners:
        if not listener.is_group_given and len(seen.groups) > 1:
            yield Wrong(listener.path, f"target_group is missing and there are several; write {known}")
        elif listener.group is not None and listener.group not in names:
            guesses += 1
            guess = did_you_mean(listener.group, names) if guesses <= _GUESSES else ""
            message = f"there is no target_group with the name '{listener.group}'; write {known}{guess}"
            yield Wrong((*listener.path, "target_group"), message)


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
    only = seen.groups[0].name if len(seen.groups) == 1 else None
    in_front: dict[str, dict[Address, Place]] = {}
    for listener in seen.listeners:
        name = listener.group if listener.is_group_given else (only.text if only else None)
        if name is not None:
            in_front.setdefault(name, {}).update({place.address: place for place in listener.binds})
    for group in seen.groups:
        binds = in_front.get(group.name.text, {}) if group.name else {}
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
