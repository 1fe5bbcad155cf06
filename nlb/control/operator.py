"""What the operator wishes at run time: carried out at once, and remembered for the next reload, restart or worker.

A wish is on disk before it is answered. One with a time undoes itself when that has passed.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

from nlb.balance.target import READY
from nlb.control.controller import Controller
from nlb.control.expand import name_behind
from nlb.control.overrides import Override, Overrides
from nlb.control.registration import Registration
from nlb.control.reload import Reloader
from nlb.errors import AdminError, NlbError
from nlb.model.address import Address, DnsName
from nlb.model.merge import Change, merge, typed_target
from nlb.model.units import format_duration

# Seconds between looks for wishes that have expired, at most: their times are the wall clock's, which may jump.
LOOK = 60.0

Result = dict[str, Any]
Done = Callable[[Result | NlbError], None]


class Operator:
    """Called on the loop's thread. Every method may raise AdminError; then nothing was changed."""

    def __init__(self, controller: Controller, overrides: Overrides, reloader: Reloader) -> None:
        self._controller = controller
        self._overrides = overrides
        self._reloader = reloader
        self._look_again()

    def set_admin(
        self, name: str, state: str, reason: str, timeout: float | None, who: str, lasts: float | None = None
    ) -> Registration:
        """Drain, maint or ready. `timeout`: the drain's; `lasts`: after so many seconds the wish ends by itself."""
        registration = self._controller.find(name)
        if lasts is not None and state == READY:
            raise AdminError("--for is for drain and maint; ready is what they end in")
        target = registration.target
        wish = self._wish(registration, "admin", state, who, reason, lasts)
        self._overrides.set(wish)
        self._look_again()
        return self._controller.set_admin(f"{target.group}/{target.name}", state, reason, timeout, who)

    def set_weight(self, name: str, weight: int, reason: str, who: str, lasts: float | None = None) -> Registration:
        registration = self._controller.find(name)
        target = registration.target
        wish = self._wish(registration, "weight", weight, who, reason, lasts)
        self._overrides.set(wish, configured=target.configured_weight)
        self._look_again()
        return self._controller.set_weight(f"{target.group}/{target.name}", weight, reason, who)

    def add_target(
        self, group: str, typed: str, weight: int, reason: str, who: str, lasts: float | None, done: Done
    ) -> None:
        """A target that the file does not have. `done` is called when every worker knows it."""
        self._reloader.check_idle()
        settings = next((item for item in self._reloader.running.config.groups if item.name == group), None)
        if settings is None:
            names = ", ".join(item.name for item in self._reloader.running.config.groups)
            raise AdminError(f"no group is called '{group}'; there are {names}")
        try:
            target = typed_target(typed, weight, settings.port)
        except ValueError as error:
            raise AdminError(str(error)) from None
        change = Change("added", group, target)
        returning = "removed" in self._overrides.for_target(group, target.name, target.address)
        if not returning:
            merged = merge(self._reloader.running.config, [*self._overrides.changes(), change])
            for void in merged.void:
                if void.change is change:
                    raise AdminError(void.why)
        elif lasts is not None:
            raise AdminError(f"{group}/{target.name} is in the config file; adding it back cannot have an end")
        until = None if lasts is None else time() + lasts
        address = str(target.address)
        self._overrides.set(Override(group, target.name, address, "added", weight, who, time(), reason, until))
        self._say(f"{group}/{target.name} ({address}) added by {who}", reason, lasts)
        self._look_again()
        self._reloader.recompose(who, done)

    def remove_target(self, name: str, reason: str, who: str, lasts: float | None, done: Done) -> None:
        """It drains, as `on_remove` says, and is gone. `done` is called when no worker chooses it any more."""
        self._reloader.check_idle()
        group, target, address = self._to_remove(name)
        added = "added" in self._overrides.for_target(group, target, address)
        if added and lasts is not None:
            raise AdminError(f"{group}/{target} was added at run time; removing it cannot have an end")
        until = None if lasts is None else time() + lasts
        self._overrides.set(Override(group, target, str(address), "removed", None, who, time(), reason, until))
        self._say(f"{group}/{target} removed by {who}", reason, lasts)
        self._look_again()
        self._reloader.recompose(who, done)

    def _to_remove(self, name: str) -> tuple[str, str, Address | DnsName]:
        """Group, name and address: of a target, or of a DNS name with all that stand for it."""
        named = self._reloader.naming.find(name)
        labels = [item.label for item in named]
        labels += [item.label for item in self._controller.members if name in (item.target.name, item.label)]
        if named and len(labels) > 1:
            raise AdminError(f"'{name}' is in several groups; say which: {', '.join(labels)}")
        if named:
            return named[0].group, named[0].target.name, named[0].place
        target = self._controller.find(name).target
        if behind := name_behind(target.name):
            raise AdminError(
                f"{name} is there because DNS says so: drain or maint takes it out, and removing {behind} all like it"
            )
        return target.group, target.name, target.address

    def _wish(
        self, registration: Registration, what: Any, value: str | int | None, who: str, reason: str, lasts: float | None
    ) -> Override:
        target = registration.target
        until = None if lasts is None else time() + lasts
        return Override(target.group, target.name, str(target.address), what, value, who, time(), reason, until)

    def _say(self, text: str, reason: str, lasts: float | None) -> None:
        end = "" if lasts is None else f", for {format_duration(lasts)}"
        self._controller.events.say("info", "operator", text + end + (reason and f": {reason}"))

    # --- wishes that end by themselves

    def _look_again(self) -> None:
        expiry = self._overrides.next_expiry()
        if expiry is not None:
            loop = self._controller.loop
            loop.call_at(loop.now + min(LOOK, max(0.0, expiry - time())), self._expire, self)

    def _expire(self) -> None:
        members = False
        for ended in self._overrides.expire(time()):
            self._controller.events.say("info", "operator", f"{ended.label}: {ended} has ended by itself")
            if ended.what in ("added", "removed"):
                members = True
            else:
                self._undo(ended)
        if members:
            self._recompose()
        self._look_again()

    def _undo(self, ended: Override) -> None:
        try:
            registration = self._controller.find(ended.label)
        except AdminError:
            return  # the target is gone, and the wish with it
        if str(registration.target.address) != ended.address:
            return
        who = "the end of its time"
        if ended.what == "admin":
            self._controller.set_admin(ended.label, READY, "", None, who)
        else:
            self._controller.set_weight(ended.label, registration.target.configured_weight, "", who)

    def _recompose(self) -> None:
        """Add or remove what has ended; later, if a reload is under way."""
        try:
            self._reloader.recompose("the end of its time", lambda result: None)
        except AdminError:
            loop = self._controller.loop
            if self._controller.state != "stopping":
                loop.call_at(loop.now + 1, self._recompose, self)

    def crashed(self, error: Exception) -> None:
        self._controller.events.bug(error, "the operator's wishes")
