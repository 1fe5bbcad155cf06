"""The user-space plane as control sees it: the verbs that its workers obey, and what they share.

What one worker knows, all know: a verb goes to every worker, and one that starts is told all that holds. Sockets live
in control, with the connections that queue on them, so that a worker may die (crew.py) and lose only its sessions.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from nlb.control.crew import Crew, WorkerProcess
from nlb.control.listener_orders import ListenerOrders
from nlb.control.listening import Listening, Opening, OpenListener
from nlb.control.orphans import Orphans
from nlb.control.registration import FIRST_VERDICT, ManagedGroup
from nlb.control.shutting import Shutting
from nlb.control.survey import Survey
from nlb.errors import StartError
from nlb.model.config import Config, Log
from nlb.model.plan import Plan
from nlb.net.channel import Channel, Message, memfd
from nlb.net.loop import Loop
from nlb.net.tickets import ROTATION, SECRET_BYTES
from nlb.observe import counters
from nlb.observe.counters import ACTIVE, Row
from nlb.observe.log import Events
from nlb.shield import connections
from nlb.shield import table as shield_table

# Seconds beyond the time given to sessions after which a worker that does not end is killed.
GRACE = 2.0

# Seconds to wait for workers' answers to a question.
ANSWER = 1.0

# Seconds to wait until every worker has taken in a reload.
TAKEN_IN = 5.0


class Decider(Protocol):
    """Whoever decides: the controller."""

    groups: dict[str, ManagedGroup]

    @property
    def target_ids(self) -> list[int]: ...

    def connect_failed(self, target: int, cause: str, failures: int) -> None: ...

    def workers_changed(self) -> None: ...


class Supervisor:
    """Speaks to all workers, for whoever decides."""

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
        self.on_stopped: Callable[[], None] = loop.stop
        self.listening = listening
        self.orphans = orphans
        orphans.on_gone = self._maybe_stopped
        self._door = door
        self._key = key
        self._tickets = os.urandom(SECRET_BYTES)  # what tickets are encrypted with; in memory alone
        loop.call_at(loop.now + ROTATION, self._rotate_tickets, self)
        self._log = config.log
        self._memory_fd = os.memfd_create("nlb-counters")
        os.ftruncate(self._memory_fd, counters.size(workers))
        memory = memoryview(mmap.mmap(self._memory_fd, 0))
        self.rows = [Row(memory, index) for index in range(workers)]
        self._shield_fd = os.memfd_create("nlb-shield")
        os.ftruncate(self._shield_fd, shield_table.size(workers))
        self._shield_memory = memoryview(mmap.mmap(self._shield_fd, 0))
        shield_table.prepare(self._shield_memory, os.urandom(16))
        # What a worker that starts is to know of blocks, and who hears of sources that have offended.
        self.blocks: Callable[[], Message] = lambda: {"verb": "block", "blocks": [], "all": True}
        self.offended: Callable[[list[Any]], None] = lambda sources: None
        self._crew = Crew(loop, workers, events, self, self._maybe_stopped)
        self.workers = self._crew.workers
        orphans.disowns = self._crew.lost_touch
        self._survey = Survey(loop, self.workers, self)
        self._shutting = Shutting(self.workers, events)
        self._orders = ListenerOrders(
            listening,
            self._crew,
            self.rows,
            self._shutting,
            max_connections,
            lambda name: self.decider.groups[name].number,
            self._tell,
        )

    @property
    def up(self) -> bool:
        """Every worker has been set up at least once."""
        return self._crew.up

    def limit(self, opened: OpenListener) -> int:
        """A listener's max_connections, of all workers together."""
        return self._orders.limit(opened)

    @property
    def removed_listeners(self) -> list[int]:
        """Numbers of those that are gone and may have sessions yet."""
        return self._orders.removed

    def start(self) -> None:
        self._crew.start()

    # --- verbs, to all workers

    def load(self, groups: list[ManagedGroup]) -> None:
        """Tell of groups that are new or changed, with all their targets."""
        self._load(groups, self._crew.channels)

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
        ask = self._survey.ask(ANSWER, lambda question: done(question.found[:limit]))
        self._tell({"verb": "sessions", "ask": ask, "limit": limit, "target": target, "listener": listener})

    def settle(self, done: Callable[[list[int]], None]) -> None:
        """Call `done` once every worker has taken in what was told so far, or after TAKEN_IN seconds, with the
        numbers of the workers that have not said so."""
        ask = self._survey.ask(TAKEN_IN, lambda question: done(sorted(index + 1 for index in question.missing)))
        self._tell({"verb": "settle", "ask": ask})

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
        return self._orders.apply(plan, opening)

    def certify(self, opened: OpenListener) -> None:
        """A listener proves itself with other certificates, in handshakes from now on."""
        self._orders.certify(opened)

    def _rotate_tickets(self) -> None:
        self._tickets = os.urandom(SECRET_BYTES)
        self._tell({"verb": "tickets", "secret": self._tickets.hex()})
        self.loop.call_at(self.loop.now + ROTATION, self._rotate_tickets, self)

    def stop(self, timeout: float) -> None:
        """Accept no more; give sessions `timeout` seconds; then end. A second call may shorten the time."""
        self._crew.stop()
        self._tell({"verb": "stop", "timeout": timeout})
        self.orphans.stop(timeout)
        self.loop.call_at(self.loop.now + timeout + GRACE, self._kill, self)
        self._maybe_stopped()

    def kill(self, worker: WorkerProcess, why: str) -> None:
        """End a worker that does not work. Its replacement follows as after any death."""
        self._crew.kill(worker, why)

    # --- their lives

    def brief(self, worker: WorkerProcess) -> None:
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
        self._orders.brief(worker)
        channel.send({"verb": "settle", "ask": 0})

    def _log_message(self) -> Message:
        return {"verb": "log", "form": self._log.format, "place": self._log.access_file}

    def vacant(self, worker: WorkerProcess) -> None:
        """What its row says of now is over."""
        numbers = [opened.number for opened in self.listening.listeners.values()] + self.removed_listeners
        groups = [group.number for group in self.decider.groups.values()]
        self.rows[worker.index].clear_gauges(numbers, self.decider.target_ids, groups)

    def died(self, worker: WorkerProcess) -> None:
        connections.clear(self._shield_memory, worker.index)
        self._shutting.died(worker)

    def crew_changed(self) -> None:
        self.decider.workers_changed()

    def sessions_of(self, worker: WorkerProcess) -> int:
        row = self.rows[worker.index]
        return sum(row.listener(opened.number)[ACTIVE] for opened in self.listening.listeners.values())

    def _kill(self) -> None:
        self._crew.kill_all()
        self.orphans.kill()

    def _maybe_stopped(self) -> None:
        if self._crew.stopping and not self.orphans.alive and self._crew.gone:
            self.listening.close()
            self.on_stopped()

    # --- messages

    def heard(self, worker: WorkerProcess, message: Message, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        verb = message["verb"]
        if verb == "settled":
            if worker.state == "starting":
                self._crew.started(worker)
            self._survey.answered(worker, message)
        elif verb == "failed":
            for target, cause, failures in message["targets"]:
                self.decider.connect_failed(target, cause, failures)
        elif verb == "sessions":
            self._survey.answered(worker, message)
        elif verb == "offended":
            self.offended(message["sources"])
        elif verb == "shut":
            self._shutting.closed_by(worker, message["listener"], message["binds"])
        elif verb == "event":
            self.events.say(message["level"], "worker", message["text"], worker=worker.index + 1)
        elif verb == "stopping":
            self._shutting.stopped_accepting(worker, self.listening.listeners.values())

    def tell(self, message: Message) -> None:
        """Of blocks, to every worker, also to those of a control before us: they have sessions."""
        self._tell(message)
        self.orphans.tell(message)

    def _tell(self, message: Message, fds: list[int] | None = None) -> None:
        for channel in self._crew.channels:
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

    def crashed(self, error: Exception) -> None:
        self.events.bug(error, "supervisor")


def _together(tables: list[bytes]) -> tuple[list[list[int] | None], list[int]]:
    """Tables in one memfd: [offset, length] of each, None for an empty one; and the descriptor, if there is any."""
    parts: list[list[int] | None] = []
    offset = 0
    for table in tables:
        parts.append([offset, len(table)] if table else None)
        offset += len(table)
    return parts, [memfd("nlb-tables", b"".join(tables))] if offset else []
