"""What happens when DNS says something else: who is told, and when the running config is composed anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, cast

import pytest

from nlb.control.expand import Expanded, expand
from nlb.control.names import Question
from nlb.control.naming import BUSY, FIRST_ANSWERS, GATHER, REFUSED, Naming
from nlb.errors import AdminError, NlbError
from nlb.model.config import Config
from nlb.model.parse import parse
from nlb.observe.log import Events
from tests.names import Oracle, PostedTo, failing, told
from tests.waiting import until

APP, API = Question("app.test"), Question("api.test")


def config(*targets: str) -> Config:
    listed = ", ".join(f'"{target}"' for target in targets)
    text = f'[[listener]]\nbind = "0.0.0.0:80"\n[[target_group]]\nname = "web"\nport = 80\ntargets = [{listed}]\n'
    return parse(text, "test.toml")


class TurnedBy(PostedTo):
    """A loop that hears, at a turn, what threads have posted; or time passes, if they have not."""

    def turn(self) -> bool:
        if self.posted:
            self.hear()
        return super().turn()


class Desk:
    """Names, and in the place of controller and reloader somebody who notes what they are asked."""

    def __init__(self) -> None:
        self.loop = PostedTo()
        self.oracle = Oracle()
        self.events = Events()
        self.naming = Naming(cast(Any, self.loop), self.events, Random(1), self.oracle.ask)
        self.told: list[tuple[str, list[str], str, str]] = []
        self.recomposed: list[Callable[[Any], None]] = []
        self.busy = False

    def resolved(self, group: str, targets: Any, state: str, reason: str, since: float) -> None:
        self.told.append((group, [name for name, _ in targets], state, reason))

    def recompose(self, done: Callable[[Any], None]) -> None:
        if self.busy:
            raise AdminError("a reload is under way")
        self.recomposed.append(done)

    def start(self, asked: Config) -> Expanded:
        """As `first` and `join`, with the answers that are written by now."""
        ready: list[bool] = []
        self.naming.prepare(asked, lambda: ready.append(True))
        until(lambda: ready, between=self.hear)
        self.naming.expanded = expand(asked, self.naming.found())
        self.naming.join(cast(Any, self), self.recompose)
        return self.naming.expanded

    def hear(self) -> None:
        if self.loop.posted:
            self.loop.hear()

    def look_up_again(self) -> None:
        self.loop.pass_time(70)
        self.loop.hear()

    def finish(self) -> None:
        """The change that was asked for is made, as the reloader does it."""
        done = self.recomposed.pop()
        self.naming.follow(expand(self.naming.expanded.asked, self.naming.found()))
        done({})

    def targets(self) -> list[str]:
        return [target.name for group in self.naming.expanded.config.groups for target in group.targets]


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    desk.oracle.answers = {APP: told("10.0.0.1"), API: told("10.0.1.1")}
    yield desk
    desk.oracle.open.set()
    desk.naming.stop()


def test_the_start_has_what_was_answered(desk: Desk) -> None:
    desk.start(config("app=app.test", "one=10.0.0.9"))
    assert desk.targets() == ["app@10.0.0.1", "one"]
    desk.loop.pass_time(1)
    assert (desk.told, desk.recomposed) == ([], [])


def test_the_start_waits_no_longer_than_a_moment(desk: Desk) -> None:
    desk.oracle.open.clear()
    ready: list[bool] = []
    desk.naming.prepare(config("app=app.test"), lambda: ready.append(True))
    desk.loop.pass_time(FIRST_ANSWERS - 0.01)
    assert not ready
    desk.loop.pass_time(0.02)
    assert ready
    assert desk.naming.found() == {APP: ()}


def test_without_names_nothing_is_waited_for(desk: Desk) -> None:
    ready: list[bool] = []
    desk.naming.prepare(config("one=10.0.0.9"), lambda: ready.append(True))
    assert ready
    assert not desk.oracle.asked


def test_an_answer_that_comes_later_is_taken_in(desk: Desk) -> None:
    desk.oracle.open.clear()
    ready: list[bool] = []
    asked = config("app=app.test")
    desk.naming.prepare(asked, lambda: ready.append(True))
    desk.loop.pass_time(FIRST_ANSWERS)
    desk.naming.expanded = expand(asked, desk.naming.found())
    desk.naming.join(cast(Any, desk), desk.recompose)
    desk.oracle.open.set()
    desk.loop.hear()
    desk.loop.pass_time(GATHER)
    desk.finish()
    assert desk.targets() == ["app@10.0.0.1"]
    assert len(ready) == 1


def test_names_that_change_together_make_one_change(desk: Desk) -> None:
    desk.start(config("app=app.test", "api=api.test"))
    desk.oracle.answers = {APP: told("10.0.0.2"), API: told("10.0.1.2")}
    desk.loop.pass_time(70)
    desk.loop.hear(2)
    assert not desk.recomposed
    desk.loop.pass_time(GATHER)
    assert len(desk.recomposed) == 1
    desk.finish()
    assert desk.targets() == ["app@10.0.0.2", "api@10.0.1.2"]
    desk.loop.pass_time(1)
    assert not desk.recomposed


def test_a_failure_is_told_of_the_targets_that_stay(desk: Desk) -> None:
    desk.start(config("app=app.test"))
    desk.oracle.answers[APP] = failing("SERVFAIL")
    desk.look_up_again()
    desk.loop.pass_time(1)
    assert desk.told == [("web", ["app@10.0.0.1"], "stale", "SERVFAIL")]
    assert not desk.recomposed
    [fact] = desk.naming.facts("web")
    assert (fact["name"], fact["host"], fact["state"], fact["reason"], fact["addresses"]) == (
        *("app", "app.test:80", "stale", "SERVFAIL"),
        ["10.0.0.1"],
    )
    assert desk.naming.facts("another") == []


def test_targets_that_are_registered_anew_are_told_too(desk: Desk) -> None:
    desk.start(config("app=app.test"))
    desk.oracle.answers[APP] = failing("SERVFAIL")
    desk.look_up_again()
    desk.told.clear()
    desk.naming.follow(expand(config("renamed=app.test"), desk.naming.found()))
    assert desk.told == [("web", ["renamed@10.0.0.1"], "stale", "SERVFAIL")]


def test_while_a_reload_is_under_way_a_change_waits(desk: Desk) -> None:
    desk.start(config("app=app.test"))
    desk.busy = True
    desk.oracle.answers[APP] = told("10.0.0.2")
    desk.look_up_again()
    desk.loop.pass_time(GATHER + 3 * BUSY)
    assert not desk.recomposed
    desk.busy = False
    desk.loop.pass_time(BUSY)
    assert len(desk.recomposed) == 1


def test_what_a_reload_has_taken_in_meanwhile_is_not_asked_for_again(desk: Desk) -> None:
    desk.start(config("app=app.test"))
    desk.oracle.answers[APP] = told("10.0.0.2")
    desk.look_up_again()
    desk.naming.follow(expand(desk.naming.expanded.asked, desk.naming.found()))
    desk.loop.pass_time(1)
    assert not desk.recomposed


def test_what_changed_while_a_reload_was_made_comes_after_it(desk: Desk) -> None:
    desk.start(config("app=app.test"))
    before = desk.naming.found()
    desk.oracle.answers[APP] = told("10.0.0.2")
    desk.look_up_again()
    desk.loop.pass_time(GATHER)
    desk.recomposed.clear()
    desk.naming.follow(expand(desk.naming.expanded.asked, before))
    desk.loop.pass_time(GATHER)
    assert len(desk.recomposed) == 1


def test_what_is_refused_is_tried_again_later(desk: Desk) -> None:
    desk.start(config("app=app.test"))
    desk.oracle.answers[APP] = told("10.0.0.2", ttl=60)
    desk.look_up_again()
    desk.loop.pass_time(GATHER)
    desk.recomposed.pop()(NlbError("no room"))
    desk.loop.pass_time(REFUSED - 1)
    assert not desk.recomposed
    desk.loop.pass_time(1)
    assert len(desk.recomposed) == 1


def test_a_reload_waits_for_the_first_answers_of_new_names_only(desk: Desk) -> None:
    desk.start(config("app=app.test"))
    ready: list[bool] = []
    desk.naming.prepare(config("app=app.test"), lambda: ready.append(True))
    assert ready == [True]
    desk.naming.prepare(config("app=app.test", "api=api.test"), lambda: ready.append(True))
    assert ready == [True]
    desk.loop.hear()
    assert ready == [True, True]
    desk.loop.pass_time(FIRST_ANSWERS)
    assert ready == [True, True]
    assert {question: len(found) for question, found in desk.naming.found().items()} == {APP: 1, API: 1}


def test_a_config_that_does_not_come_leaves_no_names_behind(desk: Desk) -> None:
    desk.start(config("app=app.test"))
    desk.naming.prepare(config("api=api.test"), lambda: None)
    assert set(desk.naming.found()) == {APP, API}
    desk.naming.back()
    assert set(desk.naming.found()) == {APP}


def test_a_name_that_is_no_longer_in_the_config_is_forgotten(desk: Desk) -> None:
    desk.start(config("app=app.test"))
    desk.naming.follow(expand(config("one=10.0.0.9"), desk.naming.found()))
    assert (desk.naming.found(), desk.naming.facts("web")) == ({}, [])


def test_addresses_without_room_are_told_once(desk: Desk) -> None:
    asked = config("app=app.test")
    desk.start(asked)
    none = expand(asked, desk.naming.found())
    too_many = Expanded(none.asked, none.names, none.found, none.config, 7)
    for expanded in (too_many, too_many, none, none):
        desk.naming.follow(expanded)
    assert [(event["level"], event["text"]) for event in desk.events.ring if "room" in event["text"]] == [
        ("error", "7 addresses of names are not used, for want of room for more targets"),
        ("info", "0 addresses of names are not used, for want of room for more targets"),
    ]


@pytest.mark.parametrize(
    ("name", "labels"), [("app", ["web/app"]), ("web/app", ["web/app"]), ("one", []), ("app@10.0.0.1", [])]
)
def test_a_name_is_found_with_or_without_its_group(desk: Desk, name: str, labels: list[str]) -> None:
    desk.start(config("app=app.test", "one=10.0.0.9"))
    assert [item.label for item in desk.naming.find(name)] == labels


def test_the_loop_turns_while_the_start_waits() -> None:
    """`first`, on a loop that hears of answers by itself."""
    oracle = Oracle()
    oracle.answers = {APP: told("10.0.0.1")}
    loop = TurnedBy()
    naming = Naming(cast(Any, loop), Events(), Random(1), oracle.ask)
    expanded = naming.first(config("app=app.test"))
    assert [target.name for target in expanded.config.groups[0].targets] == ["app@10.0.0.1"]
    naming.stop()
