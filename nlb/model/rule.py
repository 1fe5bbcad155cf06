"""A rule of a listener: what it asks of a request, and the one thing that is done with a request that it fits. One of a
tcp listener asks what the client says before it encrypts, and forwards. Several values of a condition: any of them.
Several conditions: all of them. None: every request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field, PlainValidator, field_validator, model_serializer
from pydantic import SerializerFunctionWrapHandler as Inner
from pydantic import ValidationInfo as Info

from nlb.model import conditions, tls, values
from nlb.model.actions import FixedResponse, Forward, Redirect
from nlb.model.table import Table
from nlb.model.values import whole

# What comes after all rules, the listener's own target_group, is called in logs and metrics.
DEFAULT = "default"

# Between two rules without a priority; so one with a priority can be put between them.
STEP = 10

# Of a ClientHello that a tcp listener passes on, and of a request.
OF_HELLO = ("sni", "alpn")
OF_REQUEST = ("host", "path", "path_regex", "method", "header", "query", "source", "port")
CONDITIONS = (*OF_REQUEST, *OF_HELLO)
ACTIONS = ("forward", "redirect", "fixed_response")

# Groups of one rule, such as the steps of a canary. AWS has 5.
_GROUPS = 32

# Values of a condition that a line for people has.
_SHOWN = 5


def rule_name(value: object) -> str:
    word = values.name(value)
    if word == DEFAULT:
        raise ValueError(f"'{DEFAULT}' is what the listener's own target_group is called; write another name")
    return word


def read_forward(value: object) -> list[object]:
    """A group's name, a table, or a list of these: as a list of tables. What is neither stays, to be refused."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return [{"target_group": item} if isinstance(item, str) else item for item in items]


class Rule(Table):
    """`name` and `priority` are there once its listener is read; they depend on the rules beside it."""

    name: Annotated[str, PlainValidator(rule_name)] = ""  # its number in the order of priority, from 1
    priority: Annotated[int, whole(1, 1_000_000)] = 0  # STEP times its place in the file, so that this order holds
    host: conditions.Hosts = ()
    path: conditions.Paths = ()
    path_regex: conditions.PathRegexes = ()
    method: conditions.Methods = ()
    header: conditions.Headers = Field(default={})
    query: conditions.Query = Field(default={})
    source: conditions.Sources = ()
    port: conditions.Ports = ()
    sni: tls.Snis = ()
    alpn: tls.Alpns = ()
    forward: tuple[Forward, ...] = Field(default=(), min_length=1, max_length=_GROUPS)
    redirect: Redirect | None = None
    fixed_response: FixedResponse | None = Field(default=None, validate_default=True)

    @field_validator("forward", mode="before")
    @classmethod
    def _in_any_form(cls, value: object) -> object:
        return read_forward(value)

    @field_validator("forward")
    @classmethod
    def _to_somebody(cls, value: tuple[Forward, ...]) -> tuple[Forward, ...]:
        if not any(item.weight for item in value):
            raise ValueError("all weights are 0, so no group would get the request; write one above 0")
        seen = set[str]()
        for item in value:
            if item.target_group in seen:
                raise ValueError(f"{item.target_group} is there twice; `weight` gives it a bigger share")
            seen.add(item.target_group)
        return value

    @field_validator("redirect", "fixed_response", mode="before")
    @classmethod
    def _one_action(cls, value: object, info: Info) -> object:
        before = [key for key in ACTIONS[: ACTIONS.index(str(info.field_name))] if info.data.get(key)]
        if value is not None and before:
            raise ValueError(f"{before[0]} is there too, and a rule does one thing; write one of them")
        given = all(key in info.data for key in ACTIONS[:-1])  # else one is there and wrong, which is told
        if value is None and info.field_name == ACTIONS[-1] and given and not before:
            raise ValueError(
                'nothing is done; write forward = "web", redirect = { ... } or fixed_response = { status = 503 }'
            )
        return value

    @model_serializer(mode="wrap")
    def _what_is_there(self, inner: Inner) -> dict[str, Any]:
        """Not the conditions that it does not have: an empty list is a mistake in a file."""
        data: dict[str, Any] = inner(self)
        return {key: value for key, value in data.items() if value not in ([], {}, (), None)}

    @property
    def is_always(self) -> bool:
        """Every request fits."""
        return not any(getattr(self, key) for key in CONDITIONS)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of those that it forwards to."""
        return tuple(item.target_group for item in self.forward)

    @property
    def when(self) -> str:
        """Its conditions, for people."""
        return ", ".join(_conditions(self)) or "always"

    @property
    def then(self) -> str:
        """Its action, for people."""
        if self.redirect:
            return f"redirect {self.redirect}"
        if self.fixed_response:
            return f"answer {self.fixed_response}"
        total = sum(item.weight for item in self.forward)
        if len(self.forward) == 1:
            return f"group {self.forward[0].target_group}"
        shares = (f"{item.target_group} ({item.weight / total * 100:.3g} %)" for item in self.forward)
        return f"groups {', '.join(shares)}"


def _conditions(rule: Rule) -> Iterator[str]:
    for key in CONDITIONS:
        asked: Any = getattr(rule, key)
        if isinstance(asked, dict):
            yield from (f"{key} {name}: {_some(wanted)}" for name, wanted in asked.items())
        elif asked:
            yield f"{key} {_some(asked)}"


def _some(wanted: Sequence[object]) -> str:
    shown = " or ".join(str(value) for value in wanted[:_SHOWN])
    return shown + (f" or {len(wanted) - _SHOWN} more" if len(wanted) > _SHOWN else "")


def in_order(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules of a listener by priority, each with its name and priority in place. Priorities are as good as
    written once one of them is: a config that is dumped has the rules in this order."""
    given = tuple(rules)
    written = any("priority" in rule.model_fields_set for rule in given)
    placed = [(rule.priority or STEP * place, rule) for place, rule in enumerate(given, 1)]
    placed.sort(key=lambda item: item[0])
    return tuple(
        _with(rule, {"priority": priority, "name": rule.name or str(number)}, {"priority"} if written else set())
        for number, (priority, rule) in enumerate(placed, 1)
    )


def _with(rule: Rule, changes: dict[str, object], given: set[str]) -> Rule:
    """A changed copy; of the changes only those in `given` count as written."""
    return Rule.model_construct(rule.model_fields_set | given, **(rule.__dict__ | changes))
