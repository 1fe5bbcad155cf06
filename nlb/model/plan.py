"""What a reload does: (the config that runs, the config that shall run) -> what to add, change and remove, and the
sentence for each. Listeners and groups are the same when their names are; targets, when name and address are.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from nlb.model.config import Config, Listener, Target, TargetGroup
from nlb.model.network_list import NetworkFile
from nlb.model.phrases import printable
from nlb.model.rule import CONDITIONS, Rule
from nlb.model.shield import Shield

# Of what has sentences of its own.
_TOLD_ELSEWHERE = ("targets", "rules", "shield")

# Items of a list and characters of a value in a sentence.
_SHOWN = 10
_LONGEST = 200

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
        *(f"open listener {item.name} on {_binds(item)} -> {_goals(item)}" for item in listeners.added),
        *(
            f"listener {change.new.name}: {difference}"
            for change in listener_changes
            for difference in _listener_differences(change.old, change.new)
        ),
        *(f"close listener {item.name} on {_binds(item)}" for item in listeners.removed),
        *(f"remove group {group.name}: {_count(len(group.targets), 'target')}" for group in groups.removed),
        *_differences(old.log, new.log, "log."),
        *_differences(old.dns, new.dns, "dns."),
        *_shield_differences(old.shield, new.shield),
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
    if change.old.target_tls.ca == change.new.target_tls.ca and change.old.authorities != change.new.authorities:
        yield f"group {name}: target_tls.ca: {change.new.target_tls.ca} has another content"
    for target in change.targets.added:
        yield f"group {name}: add target {_title(target)}, weight {target.weight}"
    for target in change.targets.weighed:
        for difference in _differences(before[target.name, target.address], target):
            key, _, values = difference.partition(" ")
            yield f"group {name}: {key} of {target.name} {values}"
    for target in change.targets.removed:
        yield f"group {name}: remove target {_title(target)}: {change.new.on_remove} its sessions"


def _listener_differences(old: Listener, new: Listener) -> Iterable[str]:
    """Rules are the same when their names are; the name of one that has none is its number. What a listener has from
    [shield] is told there."""
    yield from _differences(old, new)
    yield from _shield_differences(old.shield, new.shield)
    for status in sorted(old.pages.keys() & new.pages.keys()):
        if old.error_pages[status] == new.error_pages[status] and old.pages[status] != new.pages[status]:
            yield f"error_pages {status}: {new.error_pages[status]} has another content"
    before, after = {rule.name: rule for rule in old.rules}, {rule.name: rule for rule in new.rules}
    for name, rule in after.items():
        if name not in before:
            yield f"add rule {name}: {rule.when} -> {rule.then}"
        elif rule != before[name]:
            yield from (f"rule {name}: {difference}" for difference in _rule_differences(before[name], rule))
    yield from (f"remove rule {name}" for name in before if name not in after)
    order = [name for name in after if name in before]
    if order != [name for name in before if name in after]:
        yield f"rules are tried in another order: {_some(order)}"


def _shield_differences(old: Shield, new: Shield) -> Iterable[str]:
    """Of the keys that either has by itself."""
    own = old.model_fields_set | new.model_fields_set
    yield from _differences(old, new, "shield.", own)
    listed = [item for key in ("deny", "allow") if key in own for item in getattr(new, key)]
    for path in dict.fromkeys(str(item) for item in listed if isinstance(item, NetworkFile)):
        before, after = old.lists.get(path), new.lists.get(path)
        if before is not None and after is not None and before != after:
            more = after.beyond(before)
            less = len(before) - (len(after) - more)
            yield f"shield: {path} has {_count(more, 'network')} more and {less} less"


def _rule_differences(old: Rule, new: Rule) -> Iterable[str]:
    """A priority is told where somebody has written it: else it moves with every rule that comes before."""
    if old.priority != new.priority and "priority" in new.model_fields_set:
        yield f"priority {old.priority} -> {new.priority}"
    for key in CONDITIONS:
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            yield f"{key} {_change(before, after, 'any')}"
    if old.then != new.then:
        yield f"{old.then} -> {new.then}"
    elif old.fixed_response != new.fixed_response:
        yield "another body of the same length"


def _differences(old: BaseModel, new: BaseModel, path: str = "", of: Container[str] | None = None) -> Iterable[str]:
    """`key: before -> after` for every key that differs; what has sentences of its own is left out. `of` are the keys
    that are looked at, all by default."""
    for name, field in type(old).model_fields.items():
        if name in _TOLD_ELSEWHERE or (of is not None and name not in of):
            continue
        before, after = getattr(old, name), getattr(new, name)
        key = path + (field.alias or name)
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from _differences(before, after, f"{key}.")
        elif before != after:
            yield f"{key} {_change(before, after)}"


def _change(before: Any, after: Any, nothing: str = "none") -> str:
    """`before -> after`; of long lists what is added and what is removed."""
    if isinstance(before, tuple) and max(len(before), len(after)) > _SHOWN and {*before} != {*after}:
        had, has = {*before}, {*after}
        added = [f"+ {item}" for item in after if item not in had]
        removed = [f"- {item}" for item in before if item not in has]
        return _some([*added, *removed])
    return f"{_value(before) or nothing} -> {_value(after) or nothing}"


def _some(texts: list[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_value(item)}" for key, item in value.items())
    if isinstance(value, float):
        return format(value, "g")
    return "default" if value is None else printable(str(value), _LONGEST)


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


def _goals(listener: Listener) -> str:
    return _some(list(listener.groups))


def _title(target: Target) -> str:
    address = str(target.address)
    return target.name if target.name == address else f"{target.name} ({address})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
