"""What listeners and groups that speak http or https have beside what others have: header names and values, networks,
edits of headers, stickiness, error pages; and which keys those are.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator, field_validator
from pydantic import ValidationInfo as Info

from nlb.model import limits, values
from nlb.model.table import Table
from nlb.model.units import format_duration
from nlb.model.values import text

# Keys that listeners and groups of tcp and tls do not have.
LISTENER_KEYS = (
    *("desync", "x_forwarded", "forwarded", "via", "request_id", "traceparent", "reason_header", "header_timeout"),
    *("tunnel_timeout", "min_body_rate", "min_body_rate_after", "max_body", "error_pages", "access_log_except"),
)
GROUP_KEYS = (
    *("stickiness", "request_headers", "response_headers", "response_timeout", "tunnel_timeout"),
    *("pool_size", "pool_timeout", "retry_budget"),
)

# What nlb itself answers, and so may have a page of the operator's.
ANSWERED = (400, 403, 405, 408, 413, 414, 417, 429, 431, 501, 502, 503, 504, 505)

# Bytes. A page with its pictures inside; every worker holds it.
LARGEST_PAGE = 64 << 10

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
_LONGEST_NAME = 256
_LONGEST_VALUE = 4096

_FRAMING = "nlb frames each message anew; leave it out"
_HOP = "it is about one connection and never passed on; leave it out"
_NEITHER = {
    **dict.fromkeys(("content-length", "transfer-encoding"), _FRAMING),
    **dict.fromkeys(("connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"), _HOP),
}
_OF_REQUESTS = {
    **_NEITHER,
    **dict.fromkeys(("x-forwarded-for", "x-forwarded-proto", "x-forwarded-port"), "write x_forwarded in the listener"),
    **{name: f"write {key} in the listener" for name, key in (
        ("forwarded", "forwarded"), ("via", "via"), ("x-request-id", "request_id"), ("traceparent", "traceparent")
    )},
    "expect": "whether a client waits with its body is between it and the target; leave it out",
}  # fmt: skip
_OF_RESPONSES = {**_NEITHER, "x-nlb-reason": "write reason_header in the listener"}


def token(value: object, what: str, example: str) -> str:
    """What RFC 9110 calls one: the names of methods, headers and cookies."""
    said = text(value)
    if not _TOKEN.fullmatch(said) or len(said) > _LONGEST_NAME:
        raise ValueError(f"'{said}' is not the name of a {what}; write one such as {example}")
    return said


def header_name(value: object) -> str:
    return token(value, "header", "X-Debug")


def header_value(value: object) -> str:
    said = text(value)
    if len(said) > _LONGEST_VALUE:
        raise ValueError(f"a value may have {_LONGEST_VALUE} characters, this one has {len(said)}")
    if said != said.strip(" \t"):
        raise ValueError("begins or ends with a blank, which no header keeps; write it without")
    if not _HEADER_VALUE.fullmatch(said):
        raise ValueError("has a character that no header may have; write ASCII on one line")
    return said


def _allowed(value: object, ours: Mapping[str, str]) -> str:
    name = header_name(value)
    if why := ours.get(name.lower()):
        raise ValueError(f"{name} is not for you to change: {why}")
    return name


def request_header(value: object) -> str:
    return _allowed(value, _OF_REQUESTS)


def removed_request_header(value: object) -> str:
    name = request_header(value)
    if name.lower() == "host":
        raise ValueError("every request needs a Host; write another in `set`, or leave it out")
    return name


def response_header(value: object) -> str:
    return _allowed(value, _OF_RESPONSES)


def network(value: object) -> str:
    """The one spelling of a network, with its length; an address is a network of its own."""
    said = text(value)
    address, slash, length = said.partition("/")
    try:
        ip = ipaddress.ip_address(address)
        bits = int(length) if length.isascii() and length.isdecimal() and len(length) < 4 else -1
    except ValueError:
        raise ValueError(f"'{said}' is not a network; write one such as 10.0.0.0/8 or 2001:db8::/32") from None
    bits = bits if slash else ip.max_prefixlen
    if not 0 <= bits <= ip.max_prefixlen:
        raise ValueError(f"/{length} is not the length of an IPv{ip.version} network; write 0-{ip.max_prefixlen}")
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            raise ValueError(f"'{said}' names an interface; write it without %{ip.scope_id}")
        if ip.ipv4_mapped and bits >= 96:
            raise ValueError(f"'{said}' is an IPv4 network in disguise; write {ip.ipv4_mapped}/{bits - 96}")
    right = ipaddress.ip_network(f"{ip}/{bits}", strict=False)
    if right.network_address != ip:
        raise ValueError(f"'{said}' has bits behind its length; write {right}, or {ip} for one address")
    return str(right)


def error_status(value: object) -> int:
    """The key of a table, so it comes as text."""
    said = str(value)
    if said not in map(str, ANSWERED):
        known = ", ".join(map(str, ANSWERED))
        raise ValueError(f"'{said}' is no status that nlb answers with by itself; those are {known}")
    return int(said)


def file(value: object) -> str:
    path = text(value)
    if not path.startswith("/") or not path.isprintable() or len(path) > 1024:
        raise ValueError(f"'{path}' must be the absolute path of a file, such as /etc/nlb/502.html")
    return path


def twice(names: Iterable[str]) -> str | None:
    """A name that is there again, in whatever case."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            return name
        seen.add(name.lower())
    return None


