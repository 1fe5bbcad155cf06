"""Who stands still. A worker whose loop has not turned for STUCK seconds is asked where it stands, killed and replaced;
systemd is told that we live as long as control's loop turns and any worker's does.

A worker publishes the turns of its loop every second, busy or idle, so a number that stays the same is a standstill.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from nlb.control.notify import Notifier
from nlb.net.loop import Loop
from nlb.observe.counters import TURNS

if TYPE_CHECKING:
    from nlb.control.crew import WorkerProcess
    from nlb.control.supervisor import Supervisor

LOOK = 0.5  # seconds

# Seconds. No turn of a healthy loop takes a tenth of one; a new process may wait long for a core.
STUCK = 5.0
NOT_STARTED = 30.0

# Seconds that a worker gets to write its stack before it is killed.
MOMENT = 0.3

# Seconds that a worker may be behind with publishing: less can be no standstill.
_PUBLISHED = 3.0


class Watchdog:
    """Looks at all workers on control's loop; `start` once."""

    def __init__(self, loop: Loop, supervisor: Supervisor, notifier: Notifier) -> None:
        self._loop = loop
        self._supervisor = supervisor
        self._notifier = notifier
        self._looked = self._turned = self._told = loop.now
        # Per worker: process id, turns, and since when it has those.
        self._seen: dict[int, tuple[int, int, float]] = {}

    def start(self) -> None:
        self._looked = self._turned = self._told = self._loop.now
        self._look()

    def _look(self) -> None:
        now = self._loop.now
        self._loop.call_at(now + LOOK, self._look, self._supervisor)
        if (slept := now - self._looked - LOOK) > LOOK:
            # We stood still ourselves, and perhaps the whole box did. Nobody is to blame for that time.
            self._turned += slept
            self._seen = {index: (pid, turns, since + slept) for index, (pid, turns, since) in self._seen.items()}
        self._looked = now
        for worker in self._supervisor.workers:
            self._look_at(worker, now)
        if self._notifier.watchdog:
            self._tell_systemd(now, self._notifier.watchdog)

    def _look_at(self, worker: WorkerProcess, now: float) -> None:
        if worker.process is None:
            return
        turns = self._supervisor.rows[worker.index].worker[TURNS]
        pid, before, since = self._seen.get(worker.index, (0, 0, 0.0))
        if pid != worker.process.pid or turns != before:
            if pid == worker.process.pid:
                self._turned = now
            self._seen[worker.index] = (worker.process.pid, turns, now)
            return
        patience = NOT_STARTED if worker.state == "starting" else STUCK
        # One that stops has a time to end in, after which it is killed anyway.
        if now - since >= patience and worker.state != "stopping" and not worker.verdict:
            self._end(worker, f"stuck, its loop stood still for {patience:g} s; killed")

    def _end(self, worker: WorkerProcess, why: str) -> None:
        assert worker.process is not None
        worker.verdict = why
        process = worker.process
        process.send_signal(signal.SIGUSR2)

        def kill() -> None:
            if worker.process is process:
                told = why if worker.stack() else f"{why}; it gave no stack{_state(process.pid)}"
                self._supervisor.kill(worker, told)

        self._loop.call_at(self._loop.now + MOMENT, kill, self._supervisor)

    def _tell_systemd(self, now: float, interval: float) -> None:
        if now - self._turned > max(interval / 2, _PUBLISHED):
            return
        if now - self._told >= interval / 3 - LOOK:
            self._told = now
            self._notifier.alive()


def _state(pid: int) -> str:
    """Why: one that was stopped from outside, or waits in the kernel, cannot."""
    import psutil  # 20 ms, needed only here

    try:
        return f", its process is {psutil.Process(pid).status()}"
    except psutil.Error:
        return ""
