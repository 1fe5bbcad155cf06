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
  block  {blocks: [[network, until], ...], all}           (see blocking.py)
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

`load` and `open` tell of what is new and of what is another now; numbers say what is the same.

Tables are one memfd for all groups; a group's part of it is [offset, length].

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
import traceback
from random import random
from time import monotonic, time
from typing import Any

from nlb.balance.target import Target
from nlb.errors import StartError
from nlb.model.address import Address
from nlb.net.channel import Channel, Message, mapped
from nlb.net.loop import Loop
from nlb.net.tls import ServerContext
from nlb.observe import counters
from nlb.observe.counters import Row, observe
from nlb.observe.log import Log
from nlb.proxy.group import REPORT_EVERY, WorkerGroup
from nlb.proxy.guard import Guard, Shield
from nlb.proxy.listener import Listener, Session
from nlb.proxy.orphan import Knocking
from nlb.proxy.pipe import KernelPipes
from nlb.proxy.preface import HelloRule
from nlb.proxy.site import Site
from nlb.shield.cidr import Networks

# Seconds between the rounds that publish byte counts and find idle sessions, so that no event pays for either.
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
        self.groups: dict[int, WorkerGroup] = {}
        self._guard: Guard
        self._shields: dict[int, Shield] = {}  # by the listener's number
        self.targets: dict[int, tuple[Target, WorkerGroup]] = {}
        self.sessions: dict[Session, None] = {}  # a set that keeps the order of arrival
        self.row: Row
        self.rows: list[Row] = []
        self.index = 0
        self._pipes = KernelPipes()
        self._log = Log(self._report_log)
        self._failed: dict[tuple[int, str], int] = {}
        self._stopping = False
        self._leaving = False
        self._door: str | None = None
        self._tickets = b""
        self._knocking: Knocking | None = None
        self._stack = stack
        self._channel = Channel(self.loop, channel, self._obey, self._orphaned, self.crashed)

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
        self.index = message["worker"]
        self._guard = Guard(of_shield, message["workers"], self.index, self.loop, self._offended, self)
        self.rows = [Row(memory, index) for index in range(message["workers"])]
        self.row = self.rows[self.index]
        self._sessions_everywhere = tuple(row.sessions for row in self.rows)
        self._door = message.get("door")
        self._tickets = bytes.fromhex(message.get("tickets", ""))
        self._worker_words = self.row.worker
        self._dropped_before = self._worker_words[counters.LOG_DROPPED]
        self.loop.on_lag = self._lagged
        self.loop.call_at(self.loop.now + SWEEP, self._sweep, self)

    def _on_log(self, message: Message, fds: list[int]) -> None:
        try:
            self._log.open(message["form"], message["place"])
        except StartError as error:
            self._report_log("error", f"{error}; going on as before")

    def _on_load(self, message: Message, fds: list[int]) -> None:
        tables = mapped(fds[0]) if fds else None
        for spec in message["groups"]:
            group = self._load_group(spec)
            group.rebuild(_part(tables, spec["table"]))
            if group.balance.waiting:
                self.loop.call_at(monotonic() + message["wait"], group.stop_waiting, self)

    def _on_unload(self, message: Message, fds: list[int]) -> None:
        """Groups are gone from the config. Their sessions go on with the targets that they have."""
        for number in message["groups"]:
            group = self.groups.pop(number)
            self._forget_targets(group)
            group.unload()

    def _on_open(self, message: Message, fds: list[int]) -> None:
        spec = message["listener"]
        number = spec["number"]
        listener = self.listeners.get(number)
        if listener is None:
            listener = self.listeners[number] = Listener(
                spec["name"],
                self.loop,
                self.groups[spec["group"]],
                self.row.listener(number),
                [row.listener(number) for row in self.rows],
                self._pipes,
                self.sessions,
                None,
                self._report,
                self._report_bug,
            )
        listener.group = self.groups[spec["group"]]
        listener.site = Site(spec["http"], self.groups, self.row) if spec["http"] else None
        self._open_preface(listener, spec)
        listener.idle_timeout = spec["idle_timeout"]
        listener.max_connections = spec["max_connections"]
        listener.access_log = self._log if spec["access_log"] else None
        self._shield(listener, spec, fds[len(spec["binds"]) :])
        for bind, fd in zip(spec["binds"], fds, strict=False):  # behind them are the shield's
            listener.open(socket.socket(fileno=fd), bind, bind in spec.get("lasting", ()))

    def _open_preface(self, listener: Listener, spec: dict[str, Any]) -> None:
        """What clients have to say before their sessions begin."""
        tls, proxies = spec.get("tls"), spec.get("proxies")
        listener.tls = ServerContext(tls, self._tickets) if tls else None
        listener.asks_identity = tls is not None and tls["client_auth"] != "off"
        listener.handshake_timeout = spec.get("handshake_timeout", 0.0)
        listener.proxies = Networks(proxies) if proxies is not None else None
        listener.proxy_header_timeout = spec.get("proxy_header_timeout", 0.0)
        listener.hellos = tuple(
            HelloRule(rule["sni"], rule["alpn"], [(self.groups[number], weight) for number, weight in rule["forward"]])
            for rule in spec.get("hellos", ())
        )

    def _on_certificates(self, message: Message, fds: list[int]) -> None:
        """For handshakes from now on; connections keep what they have."""
        listener = self.listeners.get(message["listener"])
        if listener is not None:
            listener.tls = ServerContext(message["tls"], self._tickets)

    def _on_tickets(self, message: Message, fds: list[int]) -> None:
        """Another secret of session tickets."""
        self._tickets = bytes.fromhex(message["secret"])
        for listener in self.listeners.values():
            if listener.tls is not None:
                listener.tls.share_tickets(self._tickets)

    def _on_shut(self, message: Message, fds: list[int]) -> None:
        listener = self.listeners[message["listener"]]
        for bind in message["binds"]:
            listener.shut(bind)
        if not listener.is_open:
            del self.listeners[message["listener"]]
            self._shields.pop(message["listener"])
            self._guard.forget(message["listener"])
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
        """Facts about targets changed: [id, admin, health, resolve, weight, slow_from] each."""
        changed: dict[WorkerGroup, None] = {}
        for number, admin, health, resolve, weight, slow_from in message["targets"]:
            target, group = self.targets[number]
            target.admin.state, target.health.state, target.resolve.state = admin, health, resolve
            target.weight, target.slow_from = weight, slow_from
            changed[group] = None
        tables = mapped(fds[0]) if fds else None
        parts = {self.groups[number]: part for number, part in message["tables"]}
        for group in changed:
            group.rebuild(_part(tables, parts.get(group)))

    def _on_reset(self, message: Message, fds: list[int]) -> None:
        for session in list(self.sessions):
            if session.target and session.target.id == message["target"]:
                try:
                    session.expel(message["cause"])
                except Exception as error:  # the others are to be left all the same
                    session.crashed(error)

    def _on_block(self, message: Message, fds: list[int]) -> None:
        self._guard.block(message["blocks"], message["all"])
        self._arm()

    def _on_unblock(self, message: Message, fds: list[int]) -> None:
        self._guard.unblock(message["networks"])
        self._arm()

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

    # --- shields

    def _shield(self, listener: Listener, spec: dict[str, Any], fds: list[int]) -> None:
        """`fds` are the lists of `spec`: deny, then allow."""
        number, shield = spec["number"], spec["shield"]
        lists = [shield[key] for key in ("deny", "allow") if shield[key] is not None]
        for of_list, fd in zip(lists, fds, strict=True):
            self._guard.take_in(of_list, fd)
        rows = [row.listener(number) for row in self.rows]
        self._shields[number] = self._guard.shield(number, listener.name, shield, rows, listener.words)
        self._arm()

    def _arm(self) -> None:
        """A listener whose shield has nothing to do need not have it. Blocks come and go."""
        for number, shield in self._shields.items():
            self.listeners[number].shield = shield if shield else None

    # --- load

    def _load_group(self, spec: dict[str, Any]) -> WorkerGroup:
        """A new group, or a known one with what is another now."""
        number = spec["number"]
        targets = [self._load_target(spec["name"], fields) for fields in spec["targets"]]
        group = self.groups.get(number)
        if group is None:
            words, everywhere = self.row.group(number), [row.group(number) for row in self.rows]
            group = WorkerGroup(self.loop, self, words, everywhere, self._connect_failed, self._report)
            self.groups[number] = group
        else:
            self._forget_targets(group)
        # Each worker begins its rounds elsewhere, or all would begin with the first target.
        group.load(spec, targets, self.index, random)
        for target in targets:
            self.targets[target.id] = (target, group)
        return group

    def _load_target(self, group: str, fields: dict[str, Any]) -> Target:
        """A new target, or the known one told anew: its sessions go on with it."""
        number = fields["id"]
        if number in self.targets:
            target = self.targets[number][0]
        else:
            target = Target(number, fields["name"], group, Address(*fields["address"]))
            target.words = self.row.target(number)
            target.rows = self._sessions_everywhere
        target.weight, target.slow_from = fields["weight"], fields["slow_from"]
        target.backup, target.max_connections = fields["backup"], fields["max_connections"]
        target.server_name, target.proxy_protocol = fields["server_name"], fields["proxy_protocol"]
        target.admin.state, target.health.state = fields["admin"], fields["health"]
        target.resolve.state = fields["resolve"]
        return target

    def _forget_targets(self, group: WorkerGroup) -> None:
        for target in group.balance.targets:
            del self.targets[target.id]

    # --- once in a while

    def _sweep(self) -> None:
        now = self.loop.now
        self.loop.call_at(now + SWEEP, self._sweep, self)
        for session in list(self.sessions):
            try:
                session.sweep(now)
            except Exception as error:  # caught here: the rest are to be swept too
                session.crashed(error)
        for group in self.groups.values():
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

    # --- reports

    def _connect_failed(self, target: Target, cause: str) -> None:
        if not self._failed:
            self.loop.call_at(self.loop.now + REPORT_EVERY, self._send_failed, self)
        key = (target.id, cause)
        self._failed[key] = self._failed.get(key, 0) + 1

    def _send_failed(self) -> None:
        failed = [[number, cause, count] for (number, cause), count in self._failed.items()]
        self._failed = {}
        self._channel.send({"verb": "failed", "targets": failed})

    def _offended(self, sources: list[list[Any]]) -> None:
        self._channel.send({"verb": "offended", "sources": sources})

    def _report(self, level: str, text: str) -> None:
        self._channel.send({"verb": "event", "level": level, "text": text})

    def _report_log(self, level: str, text: str) -> None:
        self._report(level, f"worker {self.index + 1}: {text}")

    def _report_bug(self, error: Exception, where: str) -> None:
        text = "".join(traceback.format_exception(error))
        self._report("error", f"bug in worker {self.index + 1}, {where}\n{text}")

    def crashed(self, error: Exception) -> None:
        """A verb, the sweep or the channel failed. Sessions go on; control hears of it."""
        self._report_bug(error, "outside any session")

    def _describe(self, session: Session) -> dict[str, Any]:
        about = {"worker": self.index + 1, "listener": session.listener.name, "client": session.client_name}
        return about | session.describe(self.loop.now)


def _part(tables: memoryview | None, part: list[int] | None) -> memoryview | None:
    if tables is None or part is None:
        return None
    offset, length = part
    return tables[offset : offset + length]


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
