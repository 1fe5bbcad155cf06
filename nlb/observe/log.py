"""What is written down: a record per ended session or request, by workers; a record per event, by control. In the same
form and with the words of the metrics; when nobody takes the lines they are dropped and counted, and no session waits.
"""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from nlb.observe import lines, outlet
from nlb.observe.lines import Layout
from nlb.observe.outlet import Outlet

# Events kept for the status page and `nlb ctl`.
RING = 1000

# Characters of an event. A thousand of them are kept, and one may be the traceback of a bug.
_LONGEST = 32 * 1024

# Lines are written together, about so many bytes; a flush now and then comes from the worker's sweep.
_BUFFER = 32 * 1024

# Bytes kept for a reader that is behind: seconds of a busy worker.
_MOST = 4 * 1024 * 1024


class Log:
    """Lines to a place, buffered. What is not taken waits; beyond _MOST bytes it is dropped and counted."""

    def __init__(
        self, report: Callable[[str, str], None], open_outlet: Callable[[str], Outlet] = outlet.open_outlet
    ) -> None:
        """`report(level, text)` hears when lines cannot be written and when they can again, once each."""
        self.dropped = 0
        self._report = report
        self._open_outlet = open_outlet
        self._place = ""
        self._form = "text"
        self._outlet: Outlet | None = None
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._flush_at = _BUFFER
        self._waits = False  # the last flush left some: looking at them all again for each event is dear
        self._stuck: int | None = None  # lines that had been dropped when writing failed

    def open(self, form: str, place: str) -> None:
        """Write to `place`, opened anew, from now on. Raises StartError; then all is as before.

        `form` is text or json; the journal has one of its own.
        """
        self._place = self._place or place
        opened = self._open_outlet(place)
        self.flush()
        if self._outlet:
            self._outlet.close()
        self._outlet, self._place = opened, place
        self._form = "journal" if opened.is_journal else form

    def write(self, layout: Layout, seconds: float, values: list[Any]) -> None:
        """A record of that time; `values` as the layout wants them."""
        self._add(layout.line(self._form, seconds, values))

    def event(self, seconds: float, level: str, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """An event, which is written at once; behind lines that wait for a stuck reader it waits with them."""
        self._add(lines.event(self._form, seconds, level, kind, text, facts))
        if not self._waits:
            self.flush()

    def flush(self, patience: float = 0.0) -> None:
        """Write what is taken now, or as long as some of it is every `patience` seconds."""
        if not self._lines or self._outlet is None:
            return
        why = ""
        try:
            self._outlet.put(self._lines, patience)
        except OSError as error:
            why = os.strerror(error.errno or 0)
        self._size = sum(map(len, self._lines))
        self._waits = bool(self._lines)
        self._flush_at = self._size + _BUFFER
        if why:
            self._fails(why)
        elif not self._lines and self._stuck is not None:
            self._works()

    def close(self, patience: float) -> None:
        """The last flush: what is not taken by then is dropped."""
        self.flush(patience)
        self.dropped += len(self._lines)
        self._lines.clear()
        if self._outlet:
            self._outlet.close()
            self._outlet = None

    def _add(self, line: bytes) -> None:
        if self._size >= _MOST:
            self._fails("nobody reads it" if self._outlet else "it is not open")
            self.dropped += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._size >= self._flush_at:
            self.flush()

    def _fails(self, why: str) -> None:
        if self._stuck is None:
            self._stuck = self.dropped
            kept = f"{_MOST >> 20} MiB of lines are kept until it can be written, further ones are dropped"
            self._report("error", f"log to {self._place}: {why}; {kept}")

    def _works(self) -> None:
        assert self._stuck is not None
        lost, self._stuck = self.dropped - self._stuck, None
        self._report("info", f"log to {self._place}: written again; {lost} lines were dropped")


class Events:
    """What happened, for people: a line in the log, and a ring of the latest."""

    def __init__(self) -> None:
        self.ring: deque[dict[str, Any]] = deque(maxlen=RING)
        self.log = Log(lambda level, text: self.say(level, "nlb", text))

    def say(self, level: str, kind: str, text: str, **facts: str | float | None) -> None:
        """`level` info, warning or error; `kind` target, worker, operator, group or nlb; `text` one or more lines.

        `facts` are names in the text that programs look for: `group="web"`.
        """
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]} ... and {len(text) - _LONGEST} characters more"
        now = time()
        self.ring.append({"at": now, "level": level, "kind": kind, "text": text} | facts)
        self.log.event(now, level, kind, text, facts)

    def bug(self, error: Exception, where: str) -> None:
        """An error of ours: the traceback goes to the log, where it can be reported from."""
        self.say("error", "nlb", f"bug in {where}\n" + "".join(traceback.format_exception(error)))
