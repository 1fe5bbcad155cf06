"""What each verb of the admin commands does: a question to control, and its answer in the shape that was asked for.

Every answer is plain JSON data. Nothing here prints, waits or knows of sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any, Protocol

from nlb.admin import phrases
from nlb.admin.phrases import Facts
from nlb.control.inquiry import Inquiry, parse_source, parse_url
from nlb.errors import OUTCOMES, AdminError
from nlb.model.nearest import did_you_mean
from nlb.model.protocols import HTTP
from nlb.shield.words import REASONS

Reply = Callable[[Any], None]


class Controller(Protocol):
    """What the commands need of control. Targets are given back as they are in the snapshot, as changed.

    What it cannot do raises AdminError; what turns out only later answers {"refused": why}.
    """

    def snapshot(self) -> Facts: ...

    def status(self) -> Facts: ...

    def health(self, target: str, /) -> Facts: ...

    def overrides(self) -> list[Facts]: ...

    def config(self) -> Facts: ...

    def events(self) -> list[Facts]: ...

    def explain(self, asked: Inquiry, /) -> Facts: ...

    def set_admin(
        self, target: str, state: str, reason: str, timeout: float | None, /, *, who: str, lasts: float | None
    ) -> list[Facts]: ...

    def set_weight(self, target: str, weight: int, reason: str, /, *, who: str, lasts: float | None) -> list[Facts]: ...

    def add_target(
        self, done: Reply, group: str, typed: str, weight: int, reason: str, /, *, who: str, lasts: float | None
    ) -> None: ...

    def remove_target(self, done: Reply, target: str, reason: str, /, *, who: str, lasts: float | None) -> None: ...

    def block(self, network: str, reason: str, /, *, who: str, lasts: float | None, keep: bool) -> list[Facts]: ...

    def unblock(self, network: str, /, *, who: str) -> list[Facts]: ...

    def blocked(self) -> list[Facts]: ...

    def reload(self, done: Reply, /, *, who: str) -> None: ...

    def sessions(
        self, done: Callable[[list[Facts]], None], limit: int, target: str | None, listener: str | None, /
    ) -> None: ...


def status(controller: Controller, values: Facts, reply: Reply) -> None:
    facts = controller.status()
    told = ("version", "pid", "started", "now", "state", "ready", "config", "workers", "orphans", "listeners", "groups")
    reply(
        {
            **{name: facts[name] for name in told},
            "not_ready": phrases.not_ready(facts),
            "overrides": len(controller.overrides()),
            "events": facts["events"][-values["events"] :] if values["events"] else [],
        }
    )


def _summary(group: Facts) -> Facts:
    """A group in figures, as it is in a status."""
    summary = {name: fact for name, fact in group.items() if name not in ("connect", "first_byte", "durations")}
    return summary | {"targets": len(group["targets"])}


def targets(controller: Controller, values: Facts, reply: Reply) -> None:
    snapshot = controller.snapshot()
    groups = _chosen(snapshot["groups"], "group", values["group"])
    rows = [target for group in groups for target in group["targets"]]
    if (wanted := values["target"]) is not None:
        names = {name for row in rows for name in (row["name"], phrases.full_name(row))}
        if wanted not in names:
            raise AdminError(f"no target is called '{wanted}'{did_you_mean(wanted, names)}")
        rows = [row for row in rows if wanted in (row["name"], phrases.full_name(row))]
    reply({"now": snapshot["now"], "groups": [_summary(group) for group in groups], "targets": rows})


def health(controller: Controller, values: Facts, reply: Reply) -> None:
    reply(controller.health(values["target"]))


def listeners(controller: Controller, values: Facts, reply: Reply) -> None:
    facts = controller.status()
    reply({"now": facts["now"], "listeners": facts["listeners"]})


def certs(controller: Controller, values: Facts, reply: Reply) -> None:
    facts = controller.status()
    _chosen(facts["listeners"], "listener", values["listener"])
    rows = [row for row in facts["certificates"] if values["listener"] in (None, row["listener"])]
    reply({"now": facts["now"], "certificates": rows})


def errors(controller: Controller, values: Facts, reply: Reply) -> None:
    facts = controller.status()
    chosen = _chosen(facts["listeners"], "listener", values["listener"])
    shield = phrases.shield(chosen, REASONS)
    reply({"now": facts["now"], "outcomes": phrases.outcomes(chosen, OUTCOMES), "shield": shield})


def requests(controller: Controller, values: Facts, reply: Reply) -> None:
    snapshot = controller.snapshot()
    chosen = _chosen(snapshot["listeners"], "listener", values["listener"])
    http = [row for row in chosen if row["protocol"] in HTTP]
    if not http:
        who = "no listener speaks http" if values["listener"] is None else f"'{values['listener']}' does not speak http"
        raise AdminError(f"{who}: there are only sessions, which `nlb ctl listeners` and `nlb ctl errors` count")
    reply({"now": snapshot["now"], "routes": phrases.routes(http), "desync": phrases.desync(http)})


def sessions(controller: Controller, values: Facts, reply: Reply) -> None:
    controller.sessions(
        lambda rows: reply({"sessions": rows, "limit": values["limit"]}),
        values["limit"],
        values["target"],
        values["listener"],
    )


def drain(controller: Controller, values: Facts, reply: Reply) -> None:
    _set_admin(controller, "drain", values, values["timeout"], reply)


def ready(controller: Controller, values: Facts, reply: Reply) -> None:
    _set_admin(controller, "ready", values, None, reply)


def maint(controller: Controller, values: Facts, reply: Reply) -> None:
    _set_admin(controller, "maint", values, None, reply)


def weight(controller: Controller, values: Facts, reply: Reply) -> None:
    changed = controller.set_weight(values["target"], values["weight"], values["reason"], **_from(values))
    reply({"now": time(), "targets": changed})


def add_target(controller: Controller, values: Facts, reply: Reply) -> None:
    controller.add_target(reply, values["group"], values["target"], values["weight"], values["reason"], **_from(values))


def remove_target(controller: Controller, values: Facts, reply: Reply) -> None:
    controller.remove_target(reply, values["target"], values["reason"], **_from(values))


def overrides(controller: Controller, values: Facts, reply: Reply) -> None:
    reply({"now": time(), "overrides": controller.overrides()})


def block(controller: Controller, values: Facts, reply: Reply) -> None:
    blocks = controller.block(values["network"], values["reason"], **_from(values), keep=values["keep"])
    reply({"now": time(), "blocks": blocks, "keep": values["keep"]})


def unblock(controller: Controller, values: Facts, reply: Reply) -> None:
    lifted = controller.unblock(values["network"], who=values["who"])
    reply({"now": time(), "blocks": lifted})


def blocked(controller: Controller, values: Facts, reply: Reply) -> None:
    """Operators' blocks first; `total` is of all, where `limit` hides some."""
    blocks, limit = controller.blocked(), values["limit"]
    reply({"now": time(), "blocks": blocks[:limit], "total": len(blocks)})


