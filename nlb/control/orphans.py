"""Workers whose control was killed. They go on serving and knock at the admin socket of the next one, which is us.

    knocked ──hands on its sockets──> serving beside ours ──ours accept──> told to leave ──its last session──> gone

We take over their sockets, with what queues there, so that nothing is refused while the one stops accepting and the
other begins; then they have only their sessions to finish. They end with us.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any

from nlb.control.inherited import Left
from nlb.model.address import parse_address
from nlb.net.channel import Channel, Message
from nlb.net.loop import READ, Loop, Watch
from nlb.net.sockets import identity
from nlb.observe.log import Events


@dataclass(eq=False)
class Orphan:
    """One of them. It is `told` once it has been asked to leave."""

    pid: int
    pidfd: int
    since: float = field(default_factory=time)
    sessions: int = 0
    siblings: int = 0  # workers that its control had; 0 until it has said what it left
    left: list[Left[socket.socket]] = field(default_factory=list)
    told: bool = False
    channel: Channel | None = None
    watch: Watch | None = None


class Orphans:
    """All that have knocked and live."""

    def __init__(self, loop: Loop, events: Events) -> None:
        self.alive: list[Orphan] = []
        self.on_gone: Callable[[], None] = lambda: None
        # Told who knocks: True if it is no orphan but a worker of ours, which has been dealt with.
        self.disowns: Callable[[int], bool] = lambda pid: False
        self._loop = loop
        self._events = events
        self._ours: Callable[[], set[int]] | None = None
        self._stop_at: float | None = None  # on the loop's clock

    def knocked(self, end: socket.socket, pid: int) -> None:
        """A process of our user, which has given us the end of a channel to it."""
        try:
            pidfd = -1 if self.disowns(pid) else os.pidfd_open(pid)
        except OSError:
            pidfd = -1  # it has ended since
        if pidfd < 0:
            end.close()
            return
        orphan = Orphan(pid, pidfd)
        self.alive.append(orphan)
        orphan.watch = self._loop.watch(pidfd, READ, lambda mask: self._ended(orphan), self)
        orphan.channel = Channel(
            self._loop, end, lambda message, fds: self._heard(orphan, message, fds), lambda: None, self.crashed
        )

    def gather(self, patience: float) -> list[Left[socket.socket]]:
        """Turn the loop until every worker of the control before has knocked, or for so many seconds. Returns what
        they left: theirs until we tell them to leave."""
        until = monotonic() + patience
        while not self._complete and (rest := until - monotonic()) > 0:
            self._loop.turn(rest)
        return [left for orphan in self.alive for left in orphan.left]

    def dismiss(self, ours: Callable[[], set[int]]) -> None:
        """Our workers accept: tell them, and whoever may still come, to leave. `ours` tells the identities of the
        sockets that we accept on; they close the others when they have taken what queues there."""
        if self._ours:
            return
        self._ours = ours
        for orphan in self.alive:
            self._tell_to_leave(orphan)

    def stop(self, timeout: float) -> None:
        """Their sessions have so many seconds to finish, also those of who may still come."""
        self._stop_at = self._loop.now + timeout
        for orphan in self.alive:
            self._tell_to_stop(orphan)

    def tell(self, message: Message) -> None:
        """Something that holds for their sessions too."""
        for orphan in self.alive:
            self._send(orphan, message)

    def kill(self) -> None:
        for orphan in self.alive:
            self._events.say("error", "worker", f"orphan (pid {orphan.pid}) did not end in time; killed")
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(orphan.pidfd, signal.SIGKILL)

    def as_data(self) -> list[dict[str, Any]]:
        return [{"pid": item.pid, "since": item.since, "sessions": item.sessions} for item in self.alive]

    def crashed(self, error: Exception) -> None:
        self._events.bug(error, "orphans")

    @property
    def _complete(self) -> bool:
        said = [orphan.siblings for orphan in self.alive if orphan.left]
        return bool(said) and 0 not in said and len(said) >= max(said)

    def _heard(self, orphan: Orphan, message: Message, fds: list[int]) -> None:
        verb = message["verb"]
        if verb == "left":
            for bind, fd in zip(message["binds"], fds, strict=True):
                sock = socket.socket(fileno=fd)
                orphan.left.append(Left(message["listener"], parse_address(bind), message["worker"], sock))
            return
        for fd in fds:
            os.close(fd)
        if verb == "orphan":
            orphan.sessions, orphan.siblings = message["sessions"], message["workers"]
            self._tell_to_leave(orphan)
            self._tell_to_stop(orphan)
        elif verb == "leaving":
            orphan.sessions = message["sessions"]

    def _tell_to_leave(self, orphan: Orphan) -> None:
        """Those that have not said all yet are told when they have."""
        if orphan.told or not orphan.siblings or self._ours is None:
            return
        orphan.told = True
        ours = self._ours()
        shared = [[left.listener, str(left.bind)] for left in orphan.left if identity(left.sock) in ours]
        self._let_go(orphan)
        self._send(orphan, {"verb": "leave", "doors": shared})
        text = f"orphan (pid {orphan.pid}) of a killed control is relieved; its {orphan.sessions} sessions go on there"
        self._events.say("info", "worker", text)

    def _tell_to_stop(self, orphan: Orphan) -> None:
        if self._stop_at is not None:
            self._send(orphan, {"verb": "stop", "timeout": max(0.0, self._stop_at - self._loop.now)})

    def _ended(self, orphan: Orphan) -> None:
        self.alive.remove(orphan)
        assert orphan.watch is not None
        assert orphan.channel is not None
        orphan.watch.forget()
        orphan.channel.close()
        os.close(orphan.pidfd)
        self._let_go(orphan)
        self._events.say("info", "worker", f"orphan (pid {orphan.pid}) has ended")
        self.on_gone()

    def _let_go(self, orphan: Orphan) -> None:
        """Close our copies of what it left. What we accept on ourselves has been copied by then."""
        for left in orphan.left:
            left.sock.close()
        orphan.left.clear()

    def _send(self, orphan: Orphan, message: Message) -> None:
        if orphan.channel:
            orphan.channel.send(message)
