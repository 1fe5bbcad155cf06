"""`nlb ctl watch`: what moves, look after look: a picture that changes on a terminal, else a line each time.

A rate is what a counter gained between two looks, by the daemon's clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from shutil import get_terminal_size

import click

from nlb.admin import phrases
from nlb.admin.phrases import Facts, size
from nlb.cli import DONE
from nlb.cli.tables import Block, Cell, Table, titled, written
from nlb.cli.talk import Talk
from nlb.cli.views import fail_open, state

# A terminal's other screen, which leaves the first one as it was; there no cursor and no line that goes on in the next.
ENTER, LEAVE = "\033[?1049h\033[?25l\033[?7l", "\033[?7h\033[?25h\033[?1049l"
HOME, LINE_END, CLEAR_BELOW = "\033[H", "\033[K\n", "\033[J"


def watch(talk: Talk, answer: Facts, interval: float, count: int | None, sleep: Callable[[float], None]) -> int:
    """Look every `interval` seconds, `count` times or until Ctrl-C. Programs get a line of JSON for each look."""
    tell = _draw if talk.is_live else _tell_json if talk.for_programs else _tell
    with _other_screen() if talk.is_live else nullcontext():
        try:
            if talk.is_live:
                with talk.understood():
                    tell(rated(answer, answer))
            while count is None or count > 0:
                sleep(interval)
                before, answer = answer, talk.ask()
                with talk.understood():
                    tell(rated(answer, before))
                count = None if count is None else count - 1
        except KeyboardInterrupt:
            pass
    return DONE


def rated(now: Facts, before: Facts) -> Facts:
    """The look `now` with what each row gained per second: `rates`, which is None for a row that is new."""
    seconds = now["now"] - before["now"]

    def rows(kind: str, key: tuple[str, ...], *counters: str) -> list[Facts]:
        old = {tuple(row[part] for part in key): row for row in before[kind]}
        return [row | {"rates": _rates(row, old.get(tuple(row[part] for part in key)), counters)} for row in now[kind]]

    def _rates(row: Facts, old: Facts | None, counters: tuple[str, ...]) -> dict[str, float] | None:
        if old is None or seconds <= 0:
            return None
        both = [counter for counter in counters if counter in row and counter in old]
        return {counter: max(0.0, row[counter] - old[counter]) / seconds for counter in both}

    return now | {
        "listeners": rows("listeners", ("name",), "accepted", "requests", "received", "sent"),
        "targets": rows("targets", ("group", "name", "address"), "connections", "received", "sent"),
    }


def has_requests(look: Facts) -> bool:
    """Some listener speaks http."""
    return any("requests" in row for row in look["listeners"])


def sentence(look: Facts) -> str:
    """All of it in one line."""
    listeners, groups = look["listeners"], look["groups"]

    def rate(counter: str) -> float:
        return math.fsum(row["rates"].get(counter, 0.0) for row in listeners if row["rates"])

    usable, targets = (sum(group[figure] for group in groups) for figure in ("usable", "targets"))
    requests = f"{rate('requests'):.1f}/s requests, " if has_requests(look) else ""
    not_ready = f"; not ready: {look['not_ready']}" if look["not_ready"] else ""
    return (
        f"{phrases.at(look['now'])}  {sum(row['sessions'] for row in listeners)} sessions, "
        f"{rate('accepted'):.1f}/s new, {requests}{size(round(rate('received')))}/s received, "
        f"{size(round(rate('sent')))}/s sent, {usable} of {targets} targets usable{not_ready}"
    )


def picture(look: Facts, height: int) -> list[Block]:
    """As many lines as the terminal has, at most, of which the targets get what is left."""
    counters = ("accepted", "requests") if has_requests(look) else ("accepted",)
    requests = ["#requests/s"] if has_requests(look) else []
    listeners = titled("listener", "group", "#sessions", "#new/s", *requests, "#received/s", "#sent/s")
    for row in look["listeners"]:
        listeners.rows.append((row["name"], phrases.groups(row), phrases.sessions(row), *_moved(row, *counters)))
    targets = titled(
        *("target", "group", "admin", "health", "#sessions", "#new/s", "#received/s", "#sent/s", "#failures")
    )
    for row in look["targets"]:
        admin = Cell("leaving", "warn") if row["leaving"] else state(row["admin"]["state"])
        failures = str(row["connect_failures"])
        targets.rows.append(
            (
                *(row["name"], row["group"], admin, state(row["health"]["state"]), str(row["sessions"])),
                *_moved(row, "connections"),
                Cell(failures, "warn" if row["connect_failures"] else ""),
            )
        )
    head = Cell(sentence(look), "bad" if look["not_ready"] else "good")
    above: list[Block] = [head, *fail_open(look["groups"]), Cell(""), listeners, Cell("")]
    total = sum(group["targets"] for group in look["groups"])
    return [*above, *_cut(targets, total, height - _lines(above) - 1)]


def _moved(row: Facts, *counters: str) -> list[str]:
    """Per second: these, and the bytes."""
    rates: dict[str, float] = row["rates"] or {}
    counted = [phrases.per_second(rates.get(counter)) for counter in counters]
    return counted + [size(round(rates[way])) if way in rates else "-" for way in ("received", "sent")]


def _cut(targets: Table, total: int, lines: int) -> list[Block]:
    """The first targets, in so many lines, and how many there are more."""
    shown = len(targets.rows)
    if shown < total or shown + 1 > lines:
        shown = max(0, min(shown, lines - 2))
        return [Table(targets.columns, targets.rows[:shown]), Cell(f"and {total - shown} more targets", "quiet")]
    return [targets]


def _lines(blocks: list[Block]) -> int:
    return sum(1 if isinstance(block, Cell) else 1 + len(block.rows) for block in blocks)


def _draw(look: Facts) -> None:
    text = written(picture(look, get_terminal_size().lines), for_terminal=True)
    click.echo(HOME + text.rstrip("\n").replace("\n", LINE_END) + "\033[K" + CLEAR_BELOW, nl=False)


def _tell(look: Facts) -> None:
    click.echo(sentence(look))


def _tell_json(look: Facts) -> None:
    click.echo(json.dumps(look))


@contextmanager
def _other_screen() -> Iterator[None]:
    click.echo(ENTER, nl=False)
    try:
        yield
    finally:
        click.echo(LEAVE, nl=False)
