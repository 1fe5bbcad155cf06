"""A listener: addresses that the public connects to, what is spoken there, and where sessions and requests go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_serializer
from pydantic import SerializerFunctionWrapHandler as Inner
from pydantic import ValidationInfo as Info

from nlb.model import conditions, http, limits, values
from nlb.model.address import Address
from nlb.model.protocols import ENCRYPTED, HTTP, Protocol, of_requests, of_tls
from nlb.model.rule import Rule, in_order
from nlb.model.shield import Shield
from nlb.model.table import Table
from nlb.model.tls import NO_CERTIFICATES, Certificates, ListenerTls
from nlb.model.values import duration, size, whole

# Less than 10 ms would only measure our own scheduling.
_LEAST = 0.01
_HOUR, _WEEK = 3600.0, 604800.0

# What the shield says of requests.
_OF_REQUESTS = ("request_rate", "http")

_Relayed = Literal["append", "replace", "preserve", "remove"]


class Listener(Table):
    """`rules` are in the order in which they are tried."""

    binds: Annotated[tuple[values.Bind, ...], BeforeValidator(values.one_or_many)] = Field(
        alias="bind", max_length=limits.BINDS
    )
    name: values.Name = Field(default=None, validate_default=True)  # its first bind
    protocol: Protocol = "tcp"  # whatever is spoken, it passes
    certificates: Certificates = Field(default=None, validate_default=True)  # none but where TLS is spoken
    tls: ListenerTls = ListenerTls()
    proxy_protocol: Literal["none", "accept"] = "none"  # most listeners are met by clients themselves
    # Anybody can write a PROXY header or X-Forwarded-For, so nobody is believed unasked.
    trusted_proxies: http.Networks = Field(default=None, validate_default=True)
    proxy_header_timeout: Annotated[float, duration(_LEAST, _HOUR)] = 3.0  # the specification's: one packet lost
    target_group: values.Text = ""  # the only one there is; Config puts its name here
    rules: tuple[Rule, ...] = Field(default=(), alias="rule", max_length=limits.RULES)
    # What two servers could read differently is refused or closed after; all that honest clients send passes.
    desync: Literal["monitor", "defensive", "strictest"] = "defensive"
    x_forwarded: _Relayed = "append"  # what every application reads; as AWS ALB
    forwarded: _Relayed = "remove"  # few read it, and what a stranger wrote there must not pass for ours
    via: values.Flag = True  # RFC 9110 7.6.3 wants it of every gateway; it shows loops
    request_id: values.Flag = True  # one word for a request in all logs
    traceparent: values.Flag = True  # as well, where traces are kept
    reason_header: values.Flag = False  # strangers learn nothing of what is behind
    header_timeout: Annotated[float, duration(_LEAST, _HOUR)] = 10.0  # from the first byte: a head is one packet or two
    # tcp: AWS NLB's 350 s, to which operators tune their keep-alives. http: AWS ALB's 60 s, between two requests.
    idle_timeout: Annotated[float, duration(_LEAST, _WEEK)] = Field(default=None, validate_default=True)
    tunnel_timeout: Annotated[float, duration(_LEAST, _WEEK)] = 350.0  # as tcp: a WebSocket has no next request
    min_body_rate: Annotated[int, size(0, 1 << 30)] = 240  # bytes/s: a modem's; one who sends less keeps a place busy
    min_body_rate_after: Annotated[float, duration(0, _HOUR)] = 20.0  # a phone in a tunnel comes out again
    max_body: Annotated[int, size(0, 1 << 50)] | None = None  # bodies are not held, so the application decides
    error_pages: http.ErrorPages = Field(default={})
    max_connections: Annotated[int, whole(1, 10_000_000)] | None = None  # what the descriptors of the workers allow
    # http: who asks why a request failed needs it. tcp: a line per session is dear at 10,000 a second.
    access_log: values.Flag = Field(default=None, validate_default=True)
    access_log_except: conditions.AnyPaths = ()
    shield: Shield = Shield()  # what [shield] says; Config puts that here

    # Status -> what its file in error_pages has, once somebody who may read files has read them.
    _pages: dict[int, bytes] = PrivateAttr(default_factory=dict)
    # What the files of its certificates have, likewise. Renewed ones are no other config: all of these are equal.
    _identity: Any = PrivateAttr(default=None)

    @property
    def speaks_http(self) -> bool:
        return self.protocol in HTTP

    @property
    def is_encrypted(self) -> bool:
        return self.protocol in ENCRYPTED

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of all groups that it forwards to, the default first, each once."""
        names = {self.target_group: None}
        for rule in self.rules:
            for item in rule.forward:
                names[item.target_group] = None
        return tuple(names)

    @property
    def ports(self) -> frozenset[int]:
        """0 stands for one that is not known yet."""
        return frozenset(bind.port for bind in self.binds if not bind.is_unix)

    @property
    def pages(self) -> Mapping[int, bytes]:
        """The error pages: status -> bytes of the operator's file."""
        return self._pages

    def with_pages(self, pages: Mapping[int, bytes]) -> Listener:
        """A copy that has these."""
        copy = self.model_copy()
        copy._pages = dict(pages)
        return copy

    @property
    def identity(self) -> Any:
        """What it proves itself with; None where no file was read."""
        return self._identity

    def with_identity(self, identity: Any) -> Listener:
        """A copy that has this one."""
        copy = self.model_copy()
        copy._identity = identity
        return copy

    def with_shield(self, shield: Shield) -> Listener:
        """A copy that has this one; no key counts as written that was not."""
        copy = self.model_copy(update={"shield": shield})
        if "shield" not in self.model_fields_set:
            copy.model_fields_set.discard("shield")
        return copy

    @field_validator("binds")
    @classmethod
    def _some(cls, value: tuple[Address, ...]) -> tuple[Address, ...]:
        if not value:
            raise ValueError('there is no address to listen on; write bind = "0.0.0.0:80"')
        return value

    @field_validator("name", mode="before")
    @classmethod
    def _called_by_bind(cls, value: object, info: Info) -> object:
        return values.name_of(next(iter(info.data.get("binds", ())), None)) if value is None else value

    _needs_requests = field_validator(*http.LISTENER_KEYS, mode="before")(of_requests)
    _needs_tls = field_validator("tls", mode="before")(of_tls)

    @field_validator("certificates", mode="before")
    @classmethod
    def _where_they_are_shown(cls, value: object, info: Info) -> object:
        if value in (None, [], ()) and info.data.get("protocol") in ENCRYPTED:
            raise ValueError(NO_CERTIFICATES)
        return () if value is None else of_tls(value, info)

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _who_say_something(cls, value: object, info: Info) -> object:
        accepts = info.data.get("proxy_protocol") == "accept"
        binds = info.data.get("binds", ())
        if accepts and value in (None, [], ()) and not all(bind.is_unix for bind in binds):
            raise ValueError(
                "PROXY headers are accepted, and nothing says whose; write trusted_proxies = "
                '["10.0.0.0/8"], with the networks of the proxies in front'
            )
        if value is not None and not accepts and info.data.get("protocol") in ("tcp", "tls"):
            raise ValueError(
                "are believed about their clients where requests are read or PROXY headers are accepted; "
                'write proxy_protocol = "accept", or leave this out'
            )
        return () if value is None else value

    @field_validator("rules")
    @classmethod
    def _by_priority(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return in_order(value)

    @field_validator("idle_timeout", "access_log", mode="before")
    @classmethod
    def _as_is_usual(cls, value: object, info: Info) -> object:
        if value is not None:
            return value
        is_http = info.data.get("protocol") in HTTP
        return {"idle_timeout": 60.0 if is_http else 350.0, "access_log": is_http}[str(info.field_name)]

    @model_serializer(mode="wrap")
    def _what_it_speaks(self, inner: Inner) -> dict[str, Any]:
        """Every key, but not those that a file could not have."""
        data: dict[str, Any] = inner(self)
        alien = set[str]()
        if not self.speaks_http:
            alien.update(http.LISTENER_KEYS)
            for key in _OF_REQUESTS:
                data.get("shield", {}).pop(key, None)
            if self.proxy_protocol == "none":
                alien.add("trusted_proxies")
        if not self.is_encrypted:
            alien |= {"certificates", "tls"}
        if self.protocol == "tls":
            alien.add("rule")
        return {key: value for key, value in data.items() if key not in alien}
