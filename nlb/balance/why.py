"""Why a target of a group is in or out, and whom the group would choose: said of a Group as `rebuild` left it.

Who is in, is whoever is a candidate; here is only why. And what can be told of a choice is what the policy itself
chooses, or how it will.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from nlb.balance.group import Group
from nlb.balance.own import title
from nlb.balance.target import HEALTHY, INITIAL, NONE, READY, Fact, Target

IN, FULL, OUT = STANDINGS = ("in", "full", "out")

# Targets that a sentence names.
_MOST_NAMED = 5


class Standing(NamedTuple):
    """`state` is one of STANDINGS; `share` is the part of new work that its weight asks for, from 0 to 1."""

    target: Target
    state: str
    why: str
    share: float


class Choice(NamedTuple):
    """`target` is None where nobody is chosen, or where it cannot be known beforehand who; `why` says which."""

    target: Target | None
    why: str


def standings(group: Group) -> list[Standing]:
    """Of every target of the group, in order."""
    whole = sum(group.weights)
    shares = {
        target: weight / whole if whole else 0.0 for target, weight in zip(group.candidates, group.weights, strict=True)
    }
    return [
        Standing(target, FULL if _is_full(target) else IN, _why_in(group, target), shares[target])
        if target in shares
        else Standing(target, OUT, _why_out(target), 0.0)
        for target in group.targets
    ]


def _why_in(group: Group, target: Target) -> str:
    if _is_full(target):
        return f"it has {target.sessions} sessions, and its max_connections is {target.max_connections}"
    why = _health(target)
    if group.waiting:
        return f"{why}; until there is one, sessions wait"
    if group.fail_open:
        why += "; used all the same, since the group fails open"
    if target.backup:
        why += "; backup, and no other target is usable"
    return why


def _why_out(target: Target) -> str:
    if target.admin.state != READY:
        return _with_reason(target.admin, f"{target.admin.state} by the operator")
    if target.resolve.state == NONE:
        return _with_reason(target.resolve, "DNS has no address for it")
    if target.weight == 0:
        return "weight 0"
    if target.health.state != HEALTHY:
        return _health(target)
    return f"{_health(target)}; backup, for when no other target is usable"


def _health(target: Target) -> str:
    if target.health.state == INITIAL:
        return "no health verdict yet"
    return _with_reason(target.health, target.health.state)


def _with_reason(fact: Fact, said: str) -> str:
    return f"{said}: {fact.reason}" if fact.reason else said


def _is_full(target: Target) -> bool:
    return target.max_connections is not None and target.sessions >= target.max_connections


def choice(group: Group, key: bytes | None) -> Choice:
    """Whom the next session gets. `key` is its flow_key, None if nobody knows it."""
    if not group.candidates:
        return Choice(None, "nobody: every target is out")
    if group.waiting:
        return Choice(None, "it waits for the first health verdict of a target, at most a second")
    free = [target for target in group.candidates if not _is_full(target)]
    if not free:
        return Choice(None, "nobody yet: every target is full, so it waits in the group's queue")
    if len(free) == 1:
        return Choice(free[0], "the only one that is in" if len(group.candidates) == 1 else "the only one with room")
    if group.needs_key:
        return _by_key(group, key)
    return _WITHOUT_KEY.get(group.policy, _own)(group, free)


def _by_key(group: Group, key: bytes | None) -> Choice:
    by = "address" if group.hash_key == "source_ip" else "address and port"
    if key is None:
        return Choice(None, f"by the client's {by}, of which not enough is known here")
    lasting = "for now, as it has room" if group.attentive else "always this one, while the targets stay as they are"
    return Choice(group.pick(key, ()), f"by the client's {by}: {lasting}")


def _in_turns(group: Group, free: Sequence[Target]) -> Choice:
    return Choice(None, "in turns by weight; each worker is at a turn of its own")


def _fewest(group: Group, free: Sequence[Target]) -> Choice:
    weights = dict(zip(group.candidates, group.weights, strict=True))
    loads = {target: target.sessions / weights[target] for target in free}
    least = min(loads.values())
    idlest = [target for target in free if loads[target] == least]
    if len(idlest) == 1:
        return Choice(idlest[0], f"which has the fewest sessions for its weight: {idlest[0].sessions}")
    names = ", ".join(target.name for target in idlest[:_MOST_NAMED])
    more = f" and {len(idlest) - _MOST_NAMED} more" if len(idlest) > _MOST_NAMED else ""
    return Choice(None, f"whose turn it is of those with the fewest sessions for their weight: {names}{more}")


def _of_two(group: Group, free: Sequence[Target]) -> Choice:
    return Choice(None, "of two that are drawn by weight, the one with fewer sessions for its weight")


def _own(group: Group, free: Sequence[Target]) -> Choice:
    return Choice(None, f"{title(group.policy)} decides, in each worker by itself")


_WITHOUT_KEY: dict[str, Callable[[Group, Sequence[Target]], Choice]] = {
    "round_robin": _in_turns,
    "least_connections": _fewest,
    "random_two": _of_two,
}
