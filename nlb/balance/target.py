"""One target at run time: what the operator wants, what probes saw, what DNS said. The only place that combines
those three facts into one answer: may it be chosen?
"""

from __future__ import annotations

from collections.abc import Sequence

from nlb.model.address import Address

READY, DRAIN, MAINT = ADMIN_STATES = ("ready", "drain", "maint")
INITIAL, HEALTHY, UNHEALTHY = HEALTH_STATES = ("initial", "healthy", "unhealthy")
OK, STALE, NONE = RESOLVE_STATES = ("ok", "stale", "none")

# For each worker of the box: the sessions that it has with every target, by the target's id. Shared memory.
Rows = Sequence[Sequence[int]]


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

    `weight` is what holds now, `configured_weight` what the config says. `max_connections` None is no limit.
    `words` is where a worker counts; `rows` are the same for all targets of a process, and empty where nobody counts.
    `is_cold` and `slow_from` are slow start's, see slow_start.py. `server_name` is whom its certificate must be for,
    where the group does not say it, `proxy_protocol` the version of PROXY headers that it gets, "" for none.
    """

    __slots__ = (
        "address",
        "admin",
        "backup",
        "configured_weight",
        "group",
        "health",
        "id",
        "is_cold",
        "max_connections",
        "name",
        "proxy_protocol",
        "resolve",
        "rows",
        "server_name",
        "slow_from",
        "weight",
        "words",
    )

    def __init__(
        self,
        id: int,
        name: str,
        group: str,
        address: Address,
        weight: int = 1,
        backup: bool = False,
        max_connections: int | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.group = group
        self.address = address
        self.weight = self.configured_weight = weight
        self.backup = backup
        self.max_connections = max_connections
        self.server_name = "localhost" if address.is_unix else address.host.partition("%")[0]
        self.proxy_protocol = ""
        self.admin = Fact(READY)
        self.health = Fact(INITIAL)
        self.resolve = Fact(OK)
        self.words: memoryview | None = None
        self.rows: Rows = ()
        self.is_cold = False
        self.slow_from = 0.0

    def __repr__(self) -> str:
        return f"<Target {self.group}/{self.name} {self.address}>"

    @property
    def eligible(self) -> bool:
        """May it be chosen, whatever its health? What a group that fails open uses."""
        return self.admin.state == READY and self.weight > 0 and self.resolve.state != NONE

    @property
    def usable(self) -> bool:
        return self.health.state == HEALTHY and self.eligible

    @property
    def sessions(self) -> int:
        """Connecting or connected to it now, in all workers of the box."""
        number = self.id
        return sum([row[number] for row in self.rows])

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
