"""Accepting: in bursts, up to the limit, and patient when the box has no descriptors left."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlb.observe.counters import ACCEPTED, ACTIVE
from nlb.observe.log import Log
from nlb.proxy.listener import BURST
from tests.fakes import END, Door, End

Make = Callable[..., Any]

EMFILE = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_wake_up_accepts_twice_as_many_as_the_one_before_up_to_a_burst(play: Make) -> None:
    web = play(*[End() for _ in range(3 * BURST)])
    for _ in range(3 * BURST):
        web.queues()
    sizes = []
    while web.door.queue:
        before = len(web.sessions)
        web.loop.turn()
        sizes.append(len(web.sessions) - before)
    assert sizes == [1, 2, 4, 8, 16, BURST, BURST, 1]


def test_where_few_come_nobody_is_asked_for_more(play: Make) -> None:
    web = play(End(), End(), End(), End())
    for _ in range(2):  # two wake-ups ask for 1 and for 2, then it begins anew
        web.arrives()
        web.arrives()
    assert (len(web.sessions), web.door.accepts) == (4, 6)


def test_over_the_limit_a_connection_is_reset(play: Make) -> None:
    web = play(End(), End(), End(), limit=2)
    first, _, third = web.arrives(), web.arrives(), web.arrives()
    assert (first.fate, third.fate) == ("open", "reset")
    assert web.outcomes == {"accept/limit": 1}
    assert (web.words[ACCEPTED], web.words[ACTIVE]) == (3, 2)
    first.reset()
    web.loop.settle()
    assert web.arrives().fate == "open"


def test_the_limit_is_that_of_all_workers_together(play: Make) -> None:
    web = play(End(), limit=3, elsewhere=2)
    assert web.arrives().fate == "open"
    assert web.arrives().fate == "reset"


def test_sessions_that_wait_for_a_verdict_count(play: Make) -> None:
    web = play(health="initial", limit=1)
    web.arrives()
    assert web.arrives().fate == "reset"


def test_a_connection_that_went_away_in_the_queue_is_passed_over(play: Make) -> None:
    web = play(End())
    web.door.queue.append(OSError(errno.ECONNABORTED, "aborted"))
    assert web.arrives().fate == "open"
    assert web.events == []


def test_without_descriptors_accepting_pauses_and_goes_on(play: Make) -> None:
    web = play(End())
    web.door.queue.extend([EMFILE] * 3)
    client = web.arrives()  # `settle` fails when the loop spins on the queue
    assert (web.door.accepts, web.loop.turns) == (1, 2)
    web.loop.pass_time(1.0)
    assert client.fate == "open"
    assert web.door.accepts <= 5


def test_a_shortage_is_said_once_however_often_there_is_room_for_one_more(play: Make) -> None:
    web = play(*[End() for _ in range(10)])
    for _ in range(8):
        web.door.queue.append(EMFILE)
        web.arrives()
        web.loop.pass_time(0.5)
    ((level, text),) = web.events
    assert level == "error"
    assert text.startswith("listener front: accepting pauses: Too many open files")
    web.loop.pass_time(2.0)
    web.arrives()
    assert web.events[1:] == [("info", "listener front: accepting again")]
    assert len(web.sessions) == 9


def test_a_second_shortage_is_said_again(play: Make) -> None:
    web = play(*[End() for _ in range(4)])
    for _ in range(2):
        web.door.queue.append(EMFILE)
        web.arrives()
        web.loop.pass_time(2.0)
        web.arrives()
    assert [level for level, _ in web.events] == ["error", "info"] * 2


def test_another_error_of_accept_is_not_a_shortage(play: Make) -> None:
    web = play(End())
    web.door.queue.append(OSError(errno.EPERM, "a firewall"))
    assert web.arrives().fate == "open"


def test_closing_takes_what_queues_already(play: Make) -> None:
    web = play(*[End() for _ in range(BURST + 5)])
    clients = [web.queues() for _ in range(BURST + 5)]
    web.listener.close()
    assert len(web.sessions) == BURST + 5
    web.loop.settle()
    assert web.door.closed
    assert {client.fate for client in clients} == {"open"}


class Broken(Door):
    """A listening socket that has died: it is readable for ever and says EINVAL."""

    def accept(self) -> tuple[End, Any]:
        self.accepts += 1
        raise OSError(errno.EINVAL, "not listening")


def test_closing_a_socket_that_says_nothing_but_errors_comes_to_an_end(play: Make) -> None:
    web = play()
    broken = Broken()
    web.loop.know(broken)
    web.listener.open(broken)
    web.listener.close()
    web.loop.settle()
    assert broken.closed


def test_closing_without_descriptors(play: Make) -> None:
    """The first socket is gone already when the second one finds no descriptor."""
    web = play()
    second = Door(EMFILE)
    web.loop.know(second)
    web.listener.open(second)
    web.listener.close()
    web.loop.pass_time(1.0)
    assert (web.door.closed, second.closed) == (True, True)


def test_an_error_of_ours_while_accepting_does_not_stop_the_listener(play: Make) -> None:
    web = play(End())
    broken = End()
    broken.setblocking = _bug  # type: ignore[method-assign]
    web.arrives(broken)
    assert web.outcomes == {"accept/bug": 1}
    assert [where for _, where in web.bugs] == ["listener front"]
    assert web.arrives().fate == "open"


def _bug(flag: bool) -> None:
    raise OverflowError("a bug")


# --- access lines


@pytest.fixture
def log(tmp_path: Path) -> Any:
    """An access log, and the lines that it has written."""
    opened = Log(lambda level, text: None)
    opened.open("text", f"{tmp_path}/access.log")

    def written() -> list[str]:
        opened.flush()
        return (tmp_path / "access.log").read_text().splitlines()

    yield opened, written
    opened.close(0)


def test_an_ended_session_leaves_one_line(play: Make, log: Any) -> None:
    access_log, written = log
    web = play(errno.ECONNREFUSED, target := End(b"answer"), access_log=access_log)
    web.arrives(End(b"question!", END))
    target.say(END)
    web.loop.settle()
    (line,) = written()
    _, level, kind, *facts = line.split()
    assert (level, kind) == ("info", "session")
    assert dict(fact.split("=") for fact in facts) == {
        "outcome": "data/done",
        "listener": "front",
        "client": "192.0.2.7:40000",
        "group": "web",
        "target": "b",
        "duration": "0.000000",
        "connect": "0.000000",
        "first_byte": "0.000000",
        "received": "9",
        "sent": "6",
        "tries": "2",
        "unique_id": "-",
    }


def test_a_session_that_never_had_a_target_leaves_a_line_too(play: Make, log: Any) -> None:
    access_log, written = log
    web = play(targets="", access_log=access_log)
    web.arrives()
    (line,) = written()
    assert " outcome=pick/no_target " in line
    assert " target=- " in line
    assert " connect=- first_byte=- " in line
    assert line.endswith(" tries=0 unique_id=-")
