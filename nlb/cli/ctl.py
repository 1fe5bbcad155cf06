"""`nlb ctl`: asks a running nlb and shows the answer. Its commands are made from the table of admin commands; the few
that are more than one question and one answer have the rest in EXTRAS.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import gettempdir
from time import sleep
from typing import Any

import click

from nlb.admin.client import PATIENCE, NoDaemonError, find
from nlb.admin.commands import COMMANDS, FAMILIES, Command
from nlb.admin.params import Param, whole
from nlb.admin.phrases import Facts
from nlb.cli import EXIT_CODES, NO_DAEMON, names
from nlb.cli.talk import Talk
from nlb.model.units import parse_duration

# Seconds for what is answered when every worker has taken it in, which thousands of targets make long.
PATIENCE_FOR_WORKERS = 45.0

_EPILOG = "\n".join(["\b", "Exit codes:", *(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items())])


@dataclass(frozen=True, slots=True)
class Extra:
    """What a verb does here beside asking: options of its own, and what becomes of the answer. `finish` gets the
    options by their names and returns the exit code."""

    options: tuple[click.Option, ...]
    finish: Callable[..., int]


class TableOrder(click.Group):
    """Lists its commands in the order of the table, which is the order of use; those of two words in full."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(command.verb, command.help) for command in COMMANDS.values()])


@click.group(cls=TableOrder, epilog=_EPILOG)
@click.option(
    "--socket",
    metavar="PATH",
    type=click.Path(readable=False),
    help="The daemon's admin socket (default: $NLB_SOCKET, else its usual places).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.pass_context
def ctl(ctx: click.Context, socket: str | None, as_json: bool) -> None:
    """Look at a running nlb and tell it what to do."""
    ctx.obj = {"socket": socket, "as_json": as_json}


def _drain(talk: Talk, answer: Facts, wait: bool) -> int:
    from nlb.cli.waiting import wait_for_drain

    return wait_for_drain(talk, answer, sleep) if wait else talk.show(answer)


def _config(talk: Talk, answer: Facts, diff: str | None, every_key: bool) -> int:
    from nlb.cli import running_config

    if diff is not None:
        return running_config.compare(talk, answer, diff)
    return running_config.show(talk, answer, every_key)


def _events(talk: Talk, answer: Facts, follow: bool) -> int:
    from nlb.cli import following

    return following.follow(talk, answer, sleep) if follow else talk.show(answer)


def _watch(talk: Talk, answer: Facts, interval: float, count: int | None) -> int:
    from nlb.cli import watching

    return watching.watch(talk, answer, interval, count, sleep)


def _checked(read: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Reads as the daemon will: a mistake is found before anything is asked."""

    def callback(ctx: click.Context, parameter: click.Parameter, written: str | tuple[str, ...] | bool | None) -> Any:
        try:
            return None if written in (None, (), False) else read(written)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return callback


def _interval(written: str) -> float:
    if (seconds := parse_duration(written)) < 0.1:
        raise ValueError("must be 100ms or more: each look costs the daemon some work")
    return seconds


EXTRAS = {
    "drain": Extra(
        (click.Option(["--wait"], is_flag=True, help="Wait until no session is left, or time runs out."),), _drain
    ),
    "config": Extra(
        (
            click.Option(
                ["--diff"],
                metavar="FILE",
                type=click.Path(readable=False),
                help="What a reload of this file would change, if anything.",
            ),
            click.Option(["--all", "every_key"], is_flag=True, help="With every default, not only what was written."),
        ),
        _config,
    ),
    "events": Extra(
        (click.Option(["-f", "--follow"], is_flag=True, help="Go on with new ones as they happen, until Ctrl-C."),),
        _events,
    ),
    "watch": Extra(
        (
            click.Option(
                ["--interval"],
                metavar="TIME",
                default="1s",
                callback=_checked(_interval),
                help="Time between two looks. Default: 1s.",
            ),
            click.Option(
                ["--count"],
                metavar="COUNT",
                callback=_checked(whole(1, 1_000_000)),
                help="End after so many. Default: at Ctrl-C.",
            ),
        ),
        _watch,
    ),
}


def _command(command: Command) -> click.Command:
    extra = EXTRAS.get(command.verb, Extra((), Talk.show))
    own = [option.name for option in extra.options]
    params: list[click.Parameter] = [*map(parameter, command.params), *extra.options]
    # The group takes these two as well: people write them in both places.
    params += [
        click.Option(["--socket"], metavar="PATH", type=click.Path(readable=False), help="The daemon's admin socket."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the answer as JSON."),
    ]

    @click.pass_obj
    def run(common: dict[str, Any], /, socket: str | None, as_json: bool, **given: Any) -> None:
        options = {name: given.pop(name) for name in own}
        args = {name: value for name, value in given.items() if value is not None}
        patience = PATIENCE_FOR_WORKERS if command.slow else PATIENCE
        try:
            with find(socket or common["socket"], os.environ, os.getuid(), gettempdir(), patience) as client:
                talk = Talk(client, command.verb, args, as_json or common["as_json"])
                code = extra.finish(talk, talk.ask(), **options)
        except NoDaemonError as error:
            click.echo(error, err=True)
            code = NO_DAEMON
        sys.exit(code)

    arguments = [f"{param.metavar} is {param.help}." for param in command.params if param.argument]
    text = "\n\n".join([" ".join(filter(None, (command.help, command.more))), *arguments])
    name = command.verb.rpartition(" ")[2]
    return click.Command(name, params=params, callback=run, help=text, short_help=command.help)


def parameter(param: Param) -> click.Parameter:
    about: dict[str, Any] = {
        "metavar": param.metavar if param.required or not param.argument else f"[{param.metavar}]",
        "callback": _checked(param.read),
        "shell_complete": names.completer(param),
    }
    if param.argument:
        return click.Argument([param.name], required=param.required, **about)
    if param.flag:
        return click.Option([f"--{param.name}"], help=param.help, is_flag=True, callback=about["callback"])
    default = "" if param.default in (None, "") else f" Default: {param.default}."
    return click.Option([f"--{param.name}"], help=param.help + default, multiple=param.many, **about)


_homes = {"": ctl} | {family: click.Group(family, help=text) for family, text in FAMILIES.items()}
for _each in COMMANDS.values():
    _family = _each.verb.rpartition(" ")[0]
    _homes[_family].add_command(_command(_each))
    if _family:
        ctl.add_command(_homes[_family])
