"""A worker that lost its control: it serves on, and knocks where the next control would be until that lets it in.

    serving ──the channel closes──> knocking ──let in──> attached: obeys `leave` and `stop`
                                       ^ │                   │
                                       └─┼──it closes again──┘
                                         └──alone for ALONE seconds──> ends

Its sessions notice none of this.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from nlb.net.channel import pair
from nlb.net.loop import Deadline, Loop, Owner
from nlb.net.sockets import peer

# Seconds between knocks. A connect to a socket that is not there costs microseconds.
EVERY = 0.2

# Seconds without a word from any control after which an orphan drains: nobody will come.
ALONE = 60.0

_KNOCK = b'{"verb": "knock"}\n'


class Knocking:
    """Begun when the channel closes. `enter(sock)` gets our end of a new one, `give_up()` is called when no control
    has said a word (`heard`) for ALONE seconds."""

    def __init__(
        self, loop: Loop, door: str, enter: Callable[[socket.socket], None], give_up: Callable[[], None], owner: Owner
    ) -> None:
        self._loop = loop
        self._door = door
        self._enter = enter
        self._give_up = give_up
        self._owner = owner
        self._alone: Deadline | None = None
        self._next: Deadline | None = None

    def begin(self) -> None:
        """The channel has closed: knock until somebody hears it."""
        if self._alone is None:
            self._alone = self._loop.call_at(self._loop.now + ALONE, self._end, self._owner)
        # Not at once: one who lets us in and throws us out would keep us busy.
        self._next = self._loop.call_at(self._loop.now + EVERY, self._knock, self._owner)

    def heard(self) -> None:
        """A control spoke to us: we are not alone."""
        if self._alone:
            self._alone.cancel()
            self._alone = None

    def _knock(self) -> None:
        if ours := knock(self._door):
            self._enter(ours)
        else:
            self._next = self._loop.call_at(self._loop.now + EVERY, self._knock, self._owner)

    def _end(self) -> None:
        if self._next:
            self._next.cancel()
        self._give_up()


def knock(door: str) -> socket.socket | None:
    """Give whoever listens at `door` the end of a channel to us. Returns our end, None where nobody is."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(door)
            # Who answers gets our sockets. Root may have opened the door for us, as systemd does.
            if peer(sock)[1] not in (os.geteuid(), 0):
                return None
            ours, theirs = pair()
            with theirs:
                socket.send_fds(sock, [_KNOCK], [theirs.fileno()])
            return ours
    except OSError:
        return None
