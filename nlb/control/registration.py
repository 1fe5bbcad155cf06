"""One target, and one group, as control knows them: what probes and traffic said, and how a drain goes.

They keep facts; they do not act. The controller asks, and tells the planes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlb.balance.group import Group
from nlb.balance.health import Health, may_eject
from nlb.balance.target import Target
from nlb.control.certificates import target_tls_spec
from nlb.control.history import History
from nlb.model.units import format_duration

if TYPE_CHECKING:
    from nlb.control.drains import Drain
    from nlb.control.probe import Prober
    from nlb.model import config as model
    from nlb.model.address import Address
    from nlb.model.config import TargetGroup


# Seconds that new sessions wait, from the start, for the first verdict on their group; then it fails open.
FIRST_VERDICT = 1.0


class Registration:
    """A target in its group, from its registration until its last session has ended."""

    def __init__(self, target: Target, group: ManagedGroup) -> None:
        check = group.settings.health_check
        self.target = target
        self.group = group
        self.health = Health(check.rise, check.fall, check.flap_limit, check.flap_window)
        self.history = History()
        self.prober: Prober | None = None
        self.drain: Drain | None = None
        self.transitions = 0
        self.passed = 0
        self.failed = 0
        self.last_probe: dict[str, Any] | None = None
        self.leaving = False  # no longer in the config; here until its sessions have ended

    @property
    def settings(self) -> TargetGroup:
        return self.group.settings

    @property
    def label(self) -> str:
        return f"{self.target.group}/{self.target.name}"

    @property
    def names(self) -> dict[str, str]:
        """The same, as events have it for programs."""
        return {"group": self.target.group, "target": self.target.name}

    def greet(self, item: model.Target) -> None:
        """How its connections begin, by the config."""
        self.target.server_name = item.server_name
        version = self.settings.proxy_protocol_of(item)
        self.target.proxy_protocol = "" if version == "none" else version

    def tune(self) -> None:
        """The settings of the group are others now."""
        check, health = self.settings.health_check, self.health
        health.rise, health.fall = check.rise, check.fall
        health.flap_limit, health.flap_window = check.flap_limit, check.flap_window
        if not health.flap_limit:
            health.release()

    def probed(self, ok: bool, detail: str, took: float, now: float, at: float) -> bool:
        """Take in what a probe said after `took` seconds. Returns whether the health's state changed. `now` is the
        loop's clock, `at` unix seconds."""
        if ok and self.health.held_until and not self._may_be_out():
            self.health.release()  # with the first pass, so that the next one comes soon: the group is in need
        changed = self.health.observe(ok, now)
        self.history.add(at, ok, detail, took, changed)
        self.last_probe = {"ok": ok, "detail": detail, "took": round(took, 6), "at": at}
        self.passed += ok
        self.failed += not ok
        return changed

    def failed_for_traffic(self, detail: str, failures: int, now: float, at: float) -> bool:
        """As `probed`, for so many connects that failed."""
        health = self.health
        count = min(failures, health.fall)
        allowed = health.falls_after(count) and self._may_be_out()
        changed = False
        for _ in range(count):
            changed |= health.observe(False, now, allowed)
        self.history.add_traffic(at, detail, failures, changed)
        return changed

    def reason(self, detail: str) -> str:
        """Why the health is what it is: what was seen, and whether the target is held."""
        health = self.health
        if not health.held_until:
            return detail
        return f"{detail}; it flaps, so it is held out for {format_duration(health.hold)}"

    def _may_be_out(self) -> bool:
        """For anything but the failures of probes."""
        return may_eject(self.group.balance.targets, self.target, self.settings.max_ejected)

    def facts(self) -> list[Any]:
        """What a worker is told: id, admin, health, resolve, weight, slow_from."""
        target = self.target
        states = target.admin.state, target.health.state, target.resolve.state
        return [target.id, *states, target.weight, target.slow_from]

    def spec(self) -> dict[str, Any]:
        """What a new worker is told."""
        target = self.target
        address = target.address
        return {
            "id": target.id,
            "name": target.name,
            "address": [address.host, address.port, address.path],
            "weight": target.weight,
            "backup": target.backup,
            "max_connections": target.max_connections,
            "slow_from": target.slow_from,
            "server_name": target.server_name,
            "proxy_protocol": target.proxy_protocol,
            "admin": target.admin.state,
            "health": target.health.state,
            "resolve": target.resolve.state,
        }


class ManagedGroup:
    """A group: what the config says of it, who is in it, and whom its policy chooses among."""

    def __init__(self, number: int, settings: TargetGroup) -> None:
        self.number = number
        self.settings = settings
        self.members: dict[tuple[str, Address], Registration] = {}
        self.leaving = 0  # targets that are members no more and have sessions yet
        self.balance = Group(settings.name, settings.policy, [])
        self.table = b""
        self.said_fail_open = False

    @property
    def name(self) -> str:
        return self.settings.name

    def compose(self) -> None:
        """Targets were added or removed, or the policy is another: choose among those who are here now."""
        targets = [member.target for member in self.members.values()]
        settings = self.settings
        self.balance = Group(settings.name, settings.policy, targets, settings.hash_key, settings.slow_start)

    def spec(self) -> dict[str, Any]:
        """What a worker is told; `table` is for the plane to fill in."""
        settings = self.settings
        return {
            "number": self.number,
            "name": settings.name,
            "policy": settings.policy,
            "hash_key": settings.hash_key,
            "max_load": settings.max_load,
            "slow_start": settings.slow_start,
            "queue": settings.queue,
            "queue_timeout": settings.queue_timeout,
            "tries": settings.tries,
            "connect_timeout": settings.connect_timeout,
            "source": list(settings.source),
            "transparent": settings.transparent,
            "http": self._http() if settings.speaks_http else None,
            "tls": target_tls_spec(settings) if settings.is_encrypted else None,
            "targets": [member.spec() for member in self.members.values()],
            "table": None,
        }

    def _http(self) -> dict[str, Any]:
        """What only groups of http have; `key`, which signs the cookies of stickiness, is for the plane to fill in."""
        told = ("pool_size", "pool_timeout", "retry_budget", "response_timeout", "tunnel_timeout")
        edits = ("request_headers", "response_headers", "stickiness")
        spec = self.settings.model_dump(mode="json", include={*told, *edits})
        return {name: spec.get(name) for name in (*told, *edits)} | {"key": ""}
