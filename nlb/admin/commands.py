"""What an operator may ask of a running nlb: one table of verbs. The admin socket, `nlb ctl`, its help, its completion
and the man page are all made from it, so they cannot disagree.

What a verb does is in `verbs.py`; here is what it is called, what it takes and what it says of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nlb.admin import verbs
from nlb.admin.params import (
    Param,
    one_of,
    read_flag,
    read_headers,
    read_name,
    read_network,
    read_number,
    read_protocols,
    read_source,
    read_text,
    read_time,
    read_url,
    whole,
)
from nlb.admin.phrases import Facts
from nlb.admin.verbs import Controller, Reply
from nlb.errors import AdminError
from nlb.model.nearest import did_you_mean
from nlb.model.units import parse_duration

HEAVIEST = 1000
MOST_SESSIONS = 10_000
MOST_TARGETS = 1000  # in a picture that is taken every second
MOST_EVENTS = 1000
MOST_BLOCKS = 100_000

# What an event is about.
KINDS = ("target", "group", "worker", "operator", "nlb")

# Verbs of two words, by the first.
FAMILIES = {"target": "Add a target to a group at run time, or remove one."}


@dataclass(frozen=True, slots=True)
class Command:
    """`run(controller, values, reply)` calls `reply` once, now or later, or raises AdminError: nothing was changed."""

    verb: str
    help: str
    params: tuple[Param, ...]
    run: Callable[[Any, Facts, Reply], None]
    changes: bool = False  # then `values["who"]` is the name of the user who asks
    slow: bool = False  # answered when every worker has taken it in
    more: str = ""  # what its own help says beside `help`

    def read(self, args: object) -> Facts:
        """The value of every parameter, from the arguments of a request."""
        if not isinstance(args, dict):
            raise AdminError(f"the arguments of {self.verb} must be an object, like {{}}")
        known = [param.name for param in self.params]
        for name in args:
            if name not in known:
                raise AdminError(f"{self.verb} takes no '{name}'{did_you_mean(name, known)}")
        return {param.name: self._value(param, args.get(param.name)) for param in self.params}

    def _value(self, param: Param, written: object) -> Any:
        if written is None:
            if param.required:
                raise AdminError(f"{self.verb} needs a {param.name}: {param.help}")
            return param.default
        try:
            return param.read(written)
        except ValueError as error:
            raise AdminError(f"{param.name}: {error}") from None


def execute(controller: Controller, verb: object, args: object, who: Callable[[], str], reply: Reply) -> None:
    """Do what a request asks for. `who` tells the asking user's name and is called only for changes."""
    command = COMMANDS.get(verb, APART.get(verb)) if isinstance(verb, str) else None
    if command is None:
        wanted = str(verb)[:40]
        hint = did_you_mean(wanted, COMMANDS) or f"; there are: {', '.join(COMMANDS)}"
        raise AdminError(f"unknown command '{wanted}'{hint}")
    values = command.read(args)
    if command.changes:
        values["who"] = who()
    command.run(controller, values, reply)


_TARGET = Param(
    "target", "a target's name, or group/name", read_name, "TARGET", argument=True, required=True, names="target"
)
_REASON = Param("reason", "Why, for those who look at it later.", read_text, "TEXT", default="")
_FOR = Param("for", "Undo it by itself after this time, like 30m.", read_time, "TIME")
_NETWORK = Param(
    "network",
    "an address or a network, such as 198.51.100.7, 203.0.113.0/24 or 2001:db8:1:2::/64",
    read_network,
    "ADDRESS|NETWORK",
    argument=True,
    required=True,
)
_KEEP = Param("keep", "Leave the connections open that it has now.", read_flag, "", default=False, flag=True)
_GROUP = Param("group", "a target group's name", read_name, "GROUP", argument=True, names="group")
_ONE_TARGET = Param("target", "Only this target: its name, or group/name.", read_name, "TARGET", names="target")
_ONE_LISTENER = Param("listener", "Only this listener.", read_name, "LISTENER", names="listener")

