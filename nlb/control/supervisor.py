"""The user-space plane as control sees it: worker processes, and the verbs they obey.

A worker is replaced when it dies; its sockets live on in control, with the connections that queue on them, and pass
to the replacement.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import time
from typing import Any, Protocol

from nlb.control.certificates import tls_spec
from nlb.control.listening import Bound, Listening, Opening, OpenListener
from nlb.control.orphans import Orphans
from nlb.control.packed_lists import PackedLists
from nlb.control.registration import FIRST_VERDICT, ManagedGroup
from nlb.control.routing import hello_specs, site_spec
from nlb.control.shielding import shield_spec
from nlb.errors import StartError
from nlb.model.address import Address
from nlb.model.config import Config, Log
from nlb.model.plan import ListenerChange, Plan
from nlb.net.channel import Channel, Message, memfd, pair
from nlb.net.loop import READ, Deadline, Loop, Watch
from nlb.net.tickets import ROTATION, SECRET_BYTES
from nlb.observe import counters
from nlb.observe.counters import ACTIVE, Row
from nlb.observe.log import Events
from nlb.shield import connections
from nlb.shield import table as shield_table

# A worker that lived this long had started well: its death is an accident, not part of a crash loop.
SETTLED = 10.0  # seconds
FIRST_RETRY = 0.1  # seconds before the replacement of a worker that died young; doubles with each such death
LAST_RETRY = 10.0
CRASH_LOOP = 4  # young deaths in a row that are called a crash loop

# Seconds beyond the time given to sessions after which a worker that does not end is killed.
GRACE = 2.0

# Seconds to wait for workers' answers to a question.
ANSWER = 1.0

# Bytes of a dead worker's stack that are told.
STACK = 8 * 1024


# Seconds to wait until every worker has taken in a reload.
TAKEN_IN = 5.0


class Decider(Protocol):
    """Whoever decides: the controller."""

    groups: dict[str, ManagedGroup]

    @property
    def target_ids(self) -> list[int]: ...

    def connect_failed(self, target: int, cause: str, failures: int) -> None: ...

    def workers_changed(self) -> None: ...


@dataclass
class WorkerProcess:
    """One worker's place, whoever fills it now."""

    index: int
    process: subprocess.Popen[bytes] | None = None
    channel: Channel | None = None
    exit_watch: Watch | None = None
    pidfd: int = -1
    state: str = "starting"
    since: float = field(default_factory=time)
    born: float = 0.0  # on the loop's clock
    restarts: int = 0
    young_deaths: int = 0
    last_exit: str = ""
    retry: Deadline | None = None
    retry_at: float = 0.0
    accepts: bool = True
    verdict: str = ""  # why we killed it
    stack_fd: int = -1  # where it writes how it stood when a signal hit it

    def stack(self) -> str:
        return os.pread(self.stack_fd, STACK, 0).decode(errors="replace").rstrip()


