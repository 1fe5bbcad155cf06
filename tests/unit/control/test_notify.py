"""What systemd is told, and how long it waits for the next word."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nlb.control.notify import Notifier

OURS = str(os.getpid())


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": OURS}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "-1"}, 0.0),
    ],
)
def test_how_long_systemd_waits(environment: dict[str, str], seconds: float) -> None:
    assert Notifier(environment).watchdog == seconds


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def heard(systemd: socket.socket) -> list[str]:
    said = []
    while True:
        try:
            said.append(systemd.recv(4096).decode())
        except BlockingIOError:
            return said


def test_each_word(systemd: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname()})
    notifier.ready("8 of 8")
    notifier.status("7 of 8")
    notifier.status("7 of 8")
    notifier.alive()
    notifier.stopping(12.5)
    notifier.stopping(12.5)
    assert heard(systemd) == [
        "READY=1\nSTATUS=8 of 8",
        "STATUS=7 of 8",
        "WATCHDOG=1",
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=12500000",
    ]


def test_without_systemd_nothing_is_said_and_nothing_fails(systemd: socket.socket, tmp_path: Path) -> None:
    Notifier({}).ready("8 of 8")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("8 of 8")
    assert heard(systemd) == []
