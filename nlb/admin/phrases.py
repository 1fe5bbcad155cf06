"""How the facts of a snapshot are said to people: the terminal and the status page use the same words.

A piece of a snapshot goes in, a text comes out; nothing here knows where it is shown.
"""

from __future__ import annotations

from time import localtime, strftime
from typing import Any

from nlb.http1.desync import CLASS_OF
from nlb.model.units import format_duration
from nlb.observe.counters import STATUSES

# A piece of a controller's snapshot: plain JSON data.
Facts = dict[str, Any]

# Endings that nobody needs to look into.
IN_ORDER = ("data/done", "request/redirect", "request/fixed_response", "request/idle")

# Classes of statuses in the order in which people read them.
CODES = (*STATUSES[1:], STATUSES[0])

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
    served = {group for listener in snapshot["listeners"] for group in listener["groups"]}
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


def days_left(certificate: Facts, now: float) -> int:
    """Whole days until it ends; below 0 when it has."""
    return int((certificate["not_after"] - now) // 86400)


def key(certificate: Facts) -> str:
    """The kind of its key, such as ECDSA 256."""
    return f"{certificate['kind'].upper()} {certificate['bits']}"


def groups(row: Facts) -> str:
    """Where a listener forwards to: 'web and 2 more'."""
    more = len(row["groups"]) - 1
    return f"{row['group']} and {more} more" if more else str(row["group"])


def per_second(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def reused(group: Facts) -> str:
    """How many of an http group's requests found an open connection: '97.8 %'."""
    hits, misses = group["pool_hits"], group["pool_misses"]
    return f"{100 * hits / (hits + misses):.1f} %" if hits + misses else "-"


def outcomes(listeners: list[Facts], meanings: dict[str, str]) -> list[Facts]:
    """How sessions and requests ended, most frequent first: how many of each, what it means, and of which listeners."""
    rows: dict[str, Facts] = {}
    for listener in listeners:
        for what, ended in (("sessions", listener["outcomes"]), ("requests", listener.get("exchanges", {}))):
            for outcome, count in ended.items():
                meaning = meanings.get(outcome, "")
                row = {"outcome": outcome, "sessions": 0, "requests": 0, "meaning": meaning, "listeners": {}}
                row = rows.setdefault(outcome, row)
                row[what] += count
                row["listeners"].setdefault(listener["name"], {"sessions": 0, "requests": 0})[what] = count
    return sorted(rows.values(), key=lambda row: (-row["sessions"] - row["requests"], row["outcome"]))


def shield(listeners: list[Facts], meanings: dict[str, str]) -> list[Facts]:
    """What shields refused, and what those in monitor mode would have, by reason, in the order of `meanings`."""
    rows = []
    for reason, meaning in meanings.items():
        refused = {listener["name"]: listener["refused"].get(reason, 0) for listener in listeners}
        monitored = {listener["name"]: listener["monitored"].get(reason, 0) for listener in listeners}
        if names := [name for name in refused if refused[name] or monitored[name]]:
            counts = {"refused": sum(refused.values()), "monitored": sum(monitored.values())}
            rows.append({"reason": reason, **counts, "listeners": names, "meaning": meaning})
    return rows


def routes(listeners: list[Facts]) -> list[Facts]:
    """What rules of http listeners did: requests by the class of the status that the client got, every class."""
    return [
        {
            "listener": listener["name"],
            "rule": route["rule"],
            "group": route["group"],
            "requests": sum(route["statuses"].values()),
            "statuses": {status: route["statuses"].get(status, 0) for status in CODES},
        }
        for listener in listeners
        for route in listener.get("routes", ())
    ]


def desync(listeners: list[Facts]) -> list[Facts]:
    """Requests that had something odd about them, most frequent first."""
    rows = [
        {"listener": listener["name"], "class": CLASS_OF[reason], "reason": reason, "count": count}
        for listener in listeners
        for reason, count in listener.get("desync", {}).items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["listener"], row["reason"]))


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
