"""What the shield refuses: [shield] for all listeners, and [listener.shield], which overrides it key by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    field_validator,
    model_serializer,
)
from pydantic import SerializerFunctionWrapHandler as Inner
from pydantic import ValidationInfo as Info

from nlb.model import conditions, limits, values
from nlb.model.http import twice
from nlb.model.nearest import did_you_mean
from nlb.model.network_list import NetworkFile, NetworkList, Networks
from nlb.model.rate import Rate, rate
from nlb.model.table import Table
from nlb.model.units import format_duration
from nlb.model.values import duration, kind, size, text, whole

_DAY, _MONTH = 86400.0, 30 * 86400.0

# What counts towards a block. shield/offences.py says what each means.
OFFENCES = (
    *("bad_head", "severe", "ambiguous", "rate", "source_limit", "path", "method", "timeout", "tls_alert"),
    "bad_proxy_header",
)

# What no honest client does, or not so often.
_WORST = ("bad_head", "severe", "rate", "path", "tls_alert")

# How a request may be refused for its rate: slow down, go away, come back later.
REFUSALS = (403, 429, 503)


def offence(value: object) -> str:
    said = text(value)
    if said not in OFFENCES:
        raise ValueError(f"'{said}' is not counted; write one of {', '.join(OFFENCES)}{did_you_mean(said, OFFENCES)}")
    return said


def _once(words: tuple[str, ...]) -> tuple[str, ...]:
    if word := twice(words):
        raise ValueError(f"{word} is given twice")
    return words


def refusal(value: object) -> int:
    if not values.is_whole(value) or value not in REFUSALS:
        known = ", ".join(map(str, REFUSALS))
        shown = values.digits(value) if values.is_whole(value) else kind(value)
        raise ValueError(f"must be one of the statuses {known}; this is {shown}")
    assert isinstance(value, int)
    return value


_OneOrMany = BeforeValidator(values.one_or_many)
_Rate = Annotated[Rate, PlainValidator(rate), PlainSerializer(str)]
_Methods = Annotated[
    tuple[Annotated[str, PlainValidator(conditions.method)], ...], _OneOrMany, Field(max_length=limits.VALUES)
]
_Count = Annotated[int, whole(1, 10_000_000)]
_Offences = Annotated[
    tuple[Annotated[str, PlainValidator(offence)], ...], _OneOrMany, Field(min_length=1), AfterValidator(_once)
]


class RequestRate(Table):
    """How often a source may send requests that fit. Conditions are those of rules."""

    path: conditions.Paths = ()
    method: conditions.Methods = ()
    host: conditions.Hosts = ()
    per: Literal["source"] = "source"  # who does too much is held, and nobody else
    rate: _Rate
    status: Annotated[int, PlainValidator(refusal)] = 429  # with Retry-After, which honest clients heed

    @model_serializer(mode="wrap")
    def _what_is_there(self, inner: Inner) -> dict[str, Any]:
        """Not the conditions that it does not have: an empty list is a mistake in a file."""
        data: dict[str, Any] = inner(self)
        return {key: value for key, value in data.items() if value not in ([], ())}

    def __str__(self) -> str:
        asked = [f"{key} {' or '.join(wanted)}" for key in ("path", "method", "host") if (wanted := getattr(self, key))]
        return f"{self.rate} of {', '.join(asked) or 'all requests'}: {self.status}"


class Block(Table):
    """After so many offences a source is shut out for a while."""

    # A broken client tries a few times, a scanner does not stop. 0 is never, for a listener beside others.
    after: Annotated[int, whole(0, 1_000_000)] = 20
    of: _Offences = _WORST
    within: Annotated[float, duration(1, _DAY)] = 60.0  # as patient as people are
    time: Annotated[float, duration(1, _MONTH)] = Field(default=600.0, alias="for")  # addresses get other owners

    def __str__(self) -> str:
        if not self.after:
            return "never"
        many = f"{self.after} of {', '.join(self.of)} within {format_duration(self.within)}"
        return f"after {many} for {format_duration(self.time)}"


class ShieldHttp(Table):
    """What is refused of requests."""

    methods: _Methods = ()  # any: the application knows its own
    max_body: Annotated[int, size(0, 1 << 50)] | None = None  # as the listener's; the smaller counts
    deny_path: conditions.AnyPaths = ()
    # Yes, once a path is denied: it could be written in many ways.
    normalise_path: values.Flag = Field(default=None, validate_default=True)

    @field_validator("normalise_path", mode="before")
    @classmethod
    def _where_it_matters(cls, value: object, info: Info) -> object:
        return bool(info.data.get("deny_path")) if value is None else value

    def __str__(self) -> str:
        told = [f"methods {', '.join(self.methods)}"] if self.methods else []
        told += [f"bodies up to {self.max_body} bytes"] if self.max_body is not None else []
        told += [f"denies {_count(len(self.deny_path), 'path')}"] if self.deny_path else []
        told += ["paths as targets read them"] if self.normalise_path and not self.deny_path else []
        return ", ".join(told)


class Listing(NamedTuple):
    """What `deny` or `allow` comes to: the networks that are written there, and those of files."""

    written: tuple[str, ...]
    files: tuple[NetworkList, ...]

    @property
    def size(self) -> int:
        return len(self.written) + sum(map(len, self.files))

    @property
    def everybody(self) -> str:
        """The network that is everybody, if it is there."""
        written = next((network for network in self.written if network.endswith("/0")), "")
        return written or next((found for file in self.files if (found := file.everybody)), "")


class Shield(Table):
    """That of a listener has what [shield] says wherever it says nothing itself, once the file is read; what is its own
    is in `model_fields_set`."""

    mode: Literal["enforce", "monitor"] = "enforce"  # who writes a limit wants it
    deny: Networks = ()
    allow: Networks = ()  # everybody; who has one there has nobody else
    max_connections: _Count | None = None  # as the listener's; the smaller counts
    max_connections_per_source: _Count | None = None  # whole companies have one address
    connection_rate_per_source: _Rate | None = None
    request_rate: Annotated[tuple[RequestRate, ...], _OneOrMany, Field(max_length=limits.RATES)] = ()
    block: Block | None = None
    http: ShieldHttp = ShieldHttp()

    # Path of a file in `deny` or `allow` -> what it has, once somebody who may read files has read it.
    _lists: dict[str, NetworkList] = PrivateAttr(default_factory=dict)

    @property
    def denied(self) -> Listing:
        """All networks of `deny`, those in files too."""
        return self._listing(self.deny)

    @property
    def allowed(self) -> Listing | None:
        """The same of `allow`; None is everybody, and an empty file is nobody."""
        return self._listing(self.allow) if self.allow else None

    @property
    def files(self) -> tuple[str, ...]:
        """Those that have its networks, each once."""
        paths = (item.path for item in (*self.deny, *self.allow) if isinstance(item, NetworkFile))
        return tuple(dict.fromkeys(paths))

    @property
    def lists(self) -> Mapping[str, NetworkList]:
        return self._lists

    def with_lists(self, lists: Mapping[str, NetworkList]) -> Shield:
        """A copy that has what is in its files."""
        copy = self.model_copy()
        copy._lists = {path: lists[path] for path in self.files}
        return copy

    def __str__(self) -> str:
        many = {"max_connections": "{} connections of a listener", "max_connections_per_source": "{} of a source"}
        many["connection_rate_per_source"] = "{} new ones of a source"
        told = [f"denies {_count(self.denied.size, 'network')}"] if self.deny else []
        told += [f"allows {_count(self.allowed.size, 'network')} and nobody else"] if self.allowed is not None else []
        told += [text.format(limit) for key, text in many.items() if (limit := getattr(self, key)) is not None]
        told += [f"requests {limit}" for limit in self.request_rate]
        told += [f"blocks {self.block}"] if self.block and self.block.after else []
        told += [str(self.http)] if str(self.http) else []
        return ("would refuse: " if self.mode == "monitor" else "") + (", ".join(told) or "refuses nothing")

    def over(self, base: Shield) -> Shield:
        """What holds for a listener that says this, where `base` is said for all."""
        merged: Shield = _over(self, base)
        return merged

    def _listing(self, items: tuple[str | NetworkFile, ...]) -> Listing:
        written = tuple(item for item in items if isinstance(item, str))
        files = [item for item in items if isinstance(item, NetworkFile)]
        return Listing(written, tuple(self._lists.get(file.path, NetworkList()) for file in files))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _over(own: Any, base: Any) -> Any:
    """Tables key by key, and tables in them likewise; only what is the own's counts as written. Read anew, because a
    default may depend on another key."""
    said = {key: getattr(base, key) for key in base.model_fields_set} | {
        key: getattr(own, key) for key in own.model_fields_set
    }
    if "http" in own.model_fields_set & base.model_fields_set:
        said["http"] = _over(own.http, base.http)
    read = type(own).model_validate(said)
    return type(own).model_construct(set(own.model_fields_set), **read.__dict__)
