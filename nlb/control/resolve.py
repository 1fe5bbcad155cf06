"""Names into addresses: who stands behind a target that is given by a DNS name, now and after every change.

    due ──> asked, in a thread ──> judged, on the loop ──> due again, after the TTL or a backoff

The one rule: only the loop's thread knows anything; the others ask one question and hand over the answer.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from random import Random
from time import time

from nlb.control.names import Answer, Failure, Found, Known, Question, Settings, Verdict, judge, sentences
from nlb.net.loop import Deadline, Loop

# Look-ups at the same time. Most of their time is waiting, and what is not is taken from the loop's own.
THREADS = 8


def ask_dns(question: Question, settings: Settings) -> Answer:
    """As `lookup.look_up`, which is imported here: a library for DNS takes 50 ms, and few configs have names."""
    from nlb.control.lookup import look_up

    return look_up(question, settings)


@dataclass(slots=True, eq=False)
class _Name:
    """A question that is asked again and again."""

    question: Question
    known: Known
    deadline: Deadline | None = None

    def rest(self) -> None:
        if self.deadline:
            self.deadline.cancel()
            self.deadline = None


class Resolver:
    """Asks for as long as somebody follows the name. All calls, and `on_change`, are on the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        say: Callable[[str, str, str], None],
        on_change: Callable[[Question, Verdict], None],
        rng: Random,
        ask: Callable[[Question, Settings], Answer] = ask_dns,
    ) -> None:
        """`say(level, kind, text)` takes events. `on_change` is called when addresses, state or reason are others than
        before; so it is after every first answer. `ask` is called in threads."""
        self.unanswered: set[Question] = set()  # followed, and no answer has come yet
        self._loop = loop
        self._say = say
        self._on_change = on_change
        self._rng = rng
        self._settings = Settings()
        self._ask = ask
        self._names: dict[Question, _Name] = {}
        self._due: SimpleQueue[_Name | None] = SimpleQueue()
        self._threads = 0
        self._asked = 0  # and not answered yet
        self._stopped = False
        # Held while a thread posts: after `stop` the loop may be closed and its descriptors be another's.
        self._posting = threading.Lock()

    def follow(self, questions: Iterable[Question], settings: Settings) -> None:
        """Ask these from now on, and no others. New ones are asked at once, and so are all when the settings are
        others; what is known stays until the answer."""
        wanted = dict.fromkeys(questions)  # in their order, and each once
        for question in self._names.keys() - wanted.keys():
            self._names.pop(question).rest()
            self.unanswered.discard(question)
        changed, self._settings = settings != self._settings, settings
        for name in self._names.values() if changed else ():
            if name.deadline:
                name.rest()
                self._look_up(name)
        for question in wanted:
            if question not in self._names:
                name = self._names[question] = _Name(question, Known(since=time()))
                self.unanswered.add(question)
                self._look_up(name)

    def known(self, question: Question) -> Known:
        """What is known of a followed name."""
        return self._names[question].known

    def found(self) -> dict[Question, tuple[Found, ...]]:
        """The addresses of every followed name, as of now."""
        return {question: name.known.found for question, name in self._names.items()}

    def stop(self) -> None:
        """Ask no more and call nobody, for good. To be called before the loop is closed; what a thread still waits
        for goes unheard."""
        self.follow((), self._settings)
        with self._posting:
            self._stopped = True
        for _ in range(self._threads):
            self._due.put(None)

    def crashed(self, error: Exception) -> None:
        self._say("error", "nlb", "bug in name look-ups\n" + "".join(traceback.format_exception(error)))

    def _look_up(self, name: _Name) -> None:
        name.deadline = None
        self._asked += 1
        self._due.put(name)
        if self._threads < min(self._asked, THREADS):
            self._threads += 1
            # A daemon thread: the end of the process does not wait for a nameserver.
            threading.Thread(target=self._work, name=f"nlb-names-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while (name := self._due.get()) is not None:
            bug, settings = None, self._settings
            try:
                answer = self._ask(name.question, settings)
            except Exception as error:  # of ours; without an answer the name would never be asked for again
                answer, bug = Answer(failures=(Failure(f"error inside nlb: {error!r}"),)), error
            with self._posting:
                if self._stopped:
                    return
                self._loop.post(partial(self._answered, name, answer, settings), self)
                if bug:
                    self._loop.post(partial(self.crashed, bug), self)

    def _answered(self, name: _Name, answer: Answer, settings: Settings) -> None:
        self._asked -= 1
        if self._names.get(name.question) is not name:
            return  # nobody follows it any more
        self.unanswered.discard(name.question)
        before = name.known
        verdict = judge(before, answer, time(), self._rng.random(), settings)
        name.known = known = verdict.known
        wait = verdict.wait if settings == self._settings else 0.0
        name.deadline = self._loop.call_at(self._loop.now + wait, partial(self._look_up, name), self)
        for level, text in sentences(name.question.host, before, verdict):
            self._say(level, "target", text)
        if verdict.moved or (known.state, known.reason) != (before.state, before.reason):
            self._on_change(name.question, verdict)
