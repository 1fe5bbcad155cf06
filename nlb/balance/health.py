"""Results in, verdicts out: when is a target healthy? The only place that counts passes, failures and flips.

        first pass                    `fall` failures in a row
initial ──────────> healthy ───────────────────────────────────> unhealthy
   │                   ^                                          ^     │
   │ first failure     └── `rise` passes in a row, unless held ───│─────┘
   └──────────────────────────────────────────────────────────────┘

A target that flips too often is *held*: however well it answers, it stays unhealthy for a time that doubles with
every further failure, until it was healthy for a whole window.
"""

from __future__ import annotations

from collections.abc import Sequence

from nlb.balance.target import HEALTHY, INITIAL, UNHEALTHY, Target

# The first hold is this part of the window: 30 s of the default 5 minutes, as Envoy ejects. Each further one is twice
# as long as the last, up to the whole window.
FIRST_HOLD = 0.1


class Health:
    """One target's verdict. `passes` and `failures` are the present run of equal results; one of them is 0."""

    __slots__ = (
        "_flips",
        "_holds",
        "failures",
        "fall",
        "flap_limit",
        "flap_window",
        "held_until",
        "hold",
        "passes",
        "rise",
        "since",
        "state",
    )

    def __init__(self, rise: int, fall: int, flap_limit: int = 0, flap_window: float = 0.0) -> None:
        """`flap_limit` flips within `flap_window` seconds begin a hold; 0 never does."""
        self.rise = rise
        self.fall = fall
        self.flap_limit = flap_limit
        self.flap_window = flap_window
        self.state = INITIAL
        self.since = 0.0  # when the state began, on the clock of `observe`
        self.passes = 0
        self.failures = 0
        self.held_until = 0.0  # on the same clock; 0 is not held
        self.hold = 0.0  # seconds, of the latest hold
        self._holds = 0  # since it was last healthy for a whole window
        self._flips: tuple[float, ...] = ()  # times of the latest `flap_limit`

    @property
    def changing(self) -> bool:
        """Do the latest results speak against the state? Then it pays to ask again soon."""
        if self.state == HEALTHY:
            return self.failures > 0
        return self.passes > 0 and self.state == UNHEALTHY and not self.held_until

    def falls_after(self, failures: int) -> bool:
        """Would so many more failures take it out?"""
        return self.state == INITIAL or (self.state == HEALTHY and self.failures + failures >= self.fall)

    def observe(self, ok: bool, now: float, may_eject: bool = True) -> bool:
        """Take in one result, of a probe or of traffic. Returns whether the state changed.

        `may_eject` False: a failure counts, but is not the one that takes the target out; the next one that may
        is. That is how failures seen by traffic are bounded, see `may_eject`.
        """
        if now >= self.held_until:
            self.held_until = 0.0
        if ok:
            self.passes += 1
            self.failures = 0
            back = self.state == UNHEALTHY and self.passes >= self.rise and not self.held_until
            return (back or self.state == INITIAL) and self._become(HEALTHY, now)
        ejects = may_eject and self.falls_after(1)
        self.failures += 1
        self.passes = 0
        return ejects and self._become(UNHEALTHY, now)

    def release(self) -> None:
        """End the hold: the next pass counts as any other."""
        self.held_until = 0.0

    def flips(self, now: float) -> int:
        """How often the state changed within the last window; no more than `flap_limit` are counted."""
        return sum(now - flip <= self.flap_window for flip in self._flips)

    def _become(self, state: str, now: float) -> bool:
        if self.state != INITIAL and self.flap_limit:
            self._flips = (*self._flips, now)[-self.flap_limit :]
            if state == UNHEALTHY:
                self._fell(now)
        self.state = state
        self.since = now
        return True

    def _fell(self, now: float) -> None:
        if now - self.since >= self.flap_window:
            self._holds = 0
        if not self._holds and self.flips(now) < self.flap_limit:
            return
        self.hold = min(self.flap_window, self.flap_window * FIRST_HOLD * 2**self._holds)
        self.held_until = now + self.hold
        self._holds = min(self._holds + 1, 16)  # far past the longest hold


def may_eject(targets: Sequence[Target], target: Target, max_ejected: float) -> bool:
    """May `target` be out of its group of `targets` for anything but a probe's failures?

    That is for failures that traffic saw, and for holds. Never the last usable one, and never so that more than
    `max_ejected` percent of those that the operator wants used are unhealthy, by whomever: when most targets fail at
    once, the fault may well be on our side. Probes are not bound.
    """
    others = [other for other in targets if other is not target and other.eligible]
    unhealthy = 1 + sum(other.health.state == UNHEALTHY for other in others)
    return unhealthy * 100 <= max_ejected * (1 + len(others)) and any(other.usable for other in others)
