"""How the facts of a snapshot are said to people: the terminal and the status page use the same words.

A piece of a snapshot goes in, a text comes out; nothing here knows where it is shown.
"""

from __future__ import annotations

from time import localtime, strftime
from typing import Any

from nlb.model.units import format_duration

# A piece of a controller's snapshot: plain JSON data.
Facts = dict[str, Any]


_DRAIN_ENDED = {"empty": "drained", "timeout": "drain time ran out"}


def fail_open(group: Facts) -> str:
    return f"FAIL-OPEN: no target of '{group['name']}' is healthy; all are used"


def unresolved(group: Facts, name: Facts) -> str:
    """Of a name for which DNS has no answer now."""
    which = f"{group['name']}/{name['name']} ({name['host']})"
    if name["addresses"]:
        return f"STALE: {which} keeps the addresses of its last answer: {name['reason']}"
    return f"NO ADDRESS: {which}: {name['reason']}"


def not_ready(snapshot: Facts) -> str:
    """Why nlb has no usable target for its listeners; empty when it is ready."""
    if snapshot["state"] == "stopping":
        return "stopping: no new connection is taken"
    if snapshot["ready"]:
        return ""
    if snapshot["state"] == "starting":
        return "starting: waiting for first verdicts"
    if not snapshot["listeners"]:
        return "no listener is configured"
    if not any(worker["state"] == "running" for worker in snapshot["workers"]):
        return "no worker is running"
    served = {listener["group"] for listener in snapshot["listeners"]}
    groups = [group for group in snapshot["groups"] if group["name"] in served]
    if waiting := [group["name"] for group in groups if group["waiting"]]:
        return f"waiting for first verdicts of group {', '.join(waiting)}"
    if empty := [group["name"] for group in groups if not group["candidates"]]:
        return f"no usable target in group {', '.join(empty)}"
    if unhealthy := [group["name"] for group in groups if group["fail_open"]]:
        return f"no healthy target in group {', '.join(unhealthy)}"
    return "not ready"


def full_name(target: Facts) -> str:
    """group/name, as commands take it."""
    return f"{target['group']}/{target['name']}"


def standing(target: Facts) -> Facts:
    """The one fact that decides about a target now: the operator's wish, else what DNS said, else its health."""
    for kind, normal in (("admin", "ready"), ("resolve", "ok")):
        fact: Facts = target[kind]
        if fact["state"] != normal:
            return fact
    health: Facts = target["health"]
    return health


def explanation(target: Facts) -> str:
    """Why a target stands where it stands: the reason of that fact, what is left of a drain, the last probe."""
    parts = [standing(target)["reason"]]
    if drain := target["drain"]:
        parts.insert(0, _DRAIN_ENDED.get(drain["ended"]) or f"{ago(drain['seconds_left'])} left")
    if target["probe"] is not None and target["probe"]["detail"] not in parts:
        parts.append(target["probe"]["detail"])
    return "; ".join(part for part in parts if part)


def weight(target: Facts) -> str:
    if target["weight"] == target["configured_weight"]:
        return str(target["weight"])
    return f"{target['weight']} (config {target['configured_weight']})"


def wish(override: Facts) -> str:
    """What an operator changed: 'drain', 'weight 5', 'added, weight 2', 'removed'."""
    what, value = override["what"], override["value"]
    if what == "admin":
        return str(value)
    if what == "added" and value != 1:
        return f"added, weight {value}"
    return f"weight {value}" if what == "weight" else str(what)


def overrides(target: Facts, now: float) -> str:
    """What operators changed about a target, who, and for how long: 'drain by ann, 25m left; weight 5 by bob'."""
    return "; ".join(f"{wish(one)} by {one['who']}{_left(one, now)}" for one in target["overrides"])


def _left(override: Facts, now: float) -> str:
    return "" if override["until"] is None else f", {ago(override['until'] - now)} left"


def sessions(row: Facts) -> str:
    """Open sessions of a listener, and of how many it may have."""
    if row["max_connections"] is None:
        return str(row["sessions"])
    return f"{row['sessions']} of {row['max_connections']}"


def usable(targets: list[Facts]) -> str:
    return f"{sum(target['usable'] for target in targets)} of {len(targets)}"


def outcomes(listeners: list[Facts], meanings: dict[str, str]) -> list[Facts]:
    """How sessions ended, most frequent first: the outcome, its count, its meaning, the count of each listener."""
    shares: dict[str, dict[str, int]] = {}
    for listener in listeners:
        for outcome, count in listener["outcomes"].items():
            shares.setdefault(outcome, {})[listener["name"]] = count
    rows = [
        {
            "outcome": outcome,
            "count": sum(by_listener.values()),
            "meaning": meanings.get(outcome, ""),
            "listeners": by_listener,
        }
        for outcome, by_listener in shares.items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["outcome"]))


def ago(seconds: float) -> str:
    """A length of time, in whole seconds."""
    return format_duration(max(0, round(seconds)))


def at(moment: float) -> str:
    """A unix time, in the time zone of this process."""
    return strftime("%Y-%m-%d %H:%M:%S", localtime(moment))


def size(count: int) -> str:
    """A number of bytes: '812 B', '1.2 GiB'."""
    amount, units = float(count), ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    if amount < 1024:
        return f"{count} B"
    while (amount := amount / 1024) >= 1024:
        units.pop(0)
    return f"{amount:.1f} {units[0]}"
