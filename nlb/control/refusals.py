"""What shields refused, and what those in monitor mode would have refused, as events: one line a minute for each
listener, however many came. A connection that is reset at accept leaves no other line.
"""

from __future__ import annotations

from collections.abc import Callable

from nlb.net.loop import Loop
from nlb.observe.log import Events

EVERY = 60.0  # seconds

# Listener -> what was done ("refused", "monitored") -> reason -> how often, since the start.
Counts = dict[str, dict[str, dict[str, int]]]

_SAID = {"refused": "refused", "monitored": "would have refused"}


class Refusals:
    """Called on the loop's thread."""

    def __init__(self, loop: Loop, counts: Callable[[], Counts], events: Events) -> None:
        self._loop = loop
        self._counts = counts
        self._events = events
        self._last: Counts = {}

    def start(self) -> None:
        self._last = self._counts()
        self._loop.call_at(self._loop.now + EVERY, self._look, self)

    def crashed(self, error: Exception) -> None:
        self._events.bug(error, "the counts of shields")

    def _look(self) -> None:
        self._loop.call_at(self._loop.now + EVERY, self._look, self)
        before, self._last = self._last, self._counts()
        for listener, done in self._last.items():
            for what, now in done.items():
                text = _news(before.get(listener, {}).get(what, {}), now)
                if text:
                    told = f"listener {listener}: the shield {_SAID[what]} {text} within the last minute"
                    self._events.say("info", "nlb", told, listener=listener)


def _news(before: dict[str, int], now: dict[str, int]) -> str:
    """`12: 10 denied, 2 rate`, the most frequent first; empty if there is nothing new."""
    more = {reason: count - before.get(reason, 0) for reason, count in now.items()}
    more = {reason: count for reason, count in more.items() if count > 0}  # those of a new listener began anew
    if not more:
        return ""
    parts = [f"{count} {reason}" for reason, count in sorted(more.items(), key=lambda item: -item[1])]
    return f"{sum(more.values())}: {', '.join(parts)}"
