"""A made-up nlb for the tests of admin and cli: snapshots as control gives them, a controller that obeys at once,
a daemon (that controller behind a real admin socket, on a loop in a thread) and a site (the web pages over a snapshot).
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

from nlb.admin import phrases
from nlb.admin.server import AdminServer
from nlb.admin.web import WebServer
from nlb.control.inquiry import Inquiry
from nlb.errors import AdminError
from nlb.model.address import Address
from nlb.model.nearest import did_you_mean
from nlb.net.loop import Loop
from nlb.net.sockets import listen
from nlb.observe.counters import DURATION, LAG, LATENCY

NOW = 1_700_000_000.0

Facts = dict[str, Any]


def fact(state: str, reason: str = "", since: float = NOW - 60) -> Facts:
    return {"state": state, "reason": reason, "since": since}


def histogram(bounds: tuple[float, ...], *seen: int, seconds: float = 0.0) -> Facts:
    return {"counts": [*seen, *[0] * (len(bounds) + 1 - len(seen))], "sum": seconds}


def target(number: int, name: str, group: str = "web", **changes: Any) -> Facts:
    return {
        "id": number,
        "name": name,
        "group": group,
        "address": f"10.0.0.{number + 1}:3000",
        "weight": 1,
        "configured_weight": 1,
        "admin": fact("ready"),
        "health": fact("healthy", "connected"),
        "resolve": fact("ok"),
        "leaving": False,
        "overrides": [],
        "usable": True,
        "sessions": 2,
        "connections": 120,
        "connect_failures": 0,
        "received": 4096,
        "sent": 5 << 20,
        "drain": None,
        "probe": {"ok": True, "detail": "connected", "at": NOW - 1, "took": 0.0004},
        "transitions": 0,
        "probes": {"ok": 30, "failed": 0},
        **changes,
    }


def group(name: str, *targets: Facts, **changes: Any) -> Facts:
    return {
        "name": name,
        "protocol": "tcp",
        "policy": "round_robin",
        "fail_open": False,
        "waiting": False,
        "candidates": sum(each["usable"] for each in targets),
        "retries": 1,
        "fail_open_picks": 0,
        "queued": 0,
        "policy_failures": 0,
        "queue": histogram(LATENCY),
        "usable": sum(each["usable"] for each in targets),
        "sessions": sum(each["sessions"] for each in targets),
        "connect": histogram(LATENCY, 10, 5, 1, seconds=0.02),
        "first_byte": histogram(LATENCY, 3, 4, seconds=0.01),
        "targets": list(targets),
        "names": [],
        **changes,
    }


def listener(name: str, group: str, **changes: Any) -> Facts:
    return {
        "name": name,
        "protocol": "tcp",
        "binds": ["0.0.0.0:80", "[::]:80"],
        "group": group,
        "groups": [group],
        "sessions": 5,
        "accepted": 245,
        "received": 8192,
        "sent": 10 << 20,
        "max_connections": 4000,
        "outcomes": {"data/done": 230, "connect/refused": 4, "data/client_reset": 6},
        "handshakes": None,
        "refused": {},
        "monitored": {},
        "durations": histogram(DURATION, 0, 7, 2, seconds=0.3),
        **changes,
    }


def http_group(name: str, *targets: Facts, **changes: Any) -> Facts:
    requests = {
        "protocol": "http",
        "requests": 900,
        "http_retries": 3,
        "pool_hits": 880,
        "pool_misses": 20,
        "durations": histogram(LATENCY, 100, 700, 100, seconds=0.9),
    }
    return group(name, *targets, **{**requests, **changes})


def http_listener(name: str, *groups: str, **changes: Any) -> Facts:
    """The first of `groups` is the one of its default."""
    requests = {
        "protocol": "http",
        "binds": ["0.0.0.0:443"],
        "groups": list(groups),
        "outcomes": {"data/done": 40, "request/idle": 12, "request/bad_head": 2},
        "handshakes": {"full": 5, "resumed": 3},
        "refused": {"denied": 7, "request_rate": 3},
        "monitored": {"bad_path": 4},
        "requests": 1000,
        "requests_per_second": 42.5,
        "exchanges": {"data/done": 900, "request/redirect": 80, "response/timeout": 18, "request/bad_head": 2},
        "desync": {"suspicious_header": 5, "bad_header": 2},
        "routes": [
            {"rule": "old", "group": "", "statuses": {"3xx": 80}},
            {"rule": "api", "group": groups[-1], "statuses": {"2xx": 300, "5xx": 18}},
            {"rule": "default", "group": groups[0], "statuses": {"none": 1, "1xx": 2, "2xx": 590, "4xx": 7}},
        ],
    }
    return listener(name, groups[0], **{**requests, **changes})


def http_snapshot(**changes: Any) -> Facts:
    """The usual one, with a listener and two groups that speak http."""
    facts = snapshot()
    facts["listeners"].append(http_listener("edge", "pages", "api-v1"))
    facts["groups"] += [
        http_group("pages", target(4, "page01", "pages")),
        http_group("api-v1", target(5, "api01", "api-v1")),
    ]
    return facts | changes


def worker(index: int, **changes: Any) -> Facts:
    return {
        "index": index,
        "pid": 4000 + index,
        "state": "running",
        "restarts": 0,
        "since": NOW - 3600,
        "sessions": 3,
        "turns": 1000,
        "log_dropped": 7,
        "last_exit": "",
        "retry_in": None,
        "lag": histogram(LAG, 0, 2, seconds=0.006),
        **changes,
    }


def override(target: str, what: str, value: str | int | None = None, **changes: Any) -> Facts:
    """`target` is group/name, at the address that `target(...)` gives the first one."""
    return {
        "group": target.partition("/")[0],
        "target": target.partition("/")[2],
        "address": "10.0.0.1:3000",
        "what": what,
        "value": value,
        "who": "ann",
        "when": NOW - 60,
        "reason": "",
        "until": None,
        **changes,
    }


def certificate(listener: str, *names: str, **changes: Any) -> Facts:
    return {
        "listener": listener,
        "names": list(names),
        "served_for": list(names),
        "default": False,
        "kind": "ecdsa",
        "bits": 256,
        "not_before": NOW - 30 * 86400,
        "not_after": NOW + 60 * 86400,
        "state": "ok",
        "file": "/etc/nlb/www.pem",
        "fingerprint": "ab" * 32,
        "subject": "",
        "issuer": "CN=An Authority",
        "chain": 1,
    } | changes


def blocked(network: str, **changes: Any) -> Facts:
    return {
        "network": network,
        "by": "operator",
        "who": "ann",
        "when": NOW - 60,
        "reason": "",
        "until": None,
        **changes,
    }


# What `FakeController` has read from its file, as `Desk.config` gives it.
CONFIG: Facts = {
    "listener": [{"name": "web", "bind": ["0.0.0.0:80"], "target_group": "web"}],
    "target_group": [
        {
            "name": "web",
            "targets": [{"name": "web01", "address": "10.0.0.1:3000"}, {"name": "web02", "address": "10.0.0.2:3000"}],
        }
    ],
}

RELOADED: Facts = {
    "generation": 2,
    "hash": "77aa00ff",
    "steps": ["group web: add target web04 (10.0.0.14:3000), weight 1"],
    "sessions_affected": 0,
    "sessions": 812,
    "workers_missing": [],
}


def result(ok: bool, detail: str, at: float = NOW - 2, **changes: Any) -> Facts:
    """One of a target's results, as `health` tells them."""
    facts = {"at": at, "by": "probe", "ok": ok, "detail": detail, "took": 0.0015, "count": 1, "changed": False}
    return facts | changes