class Supervisor:
    """Makes the workers, keeps them alive, speaks to them all."""

    def __init__(
        self,
        loop: Loop,
        config: Config,
        workers: int,
        max_connections: int,
        events: Events,
        listening: Listening,
        orphans: Orphans,
        door: str | None,
        key: bytes,
    ) -> None:
        """`max_connections` is what a listener that names no limit gets, for the whole box. `door` is the admin socket
        where workers shall knock when control has died; None lets them end then. `key` signs what workers give to
        clients for later.
        """
        self.loop = loop
        self.events = events
        self.decider: Decider
        self.stopping = False
        self.on_stopped: Callable[[], None] = loop.stop
        self.listening = listening
        self.orphans = orphans
        orphans.on_gone = self._maybe_stopped
        orphans.disowns = self._lost_touch
        self._door = door
        self._key = key
        self._tickets = os.urandom(SECRET_BYTES)  # what tickets are encrypted with; in memory alone
        loop.call_at(loop.now + ROTATION, self._rotate_tickets, self)
        self._max_connections = max_connections
        self._log = config.log
        self._memory_fd = os.memfd_create("nlb-counters")
        os.ftruncate(self._memory_fd, counters.size(workers))
        memory = memoryview(mmap.mmap(self._memory_fd, 0))
        self.rows = [Row(memory, index) for index in range(workers)]
        self._shield_fd = os.memfd_create("nlb-shield")
        os.ftruncate(self._shield_fd, shield_table.size(workers))
        self._shield_memory = memoryview(mmap.mmap(self._shield_fd, 0))
        shield_table.prepare(self._shield_memory, os.urandom(16))
        self._lists = PackedLists()
        # What a worker that starts is to know of blocks, and who hears of sources that have offended.
        self.blocks: Callable[[], Message] = lambda: {"verb": "block", "blocks": [], "all": True}
        self.offended: Callable[[list[Any]], None] = lambda sources: None
        self.workers = [WorkerProcess(index) for index in range(workers)]
        self._asks: dict[int, _Ask] = {}
        self._ask_number = 0
        # What workers still accept on to the end of the queue: (listener's number, bind) -> sockets.
        self._closing: dict[tuple[int, str], Bound] = {}
        self.removed_listeners: list[int] = []  # numbers; they may have sessions yet

    @property
    def up(self) -> bool:
        """Every worker has been set up at least once."""
        return all(worker.state == "running" or worker.restarts for worker in self.workers)

    def limit(self, opened: OpenListener) -> int:
        """A listener's max_connections, of all workers together."""
        settings = opened.settings
        most = settings.max_connections or self._max_connections
        shields = settings.shield.max_connections if settings.shield.mode == "enforce" else None
        return min(most, shields or most)

    def start(self) -> None:
        for worker in self.workers:
            self._spawn(worker)

    # --- verbs, to all workers

    def load(self, groups: list[ManagedGroup]) -> None:
        """Tell of groups that are new or changed, with all their targets."""
        self._load(groups, self._channels)

    def unload(self, groups: list[ManagedGroup]) -> None:
        self._tell({"verb": "unload", "groups": [group.number for group in groups]})

    def mark(self, targets: list[list[Any]], tables: list[tuple[int, bytes]]) -> None:
        """Tell facts about targets, and the new tables of groups (by number)."""
        parts, fds = _together([table for _, table in tables])
        numbered = [[number, part] for (number, _), part in zip(tables, parts, strict=True)]
        self._tell({"verb": "mark", "targets": targets, "tables": numbered}, fds)
        for fd in fds:
            os.close(fd)

    def reset(self, target: int, cause: str) -> None:
        """End every session of a target, with this cause."""
        self._tell({"verb": "reset", "target": target, "cause": cause})

    def sessions(
        self, done: Callable[[list[dict[str, Any]]], None], limit: int, target: int | None, listener: str | None
    ) -> None:
        """Ask every worker for its sessions; `done` gets what came within ANSWER seconds."""
        ask = self._ask(ANSWER, lambda ask: done(ask.found[:limit]))
        self._tell(
            {"verb": "sessions", "ask": ask.number, "limit": limit, "target": target, "listener": listener}
        )

    def settle(self, done: Callable[[list[int]], None]) -> None:
        """Call `done` once every worker has taken in what was told so far, or after TAKEN_IN seconds, with the
        numbers of the workers that have not said so."""
        ask = self._ask(TAKEN_IN, lambda ask: done(sorted(index + 1 for index in ask.missing)))
        self._tell({"verb": "settle", "ask": ask.number})

    def open_log(self, settings: Log) -> bool:
        """Open the logs, control's and the workers', or open them anew. Who cannot says so and goes on as before;
        returns whether control can."""
        self._log = settings
        self._tell(self._log_message())
        try:
            self.events.log.open(settings.format, settings.file)
        except StartError as error:
            self.events.say("error", "nlb", f"{error}; going on as before")
            return False
        return True

    def apply_listeners(self, plan: Plan, opening: Opening) -> Iterator[None]:
        """Open, change and close listeners, one per step. `opening` has all that had to be bound."""
        for number in [number for number in self.removed_listeners if not self._active(number)]:
            self.removed_listeners.remove(number)
            self.listening.release(number)
        for settings in (*plan.listeners_added, *(change.new for change in plan.listeners_changed)):
            yield from self._lists.prepare(settings.shield)
        for settings in plan.listeners_added:
            opened, used, routes = self.listening.add(settings, opening)
            self._clear_routes(routes)
            if used:
                for row in self.rows:
                    row.clear_listener(opened.number)
            self._open(opened, list(settings.binds))
            yield
        for change in plan.listeners_changed:
            self._change(change, opening)
            yield
        for settings in plan.new.listeners:
            opened = self.listening.listeners[settings.name]
            if opened.show(settings.identity):  # nothing else about it is new
                self.certify(opened)
                yield
        for settings in plan.listeners_removed:
            opened = self.listening.remove(settings.name)
            self._shut(opened.number, opened.sockets, opening)
            self.removed_listeners.append(opened.number)
            yield
        self._lists.keep(opened.settings.shield for opened in self.listening.listeners.values())

    def certify(self, opened: OpenListener) -> None:
        """A listener proves itself with other certificates, in handshakes from now on."""
        if opened.identity:
            spec = tls_spec(opened.settings, opened.identity)
            self._tell({"verb": "certificates", "listener": opened.number, "tls": spec})

    def _rotate_tickets(self) -> None:
        self._tickets = os.urandom(SECRET_BYTES)
        self._tell({"verb": "tickets", "secret": self._tickets.hex()})
        self.loop.call_at(self.loop.now + ROTATION, self._rotate_tickets, self)

    def stop(self, timeout: float) -> None:
        """Accept no more; give sessions `timeout` seconds; then end. A second call may shorten the time."""
        self.stopping = True
        for worker in self.workers:
            if worker.retry:
                worker.retry.cancel()
                worker.retry = None
            if worker.process:
                worker.state = "stopping"
        self._tell({"verb": "stop", "timeout": timeout})
        self.orphans.stop(timeout)
        self.loop.call_at(self.loop.now + timeout + GRACE, self._kill, self)
        self._maybe_stopped()

    def kill(self, worker: WorkerProcess, why: str) -> None:
        """End a worker that does not work. Its replacement follows as after any death."""
        if worker.process:
            worker.verdict = why
            worker.process.send_signal(signal.SIGKILL)

    def _lost_touch(self, pid: int) -> bool:
        """A worker of ours knocks as an orphan does: it was so far behind with our messages that we hung up."""
        worker = next((item for item in self.workers if item.process and item.process.pid == pid), None)
        if worker:
            self.kill(worker, "it had lost touch with control; killed")
        return worker is not None

    # --- processes

    def _spawn(self, worker: WorkerProcess) -> None:
        ours, theirs = pair()
        self._clear_gauges(worker)
        worker.stack_fd = os.memfd_create("nlb-stack")
        fds = [theirs.fileno(), worker.stack_fd]
        command = [sys.executable, "-m", "nlb.proxy.worker", *map(str, fds)]
        # Run with exec, never forked: control has threads, and new workers shall run new code.
        worker.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=fds)
        theirs.close()
        worker.verdict = ""
        worker.state, worker.since, worker.born, worker.retry = "starting", time(), self.loop.now, None
        worker.channel = Channel(
            self.loop,
            ours,
            lambda message, fds: self._heard(worker, message, fds),
            lambda: None,
            self.crashed,
        )
        worker.pidfd = os.pidfd_open(worker.process.pid)
        worker.exit_watch = self.loop.watch(worker.pidfd, READ, lambda mask: self._died(worker), self)
        self._brief(worker)

    def _brief(self, worker: WorkerProcess) -> None:
        """Everything that a new worker must know, in order."""
        channel = worker.channel
        assert channel is not None
        hello = {"verb": "hello", "worker": worker.index, "workers": len(self.workers), "door": self._door}
        hello["tickets"] = self._tickets.hex()
        channel.send(hello, [self._memory_fd, self._shield_fd])
        channel.send(self._log_message())
        channel.send(self.blocks())
        for group in self.decider.groups.values():
            self._load([group], [channel])
        for opened in self.listening.listeners.values():
            self._open_in(worker, opened, list(opened.sockets))
        channel.send({"verb": "settle", "ask": 0})

    def _log_message(self) -> Message:
        return {"verb": "log", "form": self._log.format, "place": self._log.access_file}

    def _died(self, worker: WorkerProcess) -> None:
        assert worker.process is not None
        code = worker.process.wait()
        pid, lost = worker.process.pid, self._sessions_of(worker)
        assert worker.exit_watch is not None
        assert worker.channel is not None
        worker.exit_watch.forget()
        os.close(worker.pidfd)
        worker.channel.close()
        worker.process = worker.channel = None
        stack = worker.stack()
        os.close(worker.stack_fd)
        self._clear_gauges(worker)
        connections.clear(self._shield_memory, worker.index)
        for number, bind in list(self._closing):
            self._closed_by(worker, number, [bind])
        if self.stopping:
            worker.state = "stopped"
            return self._maybe_stopped()
        worker.last_exit = worker.verdict or _exit_in_words(code)
        worker.restarts += 1
        worker.young_deaths = worker.young_deaths + 1 if self.loop.now - worker.born < SETTLED else 0
        delay = min(FIRST_RETRY * 2 ** (worker.young_deaths - 1), LAST_RETRY) if worker.young_deaths else 0.0
        worker.state, worker.since = "backing_off", time()
        worker.retry_at = worker.since + delay
        worker.retry = self.loop.call_at(self.loop.now + delay, lambda: self._spawn(worker), self)
        looping = f"; crash loop: {worker.young_deaths} young deaths in a row" * (worker.young_deaths >= CRASH_LOOP)
        self.events.say(
            "error",
            "worker",
            f"worker {worker.index + 1} (pid {pid}) died: {worker.last_exit}; {lost} sessions broke; "
            f"replaced in {delay:.1f} s{looping}" + (stack and f"\n{stack}"),
            worker=worker.index + 1,
        )
        return self.decider.workers_changed()

    def _sessions_of(self, worker: WorkerProcess) -> int:
        row = self.rows[worker.index]
        return sum(row.listener(opened.number)[ACTIVE] for opened in self.listening.listeners.values())

    def _clear_gauges(self, worker: WorkerProcess) -> None:
        numbers = [opened.number for opened in self.listening.listeners.values()] + self.removed_listeners
        groups = [group.number for group in self.decider.groups.values()]
        self.rows[worker.index].clear_gauges(numbers, self.decider.target_ids, groups)

    def _kill(self) -> None:
        for worker in self.workers:
            if worker.process:
                number = worker.index + 1
                self.events.say("error", "worker", f"worker {number} did not end in time; killed", worker=number)
                worker.process.send_signal(signal.SIGKILL)
        self.orphans.kill()

    def _maybe_stopped(self) -> None:
        if self.stopping and not self.orphans.alive and all(worker.process is None for worker in self.workers):
            self.listening.close()
            self.on_stopped()

    # --- messages

    def _heard(self, worker: WorkerProcess, message: Message, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        verb = message["verb"]
        if verb == "settled":
            if worker.state == "starting":
                self._started(worker)
            self._answered(worker, message)
        elif verb == "failed":
            for target, cause, failures in message["targets"]:
                self.decider.connect_failed(target, cause, failures)
        elif verb == "sessions":
            self._answered(worker, message)
        elif verb == "offended":
            self.offended(message["sources"])
        elif verb == "shut":
            self._closed_by(worker, message["listener"], message["binds"])
        elif verb == "event":
            self.events.say(message["level"], "worker", message["text"], worker=worker.index + 1)
        elif verb == "stopping":
            self._stopped_accepting(worker)

    def _started(self, worker: WorkerProcess) -> None:
        worker.state, worker.since = "running", time()
        if worker.restarts:
            pid = worker.process.pid if worker.process else 0
            number = worker.index + 1
            self.events.say("info", "worker", f"worker {number} runs again (pid {pid})", worker=number)
        self.decider.workers_changed()

    @property
    def _channels(self) -> list[Channel]:
        return [worker.channel for worker in self.workers if worker.channel]

    def tell(self, message: Message) -> None:
        """Of blocks, to every worker."""
        self._tell(message)

    def _tell(self, message: Message, fds: list[int] | None = None) -> None:
        for channel in self._channels:
            channel.send(message, fds or [])

    def _load(self, groups: list[ManagedGroup], channels: list[Channel]) -> None:
        specs = [group.spec() for group in groups]
        parts, fds = _together([group.table for group in groups])
        for spec, part in zip(specs, parts, strict=True):
            spec["table"] = part
            if spec["http"]:
                spec["http"]["key"] = self._key.hex()
        for channel in channels:
            channel.send({"verb": "load", "groups": specs, "wait": FIRST_VERDICT}, fds)
        for fd in fds:
            os.close(fd)

    # --- questions

    def _ask(self, patience: float, done: Callable[[_Ask], None]) -> _Ask:
        """A question to the running workers. The caller tells it next; answers carry its number."""
        self._ask_number += 1
        missing = {worker.index for worker in self.workers if worker.state == "running"}
        ask = self._asks[self._ask_number] = _Ask(self._ask_number, missing, done)
        ask.deadline = self.loop.call_at(self.loop.now + (patience if missing else 0), lambda: self._end(ask), self)
        return ask

    def _answered(self, worker: WorkerProcess, message: Message) -> None:
        ask = self._asks.get(message["ask"])
        if ask is None:
            return
        ask.found += message.get("sessions", [])
        ask.missing.discard(worker.index)
        if not ask.missing:
            self._end(ask)

    def _end(self, ask: _Ask) -> None:
        if self._asks.pop(ask.number, None):
            if ask.deadline:
                ask.deadline.cancel()
            ask.done(ask)

    def crashed(self, error: Exception) -> None:
        self.events.bug(error, "supervisor")

    # --- listeners

    def _active(self, number: int) -> int:
        return sum(row.listener(number)[ACTIVE] for row in self.rows)

    def _open(self, opened: OpenListener, binds: list[Address]) -> None:
        for worker in self.workers:
            self._open_in(worker, opened, binds)

    def _open_in(self, worker: WorkerProcess, opened: OpenListener, binds: list[Address]) -> None:
        """Tell a worker what a listener is like, and of these sockets of it."""
        if worker.channel is None:
            return
        settings = opened.settings
        spec = {
            "number": opened.number,
            "name": settings.name,
            "group": self.decider.groups[settings.target_group].number,
            "idle_timeout": settings.idle_timeout,
            "max_connections": self.limit(opened),
            "access_log": settings.access_log,
            "http": self._http(opened) if settings.speaks_http else None,
            **self._preface(opened),
            "binds": [str(bind) for bind in binds],
            "lasting": opened.lasting(binds),
        }
        lists = self._add_shield(spec, opened)
        worker.channel.send({"verb": "open", "listener": spec}, opened.for_worker(worker.index, binds) + lists)

    def _add_shield(self, spec: Message, opened: OpenListener) -> list[int]:
        """Tell of the shield; returns the descriptors of its lists."""
        settings = opened.settings
        shield = settings.shield
        lists = {"deny": self._lists.deny(shield), "allow": self._lists.allow(shield)}
        spec["shield"] = shield_spec(shield, opened.number, settings.speaks_http)
        spec["shield"] |= {key: listed and listed.number for key, listed in lists.items()}
        return [listed.fd for listed in lists.values() if listed]

    def _preface(self, opened: OpenListener) -> Message:
        """What clients have to say before their sessions begin."""
        settings = opened.settings
        hellos = settings.rules if settings.protocol == "tcp" else ()
        return {
            "tls": tls_spec(settings, opened.identity) if opened.identity else None,
            "handshake_timeout": settings.tls.handshake_timeout,
            "hellos": hello_specs(settings, lambda name: self.decider.groups[name].number) if hellos else [],
            "proxies": list(settings.trusted_proxies) if settings.proxy_protocol == "accept" else None,
            "proxy_header_timeout": settings.proxy_header_timeout,
        }

    def _http(self, opened: OpenListener) -> Message:
        """What only listeners of http have."""
        numbers = {(rule, group): number for rule, group, number in opened.routes}
        return site_spec(opened.settings, lambda name: self.decider.groups[name].number, lambda *of: numbers[of])

    def _change(self, change: ListenerChange, opening: Opening) -> None:
        opened = self.listening.listeners[change.new.name]
        self._clear_routes(self.listening.settle_in(opened, change.new))
        new = [bind for bind in change.new.binds if bind not in opened.sockets]
        old = {bind: opened.sockets.pop(bind) for bind in change.old.binds if bind not in change.new.binds}
        opened.sockets |= {bind: opening.take(bind) for bind in new}
        self._open(opened, new)
        if old:
            self._shut(opened.number, old, opening)

    def _clear_routes(self, numbers: list[int]) -> None:
        for row in self.rows:
            for number in numbers:
                row.clear_route(number)

    def _shut(self, number: int, sockets: dict[Address, Bound], opening: Opening) -> None:
        """Workers take what queues on these, then stop accepting there; then the sockets are closed."""
        for bind, bound in sockets.items():
            if bound in opening.handed_on:
                continue  # another listener accepts on them now
            self._closing[number, str(bind)] = bound
            for worker in self.workers:
                if worker.channel is None:
                    bound.close_of(worker.index)
            if bound.lasts:
                text = f"{bound.name(bind)} is no listener's now, but {bound.given} stays open: whoever connects waits"
                self.events.say("warning", "nlb", text)
        self._tell({"verb": "shut", "listener": number, "binds": [str(bind) for bind in sockets]})

    def _closed_by(self, worker: WorkerProcess, number: int, binds: list[str]) -> None:
        for bind in binds:
            bound = self._closing.get((number, bind))
            if bound is None:
                continue
            bound.close_of(worker.index)
            if bound.shared or not bound.is_open:
                self._closing.pop((number, bind)).close()

    def _stopped_accepting(self, worker: WorkerProcess) -> None:
        """Close what was this worker's: a connection that comes now must be refused, not queue for nobody."""
        worker.accepts = False
        others = any(other.accepts for other in self.workers)
        for opened in self.listening.listeners.values():
            for bound in opened.sockets.values():
                bound.close_of(worker.index)
                if not others:
                    bound.refuse()


@dataclass
class _Ask:
    """A question to the workers, and what came back."""

    number: int
    missing: set[int]
    done: Callable[[_Ask], None]
    found: list[dict[str, Any]] = field(default_factory=list)
    deadline: Deadline | None = None


def _together(tables: list[bytes]) -> tuple[list[list[int] | None], list[int]]:
    """Tables in one memfd: [offset, length] of each, None for an empty one; and the descriptor, if there is any."""
    parts: list[list[int] | None] = []
    offset = 0
    for table in tables:
        parts.append([offset, len(table)] if table else None)
        offset += len(table)
    return parts, [memfd("nlb-tables", b"".join(tables))] if offset else []


def _exit_in_words(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
