"""`nlb ctl watch`: rates from two looks, and what a look is shown as."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.cli.tables import Cell, plain
from nlb.cli.watching import picture, rated, sentence
from tests.unit.admin.canned import NOW, group, http_listener, listener, target

Facts = dict[str, Any]


def look(now: float = NOW, *targets: Facts, **changes: Any) -> Facts:
    rows = list(targets) or [target(0, "web01"), target(1, "web02")]
    summary = group("web", *rows)
    return {
        "version": "0.1.0",
        "now": now,
        "state": "running",
        "not_ready": "",
        "listeners": [listener("web", "web", sessions=7)],
        "groups": [{**summary, "targets": len(rows)}],
        "targets": rows,
        **changes,
    }


def shown(facts: Facts, height: int = 50) -> list[str]:
    return [line for block in picture(facts, height) for line in plain(block)]


def test_a_rate_is_what_a_counter_gained_in_a_second() -> None:
    before = look(NOW - 2, target(0, "web01", connections=100, received=1000, sent=5000))
    now = look(NOW, target(0, "web01", connections=103, received=1000, sent=25000))
    assert rated(now, before)["targets"][0]["rates"] == {"connections": 1.5, "received": 0.0, "sent": 10_000.0}


@pytest.mark.parametrize(
    ("before", "rates"),
    [
        (target(0, "web01", address="10.9.9.9:80"), None),
        (target(0, "web09"), None),
        (target(0, "web01", group="api"), None),
        (target(0, "web01", connections=500), {"connections": 0.0, "received": 0.0, "sent": 0.0}),
    ],
    ids=["at another address", "another name", "another group", "its counters began anew"],
)
def test_rates_of_what_was_another_before(before: Facts, rates: Facts | None) -> None:
    assert rated(look(NOW, target(0, "web01")), look(NOW - 1, before))["targets"][0]["rates"] == rates


@pytest.mark.parametrize("seconds", [0, -5])
def test_a_clock_that_stands_or_goes_back_gives_no_rates(seconds: float) -> None:
    assert rated(look(NOW + seconds), look(NOW))["listeners"][0]["rates"] is None


def test_all_in_one_line() -> None:
    before = look(NOW - 1, listeners=[listener("web", "web", accepted=235, received=0, sent=0)])
    line = sentence(rated(look(), before))
    assert line.endswith("  7 sessions, 10.0/s new, 8.0 KiB/s received, 10.0 MiB/s sent, 2 of 2 targets usable")
    assert sentence(rated(look(not_ready="no worker is running"), look())).endswith("; not ready: no worker is running")


def test_the_picture_has_listeners_and_targets() -> None:
    before = look(NOW - 1, target(0, "web01", connections=20), target(1, "web02"))
    web02 = target(1, "web02", leaving=True, connect_failures=3)
    lines = shown(rated(look(NOW, target(0, "web01"), web02), before))
    assert lines[2].split() == ["listener", "group", "sessions", "new/s", "received/s", "sent/s"]
    assert lines[3].split() == ["web", "web", "7", "of", "4000", "0.0", "0", "B", "0", "B"]
    assert lines[6].split() == ["web01", "web", "ready", "healthy", "2", "100.0", "0", "B", "0", "B", "0"]
    assert lines[7].split() == ["web02", "web", "leaving", "healthy", "2", "0.0", "0", "B", "0", "B", "3"]


def test_requests_where_a_listener_speaks_http() -> None:
    both = [listener("web", "web"), http_listener("edge", "web", "api")]
    before = look(NOW - 2, listeners=[both[0], {**both[1], "requests": 700}])
    seen = rated(look(NOW, listeners=both), before)
    assert ", 0.0/s new, 150.0/s requests, 0 B/s received, " in sentence(seen)
    lines = shown(seen)
    assert lines[2].split() == ["listener", "group", "sessions", "new/s", "requests/s", "received/s", "sent/s"]
    assert lines[3].split()[-6:] == ["0.0", "-", "0", "B", "0", "B"]
    assert lines[4].split()[-6:] == ["0.0", "150.0", "0", "B", "0", "B"]


def test_what_was_not_there_before_has_no_rate_yet() -> None:
    lines = shown(rated(look(), look()))
    assert lines[6].split() == ["web01", "web", "ready", "healthy", "2", "-", "-", "-", "0"]


@pytest.mark.parametrize(
    ("count", "total", "height", "rows", "more"),
    [
        (3, 3, 50, 3, None),
        (3, 3, 10, 3, None),
        (3, 3, 9, 1, "and 2 more targets"),
        (3, 3, 1, 0, "and 3 more targets"),
        (3, 40, 50, 3, "and 37 more targets"),
        (30, 40, 20, 12, "and 28 more targets"),
    ],
)
def test_the_picture_fits_the_terminal(count: int, total: int, height: int, rows: int, more: str | None) -> None:
    facts = look(NOW, *[target(number, f"web{number:02}") for number in range(count)])
    facts["groups"][0]["targets"] = total
    lines = shown(rated(facts, facts), height)
    assert len([line for line in lines if line.startswith("web") and "healthy" in line]) == rows
    assert (lines[-1] if "more targets" in lines[-1] else None) == more
    assert len(lines) < max(height, 9)


def test_a_group_that_fails_open_is_told_loudly() -> None:
    facts = look()
    facts["groups"][0]["fail_open"] = True
    blocks = picture(rated(facts, facts), 50)
    assert [block.tone for block in blocks if isinstance(block, Cell) and "FAIL-OPEN" in block.text] == ["loud"]
