"""One change at a time: what is refused while one is made, what waits for its end, and what counts as another config.

The parts around are played: what a reload does to a real nlb is in tests/system/test_reload.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nlb.control.expand import Expanded, expand
from nlb.control.names import Found, Question
from nlb.control.overrides import Overrides
from nlb.control.reload import Reloader, Running
from nlb.errors import AdminError, NlbError
from nlb.model.config import Config
from nlb.model.parse import parse
from nlb.model.plan import Plan
from tests.names import PostedTo

LISTENER = '[[listener]]\nbind = "0.0.0.0:80"\n'
FILE = LISTENER + '[[target_group]]\nname = "web"\ntargets = ["app=app.test:80", "one=10.0.0.9:80"]\n'
APP = Question("app.test")


class Events:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, level: str, kind: str, text: str, **facts: object) -> None:
        self.said.append(f"{level}: {text}")

    def bug(self, error: Exception, where: str) -> None:
        raise error


class FakeController:
    def __init__(self, loop: PostedTo, config: Config) -> None:
        self.loop = loop
        self.config = config
        self.events = Events()
        self.state = "running"
        self.registrations: dict[int, Any] = {}
        self.members: list[Any] = []
        self.applied: list[tuple[tuple[str, ...], frozenset[tuple[str, str]]]] = []
        self.full = False

    def check_room(self, plan: Plan) -> None:
        if self.full:
            raise AdminError("no room")

    def add_groups(self, plan: Plan, names: frozenset[tuple[str, str]]) -> Iterator[None]:
        self.applied.append((plan.sentences, names))
        yield

    def remove_groups(self, plan: Plan) -> Iterator[None]:
        self.config = plan.new
        yield

    def changed(self) -> None:
        pass


class FakeSupervisor:
    """Workers take a change in when the test says so."""

    def __init__(self) -> None:
        self.listening = SimpleNamespace(listeners={}, open=lambda plan: None)
        self.removed_listeners: list[int] = []
        self.rows: list[Any] = []
        self.settling: list[Callable[[list[int]], None]] = []

    def apply_listeners(self, plan: Plan, opening: object) -> Iterator[None]:
        yield

    def settle(self, done: Callable[[list[int]], None]) -> None:
        self.settling.append(done)


class FakeNaming:
    """Answers at once, unless the test wants it to be `slow`."""

    def __init__(self) -> None:
        self.known: dict[Question, tuple[Found, ...]] = {APP: (Found("app.test", "10.0.0.1"),)}
        self.followed: list[Expanded] = []
        self.backs = 0
        self.slow: list[Callable[[], None]] | None = None

    def prepare(self, config: Config, done: Callable[[], None]) -> None:
        if self.slow is None:
            done()
        else:
            self.slow.append(done)

    def found(self) -> dict[Question, tuple[Found, ...]]:
        return dict(self.known)

    def follow(self, expanded: Expanded) -> None:
        self.followed.append(expanded)

    def back(self) -> None:
        self.backs += 1


class Desk:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "nlb.toml"
        self.file.write_text(FILE)
        config = parse(FILE, "nlb.toml")
        self.loop = PostedTo()
        self.naming = FakeNaming()
        self.controller = FakeController(self.loop, expand(config, self.naming.known).config)
        self.supervisor = FakeSupervisor()
        self.running = Running(str(self.file), "first", config)
        overrides = Overrides(None, self.controller.events.say)
        parts = (self.controller, self.supervisor, overrides, self.naming, self.running)
        self.reloader = Reloader(*cast(Any, parts))
        self.results: dict[str, Any] = {}

    def begin(self, who: str) -> None:
        """`file`, `names` or an operator's name."""

        def done(result: object) -> None:
            self.results[who] = result

        if who == "file":
            self.reloader.reload("ann", done)
        elif who == "names":
            self.reloader.renew(done)
        else:
            self.reloader.recompose(who, done)

    def make(self) -> None:
        """Let the change be read, looked up, planned and applied; workers have still to take it in."""
        self.loop.hear(2)

    def finish(self) -> None:
        self.supervisor.settling.pop(0)([])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_reload_is_another_generation_and_told(desk: Desk) -> None:
    desk.file.write_text(FILE.replace("10.0.0.9", "10.0.0.8"))
    desk.begin("file")
    desk.make()
    desk.finish()
    sentences, names = desk.controller.applied[0]
    assert sentences == (
        "group web: add target one (10.0.0.8:80), weight 1",
        "group web: remove target one (10.0.0.9:80): drain its sessions",
    )
    assert names == {("web", "app")}
    assert desk.results["file"]["generation"] == desk.running.generation == 2
    assert desk.results["file"]["steps"] == list(sentences)
    assert desk.controller.events.said == ["info: reload by ann: generation 2, 2 changes, 0 of 0 sessions affected"]
    assert [expanded.asked for expanded in desk.naming.followed] == [desk.running.config]


