"""Tables: aligned, whole, and safe to show whatever is in them."""

from __future__ import annotations

import io

from nlb.cli.tables import Cell, Column, Table, plain, show

HOSTILE = "web\x1b[2J01\n[red]x[/red]"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def table(*rows: tuple[Cell | str, ...]) -> Table:
    return Table([Column("name"), Column("count", number=True), Column("why", prose=True)], list(rows))


def test_names_to_the_left_numbers_to_the_right() -> None:
    assert plain(table(("web01", "7", "slow"), ("x", Cell("12345678", "bad"), ""))) == [
        "name      count  why",
        "web01         7  slow",
        "x      12345678",
    ]


def test_a_table_without_rows_is_its_titles() -> None:
    assert plain(table()) == ["name  count  why"]


def test_control_characters_are_not_obeyed_and_markup_is_text() -> None:
    for out in (io.StringIO(), Terminal()):
        show([Cell(HOSTILE), table((HOSTILE, "1", HOSTILE))], out)
        assert "\x1b[2J" not in out.getvalue()
        assert out.getvalue().count("web?[2J01?[red]x[/red]") == 3


def test_a_pipe_gets_no_colours() -> None:
    out = io.StringIO()
    show([Cell("down", "bad")], out)
    assert out.getvalue() == "down\n"


def test_what_the_terminal_cannot_write_is_replaced() -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as out:
        show([Cell("gerät01")], out)
        out.flush()
        assert raw.getvalue() == b"ger?t01\n"
