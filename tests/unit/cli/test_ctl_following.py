"""`nlb ctl events --follow`: every event once, in order, until somebody ends it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nlb.admin.client import Client
from nlb.cli import DONE
from nlb.cli.following import follow
from nlb.cli.talk import Talk
from tests.unit.admin.canned import NOW, Daemon, Facts


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


def event(number: int, kind: str = "target") -> Facts:
    return {"at": NOW + number, "level": "info", "kind": kind, "text": f"event {number}"}


def between(*acts: Callable[[], object]) -> Callable[[float], None]:
    """A sleep during which the next of these happens; then somebody presses Ctrl-C."""
    left = list(acts)

    def sleep(seconds: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    return sleep


def followed(daemon: Daemon, for_programs: bool, *acts: Callable[[], object], **args: object) -> int:
    with Client(daemon.path) as client:
        talk = Talk(client, "events", args, for_programs)
        return follow(talk, talk.ask(), between(*acts))


def test_each_event_is_told_once(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    ring = daemon.controller.facts["events"]
    acts = (lambda: ring.append(event(1)), lambda: None, lambda: ring.extend([event(2), event(3)]))
    assert followed(daemon, False, *acts, limit=1) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("target    ")[2] for line in lines] == [
        "api/node is unhealthy: connection refused",
        "event 1",
        "event 2",
        "event 3",
    ]


def test_only_those_of_the_kind(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    ring = daemon.controller.facts["events"]
    followed(
        daemon,
        False,
        lambda: ring.append(event(1)),
        lambda: ring.append(event(2, "worker")),
        lambda: ring.append(event(3)),
        kind="worker",
    )
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("event 2")


def test_programs_get_an_object_per_line(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    ring = daemon.controller.facts["events"]
    followed(daemon, True, lambda: ring.append(event(1)))
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == ring


def test_what_was_forgotten_in_between_is_admitted(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    ring = daemon.controller.facts["events"]

    def flood() -> None:
        ring[:] = [event(number) for number in range(10, 13)]

    followed(daemon, False, flood, limit=1)
    shown = capsys.readouterr()
    assert shown.err == "more happened than nlb keeps; some events are missing here\n"
    assert len(shown.out.splitlines()) == 4


def test_following_may_begin_before_anything_has_happened(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    ring = daemon.controller.facts["events"]
    ring.clear()
    followed(daemon, False, lambda: ring.append(event(1)))
    assert capsys.readouterr().out.endswith("event 1\n")