def checked(target: Facts, *results: Facts, **changes: Any) -> Facts:
    """The answer to `health`."""
    return {
        "now": NOW,
        "target": target,
        "check": {
            "protocol": "http",
            "question": "http /healthz for 200-399",
            "interval": 2.0,
            "fast_interval": 0.5,
            "timeout": 2.0,
            "rise": 2,
            "fall": 3,
            "flap_limit": 5,
            "flap_window": 300.0,
        },
        "phase": "resting",
        "trouble": "",
        "passes": 7,
        "failures": 0,
        "flips": 0,
        "held": None,
        "results": list(results),
        **changes,
    }


# What becomes of a request, as `Desk.explain` tells it.
EXPLAINED: Facts = {
    "is_live": True,
    "listener": {
        "name": "edge",
        "protocol": "http",
        "binds": ["0.0.0.0:80"],
        "port": 80,
        "why": "it listens on port 80",
    },
    "hello": None,
    "request": {
        "method": "GET",
        "target": "/v1/x",
        "host": "api.example.com",
        "peer": "10.0.0.5",
        "client": "192.0.2.7",
        "class": "compliant",
        "reason": "",
        "mode": "defensive",
        "verdict": "",
    },
    "shield": [],
    "rules": [
        {"rule": "old", "matched": False, "why": "path /v1/x does not match /old/*"},
        {"rule": "api-v1", "matched": True, "why": "host api.example.com, path /v1/x matches /v1/*"},
        {"rule": "default", "matched": False, "why": "not asked"},
    ],
    "action": {"kind": "forward", "text": "to group api", "groups": [{"group": "api", "weight": 1, "share": 1.0}]},
    "groups": [
        {
            "name": "api",
            "share": 1.0,
            "policy": "source_ip",
            "hash_key": "source_ip",
            "fail_open": False,
            "waiting": False,
            "notes": [],
            "targets": [
                {
                    "name": "api01",
                    "address": "10.0.0.21:3000",
                    "weight": 1,
                    "share": 1.0,
                    "sessions": 12,
                    "state": "in",
                    "why": "healthy: status 200",
                },
                {
                    "name": "api02",
                    "address": "10.0.0.22:3000",
                    "weight": 1,
                    "share": 0.0,
                    "sessions": 3,
                    "state": "out",
                    "why": "drain by the operator: deploy",
                },
            ],
            "choice": {"target": "api01", "why": "the only one that is in"},
        }
    ],
    "hints": [],
}


