"""What `nlb ctl health` shows of one target."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.admin import phrases
from nlb.cli.results import health
from nlb.cli.tables import Cell, Table, plain
from tests.unit.admin.canned import NOW, checked, fact, result, target


def lines(*results: Any, target: Any, **changes: Any) -> list[str]:
    return [line for block in health(checked(target, *results, **changes)) for line in plain(block)]


WELL = target(0, "web01", health=fact("healthy", "status 200", since=NOW - 200))


def test_all_of_a_target() -> None:
    shown = lines(
        result(True, "status 200", NOW - 12),
        result(False, "status 503, wanted 200-399", NOW - 9, took=0.25),
        result(False, "connection refused (seen by traffic)", NOW - 8, by="traffic", took=None, count=37, changed=True),
        target=WELL,
    )
    at = [phrases.at(NOW - seconds) for seconds in (12, 9, 8)]
    assert shown[:4] == [
        "web/web01 is healthy for 3m 20s: status 200",
        "asked http /healthz for 200-399; every 2s, 2s to answer",
        "7 passed in a row; 2 make it healthy, 3 make it unhealthy",
        "",
    ]
    assert [" ".join(line.split()) for line in shown[4:]] == [
        "when by result took answer health",
        f"{at[0]} probe passed 1.5ms status 200",
        f"{at[1]} probe failed 250ms status 503, wanted 200-399",
        f"{at[2]} traffic failed 37 times - connection refused (seen by traffic) now unhealthy",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"passes": 0, "failures": 2}, "2 failed in a row; 2 make it healthy, 3 make it unhealthy"),
        ({"flips": 4}, "its health changed 4 times within 5m, 5 begin a hold"),
        ({"held": 21.4}, "held out for 21s more, because it flaps; nlb ctl ready ends that"),
        ({"phase": "paused"}, "not asked now: it is in maint"),
        ({"trouble": "too many open files here"}, "cannot be asked: too many open files here"),
    ],
)
def test_what_is_said_where_it_holds(changes: Any, line: str) -> None:
    assert line in lines(result(True, "status 200"), target=WELL, **changes)
    told = lines(result(True, "status 200"), target=WELL)
    assert line not in told


def test_a_target_without_results_yet() -> None:
    new = target(0, "web01", health=fact("initial"))
    shown = lines(target=new, passes=0)
    assert (shown[0], shown[-1]) == ("web/web01 is initial for 1m", "no result yet")


def test_a_target_that_is_not_checked() -> None:
    unchecked = checked(WELL)
    unchecked["check"]["protocol"] = "none"
    assert [plain(block) for block in health(unchecked)][1:] == [["it is never asked: protocol is none"]]


@pytest.mark.parametrize(("state", "tone"), [("initial", "warn"), ("healthy", "good"), ("unhealthy", "bad")])
def test_the_first_line_has_the_colour_of_the_health(state: str, tone: str) -> None:
    first = health(checked(target(0, "web01", health=fact(state))))[0]
    assert isinstance(first, Cell)
    assert first.tone == tone


def test_a_table_is_there_only_with_results() -> None:
    assert not any(isinstance(block, Table) for block in health(checked(WELL)))
