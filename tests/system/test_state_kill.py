"""Overrides under SIGKILL: a process that changes them without a pause is killed at 100 random moments. What the next
start finds is what the killed one had finished, or the very next state; never another.

As a program this file is that process. It keeps no state but what is on disk, and forks for each life, because a fork
is a hundred times faster than a start of Python.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest

from nlb.control.overrides import Override, Overrides, What
from nlb.control.state import StateDir
from nlb.model.address import Address

KILLS = 100

# Seconds a life may last: some starts, and some tens of saves.
LONGEST_LIFE = 0.02

# Overrides on disk once the sequence has run for a while: more than fit into one page.
TARGETS = 60


def change(overrides: Overrides, number: int) -> None:
    """Change `number` of a sequence that is always the same. Some end several overrides at once."""
    target = number * 7 % TARGETS

    def wish(what: What, value: str | int | None, until: float | None = None) -> None:
        address = Address("10.0.0.1", 3000 + target)
        reason = f"change {number} " + "for a reason " * (number % 8)
        overrides.set(Override("web", f"web{target}", str(address), what, value, "ada", number, reason, until), 1)

    match number % 11:
        case 0 | 1 | 2 | 3:
            wish("admin", "drain", until=number + 50)
        case 4 | 5 | 6:
            wish("weight", number % 1000)
        case 7:
            wish("removed", None)
        case 8:
            wish("added", 1)
        case 9:
            wish("admin", "ready")
        case 10:
            overrides.expire(number)


# --- the process that is killed


def nursery(folder: str) -> None:
    """A life for every line, which is the number of its first change."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            live(folder, int(line))
        _, status = os.waitpid(child, 0)
        tell(f"ended {os.waitstatus_to_exitcode(status)}")


def live(folder: str, number: int) -> None:
    """Does not return."""
    try:
        tell(f"pid {os.getpid()}")
        overrides = Overrides(StateDir(folder, complain), complain)
        while True:
            change(overrides, number)
            number += 1
            tell(f"done {number}")
    finally:
        os._exit(1)


def complain(level: str, kind: str, text: str) -> None:
    print(level, kind, text, file=sys.stderr, flush=True)
    os._exit(2)


def tell(what: str) -> None:
    os.write(1, f"{what}\n".encode())


# --- the test


class Sequence:
    """The overrides after so many changes, as a process that lives on would have them."""

    def __init__(self) -> None:
        self._overrides = Overrides(None, complain)
        self._states = [self._overrides.all()]

    def after(self, changes: int) -> list[Override]:
        while len(self._states) <= changes:
            change(self._overrides, len(self._states) - 1)
            self._states.append(self._overrides.all())
        return self._states[changes]


class Nursery:
    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def life(self, number: int, seconds: float) -> int:
        """Lets one live for some time. Returns how many changes of the sequence it and those before it finished."""
        assert self.process.stdin
        assert self.process.stdout
        print(number, file=self.process.stdin, flush=True)
        word, pid = self.process.stdout.readline().split()
        assert word == "pid"
        sleep(seconds)  # not for anything to happen: the kill shall come at any moment of its life
        os.kill(int(pid), signal.SIGKILL)
        while (line := self.process.stdout.readline().split())[0] == "done":
            number = int(line[1])
        assert line == ["ended", str(-signal.SIGKILL)], "it ended by itself"
        return number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def nursing(folder: Path) -> Iterator[Nursery]:
    nursing = Nursery(folder)
    with nursing.process:
        yield nursing
        nursing.process.kill()


def test_a_kill_at_any_moment_leaves_the_old_state_or_the_new_one(folder: Path, nursing: Nursery) -> None:
    sequence, events = Sequence(), list[str]()
    number = cut_short = 0
    for _ in range(KILLS):
        finished = nursing.life(number, random.uniform(0, LONGEST_LIFE))
        cut_short += (folder / "overrides.json.new").exists()
        state = StateDir(str(folder), lambda *event: events.append(" ".join(event)))
        found = Overrides(state, lambda *event: events.append(" ".join(event))).all()
        state.close()
        assert not events, "a kill damages nothing"
        assert found in (sequence.after(finished), sequence.after(finished + 1))
        number = finished if found == sequence.after(finished) else finished + 1
    assert number > KILLS, "the lives were long enough to change something"
    assert cut_short, "some were killed in the middle of a save"
    assert {path.name for path in folder.iterdir()} <= {"overrides.json", "overrides.json.1", "overrides.json.new"}


if __name__ == "__main__":
    nursery(sys.argv[1])
