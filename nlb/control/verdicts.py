"""What probes and traffic see of targets, and what it makes of their health. Nobody else sets a target's health."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import time

from nlb.control.probe import Prober, Shared
from nlb.control.registration import Registration
from nlb.net.loop import Loop
from nlb.observe.log import Events

# What a failed connect of a worker is called in a target's health, as probes would say it.
_SEEN_BY_TRAFFIC = {
    "refused": "connection refused (seen by traffic)",
    "timeout": "no answer to connect (seen by traffic)",
    "unreachable": "unreachable (seen by traffic)",
    "tls": "TLS handshake failed (seen by traffic)",
    "certificate": "certificate refused (seen by traffic)",
}


class Verdicts:
    def __init__(
        self, loop: Loop, events: Events, rng: random.Random, told: Callable[[Registration, str], None]
    ) -> None:
        """`told` is called with each target whose health is another now, and what it was before."""
        self._loop = loop
        self._events = events
        self._told = told
        self._probing = Shared(loop, rng, events)

    def begin(self, registration: Registration) -> None:
        """Probe it, as its group's settings say now."""
        self.end(registration)
        check = registration.settings.health_check
        if check.protocol == "none":
            self._set_health(registration, "healthy", "not checked")
            return

        def report(ok: bool, detail: str, took: float) -> None:
            changed = registration.probed(ok, detail, took, self._loop.now, time())
            self._judged(registration, ok, detail, changed)

        target, health = registration.target, registration.health
        registration.prober = Prober(self._probing, target, check, health, report)
        if target.admin.state != "maint":
            registration.prober.start()

    def end(self, registration: Registration) -> None:
        if registration.prober:
            registration.prober.stop()
            registration.prober = None

    def pause(self, registration: Registration) -> None:
        """A target in maint is not probed: somebody works on it."""
        if registration.prober is None:
            return
        if registration.target.admin.state == "maint":
            registration.prober.pause()
        else:
            registration.prober.resume()

    def connect_failed(self, registration: Registration, cause: str, failures: int) -> None:
        """A worker could not connect: counts like failed probes, within `max_ejected`."""
        if registration.prober is None or registration.target.admin.state == "maint":
            return
        detail = _SEEN_BY_TRAFFIC[cause]
        changed = registration.failed_for_traffic(detail, failures, self._loop.now, time())
        self._judged(registration, False, detail, changed)
        if registration.health.changing:
            registration.prober.now()

    def end_hold(self, registration: Registration, who: str) -> None:
        """The operator knows better: the next passes count."""
        if registration.health.held_until and registration.prober:
            registration.health.release()
            text = f"{registration.label} is held out no longer, by {who}"
            self._events.say("info", "operator", text, **registration.names)
            registration.prober.now()

    def _judged(self, registration: Registration, ok: bool, detail: str, changed: bool) -> None:
        """A result was taken in, and the health is another since, or has another reason."""
        health = registration.health
        if changed:
            self._set_health(registration, health.state, registration.reason(detail))
        elif registration.target.health.state == health.state and ok == (health.state == "healthy"):
            registration.target.health.reason = registration.reason(detail)

    def _set_health(self, registration: Registration, state: str, detail: str) -> None:
        target, before = registration.target, registration.target.health.state
        registration.health.state = state
        if not target.set_health(state, detail, time()):
            return
        if before != "initial":
            registration.transitions += 1
        level = "warning" if state == "unhealthy" else "info"
        self._events.say(level, "target", f"{registration.label} is {state}: {detail}", **registration.names)
        self._told(registration, before)
