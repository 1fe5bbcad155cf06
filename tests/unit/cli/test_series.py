"""What `nlb check` says of the size of a scrape, against a scrape in which everything was counted."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from nlb.cli.series import series
from nlb.errors import OUTCOMES
from nlb.http1.desync import CLASS_OF
from nlb.model.config import Config
from nlb.model.parse import parse
from nlb.observe.collector import SnapshotCollector
from nlb.observe.counters import STATUSES
from nlb.shield.words import REASONS
from tests.unit.admin.canned import group, http_group, http_listener, listener, snapshot, target, worker

TCP = """
[[listener]]
name = "in"
bind = "0.0.0.0:80"
[[target_group]]
name = "out"
targets = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
"""
HTTP = TCP.replace("bind", 'protocol = "http"\nbind').replace("targets", 'protocol = "http"\ntargets')
SHIELD = """
[shield]
deny = "203.0.113.0/24"
max_connections = 1000
max_connections_per_source = 10
connection_rate_per_source = "10/s"
request_rate = { path = "/login", rate = "5/m" }
http = { methods = ["GET"], deny_path = "*.php" }
"""
CONNECTIONS = list(REASONS)[:5]
FIGURES = {"cpu": 1.5, "memory": 2e7, "descriptors": 40.0, "started": 1e9}


def ones(names: Any) -> dict[str, int]:
    return dict.fromkeys(names, 1)


def scraped(facts: dict[str, Any]) -> int:
    made = CollectorRegistry()
    made.register(SnapshotCollector(facts, lambda pid: FIGURES))
    families = text_string_to_metric_families(generate_latest(made).decode())
    return sum(not sample.name.endswith("_created") for family in families for sample in family.samples)


def everything(config: Config, shield: list[str], workers: int = 2) -> dict[str, Any]:
    """The snapshot of a daemon with this config, to which all has happened that can."""
    (settings,), (of_group,) = config.listeners, config.groups
    members = [target(number, item.name, "out") for number, item in enumerate(of_group.targets)]
    if settings.speaks_http:
        rules = [*(rule.name for rule in settings.rules), "default"]
        row = http_listener(
            "in",
            "out",
            outcomes=ones(OUTCOMES),
            exchanges=ones(item for item in OUTCOMES if not item.startswith(("accept/", "preface/"))),
            desync=ones(reason for reason in CLASS_OF if reason),
            routes=[{"rule": rule, "group": "out", "statuses": ones(STATUSES)} for rule in rules],
        )
        behind = http_group("out", *members)
    else:
        no = ("request/", "response/", "preface/")
        row = listener("in", "out", outcomes=ones(item for item in OUTCOMES if not item.startswith(no)))
        behind = group("out", *members)
    row |= {"handshakes": None, "monitored" if settings.shield.mode == "monitor" else "refused": ones(shield)}
    crew = [worker(number) for number in range(1, workers + 1)]
    return snapshot() | {"listeners": [row], "groups": [behind], "workers": crew, "certificates": []}


@pytest.mark.parametrize(
    ("text", "shield"),
    [
        (TCP, ["blocked"]),
        (HTTP, ["blocked"]),
        (TCP + SHIELD, CONNECTIONS),
        (HTTP + SHIELD, list(REASONS)),
        (TCP + SHIELD + 'mode = "monitor"\n', CONNECTIONS),
        (HTTP.replace("[[target", '[[listener.rule]]\npath = "/x"\nforward = "out"\n' * 20 + "[[target"), ["blocked"]),
    ],
    ids=["tcp", "http", "tcp with a shield", "http with a shield", "a shield that only watches", "rules"],
)
def test_as_many_as_there_can_be(text: str, shield: list[str]) -> None:
    config = parse(text, "nlb.toml")
    there = everything(config, shield)
    there["listeners"][0].setdefault("refused", {})
    assert abs(series(config, 2) - scraped(there)) <= 5, "rounded to tens"


def test_what_is_more_costs_more() -> None:
    few, more = parse(TCP, "nlb.toml"), parse(TCP + SHIELD, "nlb.toml")
    assert series(few, 8) - series(few, 2) > 100
    assert series(more, 2) > series(few, 2)
