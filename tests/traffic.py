"""Clients that never stop: some make a connection for every word, some keep theirs. Every word must come back."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from functools import partial
from itertools import count

from tests.clients import PACE, PATIENCE, Clients
from tests.waiting import until


class Traffic(Clients):
    """Runs from `with` to its end, or until `stop`. The servers behind must be echoes.

    `enter` is called in each client's thread before anything else. What talkers say is followed by up to `filler`
    bytes.
    """

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        callers: int = 4,
        talkers: int = 4,
        enter: Callable[[], None] = lambda: None,
        filler: int = 0,
    ) -> None:
        lives = [partial(self._call, number) for number in range(callers)]
        super().__init__(lives + [partial(self._talk, number) for number in range(talkers)])
        self.calls = 0  # connections that were made, used and closed in order
        self.words = [0] * talkers  # said by each talker, and heard again
        self._connect = connect
        self._enter = enter
        self._filler = filler
        self._talking = threading.Event()

    def stop(self) -> None:
        self.stop_talking()
        super().stop()

    def stop_talking(self) -> None:
        """Those with a connection of their own close it."""
        self._talking.set()

    def goes_on(self, calls: int = 50) -> None:
        """Wait until so many calls more were made and every talker has said something more; or for an error."""
        made, said = self.calls, list(self.words)

        def happened() -> bool:
            more = all(now > before for now, before in zip(self.words, said, strict=True)) or self._talking.is_set()
            return bool(self.errors) or (self.calls >= made + calls and more)

        until(happened, PATIENCE)
        assert not self.errors, self.errors

    def _call(self, caller: int) -> None:
        self._enter()
        for number in count():
            if self.stopping.wait(PACE):
                return
            try:
                with self._connect() as sock:
                    sock.settimeout(PATIENCE)
                    speak(sock, b"call %d of %d" % (number, caller))
                with self.lock:
                    self.calls += 1
            except OSError as error:
                self.errors.append(f"call {number} of caller {caller}: {error!r}")
                return

    def _talk(self, talker: int) -> None:
        self._enter()
        rng = random.Random(talker)
        try:
            with self._connect() as sock:
                sock.settimeout(PATIENCE)
                while not self._talking.wait(PACE):
                    filler = rng.randbytes(rng.randint(0, self._filler))
                    speak(sock, b"word %d of %d " % (self.words[talker], talker) + filler)
                    self.words[talker] += 1
        except OSError as error:
            self.errors.append(f"talker {talker} after {self.words[talker]} words: {error!r}")


def speak(sock: socket.socket, word: bytes) -> None:
    """Raises OSError unless the very word comes back."""
    sock.sendall(word)
    heard = b""
    while len(heard) < len(word):
        if not (part := sock.recv(len(word) - len(heard))):
            raise ConnectionError(f"said {word!r}, heard {heard!r}, then the end")
        heard += part
    if heard != word:
        raise ConnectionError(f"said {word!r}, heard {heard!r}")
