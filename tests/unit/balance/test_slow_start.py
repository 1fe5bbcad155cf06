"""Slow start: who begins slowly, and how the weight grows."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.balance.slow_start import FULL, arrivals, level, weights
from nlb.balance.target import Target
from tests.unit.balance.box import make

SECONDS = 30.0


class Story:
    """Targets a, b, c; every change takes a second. Tells who starts slowly."""

    def __init__(self, health: str = "initial") -> None:
        self.targets = {target.name: target for target in make([1, 1, 1])}
        self.now = 1000.0
        for target in self.targets.values():
            target.set_health(health, "", 0)
        self.tell()

    def tell(self) -> None:
        arrivals(list(self.targets.values()), self.now, SECONDS)

    def change(self, names: str, **facts: Any) -> Story:
        for name in names:
            for fact, state in facts.items():
                getattr(self.targets[name], f"set_{fact}")(*([state] if fact == "weight" else [state, "", 0]))
        self.tell()
        self.now += 1
        return self

    @property
    def slow(self) -> str:
        return "".join(name for name, target in self.targets.items() if level(target, self.now, SECONDS) < FULL)


def test_at_the_start_of_nlb_nobody_is_slow() -> None:
    assert Story().change("a", health="healthy").change("b", health="healthy").change("c", health="healthy").slow == ""


@pytest.mark.parametrize(
    ("away", "back"),
    [
        pytest.param({"health": "unhealthy"}, {"health": "healthy"}, id="unhealthy"),
        pytest.param({"admin": "drain"}, {"admin": "ready"}, id="drain"),
        pytest.param({"admin": "maint"}, {"admin": "ready"}, id="maint"),
        pytest.param({"resolve": "none"}, {"resolve": "ok"}, id="without an address"),
        pytest.param({"weight": 0}, {"weight": 1}, id="weight 0"),
    ],
)
def test_who_was_away_and_comes_back_is_slow(away: dict[str, Any], back: dict[str, Any]) -> None:
    story = Story("healthy").change("b", **away)
    assert story.slow == ""
    assert story.change("b", **back).slow == "b"


def test_who_failed_its_very_first_check_is_slow_when_it_comes_up() -> None:
    story = Story().change("ab", health="healthy").change("c", health="unhealthy")
    assert story.change("c", health="healthy").slow == "c"


def test_who_is_added_while_nlb_runs_is_slow() -> None:
    story = Story("healthy")
    (d,) = make([1])
    d.set_health("initial", "", 0)
    d.is_cold = True
    story.targets["d"] = d
    story.tell()
    assert story.slow == ""
    assert story.change("d", health="healthy").slow == "d"


def test_who_comes_back_alone_has_all_the_weight_at_once() -> None:
    story = Story("healthy").change("abc", health="unhealthy")
    assert story.change("a", health="healthy").slow == ""
    assert story.change("b", health="healthy").slow == "b"


def test_when_all_come_back_together_nobody_is_slow() -> None:
    assert Story("healthy").change("abc", health="unhealthy").change("abc", health="healthy").slow == ""


def test_beside_others_that_are_slow_themselves_nobody_is() -> None:
    story = Story("healthy").change("b", health="unhealthy").change("b", health="healthy").change("ac", admin="drain")
    assert story.change("a", admin="ready").slow == "b"


def test_it_ends_when_the_target_fails_and_begins_anew_when_it_is_back() -> None:
    story = Story("healthy").change("b", health="unhealthy").change("b", health="healthy")
    first = story.targets["b"].slow_from
    assert story.change("b", health="unhealthy").targets["b"].slow_from == 0
    assert story.change("b", health="healthy").targets["b"].slow_from > first


def test_other_news_about_a_slow_target_change_nothing() -> None:
    story = Story("healthy").change("b", health="unhealthy").change("b", health="healthy")
    since = story.targets["b"].slow_from
    assert story.change("b", weight=7).change("c", weight=3).targets["b"].slow_from == since


@pytest.mark.parametrize(
    ("after", "twentieths"),
    [(0.0, 2), (1.6, 2), (1.7, 3), (7.5, 6), (15.0, 11), (22.5, 15), (29.9, 19), (30.0, 20), (1e6, 20)],
)
def test_the_weight_grows_evenly_from_a_tenth(after: float, twentieths: int) -> None:
    (target,) = make([1])
    target.slow_from = 1000.0
    assert level(target, 1000.0 + after, SECONDS) == twentieths


def slow(target: Target, since: float) -> None:
    target.slow_from = since


def test_weights_are_in_twentieths_while_somebody_is_slow() -> None:
    targets = make([1, 5, 2])
    slow(targets[1], 1000.0)
    assert weights(targets, 1015.0, SECONDS) == [20, 55, 40]
    assert weights(targets, 1030.0, SECONDS) is None


def test_if_all_are_slow_nobody_is() -> None:
    targets = make([1, 5])
    slow(targets[0], 1000.0)
    slow(targets[1], 1010.0)
    assert weights(targets, 1015.0, SECONDS) is None
    assert weights((), 1015.0, SECONDS) is None
