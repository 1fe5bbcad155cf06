"""Groups and targets, as control tells of them. A target that is told anew is the same one: its sessions go on with it.

Tables are one memfd for all groups; a group's part of it is [offset, length].
"""

from __future__ import annotations

from random import random
from time import monotonic
from typing import Any

from nlb.balance.target import Target
from nlb.model.address import Address
from nlb.net.channel import Message, mapped
from nlb.net.loop import Loop, Owner
from nlb.observe.counters import Row
from nlb.proxy.group import WorkerGroup
from nlb.proxy.reports import Reports


class Loader:
    """All that the worker has, by their numbers."""

    def __init__(self, loop: Loop, rows: list[Row], index: int, reports: Reports, owner: Owner) -> None:
        """`index` is the worker's, and its row's."""
        self.groups: dict[int, WorkerGroup] = {}
        self.targets: dict[int, tuple[Target, WorkerGroup]] = {}
        self._loop = loop
        self._rows = rows
        self._row = rows[index]
        self._index = index
        self._reports = reports
        self._owner = owner
        self._sessions_everywhere = tuple(row.sessions for row in rows)

    def load(self, message: Message, fds: list[int]) -> None:
        """Groups that are new, or another now."""
        tables = mapped(fds[0]) if fds else None
        for spec in message["groups"]:
            group = self._load_group(spec)
            group.rebuild(_part(tables, spec["table"]))
            if group.balance.waiting:
                self._loop.call_at(monotonic() + message["wait"], group.stop_waiting, self._owner)

    def unload(self, message: Message) -> None:
        """Groups are gone from the config. Their sessions go on with the targets that they have."""
        for number in message["groups"]:
            group = self.groups.pop(number)
            self._forget_targets(group)
            group.unload()

    def mark(self, message: Message, fds: list[int]) -> None:
        """Facts about targets changed: [id, admin, health, resolve, weight, slow_from] each."""
        changed: dict[WorkerGroup, None] = {}
        for number, admin, health, resolve, weight, slow_from in message["targets"]:
            target, group = self.targets[number]
            target.admin.state, target.health.state, target.resolve.state = admin, health, resolve
            target.weight, target.slow_from = weight, slow_from
            changed[group] = None
        tables = mapped(fds[0]) if fds else None
        parts = {self.groups[number]: part for number, part in message["tables"]}
        for group in changed:
            group.rebuild(_part(tables, parts.get(group)))

    def _load_group(self, spec: dict[str, Any]) -> WorkerGroup:
        """A new group, or a known one with what is another now."""
        number = spec["number"]
        targets = [self._load_target(spec["name"], fields) for fields in spec["targets"]]
        group = self.groups.get(number)
        if group is None:
            words, everywhere = self._row.group(number), [row.group(number) for row in self._rows]
            reports = self._reports
            group = WorkerGroup(self._loop, self._owner, words, everywhere, reports.connect_failed, reports.event)
            self.groups[number] = group
        else:
            self._forget_targets(group)
        # Each worker begins its rounds elsewhere, or all would begin with the first target.
        group.load(spec, targets, self._index, random)
        for target in targets:
            self.targets[target.id] = (target, group)
        return group

    def _load_target(self, group: str, fields: dict[str, Any]) -> Target:
        """A new target, or the known one told anew: its sessions go on with it."""
        number = fields["id"]
        if number in self.targets:
            target = self.targets[number][0]
        else:
            target = Target(number, fields["name"], group, Address(*fields["address"]))
            target.words = self._row.target(number)
            target.rows = self._sessions_everywhere
        target.weight, target.slow_from = fields["weight"], fields["slow_from"]
        target.backup, target.max_connections = fields["backup"], fields["max_connections"]
        target.server_name, target.proxy_protocol = fields["server_name"], fields["proxy_protocol"]
        target.admin.state, target.health.state = fields["admin"], fields["health"]
        target.resolve.state = fields["resolve"]
        return target

    def _forget_targets(self, group: WorkerGroup) -> None:
        for target in group.balance.targets:
            del self.targets[target.id]


def _part(tables: memoryview | None, part: list[int] | None) -> memoryview | None:
    if tables is None or part is None:
        return None
    offset, length = part
    return tables[offset : offset + length]
