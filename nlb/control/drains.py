"""Drains: targets that take no new work, until their last session has ended or their time has run out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from nlb.model.units import format_duration
from nlb.net.loop import Loop
from nlb.observe.log import Events

if TYPE_CHECKING:
    from nlb.control.registration import Registration

# Seconds between looks at the draining targets.
TICK = 0.2


@dataclass
class Drain:
    """No new work; the old may finish until `deadline` (on the loop's clock), then it ends for `cause`."""

    began: float  # unix seconds
    started: float
    deadline: float
    cause: str  # of the sessions that are left: drain_timeout, unhealthy or removed
    ended: str = ""  # empty: all finished; timeout: time ran out


class Drains:
    """All drains under way. It looks at them every TICK; between, nothing is paid for them."""

    def __init__(
        self,
        loop: Loop,
        events: Events,
        sessions_of: Callable[[Registration], int],
        reset: Callable[[int, str], None],
        on_end: Callable[[Registration], None],
    ) -> None:
        """`reset(target id, cause)` ends what is left; `on_end` is told of every drain that has ended."""
        self._loop = loop
        self._events = events
        self._sessions_of = sessions_of
        self._reset = reset
        self._on_end = on_end
        self._under_way: dict[Registration, None] = {}

    def begin(self, registration: Registration, seconds: float | None, cause: str) -> None:
        """`seconds` None takes the group's deregistration_delay."""
        now = self._loop.now
        if not self._under_way:
            self._loop.call_at(now + TICK, self._tick, self)
        time_given = registration.settings.deregistration_delay if seconds is None else seconds
        registration.drain = Drain(time(), now, now + time_given, cause)
        self._under_way[registration] = None

    def end(self, registration: Registration) -> None:
        """The target takes new work again."""
        registration.drain = None
        self._under_way.pop(registration, None)

    def _tick(self) -> None:
        for registration in list(self._under_way):
            if self._has_ended(registration):
                del self._under_way[registration]
                self._on_end(registration)
        if self._under_way:
            self._loop.call_at(self._loop.now + TICK, self._tick, self)

    def _has_ended(self, registration: Registration) -> bool:
        drain = registration.drain
        assert drain is not None
        now, left = self._loop.now, self._sessions_of(registration)
        # The first tick is a moment after the mark: a worker may still have been choosing the target before it.
        if not left and now - drain.started >= TICK:
            drain.ended = drain.ended or "empty"
            if not registration.leaving:
                took = format_duration(now - drain.started)
                self._events.say("info", "target", f"{registration.label} drained in {took}", **registration.names)
            return True
        if now < drain.deadline or drain.ended:
            return False
        if drain.cause == "unhealthy" and registration.group.balance.fail_open:
            return False  # its health decides nothing now
        drain.ended = "timeout"
        keep = registration.settings.on_drain_timeout == "keep" and drain.cause != "removed"
        if not keep:
            self._reset(registration.target.id, drain.cause)
        fate = "kept" if keep else "reset"
        text = f"{registration.label}: drain time ran out, {left} sessions {fate}"
        self._events.say("warning", "target", text, **registration.names)
        # One that leaves is looked at until it is empty: only then is its id free.
        return not registration.leaving

    def crashed(self, error: Exception) -> None:
        self._events.bug(error, "a drain")
