"""A target group at run time: who may be chosen. Recomputed when a target changes; a pick only asks the policy."""

from __future__ import annotations

from collections.abc import Container

from nlb.balance.policy import POLICIES
from nlb.balance.target import INITIAL, Target


class Group:
    """Its targets, and the `candidates` among them.

    Candidates are the usable targets; when none is usable the group *fails open*: all eligible ones are.
    `waiting` holds from the start until the first verdict counts: until then callers let new sessions wait, and
    `fail_open` does not hold yet. It ends once, by a verdict or by `stop_waiting`, and never comes back.
    """

    __slots__ = (
        "_policy",
        "_weights",
        "candidates",
        "fail_open",
        "hash_key",
        "name",
        "needs_key",
        "policy",
        "targets",
        "waiting",
    )

    def __init__(self, name: str, policy: str, targets: list[Target], hash_key: str = "flow", offset: int = 0) -> None:
        """`offset` is the worker's number: each begins its rounds elsewhere. Call `rebuild` before the first pick."""
        self.name = name
        self.policy = policy
        self.targets = targets
        self.hash_key = hash_key
        self.candidates: tuple[Target, ...] = ()
        self.fail_open = False
        self.waiting = True
        self._weights: list[int] = []
        self._policy = POLICIES[policy](offset)
        self.needs_key = self._policy.needs_key

    def rebuild(self, table: bytes | memoryview | None = None) -> bool:
        """After anything about a target changed. Returns whether candidates, or their weights, are others now.

        `table` is the `table()` of this group in the process that built it. Without one it is built here, but only
        when something changed.
        """
        eligible = [target for target in self.targets if target.eligible]
        usable = [target for target in eligible if target.usable]
        self.waiting = self.waiting and not usable and any(target.health.state == INITIAL for target in eligible)
        self.fail_open = bool(eligible) and not usable and not self.waiting
        candidates = tuple(usable or eligible)
        weights = [target.weight for target in candidates]
        changed = candidates != self.candidates or weights != self._weights
        if changed or table:
            self.candidates = candidates
            self._weights = weights
            self._policy.build(candidates, table)
        return changed

    def stop_waiting(self) -> None:
        """The first verdict is late: go on without it, which is to fail open."""
        if self.waiting:
            self.waiting = False
            self.fail_open = bool(self.candidates)

    def pick(self, key: bytes, tried: Container[Target]) -> Target | None:
        """Who gets it? None when every candidate was tried, or there is none. `key` is `flow_key` if `needs_key`."""
        return self._policy.choose(key, tried)

    def table(self) -> bytes:
        """What other processes may be handed for their `rebuild`; empty when the policy has nothing to share."""
        return self._policy.table()
