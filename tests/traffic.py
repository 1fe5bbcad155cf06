"""Clients that never stop: some make a connection for every word, some keep theirs. Every word must come back."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from itertools import count
from types import TracebackType

from tests.waiting import until

# Seconds that a client waits for anything. More than any restart takes.
PATIENCE = 30.0

# Seconds between two words of one client: traffic, but not all that the box can do.
PACE = 0.003


class Traffic:
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
        self.calls = 0  # connections that were made, used and closed in order
        self.words = [0] * talkers  # said by each talker, and heard again
        self.errors: list[str] = []
        self._connect = connect
        self._enter = enter
        self._filler = filler
        self._calling = threading.Event()
        self._talking = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(callers)]
        self._threads += [threading.Thread(target=self._talk, args=(number,)) for number in range(talkers)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let everybody finish the word."""
        self._calling.set()
        self._talking.set()
        for thread in self._threads:
            thread.join()

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
            if self._calling.wait(PACE):
                return
            try:
                with self._connect() as sock:
                    sock.settimeout(PATIENCE)
                    say(sock, b"call %d of %d" % (number, caller))
                with self._lock:
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
                    say(sock, b"word %d of %d " % (self.words[talker], talker) + filler)
                    self.words[talker] += 1
        except OSError as error:
            self.errors.append(f"talker {talker} after {self.words[talker]} words: {error!r}")


def say(sock: socket.socket, word: bytes) -> None:
    """Raises OSError unless the very word comes back."""
    sock.sendall(word)
    heard = b""
    while len(heard) < len(word):
        if not (part := sock.recv(len(word) - len(heard))):
            raise ConnectionError(f"said {word!r}, heard {heard!r}, then the end")
        heard += part
    if heard != word:
        raise ConnectionError(f"said {word!r}, heard {heard!r}")
