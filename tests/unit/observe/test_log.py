"""What becomes of lines between a session's end and the place where they are kept: none is lost in silence."""

from __future__ import annotations

import errno
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nlb.errors import StartError
from nlb.observe.lines import NUMBER, Layout
from nlb.observe.log import RING, Events, Log
from nlb.observe.outlet import Outlet, open_outlet

COUNT = Layout("count", {"n": NUMBER})
LONG = Layout("long" * 1000, {"n": NUMBER})  # a few thousand fill all the room that there is


class FakeOutlet:
    """Takes what a test gives it room for; `broken` is what a write fails with."""

    def __init__(self, is_journal: bool = False) -> None:
        self.is_journal = is_journal
        self.room = 1 << 60
        self.broken = 0
        self.closed = False
        self.puts: list[list[bytes]] = []

    def put(self, lines: deque[bytes], patience: float = 0.0) -> None:
        if self.broken:
            raise OSError(self.broken, os.strerror(self.broken))
        taken = []
        while lines and self.room:
            taken.append(lines.popleft())
            self.room -= 1
        self.puts.append(taken)

    def close(self) -> None:
        self.closed = True

    @property
    def text(self) -> str:
        return b"".join(line for put in self.puts for line in put).decode()

    @property
    def numbers(self) -> list[int]:
        return [int(line.rpartition("=")[2]) for line in self.text.splitlines()]


