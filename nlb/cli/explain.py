"""`nlb explain`: asks the running daemon, or a file, what becomes of a request. What it prints is in explained.py."""

from __future__ import annotations

import json
import os
import sys
from tempfile import gettempdir
from typing import Any

import click

from nlb.admin.client import NoDaemonError, find
from nlb.admin.commands import APART
from nlb.cli import NO_DAEMON
from nlb.cli.ctl import parameter
from nlb.cli.talk import Talk

_COMMAND = APART["explain"]

_HELP = """Say what becomes of a request, and why: the listener, each rule in order, the action, and of the group every
target with why it is in or out, and the choice. Nothing is sent and nothing is changed.

The running daemon is asked. With -c FILE the file is, which knows nothing of the health of targets.

\b
nlb explain http://api.example.com/v1/x --source 192.0.2.7
nlb explain http://example.com/ --method POST --header 'X-Canary: 1'
nlb explain tcp://db.example.com:5432 --source 192.0.2.7:40000
nlb explain tls://mail.example.com --alpn h2"""


def _explain(path: str | None, as_json: bool, socket: str | None, **given: Any) -> None:
    args = {name: value for name, value in given.items() if value is not None}
    if path is not None:
        return _by_file(path, args, as_json)
    try:
        with find(socket, os.environ, os.getuid(), gettempdir()) as client:
            talk = Talk(client, _COMMAND.verb, args, as_json)
            code = talk.show(talk.ask())
    except NoDaemonError as error:
        click.echo(f"{error}; with -c FILE none is needed", err=True)
        code = NO_DAEMON
    sys.exit(code)


def _by_file(path: str, args: dict[str, Any], as_json: bool) -> None:
    from nlb.admin.verbs import inquiry_of
    from nlb.cli import tables
    from nlb.cli.explained import explained
    from nlb.control import config_file
    from nlb.control.explain import of_file

    answer = of_file(config_file.read(path), inquiry_of(_COMMAND.read(args)))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        tables.show(explained(answer))


explain = click.Command(
    "explain",
    params=[
        *map(parameter, _COMMAND.params),
        click.Option(
            ["-c", "--config", "path"],
            metavar="FILE",
            type=click.Path(readable=False),
            help="Ask this file, no daemon.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Answer in JSON, for programs."),
        click.Option(["--socket"], metavar="PATH", type=click.Path(readable=False), help="The daemon's admin socket."),
    ],
    callback=_explain,
    help=_HELP,
    short_help=_COMMAND.help,
)
