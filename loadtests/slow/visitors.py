"""The normal clients: `python -m loadtests.slow.visitors HOST PORT TLS PATH SIZE`, until stdin ends.

Some keep their connection, one takes a new one each time. They ask at a steady pace, whether answers are late or not.
Each answer is a line on stdout: when it came, by the monotonic clock; which of the two; seconds; and what was wrong.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from typing import NamedTuple

from loadtests.peers.client import is_good, request

KEPT, NEW = "kept", "new"
GOOD = b"HTTP/1.1 200 "

CLIENTS = 10
EACH = 10.0  # requests per second of each that keeps its connection
NEWCOMERS = 5.0  # per second

# Another address than the attacker's, so that limits per source tell them apart.
HOST = "127.0.0.2"

# Seconds after which a client gives up, which is an error.
PATIENCE = 10.0


class Visit(NamedTuple):
    at: float
    kind: str
    seconds: float
    wrong: str

    def line(self) -> str:
        return f"{self.at:.6f} {self.kind} {self.seconds:.6f} {self.wrong}\n"


def read(line: str) -> Visit:
    at, kind, seconds, wrong = line.rstrip("\n").split(" ", 3)
    return Visit(float(at), kind, float(seconds), wrong)


class Visitor(threading.Thread):
    def __init__(self, place: tuple[str, int], tls: ssl.SSLContext | None, path: str, size: int, number: int) -> None:
        """Number 0 is the newcomer."""
        super().__init__(daemon=True)
        self._place = place
        self._tls = tls
        self._size = size
        self._keeps = number > 0
        self._ask = request({"path": path}, self._keeps)
        self._pause = 1 / (EACH if self._keeps else NEWCOMERS)
        self._late = self._pause * number / CLIENTS  # so that they do not come all at once
        self._sock: socket.socket | None = None

    def run(self) -> None:
        due = time.monotonic() + self._late
        while True:
            began = time.monotonic()
            if began < due:
                time.sleep(due - began)
                began = time.monotonic()  # when we woke up says nothing of the balancer
            else:
                began = due  # it was due while the one before waited
            wrong = self._visit()
            now = time.monotonic()
            os.write(1, Visit(now, KEPT if self._keeps else NEW, now - began, wrong).line().encode())
            due += self._pause

    def _visit(self) -> str:
        """What went wrong, if anything."""
        try:
            sock = self._sock or self._connect()
            sock.sendall(self._ask)
            wrong = _wrong_with(sock, self._size)
        except OSError as error:
            wrong = str(error)
        if wrong or not self._keeps:
            self._drop()
        return wrong

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(self._place, PATIENCE, (HOST, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = self._tls.wrap_socket(sock) if self._tls else sock
        return self._sock

    def _drop(self) -> None:
        if self._sock:
            self._sock.close()
        self._sock = None


def _wrong_with(sock: socket.socket, size: int) -> str:
    """Read one answer; what is wrong with it, if anything."""
    data = b""
    while not is_good(data, size):
        more = sock.recv(65536)
        data += more
        if not more or not data.startswith(GOOD[: len(data)]):
            return data.split(b"\r\n")[0].decode("latin-1") or "closed without an answer"
    return ""


def main() -> None:
    host, port, tls, path, size = sys.argv[1:]
    context = None
    if tls == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for number in range(CLIENTS + 1):
        Visitor((host, int(port)), context, path, int(size), number).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
