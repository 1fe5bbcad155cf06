"""The effective config: what the file says, with the targets that an operator added at run time and without those
that were removed. Where the two disagree the file wins, and what lost is named with the reason; nobody is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from nlb.model import limits
from nlb.model.address import Address, DnsName, parse_server
from nlb.model.checks import whole
from nlb.model.config import Config, Listener, Target, TargetGroup, read_target
from nlb.model.nearest import did_you_mean
from nlb.model.phrases import sentence


@dataclass(frozen=True, slots=True)
class Change:
    """A target that was added to a group or removed from it, at run time. A removed one is known by name and address;
    its weight says nothing."""

    what: Literal["added", "removed"]
    group: str
    target: Target


@dataclass(frozen=True, slots=True)
class Void:
    """A change that does not apply, and why: a sentence that refuses a new change, or explains why an old one is
    dropped. `as_wished`: because the file says the same by now."""

    change: Change
    why: str
    as_wished: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    config: Config
    void: tuple[Void, ...]


def merge(config: Config, changes: Sequence[Change]) -> Merged:
    """Groups without a change stay the same objects. Of two changes that exclude each other the first one holds."""
    if not changes:
        return Merged(config, ())
    merger = _Merger(config)
    # What is removed makes room for what is added, in whatever order they came.
    removed = [void for change in changes if change.what == "removed" for void in merger.remove(change)]
    added = [void for change in changes if change.what == "added" for void in merger.add(change)]
    return Merged(merger.config(), (*removed, *added))


def typed_target(typed: str, weight: int = 1, port: int | None = None) -> Target:
    """The target that an operator typed, as NAME=HOST:PORT or in any other form that a text in `targets` may have.

    `port` is its group's, for one without. Raises ValueError with a sentence per mistake.
    """
    return _target(read_target(typed, port), weight)


def named_target(name: str, address: str, weight: int = 1) -> Target:
    """The target with this name at this address, as texts. A name with an @ is that of an address that DNS gave for
    a name, and a DNS name without a port has SRV records. Raises ValueError as above."""
    try:
        place = parse_server(address, 0)
    except ValueError as error:
        raise ValueError(f"address: {error}") from None
    if isinstance(place, DnsName):
        return _target({"name": name, "address": place, "srv": not place.port}, weight)
    base, at, resolved = name.partition("@")
    if at and resolved not in (place.host, str(place)):
        raise ValueError(f"name: '{name}' is not the name of {address}")
    return _target({"name": base, "address": address}, weight).model_copy(update={"name": name})


def _target(table: dict[str, object], weight: int) -> Target:
    try:
        return Target.model_validate({**table, "weight": weight})
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        raise ValueError("; ".join(f"{one['loc'][0]}: {sentence(one, one['input'])}" for one in wrong)) from None


class _Merger:
    """Groups are taken apart when the first change comes to them, so that what does not change costs nothing."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._groups = {group.name: group for group in config.groups}
        self._changed: dict[str, _Targets] = {}
        self._count = config.target_count
        self._in_front: dict[str, list[Listener]] = {}
        for listener in config.listeners:
            for group in listener.groups:
                self._in_front.setdefault(group, []).append(listener)

    def config(self) -> Config:
        groups = tuple(self._rebuilt(group) for group in self._config.groups)
        return self._config.model_copy(update={"groups": groups})

    def remove(self, change: Change) -> Iterator[Void]:
        """Yields what speaks against it."""
        if change.group not in self._groups:
            yield Void(change, f"there is no group '{change.group}' any more", as_wished=True)
            return
        targets, target = self._targets(change.group), change.target
        there = targets.named.get(target.name)
        if there is None:
            yield Void(change, f"group {change.group} has no target {target.name} any more", as_wished=True)
        elif there.address != target.address:
            yield Void(change, f"{target.name} is at {there.address} now, not at {target.address}")
        else:
            targets.remove(there)
            self._count -= 1

    def add(self, change: Change) -> Iterator[Void]:
        """Yields what speaks against it."""
        if change.group not in self._groups:
            yield Void(change, f"there is no group '{change.group}'{did_you_mean(change.group, self._groups)}")
            return
        targets, target = self._targets(change.group), change.target
        if there := targets.named.get(target.name) or targets.placed.get(target.address):
            same = (there.name, there.address) == (target.name, target.address)
            yield Void(change, f"group {change.group} has {_title(there)} already", as_wished=same)
        elif self._count >= limits.TARGETS:
            yield Void(change, f"there is room for {limits.TARGETS} targets in all, and it is full")
        elif why := self._is_ourselves(change):
            yield Void(change, why)
        else:
            targets.add(target)
            self._count += 1

    def _targets(self, group: str) -> _Targets:
        if group not in self._changed:
            self._changed[group] = _Targets(self._groups[group])
        return self._changed[group]

    def _rebuilt(self, group: TargetGroup) -> TargetGroup:
        targets = self._changed.get(group.name)
        if targets is None or not targets.differ:
            return group
        return group.model_copy(update={"targets": tuple(targets.named.values())})

    def _is_ourselves(self, change: Change) -> str:
        """The checks of a file, asked about one that has only this target and the listeners in front of it."""
        group = {"name": change.group, "targets": [{"name": change.target.name, "address": change.target.address}]}
        listeners = [
            {"bind": [str(bind) for bind in listener.binds], "target_group": change.group}
            for listener in self._in_front.get(change.group, ())
        ]
        wrong = whole({"listener": listeners, "target_group": [group]})
        return next((one.message for one in wrong if one.path[:3] == ("target_group", 0, "targets")), "")


class _Targets:
    """A group's targets, by name (in the order of the config) and by address."""

    def __init__(self, group: TargetGroup) -> None:
        self.named = {target.name: target for target in group.targets}
        self.placed: dict[Address | DnsName, Target] = {target.address: target for target in group.targets}
        self.differ = False

    def add(self, target: Target) -> None:
        self.differ = True
        self.named[target.name] = self.placed[target.address] = target

    def remove(self, target: Target) -> None:
        self.differ = True
        del self.named[target.name], self.placed[target.address]


def _title(target: Target) -> str:
    address = str(target.address)
    return address if target.name == address else f"{target.name} at {address}"
