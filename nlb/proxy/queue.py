"""Who waits for room at a target: the sessions of one group, in this worker, in the order in which they came.

A place becomes free when a session of this worker leaves its target: then the first in the queue gets it in the same
turn of the loop. Sessions of other workers leave unseen, so while somebody waits we look, every now and then.

Workers share the targets but not their queues. Each shows in shared memory how many wait and since when its first
one does, so that none serves its own while another's have waited much longer.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING

from nlb.net.loop import Loop, Owner
from nlb.observe.counters import LATENCY, QUEUE_SINCE, QUEUE_TIMES, QUEUED, Words, observe, total

if TYPE_CHECKING:
    from nlb.proxy.group import WorkerGroup
    from nlb.proxy.seeker import Seeker

# Seconds between two looks for room that other workers made.
LOOK_EVERY = 0.02

# Milliseconds that the first of another worker's queue must have waited longer than ours for us to let it go first.
# A few looks long: it may not have seen the place yet, and what we leave for it stands empty meanwhile.
FAIR = 100

# Milliseconds after which nobody can be waiting any more: a worker died, and control has yet to clear its words.
GRACE = 1000

# How many may be passed over because the places that are free are at targets that failed them already.
PASSED_OVER = 8


class Queue:
    """Of one group. `size` is how many may wait, in all workers together; `timeout` is how long, in seconds."""

    def __init__(self, group: WorkerGroup, loop: Loop, owner: Owner, words: Words, everywhere: list[Words]) -> None:
        """`words` are this worker's counters of the group, `everywhere` those of all workers."""
        self.size = 0
        self.timeout = 0.0
        self._group = group
        self._loop = loop
        self._owner = owner
        self._words = words
        self._everywhere = everywhere
        self._waiting: OrderedDict[Seeker, float] = OrderedDict()  # since when
        self._looks = False
        self._serves = False
        self._show()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def anyone(self) -> bool:
        """Does somebody wait, in any worker? Then newcomers wait behind them."""
        return total(self._everywhere, QUEUED) > 0

    def join(self, session: Seeker) -> None:
        """Wait for a place, or end if too many do."""
        session.phase = "pick"
        if total(self._everywhere, QUEUED) >= self.size:
            return session.fail("queue_full")
        now = self._loop.now
        self._waiting[session] = now
        session.deadline = self._loop.call_at(now + self.timeout, session.waited_too_long, session)
        self._show()
        if not self._looks:
            self._looks = True
            self._loop.call_at(now + LOOK_EVERY, self._look, self._owner)

    def leave(self, session: Seeker) -> None:
        """It has a place now, or it ended. One that does not wait may be told of too."""
        since = self._waiting.pop(session, None)
        if since is not None:
            observe(self._words, QUEUE_TIMES, LATENCY, self._loop.now - since)
            self._show()

    def serve_soon(self) -> None:
        """There may be room: let the first ones go, once this turn's events are handed out. Not at once: who fails
        to connect makes room again, and a long queue would be worked off as deep in the stack."""
        if self._waiting and not self._serves:
            self._serves = True
            self._loop.call_at(self._loop.now, self._serve, self._owner)

    def _serve(self) -> None:
        self._serves = False
        passed = 0
        while passed < len(self._waiting) and not self._is_older_elsewhere():
            session = next(islice(self._waiting, passed, None))
            if session.take_place():
                continue
            if not session.tried or passed == PASSED_OVER:
                return
            passed += 1

    def _look(self) -> None:
        self._looks = bool(self._waiting)
        if self._looks:
            self._loop.call_at(self._loop.now + LOOK_EVERY, self._look, self._owner)
            self._group.balance.look_for_room()
            self._serve()

    def _is_older_elsewhere(self) -> bool:
        """Has somebody in another worker's queue waited much longer than everybody here?"""
        ours = self._words[QUEUE_SINCE]
        oldest = self._loop.now * 1000 - self.timeout * 1000 - GRACE
        return any(oldest < words[QUEUE_SINCE] < ours - FAIR for words in self._everywhere if words[QUEUE_SINCE])

    def _show(self) -> None:
        self._words[QUEUED] = len(self._waiting)
        first = next(iter(self._waiting.values()), 0.0)
        self._words[QUEUE_SINCE] = int(first * 1000)
