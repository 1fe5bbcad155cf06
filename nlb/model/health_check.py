"""The health check of a group: what is asked of each target, how often, and how many answers decide. Every key with
its default beside the reason for it, and the types of those keys that no other table has.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, field_validator
from pydantic import ValidationInfo as Info

from nlb.model import values
from nlb.model.nearest import did_you_mean
from nlb.model.table import Table
from nlb.model.units import format_duration
from nlb.model.values import duration, kind, text, whole

# Less than 10 ms would only measure our own scheduling.
_LEAST = 0.01
_HOUR, _DAY = 3600.0, 86400.0

HTTP = ("http", "https")
TLS = ("https", "tls")
TALK = ("tcp", "tls")

# Keys that only some protocols know; the others are for all.
USED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("path", "matcher", "method", "host", "headers"), HTTP),
    **dict.fromkeys(("send", "expect"), TALK),
    **dict.fromkeys(("tls_server_name", "tls_ca", "tls_verify"), TLS),
    "command": ("exec",),
}

# What stands for the target in the arguments of a program.
PLACEHOLDERS = ("host", "port", "address", "name", "group")

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(rf"({_HOST_NAME.pattern}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")
_OURS = {"host": "write host beside it", "connection": "it is always close"}
_OURS |= dict.fromkeys(("content-length", "transfer-encoding"), "a check sends no body")

# Characters of a request's headers, of a text to send or expect, and of one argument.
_LONGEST_HEADERS = 8192
_LONGEST_WORDS = 1024
_LONGEST_ARGUMENT = 4096
_MOST_ARGUMENTS = 64


def words(value: object) -> str:
    """What goes over the wire as it is: a byte per character."""
    said = text(value)
    if not 1 <= len(said) <= _LONGEST_WORDS:
        raise ValueError(f"must have 1-{_LONGEST_WORDS} characters; this has {len(said)}")
    if alien := [character for character in said if character > "\xff"]:
        raise ValueError(f"{alien[0]!r} is no single byte; write bytes as \\u0000 to \\u00ff")
    return said


def host(value: object) -> str:
    """What a Host header may say: a name or an address, perhaps with a port."""
    said = text(value)
    match = _HOST.fullmatch(said)
    if match is None or len(match[1]) > 253:
        raise ValueError(f"'{said}' is not a host to ask for; write one such as www.example.org or 10.0.0.11:3000")
    return said


def server_name(value: object) -> str:
    """Whose certificate it must be."""
    said = text(value)
    try:
        return str(ipaddress.ip_address(said))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(said) or len(said) > 253:
        raise ValueError(f"'{said}' is neither a host name nor an IP address; write one such as www.example.org")
    return said


def headers(value: object) -> tuple[tuple[str, str], ...]:
    """Names and values, from a table of them."""
    if not isinstance(value, dict):
        raise ValueError(f'must be a table such as {{ X-Probe = "nlb" }}; this is {kind(value)}')
    seen: set[str] = set()
    for name, said in value.items():
        low = name.lower()
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"'{name}' is not the name of a header; write one such as X-Probe")
        if low in _OURS:
            raise ValueError(f"{name} is not for you to set: {_OURS[low]}")
        if low in seen:
            raise ValueError(f"{name} is given twice; the case of letters does not matter")
        if not isinstance(said, str):
            raise ValueError(f"the value of {name} must be text in quotes; this is {kind(said)}")
        if not _HEADER_VALUE.fullmatch(said):
            raise ValueError(f"the value of {name} has a character that no header may have")
        seen.add(low)
    if (size := sum(len(name) + len(said) for name, said in value.items())) > _LONGEST_HEADERS:
        raise ValueError(f"{size} characters are too many; there is room for {_LONGEST_HEADERS}")
    return tuple(value.items())


def certificates(value: object) -> str:
    """A file of certificates in PEM form."""
    path = text(value)
    if not path.startswith("/") or not path.isprintable() or len(path) > 1024:
        raise ValueError(f"'{path}' must be the absolute path of a file, such as /etc/ssl/ca.pem")
    return path


def program(value: object) -> tuple[str, ...]:
    """A program and its arguments. No shell ever reads them."""
    example = 'write ["/usr/lib/nlb/check-pg", "{host}", "{port}"]'
    if not isinstance(value, list) or not value:
        this = "an empty list" if isinstance(value, list) else kind(value)
        raise ValueError(f"must be a list, the program and its arguments; no shell reads it; {example}; this is {this}")
    if len(value) > _MOST_ARGUMENTS:
        raise ValueError(f"{len(value)} arguments are too many; there is room for {_MOST_ARGUMENTS}")
    path, *arguments = [text(item) for item in value]
    if not path.startswith("/") or not path.isprintable():
        raise ValueError(f"'{path}' must be the absolute path of a program, such as /usr/lib/nlb/check-pg")
    for argument in (path, *arguments):
        if "\0" in argument or len(argument) > _LONGEST_ARGUMENT:
            raise ValueError(f"an argument has no zero byte and at most {_LONGEST_ARGUMENT} characters")
    for name in _PLACEHOLDER.findall(" ".join(arguments)):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            raise ValueError(f"{{{name}}} stands for nothing{did_you_mean(name, PLACEHOLDERS)}; there are {known}")
    return (path, *arguments)


def _shown(said: str) -> str:
    return f"'{said.encode('unicode_escape').decode()}'"


Words = Annotated[str, PlainValidator(words)]
Host = Annotated[str, PlainValidator(host)]
ServerName = Annotated[str, PlainValidator(server_name)]
Headers = Annotated[tuple[tuple[str, str], ...], PlainValidator(headers), PlainSerializer(dict)]
Certificates = Annotated[str, PlainValidator(certificates)]
Program = Annotated[tuple[str, ...], BeforeValidator(program)]


class HealthCheck(Table):
    """The question asked of each target. `timeout` and `fast_interval` never default to more than the interval."""

    protocol: Literal["tcp", "tls", "http", "https", "exec", "none"] = "tcp"
    # A dead target is out after three of these; 1,000 targets cost 500 probes a second.
    interval: Annotated[float, duration(_LEAST, _HOUR)] = 2.0
    # 0.5 s; while results change, certainty is worth more than quiet.
    fast_interval: Annotated[float, duration(_LEAST, _HOUR)] = Field(default=None, validate_default=True)
    # 2 s; probes of one target never overlap, so none may take longer than the interval.
    timeout: Annotated[float, duration(_LEAST, _HOUR)] = Field(default=None, validate_default=True)
    rise: Annotated[int, whole(1, 100)] = 2  # one pass may be luck
    fall: Annotated[int, whole(1, 100)] = 3  # one failure may be a lost packet, two a slow moment
    # The third failure in the window begins a hold: one restart, or two, are none of our business.
    flap_limit: Annotated[int, whole(0, 100)] = 5
    flap_window: Annotated[float, duration(1, _DAY)] = 300.0  # a crash loop fails several times in it
    port: values.Port | None = None  # the traffic's own
    path: values.HttpPath = "/"  # every web server answers it
    matcher: values.Statuses = values.matcher("200-399")  # what a browser would show or follow
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"  # the one that everybody implements
    host: Host | None = None  # the address that is asked
    headers: Headers = ()
    send: Words | None = None
    expect: Words | None = None  # then a connection is enough
    tls_server_name: ServerName | None = Field(default=None, validate_default=True)  # the name in `host`
    tls_ca: Certificates | None = None  # whom this box trusts
    # Yes, once it is known whose certificate it must be, or by whom: few are for a bare address.
    tls_verify: values.Flag = Field(default=None, validate_default=True)
    command: Program | None = Field(default=None, validate_default=True)

    @property
    def question(self) -> str:
        """What is asked, for people."""
        port = f" on port {self.port}" if self.port else ""
        if self.protocol == "none":
            return "nothing"
        if self.protocol == "exec":
            return f"exec {' '.join(self.command or ())}{port}"
        if self.protocol in HTTP:
            method = "" if self.method == "GET" else f"{self.method} "
            return f"{self.protocol} {method}{self.path} for {self.matcher}{port}"
        said = f", send {_shown(self.send)}" if self.send else ""
        return f"{self.protocol} connect{port}{said}" + (f", expect {_shown(self.expect)}" if self.expect else "")

    @field_validator("fast_interval", "timeout", mode="before")
    @classmethod
    def _within_interval(cls, value: object, info: Info) -> object:
        if value is not None:
            return value
        return min({"fast_interval": 0.5, "timeout": 2.0}[str(info.field_name)], info.data.get("interval", 2.0))

    @field_validator("fast_interval", "timeout")
    @classmethod
    def _not_above_interval(cls, value: float, info: Info) -> float:
        interval = info.data.get("interval", value)
        if value > interval:
            raise ValueError(
                f"{format_duration(value)} is above the interval of {format_duration(interval)}; "
                "write at most the interval"
            )
        return value

    @field_validator("tls_server_name", mode="before")
    @classmethod
    def _the_name_in_host(cls, value: object, info: Info) -> object:
        match = _HOST.fullmatch(info.data.get("host") or "")
        return match[1].strip("[]") if value is None and match else value

    @field_validator("tls_verify", mode="before")
    @classmethod
    def _where_it_can(cls, value: object, info: Info) -> object:
        known = info.data.get("tls_server_name") or info.data.get("tls_ca")
        return bool(known) if value is None else value

    @field_validator("command", mode="before")
    @classmethod
    def _needed_by_exec(cls, value: object, info: Info) -> object:
        if value is None and info.data.get("protocol") == "exec":
            raise ValueError(
                'protocol is exec, and no command is there; write command = ["/usr/lib/nlb/check-pg", "{host}"]'
            )
        return value
