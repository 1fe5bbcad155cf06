"""A target group at run time: who may be chosen. Recomputed when a target changes; a pick only asks the policy."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from nlb.balance import slow_start
from nlb.balance.policies import make
from nlb.balance.policy import Means
from nlb.balance.room import Room
from nlb.balance.target import INITIAL, Target

# How often the policy may answer with a target that is full before any other with room will do. It happens once in
# 256 times when half of the targets are full.
ATTEMPTS = 8

# Full targets that one look asks again: what a worker has time for, many times a second.
LOOKS = 512

_NO_MEANS = Means()


class Group:
    """Its targets, and the `candidates` among them.

    Candidates are the usable targets; when there is none, the usable ones among those with `backup`; when there is
    none either, the group *fails open*: all eligible ones are (those with `backup` only if there is no other).
    `waiting` holds from the start until the first verdict counts: until then callers let new sessions wait, and
    `fail_open` does not hold yet. It ends once, by a verdict or by `stop_waiting`, and never comes back.

    `pick(key, tried)`: who gets it? None when nobody who was not tried has room, or nobody is there at all;
    `is_crowded` tells these apart. `key` is `flow_key` if `needs_key`. An `attentive` group wants to `look` before
    picks, every now and then, and to be told who `left`.
    """

    __slots__ = (
        "_limits",
        "_policy",
        "_room",
        "_weights",
        "attentive",
        "candidates",
        "fail_open",
        "hash_key",
        "is_easing",
        "name",
        "needs_key",
        "pick",
        "policy",
        "slow_start",
        "targets",
        "waiting",
    )

    def __init__(
        self,
        name: str,
        policy: str,
        targets: list[Target],
        hash_key: str = "flow",
        slow_start: float = 0.0,
        means: Means = _NO_MEANS,
    ) -> None:
        """Call `rebuild` before the first pick."""
        self.name = name
        self.policy = policy
        self.targets = targets
        self.hash_key = "source_ip" if policy == "source_ip" else hash_key
        self.slow_start = slow_start
        self.candidates: tuple[Target, ...] = ()
        self.fail_open = False
        self.waiting = True
        self.is_easing = False  # does somebody start slowly? Then `rebuild` is wanted every now and then
        self._weights: Sequence[int] = ()
        self._limits: Sequence[int | None] = ()
        self._room: Room | None = None  # None: nobody has a limit
        self._policy = make(policy, means)
        self.needs_key = self._policy.needs_key
        self.attentive = self._policy.attentive
        self.pick: Callable[[bytes, tuple[Target, ...]], Target | None] = self._policy.choose

    def arrived(self, now: float) -> None:
        """Before a `rebuild`, in control: note who starts slowly. Others are told `slow_from` of each target."""
        if self.slow_start and self._policy.eases:
            slow_start.arrivals(self.targets, now, self.slow_start)

    def rebuild(self, table: bytes | memoryview | None = None, now: float = 0.0) -> bool:
        """After anything about a target changed. Returns whether candidates, or their weights, are others now.

        `table` is the `table()` of this group in the process that built it. Without one it is built here, but only
        when something changed. `now` is on the clock of `arrived`.
        """
        eligible = [target for target in self.targets if target.eligible]
        front = [target for target in eligible if not target.backup] or eligible
        usable = [target for target in front if target.usable]
        self.waiting = self.waiting and not usable and any(target.health.state == INITIAL for target in front)
        candidates = tuple(usable or [target for target in eligible if target.usable] or front)
        self.fail_open = not self.waiting and _is_failing(candidates)
        weights = self._weigh(candidates, now)
        changed = candidates != self.candidates or weights != self._weights
        if changed or table:
            self.candidates = candidates
            self._weights = weights
            self._policy.build(candidates, weights, table)
        limits = [target.max_connections for target in candidates]
        if changed or limits != self._limits:
            self._limits = limits
            self._limit()
        return changed

    def admits(self, target: Target) -> bool:
        """May somebody who wants just this target have it?"""
        may = target.usable or (self.fail_open and target.eligible)
        return may and (self._room is None or self._room.has(target))

    def stop_waiting(self) -> None:
        """The first verdict is late: go on without it, which is to fail open."""
        if self.waiting:
            self.waiting = False
            self.fail_open = _is_failing(self.candidates)

    @property
    def weights(self) -> Sequence[int]:
        """What the candidates weigh now, in the same order: by their own weights, or all by slow start's."""
        return self._weights

    def table(self) -> bytes:
        """What other processes may be handed for their `rebuild`; empty when the policy has nothing to share."""
        return self._policy.table()

    # --- while sessions come and go: only in the process that picks

    def left(self, target: Target) -> bool:
        """A session that had picked `target` is counted there no more. Returns whether that made room."""
        made_room = self._room is not None and self._room.left(target)
        self._policy.left(target)
        return made_room

    def look(self) -> None:
        """See what other workers have done in the meantime."""
        self._policy.look()
        self.look_for_room()

    def look_for_room(self) -> None:
        """See where sessions of other workers have left, or some of the places."""
        if self._room is not None:
            for target in self._room.look(LOOKS):
                self._policy.left(target)

    @property
    def is_limited(self) -> bool:
        """May a session have to wait for room?"""
        return self._room is not None

    def is_crowded(self, tried: Container[Target]) -> bool:
        """Is there a candidate that was not tried and only lacks room?"""
        return self._room is not None and self._room.lacking(tried)

    def _limit(self) -> None:
        if any(limit is not None for limit in self._limits):
            self._room = Room(self.candidates)
            self.attentive = True
            self.pick = self._pick_with_room
        else:
            self._room = None
            self.attentive = self._policy.attentive
            self.pick = self._policy.choose

    def _pick_with_room(self, key: bytes, tried: tuple[Target, ...]) -> Target | None:
        room, policy = self._room, self._policy
        assert room is not None
        if not room.free:
            return None
        passed = tried
        for _ in range(ATTEMPTS):
            target = policy.choose(key, passed)
            if target is None or room.has(target):
                return target
            policy.full(target)
            passed = (*passed, target)
        return room.any(tried)

    def _weigh(self, candidates: tuple[Target, ...], now: float) -> list[int]:
        eased = None
        if self.slow_start and self._policy.eases:
            eased = slow_start.weights(candidates, now, self.slow_start)
        self.is_easing = eased is not None
        return eased or [target.weight for target in candidates]


def _is_failing(candidates: Sequence[Target]) -> bool:
    """They are all usable, or none is."""
    return bool(candidates) and not candidates[0].usable