_ALL = (
    Command(
        "status",
        "How nlb is: config, workers, listeners, groups, last events.",
        (Param("events", "How many events, at most.", whole(0, MOST_EVENTS), "COUNT", default=10),),
        verbs.status,
    ),
    Command(
        "targets",
        "Every target: what you want, what probes saw, what it does.",
        (_GROUP, _ONE_TARGET),
        verbs.targets,
        more="Sessions are those that it has now; in a group of protocol http they are requests under way.",
    ),
    Command("health", "What a target's last probes said, one by one.", (_TARGET,), verbs.health),
    Command("listeners", "Where nlb listens and what came in.", (), verbs.listeners),
    Command(
        "certs",
        "Certificates of listeners: names, key, until when, file.",
        (_ONE_LISTENER,),
        verbs.certs,
        more="The default, for clients that ask for no name that another has, is marked with a star.",
    ),
    Command(
        "drain",
        "Give a target no new work; its sessions may finish in a time.",
        (
            _TARGET,
            Param(
                "timeout",
                "Time to finish, like 30m or 300 (seconds). Default: the group's deregistration_delay.",
                parse_duration,
                "TIME",
            ),
            _FOR,
            _REASON,
        ),
        verbs.drain,
        changes=True,
    ),
    Command(
        "ready", "Give a drained target, or one in maint, work again.", (_TARGET, _REASON), verbs.ready, changes=True
    ),
    Command(
        "maint",
        "Take a target out for maintenance, until it is made ready.",
        (_TARGET, _FOR, _REASON),
        verbs.maint,
        changes=True,
    ),
    Command(
        "weight",
        "Change a target's share of new work.",
        (
            _TARGET,
            Param(
                "weight", f"0 (no new work) to {HEAVIEST}", whole(0, HEAVIEST), "WEIGHT", argument=True, required=True
            ),
            _FOR,
            _REASON,
        ),
        verbs.weight,
        changes=True,
    ),
    Command(
        "target add",
        "Add a target to a group; reloads and restarts keep it.",
        (
            replace(_GROUP, required=True),
            Param(
                "target",
                "its name and address; HOST:PORT alone, or HOST where the group has a port, will do",
                read_name,
                "NAME=HOST:PORT",
                argument=True,
                required=True,
            ),
            Param("weight", f"Its share of new work, 0 to {HEAVIEST}.", whole(0, HEAVIEST), "WEIGHT", default=1),
            _FOR,
            _REASON,
        ),
        verbs.add_target,
        changes=True,
        slow=True,
    ),
    Command(
        "target remove",
        "Take a target out of its group; its sessions may finish.",
        (_TARGET, _FOR, _REASON),
        verbs.remove_target,
        changes=True,
        slow=True,
    ),
    Command("overrides", "What operators changed at run time: who, when, why, until.", (), verbs.overrides),
    Command(
        "block",
        "Refuse an address or a network, and cut what it has open.",
        (_NETWORK, _KEEP, _FOR, _REASON),
        verbs.block,
        changes=True,
        more="It holds at every listener, and over restarts; what is open is reset within a second. An IPv6 address "
        "alone is rarely enough: who has it has the /64 around it.",
    ),
    Command(
        "unblock",
        "Lift the block of an address or a network, and of all in it.",
        (_NETWORK,),
        verbs.unblock,
        changes=True,
    ),
    Command(
        "blocked",
        "Who is blocked: by whom, until when, why.",
        (Param("limit", "How many, at most.", whole(1, MOST_BLOCKS), "COUNT", default=100),),
        verbs.blocked,
        more="By an operator, or for `offences` that a listener's shield counts.",
    ),
    Command(
        "reload", "Make the config file's present text the running config.", (), verbs.reload, changes=True, slow=True
    ),
    Command("config", "The running config, or how a file differs from it.", (), verbs.config),
    Command(
        "sessions",
        "Who is connected to what, now.",
        (
            Param("limit", "How many sessions, at most.", whole(1, MOST_SESSIONS), "COUNT", default=100),
            _ONE_TARGET,
            _ONE_LISTENER,
        ),
        verbs.sessions,
    ),
    Command(
        "requests",
        "What rules of http listeners did, by the answers' status.",
        (_ONE_LISTENER,),
        verbs.requests,
        more="`none` are those whose client left before it had an answer. Below, requests that had something odd about "
        "them; `nlb ctl errors` says how requests ended.",
    ),
    Command("errors", "How sessions and requests ended, what each ending means.", (_ONE_LISTENER,), verbs.errors),
    Command(
        "events",
        "What happened: targets, groups, workers, operators, reloads.",
        (
            Param("limit", "How many events, at most.", whole(1, MOST_EVENTS), "COUNT", default=50),
            Param("kind", f"Only those about this: {', '.join(KINDS)}.", one_of(KINDS), "KIND", words=KINDS),
            Param("after", "Only those after this one, by its `at` in --json.", read_number, "AT"),
        ),
        verbs.events,
    ),
    Command(
        "watch",
        "Sessions and rates of listeners and targets, every second.",
        (_GROUP, Param("limit", "How many targets, at most.", whole(1, MOST_TARGETS), "COUNT", default=100)),
        verbs.watch,
    ),
)

COMMANDS: dict[str, Command] = {command.verb: command for command in _ALL}

# What is a command of `nlb` itself, and none of `nlb ctl`.
_EXPLAIN = Command(
    "explain",
    "What becomes of a request, and why.",
    (
        Param(
            "url",
            "what a client would ask for, such as http://api.example.com/v1/x, or tcp://HOST:PORT, or tls://HOST:PORT",
            read_url,
            "URL",
            argument=True,
            required=True,
        ),
        Param("method", "Of the request.", read_name, "METHOD", default="GET"),
        Param("header", "A line of its head, 'Name: value'; as often as you like.", read_headers, "HEADER", many=True),
        Param(
            "alpn", "A protocol that the TLS client offers; as often as you like.", read_protocols, "NAME", many=True
        ),
        Param("source", "The address of the client: IP or IP:PORT.", read_source, "ADDRESS"),
        replace(_ONE_LISTENER, help="At this listener. Default: the one on the URL's port, or the only one."),
    ),
    verbs.explain,
)
APART: dict[str, Command] = {_EXPLAIN.verb: _EXPLAIN}