HeaderName = Annotated[str, PlainValidator(header_name)]
HeaderValue = Annotated[str, PlainValidator(header_value)]
Network = Annotated[str, PlainValidator(network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(values.one_or_many), Field(max_length=limits.NETWORKS)]
ErrorPages = Annotated[
    dict[Annotated[int, PlainValidator(error_status)], Annotated[str, PlainValidator(file)]], Field(max_length=64)
]

_ToRequest = Annotated[str, PlainValidator(request_header)]
_OffRequest = Annotated[str, PlainValidator(removed_request_header)]
_Response = Annotated[str, PlainValidator(response_header)]
_OneOrMany = BeforeValidator(values.one_or_many)


class _Edits(Table):
    """What is done to the headers of each message. `set` replaces whatever has the name."""

    @field_validator("set", "remove", check_fields=False)
    @classmethod
    def _once(cls, value: Iterable[str], info: Info) -> Iterable[str]:
        if name := twice(value):
            raise ValueError(f"{name} is given twice; the case of letters does not matter")
        both = {name.lower() for name in info.data.get("set", ())} if info.field_name == "remove" else set()
        if name := next((name for name in value if name.lower() in both), None):
            raise ValueError(f"{name} is in `set` too, which replaces it; write it in one of them")
        return value


class RequestHeaders(_Edits):
    set: dict[_ToRequest, HeaderValue] = Field(default={}, max_length=limits.VALUES)
    remove: Annotated[tuple[_OffRequest, ...], _OneOrMany] = Field(default=(), max_length=limits.VALUES)


class ResponseHeaders(_Edits):
    set: dict[_Response, HeaderValue] = Field(default={}, max_length=limits.VALUES)
    remove: Annotated[tuple[_Response, ...], _OneOrMany] = Field(default=(), max_length=limits.VALUES)


class Stickiness(Table):
    """A client comes back to its target: by a cookie of ours, or as long as it has the application's own."""

    type: Literal["lb_cookie", "app_cookie"]
    # A day, as AWS: a session of people; and their bounds.
    duration: Annotated[float, values.duration(1, 604800)] = 86400.0
    cookie: str | None = None  # nlb- and the group's name, so that groups of one host do not take each other's
    name: str | None = Field(default=None, validate_default=True)  # the application's

    @field_validator("cookie", mode="plain")
    @classmethod
    def _of_ours(cls, value: object, info: Info) -> str | None:
        if value is None:
            return None
        if info.data.get("type") == "app_cookie":
            raise ValueError('is for type = "lb_cookie"; the cookie of the application is `name`')
        return token(value, "cookie", "NLB")

    @field_validator("name", mode="plain")
    @classmethod
    def _of_the_application(cls, value: object, info: Info) -> str | None:
        kind_of = info.data.get("type")
        if value is None:
            if kind_of == "app_cookie":
                raise ValueError('the cookie of the application is missing; write name = "SESSIONID" beside the type')
            return None
        if kind_of == "lb_cookie":
            raise ValueError('is for type = "app_cookie"; the name of nlb\'s own cookie is `cookie`')
        return token(value, "cookie", "SESSIONID")

    def __str__(self) -> str:
        named = self.name or self.cookie
        return f"{self.type}{f' {named}' if named else ''} for {format_duration(self.duration)}"
