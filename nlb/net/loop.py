"""The event loop: descriptors, deadlines, wake-ups. It knows nothing of what the descriptors carry.

Three rules make it safe to close anything at any moment:

1. *Level-triggered.* A handler that leaves bytes unread is simply called again.
2. *Closes happen after the batch.* A descriptor given to `close_later` keeps its number until every event of
   this turn was handed out, so an event can never reach a newcomer that got the same number.
3. *A forgotten watch is deaf.* Events already fetched for it in this turn go to a handler that does nothing.

A handler takes one argument, the mask of what happened, and is replaced by one assignment to `watch.handler`:
that is how a state machine changes state here. What a handler raises ends its owner (`owner.crashed(error)`),
never the loop.
"""

from __future__ import annotations

import heapq
import os
import select
import selectors
from collections import deque
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Protocol

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
# Told whether asked for or not: the other side reset, or both directions are shut.
BROKEN = select.EPOLLERR | select.EPOLLHUP
# The other side sends no more: for who does not read. `READ` and an empty read say the same.
HUNG_UP = select.EPOLLRDHUP

Handler = Callable[[int], None]

# Events per turn. More makes a turn longer and its last event later; fewer costs more system calls.
BATCH = 512
# And while something heavy waits for its turn: these take about as long as a signature does, so that neither starves.
SHORT_BATCH = 32

_MUTED = -1

# Turns longer than this are counted as lag: what other sessions waited for.
LAG = 0.001


class Owner(Protocol):
    """Whoever stands behind a handler or deadline."""

    def crashed(self, error: Exception) -> None:
        """A handler of yours raised `error`. End, and say so; must not raise."""


class Watch:
    """One descriptor's place in the loop: the selector's key, but one that can change.

    The stdlib's key is a namedtuple built anew by every `modify` (1.9 us; here 0.4 us, and nothing at all
    where only the handler changes).
    """

    __slots__ = ("_selector", "data", "events", "fd", "fileobj", "handler", "owner")

    def __init__(self, selector: Selector, fd: int, events: int) -> None:
        self._selector = selector
        self.fileobj = self.fd = fd
        self.events = events
        self.data: object = None
        self.handler: Handler = _deaf
        self.owner: Owner = _NOBODY

    def want(self, events: int) -> None:
        """Change what to be told of. 0 pauses: then only BROKEN is told."""
        if events != self.events:
            self._selector.modify(self.fd, events)

    def mute(self) -> None:
        """Hear of nothing, not even BROKEN, until the next `want`: for a source that hung up in order while its
        last bytes cannot be read yet; level-triggered, it would be told on every turn."""
        if self.events != _MUTED:
            self._selector.mute(self)

    def forget(self) -> None:
        """Stop watching, for good. May be called twice."""
        if self.fd >= 0:
            self._selector.unregister(self.fd)
            self._end()

    def closing(self) -> None:
        """As `forget`, for a descriptor that is closed in this very turn: the kernel takes it out of epoll then,
        which saves the call."""
        if self.fd >= 0:
            self._selector.drop(self.fd)
            self._end()

    def _end(self) -> None:
        self.fd = -1
        self.handler = _deaf
        self.owner = _NOBODY


def _deaf(mask: int) -> None:
    pass


class _Nobody:
    def crashed(self, error: Exception) -> None:
        raise error


_NOBODY = _Nobody()


class Selector(selectors.EpollSelector):
    """The standard epoll selector with epoll's own bits as masks and mutable keys.

    The stdlib folds a hang-up into READ and WRITE and drops it where neither was asked for; here a paused
    direction must hear of it, or a reset client would hold its target for ever.
    """

    _fd_to_key: dict[int, Watch]
    _selector: select.epoll

    def register(self, fileobj: int, events: int, data: object = None) -> Watch:  # type: ignore[override]
        self._selector.register(fileobj, events)
        watch = self._fd_to_key[fileobj] = Watch(self, fileobj, events)
        watch.data = data
        return watch

    def modify(self, fileobj: int, events: int, data: object = None) -> Watch:  # type: ignore[override]
        watch = self._fd_to_key[fileobj]
        if watch.events == _MUTED:
            self._selector.register(fileobj, events)
        else:
            self._selector.modify(fileobj, events)
        watch.events = events
        return watch

    def unregister(self, fileobj: int) -> Watch:  # type: ignore[override]
        watch = self._fd_to_key.pop(fileobj)
        if watch.events != _MUTED:
            self._selector.unregister(fileobj)
        return watch

    def drop(self, fd: int) -> None:
        del self._fd_to_key[fd]

    def mute(self, watch: Watch) -> None:
        self._selector.unregister(watch.fd)
        watch.events = _MUTED

    def select(self, timeout: float | None = None, most: int = BATCH) -> list[tuple[Watch, int]]:  # type: ignore[override]
        """(watch, mask) of what happened, so many at most; waits at most `timeout` seconds, None for ever."""
        keys = self._fd_to_key
        return [(keys[fd], mask) for fd, mask in self._selector.poll(timeout, most)]


class Deadline:
    """Something to be done at a time. A cancelled one stays in the heap, empty, until its time or a clean-up."""

    __slots__ = ("_loop", "action", "owner")

    def __init__(self, loop: Loop, action: Callable[[], None], owner: Owner) -> None:
        self._loop = loop
        self.action: Callable[[], None] | None = action
        self.owner = owner

    def cancel(self) -> None:
        """Do not call. Lets go of the owner at once, so that a dead session is not kept until then."""
        if self.action is not None:
            self.action = None
            self.owner = _NOBODY
            self._loop.cancelled += 1


