"""A box of workers by hand: targets, what each worker counts of them, and policies that look at it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from nlb.balance import maglev
from nlb.balance.policy import Policy
from nlb.balance.target import Target
from nlb.model.address import Address


def make(weights: Iterable[int], workers: int = 0) -> tuple[Target, ...]:
    """Targets a, b, c, ... with ids from 1, all healthy; each of `workers` has a row of counts."""
    listed = list(weights)
    rows = tuple([0] * (len(listed) + 1) for _ in range(workers))
    targets = tuple(
        Target(number + 1, chr(ord("a") + number), "web", Address("10.0.0.1", 3000 + number), weight)
        for number, weight in enumerate(listed)
    )
    for target in targets:
        target.rows = rows
        target.set_health("healthy", "", 0)
    return targets


def built(policy: Policy, targets: Sequence[Target], table: bytes | memoryview | None = None) -> Policy:
    policy.build(tuple(targets), [target.weight for target in targets], table)
    return policy


def small_table(targets: Sequence[Target]) -> bytes:
    """A Maglev table that is quick to build."""
    owners = maglev.build([(target.name, target.weight) for target in targets], slots=251)
    return array("I", [targets[owner].id for owner in owners]).tobytes()


def chosen(policy: Policy, picks: int, tried: tuple[Target, ...] = ()) -> str:
    """Names, of sessions that nobody counts."""
    found = [policy.choose(b"", tried) for _ in range(picks)]
    return "".join(target.name if target else "-" for target in found)


class Worker:
    """One that counts what it does, as sessions do: after the choice, and before it says who left."""

    def __init__(self, policy: Policy, targets: Sequence[Target], number: int = 0, table: bytes = b"") -> None:
        self.policy = built(policy, targets, table)
        self.targets = tuple(targets)
        self.row = targets[0].rows[number]
        self.sessions: list[Target] = []

    def takes(self, key: bytes = b"", tried: tuple[Target, ...] = ()) -> Target:
        target = self.policy.choose(key, tried)
        assert target is not None
        self.row[target.id] += 1  # type: ignore[index]
        self.sessions.append(target)
        return target

    def serves(self, sessions: int) -> str:
        """The names of whom it takes."""
        return "".join(self.takes().name for _ in range(sessions))

    def ends(self, place: int) -> Target:
        """One of its sessions."""
        target = self.sessions.pop(place % len(self.sessions))
        self.row[target.id] -= 1  # type: ignore[index]
        self.policy.left(target)
        return target
