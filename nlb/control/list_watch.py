"""Files of networks that `deny` and `allow` name are looked at every few seconds, and what they have then holds.

    look ──> as it was ──────────────────────────────────────────────────────> rest
      └────> changed ──> as it was a look later ──> read by a process beside ──> same, or put into the running config
                                                      └── bad: told, and the old list goes on

The look and the wait for that process are a thread's: a disk on a network that is away delays nobody. A change is read
when it is over, a look later: whoever writes in place is not read half-way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any

from nlb.control.lists import Contents, in_config, read_aside, with_contents
from nlb.errors import AdminError, NlbError
from nlb.model.config import Config
from nlb.net.loop import Loop
from nlb.observe.log import Events

# Seconds between two looks.
EVERY = 2.0

State = tuple[int, int, int] | None
Recompose = Callable[[Config, Callable[[dict[str, Any] | NlbError], None]], None]


class ListWatch:
    """For as long as control runs. Everything but looking and reading is done on the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        config: Callable[[], Config],
        recompose: Recompose,
        events: Events,
        read: Callable[[list[str]], Contents] = read_aside,
        every: float = EVERY,
    ) -> None:
        """`config` is the file's, as it runs. `recompose` makes another the running one, which is the same but for its
        lists; it may raise AdminError: not now."""
        self._loop = loop
        self._config = config
        self._recompose = recompose
        self._events = events
        self._read = read
        self._every = every
        self._states: dict[str, State] = {}  # of files at the last look
        self._known: dict[str, State] = {}  # and when they were read. After a start or a reload: not known
        self._of: Config | None = None  # the config that `_known` is about
        self._troubles: dict[str, str] = {}  # as told
        self._looking = False

    def start(self) -> None:
        self._loop.call_at(self._loop.now + self._every, self._look, self)

    def crashed(self, error: Exception) -> None:
        self._looking = False
        self._events.bug(error, "the files of networks")

    def _look(self) -> None:
        self._loop.call_at(self._loop.now + self._every, self._look, self)
        config = self._config()
        if config is not self._of:
            self._of, self._known = config, {}
        paths = list(in_config(config))
        if not paths or self._looking:
            return
        self._looking = True
        states, known = dict(self._states), dict(self._known)

        def look() -> None:
            """In a thread."""
            try:
                seen = {path: state(path) for path in paths}
                over = [path for path in paths if path not in known or known[path] != seen[path]]
                over = [path for path in over if path not in states or states[path] == seen[path]]
                contents = self._read(over) if over else {}
            except NlbError as error:
                trouble = str(error)
                self._loop.post(lambda: self._failed(trouble), self)
            except Exception as error:
                bug = error
                self._loop.post(lambda: self.crashed(bug), self)
            else:
                self._loop.post(lambda: self._take(config, seen, contents), self)

        Thread(target=look, name="lists", daemon=True).start()

    def _failed(self, trouble: str) -> None:
        self._looking = False
        self._tell("", trouble)

    def _take(self, config: Config, seen: Mapping[str, State], contents: Contents) -> None:
        self._looking = False
        self._states = dict(seen)
        self._tell("", "")
        if config is not self._config():
            return  # a reload came between, and has read them itself
        for path, content in contents.items():
            self._tell(path, content if isinstance(content, str) else "")
        before = in_config(config)
        good = {path: content for path, content in contents.items() if not isinstance(content, str)}
        changed = {path: content for path, content in good.items() if before[path] != content}
        if changed:
            new = with_contents(config, changed)
            try:
                self._recompose(new, self._done)
            except AdminError:
                return  # something else is under way: the next look finds the same
            self._of = new
        self._known |= {path: seen[path] for path in contents}

    def _done(self, result: dict[str, Any] | NlbError) -> None:
        if isinstance(result, NlbError):
            self._known = {}  # told by the reloader; try again
            return
        for step in result["steps"]:
            self._events.say("info", "nlb", step)

    def _tell(self, path: str, trouble: str) -> None:
        """Once, until it is another."""
        if trouble and self._troubles.get(path) != trouble:
            self._events.say("error", "nlb", f"{path} {trouble}; the list that was read before goes on".strip())
        self._troubles[path] = trouble


def state(path: str) -> State:
    """Differs when a file is another, or has been written to."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size
