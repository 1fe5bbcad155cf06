"""A worker process: one loop, one thread, its listeners, groups and sessions. It obeys control's verbs.

From control                                            To control
  hello  {worker, workers, door} + shared memory: the counters', and the shield's
  log    {form, place}, at first and to open it anew
  load   {groups, wait} + tables
  unload {groups}
  open   {listener} + its new sockets, + the lists of networks that its shield has
  shut   {listener, binds}                                shut {listener, binds}, once the queues are taken
  settle {ask}                                            settled {ask}: all that was told before is done
  mark   {targets, tables} + tables
  reset  {target, cause}
  block  {blocks: [[network, until], ...], all, cut}      (see blocking.py)
  unblock {networks}
  sessions {ask, limit, target, listener}                 sessions {ask, sessions}
  stop   {timeout}                                        stopping {}, then the channel closes
                                                          failed {targets: [[id, cause, count], ...]}
                                                          offended {sources: [[network, listener, offence, seconds,
                                                                    monitored], ...]}
  certificates {listener, tls}                            event {level, text}
  tickets {secret}, of session tickets
A new control, to a worker that lost its own           (see orphan.py)
  leave  {doors}: finish what is open, then exit          left {listener, worker, binds} + sockets, of each listener
                                                          orphan {workers, sessions}: that was all
                                                          leaving {sessions}, now and then

`load` and `open` tell of what is new and of what is another now; numbers say what is the same (loader.py, opener.py).

When the channel closes without a `stop`, control is gone. The worker serves on until a new control relieves it; one
that was told of no door to knock at stops as if it had been asked to.
"""

from __future__ import annotations

import faulthandler
import gc
import mmap
import os
import signal
import socket
import sys
from time import time
from typing import Any

from nlb.errors import StartError
from nlb.net.channel import Channel, Message
from nlb.net.loop import Loop
from nlb.observe import counters
from nlb.observe.counters import Row, observe
from nlb.observe.log import Log
from nlb.proxy.cutting import Cutting
from nlb.proxy.guard import Guard
from nlb.proxy.listener import Listener, Session
from nlb.proxy.loader import Loader
from nlb.proxy.opener import Opener
from nlb.proxy.orphan import Knocking
from nlb.proxy.reports import Reports

# Seconds between the rounds that publish byte counts and find sessions that idle or are blocked, so that no event pays
# for any of it.
SWEEP = 1.0

# Seconds between the looks of a stopping worker whether its last session has ended.
LEAVE_EVERY = 0.02

# Seconds that a reader of the access log may be behind when the worker ends.
LAST_LINES = 0.5

# Seconds for sessions when control died and cannot say: of a worker that was told to end with it, and of one that
# served on until it was clear that nobody comes.
END_WITH_CONTROL = 10.0
END_ALONE = 300.0

# Seconds after which an orphan that stands still ends itself. More than control would give it: after a pause of the
# whole box nobody could tell the one from the other.
STANDSTILL = 30.0


