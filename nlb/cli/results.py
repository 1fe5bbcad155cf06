"""`nlb ctl health`: why a target's health is what it is. Its latest results, under what they come to."""

from __future__ import annotations

from collections.abc import Iterator

from nlb.admin import phrases
from nlb.admin.phrases import Facts, ago
from nlb.cli.tables import Block, Cell, Table, titled
from nlb.model.units import format_duration

TONES = {"initial": "warn", "healthy": "good", "unhealthy": "bad"}


def health(data: Facts) -> list[Block]:
    """From the answer to the verb; results are oldest first."""
    target, fact = data["target"], data["target"]["health"]
    word = f"{phrases.full_name(target)} is {fact['state']} for {ago(data['now'] - fact['since'])}"
    blocks: list[Block] = [Cell(f"{word}: {fact['reason']}" if fact["reason"] else word, TONES[fact["state"]])]
    if data["check"]["protocol"] == "none":
        return [*blocks, Cell("it is never asked: protocol is none")]
    blocks += _probing(data)
    if not data["results"]:
        return [*blocks, Cell("no result yet")]
    return [*blocks, Cell(""), _results(data["results"])]


def _probing(data: Facts) -> Iterator[Cell]:
    """How it is asked, and where that stands."""
    check = data["check"]
    pace = f"every {format_duration(check['interval'])}, {format_duration(check['timeout'])} to answer"
    yield Cell(f"asked {check['question']}; {pace}")
    streak = f"{data['passes']} passed" if data["passes"] else f"{data['failures']} failed"
    yield Cell(f"{streak} in a row; {check['rise']} make it healthy, {check['fall']} make it unhealthy")
    if data["flips"]:
        limit = f", {check['flap_limit']} begin a hold" if check["flap_limit"] else ""
        yield Cell(f"its health changed {data['flips']} times within {format_duration(check['flap_window'])}{limit}")
    if data["held"] is not None:
        yield Cell(f"held out for {ago(data['held'])} more, because it flaps; nlb ctl ready ends that", "warn")
    if data["phase"] == "paused":
        yield Cell("not asked now: it is in maint", "warn")
    if data["trouble"]:
        yield Cell(f"cannot be asked: {data['trouble']}", "bad")


def _results(results: list[Facts]) -> Table:
    table = titled("when", "by", "result", "#took", "~answer", "health")
    for result in results:
        state = "healthy" if result["ok"] else "unhealthy"
        times = f" {result['count']} times" if result["count"] > 1 else ""
        table.rows.append(
            (
                phrases.at(result["at"]),
                result["by"],
                Cell("passed" if result["ok"] else f"failed{times}", TONES[state]),
                "-" if result["took"] is None else format_duration(result["took"]),
                result["detail"],
                Cell(f"now {state}", TONES[state]) if result["changed"] else "",
            )
        )
    return table
