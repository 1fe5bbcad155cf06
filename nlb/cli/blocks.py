"""`nlb ctl block`, `unblock` and `blocked`: who may not connect, until when, and who said so."""

from __future__ import annotations

from nlb.admin import phrases
from nlb.admin.phrases import Facts, ago
from nlb.cli.tables import Block, Cell, titled


def block(data: Facts) -> list[Block]:
    (one,) = data["blocks"]
    end = "until nlb ctl unblock" if one["until"] is None else f"for {ago(one['until'] - data['now'])}"
    opened = "stays" if data["keep"] else "is cut"
    return [Cell(f"{one['network']} is blocked {end}; what it has open {opened}", "warn")]


def unblock(data: Facts) -> list[Block]:
    return [Cell(f"{one['network']} is not blocked any more", "good") for one in data["blocks"]]


def blocked(data: Facts) -> list[Block]:
    if not data["blocks"]:
        return [Cell("nobody is blocked")]
    table = titled("network", "by", "when", "until", "~reason")
    for one in data["blocks"]:
        by = one["who"] if one["by"] == "operator" else Cell(one["by"], "quiet")
        table.rows.append((one["network"], by, phrases.at(one["when"]), ending(one, data["now"]), one["reason"]))
    if len(table.rows) == data["total"]:
        return [table]
    return [table, Cell(f"only the first {len(table.rows)} of {data['total']} are shown; --limit shows more", "warn")]


def ending(wish: Facts, now: float) -> str:
    """Of an override or a block."""
    return "-" if wish["until"] is None else f"{phrases.at(wish['until'])} (in {ago(wish['until'] - now)})"