class Worker:
    """Everything in this process. `main` makes one and runs its loop."""

    def __init__(self, channel: socket.socket, stack: int = 2) -> None:
        """`stack` is a descriptor that takes our stack when we are killed."""
        self.loop = Loop()
        self.listeners: dict[int, Listener] = {}
        self._guard: Guard
        self._loader: Loader
        self._opener: Opener
        self._cutting = Cutting()
        self.sessions: dict[Session, None] = {}  # a set that keeps the order of arrival
        self.rows: list[Row] = []
        self.index = 0
        self._reports = Reports(self.loop, lambda message: self._channel.send(message), self)
        self._log = Log(self._reports.of_log)
        self._stopping = False
        self._leaving = False
        self._door: str | None = None
        self._knocking: Knocking | None = None
        self._stack = stack
        self._channel: Channel = Channel(self.loop, channel, self._obey, self._orphaned, self.crashed)

    def run(self) -> None:
        self.loop.run()
        self._log.close(patience=LAST_LINES)

    # --- verbs

    def _obey(self, message: Message, fds: list[int]) -> None:
        if self._knocking:
            self._knocking.heard()
        verb = getattr(self, f"_on_{message['verb']}", None)
        if verb is None:
            for fd in fds:
                os.close(fd)
        else:
            verb(message, fds)

    def _on_hello(self, message: Message, fds: list[int]) -> None:
        memory, of_shield = (memoryview(mmap.mmap(fd, 0)) for fd in fds)
        for fd in fds:
            os.close(fd)
        loop, index, reports = self.loop, message["worker"], self._reports
        self.index, reports.number = index, index + 1
        self._guard = Guard(of_shield, message["workers"], index, loop, reports.offended, self)
        self.rows = rows = [Row(memory, index) for index in range(message["workers"])]
        self._loader = Loader(loop, rows, index, reports, self)
        tickets, groups = bytes.fromhex(message.get("tickets", "")), self._loader.groups
        self._opener = Opener(
            loop, rows, index, groups, self.listeners, self.sessions, self._guard, tickets, self._log, reports
        )
        self._door = message.get("door")
        self._worker_words = rows[index].worker
        self._dropped_before = self._worker_words[counters.LOG_DROPPED]
        self.loop.on_lag = self._lagged
        self.loop.call_at(self.loop.now + SWEEP, self._sweep, self)

    def _on_log(self, message: Message, fds: list[int]) -> None:
        try:
            self._log.open(message["form"], message["place"])
        except StartError as error:
            self._reports.of_log("error", f"{error}; going on as before")

    def _on_load(self, message: Message, fds: list[int]) -> None:
        self._loader.load(message, fds)

    def _on_unload(self, message: Message, fds: list[int]) -> None:
        self._loader.unload(message)

    def _on_open(self, message: Message, fds: list[int]) -> None:
        self._opener.open(message["listener"], fds)

    def _on_certificates(self, message: Message, fds: list[int]) -> None:
        self._opener.certify(message["listener"], message["tls"])

    def _on_tickets(self, message: Message, fds: list[int]) -> None:
        self._opener.share_tickets(bytes.fromhex(message["secret"]))

    def _on_shut(self, message: Message, fds: list[int]) -> None:
        self._opener.shut(message["listener"], message["binds"])
        # Sockets are closed at the end of this turn, and it is not true before.
        self.loop.post(lambda: self._channel.send(message), self)

    def _on_settle(self, message: Message, fds: list[int]) -> None:
        """What exists now is likely to live long: the collector need not look at it again. Sessions break their
        cycles when they close, so there is little for it to find and it may come seldom."""
        if not gc.get_freeze_count():
            gc.collect()
            gc.set_threshold(50_000, 20, 100)
        gc.freeze()
        self._channel.send(message | {"verb": "settled"})

    def _on_mark(self, message: Message, fds: list[int]) -> None:
        self._loader.mark(message, fds)

    def _on_reset(self, message: Message, fds: list[int]) -> None:
        for session in list(self.sessions):
            if session.target and session.target.id == message["target"]:
                try:
                    session.expel(message["cause"])
                except Exception as error:  # the others are to be left all the same
                    session.crashed(error)

    def _on_block(self, message: Message, fds: list[int]) -> None:
        self._guard.block(message["blocks"], message["all"])
        if message.get("cut"):
            self._cutting.add((network, until) for network, until in message["blocks"])
        self._opener.arm()

    def _on_unblock(self, message: Message, fds: list[int]) -> None:
        self._guard.unblock(message["networks"])
        self._cutting.spare(message["networks"])
        self._opener.arm()

    def _on_sessions(self, message: Message, fds: list[int]) -> None:
        wanted_target, wanted_listener = message["target"], message["listener"]
        found: list[dict[str, Any]] = []
        for session in self.sessions:
            if len(found) == message["limit"]:
                break
            number = session.target.id if session.target else None
            if wanted_target is not None and number != wanted_target:
                continue
            if wanted_listener is not None and session.listener.name != wanted_listener:
                continue
            found.append(self._describe(session))
        self._channel.send({"verb": "sessions", "ask": message["ask"], "sessions": found})

    def _on_stop(self, message: Message, fds: list[int]) -> None:
        """Accept no more, let sessions finish for so many seconds, then reset the rest and exit."""
        if not self._stopping:
            self._stopping = True
            for listener in self.listeners.values():
                listener.close()
            self._channel.send({"verb": "stopping"})
        self.loop.call_at(self.loop.now + message["timeout"], self._end, self)
        self._leave_when_empty()

    def _on_leave(self, message: Message, fds: list[int]) -> None:
        """Another control's workers accept where we did; `doors` are the sockets that they share with us."""
        self._leaving = True
        for listener in self.listeners.values():
            listener.close({bind for name, bind in message["doors"] if name == listener.name})

    # --- once in a while

    def _sweep(self) -> None:
        now = self.loop.now
        self.loop.call_at(now + SWEEP, self._sweep, self)
        self._cutting.cut(self.sessions, now)
        for session in list(self.sessions):
            try:
                session.sweep(now)
            except Exception as error:  # caught here: the rest are to be swept too
                session.crashed(error)
        for group in self._loader.groups.values():
            if group.is_http:
                group.sweep(now)
        self._worker_words[counters.TURNS] = self.loop.turns
        self._worker_words[counters.SESSIONS] = len(self.sessions)
        if self._knocking:
            self._look_after_itself()
        self._log.flush()
        self._worker_words[counters.LOG_DROPPED] = self._dropped_before + self._log.dropped

    def _lagged(self, seconds: float) -> None:
        observe(self._worker_words, counters.WORKER_LAG, counters.LAG, seconds)

    def _leave_when_empty(self) -> None:
        if self.sessions:
            self.loop.call_at(self.loop.now + LEAVE_EVERY, self._leave_when_empty, self)
        else:
            self._end()

    def _end(self) -> None:
        self.loop.stop()
        for session in list(self.sessions):
            session.close("shutdown")
        if self.rows:  # else control left before it said hello
            self._worker_words[counters.SESSIONS] = 0

    # --- without control

    def _orphaned(self) -> None:
        """Control is gone without a word. All that it told us still holds, so whoever comes is served."""
        if self._stopping:
            return
        if self._door is None or not (self.listeners or self.sessions):
            return self._on_stop({"timeout": END_WITH_CONTROL}, [])
        if self._knocking is None:
            self._knocking = Knocking(self.loop, self._door, self._enter, self._give_up, self)
            text = f"worker {self.index + 1} (pid {os.getpid()}): control has died; serving on"
            self._log.event(time(), "error", "worker", text, {})
        self._knocking.begin()

    def _enter(self, channel: socket.socket) -> None:
        """A new control let us in: it gets what we accept on."""
        self._channel = Channel(self.loop, channel, self._obey, self._orphaned, self.crashed)
        for listener in self.listeners.values():
            binds = [bind for bind, _ in listener.open_at]
            message = {"verb": "left", "listener": listener.name, "worker": self.index, "binds": binds}
            self._channel.send(message, [sock.fileno() for _, sock in listener.open_at])
        self._channel.send({"verb": "orphan", "workers": len(self.rows), "sessions": len(self.sessions)})

    def _give_up(self) -> None:
        self._on_stop({"timeout": END_ALONE}, [])

    def _look_after_itself(self) -> None:
        """No control watches an orphan, so it must leave and be watched by itself."""
        faulthandler.dump_traceback_later(STANDSTILL, exit=True, file=2 if sys.stderr else self._stack)
        if self._leaving and not self.sessions:
            self._end()
        elif self._leaving:
            self._channel.send({"verb": "leaving", "sessions": len(self.sessions)})

    def crashed(self, error: Exception) -> None:
        """A verb, the sweep or the channel failed. Sessions go on; control hears of it."""
        self._reports.bug(error, "outside any session")

    def _describe(self, session: Session) -> dict[str, Any]:
        about = {"worker": self.index + 1, "listener": session.listener.name, "client": session.client_name}
        return about | session.describe(self.loop.now)


def main() -> None:
    """`python -m nlb.proxy.worker FD [STACK]`, descriptors that control handed on: the worker's end of the channel, and
    where to write the stack on a fatal signal, or on SIGUSR2, which control sends to one that stands still."""
    stack = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    faulthandler.enable(stack)
    faulthandler.register(signal.SIGUSR2, stack)
    # Control decides when a worker ends; a Ctrl-C in the terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Some send these to every process of a service. Control hears them and tells us.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    Worker(socket.socket(fileno=int(sys.argv[1])), stack).run()


if __name__ == "__main__":
    main()
