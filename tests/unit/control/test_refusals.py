"""What shields refuse is told once a minute, and only what is new."""

from __future__ import annotations

from copy import deepcopy

from nlb.control.refusals import EVERY, Counts, Refusals
from tests.fakes import HandLoop
from tests.unit.control.stepped import FakeEvents


def test_one_line_a_minute_for_each_listener_that_refused_something():
    loop, events = HandLoop(), FakeEvents()
    counts: Counts = {"a": {"refused": {"denied": 5}, "monitored": {}}}
    Refusals(loop, lambda: deepcopy(counts), events).start()
    loop.pass_time(EVERY)
    assert events.said == []
    counts["a"]["refused"] = {"denied": 7, "rate": 10}
    counts["b"] = {"refused": {}, "monitored": {"request_rate": 1}}
    loop.pass_time(EVERY)
    assert [text for _, _, text in events.said] == [
        "listener a: the shield refused 12: 10 rate, 2 denied within the last minute",
        "listener b: the shield would have refused 1: 1 request_rate within the last minute",
    ]
    loop.pass_time(EVERY)
    assert len(events.said) == 2
