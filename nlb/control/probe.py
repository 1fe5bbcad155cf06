"""When a target is asked whether it works, again and again. What is asked is for its question, what the answers mean
for its health is for others; here only the clock is watched.

paused ──> resting ──> probing ──> answer, or none for a reason of ours ──> resting

Until the answer, one deadline runs; after it, the next probe's. So probes of one target never overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from nlb.balance.health import Health
from nlb.balance.target import Target
from nlb.control.exec_probe import Program, Programs
from nlb.control.questions import Conversation, Question
from nlb.model.health_check import TLS
from nlb.net.loop import Deadline, Loop

if TYPE_CHECKING:
    from nlb.model.health_check import HealthCheck
    from nlb.observe.log import Events

# First probes per STEP seconds, so that the start of 10,000 targets is no burst of 10,000 connects: half a second.
# A TLS handshake takes the loop 0.8 ms, so 1,000 of them get a second.
FIRST_PER_STEP = 200
FIRST_TLS_PER_STEP = 10
STEP = 0.01

# Part of the interval by which it varies, so that many targets, and many balancers, do not ask in step.
JITTER = 0.1

# The same after the first probe, which all targets have at one time: then they are spread over the whole interval.
SPREAD = 0.5

# Seconds by which the loop may be late with a deadline until that is held to have cut an answer short.
BEHIND = 0.1

Report = Callable[[bool, str, float], None]  # passed?, why, seconds that it took


@dataclass
class Shared:
    """What all probers have in common. `troubles` are reasons of this box for which targets cannot be asked now, and
    how many; each is told once, however many targets it concerns."""

    loop: Loop
    rng: Random
    events: Events
    troubles: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.programs = Programs(self.loop, self.events)

    def trouble_begins(self, target: Target, words: str) -> None:
        count = self.troubles[words] = self.troubles.get(words, 0) + 1
        if count == 1:
            text = f"cannot probe {target.group}/{target.name}: {words} (said once for all targets)"
            self.events.say("warning", "nlb", text, group=target.group, target=target.name)

    def trouble_ends(self, words: str) -> None:
        self.troubles[words] -= 1
        if not self.troubles[words]:
            del self.troubles[words]


class Prober:
    """The health check of one target, for as long as it is a target.

    `phase` is paused, resting (until the next time to ask), probing or stopped. `trouble` says why the target could
    not be asked the last time; empty when it was.
    """

    def __init__(self, shared: Shared, target: Target, settings: HealthCheck, health: Health, report: Report) -> None:
        """`report` is told each result, and may call any method of the prober; by `health`, which it keeps, the next
        time is chosen."""
        self.phase = "paused"
        self.trouble = ""
        self._shared = shared
        self._loop = loop = shared.loop
        self._target = target
        self._settings = settings
        self._health = health
        self._report = report
        self._deadline: Deadline | None = None
        self._due = 0.0
        self._began = 0.0
        self._jitter = SPREAD
        self._question: Question = (
            Program(loop, target, settings, self, shared.programs)
            if settings.protocol == "exec"
            else Conversation(loop, target, settings, self)
        )

    # --- orders

    def start(self) -> None:
        """Ask for the first time, at once or a little later: a step for every so many targets with lower ids."""
        if self.phase == "paused":
            pace = FIRST_TLS_PER_STEP if self._settings.protocol in TLS else FIRST_PER_STEP
            self._ask_in(self._target.id // pace * STEP)

    def pause(self) -> None:
        """Drop the probe under way and ask no more until `resume`."""
        if self.phase != "stopped":
            self._drop()
            self.phase = "paused"

    def resume(self) -> None:
        """Ask again, at once, if paused."""
        if self.phase == "paused":
            self._ask_in(0)

    def stop(self) -> None:
        """Drop the probe under way and ask no more, for good."""
        self._drop()
        self.phase = "stopped"

    def now(self) -> None:
        """Do not wait for the next time, ask at once. Nothing, when a probe is under way already."""
        if self.phase == "resting":
            self._ask_in(0)

    # --- the clock

    def _ask_in(self, seconds: float) -> None:
        self.phase = "resting"
        self._set_deadline(seconds, self._ask)

    def _rest(self) -> None:
        settings = self._settings
        interval = settings.fast_interval if self._health.changing else settings.interval
        jitter, self._jitter = self._jitter, JITTER
        self._ask_in(interval * self._shared.rng.uniform(1 - jitter, 1 + jitter))

    def _ask(self) -> None:
        self.phase = "probing"
        self.begun()
        self._question.ask()

    def _late(self) -> None:
        """When control itself stood still, its own lateness is no failure of a target: once, it gets that time back."""
        self._deadline = None
        behind = self._loop.now - self._due
        if behind > BEHIND:
            self._set_deadline(min(behind, self._settings.timeout), self._question.late)
        else:
            self._question.late()

    def _set_deadline(self, seconds: float, action: Callable[[], None]) -> None:
        self._cancel_deadline()
        self._due = self._loop.now + seconds
        self._deadline = self._loop.call_at(self._due, action, self)

    def _cancel_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    # --- what the question reports

    def begun(self) -> None:
        self._began = self._loop.now
        self._set_deadline(self._settings.timeout, self._late)

    def answered(self, ok: bool, detail: str) -> None:
        self._cancel_deadline()
        self.phase = "resting"
        self._end_trouble()
        self._report(ok, detail, self._loop.now - self._began)
        # Unless whoever heard the report paused us, stopped us or asked for the next one.
        if self.phase == "resting" and not self._deadline:
            self._rest()

    def unable(self, words: str) -> None:
        """The target keeps the health it has."""
        if self.trouble != words:
            self._end_trouble()
            self.trouble = words
            self._shared.trouble_begins(self._target, words)
        self._rest()

    def crashed(self, error: Exception) -> None:
        """An error of ours is no result either; the next probe may fare better."""
        self._shared.events.bug(error, f"the probe of {self._target.group}/{self._target.name}")
        if self.phase in ("resting", "probing"):
            self._drop()
            self._rest()

    def _end_trouble(self) -> None:
        if self.trouble:
            self._shared.trouble_ends(self.trouble)
            self.trouble = ""

    def _drop(self) -> None:
        self._cancel_deadline()
        self._question.drop()
        self._end_trouble()
