"""Sockets that are given up. A worker's is closed only when the worker has accepted all that queues there, or is dead:
whoever has connected is served, whoever connects later is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nlb.control.crew import WorkerProcess
from nlb.control.listening import Bound, Opening, OpenListener
from nlb.model.address import Address
from nlb.observe.log import Events


class Shutting:
    def __init__(self, workers: Sequence[WorkerProcess], events: Events) -> None:
        self._workers = workers
        self._events = events
        # What workers still accept on to the end of the queue: (listener's number, bind) -> sockets.
        self._closing: dict[tuple[int, str], Bound] = {}

    def begin(self, number: int, sockets: Mapping[Address, Bound], opening: Opening) -> None:
        """A listener gives these up. The caller tells the workers next."""
        for bind, bound in sockets.items():
            if bound in opening.handed_on:
                continue  # another listener accepts on them now
            self._closing[number, str(bind)] = bound
            for worker in self._workers:
                if worker.channel is None:
                    bound.close_of(worker.index)
            if bound.lasts:
                text = f"{bound.name(bind)} is no listener's now, but {bound.given} stays open: whoever connects waits"
                self._events.say("warning", "nlb", text)

    def closed_by(self, worker: WorkerProcess, number: int, binds: Iterable[str]) -> None:
        """The worker has taken what queued there."""
        for bind in binds:
            bound = self._closing.get((number, bind))
            if bound is None:
                continue
            bound.close_of(worker.index)
            if bound.shared or not bound.is_open:
                self._closing.pop((number, bind)).close()

    def died(self, worker: WorkerProcess) -> None:
        for number, bind in list(self._closing):
            self.closed_by(worker, number, [bind])

    def stopped_accepting(self, worker: WorkerProcess, listeners: Iterable[OpenListener]) -> None:
        """Close what was this worker's: a connection that comes now must be refused, not queue for nobody."""
        worker.accepts = False
        others = any(other.accepts for other in self._workers)
        for opened in listeners:
            for bound in opened.sockets.values():
                bound.close_of(worker.index)
                if not others:
                    bound.refuse()