class Desk:
    """A log, what it reported, and the outlets that it opens: one after the other of those that are laid out."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, str]] = []
        self.outlet = FakeOutlet()
        self.opened: list[str] = []
        self.log = Log(lambda level, text: self.reports.append((level, text)), self._open)
        self.log.open("text", "/var/log/nlb")

    def _open(self, place: str) -> Outlet:
        if place == "nowhere":
            raise StartError("cannot write the log to nowhere")
        self.opened.append(place)
        return self.outlet  # type: ignore[return-value]

    def write(self, *numbers: int, layout: Layout = COUNT) -> None:
        for number in numbers:
            self.log.write(layout, 0, [number])


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_lines_are_written_together(desk: Desk) -> None:
    desk.write(1, 2, 3)
    assert desk.outlet.puts == []
    desk.log.flush()
    desk.log.flush()
    assert len(desk.outlet.puts) == 1
    assert desk.outlet.text == "".join(f"1970-01-01T00:00:00.000Z info count n={n}\n" for n in (1, 2, 3))


def test_many_lines_need_no_flush(desk: Desk) -> None:
    desk.write(*range(5000))
    assert len(desk.outlet.puts) > 1
    desk.log.flush()
    assert desk.outlet.numbers == list(range(5000))
    assert (desk.log.dropped, desk.reports) == (0, [])


def test_a_slow_reader_gets_every_line(desk: Desk) -> None:
    desk.outlet.room = 10
    desk.write(*range(1000))
    desk.log.flush()
    assert desk.outlet.numbers == list(range(10))
    desk.outlet.room = 1 << 60
    desk.log.flush()
    assert desk.outlet.numbers == list(range(1000))
    assert (desk.log.dropped, desk.reports) == (0, []), "being slow is no trouble"


def test_a_stuck_reader_costs_lines_and_is_told_once(desk: Desk) -> None:
    desk.outlet.room = 0
    desk.write(*range(3000), layout=LONG)
    desk.log.flush()
    assert desk.log.dropped > 0
    ((level, text),) = desk.reports
    assert (level, text.split(";")[0]) == ("error", "log to /var/log/nlb: nobody reads it")
    assert len(desk.outlet.puts) < 300, "lines that nobody takes are not offered for each one that comes"
    desk.outlet.room = 1 << 60
    desk.log.flush()
    kept = 3000 - desk.log.dropped
    assert desk.outlet.numbers == list(range(kept)), "every line was written or counted"
    assert desk.reports[1:] == [("info", f"log to /var/log/nlb: written again; {desk.log.dropped} lines were dropped")]


def test_a_full_disk_is_told_at_once_and_costs_nothing_if_it_is_short(desk: Desk) -> None:
    desk.outlet.broken = errno.ENOSPC
    for number in range(10):
        desk.write(number)
        desk.log.flush()
    ((level, text),) = desk.reports
    assert (level, text.split(";")[0]) == ("error", "log to /var/log/nlb: No space left on device")
    desk.outlet.broken = 0
    desk.log.flush()
    assert desk.outlet.numbers == list(range(10))
    assert desk.reports[1:] == [("info", "log to /var/log/nlb: written again; 0 lines were dropped")]
    desk.outlet.broken = errno.ENOSPC
    desk.write(10)
    desk.log.flush()
    assert len(desk.reports) == 3, "the next time is told again"


def test_opening_anew_ends_the_old_file_in_order(desk: Desk) -> None:
    old = desk.outlet
    desk.write(1)
    desk.outlet = FakeOutlet()
    desk.log.open("json", "/var/log/other")
    desk.write(2)
    desk.log.flush()
    assert (old.numbers, old.closed) == ([1], True)
    assert json.loads(desk.outlet.text)["n"] == 2
    assert desk.opened == ["/var/log/nlb", "/var/log/other"]


def test_what_the_old_file_did_not_take_goes_to_the_new_one(desk: Desk) -> None:
    desk.outlet.broken = errno.ENOSPC
    desk.write(1)
    desk.log.flush()
    desk.outlet = FakeOutlet()
    desk.log.open("text", "/mnt/log")
    desk.log.flush()
    assert desk.outlet.numbers == [1]
    assert desk.reports[-1][0] == "info"


def test_a_place_that_cannot_be_opened_leaves_the_old_one(desk: Desk) -> None:
    with pytest.raises(StartError):
        desk.log.open("json", "nowhere")
    desk.write(1)
    desk.log.flush()
    assert desk.outlet.text.endswith(" info count n=1\n")
    assert not desk.outlet.closed


def test_before_a_place_is_open_lines_wait() -> None:
    place = FakeOutlet()
    log = Log(lambda level, text: None, lambda _: place)  # type: ignore[arg-type, return-value]
    log.write(COUNT, 0, [1])
    log.flush()
    log.open("text", "/var/log/nlb")
    log.flush()
    assert place.numbers == [1]


def test_a_place_that_was_never_open_costs_lines_and_is_told() -> None:
    reports: list[str] = []
    log = Log(lambda level, text: reports.append(text))
    with pytest.raises(StartError):
        log.open("text", "/nowhere/log")
    for number in range(3000):
        log.write(LONG, 0, [number])
    assert log.dropped > 0
    assert [text.split(";")[0] for text in reports] == ["log to /nowhere/log: it is not open"]


def test_the_journal_has_a_form_of_its_own(desk: Desk) -> None:
    desk.outlet = FakeOutlet(is_journal=True)
    desk.log.open("json", "journal")
    desk.write(7)
    desk.log.flush()
    assert "\nNLB_N=7\n" in desk.outlet.text


def test_the_end_counts_what_nobody_took(desk: Desk) -> None:
    desk.outlet.room = 2
    desk.write(1, 2, 3, 4, 5)
    desk.log.close(patience=0)
    assert (desk.outlet.numbers, desk.log.dropped, desk.outlet.closed) == ([1, 2], 3, True)


# --- real files


def test_rotation(tmp_path: Path) -> None:
    """As logrotate does it: move the file away, then tell us."""
    path = tmp_path / "log"
    log = Log(lambda level, text: None)
    log.open("text", str(path))
    log.write(COUNT, 0, [1])
    log.flush()
    path.rename(tmp_path / "log.1")
    log.write(COUNT, 0, [2])
    log.open("text", str(path))
    log.write(COUNT, 0, [3])
    log.close(0)
    count = "1970-01-01T00:00:00.000Z info count n="
    assert (tmp_path / "log.1").read_text() == f"{count}1\n{count}2\n"
    assert path.read_text() == f"{count}3\n"


def test_a_real_full_disk() -> None:
    reports: list[str] = []
    log = Log(lambda level, text: reports.append(text))
    log.open("text", "/dev/full")
    log.write(COUNT, 0, [1])
    log.close(0)
    assert log.dropped == 1
    (text,) = reports
    assert text.startswith("log to /dev/full: No space left on device; ")


# --- events


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Callable[[str], tuple[Events, Callable[[], str]]]]:
    """Events in a form, and what stands in their file."""
    made = []

    def make(form: str) -> tuple[Events, Callable[[], str]]:
        events = Events()
        events.log.open(form, f"{tmp_path}/events")
        made.append(events)
        return events, (tmp_path / "events").read_text

    yield make
    for events in made:
        events.log.close(0)


def test_an_event_is_a_line_and_a_place_in_the_ring(written: Any) -> None:
    events, text = written("text")
    events.say("warning", "target", "web/web01 is unhealthy: connection refused", group="web", target="web01")
    time, level, kind, said = text().rstrip("\n").split(" ", 3)
    assert (time[-1], level, kind) == ("Z", "warning", "target")
    assert said == "web/web01 is unhealthy: connection refused"
    (event,) = events.ring
    assert (event.pop("at") > 0, event) == (
        True,
        {"level": "warning", "kind": "target", "text": said, "group": "web", "target": "web01"},
    )


def test_an_event_as_json_has_the_same_words(written: Any) -> None:
    events, text = written("json")
    events.say("info", "group", "group web no longer fails open", group="web")
    record = json.loads(text())
    assert record.pop("time").endswith("Z")
    assert record == {"level": "info", "kind": "group", "text": "group web no longer fails open", "group": "web"}


def test_the_ring_keeps_the_latest() -> None:
    events = Events()
    for number in range(RING + 10):
        events.say("info", "nlb", str(number))
    assert len(events.ring) == RING
    assert (events.ring[0]["text"], events.ring[-1]["text"]) == ("10", str(RING + 9))


def test_a_bug_is_told_with_its_traceback(written: Any) -> None:
    events, log = written("text")
    try:
        raise OverflowError("too much")
    except OverflowError as error:
        events.bug(error, "control")
    text = events.ring[0]["text"]
    assert text.startswith("bug in control\nTraceback")
    assert "OverflowError: too much" in text
    assert "test_log.py" in text
    assert all(" error nlb " in line for line in log().splitlines())


def test_an_endless_text_is_cut() -> None:
    events = Events()
    events.say("error", "nlb", "x" * 1_000_000)
    assert len(events.ring[0]["text"]) < 40_000
    assert events.ring[0]["text"].endswith("characters more")


def test_events_that_cannot_be_written_are_in_the_ring_with_the_reason(tmp_path: Path) -> None:
    events = Events()
    events.log.open("text", "/dev/full")
    for number in range(3):
        events.say("info", "nlb", str(number))
    assert [event["text"].split(";")[0] for event in events.ring] == [
        "0",
        "log to /dev/full: No space left on device",
        "1",
        "2",
    ]
    events.log.open("text", f"{tmp_path}/events")
    events.log.flush()
    lines = (tmp_path / "events").read_text().splitlines()
    assert [line.split(" ", 3)[3].split(";")[0] for line in lines] == [
        *[event["text"].split(";")[0] for event in events.ring][:4],
        f"log to {tmp_path}/events: written again",
    ]
    events.log.close(0)


def test_a_place_opens_by_name(tmp_path: Path) -> None:
    """What `Log` opens by default is the real thing."""
    outlet = open_outlet(f"{tmp_path}/x")
    outlet.close()
    assert (tmp_path / "x").exists()
