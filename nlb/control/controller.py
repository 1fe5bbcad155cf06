"""Who decides: config, probes, traffic's failures and the operator come in; verbs to the planes go out.

A fact about a target changes in one place (`_changed`). What changed in one turn is worked out together at its end
(`_flush`): its groups are rebuilt once and one `mark` leaves.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Container, Iterable, Iterator
from time import time
from typing import Any, Protocol

from nlb.balance.target import Target
from nlb.control.drains import Drains
from nlb.control.expand import name_behind
from nlb.control.numbers import Numbers
from nlb.control.overrides import Override, Overrides, What
from nlb.control.probe import Prober, Shared
from nlb.control.registration import FIRST_VERDICT, ManagedGroup, Registration
from nlb.errors import AdminError
from nlb.model import config as model
from nlb.model import limits
from nlb.model.address import Address
from nlb.model.plan import GroupChange, Plan
from nlb.model.units import format_duration
from nlb.net.loop import Loop
from nlb.observe.counters import Row
from nlb.observe.log import Events

# Seconds within which changes are told as one: many come together, and whoever hears looks at everything.
TELL_EVERY = 0.1

# What a failed connect of a worker is called in a target's health, as probes would say it.
_SEEN_BY_TRAFFIC = {
    "refused": "connection refused (seen by traffic)",
    "timeout": "no answer to connect (seen by traffic)",
    "unreachable": "unreachable (seen by traffic)",
    "tls": "TLS handshake failed (seen by traffic)",
    "certificate": "certificate refused (seen by traffic)",
}


class Plane(Protocol):
    """What carries traffic, and obeys."""

    rows: list[Row]

    @property
    def up(self) -> bool:
        """Has every part of it been set up?"""

    def load(self, groups: list[ManagedGroup]) -> None: ...

    def unload(self, groups: list[ManagedGroup]) -> None: ...

    def mark(self, targets: list[list[Any]], tables: list[tuple[int, bytes]]) -> None: ...

    def reset(self, target: int, cause: str) -> None: ...

    def sessions(
        self, done: Callable[[list[dict[str, Any]]], None], limit: int, target: int | None, listener: str | None
    ) -> None: ...

    def stop(self, timeout: float) -> None: ...


class Controller:
    """One per control process. Everything is called on the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        config: model.Config,
        plane: Plane,
        events: Events,
        rng: random.Random,
        overrides: Overrides | None = None,
    ) -> None:
        """`overrides` is what the operator wished before, for targets that are registered."""
        self.loop = loop
        self.config = config
        self.plane = plane
        self.events = events
        self.state = "starting"
        self.on_change: Callable[[], None] = lambda: None
        self.groups: dict[str, ManagedGroup] = {}
        self.registrations: dict[int, Registration] = {}  # by target id; also those that are leaving
        self._probing = Shared(loop, rng, events)
        self._overrides = overrides
        self._ids = Numbers(limits.TARGETS)
        self._group_numbers = Numbers(limits.GROUPS)
        self._telling = False
        self._dirty: dict[Registration, None] = {}
        self._fallen: dict[Registration, None] = {}
        self._flush_planned = False
        self._drains = Drains(loop, events, self.sessions_of, plane.reset, self._drained)
        for settings in config.groups:
            self._add_group(settings)

    def start(self) -> None:
        """Begin to probe; `on_change` is called whenever something changed that a person would want to know."""
        for registration in self.registrations.values():
            self._begin_probing(registration)
        self.loop.call_at(self.loop.now + FIRST_VERDICT, self._first_verdict_is_late, self)

    def stop(self) -> None:
        """Stop accepting and let sessions finish; a second call ends them at once."""
        timeout = self.config.shutdown_timeout if self.state != "stopping" else 0.0
        if self.state != "stopping":
            self.state = "stopping"
            self.events.say("info", "nlb", f"stopping: sessions have {format_duration(timeout)} to finish")
            for registration in self.registrations.values():
                if registration.prober:
                    registration.prober.stop()
        self.plane.stop(timeout)
        self.on_change()

    @property
    def ready(self) -> bool:
        """Some group that a listener forwards to has a usable target; one that fails open has none."""
        wanted = {group for listener in self.config.listeners for group in listener.groups}
        groups = [group.balance for group in self.groups.values() if group.name in wanted]
        return self.state == "running" and any(target.usable for group in groups for target in group.targets)

    @property
    def members(self) -> list[Registration]:
        """Targets that are in the config, group by group."""
        return [member for group in self.groups.values() for member in group.members.values()]

    @property
    def target_ids(self) -> list[int]:
        """Of all targets that may have sessions."""
        return list(self.registrations)

    def sessions_of(self, registration: Registration) -> int:
        return sum([row.active_on(registration.target.id) for row in self.plane.rows])

    # --- what planes report

    def connect_failed(self, target: int, cause: str, failures: int) -> None:
        """A worker could not connect: counts like failed probes, within `max_ejected`."""
        registration = self.registrations.get(target)
        if registration is None or registration.prober is None or registration.target.admin.state == "maint":
            return
        detail = _SEEN_BY_TRAFFIC[cause]
        changed = registration.failed_for_traffic(detail, failures, self.loop.now, time())
        self._judged(registration, False, detail, changed)
        if registration.health.changing:
            registration.prober.now()

    def workers_changed(self) -> None:
        self._maybe_running()
        self.changed()

    # --- what DNS says

    def resolved(
        self, group: str, targets: Iterable[tuple[str, Address]], state: str, reason: str, since: float
    ) -> None:
        """A fact about those of these targets (by name and address) that are there: they stand for one name."""
        members = self.groups[group].members if group in self.groups else {}
        for place in targets:
            registration = members.get(place)
            if registration and registration.target.set_resolve(state, reason, since):
                self._changed(registration)

    # --- what the operator asks

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

    def set_admin(self, target: str, state: str, reason: str, timeout: float | None, who: str) -> Registration:
        """Make a target ready, drain or maint. `timeout` is the drain's, in seconds; None takes the group's.

        Maint drains too: what is open may finish. Raises AdminError for an unknown target.
        """
        registration = self.find(target)
        if state == "ready":
            self._drains.end(registration)
            self._end_hold(registration, who)
        else:
            self._drains.begin(registration, timeout, "drain_timeout")
        if registration.target.set_admin(state, reason, time()):
            text = f"{registration.label} {state} by {who}" + (reason and f": {reason}")
            self.events.say("info", "operator", text, **registration.names)
            self._pause_probes(registration)
            self._changed(registration)
        return registration

    def set_weight(self, target: str, weight: int, reason: str, who: str) -> Registration:
        """Change a target's share; 0 gives it no new work. Raises AdminError for an unknown target."""
        registration = self.find(target)
        old = registration.target.weight
        if registration.target.set_weight(weight):
            text = f"{registration.label} weight {old} -> {weight} by {who}"
            self.events.say("info", "operator", text + (reason and f": {reason}"), **registration.names)
            self._changed(registration)
        return registration

    def sessions(
        self,
        done: Callable[[list[dict[str, Any]]], None],
        limit: int,
        target: str | None = None,
        listener: str | None = None,
    ) -> None:
        """Give `done` a description of up to `limit` sessions. Raises AdminError for an unknown name."""
        names = [item.name for item in self.config.listeners]
        if listener is not None and listener not in names:
            raise AdminError(f"no listener is called '{listener}'; there are {', '.join(names)}")
        number = self.find(target).target.id if target is not None else None
        self.plane.sessions(done, limit, number, listener)

    # --- the config

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

    def add_groups(self, plan: Plan, names: Container[tuple[str, str]] = ()) -> Iterator[None]:
        """Add and change groups, one per step. Nothing in here can fail. `names` are the targets, as (group, name),
        that DNS names stand for."""
        for settings in plan.groups_added:
            group = self._add_group(settings)
            for registration in group.members.values():
                self._begin_probing(registration)
            self._wait_for_verdict(group)
            self.plane.load([group])
            yield
        for change in plan.groups_changed:
            self._change_group(change, names)
            yield

    def remove_groups(self, plan: Plan) -> Iterator[None]:
        """Remove groups, one per step, when no listener forwards to them any more."""
        self.config = plan.new
        for settings in plan.groups_removed:
            group = self.groups.pop(settings.name)
            for registration in list(group.members.values()):
                self._remove(registration)
            self.plane.unload([group])
            if not group.leaving:
                self._group_numbers.give_back(group.number)
            yield
        self._maybe_running()
        self.changed()

    def _add_group(self, settings: model.TargetGroup) -> ManagedGroup:
        number, used = self._group_numbers.take()
        if used:
            for row in self.plane.rows:
                row.clear_group(number)
        group = self.groups[settings.name] = ManagedGroup(number, settings)
        for item in settings.targets:
            self._register(group, item)
        group.compose()
        self._rebuild(group)
        return group

    def _change_group(self, change: GroupChange, names: Container[tuple[str, str]]) -> None:
        group, settings = self.groups[change.new.name], change.new
        group.settings = settings
        for item in change.targets.removed:
            # That DNS says an address no more is no wish of the operator that its sessions end.
            by_dns = (group.name, name_behind(item.name)) in names
            self._remove(group.members[item.name, item.server], by_dns)
        for item in change.targets.weighed:
            target = group.members[item.name, item.server].target
            target.backup, target.max_connections = item.backup, item.max_connections
            self._weigh(target, item.weight)
        for item in change.targets.added:
            registration = self._register(group, item)
            registration.target.is_cold = True  # the others work already
            self._begin_probing(registration)
        # In the order of the file, which the policies that take turns keep.
        group.members = {(item.name, item.server): group.members[item.name, item.server] for item in settings.targets}
        check = settings.health_check
        for item, registration in zip(settings.targets, group.members.values(), strict=True):
            registration.greet(item)
            registration.tune()
            if check != change.old.health_check:
                self._begin_probing(registration)
        group.compose()
        self._rebuild(group)
        self._wait_for_verdict(group)
        self.plane.load([group])
        self.changed()

    def _weigh(self, target: Target, configured: int) -> None:
        """The file's weight changed; one that the operator set at run time stays."""
        if target.weight == target.configured_weight:
            target.set_weight(configured)
        target.configured_weight = configured

    def _register(self, group: ManagedGroup, item: model.Target) -> Registration:
        number, used = self._ids.take()
        if used:
            for row in self.plane.rows:
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

    def _wishes(self, target: Target) -> dict[What, Override]:
        if self._overrides is None:
            return {}
        return self._overrides.for_target(target.group, target.name, target.address)

    def _remove(self, registration: Registration, by_dns: bool = False) -> None:
        """No longer in the config: chosen no more, gone when its last session has ended."""
        if registration.prober:
            registration.prober.stop()
            registration.prober = None
        registration.leaving = True
        registration.group.leaving += 1
        target = registration.target
        target.set_admin("drain", "no longer in DNS" if by_dns else "removed from the config", time())
        del registration.group.members[target.name, target.address]
        self._dirty.pop(registration, None)
        at_once = registration.settings.on_remove == "reset" and not by_dns
        self._drains.begin(registration, 0.0 if at_once else None, "removed")

    def _gone(self, registration: Registration) -> None:
        group = registration.group
        group.leaving -= 1
        del self.registrations[registration.target.id]
        self._ids.give_back(registration.target.id)
        if self.groups.get(group.name) is not group and not group.leaving:
            self._group_numbers.give_back(group.number)

    # --- targets

    def _begin_probing(self, registration: Registration) -> None:
        if registration.prober:
            registration.prober.stop()
            registration.prober = None
        check = registration.settings.health_check
        if check.protocol == "none":
            self._set_health(registration, "healthy", "not checked")
            return

        def report(ok: bool, detail: str, took: float) -> None:
            changed = registration.probed(ok, detail, took, self.loop.now, time())
            self._judged(registration, ok, detail, changed)

        target, health = registration.target, registration.health
        registration.prober = Prober(self._probing, target, check, health, report)
        if target.admin.state != "maint":
            registration.prober.start()

    def _pause_probes(self, registration: Registration) -> None:
        """A target in maint is not probed: somebody works on it."""
        if registration.prober is None:
            return
        if registration.target.admin.state == "maint":
            registration.prober.pause()
        else:
            registration.prober.resume()

    def _judged(self, registration: Registration, ok: bool, detail: str, changed: bool) -> None:
        """A result was taken in, and the health is another since, or has another reason."""
        health = registration.health
        if changed:
            self._set_health(registration, health.state, registration.reason(detail))
        elif registration.target.health.state == health.state and ok == (health.state == "healthy"):
            registration.target.health.reason = registration.reason(detail)

    def _end_hold(self, registration: Registration, who: str) -> None:
        """The operator knows better: the next passes count."""
        if registration.health.held_until and registration.prober:
            registration.health.release()
            text = f"{registration.label} is held out no longer, by {who}"
            self.events.say("info", "operator", text, **registration.names)
            registration.prober.now()

    def _set_health(self, registration: Registration, state: str, detail: str) -> None:
        target, before = registration.target, registration.target.health.state
        registration.health.state = state
        if not target.set_health(state, detail, time()):
            return
        if before != "initial":
            registration.transitions += 1
        level = "warning" if state == "unhealthy" else "info"
        self.events.say(level, "target", f"{registration.label} is {state}: {detail}", **registration.names)
        self._changed(registration)
        if state == "unhealthy" and before == "healthy":
            self._fallen[registration] = None
        elif state == "healthy" and registration.drain and registration.drain.cause == "unhealthy":
            self._drains.end(registration)

    def _leave_unhealthy(self, registration: Registration) -> None:
        """What becomes of the sessions of a target that has just failed. Nothing, while its group fails open."""
        mode = registration.settings.on_unhealthy
        if mode == "keep" or registration.group.balance.fail_open:
            return
        if mode == "drain":
            if registration.drain is None:  # the operator's has its own time
                self._drains.begin(registration, None, "unhealthy")
            return
        if sessions := self.sessions_of(registration):
            text = f"{registration.label}: {sessions} sessions reset, on_unhealthy"
            self.events.say("warning", "target", text, **registration.names)
        self.plane.reset(registration.target.id, "unhealthy")

    def _changed(self, registration: Registration) -> None:
        self._dirty[registration] = None
        if not self._flush_planned:
            self._flush_planned = True
            self.loop.call_at(self.loop.now, self._flush, self)

    def _rebuild(self, group: ManagedGroup) -> None:
        balance = group.balance
        balance.arrived(self.loop.now)
        if balance.rebuild(now=self.loop.now):
            group.table = balance.table()
        if balance.fail_open == group.said_fail_open:
            return
        group.said_fail_open = balance.fail_open
        if balance.fail_open:
            count = len(balance.candidates)
            text = f"group {group.name} FAILS OPEN: no target is healthy, all {count} are used"
            self.events.say("error", "group", text, group=group.name)
        else:
            self.events.say("info", "group", f"group {group.name} no longer fails open", group=group.name)

    def _flush(self) -> None:
        """Choose anew in the groups of those that changed, and tell the planes. Once a turn: a group of 10,000 takes
        15 ms, and at the start as many verdicts come at once."""
        self._flush_planned = False
        dirty, self._dirty = self._dirty, {}
        fallen, self._fallen = self._fallen, {}
        if not dirty:
            return
        groups = dict.fromkeys(registration.group for registration in dirty)
        for group in groups:
            self._rebuild(group)
        tables = [(group.number, group.table) for group in groups if group.table]
        self.plane.mark([registration.facts() for registration in dirty], tables)
        # Only now: planes must know first that it is out, or they would choose it again.
        for registration in fallen:
            if registration in dirty and registration.target.health.state == "unhealthy":
                self._leave_unhealthy(registration)
        self._maybe_running()
        self.changed()

    # --- the start

    def _first_verdict_is_late(self) -> None:
        for group in self.groups.values():
            self._wait_no_longer(group)
        self._maybe_running()

    def _wait_for_verdict(self, group: ManagedGroup) -> None:
        if group.balance.waiting:
            self.loop.call_at(self.loop.now + FIRST_VERDICT, lambda: self._wait_no_longer(group), self)

    def _wait_no_longer(self, group: ManagedGroup) -> None:
        if group.balance.waiting:
            group.balance.stop_waiting()
            self._rebuild(group)

    def _maybe_running(self) -> None:
        """Once no group waits for its first verdict, and the plane carries traffic, we run."""
        if self.state != "starting" or not self.plane.up:
            return
        if not any(group.balance.waiting for group in self.groups.values()):
            self.state = "running"
            self.changed()

    def _drained(self, registration: Registration) -> None:
        if registration.leaving:
            self._gone(registration)
        self.changed()

    # --- telling

    def changed(self) -> None:
        """Something that a person would want to know is another now: `on_change` is called soon."""
        if not self._telling:
            self._telling = True
            self.loop.call_at(self.loop.now + TELL_EVERY, self._told, self)

    def _told(self) -> None:
        self._telling = False
        self.on_change()

    def crashed(self, error: Exception) -> None:
        self.events.bug(error, "controller")
