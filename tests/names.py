"""Answers of DNS that a test writes, and a loop that hears of them when the test says so."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from nlb.control.names import Answer, Failure, Found, Question, Settings
from tests.fakes import HandLoop
from tests.waiting import until


def told(*ips: str, ttl: float = 30.0, host: str = "app.test", **more: Any) -> Answer:
    return Answer(tuple(Found(host, ip, **more) for ip in ips), ttl=ttl)


def failing(reason: str = "SERVFAIL", host: str = "", version: int = 0) -> Answer:
    return Answer(failures=(Failure(reason, host, version),))


class PostedTo(HandLoop):
    """Stepped by hand; what threads hand over waits until the test hears it."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: deque[tuple[Callable[[], None], Any]] = deque()

    def post(self, action: Callable[[], None], owner: Any = None) -> None:
        self.posted.append((action, owner))

    def hear(self, count: int = 1) -> None:
        for _ in range(count):
            until(lambda: self.posted)
            action, owner = self.posted.popleft()
            try:
                action()
            except ValueError as error:
                owner.crashed(error)


class Oracle:
    """Answers questions, in the threads that ask them; while it is not `open`, nobody gets an answer."""

    def __init__(self) -> None:
        self.answers: dict[Question, Answer] = {}
        self.asked: list[Question] = []
        self.settings: list[Settings] = []
        self.open = threading.Event()
        self.open.set()

    def ask(self, question: Question, settings: Settings) -> Answer:
        self.asked.append(question)
        self.settings.append(settings)
        self.open.wait(10)
        return self.answers[question]
