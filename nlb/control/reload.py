"""Another config for a running balancer: because the file was edited, or because the operator or DNS changed who is
in a group. What runs is always the *effective* config: the file's, with the operator's additions and removals, and
with addresses in the place of names.

    read ──> merge ──> look up new names ──> plan ──> bind ──> apply, a few steps per turn ──> workers have taken it in
      │ (by a process beside)                            │
      └── refused                                        └── refused

All that can fail comes before the first change, so a reload either happens or leaves everything as it was.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from threading import Thread
from time import monotonic, time
from typing import Any

from nlb.control.controller import Controller
from nlb.control.expand import Expanded, expand
from nlb.control.listening import Opening
from nlb.control.naming import Naming
from nlb.control.overrides import Overrides
from nlb.control.reading import read_aside, unpacked
from nlb.control.supervisor import Supervisor
from nlb.errors import AdminError, NlbError
from nlb.model.config import Config
from nlb.model.merge import Merged, merge
from nlb.model.plan import Plan, plan
from nlb.observe.counters import ACTIVE

# Seconds of a turn that applying may take: probes and the admin socket go on meanwhile.
SLICE = 0.01

STOPPING = "nlb is stopping; nothing was changed"
BUSY = "a reload is under way; try again when it has ended"

# Changes that nobody asked for, by who brings them.
_NEWS = {
    "DNS": "new addresses of names",
    "lists": "new lists of networks",
    "authorities": "new authorities of targets",
}

Done = Callable[[dict[str, Any] | NlbError], None]


@dataclass
class Running:
    """Which config runs: what `nlb ctl status` and the metrics say of it."""

    file: str
    hash: str
    config: Config  # the file's, without what the operator added
    generation: int = 1
    loaded: float = field(default_factory=time)
    reload_ok: bool = True
    refused: str = ""  # why the last reload was refused

    def as_data(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "hash": self.hash,
            "generation": self.generation,
            "loaded": self.loaded,
            "reload_ok": self.reload_ok,
            "refused": self.refused,
        }


@dataclass
class _Job:
    """One change under way. Without `counts` it is no other config, only other addresses of its names."""

    who: str
    from_file: bool
    done: Done
    file: Config
    hash: str
    counts: bool = True
    merged: Merged | None = None
    expanded: Expanded | None = None
    plan: Plan | None = None


class Reloader:
    """Makes one change at a time."""

    def __init__(
        self,
        controller: Controller,
        supervisor: Supervisor,
        overrides: Overrides,
        naming: Naming,
        running: Running,
    ) -> None:
        self.running = running
        self.naming = naming
        self._controller = controller
        self._supervisor = supervisor
        self._overrides = overrides
        self._loop = controller.loop
        self._job: _Job | None = None
        self._next: _Job | None = None  # waits for the end of one that names have begun, which nobody asked for

    def check_idle(self) -> None:
        """Raises AdminError when no change can begin now."""
        if self._controller.state == "stopping":
            raise AdminError(STOPPING)
        if self._next or (self._job and self._job.counts):
            raise AdminError(BUSY)

    def reload(self, who: str, done: Done) -> None:
        """Begin to make the file's present text the running config. `done` is called once, later: with what was
        done, or with the error for which nothing was. Raises AdminError as `check_idle`."""
        self._begin(_Job(who, True, done, self.running.config, self.running.hash))

    def recompose(self, who: str, done: Done) -> None:
        """As `reload`, without reading the file: the overrides changed."""
        self._begin(_Job(who, False, done, self.running.config, self.running.hash))

    def renew(self, done: Done) -> None:
        """As `recompose`: names have other addresses. That is no new generation, told by whoever looks them up, and
        it waits for nobody: also raises AdminError while another such change is made."""
        if self._job:
            raise AdminError(BUSY)
        self._begin(_Job("DNS", False, done, self.running.config, self.running.hash, counts=False))

    def relist(self, config: Config, done: Done, what: str = "lists") -> None:
        """As `renew`: `config` is the file's, but for what is in files that it names. Told by whoever read them."""
        if self._job:
            raise AdminError(BUSY)
        self._begin(_Job(what, False, done, config, self.running.hash, counts=False))

    def _begin(self, job: _Job) -> None:
        self.check_idle()
        if self._job:
            self._next = job
        else:
            self._start(job)

    def _start(self, job: _Job) -> None:
        self._job = job
        # Thousands of objects come and all are to stay; each full look of the collector at them takes 80 ms.
        gc.disable()
        if not job.from_file:
            self._loop.post(lambda: self._merge(job, b""), self._controller)
            return

        def read() -> None:
            """In a thread, which waits for a process that does the work."""
            try:
                packed = read_aside(self.running.file)
            except Exception as error:
                trouble = error
                self._loop.post(lambda: self._failed(job, trouble), self._controller)
            else:
                self._loop.post(lambda: self._merge(job, packed), self._controller)

        Thread(target=read, name="reload", daemon=True).start()

    def _merge(self, job: _Job, packed: bytes) -> None:
        try:
            if packed:
                job.file, job.hash = unpacked(packed)
            job.merged = merge(job.file, self._overrides.changes())
            self.naming.prepare(job.merged.config, lambda: self._plan_later(job))
        except Exception as error:
            self._failed(job, error)

    def _plan_later(self, job: _Job) -> None:
        """In a turn of its own: for 10,000 targets, reading took 50 ms of this one already."""
        self._loop.post(lambda: self._plan(job), self._controller)

    def _plan(self, job: _Job) -> None:
        assert job.merged is not None
        try:
            job.expanded = expand(job.merged.config, self.naming.found())
            job.plan = plan(self._controller.config, job.expanded.config)
        except Exception as error:
            return self._failed(job, error)
        return self._planned(job)

    def _planned(self, job: _Job) -> None:
        assert job.plan is not None
        try:
            self._controller.check_room(job.plan)
            opening = self._supervisor.listening.open(job.plan)
        except Exception as error:
            self._failed(job, error)
        else:
            self._step(job, self._steps(job, opening))

    def _failed(self, job: _Job, error: Exception) -> None:
        if not isinstance(error, NlbError):
            self._controller.events.bug(error, "a reload")
            error = NlbError("an error inside nlb, see the log; nothing was changed")
        self._refuse(job, error)

    def _refuse(self, job: _Job, error: NlbError) -> None:
        self.naming.back()
        if job.from_file:
            self.running.reload_ok, self.running.refused = False, str(error)
        what = "reload" if job.from_file else "change of targets" if job.counts else _NEWS[job.who]
        self._controller.events.say("error", "nlb", f"{what} refused, nothing was changed: {error}")
        self._controller.changed()
        self._end(job, error)

    def _end(self, job: _Job, result: dict[str, Any] | NlbError) -> None:
        gc.enable()
        self._job, self._next, waiting = None, None, self._next
        if waiting and self._controller.state == "stopping":
            waiting.done(AdminError(STOPPING))
        elif waiting:
            self._start(waiting)
        job.done(result)

    def _steps(self, job: _Job, opening: Opening) -> Iterator[None]:
        planned, expanded = job.plan, job.expanded
        assert planned is not None
        assert expanded is not None
        names = frozenset((name.group, name.target.name) for name in expanded.names)
        if planned.new.log != self._controller.config.log:
            self._supervisor.open_log(planned.new.log)
        return chain(
            self._controller.add_groups(planned, names),
            self._supervisor.apply_listeners(planned, opening),
            self._controller.remove_groups(planned),
        )

    def _step(self, job: _Job, steps: Iterator[None]) -> None:
        until = monotonic() + SLICE
        try:
            for _ in steps:
                if monotonic() > until:
                    self._loop.post(lambda: self._step(job, steps), self._controller)
                    return
        except Exception as bug:  # nothing here should fail; if it does, the operator must know what state this is
            self._controller.events.bug(bug, "a reload")
            self._end(job, NlbError("an error inside nlb stopped the reload half-way, see the log; restart nlb"))
            return
        self._supervisor.settle(lambda missing: self._finish(job, missing))

    def _finish(self, job: _Job, missing: list[int]) -> None:
        running, planned, merged, expanded = self.running, job.plan, job.merged, job.expanded
        assert planned is not None
        assert merged is not None
        assert expanded is not None
        self.naming.follow(expanded)
        running.config, running.hash = job.file, job.hash
        if job.from_file:
            running.loaded, running.reload_ok, running.refused = time(), True, ""
        self._overrides.drop_void(merged.void)
        self._overrides.drop_moved(
            (item.target.group, item.target.name, item.target.address) for item in self._controller.members
        )
        affected, total = self._affected()
        if job.counts:
            running.generation += 1
            what = "reload" if job.from_file else "targets changed"
            summary = f"{what} by {job.who}: generation {running.generation}, {len(planned.sentences)} changes, "
            self._controller.events.say("info", "nlb", summary + f"{affected} of {total} sessions affected")
        self._controller.changed()
        self._end(
            job,
            {
                "generation": running.generation,
                "hash": running.hash,
                "steps": list(planned.sentences),
                "sessions_affected": affected,
                "sessions": total,
                "workers_missing": missing,
            },
        )

    def _affected(self) -> tuple[int, int]:
        """Sessions on targets that are leaving, and sessions in all."""
        leaving = [item for item in self._controller.registrations.values() if item.leaving]
        affected = sum(self._controller.sessions_of(item) for item in leaving)
        listeners = self._supervisor.listening.listeners.values()
        numbers = [opened.number for opened in listeners] + self._supervisor.removed_listeners
        return affected, sum(row.listener(number)[ACTIVE] for row in self._supervisor.rows for number in numbers)
