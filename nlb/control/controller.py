"""Who decides: config, probes, traffic's failures and the operator come in; verbs to the planes go out.

A fact about a target changes in one place (`_changed`). What changed in one turn is worked out together at its end
(`_flush`): its groups are rebuilt once and one `mark` leaves.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterable, Iterator
from time import time
from typing import Any

from nlb.control.candidates import Candidates
from nlb.control.drains import Drains
from nlb.control.expand import name_behind
from nlb.control.overrides import Overrides
from nlb.control.plane import Plane
from nlb.control.registration import FIRST_VERDICT, ManagedGroup, Registration
from nlb.control.roster import Roster
from nlb.control.verdicts import Verdicts
from nlb.errors import AdminError
from nlb.model import config as model
from nlb.model.address import Address
from nlb.model.plan import GroupChange, Plan
from nlb.model.units import format_duration
from nlb.net.loop import Loop
from nlb.observe.log import Events

# Seconds within which changes are told as one: many come together, and whoever hears looks at everything.
TELL_EVERY = 0.1


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
        self._roster = roster = Roster(plane.rows, overrides)
        self.groups = roster.groups
        self.registrations = roster.registrations
        self._candidates = Candidates(loop, events, self)
        self._verdicts = Verdicts(loop, events, rng, self._health_changed)
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
            self._verdicts.begin(registration)
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
        return self._roster.members

    @property
    def target_ids(self) -> list[int]:
        """Of all targets that may have sessions."""
        return list(self.registrations)

    def sessions_of(self, registration: Registration) -> int:
        return sum([row.active_on(registration.target.id) for row in self.plane.rows])

    # --- what planes report

    def connect_failed(self, target: int, cause: str, failures: int) -> None:
        """A worker could not connect."""
        registration = self.registrations.get(target)
        if registration:
            self._verdicts.connect_failed(registration, cause, failures)

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
        return self._roster.find(name)

    def set_admin(self, target: str, state: str, reason: str, timeout: float | None, who: str) -> Registration:
        """Make a target ready, drain or maint. `timeout` is the drain's, in seconds; None takes the group's.

        Maint drains too: what is open may finish. Raises AdminError for an unknown target.
        """
        registration = self.find(target)
        if state == "ready":
            self._drains.end(registration)
            self._verdicts.end_hold(registration, who)
        else:
            self._drains.begin(registration, timeout, "drain_timeout")
        if registration.target.set_admin(state, reason, time()):
            text = f"{registration.label} {state} by {who}" + (reason and f": {reason}")
            self.events.say("info", "operator", text, **registration.names)
            self._verdicts.pause(registration)
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
        self._roster.check_room(plan)

    def add_groups(self, plan: Plan, names: Container[tuple[str, str]] = ()) -> Iterator[None]:
        """Add and change groups, one per step. Nothing in here can fail. `names` are the targets, as (group, name),
        that DNS names stand for."""
        for settings in plan.groups_added:
            group = self._add_group(settings)
            for registration in group.members.values():
                self._verdicts.begin(registration)
            self._candidates.wait_for_verdict(group)
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
            self._roster.free(group)
            yield
        self._maybe_running()
        self.changed()

    def _add_group(self, settings: model.TargetGroup) -> ManagedGroup:
        group = self._roster.add_group(settings)
        self._candidates.rebuild(group)
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
            self._roster.weigh(target, item.weight)
        for item in change.targets.added:
            registration = self._roster.register(group, item)
            registration.target.is_cold = True  # the others work already
            self._verdicts.begin(registration)
        # In the order of the file, which the policies that take turns keep.
        group.members = {(item.name, item.server): group.members[item.name, item.server] for item in settings.targets}
        check = settings.health_check
        for item, registration in zip(settings.targets, group.members.values(), strict=True):
            registration.greet(item)
            registration.tune()
            if check != change.old.health_check:
                self._verdicts.begin(registration)
        group.compose()
        self._candidates.rebuild(group)
        self._candidates.wait_for_verdict(group)
        self.plane.load([group])
        self.changed()

    def _remove(self, registration: Registration, by_dns: bool = False) -> None:
        """No longer in the config: chosen no more, gone when its last session has ended."""
        self._verdicts.end(registration)
        self._roster.leave(registration, "no longer in DNS" if by_dns else "removed from the config")
        self._dirty.pop(registration, None)
        at_once = registration.settings.on_remove == "reset" and not by_dns
        self._drains.begin(registration, 0.0 if at_once else None, "removed")

    # --- targets

    def _health_changed(self, registration: Registration, before: str) -> None:
        state = registration.target.health.state
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
            self._candidates.rebuild(group)
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
        self._candidates.wait_no_longer(self.groups.values())
        self._maybe_running()

    def _maybe_running(self) -> None:
        """Once no group waits for its first verdict, and the plane carries traffic, we run."""
        if self.state != "starting" or not self.plane.up:
            return
        if not any(group.balance.waiting for group in self.groups.values()):
            self.state = "running"
            self.changed()

    def _drained(self, registration: Registration) -> None:
        if registration.leaving:
            self._roster.gone(registration)
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
