"""What the shell may complete where a name is expected: the daemon is asked for the names that it has. This runs at
every press of Tab, so it is quick or says nothing, and it never complains.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from tempfile import gettempdir

import click

from nlb.admin.client import find
from nlb.admin.params import Param
from nlb.admin.phrases import Facts, full_name
from nlb.errors import NlbError

# Seconds without a byte of the answer.
PATIENCE = 0.3

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def completer(param: Param) -> Completer | None:
    """What completes this parameter; None when there is nothing to choose from."""
    if param.words:
        return lambda ctx, parameter, incomplete: _beginning(param.words, incomplete)
    if param.names:
        return lambda ctx, parameter, incomplete: _beginning(_known(param.names, _socket(ctx)), incomplete)
    return None


def target_names(targets: list[Facts]) -> list[str]:
    """As short as each can be written: group/name only where two groups have one of that name."""
    here = [target for target in targets if not target["leaving"]]
    count = Counter(target["name"] for target in here)
    return [target["name"] if count[target["name"]] == 1 else full_name(target) for target in here]


def _known(kind: str, socket: str | None) -> list[str]:
    verb = "listeners" if kind == "listener" else "targets"
    try:
        with find(socket, os.environ, os.getuid(), gettempdir(), PATIENCE) as client:
            answer = client.ask(verb, {})
        return target_names(answer["targets"]) if kind == "target" else [row["name"] for row in answer[f"{kind}s"]]
    except (NlbError, OSError, KeyError, TypeError):
        return []


def _socket(ctx: click.Context) -> str | None:
    """What was given as --socket before the Tab, in either place."""
    while ctx.parent and not ctx.params.get("socket"):
        ctx = ctx.parent
    socket: str | None = ctx.params.get("socket")
    return socket


def _beginning(names: tuple[str, ...] | list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
