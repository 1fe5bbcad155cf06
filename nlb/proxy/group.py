"""A target group in this worker: who may be chosen, with what timeouts, and who waits for its first verdict."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from nlb.balance.group import Group
from nlb.balance.target import Target
from nlb.model.address import Address
from nlb.net.sockets import dial
from nlb.observe.counters import Words
from nlb.proxy.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from nlb.proxy.tcp import TcpSession

# The reports of one cause about one target are sent together, this many seconds apart: a dead target under load
# fails thousands of times a second, and three failures are enough for control to act.
REPORT_EVERY = 0.05


class WorkerGroup:
    """`words` are this worker's counters of the group; `report` sends {(target id, cause): failures} to control."""

    def __init__(
        self,
        balance: Group,
        words: Words,
        tries: int,
        connect_timeout: float,
        connect_failed: Callable[[Target, str], None],
        dial: Callable[[Address], tuple[socket.socket, int]] = dial,
    ) -> None:
        self.balance = balance
        self.words = words
        self.tries = tries
        self.connect_timeout = connect_timeout
        self.connect_failed = connect_failed
        self.dial = dial
        self.sources: Sources | None = None  # where connections come from; None is the kernel's choice
        self.parked: list[TcpSession] = []

    def resume(self) -> None:
        """Let those who waited choose, once there is something to choose by."""
        if self.balance.waiting:
            return
        parked, self.parked = self.parked, []
        for session in parked:
            if not session.outcome:
                session.begin()

    def stop_waiting(self) -> None:
        """The first verdict is late: choose without it."""
        self.balance.stop_waiting()
        self.resume()
