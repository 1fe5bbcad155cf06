"""The `nlb` command: a list of sub-commands, each imported only when it is called, so that each starts fast.

A sub-command is a click object in the module of its name. An NlbError becomes its text and an exit code here, in
one place; nobody sees a traceback for something that an operator can put right.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from nlb import __version__
from nlb.errors import ConfigError, NlbError

# Exit codes, the same for every command.
DONE = 0
FAILED = 1
USAGE = 2
TIME_RAN_OUT = 3
NO_DAEMON = 4
INTERRUPTED = 130  # what a shell makes of Ctrl-C

EXIT_CODES = {
    DONE: "done",
    FAILED: "refused or failed; config --diff: there are differences",
    USAGE: "wrong usage, or a config with mistakes",
    TIME_RAN_OUT: "time ran out (drain --wait: sessions were left)",
    NO_DAEMON: "no daemon answers",
}

COMMANDS = {
    "serve": "Run the load balancer.",
    "check": "Check a config file and say what would run.",
    "explain": "What becomes of a request, and why.",
    "ctl": "Look at a running nlb, drain targets, change weights.",
    "demo": "Three web servers behind a balancer, to try things out.",
    "completion": "A script that lets the shell complete commands and names.",
    "man": "The manual page of nlb: nlb man | man -l -",
}


class LazyGroup(click.Group):
    """Knows its commands by name; imports one when it is called, and none to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"nlb.cli.{cmd_name}"), cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nlb", message="%(prog)s %(version)s")
def nlb() -> None:
    """A load balancer for Linux: nothing dropped, nothing silent, every decision explained."""


def main(args: Sequence[str] | None = None) -> None:
    """Run `nlb` with the arguments of this process, or those given; ends the process."""
    try:
        nlb.main(args, prog_name="nlb")
    except NlbError as error:
        click.echo(error, err=True)
        sys.exit(USAGE if isinstance(error, ConfigError) else FAILED)
