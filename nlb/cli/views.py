"""What an answer of the daemon looks like to people: a function per verb, from the answer to lines and tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nlb.admin import phrases
from nlb.admin.phrases import Facts, ago, size
from nlb.cli.blocks import block, blocked, ending, unblock
from nlb.cli.explained import explained
from nlb.cli.results import health
from nlb.cli.tables import Block, Cell, Column, Table, titled

TONES = {
    "ready": "good",
    "running": "good",
    "healthy": "good",
    "ok": "good",
    "starting": "warn",
    "initial": "warn",
    "drain": "warn",
    "maint": "warn",
    "stale": "warn",
    "warning": "warn",
    "stopping": "warn",
    "unhealthy": "bad",
    "none": "bad",
    "backing_off": "bad",
    "error": "bad",
}

_CERTIFICATE_TONES = {"ends_soon": "warn", "not_yet_valid": "warn", "expired": "bad"}

# Of classes of statuses: what is the target's or our fault, and clients that were not answered.
_CODE_TONES = {"5xx": "bad", "none": "warn"}


def status(data: Facts) -> list[Block]:
    now, config = data["now"], data["config"]
    why = data["not_ready"]
    word = f"not ready: {why}" if why else "ready"
    text = f"nlb {data['version']}, pid {data['pid']}, {data['state']} for {ago(now - data['started'])}, {word}"
    loaded = f"loaded {ago(now - config['loaded'])} ago ({phrases.at(config['loaded'])})"
    blocks: list[Block] = [
        Cell(text, "bad" if why else "good"),
        Cell(f"config {config['file']}, hash {config['hash']}, generation {config['generation']}, {loaded}"),
        *_refused(config),
        *_overridden(data["overrides"]),
        *fail_open(data["groups"]),
        Cell(""),
        _workers(data["workers"], now),
        *_orphans(data["orphans"], now),
        Cell(""),
        *listeners(data),
        Cell(""),
        _groups(data["groups"]),
    ]
    if data["events"]:
        blocks += [Cell(""), Cell("latest events"), *event_lines(data["events"])]
    return blocks


def targets(data: Facts) -> list[Block]:
    now = data["now"]
    table = titled(
        *("target", "group", "address", "#weight", "admin", "health", "#sessions", "#connections", "#failures"),
        *("since", "~reason, last probe"),
    )
    is_overridden = any(target["overrides"] for target in data["targets"])
    if is_overridden:
        table.columns.append(Column("by operators", prose=True))
    for target in data["targets"]:
        table.rows.append(
            (
                target["name"],
                target["group"],
                target["address"],
                phrases.weight(target),
                Cell("leaving", "warn") if target["leaving"] else state(target["admin"]["state"]),
                state(target["health"]["state"]),
                str(target["sessions"]),
                str(target["connections"]),
                _count(target["connect_failures"]),
                ago(now - phrases.standing(target)["since"]),
                phrases.explanation(target),
                *([phrases.overrides(target, now)] if is_overridden else []),
            )
        )
    return [*fail_open(data["groups"]), *_unresolved(data["groups"]), table]


def listeners(data: Facts) -> list[Block]:
    has_http = any("requests" in row for row in data["listeners"])
    requests = ("#requests", "#requests/s") if has_http else ()
    table = titled(
        "listener", "address", "protocol", "group", "#sessions", "#accepted", *requests, "#received", "#sent"
    )
    for row in data["listeners"]:
        moved: tuple[str, ...] = ()
        if has_http:
            moved = (str(row.get("requests", "-")), phrases.per_second(row.get("requests_per_second")))
        table.rows.append(
            (
                row["name"],
                ", ".join(row["binds"]),
                row["protocol"],
                phrases.groups(row),
                phrases.sessions(row),
                str(row["accepted"]),
                *moved,
                size(row["received"]),
                size(row["sent"]),
            )
        )
    return [table]


def certs(data: Facts) -> list[Block]:
    if not data["certificates"]:
        return [Cell("no listener shows a certificate")]
    table = titled("listener", "~names", "key", "from", "until", "#days left", "file", "fingerprint")
    for row in data["certificates"]:
        days = phrases.days_left(row, data["now"])
        table.rows.append(
            (
                row["listener"] + "*" * row["default"],
                ", ".join(row["names"]) or "-",
                phrases.key(row),
                phrases.at(row["not_before"]),
                phrases.at(row["not_after"]),
                Cell(str(days), _CERTIFICATE_TONES.get(row["state"], "")),
                row["file"],
                row["fingerprint"][:16],
            )
        )
    return [table]


def changed(data: Facts) -> list[Block]:
    return [
        Cell(_standing(target) + _until(target, "admin", data["now"]), TONES.get(target["admin"]["state"], ""))
        for target in data["targets"]
    ]


def weight(data: Facts) -> list[Block]:
    return [
        Cell(f"{phrases.full_name(target)}: weight {phrases.weight(target)}{_until(target, 'weight', data['now'])}")
        for target in data["targets"]
    ]


def reload(data: Facts) -> list[Block]:
    """What a reload did: its steps, and whom they touched."""
    steps = data["steps"] or ["nothing to do: what runs is as it should be already"]
    late = [f"worker {worker} has not confirmed yet" for worker in data["workers_missing"]]
    summary = (
        f"generation {data['generation']}, hash {data['hash']}: "
        f"{data['sessions_affected']} of {data['sessions']} sessions affected"
    )
    return [Cell(line) for line in (*steps, *late, summary)]


def overrides(data: Facts) -> list[Block]:
    if not data["overrides"]:
        return [Cell("nothing is overridden: what runs is what the config file says")]
    table = titled("target", "address", "change", "by", "when", "until", "~reason")
    for one in data["overrides"]:
        table.rows.append(
            (
                f"{one['group']}/{one['target']}",
                one["address"],
                Cell(phrases.wish(one), TONES.get(str(one["value"]), "")),
                one["who"],
                phrases.at(one["when"]),
                ending(one, data["now"]),
                one["reason"],
            )
        )
    return [table]


def sessions(data: Facts) -> list[Block]:
    table = titled(
        *("client", "listener", "group", "target", "phase", "#age", "#idle", "#received", "#sent", "#worker")
    )
    for row in data["sessions"]:
        table.rows.append(
            (
                row["client"],
                row["listener"],
                row["group"],
                row["target"] or "-",
                row["phase"],
                ago(row["age"]),
                ago(row["idle"]),
                size(row["received"]),
                size(row["sent"]),
                str(row["worker"]),
            )
        )
    if len(table.rows) < data["limit"]:
        return [table]
    return [table, Cell(f"only the first {data['limit']} are shown; --limit shows more", "warn")]


def errors(data: Facts) -> list[Block]:
    shield = titled("shield", "#refused", "#would refuse", "listeners", "~meaning")
    for row in data["shield"]:
        counts = str(row["refused"]), str(row["monitored"])
        shield.rows.append((Cell(row["reason"], "warn"), *counts, ", ".join(row["listeners"]), row["meaning"]))
    return [*_endings(data), Cell(""), shield] if shield.rows else _endings(data)


def _endings(data: Facts) -> list[Block]:
    if not data["outcomes"]:
        return [Cell("no session has ended yet")]
    has_requests = any(row["requests"] for row in data["outcomes"])
    table = titled("outcome", "#sessions", *(["#requests"] if has_requests else []), "listeners", "~meaning")
    for row in data["outcomes"]:
        tone = "good" if row["outcome"] in phrases.IN_ORDER else "warn"
        counts = [str(row["sessions"]), *([str(row["requests"])] if has_requests else [])]
        table.rows.append((Cell(row["outcome"], tone), *counts, ", ".join(row["listeners"]), row["meaning"]))
    return [table]


def requests(data: Facts) -> list[Block]:
    if not data["routes"] and not data["desync"]:
        return [Cell("no request has met a rule yet")]
    table = titled("listener", "rule", "group", "#requests", *(f"#{code}" for code in phrases.CODES))
    for row in data["routes"]:
        counts = [
            Cell(str(count), _CODE_TONES.get(code, "") if count else "") for code, count in row["statuses"].items()
        ]
        table.rows.append((row["listener"], row["rule"], row["group"] or "-", str(row["requests"]), *counts))
    if not data["desync"]:
        return [table]
    odd = titled("listener", "class", "reason", "#requests")
    for row in data["desync"]:
        odd.rows.append((row["listener"], row["class"], row["reason"], str(row["count"])))
    return [table, Cell(""), Cell("requests that had something odd about them, by AWS's desync classes"), odd]


def events(data: Facts) -> list[Block]:
    return [*event_lines(data["events"])] or [Cell("nothing of this kind has happened yet")]


def event_lines(events: list[Facts]) -> list[Cell]:
    """A line per event, all of one form; what has more lines goes on below."""
    lines = []
    for event in events:
        head = f"{phrases.at(event['at'])}  {event['level']:7}  {event['kind']:8}  "
        first, *more = event["text"].splitlines() or [""]
        tone = TONES.get(event["level"], "")
        lines.append(Cell(head + first, tone))
        lines += [Cell(" " * len(head) + line, tone) for line in more]
    return lines


def _standing(target: Facts) -> str:
    """'web/web01: drain, 3 sessions left, 5m for them to finish'"""
    text = f"{phrases.full_name(target)}: {target['admin']['state']}"
    drain = target["drain"]
    if target["admin"]["state"] == "ready" or not target["sessions"]:
        return f"{text}, {target['health']['state']}, {target['sessions']} sessions"
    limit = f", {ago(drain['seconds_left'])} for them to finish" if drain else ""
    return f"{text}, {target['sessions']} sessions left{limit}"


def _until(target: Facts, what: str, now: float) -> str:
    """'; undone in 30m' where the wish ends by itself."""
    ends = [one["until"] for one in target["overrides"] if one["what"] == what and one["until"] is not None]
    return f"; undone in {ago(ends[0] - now)}" if ends else ""


def _refused(config: Facts) -> list[Block]:
    """The last reload, if it failed."""
    if config["reload_ok"]:
        return []
    lines = ["the last reload was refused, nothing was changed:", *config["refused"].splitlines()]
    return [Cell(line, "bad") for line in lines]


def _overridden(count: int) -> list[Block]:
    if not count:
        return []
    return [Cell(f"{count} {'override' if count == 1 else 'overrides'} by operators: nlb ctl overrides", "warn")]


def fail_open(groups: list[Facts]) -> list[Block]:
    return [Cell(phrases.fail_open(group), "loud") for group in groups if group["fail_open"]]


def _unresolved(groups: list[Facts]) -> list[Block]:
    """Names of targets without a good answer of DNS; those that have one are in the names of their targets."""
    names = [(group, name) for group in groups for name in group["names"] if name["state"] != "ok"]
    return [Cell(phrases.unresolved(group, name), TONES[name["state"]]) for group, name in names]


def _workers(workers: list[Facts], now: float) -> Table:
    table = titled("#worker", "#pid", "state", "since", "#sessions", "#restarts", "~last exit", "retry in")
    for worker in workers:
        table.rows.append(
            (
                str(worker["index"]),
                str(worker["pid"] or "-"),
                state(worker["state"]),
                ago(now - worker["since"]),
                str(worker["sessions"]),
                _count(worker["restarts"]),
                worker["last_exit"] or "-",
                "-" if worker["retry_in"] is None else ago(worker["retry_in"]),
            )
        )
    return table


def _orphans(orphans: list[Facts], now: float) -> list[Block]:
    """Workers of a control that was killed: what they carry is in no other table."""
    return [
        Cell(f"worker of a killed control, pid {row['pid']}: {row['sessions']} sessions, for {ago(now - row['since'])}")
        for row in orphans
    ]


def _groups(groups: list[Facts]) -> Table:
    has_http = any("requests" in group for group in groups)
    requests = ("#requests", "#on open connections", "#sent again") if has_http else ()
    table = titled(
        *("group", "protocol", "policy", "#targets", "#usable", "#sessions", *requests, "#retries", "#fail-open picks")
    )
    for group in groups:
        usable = Cell(str(group["usable"]), "good" if group["usable"] else "bad")
        table.rows.append(
            (
                group["name"],
                group["protocol"],
                group["policy"],
                str(group["targets"]),
                usable,
                str(group["sessions"]),
                *(_requests(group) if has_http else ()),
                str(group["retries"]),
                _count(group["fail_open_picks"]),
            )
        )
    return table


def _requests(group: Facts) -> tuple[str, str, str]:
    if "requests" not in group:
        return "-", "-", "-"
    return str(group["requests"]), phrases.reused(group), str(group["http_retries"])


def state(word: str) -> Cell:
    return Cell(word.replace("_", " "), TONES.get(word, ""))


def _count(number: int) -> Cell:
    """A number that is 0 while all is well."""
    return Cell(str(number), "warn" if number else "")


VIEWS: dict[str, Callable[[Any], list[Block]]] = {
    "status": status,
    "targets": targets,
    "health": health,
    "listeners": listeners,
    "certs": certs,
    "drain": changed,
    "ready": changed,
    "maint": changed,
    "weight": weight,
    "target add": reload,
    "target remove": reload,
    "overrides": overrides,
    "block": block,
    "unblock": unblock,
    "blocked": blocked,
    "reload": reload,
    "sessions": sessions,
    "requests": requests,
    "errors": errors,
    "events": events,
    "explain": explained,
}
