"""Whom the policy of a group chooses among, worked out when something changed. At the start clients wait a moment for
the first verdict on a group; then it fails open.
"""

from __future__ import annotations

from collections.abc import Iterable

from nlb.control.registration import FIRST_VERDICT, ManagedGroup
from nlb.net.loop import Loop, Owner
from nlb.observe.log import Events


class Candidates:
    """Those of every group, and what events say when there are none."""

    def __init__(self, loop: Loop, events: Events, owner: Owner) -> None:
        self._loop = loop
        self._events = events
        self._owner = owner

    def rebuild(self, group: ManagedGroup) -> None:
        balance = group.balance
        balance.arrived(self._loop.now)
        if balance.rebuild(now=self._loop.now):
            group.table = balance.table()
        if balance.fail_open == group.said_fail_open:
            return
        group.said_fail_open = balance.fail_open
        if balance.fail_open:
            count = len(balance.candidates)
            text = f"group {group.name} FAILS OPEN: no target is healthy, all {count} are used"
            self._events.say("error", "group", text, group=group.name)
        else:
            self._events.say("info", "group", f"group {group.name} no longer fails open", group=group.name)

    def wait_for_verdict(self, group: ManagedGroup) -> None:
        """For FIRST_VERDICT seconds, if nothing is known of it yet."""
        if group.balance.waiting:
            self._loop.call_at(self._loop.now + FIRST_VERDICT, lambda: self.wait_no_longer([group]), self._owner)

    def wait_no_longer(self, groups: Iterable[ManagedGroup]) -> None:
        for group in groups:
            if group.balance.waiting:
                group.balance.stop_waiting()
                self.rebuild(group)
