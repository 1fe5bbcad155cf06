"""The report of the scale-out check: one HTML file that needs no other. A pure function of the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from loadtests.stages import EFFICIENCY, Stage, Verdict, rows, title

# Of one chart, in the units of its own coordinates; the page scales it.
WIDTH, HEIGHT = 420, 290
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 14, 30
BAR = 58  # the widest

STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #fff; --ink: #1c1d1f; --soft: #63666b; --line: #e3e4e6;
  --good: #11734b; --bad: #b3261e; --throughput: #2f6fd0; --p50: #e0a13c; --p99: #b4632a; }
@media (prefers-color-scheme: dark) { :root { --ground: #17181a; --card: #1f2123; --ink: #ececec; --soft: #a0a4a9;
  --line: #35383c; --good: #4cc38a; --bad: #ff8f85; --throughput: #6ea3f2; --p50: #f0c071; --p99: #dd8a4c; } }
* { box-sizing: border-box }
body { margin: 0; padding: 2rem 1.25rem 3rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif }
main { max-width: 60rem; margin: auto }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; line-height: 1.2 }
h2 { margin: 0; font-size: 1rem }
.verdict { margin: 0 0 1.5rem; font-size: 1.05rem }
.verdict b { margin-right: .4em; color: var(--good) }
.verdict.bad b { color: var(--bad) }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem }
.card { display: flex; flex-direction: column; margin: 0; padding: 1rem 1.1rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px }
.legend { display: flex; flex-wrap: wrap; gap: 0 1.1em; margin: .1rem 0 .5rem; color: var(--soft); font-size: .85rem }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px }
.legend i.mark { height: 0; border-top: 2px dashed var(--ink); vertical-align: middle; width: 1.4em; border-radius: 0 }
.legend i.bar { height: 0; border-top: 2px solid var(--bad); vertical-align: middle; width: 1.4em; border-radius: 0 }
svg { display: block; width: 100%; height: auto; margin-top: auto; font: 12px system-ui, "Segoe UI", Roboto,
  "Liberation Sans", sans-serif }
svg text { fill: var(--soft) }
svg .value { fill: var(--ink); font-weight: 600 }
svg .grid { stroke: var(--line) }
svg .mark { stroke: var(--ink); stroke-width: 2; stroke-dasharray: 5 4 }
svg .bar { stroke: var(--bad); stroke-width: 2 }
.throughput { fill: var(--throughput); background: var(--throughput) }
.p50 { fill: var(--p50); background: var(--p50) }
.p99 { fill: var(--p99); background: var(--p99) }
.wide { margin-top: 1rem; overflow-x: auto }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .45rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 500 }
tr:last-child td { border-bottom: 0 }
td:first-child { font-weight: 600 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 1.5rem .2rem 0;
  color: var(--soft) }
dd { margin: 0 }
"""


@dataclass(frozen=True)
class Series:
    """Bars of one colour, one for each stage. `style` is its class in the style sheet."""

    name: str
    style: str
    unit: str
    figure: Callable[[Stage], float]


@dataclass(frozen=True)
class Mark:
    """Lines across bars: what the figure would be at best, or must be at least."""

    name: str
    style: str
    values: Sequence[float | None]


def page(stages: Sequence[Stage], found: Verdict, facts: Sequence[tuple[str, str]]) -> str:
    first = stages[0]
    share = [stage.targets / first.targets * first.throughput for stage in stages]
    throughput = [Series("measured", "throughput", "requests/s", lambda stage: stage.throughput)]
    latency = [
        Series("p50: half are faster", "p50", "ms", lambda stage: stage.p50),
        Series("p99: one in a hundred is slower", "p99", "ms", lambda stage: stage.p99),
    ]
    marks = [
        Mark("in proportion to the first", "mark", share),
        Mark(f"at least {EFFICIENCY:.0%} of that", "bar", [None] * (len(stages) - 1) + [EFFICIENCY * share[-1]]),
    ]
    head, *body = rows(stages)
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>nlb: does it scale out?</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>nlb: do more targets give more?</h1>
<p class="verdict{"" if found.good else " bad"}"><b>{"Yes." if found.good else "No."}</b>{escape(found.text)}</p>
<div class="charts">
{_card("Throughput, requests/s", stages, throughput, marks)}
{_card("Time to the answer, ms", stages, latency, [])}
</div>
<div class="card wide">
<table>
<thead><tr>{"".join(f"<th>{escape(cell)}</th>" for cell in head)}</tr></thead>
<tbody>
{"".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in body)}
</tbody>
</table>
</div>
<dl>{listed}</dl>
</main>
</body>
</html>
"""


def _card(name: str, stages: Sequence[Stage], series: Sequence[Series], marks: Sequence[Mark]) -> str:
    entries = [*series, *marks]
    legend = "".join(f'<span><i class="{entry.style}"></i>{escape(entry.name)}</span>' for entry in entries)
    drawn = "\n".join(_drawing(stages, series, marks))
    return f"""<figure class="card">
<h2>{escape(name)}</h2>
<div class="legend">{legend}</div>
<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)} by number of targets">
{drawn}
</svg>
</figure>"""


def _drawing(stages: Sequence[Stage], series: Sequence[Series], marks: Sequence[Mark]) -> Iterator[str]:
    figures = [each.figure(stage) for each in series for stage in stages]
    highest = max([*figures, *(value for mark in marks for value in mark.values if value is not None)])
    step = round_step(highest)
    top = step * max(1, ceil(highest / step))

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP)

    for tick in range(round(top / step) + 1):
        at = y(tick * step)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{tick * step:g}</text>'
    room = (WIDTH - LEFT - RIGHT) / len(stages)
    bar = min(BAR, room * 0.8 / len(series))
    for number, stage in enumerate(stages):
        middle = LEFT + room * (number + 0.5)
        left = middle - bar * len(series) / 2
        yield f'<text x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{title(stage.targets)}</text>'
        for place, each in enumerate(series):
            value = each.figure(stage)
            x, at = left + place * bar, y(value)
            yield (
                f'<rect class="{each.style}" x="{x + 1:.1f}" y="{at:.1f}" width="{bar - 2:.1f}" '
                f'height="{y(0) - at:.1f}" rx="2"><title>{title(stage.targets)}: {value:.1f} {each.unit}</title></rect>'
            )
            yield (
                f'<text class="value" x="{x + bar / 2:.1f}" y="{at - 5:.1f}" text-anchor="middle">{value:.0f}</text>'
            )
        for mark in marks:
            if (value := mark.values[number]) is not None:
                across = f'x1="{left - 9:.1f}" x2="{middle + bar / 2 + 9:.1f}" y1="{y(value):.1f}" y2="{y(value):.1f}"'
                yield f'<line class="{mark.style}" {across}/>'


def round_step(highest: float) -> float:
    """Between the lines of a grid: 1, 2 or 5 times a power of ten, so that there are at most five of them."""
    if highest <= 0:
        return 1
    power = 10.0 ** floor(log10(highest / 5))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * 5 >= highest)