def test_other_addresses_of_names_are_no_generation_and_no_news(desk: Desk) -> None:
    desk.naming.known[APP] = (Found("app.test", "10.0.0.2"),)
    desk.begin("names")
    desk.make()
    desk.finish()
    assert [target.name for target in desk.controller.config.groups[0].targets] == ["app@10.0.0.2", "one"]
    assert (desk.running.generation, desk.running.hash, desk.controller.events.said) == (1, "first", [])
    assert desk.results["names"]["generation"] == 1


def test_names_of_a_new_file_are_looked_up_before_it_is_planned(desk: Desk) -> None:
    desk.file.write_text(FILE.replace("app.test", "new.test"))
    desk.naming.slow = []
    desk.begin("file")
    desk.loop.hear()
    assert not desk.controller.applied
    desk.naming.known[Question("new.test")] = (Found("new.test", "10.0.0.7"),)
    desk.naming.slow.pop()()
    desk.loop.hear()
    assert desk.controller.applied[0][0] == (
        "group web: add target app@10.0.0.7 (10.0.0.7:80), weight 1",
        "group web: remove target app@10.0.0.1 (10.0.0.1:80): drain its sessions",
    )


@pytest.mark.parametrize("first", ["file", "bob"])
@pytest.mark.parametrize("second", ["file", "ann", "names"])
def test_while_somebody_changes_something_others_are_refused(desk: Desk, first: str, second: str) -> None:
    desk.begin(first)
    with pytest.raises(AdminError, match="under way; try again"):
        desk.begin(second)
    desk.make()
    desk.finish()
    assert list(desk.results) == [first]
    desk.begin(second)


def test_nobody_is_refused_because_names_changed_but_waits(desk: Desk) -> None:
    desk.begin("names")
    desk.begin("file")
    desk.make()
    assert len(desk.controller.applied) == 1
    desk.finish()
    assert list(desk.results) == ["names"]
    desk.make()
    desk.finish()
    assert list(desk.results) == ["names", "file"]
    assert desk.running.generation == 2


def test_only_one_may_wait(desk: Desk) -> None:
    desk.begin("names")
    desk.begin("file")
    for third in ("names", "file", "ann"):
        with pytest.raises(AdminError, match="under way; try again"):
            desk.begin(third)


def test_names_wait_for_nobody(desk: Desk) -> None:
    desk.begin("names")
    with pytest.raises(AdminError, match="under way; try again"):
        desk.begin("names")


def test_who_waits_has_its_turn_when_the_change_before_is_refused(desk: Desk) -> None:
    desk.controller.full = True
    desk.begin("names")
    desk.begin("ann")
    desk.make()
    assert isinstance(desk.results["names"], NlbError)
    assert desk.controller.events.said == [
        "error: new addresses of names refused, nothing was changed: no room",
    ]
    desk.controller.full = False
    desk.make()
    desk.finish()
    assert desk.results["ann"]["generation"] == 2


def test_when_nlb_stops_who_waits_is_told(desk: Desk) -> None:
    desk.begin("names")
    desk.begin("file")
    desk.make()
    desk.controller.state = "stopping"
    desk.finish()
    assert str(desk.results["file"]) == "nlb is stopping; nothing was changed"
    with pytest.raises(AdminError, match="stopping"):
        desk.begin("ann")


def test_a_refused_file_leaves_names_and_config_as_they_were(desk: Desk) -> None:
    desk.file.write_text(FILE + "tragets = []\n")
    desk.begin("file")
    desk.loop.hear()
    assert "tragets" in str(desk.results["file"])
    assert (desk.naming.backs, desk.naming.followed, desk.controller.applied) == (1, [], [])
    assert (desk.running.generation, desk.running.reload_ok) == (1, False)
    desk.begin("ann")
