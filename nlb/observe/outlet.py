"""Where log lines go: a file, a pipe, a terminal, a socket, the journal. Nothing here waits for a reader unless asked
to, and nothing changes a descriptor that other programs use as well.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import sys
from collections import deque

from nlb.errors import StartError

JOURNAL = "/run/systemd/journal/socket"

_STREAMS = {"stdout": 1, "stderr": 2}

# A write to a file is kept together, however many processes append to it; a longer one would only hold them up.
_TO_A_FILE = 64 * 1024
# A pipe keeps this much together.
_TO_A_PIPE = select.PIPE_BUF
_ONE_BY_ONE = 0

# Of a description of our own, so that O_NONBLOCK hurts nobody.
_OWN = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

_NOW = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

_RIGHTS = "this user may not write there; under systemd, LogsDirectory=nlb gives it /var/log/nlb"
_HINTS = {
    errno.ENOENT: "make its folder first",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.EISDIR: "name a file in that folder",
    errno.ENXIO: "nobody reads this pipe, or it is a socket",
    errno.EBADF: "it was closed before the start",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
}


class Outlet:
    """An open place."""

    def __init__(
        self,
        fd: int,
        piece: int,
        sock: socket.socket | None = None,
        is_own: bool = False,
        is_journal: bool = False,
    ) -> None:
        """Whole lines are written together up to `piece` bytes; a longer one alone."""
        self.is_journal = is_journal
        self._fd = fd
        self._piece = piece
        self._sock = sock
        self._is_own = is_own
        # Some streams can neither be opened anew nor be told not to block. One that has room takes PIPE_BUF bytes
        # without a wait, unless another process takes the room just then.
        self._room = select.poll()
        self._room.register(fd, select.POLLOUT)

    def put(self, lines: deque[bytes], patience: float = 0.0) -> None:
        """Take lines from the left and write them, as long as there is room every `patience` seconds. The rest stays.
        Raises OSError when that is not for want of room."""
        while lines and self._room.poll(patience * 1000):
            data = self._next(lines)
            try:
                written = self._write(data)
            except BlockingIOError:  # another process took the room
                if patience:
                    continue
                return
            while lines and written >= len(lines[0]):
                written -= len(lines.popleft())
            if written:
                # A full disk cut this line. By the time that there is room others may have written behind it, and
                # its rest could stand anywhere: so what is there is ended, and the line comes again, whole.
                lines.appendleft(b"\n")

    def close(self) -> None:
        if self._sock:
            self._sock.close()
        elif self._is_own:
            os.close(self._fd)

    def _next(self, lines: deque[bytes]) -> bytes:
        part: list[bytes] = []
        size = 0
        for line in lines:
            size += len(line)
            if part and size > self._piece:
                break
            part.append(line)
        return b"".join(part)

    def _write(self, data: bytes) -> int:
        return self._sock.send(data, _NOW) if self._sock else os.write(self._fd, data)


def open_outlet(place: str, journal: str = JOURNAL) -> Outlet:
    """`place` is stderr, stdout, journal or the path of a file. Raises StartError."""
    try:
        if place == "journal":
            return _journal(journal)
        return of_stream(_inherited(place), journal) if place in _STREAMS else _file(place)
    except OSError as error:
        number = error.errno or 0
        hint = "does systemd run here?" if place == "journal" else _HINTS.get(number, "name another place")
        raise StartError(f"cannot write the log to {place}: {os.strerror(number)}; {hint}") from None


def _file(path: str) -> Outlet:
    fd = os.open(path, _OWN | os.O_CREAT, 0o640)
    is_file = stat.S_ISREG(os.fstat(fd).st_mode)
    return Outlet(fd, _TO_A_FILE if is_file else _TO_A_PIPE, is_own=True)


def _journal(path: str) -> Outlet:
    """The journal itself: a record is a datagram of named fields."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return Outlet(sock.fileno(), _ONE_BY_ONE, sock, is_journal=True)


def _inherited(stream: str) -> int:
    if getattr(sys, stream) is None:  # it was closed before the start, and its number may be that of something else
        raise OSError(errno.EBADF, "closed")
    return _STREAMS[stream]


def of_stream(fd: int, journal: str = JOURNAL) -> Outlet:
    """A descriptor that others use as well. Raises OSError."""
    about = os.fstat(fd)
    if os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}":
        try:
            return _journal(journal)
        except OSError:
            pass  # a text line on the stream gets there too
    if stat.S_ISSOCK(about.st_mode):
        sock = socket.socket(fileno=os.dup(fd))
        return Outlet(sock.fileno(), _TO_A_PIPE, sock)
    if stat.S_ISREG(about.st_mode):
        return Outlet(fd, _TO_A_FILE)  # whoever shares it goes on where we end, and nothing waits on it
    try:
        return Outlet(os.open(f"/proc/self/fd/{fd}", _OWN), _TO_A_PIPE, is_own=True)
    except OSError:
        return Outlet(fd, _TO_A_PIPE)  # another user's pipe or terminal, such as after sudo
