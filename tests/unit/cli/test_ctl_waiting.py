"""When a drain is over, as a table, and how the waiting goes."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.cli.waiting import LOOK, Progress, progress, wait
from tests.unit.admin.canned import fact, target


def drained(sessions: int, seconds: float | None = 10.0, ended: str = "", admin: str = "drain") -> dict[str, Any]:
    drain = None if seconds is None else {"started": 0.0, "deadline": 0.0, "seconds_left": seconds, "ended": ended}
    return target(0, "web01", admin=fact(admin), sessions=sessions, drain=drain)


def before(sessions: int) -> Progress:
    return Progress("web01", "web", "draining", sessions, 1.0)


@pytest.mark.parametrize(
    ("row", "last", "state", "sessions"),
    [
        (drained(3), None, "draining", 3),
        (drained(3, seconds=None), None, "draining", 3),
        (drained(0), None, "empty", 0),
        (drained(0, ended="empty"), before(1), "empty", 0),
        (drained(0, seconds=0.0), before(1), "empty", 0),
        (drained(2, 0.0, "timeout"), before(2), "late", 2),
        (drained(0, 0.0, "timeout"), before(4), "late", 4),
        (drained(0, 0.0, "timeout"), None, "late", 0),
        (drained(2, None, admin="ready"), before(2), "undone", 2),
        (drained(0, None, admin="ready"), before(2), "undone", 0),
        (drained(2, admin="maint"), before(3), "draining", 2),
    ],
)
def test_how_far_a_drain_is(row: dict[str, Any], last: Progress | None, state: str, sessions: int) -> None:
    now = progress(row, last)
    assert (now.state, now.sessions) == (state, sessions)


def test_targets_that_are_done_are_not_asked_for_again() -> None:
    first, second = drained(0), {**drained(1), "group": "api"}
    asked: list[str] = []

    def look(name: str) -> dict[str, Any]:
        asked.append(name)
        return {"targets": [{**second, "sessions": 0 if len(asked) == 3 else 1}]}

    told: list[list[str]] = []
    pauses: list[float] = []
    ends = wait(
        {"targets": [first, second]},
        look,
        lambda seen: told.append([each.state for each in seen]),
        pauses.append,
    )
    assert asked == ["api/web01"] * 3
    assert [end.state for end in ends] == ["empty", "empty"]
    assert told == [["empty", "draining"]] * 3 + [["empty", "empty"]]
    assert pauses == [0.05, 0.1, 0.2]


def test_looks_become_rarer_up_to_a_bound() -> None:
    pauses: list[float] = []
    wait(
        {"targets": [drained(1)]},
        lambda name: {"targets": [drained(1 if len(pauses) < 20 else 0)]},
        lambda seen: None,
        pauses.append,
    )
    assert max(pauses) == pauses[-1] == LOOK
