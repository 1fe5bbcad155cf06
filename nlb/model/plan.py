"""What a reload does: (the config that runs, the config that shall run) -> what to add, change and remove, and the
sentence for each. Listeners and groups are the same when their names are; targets, when name and address are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from nlb.model.config import Config, Listener, Target, TargetGroup

Named = TypeVar("Named", Listener, TargetGroup)


@dataclass(frozen=True, slots=True)
class TargetsChange:
    """Inside one group. `weighed` are targets that stay, with another weight or limit, or as a backup or none."""

    added: tuple[Target, ...]
    removed: tuple[Target, ...]
    weighed: tuple[Target, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.weighed)


@dataclass(frozen=True, slots=True)
class GroupChange:
    """A group that stays. `settings`: something beside its targets is another now."""

    old: TargetGroup
    new: TargetGroup
    targets: TargetsChange
    settings: bool


@dataclass(frozen=True, slots=True)
class ListenerChange:
    """A listener that stays."""

    old: Listener
    new: Listener


@dataclass(frozen=True, slots=True)
class Plan:
    """What a reload does. `later` are the keys that only a restart changes."""

    new: Config
    listeners_added: tuple[Listener, ...]
    listeners_changed: tuple[ListenerChange, ...]
    listeners_removed: tuple[Listener, ...]
    groups_added: tuple[TargetGroup, ...]
    groups_changed: tuple[GroupChange, ...]
    groups_removed: tuple[TargetGroup, ...]
    later: tuple[str, ...]
    sentences: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.sentences)


def plan(old: Config, new: Config) -> Plan:
    """The difference, in the order in which it can be done: everything is there before it is used, and nothing is
    removed before it is no longer used."""
    listeners = _sort(old.listeners, new.listeners)
    groups = _sort(old.groups, new.groups)
    listener_changes = tuple(ListenerChange(before, after) for before, after in listeners.kept if before != after)
    group_changes = tuple(_group_change(before, after) for before, after in groups.kept if before != after)
    later = tuple(_later(old, new))
    sentences = (
        *(f"add group {group.name}: {_count(len(group.targets), 'target')}, {group.policy}" for group in groups.added),
        *(sentence for change in group_changes for sentence in _group_sentences(change)),
        *(f"open listener {item.name} on {_binds(item)} -> {item.target_group}" for item in listeners.added),
        *(
            f"listener {change.new.name}: {difference}"
            for change in listener_changes
            for difference in _differences(change.old, change.new)
        ),
        *(f"close listener {item.name} on {_binds(item)}" for item in listeners.removed),
        *(f"remove group {group.name}: {_count(len(group.targets), 'target')}" for group in groups.removed),
        *_differences(old.log, new.log, "log."),
        *_differences(old.dns, new.dns, "dns."),
        *([f"shutdown_timeout: {old.shutdown_timeout:g} -> {new.shutdown_timeout:g}"] * _differ(old, new)),
        *(f"{key} changes with the next restart" for key in later),
    )
    return Plan(
        new,
        listeners.added,
        listener_changes,
        listeners.removed,
        groups.added,
        group_changes,
        groups.removed,
        later,
        sentences,
    )


@dataclass(frozen=True, slots=True)
class _Sorted(Generic[Named]):
    added: tuple[Named, ...]
    kept: tuple[tuple[Named, Named], ...]
    removed: tuple[Named, ...]


def _sort(old: Iterable[Named], new: Iterable[Named]) -> _Sorted[Named]:
    before = {item.name: item for item in old}
    after = {item.name: item for item in new}
    return _Sorted(
        tuple(item for name, item in after.items() if name not in before),
        tuple((before[name], item) for name, item in after.items() if name in before),
        tuple(item for name, item in before.items() if name not in after),
    )


def _group_change(old: TargetGroup, new: TargetGroup) -> GroupChange:
    before = {(target.name, target.address): target for target in old.targets}
    after = {(target.name, target.address): target for target in new.targets}
    targets = TargetsChange(
        tuple(target for key, target in after.items() if key not in before),
        tuple(target for key, target in before.items() if key not in after),
        tuple(target for key, target in after.items() if key in before and target != before[key]),
    )
    return GroupChange(old, new, targets, any(_differences(old, new)))


def _group_sentences(change: GroupChange) -> Iterable[str]:
    name = change.new.name
    before = {(target.name, target.address): target for target in change.old.targets}
    for difference in _differences(change.old, change.new):
        yield f"group {name}: {difference}"
    for target in change.targets.added:
        yield f"group {name}: add target {_title(target)}, weight {target.weight}"
    for target in change.targets.weighed:
        for difference in _differences(before[target.name, target.address], target):
            key, _, values = difference.partition(" ")
            yield f"group {name}: {key} of {target.name} {values}"
    for target in change.targets.removed:
        yield f"group {name}: remove target {_title(target)}: {change.new.on_remove} its sessions"


def _differences(old: BaseModel, new: BaseModel, path: str = "") -> Iterable[str]:
    """`key: before -> after` for every key that differs; a group's targets have sentences of their own."""
    for name, field in type(old).model_fields.items():
        if name == "targets":
            continue
        before, after = getattr(old, name), getattr(new, name)
        key = path + (field.alias or name)
        if isinstance(before, BaseModel):
            yield from _differences(before, after, f"{key}.")
        elif before != after:
            yield f"{key} {_value(before)} -> {_value(after)}"


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, float):
        return format(value, "g")
    return "default" if value is None else str(value)


def _later(old: Config, new: Config) -> Iterable[str]:
    if old.workers != new.workers:
        yield "workers"
    for name in type(old.admin).model_fields:
        if getattr(old.admin, name) != getattr(new.admin, name):
            yield f"admin.{name}"


def _differ(old: Config, new: Config) -> bool:
    return old.shutdown_timeout != new.shutdown_timeout


def _binds(listener: Listener) -> str:
    return ", ".join(str(bind) for bind in listener.binds)


def _title(target: Target) -> str:
    address = str(target.address)
    return target.name if target.name == address else f"{target.name} ({address})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
