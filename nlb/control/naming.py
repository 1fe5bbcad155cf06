"""The names in the config that runs: looked up, their addresses made targets, and what DNS said told of each.

    an answer ──> resolver judges ──> it is said of the targets that are there
                                  └─> other addresses: the running config is composed anew, a moment later

The one rule: what runs is changed by the reloader alone, one change at a time; here it is only asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from nlb.balance.target import OK
from nlb.control.expand import Expanded, NamedTarget, expand, named_targets
from nlb.control.names import Answer, Found, Question, Settings, Verdict
from nlb.control.resolve import Resolver, ask_dns
from nlb.errors import AdminError, NlbError
from nlb.model.config import Config
from nlb.net.loop import Deadline, Loop
from nlb.observe.log import Events

if TYPE_CHECKING:
    from nlb.control.controller import Controller

# Seconds that the start, or a reload, waits for names that are new. Most nameservers answer in milliseconds; what
# they say later comes in later.
FIRST_ANSWERS = 1.0

# Seconds from a change to the new config, so that names that change together make one; also when one is under way.
GATHER = 0.05
BUSY = 0.25

# Seconds until what was refused, for want of room, is tried again.
REFUSED = 30.0

Recompose = Callable[[Callable[[dict[str, Any] | NlbError], None]], None]


class Naming:
    """Called on the loop's thread; `join` comes before the loop runs."""

    def __init__(
        self,
        loop: Loop,
        events: Events,
        rng: Random,
        ask: Callable[[Question, Settings], Answer] = ask_dns,
    ) -> None:
        self.expanded = expand(Config(), {})  # what runs
        self._loop = loop
        self._events = events
        self._resolver = Resolver(loop, events.say, self._changed, rng, ask)
        self._controller: Controller | None = None
        self._recompose: Recompose | None = None
        self._names: dict[Question, list[NamedTarget]] = {}  # of what runs
        self._of_group: dict[str, list[NamedTarget]] = {}
        self._left_out = 0  # as said
        self._prepared: Callable[[], None] | None = None  # to be called when the first answers are here
        self._late: Deadline | None = None
        self._planned: Deadline | None = None

    def first(self, config: Config) -> Expanded:
        """At the start: look the names up, wait a moment for the answers, and begin with what has come. Turns the loop
        meanwhile."""
        answered: list[bool] = []
        self.prepare(config, lambda: answered.append(True))
        while not answered:
            self._loop.turn()
        self.expanded = expand(config, self.found())
        return self.expanded

    def join(self, controller: Controller, recompose: Recompose) -> None:
        """`recompose(done)` puts what is found into the running config. It may raise AdminError: not now."""
        self._controller = controller
        self._recompose = recompose
        self.follow(self.expanded)

    def prepare(self, config: Config, done: Callable[[], None]) -> None:
        """Look up the names of a config that is to run, beside those of the one that runs. `done` is called when none
        is without an answer, or when that takes too long. Then comes `follow` or `back`."""
        questions = [*self._names, *(name.question for name in named_targets(config))]
        self._resolver.follow(questions, _settings(config))
        self._prepared = done
        if not self._resolver.unanswered:
            self._go_on()
        else:
            self._late = self._loop.call_at(self._loop.now + FIRST_ANSWERS, self._go_on, self)

    def found(self) -> dict[Question, tuple[Found, ...]]:
        """What is known now, for `expand`."""
        return self._resolver.found()

    def follow(self, expanded: Expanded) -> None:
        """This runs now: ask for its names, and for no others."""
        self.expanded = expanded
        if expanded.left_out != self._left_out:
            self._left_out = expanded.left_out
            text = f"{expanded.left_out} addresses of names are not used, for want of room for more targets"
            self._events.say("error" if expanded.left_out else "info", "nlb", text)
        self._names, self._of_group = {}, {}
        for name in expanded.names:
            self._names.setdefault(name.question, []).append(name)
            self._of_group.setdefault(name.group, []).append(name)
        self.back()
        for name in expanded.names:
            if self._resolver.known(name.question).state != OK:
                self._tell(name)
        if self._moved():
            self._soon(GATHER)

    def back(self) -> None:
        """What was prepared does not come."""
        self._resolver.follow(self._names, _settings(self.expanded.asked))

    def find(self, name: str) -> list[NamedTarget]:
        """Targets given by a name that are called so, with or without their group."""
        return [item for item in self.expanded.names if name in (item.target.name, item.label)]

    def facts(self, group: str) -> list[dict[str, Any]]:
        """What is known of the names of a group, as plain data. `since` in unix seconds."""
        return [self._facts(name) for name in self._of_group.get(group, ())]

    def stop(self) -> None:
        self._resolver.stop()

    def crashed(self, error: Exception) -> None:
        self._events.bug(error, "names")

    def _facts(self, name: NamedTarget) -> dict[str, Any]:
        known = self._resolver.known(name.question)
        return {
            "name": name.target.name,
            "host": str(name.place),
            "state": known.state,
            "reason": known.reason,
            "since": known.since,
            "addresses": [str(item) for item in known.found],
        }

    def _changed(self, question: Question, verdict: Verdict) -> None:
        for name in self._names.get(question, ()):
            self._tell(name)
        if verdict.moved and question in self._names:
            self._soon(GATHER)
        if self._prepared and not self._resolver.unanswered:
            self._go_on()

    def _go_on(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None
        done, self._prepared = self._prepared, None
        if done:
            done()

    def _tell(self, name: NamedTarget) -> None:
        assert self._controller is not None
        known = self._resolver.known(name.question)
        self._controller.resolved(name.group, name.places(known.found), known.state, known.reason, known.since)

    # --- other addresses

    def _moved(self) -> bool:
        """Do others stand for a name by now than in what runs?"""
        found, used = self.found(), self.expanded.found
        return any(found[question] != used.get(question, ()) for question in self._names)

    def _soon(self, delay: float) -> None:
        if self._planned is None:
            self._planned = self._loop.call_at(self._loop.now + delay, self._renew, self)

    def _renew(self) -> None:
        self._planned = None
        if not self._moved():
            return
        assert self._recompose is not None
        try:
            self._recompose(self._renewed)
        except AdminError:
            self._soon(BUSY)

    def _renewed(self, result: dict[str, Any] | NlbError) -> None:
        """`follow` was called before this, if it was done."""
        if isinstance(result, NlbError):
            self._soon(REFUSED)


def _settings(config: Config) -> Settings:
    dns = config.dns
    return Settings(dns.min_ttl, dns.max_ttl, dns.timeout, dns.nameservers)
