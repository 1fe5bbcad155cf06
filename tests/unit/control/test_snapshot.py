"""What listeners report: sessions and, where they speak http, requests. No worker runs: its counters are enough."""

from __future__ import annotations

import pytest

from nlb.control.listening import OpenListener
from nlb.control.snapshot import listener, routes
from nlb.model.parse import parse
from nlb.observe import counters
from nlb.observe.counters import ACTIVE, DESYNC_WORD, EXCHANGE_OUTCOME_WORD, OUTCOME_WORD, Row

CONFIG = """
[[listener]]
name = "edge"
bind = "127.0.0.1:80"
protocol = "{protocol}"
target_group = "web"

[[target_group]]
name = "web"
protocol = "{protocol}"
targets = ["127.0.0.1:3000"]
"""


def opened(protocol: str) -> OpenListener:
    return OpenListener(3, parse(CONFIG.format(protocol=protocol), "nlb.toml").listeners[0], {})


@pytest.fixture
def rows() -> list[Row]:
    """Two workers with different things behind them."""
    memory = memoryview(bytearray(counters.size(2)))
    one, other = (Row(memory, index) for index in range(2))
    for row, counted in ((one, 1), (other, 10)):
        words = row.listener(3)
        words[ACTIVE] = counted
        words[OUTCOME_WORD["data/done"]] = counted
        words[EXCHANGE_OUTCOME_WORD["data/done"]] = 5 * counted
        words[DESYNC_WORD[""]] = 4 * counted
        words[DESYNC_WORD["bad_host"]] = counted
        row.route(7)[2] = 4 * counted
    other.listener(3)[EXCHANGE_OUTCOME_WORD["request/redirect"]] = 2
    other.listener(3)[OUTCOME_WORD["request/idle"]] = 3
    one.route(7)[0] = 1
    other.route(9)[301 // 100] = 2
    one.route(9)[504 // 100] = 1
    other.route(9)[999 // 100] = 3
    return [one, other]


def test_sessions_and_requests_end_apart(rows: list[Row]) -> None:
    facts = listener(opened("http"), rows, 4000)
    assert (facts["name"], facts["group"], facts["groups"], facts["sessions"]) == ("edge", "web", ["web"], 11)
    assert facts["max_connections"] == 4000
    assert facts["outcomes"] == {"data/done": 11, "request/idle": 3}
    assert facts["exchanges"] == {"data/done": 55, "request/redirect": 2}
    assert facts["requests"] == 57


def test_compliant_requests_are_nothing_to_report(rows: list[Row]) -> None:
    assert listener(opened("http"), rows, None)["desync"] == {"bad_host": 11}


def test_a_tcp_listener_has_no_requests(rows: list[Row]) -> None:
    facts = listener(opened("tcp"), rows, None)
    assert facts["outcomes"] == {"data/done": 11, "request/idle": 3}
    assert not {"requests", "exchanges", "desync", "routes"} & facts.keys()


def test_rules_that_got_requests(rows: list[Row]) -> None:
    edge = opened("http")
    assert routes(edge, rows) == []
    edge.routes = [("api", "web", 7), ("never", "web", 8), ("old", "", 9)]
    assert routes(edge, rows) == [
        {"rule": "api", "group": "web", "statuses": {"none": 1, "2xx": 44}},
        {"rule": "old", "group": "", "statuses": {"3xx": 2, "5xx": 4}},
    ]
