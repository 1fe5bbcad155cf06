"""Clients that never stop, in threads: what those of every protocol have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

# Seconds that a client waits for anything. More than any restart takes.
PATIENCE = 30.0

# Seconds between two words, or two requests, of one client: traffic, but not all that the box can do.
PACE = 0.003


class Clients:
    """They go on from `with` to its end, or until `stop`. `errors` is what went wrong."""

    def __init__(self, lives: Iterable[Callable[[], None]]) -> None:
        """Each of `lives` is a client's, and ends soon after `stopping` is set."""
        self.errors: list[str] = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()  # for what they count together
        self._threads = [threading.Thread(target=live) for live in lives]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let everybody finish the word, or hear the answer."""
        self.stopping.set()
        for thread in self._threads:
            thread.join()
