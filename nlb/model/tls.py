"""TLS in the config: a listener's certificates and how it shakes hands, a group's way to its targets, and what clients
say of themselves before anything is encrypted (SNI, ALPN), which rules of tcp listeners may ask for.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, field_validator
from pydantic import ValidationInfo as Info

from nlb.model import conditions, limits, values
from nlb.model.health_check import ServerName
from nlb.model.table import Table
from nlb.model.values import duration, text

# Less than 10 ms would only measure our own scheduling.
_LEAST = 0.01
_FIVE_MINUTES = 300.0

_PROTOCOL_NAME = re.compile(r"[!-~]{1,255}")  # RFC 7301: one byte of length; all that are registered are visible

# Names of protocols in one list. Browsers offer two or three.
_PROTOCOLS = 32


def _path(value: object, what: str, example: str) -> str:
    path = text(value)
    if not path.startswith("/") or not path.isprintable() or len(path) > 1024:
        raise ValueError(f"'{path}' must be the absolute path of a {what}, such as {example}")
    return path


def certificate_file(value: object) -> str:
    return _path(value, "file", "/etc/nlb/www.pem")


def key_file(value: object) -> str:
    return _path(value, "file", "/etc/nlb/www.key")


def authority_file(value: object) -> str:
    return _path(value, "file", "/etc/nlb/ca.pem")


def folder(value: object) -> str:
    return _path(value, "folder", "/etc/nlb/certs").rstrip("/") or "/"


def protocol_name(value: object) -> str:
    """What ALPN calls a protocol: `h2`, `http/1.1`."""
    said = text(value)
    if not _PROTOCOL_NAME.fullmatch(said):
        raise ValueError(f"'{said}' is not the name of a protocol; write one such as h2 or http/1.1")
    return said


def sni(value: object) -> str:
    """A pattern for the name that a client asks for in its ClientHello."""
    try:
        said = conditions.host(value)
    except ValueError as error:
        raise ValueError(str(error).replace(", and the port as port = in the rule", "")) from None
    if said.startswith("["):
        raise ValueError(f"'{said}' is an address, and clients send names only; write one such as www.example.com")
    return said


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    if name := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise ValueError(f"{name} is given twice")
    return names


_OneOrMany = BeforeValidator(values.one_or_many)
_ProtocolName = Annotated[str, PlainValidator(protocol_name)]
_Authorities = Annotated[str, PlainValidator(authority_file)]

# In the order in which they are liked.
ProtocolNames = Annotated[tuple[_ProtocolName, ...], _OneOrMany, Field(max_length=_PROTOCOLS), AfterValidator(_once)]

# Conditions of a rule.
Snis = Annotated[
    tuple[Annotated[str, PlainValidator(sni)], ...], _OneOrMany, Field(min_length=1, max_length=limits.VALUES)
]
Alpns = Annotated[ProtocolNames, Field(min_length=1)]


class Certificate(Table):
    """A certificate with its chain and its key, or a folder of such pairs."""

    cert: Annotated[str, PlainValidator(certificate_file)] | None = None
    key: Annotated[str, PlainValidator(key_file)] | None = None  # in the same file
    directory: Annotated[str, PlainValidator(folder)] | None = Field(default=None, validate_default=True)

    @field_validator("key")
    @classmethod
    def _of_a_certificate(cls, value: str | None, info: Info) -> str | None:
        if value is not None and "cert" in info.data and info.data["cert"] is None:
            raise ValueError('is there without its certificate; write cert = "/etc/nlb/www.pem" beside it')
        return value

    @field_validator("directory")
    @classmethod
    def _one_of_both(cls, value: str | None, info: Info) -> str | None:
        cert = info.data.get("cert", "")  # "": there is one and it is wrong, which is told
        if value is not None and cert:
            raise ValueError(f"{cert} is there too; write each in a table of its own")
        if value is None and cert is None:
            raise ValueError('names no file; write { cert = "/etc/nlb/www.pem", key = "/etc/nlb/www.key" }')
        return value

    @property
    def place(self) -> str:
        """What it is known by."""
        return self.cert or self.directory or ""

    @property
    def key_place(self) -> str:
        """The file with the key of a single certificate."""
        return self.key or self.cert or ""

    def __str__(self) -> str:
        return f"{self.place} with {self.key}" if self.key else self.place


def _other_places(value: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
    _once(tuple(item.place for item in value))
    return value


Certificates = Annotated[
    tuple[Certificate, ...],
    _OneOrMany,
    Field(max_length=limits.CERTIFICATES),
    AfterValidator(_other_places),
]

NO_CERTIFICATES = (
    'certificates are missing; write certificates = [{ cert = "/etc/nlb/www.pem", key = "/etc/nlb/www.key" }]'
)


class ListenerTls(Table):
    """How a listener shakes hands."""

    # Mozilla's. intermediate: TLS 1.2 and 1.3, every client of the last ten years. modern: 1.3 alone.
    policy: Literal["intermediate", "modern"] = "intermediate"
    client_ca: _Authorities | None = None  # most clients are known by other means
    # required, once it is written who signs them: who writes that means it.
    client_auth: Literal["off", "optional", "required"] = Field(default=None, validate_default=True)
    alpn: ProtocolNames = ()  # https: http/1.1. tls: nothing is agreed on, since nobody knows what targets speak
    strict_sni: values.Flag = False  # who asks for no name of ours gets the first certificate, and can see why
    handshake_timeout: Annotated[float, duration(_LEAST, _FIVE_MINUTES)] = 10.0  # AWS's; it takes two round trips

    @field_validator("client_auth", mode="before")
    @classmethod
    def _where_it_can(cls, value: object, info: Info) -> object:
        if value is None:
            return "required" if info.data.get("client_ca") else "off"
        return value

    @field_validator("client_auth")
    @classmethod
    def _by_somebody(cls, value: str, info: Info) -> str:
        if value != "off" and info.data.get("client_ca", "") is None:
            raise ValueError(
                f"is {value}, and nothing says who must have signed the certificates of clients; "
                'write client_ca = "/etc/nlb/ca.pem" beside it'
            )
        return value


class TargetTls(Table):
    """How a group shakes hands with its targets."""

    verify: values.Flag = True  # else whoever answers at the address is believed
    ca: _Authorities | None = None  # whom this box trusts
    server_name: ServerName | None = None  # the target's own DNS name, or its address
    alpn: ProtocolNames = ()  # https: http/1.1. tls: as the listener does it, nothing is agreed on
