"""How a table is written: with colours for a terminal, in plain aligned columns for a pipe or a file.

Nothing is ever cut off: a name that is too long makes the table wider. Cells come from config files and from what
targets said, so control characters in them are shown as `?` and colour markup is just text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import StringIO, TextIOWrapper
from shutil import get_terminal_size
from typing import NamedTuple, TextIO

GAP = "  "

# What a text means for the reader -> how a terminal shows it.
STYLES = {"": "", "good": "green", "warn": "yellow", "bad": "red", "quiet": "dim", "loud": "bold white on red"}


class Cell(NamedTuple):
    text: str
    tone: str = ""


class Column(NamedTuple):
    title: str
    number: bool = False  # aligned to the right
    prose: bool = False  # may be broken over several lines where the terminal is narrow


@dataclass(frozen=True, slots=True)
class Table:
    columns: list[Column]
    rows: list[Sequence[Cell | str]] = field(default_factory=list)


Block = Cell | Table  # a line of its own, or a table


def titled(*titles: str) -> Table:
    """An empty table. `#` begins the title of a column of numbers, `~` that of one of prose."""
    return Table([Column(title.lstrip("#~"), title[0] == "#", title[0] == "~") for title in titles])


def show(blocks: Iterable[Block], out: TextIO | None = None) -> None:
    """Write lines and tables to `out`, standard output by default."""
    out = out or sys.stdout
    if isinstance(out, TextIOWrapper):
        out.reconfigure(errors="replace")  # a terminal without UTF-8 shows ? and not a traceback
    out.write(written(blocks, out.isatty()))
    out.flush()


def written(blocks: Iterable[Block], for_terminal: bool) -> str:
    """What `show` writes."""
    if for_terminal:
        return _colourful(blocks)
    return "".join(f"{line}\n" for block in blocks for line in plain(block))


def plain(block: Block) -> list[str]:
    """The lines of a block without colours."""
    if isinstance(block, Cell):
        return [clean(block.text)]
    rows = [[column.title for column in block.columns], *([_text(cell) for cell in row] for row in block.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        GAP.join(
            text.rjust(width) if column.number else text.ljust(width)
            for text, width, column in zip(row, widths, block.columns, strict=True)
        ).rstrip()
        for row in rows
    ]


def clean(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def _text(cell: Cell | str) -> str:
    return clean(cell.text if isinstance(cell, Cell) else cell)


def _colourful(blocks: Iterable[Block]) -> str:
    from rich.console import Console  # 60 ms, needed only for people
    from rich.table import Table as RichTable
    from rich.text import Text

    def styled(cell: Cell | str) -> Text:
        return Text(_text(cell), style=STYLES[cell.tone] if isinstance(cell, Cell) else "")

    out = StringIO()
    terminal = get_terminal_size().columns
    console = Console(file=out, width=terminal, force_terminal=True)
    for block in blocks:
        if isinstance(block, Cell):
            console.print(styled(block), soft_wrap=True)
            continue
        table = RichTable(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="bold")
        for column in block.columns:
            table.add_column(Text(column.title), justify="right" if column.number else "left", no_wrap=not column.prose)
        for row in block.rows:
            table.add_row(*map(styled, row))
        # A terminal that is too narrow breaks the lines itself; rich would cut names off.
        Console(file=out, width=max(terminal, _least_width(block)), force_terminal=True).print(table)
    return out.getvalue()


def _least_width(table: Table) -> int:
    """Columns of characters that the table needs when its prose is broken into short lines."""
    widths = []
    for number, column in enumerate(table.columns):
        longest = max([len(column.title), *(len(_text(row[number])) for row in table.rows)])
        widths.append(min(longest, 24) if column.prose else longest)
    return sum(widths) + len(GAP) * len(widths)
