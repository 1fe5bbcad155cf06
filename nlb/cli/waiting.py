"""`nlb ctl drain --wait`: when is a drain over? `progress` and `wait` only decide; asking and printing come in.

    draining --no session is left--> empty
        |----time ran out----------> late: what was left has been reset, or kept, as the group says
        `----made ready------------> undone: somebody changed their mind

The last three are ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import click

from nlb.admin import phrases
from nlb.admin.phrases import Facts, ago
from nlb.cli import DONE, FAILED, INTERRUPTED, TIME_RAN_OUT
from nlb.cli.talk import Talk

# Seconds between two looks: short at first, since most drains end at once.
FIRST_LOOK = 0.05
LOOK = 0.5


class Progress(NamedTuple):
    """How far the drain of one target is. `sessions` of a late one are those that were open at the end."""

    target: str
    group: str
    state: str
    sessions: int
    seconds_left: float | None

    @property
    def sentence(self) -> str:
        name = f"{self.group}/{self.target}"
        sessions = "1 session" if self.sessions == 1 else f"{self.sessions} sessions"
        if self.state == "empty":
            return f"{name}: drained, no session is left"
        if self.state == "late":
            return f"{name}: time ran out with {sessions} left"
        if self.state == "undone":
            return f"{name}: no longer draining, somebody made it ready; {sessions} open"
        limit = "" if self.seconds_left is None else f", {ago(self.seconds_left)} for them to finish"
        return f"{name}: {sessions} left{limit}"


def progress(target: Facts, before: Progress | None) -> Progress:
    """How far a target is now; `before` is how far it was at the last look."""
    drain, sessions = target["drain"], target["sessions"]
    seconds = None if drain is None else drain["seconds_left"]
    if target["admin"]["state"] == "ready":
        state = "undone"
    elif drain is not None and drain["ended"] == "timeout":
        state = "late"
        sessions = sessions or (before.sessions if before else 0)  # they have been reset by now
    elif sessions == 0:
        state = "empty"
    else:
        state = "draining"
    return Progress(target["name"], target["group"], state, sessions, seconds)


def wait(
    answer: Facts,
    look: Callable[[str], Facts],
    tell: Callable[[list[Progress]], None],
    sleep: Callable[[float], None],
) -> list[Progress]:
    """Wait for the targets in the answer of a drain. `look(group/name)` asks for one of them again; `tell` hears
    of every look. Returns how each ended."""
    seen = [progress(target, None) for target in answer["targets"]]
    names = [phrases.full_name(target) for target in answer["targets"]]
    tell(seen)
    pause = FIRST_LOOK
    while any(each.state == "draining" for each in seen):
        sleep(pause)
        pause = min(LOOK, pause * 2)
        seen = [
            progress(look(name)["targets"][0], each) if each.state == "draining" else each
            for name, each in zip(names, seen, strict=True)
        ]
        tell(seen)
    return seen


def wait_for_drain(talk: Talk, answer: Facts, sleep: Callable[[float], None]) -> int:
    """Goes on after the answer to a drain. Ctrl-C ends the waiting, not the drain."""
    try:
        with talk.understood():
            ends = wait(answer, lambda name: talk.ask("targets", target=name), _teller(talk), sleep)
    except KeyboardInterrupt:
        click.echo("\nnot waiting any longer; the drain goes on, `nlb ctl ready` ends it", err=True)
        return INTERRUPTED
    states = {end.state for end in ends}
    if "undone" in states:
        return FAILED
    return TIME_RAN_OUT if "late" in states else DONE


def _teller(talk: Talk) -> Callable[[list[Progress]], None]:
    """Says how far a drain is: one line that keeps changing on a terminal, else a line per change."""
    told: dict[str, tuple[str, int]] = {}

    def tell(seen: list[Progress]) -> None:
        for each in seen:
            name = f"{each.group}/{each.target}"
            news = (each.state, each.sessions)
            if told.get(name) == news and not (talk.is_live and each.state == "draining"):
                continue
            told[name] = news
            if talk.for_programs:
                click.echo(json.dumps(each._asdict()))
            elif talk.is_live:
                click.echo(f"\r\033[K{each.sentence}", nl=each.state != "draining")
            else:
                click.echo(each.sentence)

    return tell
