"""The channel: messages and descriptors arrive whole and in order, whatever the other side does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from nlb.net.channel import Channel, mapped, memfd, pair
from nlb.net.loop import Loop
from tests.waiting import until


class Side:
    """One end, and all that happened to it."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.messages: list[dict[str, Any]] = []
        self.fds: list[int] = []
        self.closed = 0
        self.crashes: list[Exception] = []
        self.channel = Channel(loop, sock, self._heard, self._gone, self.crashes.append)

    def _heard(self, message: dict[str, Any], fds: list[int]) -> None:
        self.messages.append(message)
        self.fds += fds
        if message["verb"] == "trip":
            raise OverflowError("tripped")
        if message["verb"] == "leave":
            self.channel.close()
        if message["verb"] == "toil":
            end = monotonic() + 0.01
            while monotonic() < end:
                pass

    def _gone(self) -> None:
        self.closed += 1

    @property
    def verbs(self) -> list[str]:
        return [message["verb"] for message in self.messages]


@pytest.fixture
def sides(loop: Loop) -> Iterator[tuple[Side, Side]]:
    sides = tuple(Side(loop, sock) for sock in pair())
    yield sides  # type: ignore[misc]
    for side in sides:
        side.channel.close()
        for fd in side.fds:
            os.close(fd)
    loop.turn(0)


@pytest.fixture
def raw(loop: Loop) -> Iterator[tuple[Side, socket.socket]]:
    """One end, and the bare socket of the other."""
    ours, theirs = pair()
    side = Side(loop, ours)
    with theirs:
        yield side, theirs
    side.channel.close()
    loop.turn(0)


def test_messages_go_both_ways_in_order(loop: Loop, sides: tuple[Side, Side]) -> None:
    one, other = sides
    for number in range(3):
        one.channel.send({"verb": "ask", "number": number})
    other.channel.send({"verb": "answer"})
    until(lambda: len(other.messages) == 3 and one.messages, between=lambda: loop.turn(0))
    assert [message["number"] for message in other.messages] == [0, 1, 2]
    assert one.messages == [{"verb": "answer"}]


def test_descriptors_arrive_with_their_message_and_the_sender_keeps_its_own(
    loop: Loop, sides: tuple[Side, Side], tmp_path: Any
) -> None:
    one, other = sides
    read_end, write_end = os.pipe()
    one.channel.send({"verb": "take"}, [write_end])
    os.close(write_end)
    until(lambda: other.fds, between=lambda: loop.turn(0))
    os.write(other.fds[0], b"through the channel")
    assert os.read(read_end, 100) == b"through the channel"
    os.close(read_end)


