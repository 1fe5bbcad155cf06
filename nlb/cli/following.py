"""`nlb ctl events --follow`: the latest events, then each new one as it happens, until Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Callable

import click

from nlb.admin.commands import MOST_EVENTS
from nlb.admin.phrases import Facts
from nlb.cli import DONE
from nlb.cli.talk import Talk

# Seconds between two questions.
LOOK = 0.5


def follow(talk: Talk, answer: Facts, sleep: Callable[[float], None]) -> int:
    """Goes on after the first answer. Programs get an event per line."""
    try:
        while True:
            with talk.understood():
                _tell(talk, answer)
                last = answer["last"]
            sleep(LOOK)
            answer = talk.ask(after=last, limit=MOST_EVENTS)
    except KeyboardInterrupt:
        return DONE


def _tell(talk: Talk, answer: Facts) -> None:
    if answer["missed"]:
        click.echo("more happened than nlb keeps; some events are missing here", err=True)
    if talk.for_programs:
        for event in answer["events"]:
            click.echo(json.dumps(event))
    elif answer["events"]:
        from nlb.cli import tables, views

        tables.show(views.event_lines(answer["events"]))