def snapshot(**changes: Any) -> Facts:
    """Two groups that share a target's name; web02 is drained, api's only target is down."""
    drained = target(
        1,
        "web02",
        admin=fact("drain", "deploy", since=NOW - 30),
        usable=False,
        drain={"started": NOW - 30, "deadline": NOW + 270, "seconds_left": 270.0, "ended": ""},
    )
    refused = {"ok": False, "detail": "connection refused", "at": NOW - 2, "took": 0.0002}
    down = {"health": fact("unhealthy", "connection refused"), "usable": False, "probe": refused, "connect_failures": 4}
    return {
        "version": "0.1.0",
        "pid": 4000,
        "started": NOW - 3600,
        "now": NOW,
        "state": "running",
        "ready": True,
        "config": {
            "file": "/etc/nlb/nlb.toml",
            "hash": "3fa1c2d4",
            "generation": 1,
            "loaded": NOW - 3600,
            "reload_ok": True,
            "refused": "",
        },
        "workers": [worker(1), worker(2, restarts=1, last_exit="killed by SIGKILL")],
        "orphans": [],
        "listeners": [listener("web", "web"), listener("api", "api", outcomes={}, max_connections=None)],
        "groups": [
            group("web", target(0, "web01"), drained, target(2, "node")),
            group("api", target(3, "node", "api", **down), fail_open=True, candidates=1, fail_open_picks=9),
        ],
        "events": [
            {"at": NOW - 60, "level": "info", "kind": "nlb", "text": "ready: 3 of 4 targets usable"},
            {"at": NOW - 30, "level": "info", "kind": "operator", "text": "web/web02 drain by ann: deploy"},
            {"at": NOW - 2, "level": "warning", "kind": "target", "text": "api/node is unhealthy: connection refused"},
        ],
        "log_dropped": 0,
        "certificates": [],
        "blocks": {"operator": 1, "offences": 2},
        **changes,
    }


