"""`nlb man`: the manual page, in roff, made from the commands themselves. `nlb man | man -l -` shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from nlb import __version__
from nlb.cli import EXIT_CODES, nlb
from nlb.model import places

DESCRIPTION = """\
nlb carries TCP connections from the addresses of its listeners to the targets of a group. One control process reads
the config, probes the targets and answers `nlb ctl`; worker processes carry the traffic.

`nlb serve` runs it. `nlb ctl` looks at a running one and tells it what to do; what an operator changes so survives
reloads, restarts and the death of a worker. `nlb check` tells every mistake in a config file, `nlb explain` what
becomes of a request, and why."""

ENVIRONMENT = {
    "NLB_SOCKET": "The admin socket that `nlb ctl` and `nlb explain` ask, where --socket does not name one.",
    "RUNTIME_DIRECTORY, STATE_DIRECTORY": "Where `nlb serve` puts its admin socket and its state; systemd sets them.",
}

FILES = {
    places.CONFIG: "The config. README.md and conf/nlb.toml of nlb explain every key.",
    "/run/nlb/nlb.sock": "The admin socket, by default, of an nlb that root runs.",
    "/var/lib/nlb/overrides.json": "What operators changed at run time, by default, of an nlb that root runs.",
    "/var/lib/nlb/blocks.json": "Whom operators blocked, and who is for offences, likewise.",
}


@click.command()
def man() -> None:
    """Print the manual page. To read it: nlb man | man -l -

    To install it: nlb man > /usr/local/share/man/man1/nlb.1
    """
    click.echo("\n".join(page()))


def page() -> Iterator[str]:
    """The lines of the page."""
    yield f'.TH NLB 1 "" "nlb {__version__}" "User Commands"'
    yield from (".nh", ".ad l")  # what is typed shall not be broken, nor stretched
    yield from (".SH NAME", r"nlb \- a load balancer for Linux")
    yield ".SH SYNOPSIS"
    yield from _synopsis()
    yield ".SH DESCRIPTION"
    yield from _prose(DESCRIPTION)
    yield ".SH COMMANDS"
    yield from _commands()
    yield ".SH EXIT STATUS"
    yield from _definitions({str(code): f"{meaning[0].upper()}{meaning[1:]}." for code, meaning in EXIT_CODES.items()})
    yield ".SH ENVIRONMENT"
    yield from _definitions(ENVIRONMENT)
    yield ".SH FILES"
    yield from _definitions(FILES)
    yield from (".SH SEE ALSO", r"\fBsystemctl\fR(1), \fBjournalctl\fR(1)")


def _contexts(group: click.Group, above: click.Context | None = None) -> Iterator[click.Context]:
    """Every command in and below a group, in order; a group before its commands."""
    ctx = click.Context(group, info_name=group.name, parent=above)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield click.Context(command, info_name=name, parent=ctx)
        if isinstance(command, click.Group):
            yield from _contexts(command, ctx)


def _synopsis() -> Iterator[str]:
    for number, ctx in enumerate(_contexts(nlb)):
        if ctx.parent and ctx.parent.parent is None:
            yield from [".br"] * (number > 0)
            yield _usage(ctx)


def _commands() -> Iterator[str]:
    for ctx in _contexts(nlb):
        yield f".SS {_usage(ctx)}"
        yield from _prose(ctx.command.help or "")
        yield from _definitions(_options(ctx))


def _usage(ctx: click.Context) -> str:
    pieces = [_plain(piece) for piece in ctx.command.collect_usage_pieces(ctx)]
    return " ".join([rf"\fB{_plain(ctx.command_path)}\fR", *pieces])


def _options(ctx: click.Context) -> dict[str, str]:
    """Those that are told for no command above."""
    above = {param.name for group in _groups_above(ctx) for param in group.command.params} | {"help"}
    options = [param for param in ctx.command.params if isinstance(param, click.Option) and param.name not in above]
    return dict(record for option in options if (record := option.get_help_record(ctx)))


def _groups_above(ctx: click.Context) -> Iterator[click.Context]:
    while ctx.parent:
        ctx = ctx.parent
        yield ctx


def _definitions(terms: dict[str, str]) -> Iterator[str]:
    for term, meaning in terms.items():
        yield from (".TP", rf"\fB{_plain(term)}\fR", _line(meaning))


def _prose(text: str) -> Iterator[str]:
    r"""Paragraphs; one that begins with \b, as click has it, keeps its lines."""
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        yield from [".PP"] * (number > 0)
        lines = paragraph.strip("\n").split("\n")
        if lines[0] == "\b":
            yield from (".nf", *map(_line, lines[1:]), ".fi")
        else:
            yield _line(" ".join(line.strip() for line in lines))


def _line(text: str) -> str:
    """A line of text, `commands` in bold."""
    return re.sub(r"`([^`]+)`", r"\\fB\1\\fR", _plain(text))


def _plain(text: str) -> str:
    """Text that roff takes as it is. A hyphen would become a dash, which nobody can paste into a shell."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text
