"""A worker without control knocks until it is let in, and gives up when it was alone for a minute."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nlb.proxy.orphan import ALONE, EVERY, Knocking, knock
from tests.fakes import HandLoop


class House:
    """An admin socket that may be there or not, and what a worker before it hears."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "nlb.sock")
        self.loop = HandLoop()
        self.entered: list[socket.socket] = []
        self.gave_up: list[float] = []
        self._sock: socket.socket | None = None
        self.knocking = Knocking(self.loop, self.path, self.entered.append, self._give_up, self)  # type: ignore[arg-type]

    def _give_up(self) -> None:
        self.gave_up.append(self.loop.now)

    def open(self) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(self.path)
        self._sock.listen()

    def let_in(self) -> socket.socket:
        """Our end of the channel, from the next who has knocked."""
        assert self._sock is not None
        client, _ = self._sock.accept()
        with client:
            request, fds, _, _ = socket.recv_fds(client, 100, 5)
        assert request == b'{"verb": "knock"}\n'
        (fd,) = fds
        return socket.socket(fileno=fd)

    def close(self) -> None:
        if self._sock:
            self._sock.close()
        for sock in self.entered:
            sock.close()

    def crashed(self, error: Exception) -> None:
        raise error


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def test_nobody_is_there(house: House) -> None:
    assert knock(house.path) is None


def test_who_is_let_in_has_a_channel(house: House) -> None:
    house.open()
    ours = knock(house.path)
    assert ours is not None
    with ours, house.let_in() as theirs:
        ours.send(b"one")
        ours.send(b"two")
        assert [theirs.recv(100), theirs.recv(100)] == [b"one", b"two"]


def test_it_knocks_until_somebody_is_there(house: House) -> None:
    house.knocking.begin()
    house.loop.pass_time(ALONE / 2)
    assert house.entered == []
    house.open()
    house.loop.pass_time(EVERY)
    assert len(house.entered) == 1
    house.let_in().close()


def test_it_does_not_knock_twice_at_a_door_that_let_it_in(house: House) -> None:
    house.open()
    house.knocking.begin()
    house.loop.pass_time(ALONE / 2)
    assert len(house.entered) == 1


def test_alone_for_too_long(house: House) -> None:
    began = house.loop.now
    house.knocking.begin()
    house.loop.pass_time(ALONE + 1)
    assert house.gave_up == [began + ALONE]
    house.open()
    house.loop.pass_time(ALONE)
    assert house.entered == []


def test_let_in_but_never_spoken_to_is_alone(house: House) -> None:
    house.open()
    house.knocking.begin()
    house.loop.pass_time(ALONE + 1)
    assert len(house.gave_up) == 1


def test_spoken_to_is_not_alone(house: House) -> None:
    house.open()
    house.knocking.begin()
    house.loop.pass_time(EVERY)
    house.knocking.heard()
    house.loop.pass_time(10 * ALONE)
    assert house.gave_up == []


def test_one_that_lost_the_next_control_too_has_its_minute_again(house: House) -> None:
    house.open()
    house.knocking.begin()
    house.loop.pass_time(ALONE - 1)
    house.knocking.heard()
    house.loop.pass_time(10 * ALONE)
    again = house.loop.now
    house.knocking.begin()
    house.loop.pass_time(2 * ALONE)
    assert len(house.entered) == 2
    assert house.gave_up == [again + ALONE]