def reload(controller: Controller, values: Facts, reply: Reply) -> None:
    controller.reload(reply, who=values["who"])


def config(controller: Controller, values: Facts, reply: Reply) -> None:
    reply({"now": time(), **controller.config(), "overrides": controller.overrides()})


def events(controller: Controller, values: Facts, reply: Reply) -> None:
    """`last` is for `after` of the next call; `missed`: between that and what is told here, some were forgotten."""
    ring, after, kind = controller.events(), values["after"], values["kind"]
    # By its place and not by comparing times: clocks are set back now and then.
    seen = [place for place, event in enumerate(ring) if event["at"] == after]
    new = ring[seen[-1] + 1 :] if seen else ring
    told = [event for event in new if kind in (None, event["kind"])][-values["limit"] :]
    last = ring[-1]["at"] if ring else after
    reply({"now": time(), "events": told, "last": last, "missed": after is not None and not seen})


def explain(controller: Controller, values: Facts, reply: Reply) -> None:
    reply({"now": time(), **controller.explain(inquiry_of(values))})


def inquiry_of(values: Facts) -> Inquiry:
    """From the values of the parameters."""
    source = values["source"]
    return Inquiry(
        parse_url(values["url"]),
        values["method"],
        tuple(values["header"] or ()),
        None if source is None else parse_source(source),
        values["listener"],
        tuple(values["alpn"] or ()),
    )


def watch(controller: Controller, values: Facts, reply: Reply) -> None:
    snapshot = controller.snapshot()
    groups = _chosen(snapshot["groups"], "group", values["group"])
    rows = [target for group in groups for target in group["targets"]]
    names = [group["name"] for group in groups]
    reply(
        {
            **{name: snapshot[name] for name in ("version", "now", "state")},
            "not_ready": phrases.not_ready(snapshot),
            "listeners": [_without_routes(row) for row in snapshot["listeners"] if set(names) & set(row["groups"])],
            "groups": [_summary(group) for group in groups],
            "targets": rows[: values["limit"]],
        }
    )


def _without_routes(listener: Facts) -> Facts:
    """There may be thousands."""
    return {name: fact for name, fact in listener.items() if name != "routes"}


def _set_admin(controller: Controller, state: str, values: Facts, timeout: float | None, reply: Reply) -> None:
    changed = controller.set_admin(values["target"], state, values["reason"], timeout, **_from(values))
    reply({"now": time(), "targets": changed})


def _from(values: Facts) -> Facts:
    """Whose wish it is, and for how long."""
    return {"who": values["who"], "lasts": values.get("for")}


def _chosen(rows: list[Facts], kind: str, wanted: str | None) -> list[Facts]:
    if wanted is None:
        return rows
    if found := [row for row in rows if row["name"] == wanted]:
        return found
    raise AdminError(f"no {kind} is called '{wanted}'{did_you_mean(wanted, [row['name'] for row in rows])}")