class FakeController:
    """Obeys at once and notes what it was asked for in `calls`."""

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts = facts or snapshot()
        self.calls: list[tuple[object, ...]] = []
        self.on_snapshot: Callable[[], None] = lambda: None
        self.held: list[Callable[[list[Facts]], None]] = []  # answers to `sessions` that the test gives itself
        self.session_rows: list[Facts] | None = []
        self.wishes: list[Facts] = []
        self.blocks: list[Facts] = []
        self.result: Facts = RELOADED  # of what is answered later
        self.explanation: Facts = EXPLAINED

    def snapshot(self) -> Facts:
        self.on_snapshot()
        return self.facts

    def status(self) -> Facts:
        groups = [{**group, "targets": len(group["targets"])} for group in self.snapshot()["groups"]]
        listeners = [{key: row[key] for key in row if key != "routes"} for row in self.facts["listeners"]]
        return {**self.facts, "groups": groups, "listeners": listeners}

    def health(self, target: str) -> Facts:
        return checked(self.target(target), result(True, "status 200"))

    def overrides(self) -> list[Facts]:
        return self.wishes

    def config(self) -> Facts:
        return {"config": CONFIG, "about": self.facts["config"]}

    def events(self) -> list[Facts]:
        ring: list[Facts] = self.facts["events"]
        return list(ring)

    def explain(self, asked: Inquiry) -> Facts:
        self._note("explain", asked)
        return self.explanation

    def target(self, name: str) -> Facts:
        rows: list[Facts] = [each for group in self.facts["groups"] for each in group["targets"]]
        found = [each for each in rows if name in (each["name"], phrases.full_name(each))]
        if len(found) != 1:
            names = [each["name"] for each in rows]
            raise AdminError(f"no target is called '{name}'{did_you_mean(name, names)}")
        return found[0]

    def _note(self, *call: object, lasts: float | None = None) -> None:
        self.calls.append(call if lasts is None else (*call, lasts))

    def set_admin(
        self, target: str, state: str, reason: str, timeout: float | None, who: str, lasts: float | None = None
    ) -> list[Facts]:
        self._note("set_admin", target, state, reason, timeout, who, lasts=lasts)
        row = self.target(target)
        until = None if lasts is None else time() + lasts
        row["overrides"] = [override(phrases.full_name(row), "admin", state, until=until)] if state != "ready" else []
        row["admin"] = fact(state, reason)
        row["drain"] = None
        if state != "ready":
            seconds = 300.0 if timeout is None else timeout
            row["drain"] = {"started": NOW, "deadline": NOW + seconds, "seconds_left": seconds, "ended": ""}
        return [row]

    def set_weight(self, target: str, weight: int, reason: str, who: str, lasts: float | None = None) -> list[Facts]:
        self._note("set_weight", target, weight, reason, who, lasts=lasts)
        row = self.target(target)
        row["weight"] = weight
        return [row]

    def add_target(
        self,
        done: Callable[[Facts], None],
        group: str,
        typed: str,
        weight: int,
        reason: str,
        who: str,
        lasts: float | None = None,
    ) -> None:
        self._note("add_target", group, typed, weight, reason, who, lasts=lasts)
        done(self.result)

    def remove_target(
        self, done: Callable[[Facts], None], target: str, reason: str, who: str, lasts: float | None = None
    ) -> None:
        self._note("remove_target", target, reason, who, lasts=lasts)
        done(self.result)

    def block(self, network: str, reason: str, who: str, lasts: float | None = None, keep: bool = False) -> list[Facts]:
        self._note("block", network, reason, *["keep"] * keep, who, lasts=lasts)
        self.blocks.append(blocked(network, reason=reason, who=who, until=None if lasts is None else time() + lasts))
        return self.blocks[-1:]

    def unblock(self, network: str, who: str) -> list[Facts]:
        self._note("unblock", network, who)
        lifted = [block for block in self.blocks if block["network"] == network]
        if not lifted:
            raise AdminError(f"{network} is not blocked; nlb ctl blocked lists who is")
        return lifted

    def blocked(self) -> list[Facts]:
        return self.blocks

    def reload(self, done: Callable[[Facts], None], who: str) -> None:
        self._note("reload", who)
        done(self.result)

    def sessions(
        self, done: Callable[[list[Facts]], None], limit: int, target: str | None, listener: str | None
    ) -> None:
        self.calls.append(("sessions", limit, target, listener))
        if self.session_rows is None:
            self.held.append(done)
        else:
            done(self.session_rows)


SESSION: Facts = {
    "worker": 1,
    "listener": "web",
    "client": "192.0.2.7:51234",
    "target": "web01",
    "group": "web",
    "phase": "data",
    "age": 12.5,
    "idle": 0.3,
    "received": 300,
    "sent": 70_000,
}


class Daemon:
    """A fake controller behind a real admin socket. A context manager."""

    def __init__(self, folder: Path, controller: FakeController | None = None) -> None:
        self.controller = controller or FakeController()
        self.path = str(folder / "nlb.sock")
        self.loop = Loop()
        self.server = AdminServer(self.loop, listen(Address("", 0, self.path), 1)[0], self.controller)
        self._thread = threading.Thread(target=self.loop.run)

    def do(self, action: Callable[[], Any]) -> Any:
        """Do it on the loop's thread, and wait until it is done."""
        results: list[Any] = []
        done = threading.Event()

        def call() -> None:
            try:
                results.append(action())
            finally:
                done.set()

        self.loop.post(call)
        assert done.wait(10)
        return results[0]

    def __enter__(self) -> Daemon:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.do(self.server.close)
        self.loop.post(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Site:
    """A web server over a snapshot that the test may change, or replace by an error."""

    def __init__(self) -> None:
        self.facts = snapshot()
        self.error: Exception | None = None
        self.asked = 0
        sock = listen(Address("127.0.0.1", 0), 1)[0]
        self.port = sock.getsockname()[1]
        self.server = WebServer(sock, self.ask)
        self.server.start()

    def ask(self) -> Facts:
        self.asked += 1
        if self.error:
            raise self.error
        return self.facts

    def get(
        self, path: str, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def text(self, path: str) -> tuple[int, str]:
        status, _, body = self.get(path)
        return status, body.decode()
