"""The workers' processes: started, watched, replaced when they die, and ended.

    starting ──it has taken in all that it was told──> running ──stop──> stopping ──> stopped
        ^                                                 │
        └──────────after a time── backing_off <──dies─────┘

A death is an accident or part of a crash loop; which of them, only how long the worker lived decides.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import Protocol

from nlb.net.channel import Channel, Message, pair
from nlb.net.loop import READ, Deadline, Loop, Watch
from nlb.observe.log import Events

# A worker that lived this long had started well: its death is an accident, not part of a crash loop.
SETTLED = 10.0  # seconds
FIRST_RETRY = 0.1  # seconds before the replacement of a worker that died young; doubles with each such death
LAST_RETRY = 10.0
CRASH_LOOP = 4  # young deaths in a row that are called a crash loop

# Bytes of a dead worker's stack that are told.
STACK = 8 * 1024


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


class Master(Protocol):
    """Who speaks to them: the supervisor."""

    def vacant(self, worker: WorkerProcess) -> None:
        """Nobody fills this place: clear what its row says of now."""

    def brief(self, worker: WorkerProcess) -> None:
        """A new one: tell it everything that it must know."""

    def heard(self, worker: WorkerProcess, message: Message, fds: list[int]) -> None: ...

    def died(self, worker: WorkerProcess) -> None:
        """Clean up behind it."""

    def sessions_of(self, worker: WorkerProcess) -> int: ...

    def crew_changed(self) -> None: ...

    def crashed(self, error: Exception) -> None: ...


class Crew:
    """All of them."""

    def __init__(self, loop: Loop, workers: int, events: Events, master: Master, on_ended: Callable[[], None]) -> None:
        """`on_ended` is called when one has ended that is not replaced."""
        self.workers = [WorkerProcess(index) for index in range(workers)]
        self.stopping = False
        self._loop = loop
        self._events = events
        self._master = master
        self._on_ended = on_ended

    @property
    def up(self) -> bool:
        """Every worker has been set up at least once."""
        return all(worker.state == "running" or worker.restarts for worker in self.workers)

    @property
    def gone(self) -> bool:
        return all(worker.process is None for worker in self.workers)

    @property
    def channels(self) -> list[Channel]:
        return [worker.channel for worker in self.workers if worker.channel]

    def start(self) -> None:
        for worker in self.workers:
            self._spawn(worker)

    def started(self, worker: WorkerProcess) -> None:
        """It has taken in what it was told at first."""
        worker.state, worker.since = "running", time()
        if worker.restarts:
            pid = worker.process.pid if worker.process else 0
            number = worker.index + 1
            self._events.say("info", "worker", f"worker {number} runs again (pid {pid})", worker=number)
        self._master.crew_changed()

    def stop(self) -> None:
        """Nobody is replaced any more. Those that run are to be told to stop."""
        self.stopping = True
        for worker in self.workers:
            if worker.retry:
                worker.retry.cancel()
                worker.retry = None
            if worker.process:
                worker.state = "stopping"

    def kill(self, worker: WorkerProcess, why: str) -> None:
        """End a worker that does not work. Its replacement follows as after any death."""
        if worker.process:
            worker.verdict = why
            worker.process.send_signal(signal.SIGKILL)

    def kill_all(self) -> None:
        """Their time is over."""
        for worker in self.workers:
            if worker.process:
                number = worker.index + 1
                self._events.say("error", "worker", f"worker {number} did not end in time; killed", worker=number)
                worker.process.send_signal(signal.SIGKILL)

    def lost_touch(self, pid: int) -> bool:
        """A worker of ours knocks as an orphan does: it was so far behind with our messages that we hung up."""
        worker = next((item for item in self.workers if item.process and item.process.pid == pid), None)
        if worker:
            self.kill(worker, "it had lost touch with control; killed")
        return worker is not None

    def _spawn(self, worker: WorkerProcess) -> None:
        ours, theirs = pair()
        self._master.vacant(worker)
        worker.stack_fd = os.memfd_create("nlb-stack")
        fds = [theirs.fileno(), worker.stack_fd]
        command = [sys.executable, "-m", "nlb.proxy.worker", *map(str, fds)]
        # Run with exec, never forked: control has threads, and new workers shall run new code.
        worker.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=fds)
        theirs.close()
        worker.verdict = ""
        worker.state, worker.since, worker.born, worker.retry = "starting", time(), self._loop.now, None
        worker.channel = Channel(
            self._loop,
            ours,
            lambda message, fds: self._master.heard(worker, message, fds),
            lambda: None,
            self.crashed,
        )
        worker.pidfd = os.pidfd_open(worker.process.pid)
        worker.exit_watch = self._loop.watch(worker.pidfd, READ, lambda mask: self._died(worker), self)
        self._master.brief(worker)

    def _died(self, worker: WorkerProcess) -> None:
        assert worker.process is not None
        code = worker.process.wait()
        pid, lost = worker.process.pid, self._master.sessions_of(worker)
        assert worker.exit_watch is not None
        assert worker.channel is not None
        worker.exit_watch.forget()
        os.close(worker.pidfd)
        worker.channel.close()
        worker.process = worker.channel = None
        stack = worker.stack()
        os.close(worker.stack_fd)
        self._master.vacant(worker)
        self._master.died(worker)
        if self.stopping:
            worker.state = "stopped"
            return self._on_ended()
        worker.last_exit = worker.verdict or _exit_in_words(code)
        worker.restarts += 1
        worker.young_deaths = worker.young_deaths + 1 if self._loop.now - worker.born < SETTLED else 0
        delay = min(FIRST_RETRY * 2 ** (worker.young_deaths - 1), LAST_RETRY) if worker.young_deaths else 0.0
        worker.state, worker.since = "backing_off", time()
        worker.retry_at = worker.since + delay
        worker.retry = self._loop.call_at(self._loop.now + delay, lambda: self._spawn(worker), self)
        looping = f"; crash loop: {worker.young_deaths} young deaths in a row" * (worker.young_deaths >= CRASH_LOOP)
        self._events.say(
            "error",
            "worker",
            f"worker {worker.index + 1} (pid {pid}) died: {worker.last_exit}; {lost} sessions broke; "
            f"replaced in {delay:.1f} s{looping}" + (stack and f"\n{stack}"),
            worker=worker.index + 1,
        )
        return self._master.crew_changed()

    def crashed(self, error: Exception) -> None:
        self._master.crashed(error)


def _exit_in_words(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
