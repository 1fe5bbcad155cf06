"""Whose turn it is to run a program. Real programs are in tests/wire/test_exec_probe.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nlb.control.exec_probe import AT_ONCE, STEP, Programs, verdict_of
from tests.fakes import HandLoop


class FakeEvents:
    def __init__(self) -> None:
        self.bugs: list[str] = []

    def bug(self, error: Exception, where: str) -> None:
        self.bugs.append(str(error))


class FakeProgram:
    def __init__(self, started: list[FakeProgram], starts: Callable[[], bool] = lambda: True) -> None:
        self._started = started
        self._starts = starts

    def start(self) -> bool:
        self._started.append(self)
        return self._starts()


class Turns:
    def __init__(self) -> None:
        self.loop = HandLoop()
        self.events = FakeEvents()
        self.clock = 0.0
        self.programs = Programs(self.loop, self.events, lambda: self.clock)  # type: ignore[arg-type]
        self.started: list[FakeProgram] = []

    def enqueue(self, count: int, starts: Callable[[], bool] = lambda: True) -> list[FakeProgram]:
        made = [FakeProgram(self.started, starts) for _ in range(count)]
        for program in made:
            self.programs.enqueue(program)  # type: ignore[arg-type]
        return made


def test_the_first_starts_at_once_and_one_per_step_after_it() -> None:
    it = Turns()
    made = it.enqueue(4)
    it.loop.settle()
    assert it.started == made[:1]
    it.loop.pass_time(STEP * 2.5)
    assert it.started == made[:3]


def test_starts_that_take_long_take_at_most_a_fifth_of_the_time() -> None:
    it = Turns()

    def slow() -> bool:
        it.clock += 0.1
        return True

    it.enqueue(20, slow)
    it.loop.pass_time(2.0)
    assert len(it.started) == 5  # at 0, 0.5, 1, 1.5 and 2


def test_so_many_run_at_once_and_not_more() -> None:
    it = Turns()
    made = it.enqueue(AT_ONCE + 2)
    it.loop.pass_time(60)
    assert it.started == made[:AT_ONCE]
    it.programs.ended()
    it.loop.pass_time(60)
    assert it.started == made[: AT_ONCE + 1]


def test_one_that_cannot_start_takes_no_place() -> None:
    it = Turns()
    it.enqueue(AT_ONCE * 2, starts=lambda: False)
    it.loop.pass_time(60)
    assert len(it.started) == AT_ONCE * 2


def test_who_leaves_is_not_started_and_is_told_whether_it_waited() -> None:
    it = Turns()
    first, second, third = it.enqueue(3)
    assert it.programs.leave(second)  # type: ignore[arg-type]
    assert not it.programs.leave(second)  # type: ignore[arg-type]
    it.loop.pass_time(60)
    assert it.started == [first, third]
    assert not it.programs.leave(first)  # type: ignore[arg-type]


def test_when_all_have_left_nothing_happens() -> None:
    it = Turns()
    (only,) = it.enqueue(1)
    it.programs.leave(only)  # type: ignore[arg-type]
    it.loop.pass_time(60)
    assert not it.started
    assert not it.loop.deadlines


def test_a_bug_in_one_is_told_and_the_others_have_their_turn() -> None:
    it = Turns()

    def broken() -> bool:
        raise RuntimeError("not mine")

    it.enqueue(1, broken)
    (other,) = it.enqueue(1)
    it.loop.pass_time(60)
    assert it.events.bugs == ["not mine"]
    assert it.started[1:] == [other]


@pytest.mark.parametrize(
    ("code", "status", "verdict"),
    [
        (1, 0, "exit 0"),
        (1, 255, "exit 255"),
        (2, 15, "killed by SIGTERM"),
        (3, 11, "killed by SIGSEGV"),
        (2, 63, "killed by signal 63"),
    ],
)
def test_how_a_process_ended(code: int, status: int, verdict: str) -> None:
    assert verdict_of(code, status) == verdict
