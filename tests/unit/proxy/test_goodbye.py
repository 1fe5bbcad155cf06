"""Sessions in TLS end with a word of goodbye, which takes room: who is waited for until there is some, and how long."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest

from nlb.net.loop import WRITE
from nlb.net.tls import TlsSocket
from nlb.proxy.http import GRACE, LINGER
from nlb.proxy.pipe import FAREWELL
from tests.fakes import END, End
from tests.unit.proxy.http_stage import HttpPlay, closing, get, ok
from tests.unit.proxy.stage import Play

Make = Callable[..., Play]
MakeHttp = Callable[..., HttpPlay]

GOODBYE = 24  # bytes that it takes


class SecretEnd(End, TlsSocket):
    """An end with TLS on it: the peer is told goodbye before the end, as soon as there is room for that."""

    def __init__(self, *says: bytes | OSError, **limits: Any) -> None:
        End.__init__(self, *says, **limits)
        self.said_goodbye = False

    def say_goodbye(self) -> bool:
        if self.said_goodbye or self._gone or self._linger_reset:
            return True
        if self.room < GOODBYE:
            return False
        self._must_be_open()
        assert not self.told_end
        self.room -= GOODBYE
        self.said_goodbye = True
        return True

    def shutdown(self, how: int) -> None:
        if not self.say_goodbye():
            raise ssl.SSLWantWriteError("no room to say goodbye")
        super().shutdown(how)

    def close(self) -> None:
        if not self.closed:
            self.say_goodbye()
        super().close()

    @property
    def mask(self) -> int:
        mask = super().mask
        return mask if self.room >= GOODBYE or self._gone else mask & ~WRITE


def full(size: int) -> SecretEnd:
    """A client that has room for so many bytes, then for none."""
    return SecretEnd(room=size)


# --- tcp


@pytest.mark.parametrize("last", ["client", "target"])
@pytest.mark.parametrize("room", [0, 4])
def test_the_end_of_a_session_waits_for_room(play: Make, last: str, room: int) -> None:
    web = play(target := End())
    client = web.arrives(full(5 + room))
    ends = [client, target] if last == "target" else [target, client]
    target.say(b"hello")
    for end in ends:
        end.say(END)
        web.loop.settle()
    assert (client.fate, client.heard(), web.outcomes) == ("open", b"hello", {})
    assert target.told_end
    client.take(100)
    web.loop.settle()
    assert (client.said_goodbye, client.fate, target.fate) == (True, "closed", "closed")
    assert web.outcomes == {"data/done": 1}


def test_a_target_gets_its_goodbye_too(play: Make) -> None:
    web = play(target := full(5))
    client = web.arrives(End(b"hello", END))
    web.loop.settle()
    target.say(END)
    web.loop.settle()
    assert (web.outcomes, client.told_end) == ({}, True)
    target.take(100)
    web.loop.settle()
    assert (target.heard(), target.said_goodbye) == (b"hello", True)
    assert web.outcomes == {"data/done": 1}


def test_who_never_makes_room_is_waited_for_a_while(play: Make) -> None:
    web = play(target := End(b"hello", END))
    client = web.arrives(full(5))
    client.say(END)
    web.loop.settle()
    assert not client.said_goodbye
    for _ in range(int(FAREWELL) - 1):
        web.sweep()
    assert client.fate == "open"
    web.sweep(3)
    assert (client.fate, target.fate) == ("closed", "closed")  # what it has not read yet still gets there
    assert web.outcomes == {"data/done": 1}


def test_waiting_to_part_spins_not(play: Make) -> None:
    """The target has hung up, and the client is silent: nobody is told anything until there is room."""
    web = play(target := End(b"hello"))
    client = web.arrives(full(5))
    client.say(END)
    web.loop.settle()
    target.hang_up()
    web.loop.settle()
    assert web.outcomes == {}
    client.take(100)
    web.loop.settle()
    assert web.outcomes == {"data/done": 1}


def test_a_reset_ends_the_wait(play: Make) -> None:
    web = play(target := End(b"hello", END))
    client = web.arrives(full(5))
    client.say(END)
    web.loop.settle()
    client.reset()
    web.loop.settle()
    assert target.closed
    assert web.outcomes == {"data/client_reset": 1}


def test_a_target_that_is_to_be_left_has_done_its_part(play: Make) -> None:
    web = play(End(b"hello", END))
    client = web.arrives(full(5))
    client.say(END)
    web.loop.settle()
    web.session.expel("target_removed")
    web.loop.settle()
    assert (client.fate, client.said_goodbye) == ("closed", False)
    assert web.outcomes == {"data/done": 1}


def test_a_session_that_is_cut_says_no_goodbye(play: Make) -> None:
    web = play(target := End(b"hello"))
    client = web.arrives(SecretEnd())
    target.reset()
    web.loop.settle()
    assert (client.fate, client.heard(), client.said_goodbye) == ("reset", b"hello", False)


def test_with_room_there_is_no_wait(play: Make) -> None:
    web = play(target := End(b"hello", END))
    client = web.arrives(SecretEnd())
    client.say(END)
    web.loop.settle()
    assert (client.heard(), client.said_goodbye) == (b"hello", True)
    assert (client.fate, target.fate) == ("closed", "closed")


# --- http


def retire(web: HttpPlay) -> None:
    """The listener takes no more requests; a while later nothing is on the way."""
    web.listener.close()
    web.sweep(GRACE + 1)


ANSWER = closing(ok(b"hello"))


@pytest.mark.parametrize("more", [b"", b"GET"], ids=["silent", "sends on"])
def test_a_last_answer_and_the_goodbye_behind_it(http: MakeHttp, more: bytes) -> None:
    web = http(target := End())
    client = web.arrives(full(len(ANSWER)))
    web.says(client, get("/", "Connection: close") + more)
    web.says(target, ok(b"hello"))
    assert (client.heard(), client.fate, web.outcomes) == (ANSWER, "open", {})
    web.takes(client)
    assert client.said_goodbye
    assert client.fate == ("ended" if more else "closed")  # who sends on is lingered for
    web.sweep(LINGER + 1)
    assert client.fate == "closed"
    assert web.outcomes == {"data/done": 1}


def test_who_never_reads_the_last_answer_is_waited_for_a_while(http: MakeHttp) -> None:
    web = http(target := End())
    client = web.arrives(full(len(ANSWER)))
    web.says(client, get("/", "Connection: close"))
    web.says(target, ok(b"hello"))
    web.sweep(FAREWELL - 2)
    assert client.fate == "open"
    web.sweep(3)
    assert client.fate == "closed"
    assert web.outcomes == {"data/done": 1}


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        (lambda web, client: web.sweep(62), "request/idle"),
        (lambda web, client: web.says(client, END), "data/done"),
        (lambda web, client: retire(web), "data/done"),
    ],
    ids=["idle", "the client", "the listener closes"],
)
def test_a_connection_that_ends_between_requests(
    http: MakeHttp, ends: Callable[[HttpPlay, End], None], outcome: str
) -> None:
    web = http(target := End())
    client = web.arrives(full(len(ok(b"hello"))))
    web.says(client, get())
    web.says(target, ok(b"hello"))
    ends(web, client)
    assert (client.fate, web.outcomes) == ("open", {})
    web.takes(client)
    assert (client.fate, web.outcomes) == ("closed", {outcome: 1})
    assert (client.heard(), client.said_goodbye) == (ok(b"hello"), True)


def test_a_client_that_left_while_it_was_answered(http: MakeHttp) -> None:
    web = http(target := End())
    client = web.arrives(full(len(ok(b"hello"))))
    web.says(client, get())
    web.says(target, ok(b"he", length=5))
    web.says(client, END)
    web.says(target, b"llo")
    assert (client.fate, web.outcomes) == ("open", {})
    web.takes(client)
    assert (client.heard(), client.said_goodbye) == (ok(b"hello"), True)
    assert (client.fate, web.outcomes) == ("closed", {"data/done": 1})


def test_a_reset_ends_the_wait_for_a_last_answer(http: MakeHttp) -> None:
    web = http(target := End())
    client = web.arrives(full(len(ANSWER)))
    web.says(client, get("/", "Connection: close"))
    web.says(target, ok(b"hello"))
    web.resets(client)
    assert client.closed
    assert web.outcomes == {"data/done": 1}


def test_a_cut_answer_says_no_goodbye(http: MakeHttp) -> None:
    web = http(target := End())
    client = web.arrives(SecretEnd())
    web.says(client, get())
    web.says(target, ok(b"he", length=5))
    web.resets(target)
    assert (client.fate, client.said_goodbye) == ("reset", False)


def test_a_worker_that_ends_waits_for_nobody(http: MakeHttp) -> None:
    web = http(target := End())
    client = web.arrives(full(len(ok(b"hello"))))
    web.says(client, get())
    web.says(target, ok(b"hello"))
    web.session.close("shutdown")
    assert web.outcomes == {"request/shutdown": 1}
