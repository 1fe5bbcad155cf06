"""What a command says that goes on for a while: lines, a live one below them, rows with remarks."""

from __future__ import annotations

import sys

import click


class Screen:
    """Lines, and below them one that keeps changing where a terminal can do that."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._live = ""

    def say(self, text: str) -> None:
        if self._terminal and self._live:
            click.echo(f"\r\033[K{text}\n{self._live}", nl=False)
        else:
            click.echo(text)

    def live(self, text: str) -> None:
        """Put this in the place of the last live line."""
        if text != self._live:
            self._live = text
            click.echo(f"\r\033[K{text}" if self._terminal else text, nl=not self._terminal)

    def settle(self, text: str) -> None:
        """End the live line; `text` stays in its place."""
        if self._terminal and self._live:
            click.echo("\r\033[K", nl=False)
        self._live = ""
        if text:
            click.echo(text)


def columns(*rows: tuple[str, str]) -> str:
    """Commands or addresses, indented, each with a remark; rows without a first part are left out."""
    rows = tuple(row for row in rows if row[0])
    width = max(len(first) for first, remark in rows if remark)
    return "\n".join(f"  {first:<{width}}   # {remark}" if remark else f"  {first}" for first, remark in rows)
