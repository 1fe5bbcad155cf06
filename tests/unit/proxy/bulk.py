"""Real sockets that bytes pass through, for what is spliced: only the kernel can do that."""

from __future__ import annotations

import socket
from random import Random

from nlb.proxy.pipe import BULKY, COPY


class Bulk:
    """Two connections, small in room: what the talker says comes to `source`; what goes into `sink`, the hearer hears.
    Who makes it puts something between `source` and `sink`, which a `turn` moves on."""

    def __init__(self) -> None:
        self.talker, self.source = socket.socketpair()
        self.sink, self.hearer = socket.socketpair()
        for sock in self._sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * COPY)
        self._random = Random(COPY)
        self.said = bytearray()
        self.heard = bytearray()

    @property
    def _sockets(self) -> tuple[socket.socket, ...]:
        return self.talker, self.source, self.sink, self.hearer

    def turn(self) -> None:
        raise NotImplementedError

    def say(self, size: int) -> None:
        """So many random bytes, as far as there is room."""
        data = self._random.randbytes(size)
        try:
            sent = self.talker.send(data)
        except BlockingIOError:
            return
        self.said += data[:sent]

    def hear(self, most: int = 1 << 30) -> None:
        try:
            while most > 0 and (data := self.hearer.recv(min(most, 1 << 20))):
                self.heard += data
                most -= len(data)
        except BlockingIOError:
            pass

    def make_bulky(self) -> None:
        """Full reads in a row."""
        for _ in range(BULKY):
            self.say(COPY)
            self.turn()
            self.hear()

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
