"""Who stands still is ended, who is idle or was held up with the whole box is not; and what systemd hears."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from nlb.control.watchdog import LOOK, MOMENT, NOT_STARTED, STUCK, Watchdog
from nlb.observe.counters import TURNS
from tests.fakes import HandLoop

SECOND = 1.0


@dataclass(eq=False)
class Process:
    pid: int
    signals: list[int] = field(default_factory=list)

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


class Worker:
    """Publishes its turns every second, unless it stands still."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: Process | None = Process(100 + index)
        self.state = "running"
        self.verdict = ""
        self.turns = 0
        self.stands = False
        self.stack_written = "in loop.py"

    @property
    def worker(self) -> dict[int, int]:
        return {TURNS: self.turns}

    def stack(self) -> str:
        return self.stack_written


class Plane:
    """As a supervisor, as far as a watchdog knows one."""

    def __init__(self, workers: int) -> None:
        self.workers = [Worker(index) for index in range(workers)]
        self.killed: list[tuple[int, str]] = []

    @property
    def rows(self) -> list[Worker]:
        return self.workers

    def kill(self, worker: Worker, why: str) -> None:
        assert worker.process is not None
        self.killed.append((worker.process.pid, why))

    def replace(self, index: int) -> None:
        worker = self.workers[index]
        worker.process, worker.verdict, worker.stands = Process(200 + index), "", False

    def crashed(self, error: Exception) -> None:
        raise error


class Box:
    """Everything, and its time."""

    def __init__(self, workers: int = 1, watchdog: float = 0.0) -> None:
        self.loop = HandLoop()
        self.plane = Plane(workers)
        self.pings: list[float] = []
        notifier = SimpleNamespace(watchdog=watchdog, alive=lambda: self.pings.append(self.loop.now))
        self.watchdog = Watchdog(self.loop, self.plane, notifier)  # type: ignore[arg-type]
        self.watchdog.start()

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            for worker in self.plane.workers:
                worker.turns += not worker.stands
            self.loop.pass_time(SECOND)

    @property
    def worker(self) -> Worker:
        return self.plane.workers[0]


def test_an_idle_worker_is_left_alone() -> None:
    box = Box(workers=2)
    box.pass_time(120)
    assert box.plane.killed == []


def test_a_worker_that_stands_still_is_asked_where_and_killed() -> None:
    box = Box(workers=2)
    box.pass_time(10)
    box.worker.stands = True
    box.pass_time(STUCK - SECOND)
    assert box.plane.killed == []
    box.pass_time(2 * SECOND + MOMENT)
    assert box.worker.process is not None
    assert box.worker.process.signals == [signal.SIGUSR2]
    assert box.plane.killed == [(100, "stuck, its loop stood still for 5 s; killed")]


def test_one_without_a_stack_is_killed_as_well() -> None:
    box = Box()
    box.worker.stack_written = ""
    box.worker.stands = True
    box.pass_time(STUCK + 2)
    assert [pid for pid, why in box.plane.killed if "it gave no stack" in why] == [100]


def test_one_that_died_by_itself_is_not_taken_for_its_replacement() -> None:
    box = Box()
    box.worker.stands = True
    box.pass_time(STUCK + SECOND)
    box.plane.killed.clear()
    box.plane.replace(0)
    box.pass_time(60)
    assert box.plane.killed == []


def test_a_new_process_may_take_its_time() -> None:
    box = Box()
    box.plane.replace(0)
    box.worker.state, box.worker.stands = "starting", True
    box.pass_time(NOT_STARTED - SECOND)
    assert box.plane.killed == []
    box.pass_time(3 * SECOND)
    assert [pid for pid, _ in box.plane.killed] == [200]


def test_one_that_stops_has_its_own_time() -> None:
    box = Box()
    box.worker.state, box.worker.stands = "stopping", True
    box.pass_time(60)
    assert box.plane.killed == []


def test_nobody_is_blamed_for_a_pause_of_the_whole_box() -> None:
    box = Box(watchdog=30)
    box.pass_time(3)
    box.loop.now += 600  # asleep; nobody turned, this loop neither
    box.pass_time(60)
    assert box.plane.killed == []
    assert box.pings


@pytest.mark.parametrize("interval", [6.0, 30.0, 120.0])
def test_systemd_hears_from_us_three_times_per_interval(interval: float) -> None:
    box = Box(watchdog=interval)
    began = box.loop.now
    box.pass_time(interval * 4)
    gaps = [later - earlier for earlier, later in zip([began, *box.pings], box.pings, strict=False)]
    assert max(gaps) <= interval / 3
    assert min(gaps) >= interval / 3 - 2 * LOOK


def test_systemd_hears_nothing_when_it_did_not_ask() -> None:
    box = Box()
    box.pass_time(60)
    assert box.pings == []


def test_pings_stop_when_no_worker_turns_and_come_again_when_one_does() -> None:
    box = Box(workers=2, watchdog=12)
    box.pass_time(12)
    for worker in box.plane.workers:
        worker.stands = True
    stood = box.loop.now
    box.pass_time(12)
    assert stood + 6 - 4 <= max(box.pings) <= stood + 6
    box.plane.replace(1)
    again = box.loop.now
    box.pass_time(12)
    assert max(box.pings) > again


def test_one_worker_that_turns_is_enough() -> None:
    box = Box(workers=2, watchdog=12)
    box.worker.stands = True
    box.pass_time(60)
    assert max(box.pings) >= box.loop.now - 4


def test_pings_go_on_without_workers_only_for_a_while() -> None:
    """All of them die young: systemd shall try from the beginning."""
    box = Box(watchdog=12)
    began = box.loop.now
    box.worker.process = None
    box.pass_time(60)
    assert max(box.pings) <= began + 6
