"""Questions to all running workers. One ends when every worker has answered, or when its time is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nlb.control.crew import WorkerProcess
from nlb.net.channel import Message
from nlb.net.loop import Deadline, Loop, Owner


@dataclass
class Question:
    """One, and what came back. `missing` are the indices of workers."""

    number: int
    missing: set[int]
    done: Callable[[Question], None]
    found: list[dict[str, Any]] = field(default_factory=list)
    deadline: Deadline | None = None


class Survey:
    """All that are open."""

    def __init__(self, loop: Loop, workers: Sequence[WorkerProcess], owner: Owner) -> None:
        self._loop = loop
        self._workers = workers
        self._owner = owner
        self._open: dict[int, Question] = {}
        self._last = 0

    def ask(self, patience: float, done: Callable[[Question], None]) -> int:
        """The number of a question, which the caller tells the workers next; answers carry it."""
        self._last += 1
        missing = {worker.index for worker in self._workers if worker.state == "running"}
        question = self._open[self._last] = Question(self._last, missing, done)
        until = self._loop.now + (patience if missing else 0)
        question.deadline = self._loop.call_at(until, lambda: self._end(question), self._owner)
        return question.number

    def answered(self, worker: WorkerProcess, message: Message) -> None:
        question = self._open.get(message["ask"])
        if question is None:
            return
        question.found += message.get("sessions", [])
        question.missing.discard(worker.index)
        if not question.missing:
            self._end(question)

    def _end(self, question: Question) -> None:
        if self._open.pop(question.number, None):
            if question.deadline:
                question.deadline.cancel()
            question.done(question)
