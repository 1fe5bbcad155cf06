"""Configs of http listeners and groups, as text, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.targets import Target

# No probes: whoever connects to a target is a client's request.
UNASKED = 'health_check = { protocol = "none" }'


def edge(group: str = "web", more: str = "", name: str = "edge", bind: str = '"127.0.0.1:0"') -> str:
    """A listener; `more` are its keys and rules. It writes no access lines unless they say so."""
    silent = "" if "access_log " in more else "access_log = false\n"
    head = f'[[listener]]\nname = "{name}"\nbind = {bind}\nprotocol = "http"\ntarget_group = "{group}"\n'
    return f"{head}{silent}{more}\n"


def group(targets: Sequence[Target] | Mapping[str, Target], more: str = UNASKED, name: str = "web") -> str:
    """A group of targets t1, t2, ... or of these names."""
    named = targets if isinstance(targets, Mapping) else {f"t{n}": target for n, target in enumerate(targets, 1)}
    places = ", ".join(f'"{called}=127.0.0.1:{target.port}"' for called, target in named.items())
    return f'[[target_group]]\nname = "{name}"\nprotocol = "http"\ntargets = [{places}]\n{more}\n'


def rule(name: str, text: str) -> str:
    return f'[[listener.rule]]\nname = "{name}"\n{text}\n'
