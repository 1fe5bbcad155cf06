"""What was measured, for people in a terminal and for programs as JSON, and against an earlier run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtests.peers.figures import Measured, Ratio, Result, changes

FORMAT = 1

# A ratio that changed by less than this since the baseline may be noise.
NOISE = 0.05

# More than this of the balancer's core taken by others blurs the figures.
DISTURBED = 0.05


class BaselineError(Exception):
    """The file is no earlier run."""


def number(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}%}"


def columns(measured: Measured) -> list[tuple[str, str, int | None]]:
    """What is told of each candidate: its title, its kind, and digits, None for a percentage."""
    unit = measured.unit
    if measured.kind in ("memory", "share"):
        return [
            ("KiB each", "memory", 2),
            ("idle CPU", "utilisation", None),
            ("busiest worker", "share", None),
        ]
    return [
        (f"{unit}/s", "throughput", 0),
        ("us each", "cpu", 2),
        ("user", "user", 2),
        ("system", "system", 2),
        ("p50 ms", "p50", 2),
        ("p99 ms", "p99", 2),
        ("CPU", "utilisation", None),
        ("load", "load", None),
    ]


def cells(measured: Measured, result: Result) -> list[str]:
    """One candidate's row: its figures, errors, and the ratio of the figure that the case is about."""
    found = measured.ratio(result.name)
    figures = [
        percent(result.median(kind), 1 if kind == "utilisation" and measured.kind == "memory" else 0)
        if digits is None
        else number(result.median(kind), digits)
        for _, kind, digits in columns(measured)
    ]
    return [result.name, *figures, str(result.errors), *ratio_cells(found)]


def ratio_cells(found: Ratio | None) -> list[str]:
    return [f"{found.value:.2f}", f"{found.least:.2f}-{found.most:.2f}"] if found else ["-", ""]


def tell(console: Console, measured: Measured) -> None:
    """One case, in full."""
    console.print(f"[bold]{measured.name}[/]: {measured.title}", highlight=False)
    if measured.skipped:
        console.print(f"  skipped: {measured.skipped}\n", highlight=False, markup=False)
        return
    if measured.measured:
        table = Table(box=None, padding=(0, 1), header_style="dim")
        for place, title in enumerate(
            ["", *(title for title, *_ in columns(measured)), "errors", "ratio", "of rounds"]
        ):
            table.add_column(title, justify="right" if place else "left")
        for result in measured.measured:
            table.add_row(*cells(measured, result))
        console.print(table)
    for line in remarks(measured):
        bad = "MISSED" in line or "FAILED" in line
        console.print(f"  {line}", style="bold red" if bad else "", highlight=False, markup=False)
    console.print()


def remarks(measured: Measured) -> Iterable[str]:
    yield f"ratio to haproxy of: {measured.figure}"
    if measured.note:
        yield measured.note
    for result in measured.results:
        if result.failed:
            yield f"{result.name} FAILED: {result.failed}"
        elif result.skipped:
            yield f"{result.name} skipped: {result.skipped}"
    for verdict in measured.verdicts:
        yield f"nlb: {verdict}"
    taken = [result.median("others") or 0.0 for result in measured.measured]
    if taken and max(taken) > DISTURBED:
        yield f"the box was not quiet: others took {min(taken):.0%} to {max(taken):.0%} of the balancer's core"


def summary(run: Sequence[Measured]) -> list[list[str]]:
    """A row per case: HAProxy's figure, the ratios to it, and how nlb stands. The first row has the titles."""
    measured = [case for case in run if case.measured]
    names = [name for name in ("nginx", "caddy", "nlb", "nlb-before") if any(case.result(name) for case in measured)]
    rows = [["case", "figure", "haproxy", *names, "bars"]]
    for case in measured:
        theirs = case.result("haproxy")
        words = [verdict.word for verdict in case.verdicts]
        word = next((word for word in ("MISSED", "good enough", "aim reached") if word in words), "")
        row = [case.name, case.figure, number(theirs.median(case.kind) if theirs else None)]
        row += [ratio_cells(case.ratio(name))[0] for name in names]
        rows.append([*row, word])
    return rows


def tell_summary(console: Console, run: Sequence[Measured]) -> None:
    head, *body = summary(run)
    if not body:
        return
    table = Table(box=None, padding=(0, 1), header_style="dim", title="Ratios to HAProxy", title_justify="left")
    for place, title in enumerate(head):
        table.add_column(title, justify="left" if place in (0, 1, len(head) - 1) else "right")
    for row in body:
        table.add_row(*row, style="bold red" if row[-1] == "MISSED" else "")
    console.print(table)
    console.print()


def plain(run: Sequence[Measured], facts: dict[str, Any]) -> dict[str, Any]:
    """For JSON."""
    return {"format": FORMAT, **facts, "cases": [case.plain() for case in run]}


def read_baseline(path: Path) -> dict[str, Any]:
    """Raises BaselineError."""
    try:
        found = json.loads(path.read_text())
        changes([], found)
    except OSError as error:
        raise BaselineError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BaselineError(f"{path} was not written by --json") from None
    if found.get("format") != FORMAT:
        raise BaselineError(f"{path} is of format {found.get('format')}, not {FORMAT}; measure the baseline again")
    return found  # type: ignore[no-any-return]


def tell_changes(console: Console, run: Sequence[Measured], baseline: dict[str, Any]) -> None:
    found = changes(run, baseline)
    if not found:
        console.print("The baseline has none of these cases.\n")
        return
    table = Table(box=None, padding=(0, 1), header_style="dim", title_justify="left")
    table.title = f"Ratios to HAProxy, against those of {baseline.get('date', 'the baseline')}"
    for place, title in enumerate(["case", "", "figure", "then", "now", "change"]):
        table.add_column(title, justify="left" if place < 3 else "right")
    figures = {case.name: case.figure for case in run}
    for change in found:
        by = f"{change.by:+.0%}" if abs(change.by) >= NOISE else f"({change.by:+.0%})"
        table.add_row(
            change.case, change.candidate, figures[change.case], f"{change.then:.2f}", f"{change.now:.2f}", by
        )
    console.print(table)
    console.print(f"In brackets: less than {NOISE:.0%}, which may be noise.\n", highlight=False)
