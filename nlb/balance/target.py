"""One target at run time: what the operator wants, what probes saw, what DNS said. The only place that combines
those three facts into one answer: may it be chosen?
"""

from __future__ import annotations

from nlb.model.address import Address

READY, DRAIN, MAINT = ADMIN_STATES = ("ready", "drain", "maint")
INITIAL, HEALTHY, UNHEALTHY = HEALTH_STATES = ("initial", "healthy", "unhealthy")
OK, STALE, NONE = RESOLVE_STATES = ("ok", "stale", "none")


class Fact:
    """One thing known about a target: a state, why, and since when (unix seconds)."""

    __slots__ = ("reason", "since", "state")

    def __init__(self, state: str, reason: str = "", since: float = 0.0) -> None:
        self.state = state
        self.reason = reason
        self.since = since

    def set(self, state: str, reason: str, since: float) -> bool:
        """Returns whether the state changed. A new reason for the same state is noted, and `since` stays."""
        self.reason = reason
        if state == self.state:
            return False
        self.state = state
        self.since = since
        return True


class Target:
    """Equal only to itself, so it can be a key while everything about it changes.

    `weight` is what holds now, `configured_weight` what the config says. `words` is where a worker counts.
    """

    __slots__ = ("address", "admin", "configured_weight", "group", "health", "id", "name", "resolve", "weight", "words")

    def __init__(self, id: int, name: str, group: str, address: Address, weight: int = 1) -> None:
        self.id = id
        self.name = name
        self.group = group
        self.address = address
        self.weight = self.configured_weight = weight
        self.admin = Fact(READY)
        self.health = Fact(INITIAL)
        self.resolve = Fact(OK)
        self.words: memoryview | None = None

    def __repr__(self) -> str:
        return f"<Target {self.group}/{self.name} {self.address}>"

    @property
    def eligible(self) -> bool:
        """May it be chosen, whatever its health? What a group that fails open uses."""
        return self.admin.state == READY and self.weight > 0 and self.resolve.state != NONE

    @property
    def usable(self) -> bool:
        return self.health.state == HEALTHY and self.eligible

    def set_admin(self, state: str, reason: str, since: float) -> bool:
        return self.admin.set(state, reason, since)

    def set_health(self, state: str, reason: str, since: float) -> bool:
        return self.health.set(state, reason, since)

    def set_resolve(self, state: str, reason: str, since: float) -> bool:
        return self.resolve.set(state, reason, since)

    def set_weight(self, weight: int) -> bool:
        if weight == self.weight:
            return False
        self.weight = weight
        return True
