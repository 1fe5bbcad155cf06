"""One call of `nlb ctl`: what it asks the daemon, and how it prints answers, for people or for programs.

What comes back may be of another version's making: it is read in `understood()`, where that ends in a sentence.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from nlb.admin.client import Client, another_version
from nlb.cli import DONE, FAILED
from nlb.errors import AdminError

# What reading an answer raises when it is not what this version expects.
WRONG_SHAPE = (AttributeError, IndexError, KeyError, TypeError)


class Talk:
    """`verb` and `args` are what was called; `for_programs` says that JSON is wanted."""

    def __init__(self, client: Client, verb: str, args: Mapping[str, Any], for_programs: bool) -> None:
        self.verb = verb
        self.for_programs = for_programs
        self._client = client
        self._args = dict(args)

    @property
    def is_live(self) -> bool:
        """Somebody looks at a terminal, where lines may be written over."""
        return sys.stdout.isatty() and not self.for_programs

    def ask(self, verb: str | None = None, **args: Any) -> Any:
        """Ask for what was called, with some arguments changed; or for something else."""
        if verb is None:
            return self._client.ask(self.verb, self._args | args)
        return self._client.ask(verb, args)

    def show(self, answer: Any) -> int:
        """Print an answer. Returns the exit code."""
        with self.understood():
            refused = "refused" in answer
        if self.for_programs:
            # Only people want it indented; for 10,000 targets that takes 217 ms instead of 64.
            click.echo(json.dumps(answer, indent=2 if sys.stdout.isatty() else None))
        elif refused:
            click.echo(f"refused, nothing was changed:\n{answer['refused']}", err=True)
        else:
            from nlb.cli import tables, views

            with self.understood():
                blocks = views.VIEWS[self.verb](answer)
            tables.show(blocks)
        return FAILED if refused else DONE

    @contextmanager
    def understood(self) -> Iterator[None]:
        try:
            yield
        except WRONG_SHAPE:
            remark = another_version(self._client.version)
            raise AdminError(f"the answer of the daemon at {self._client.path} was not understood{remark}") from None