@pytest.mark.parametrize("size", [1_000, 33_000, 5_000_000])
def test_a_message_of_any_size_arrives_whole(loop: Loop, sides: tuple[Side, Side], size: int) -> None:
    one, other = sides
    fd = memfd("x", b"beside it")
    message = {"verb": "load", "text": "ä€" * (size // 2)}
    one.channel.send(message, [fd])
    os.close(fd)
    until(lambda: other.messages, between=lambda: loop.turn(0))
    assert other.messages == [message]
    assert bytes(mapped(os.dup(other.fds[0]))) == b"beside it"
    assert len(other.fds) == 1


def test_as_many_descriptors_as_a_message_may_have(loop: Loop, sides: tuple[Side, Side]) -> None:
    one, other = sides
    fd = memfd("x", b"x")
    one.channel.send({"verb": "open", "text": "x" * 40_000}, [fd] * 250)
    with pytest.raises(ValueError, match="251 descriptors in one message; at most 250"):
        one.channel.send({"verb": "open"}, [fd] * 251)
    os.close(fd)
    until(lambda: other.messages, between=lambda: loop.turn(0))
    assert len(other.fds) == 250
    for number in other.fds:
        os.fstat(number)


def test_a_peer_that_reads_late_misses_nothing(loop: Loop, raw: tuple[Side, socket.socket]) -> None:
    side, theirs = raw
    fd = memfd("x", b"x")
    for number in range(500):
        side.channel.send({"verb": "mark", "number": number, "text": "x" * 5_000}, [fd] * (number % 2))
    os.close(fd)
    reader = Loop()
    late = Side(reader, theirs.dup())
    until(lambda: len(late.messages) == 500, between=lambda: (loop.turn(0), reader.turn(0)))
    assert [message["number"] for message in late.messages] == list(range(500))
    assert len(late.fds) == 250
    for number in late.fds:
        os.close(number)
    late.channel.close()
    reader.close()


def test_a_peer_that_never_reads_is_given_up(loop: Loop, raw: tuple[Side, socket.socket]) -> None:
    side, _ = raw
    before = set(os.listdir("/proc/self/fd"))
    fd = memfd("x", b"x")
    for _ in range(12_000):
        side.channel.send({"verb": "mark"}, [fd] if len(os.listdir("/proc/self/fd")) < 200 else [])
        if side.closed:
            break
    os.close(fd)
    assert (side.closed, side.channel.closed) == (1, True)
    loop.turn(0)
    assert set(os.listdir("/proc/self/fd")) <= before, "no descriptor is left of what was not sent"


def test_a_closed_channel_takes_messages_and_forgets_them(loop: Loop, sides: tuple[Side, Side]) -> None:
    one, other = sides
    one.channel.close()
    one.channel.close()
    one.channel.send({"verb": "late"})
    until(lambda: other.closed, between=lambda: loop.turn(0))
    assert (one.closed, other.closed, other.messages) == (1, 1, [])


def test_what_was_said_before_the_end_arrives(loop: Loop, raw: tuple[Side, socket.socket]) -> None:
    side, theirs = raw
    theirs.send(b'{"verb":"first"}')
    theirs.send(b'{"verb":"last"}')
    theirs.close()
    until(lambda: side.closed, between=lambda: loop.turn(0))
    assert side.verbs == ["first", "last"]


def test_the_last_words_of_a_peer_that_died_with_messages_unread_arrive(
    loop: Loop, raw: tuple[Side, socket.socket]
) -> None:
    """A worker tells of its bug and dies, with a mark unread: the kernel says "reset" before it gives the words."""
    side, theirs = raw
    side.channel.send({"verb": "mark"})
    theirs.send(b'{"verb":"event"}')
    theirs.close()
    until(lambda: side.closed, between=lambda: loop.turn(0))
    assert side.verbs == ["event"]


def test_the_last_words_arrive_even_if_we_speak_first(loop: Loop, raw: tuple[Side, socket.socket]) -> None:
    side, theirs = raw
    theirs.send(b'{"verb":"event"}')
    theirs.close()
    side.channel.send({"verb": "mark"})
    until(lambda: side.closed, between=lambda: loop.turn(0))
    assert side.verbs == ["event"]


def test_an_error_in_a_message_does_not_cost_the_next(loop: Loop, sides: tuple[Side, Side]) -> None:
    one, other = sides
    one.channel.send({"verb": "trip"})
    one.channel.send({"verb": "next"})
    until(lambda: len(other.messages) == 2, between=lambda: loop.turn(0))
    assert [str(error) for error in other.crashes] == ["tripped"]
    assert other.closed == 0


def test_rubbish_is_reported_and_passed_over(loop: Loop, raw: tuple[Side, socket.socket]) -> None:
    side, theirs = raw
    theirs.send(b"rubbish")
    theirs.send(b'{"verb":"next"}')
    until(lambda: side.messages, between=lambda: loop.turn(0))
    assert len(side.crashes) == 1
    assert side.verbs == ["next"]


def test_a_message_may_close_the_channel(loop: Loop, sides: tuple[Side, Side]) -> None:
    one, other = sides
    one.channel.send({"verb": "leave"})
    one.channel.send({"verb": "unheard"})
    until(lambda: one.closed, between=lambda: loop.turn(0))
    assert other.verbs == ["leave"]
    assert other.closed == 1


def test_a_flood_is_taken_in_parts(loop: Loop, sides: tuple[Side, Side]) -> None:
    """So that sessions have their turns in between orders that take long."""
    one, other = sides
    for _ in range(3):
        one.channel.send({"verb": "toil"})
    for number in range(3):
        assert len(other.messages) == number
        loop.turn(0)
    assert len(other.messages) == 3


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 3_000_000], ids=len)
def test_memory_is_handed_over(body: bytes) -> None:
    fd = memfd("tables", body)
    if body:
        assert bytes(mapped(fd)) == body
    else:
        with pytest.raises(ValueError, match="cannot mmap an empty file"):
            mapped(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