class Closable(Protocol):
    def close(self) -> None: ...


class Loop:
    """One thread, one selector. `now` is the monotonic time of this turn, in seconds."""

    def __init__(self) -> None:
        self.now = monotonic()
        self.turns = 0
        self.cancelled = 0  # empty deadlines still in the heap
        self.on_lag: Callable[[float], None] | None = None  # told of turns longer than LAG, in seconds
        self._selector = Selector()
        self._heap: list[tuple[float, int, Deadline]] = []
        self._order = count()  # equal times keep the order of their calls
        self._closing: list[Closable] = []
        self._posted: deque[tuple[Callable[[], None], Owner]] = deque()
        self._heavy: deque[tuple[Watch, Handler, Callable[[], None]]] = deque()
        self._heavy_turn = 0  # the last that did something heavy
        self._running = False
        # A wake-up is one byte in this pipe: epoll sleeps in the kernel and sees descriptors only, so a
        # thread or a signal that has work for the loop must make one readable.
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._wake_read, READ, self._woken, _NOBODY)

    def watch(self, fd: int, events: int, handler: Handler, owner: Owner) -> Watch:
        """Call `handler(mask)` whenever one of `events` holds for `fd`. Raises OSError when it cannot be watched."""
        watch = self._selector.register(fd, events)
        watch.handler = handler
        watch.owner = owner
        return watch

    def call_at(self, when: float, action: Callable[[], None], owner: Owner) -> Deadline:
        """Call `action()` once `now` has reached `when`."""
        deadline = Deadline(self, action, owner)
        heapq.heappush(self._heap, (when, next(self._order), deadline))
        return deadline

    def one_a_turn(self, watch: Watch, action: Callable[[], None], left: Handler, meanwhile: int = 0) -> None:
        """Call `action()`, which is heavy (a signature, say): at once, or when those before it had a turn each, so that
        everybody else waits for one of them at most. Until then the watch is told of nothing but BROKEN and
        `meanwhile`, by `left(mask)`; then it has its handler again, and `action` says what it wants. One that ends
        while it waits costs no turn."""
        if not self._heavy and self._heavy_turn != self.turns:
            self._heavy_turn = self.turns
            return action()
        self._heavy.append((watch, watch.handler, action))
        watch.handler = left
        return watch.want(meanwhile)

    def close_later(self, closable: Closable) -> None:
        """Close it when this turn's events have all been handed out."""
        self._closing.append(closable)

    def post(self, action: Callable[[], None], owner: Owner = _NOBODY) -> None:
        """From any thread: run `action()` on the loop's thread in its next turn. Without an owner an error of it
        ends the loop."""
        self._posted.append((action, owner))
        self.wake()

    def wake(self) -> None:
        """From any thread or signal handler: end the wait of this turn."""
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # the pipe is full of wake-ups already

    def run(self) -> None:
        """Turn until `stop()`."""
        self._running = True
        while self._running:
            self.turn()

    def stop(self) -> None:
        self._running = False
        self.wake()

    def turn(self, wait: float | None = None) -> None:
        """Wait for events, or for the next deadline, or for `wait` seconds; then hand out everything that is due."""
        events = self._selector.select(self._patience(wait), SHORT_BATCH if self._heavy else BATCH)
        self.now = began = monotonic()
        self.turns += 1
        for watch, mask in events:
            owner = watch.owner  # a handler may end its watch, and raise after that
            try:
                watch.handler(mask)
            except Exception as error:
                owner.crashed(error)
        if self._heap and self._heap[0][0] <= began:
            self._expire(began)
        if self._heavy and self._heavy_turn != self.turns:
            self._next_heavy()
        if self._closing:
            closing, self._closing = self._closing, []
            for closable in closing:
                closable.close()
        if (lag := monotonic() - began) > LAG and self.on_lag is not None:
            self.on_lag(lag)

    def close(self) -> None:
        """Let go of the loop's own descriptors."""
        for closable in self._closing:
            closable.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _patience(self, wait: float | None) -> float | None:
        if self._posted or self._closing or self._heavy:
            return 0
        if not self._heap:
            return wait
        due = max(0.0, self._heap[0][0] - monotonic())
        return due if wait is None else min(due, wait)

    def _expire(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            deadline = heapq.heappop(heap)[2]
            action, owner = deadline.action, deadline.owner
            if action is None:
                self.cancelled -= 1
                continue
            deadline.action = None
            try:
                action()
            except Exception as error:
                owner.crashed(error)
        # Most deadlines are cancelled long before their time; a heap that is mostly empty ones is dead weight.
        if self.cancelled > 1000 and self.cancelled > len(heap) // 2:
            self._heap = [entry for entry in heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self.cancelled = 0

    def _next_heavy(self) -> None:
        while self._heavy:
            watch, handler, action = self._heavy.popleft()
            if watch.fd < 0:
                continue
            self._heavy_turn = self.turns
            watch.handler = handler
            owner = watch.owner
            try:
                action()
            except Exception as error:
                owner.crashed(error)
            return

    def _woken(self, mask: int) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
        for _ in range(len(self._posted)):
            action, owner = self._posted.popleft()
            try:
                action()
            except Exception as error:
                owner.crashed(error)
