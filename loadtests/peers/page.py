"""The report as one HTML file that needs no other: a chart for each case. A pure function of the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil
from typing import Any

from loadtests.chart import STYLE, round_step
from loadtests.peers.figures import Measured, Result
from loadtests.peers.report import cells, columns, number, remarks, summary

# Of one chart, in the units of its own coordinates; the page scales it.
WIDTH, LEFT, RIGHT, TOP = 440, 88, 108, 22
ROW, BAR = 30, 20

MORE_STYLE = """
.user { fill: var(--p50); background: var(--p50) }
.system { fill: var(--p99); background: var(--p99) }
.ours { fill: var(--throughput); background: var(--throughput) }
.theirs { fill: var(--soft); background: var(--soft) }
svg .name { fill: var(--ink); text-anchor: end }
svg .name.nlb { font-weight: 700 }
.card p { margin: .35rem 0 0; font-size: .85rem; color: var(--soft) }
.card p.bad { color: var(--bad); font-weight: 600 }
.card h2 + p { margin: 0 0 .4rem }
h2.part { margin: 2rem 0 .6rem; font-size: 1.2rem }
svg { margin-top: .3rem }
th:first-child, td:first-child, th:last-child, td:last-child, td.words, th.words { text-align: left }
.charts + .charts { margin-top: 1rem }
details { margin-top: .6rem }
details table { font-size: .8rem }
details td, details th { padding: .2rem .4rem }
summary { color: var(--soft); font-size: .85rem; cursor: pointer }
.card { min-width: 0; overflow-x: auto }
"""


def page(run: Sequence[Measured], facts: dict[str, Any]) -> str:
    shown = [case for case in run if case.measured]
    skipped = [case for case in run if not case.measured]
    versions = ", ".join(f"{name} {text}" for name, text in facts.get("versions", {}).items())
    told = [
        ("date", facts.get("date", "")),
        ("command", facts.get("command", "")),
        ("versions", "; ".join([versions, *facts.get("missing", [])])),
        ("box", f"{facts.get('cores', '')}, Linux {facts.get('kernel', '')}, Python {facts.get('python', '')}"),
        ("method", f"{facts.get('rounds')} rounds of {facts.get('seconds')} s that alternate between the candidates"),
        ("ratios", "medians of the rounds' ratios to HAProxy in the same round; figures are medians of the rounds"),
        ("CPU", "of the balancer's own processes, all of them; the balancer has a core, load and targets another"),
    ]
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(text))}</dd>" for name, text in told)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>nlb beside its peers</title>
<style>{STYLE}{MORE_STYLE}</style>
</head>
<body>
<main>
<h1>nlb beside its peers</h1>
<p>What a unit of work costs each balancer, and how that stands to HAProxy in the same run.</p>
<div class="card wide">
{_table(summary(run), words=(1,))}
</div>
<h2 class="part">Case by case</h2>
<div class="charts">
{"".join(_card(case) for case in shown)}
</div>
{_skipped(skipped)}
<dl>{listed}</dl>
</main>
</body>
</html>
"""


def _table(rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    head, *body = rows

    def row(tag: str, row: Sequence[str]) -> str:
        kinds = [' class="words"' if place in words else "" for place in range(len(row))]
        made = (f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    return (
        f"<table>\n<thead>{row('th', head)}</thead>\n<tbody>\n"
        + "\n".join(row("td", one) for one in body)
        + "\n</tbody>\n</table>"
    )


def _card(case: Measured) -> str:
    legend = ""
    if case.kind == "cpu":
        legend = (
            '<div class="legend"><span><i class="user"></i>user</span><span><i class="system"></i>system</span></div>'
        )
    lines = "".join(
        f"<p{' class=bad' if 'MISSED' in line or 'FAILED' in line else ''}>{escape(line)}</p>"
        for line in list(remarks(case))[1:]
    )
    titles = ["", *(title for title, *_ in columns(case)), "errors", "ratio", "of rounds"]
    rows = [titles, *(cells(case, result) for result in case.measured)]
    drawn = list(_bars(case))
    height = TOP + ROW * len(_shown(case)) + 4
    return f"""<figure class="card">
<h2>{escape(case.name)}</h2>
<p>{escape(case.title)}</p>
{legend}
<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(case.figure)}">
{chr(10).join(drawn)}
</svg>
{lines}
<details><summary>all figures</summary>
{_table(rows)}
</details>
</figure>
"""


def _shown(case: Measured) -> list[Result]:
    return [result for result in case.measured if result.median(case.kind) is not None]


def _bars(case: Measured) -> Iterator[str]:
    shown = _shown(case)
    highest = max((result.median(case.kind) or 0.0 for result in shown), default=0.0)
    step = round_step(highest)
    top = step * max(1, ceil(highest / step))
    room = WIDTH - LEFT - RIGHT

    def x(value: float) -> float:
        return LEFT + value / top * room

    bottom = TOP + ROW * len(shown)
    yield f'<text x="{LEFT}" y="11">{escape(case.figure)}</text>'
    for tick in range(round(top / step) + 1):
        at = x(tick * step)
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 4}" y2="{bottom}"/>'
    for place, result in enumerate(shown):
        y = TOP + ROW * place + (ROW - BAR) / 2
        value = result.median(case.kind) or 0.0
        ours = result.name.startswith("nlb")
        yield f'<text class="name{" nlb" if ours else ""}" x="{LEFT - 8}" y="{y + 14:.1f}">{escape(result.name)}</text>'
        if case.kind == "cpu":
            system = min(value, result.median("system") or 0.0)
            parts = [("user", 0.0, value - system), ("system", value - system, value)]
        else:
            parts = [("ours" if ours else "theirs", 0.0, value)]
        for style, begin, end in parts:
            yield (
                f'<rect class="{style}" x="{x(begin):.1f}" y="{y:.1f}" width="{max(0.0, x(end) - x(begin)):.1f}" '
                f'height="{BAR}"><title>{escape(result.name)}: {number(end - begin)}</title></rect>'
            )
        found = case.ratio(result.name)
        beside = f" ({found.value:.2f})" if found and result.name != "haproxy" else ""
        yield f'<text class="value" x="{x(value) + 6:.1f}" y="{y + 14:.1f}">{number(value)}{beside}</text>'


def _skipped(cases: Sequence[Measured]) -> str:
    if not cases:
        return ""
    rows = [["case", "why"]]
    for case in cases:
        whys = [f"{result.name}: {why}" for result in case.results if (why := result.failed or result.skipped)]
        rows.append([case.name, case.skipped or "; ".join(whys)])
    return f'<h2 class="part">Not measured</h2>\n<div class="card wide">{_table(rows, words=(1,))}</div>'
