"""Files that the config names for what is in them, such as lists of networks, are looked at every few seconds, and
what they have then holds.

    look ──> as it was ─────────────────────────────────────> rest
      └────> changed ──> as it was a look later ──> read ──> same, or put into the running config
                                                      └── bad: told, and what was there before goes on

The look and the reading are a thread's: a disk on a network that is away delays nobody. A change is read when it is
over, a look later: whoever writes in place is not read half-way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Thread
from typing import Any

from nlb.control import authorities, lists
from nlb.errors import AdminError, NlbError
from nlb.model.config import Config
from nlb.net.loop import Loop
from nlb.observe.log import Events

# Seconds between two looks.
EVERY = 2.0

State = tuple[int, int, int] | None
Recompose = Callable[[Config, Callable[[dict[str, Any] | NlbError], None]], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is watched. `in_config` gives path -> content, as it was read; `with_contents` the config with other ones,
    the very same if nothing in it is another; `read` the content now, or why there is none, as a str."""

    name: str
    old: str  # what goes on when a file is bad
    in_config: Callable[[Config], Mapping[str, Any]]
    with_contents: Callable[[Config, Mapping[str, Any]], Config]
    read: Callable[[list[str]], Mapping[str, Any]]


LISTS = Kind("lists", "the list that was read before goes on", lists.in_config, lists.with_contents, lists.read_aside)
AUTHORITIES = Kind(
    "authorities",
    "those that were read before, if any, are believed",
    authorities.in_config,
    authorities.with_contents,
    authorities.read,
)


class ContentWatch:
    """For as long as control runs. Everything but looking and reading is done on the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        config: Callable[[], Config],
        recompose: Recompose,
        events: Events,
        kind: Kind,
    ) -> None:
        """`config` is the file's, as it runs. `recompose` makes another the running one, which is the same but for
        what is in such files; it may raise AdminError: not now."""
        self._loop = loop
        self._config = config
        self._recompose = recompose
        self._events = events
        self._kind = kind
        self._states: dict[str, State] = {}  # of files at the last look
        self._known: dict[str, State] = {}  # and when they were read. After a start or a reload: not known
        self._of: Config | None = None  # the config that `_known` is about
        self._troubles: dict[str, str] = {}  # as told
        self._looking = False

    def start(self) -> None:
        self._loop.call_at(self._loop.now + EVERY, self._look, self)

    def crashed(self, error: Exception) -> None:
        self._looking = False
        self._events.bug(error, f"the watch over {self._kind.name}")

    def _look(self) -> None:
        self._loop.call_at(self._loop.now + EVERY, self._look, self)
        config = self._config()
        if config is not self._of:
            self._of, self._known = config, {}
        paths = list(self._kind.in_config(config))
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
                contents = self._kind.read(over) if over else {}
            except NlbError as error:
                trouble = str(error)
                self._loop.post(lambda: self._failed(trouble), self)
            except Exception as error:
                bug = error
                self._loop.post(lambda: self.crashed(bug), self)
            else:
                self._loop.post(lambda: self._take(config, seen, contents), self)

        Thread(target=look, name=self._kind.name, daemon=True).start()

    def _failed(self, trouble: str) -> None:
        self._looking = False
        self._tell("", trouble)

    def _take(self, config: Config, seen: Mapping[str, State], contents: Mapping[str, Any]) -> None:
        self._looking = False
        self._states = dict(seen)
        self._tell("", "")
        if config is not self._config():
            return  # a reload came between, and has read them itself
        for path, content in contents.items():
            self._tell(path, content if isinstance(content, str) else "")
        before = self._kind.in_config(config)
        good = {path: content for path, content in contents.items() if not isinstance(content, str)}
        changed = {path: content for path, content in good.items() if before[path] != content}
        new = self._kind.with_contents(config, changed) if changed else config
        if new is not config:
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
            self._events.say("error", "nlb", f"{path} {trouble}; {self._kind.old}".strip())
        self._troubles[path] = trouble


def state(path: str) -> State:
    """Differs when a file is another, or has been written to."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size
