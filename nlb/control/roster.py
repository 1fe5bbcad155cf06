"""Who is in the config: groups and targets, what operators wished for them, and the numbers that planes know them by.

A number is given to somebody else only when nobody has a session by it any more.
"""

from __future__ import annotations

import difflib
from time import time

from nlb.balance.target import Target
from nlb.control.numbers import Numbers
from nlb.control.overrides import Override, Overrides, What
from nlb.control.registration import ManagedGroup, Registration
from nlb.errors import AdminError
from nlb.model import config as model
from nlb.model import limits
from nlb.model.plan import Plan
from nlb.observe.counters import Row


class Roster:
    """It keeps them; what follows from a change is for the controller to do."""

    def __init__(self, rows: list[Row], overrides: Overrides | None = None) -> None:
        """`rows` are those of planes, to be cleared for whoever gets a number that was used."""
        self.groups: dict[str, ManagedGroup] = {}
        self.registrations: dict[int, Registration] = {}  # by target id; also those that are leaving
        self._rows = rows
        self._overrides = overrides
        self._ids = Numbers(limits.TARGETS)
        self._group_numbers = Numbers(limits.GROUPS)

    @property
    def members(self) -> list[Registration]:
        """Targets that are in the config, group by group."""
        return [member for group in self.groups.values() for member in group.members.values()]

    def find(self, name: str) -> Registration:
        """A target by its name, or by group/name where two groups have one of that name. Raises AdminError."""
        members = self.members
        found = [item for item in members if name in (item.target.name, item.label)]
        if len(found) == 1:
            return found[0]
        if found:
            labels = ", ".join(item.label for item in found)
            raise AdminError(f"'{name}' is in several groups; say which: {labels}")
        names = [item.target.name for item in members] + [item.label for item in members]
        near = difflib.get_close_matches(name, names[:4000], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`nlb ctl targets` lists them"
        raise AdminError(f"no target is called '{name}'; {hint}")

    def check_room(self, plan: Plan) -> None:
        """Raises AdminError when the plan needs more numbers than there are; nothing was changed."""
        added = sum(len(group.targets) for group in plan.groups_added)
        added += sum(len(change.targets.added) for change in plan.groups_changed)
        for what, numbers, wanted in (
            ("targets", self._ids, added),
            ("groups", self._group_numbers, len(plan.groups_added)),
        ):
            if wanted > numbers.left:
                raise AdminError(
                    f"{wanted} {what} more are too many: {numbers.left} of {numbers.capacity} places are free; "
                    "those of removed ones become free when their last session ends"
                )

    def add_group(self, settings: model.TargetGroup) -> ManagedGroup:
        """With all its targets."""
        number, used = self._group_numbers.take()
        if used:
            for row in self._rows:
                row.clear_group(number)
        group = self.groups[settings.name] = ManagedGroup(number, settings)
        for item in settings.targets:
            self.register(group, item)
        group.compose()
        return group

    def register(self, group: ManagedGroup, item: model.Target) -> Registration:
        """Another target, as the operator wished it to be."""
        number, used = self._ids.take()
        if used:
            for row in self._rows:
                row.clear_target(number)
        limits = item.backup, item.max_connections
        target = Target(number, item.name, group.name, item.server, item.weight, *limits)
        for what, wish in self._wishes(target).items():
            if what == "admin":
                target.set_admin(str(wish.value), wish.reason, wish.when)
            elif what == "weight" and isinstance(wish.value, int):
                target.set_weight(wish.value)
        registration = Registration(target, group)
        registration.greet(item)
        self.registrations[number] = group.members[item.name, item.server] = registration
        return registration

    def weigh(self, target: Target, configured: int) -> None:
        """The file's weight changed; one that the operator set at run time stays."""
        if target.weight == target.configured_weight:
            target.set_weight(configured)
        target.configured_weight = configured

    def leave(self, registration: Registration, why: str) -> None:
        """No longer in the config: it has its number until it is `gone`."""
        registration.leaving = True
        registration.group.leaving += 1
        target = registration.target
        target.set_admin("drain", why, time())
        del registration.group.members[target.name, target.address]

    def gone(self, registration: Registration) -> None:
        """Its last session has ended."""
        group = registration.group
        group.leaving -= 1
        del self.registrations[registration.target.id]
        self._ids.give_back(registration.target.id)
        if self.groups.get(group.name) is not group:
            self.free(group)

    def free(self, group: ManagedGroup) -> None:
        """The group is not in the config any more: its number is free unless targets of it are leaving yet."""
        if not group.leaving:
            self._group_numbers.give_back(group.number)

    def _wishes(self, target: Target) -> dict[What, Override]:
        if self._overrides is None:
            return {}
        return self._overrides.for_target(target.group, target.name, target.address)
