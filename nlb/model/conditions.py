"""What a rule may ask of a request: the types of its conditions. Patterns have `*` for any run of characters and `?`
for any one; a backslash before one of them means the character itself.
"""

from __future__ import annotations

import re
import warnings
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from nlb.model import limits, values
from nlb.model.http import Network, header_name, token, twice
from nlb.model.regex import too_slow
from nlb.model.values import text

# Characters of a pattern: of the longest that anybody types. Of a regular expression: AWS's.
_LONGEST = 1024
_LONGEST_REGEX = 128

_HOST = re.compile(r"(?:[a-z0-9_*?-]{1,63}\.)*[a-z0-9_*?-]{1,63}\.?|\[[0-9a-f:.*?]+\]")
_PORT = re.compile(r"[^:]*:[0-9*]+")
_VISIBLE = re.compile(r"[!-~]+")

# What requests have not when rules look at them.
_TAKEN_OUT = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")


def host(value: object) -> str:
    said = text(value).lower()
    if not said.isascii():
        raise ValueError(f"'{said}' is not ASCII; write the xn-- form of the name")
    if "://" in said:
        raise ValueError(f"'{said}' is a URL; write its host alone, such as api.example.com")
    if _PORT.fullmatch(said):
        raise ValueError(f"'{said}' has a port; write the host here, and the port as port = in the rule")
    if not _HOST.fullmatch(said) or len(said) > 254:
        raise ValueError(f"'{said}' is not a host; write one such as api.example.com or *.example.com")
    return said.removesuffix(".")


def path(value: object) -> str:
    said = text(value)
    if len(said) > _LONGEST:
        raise ValueError(f"a pattern may have {_LONGEST} characters, this one has {len(said)}")
    if not said.startswith(("/", "*")):
        better = f"/{said}" if _VISIBLE.fullmatch(said) and "://" not in said else "/v1/*"
        raise ValueError(f"'{said}' begins neither with / nor with *, so it fits no path; write {better}")
    if not _VISIBLE.fullmatch(said):
        raise ValueError(f"'{said}' has a character that no path has; write it as clients send it, %20 for a space")
    if "#" in said:
        raise ValueError(f"'{said}' has a #, and clients keep what begins with it to themselves; leave it out")
    return said


def path_regex(value: object) -> str:
    """It is sought anywhere in the path, which is bytes."""
    said = text(value)
    if not 1 <= len(said) <= _LONGEST_REGEX:
        raise ValueError(f"a regular expression has 1-{_LONGEST_REGEX} characters; this has {len(said)}")
    if not said.isascii():
        raise ValueError(f"'{said}' is not ASCII, and paths are; write it as clients send it, %20 for a space")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of what the next Python reads otherwise
            re.compile(said.encode())
    except (re.error, Warning, OverflowError, RecursionError) as error:
        raise ValueError(f"'{said}' is not a regular expression: {error}") from None
    if why := too_slow(said):
        raise ValueError(f"'{said}' {why}")
    return said


def method(value: object) -> str:
    said = token(value, "method", "GET")
    if said != said.upper():
        raise ValueError(f"'{said}' is another method than {said.upper()}: case matters; write {said.upper()}")
    if said in ("CONNECT", "TRACE"):
        raise ValueError(f"{said} never comes to a rule, because nlb answers it with 405; leave it out")
    if len(said) > 32:
        raise ValueError(f"a method has at most 32 characters, this one has {len(said)}")
    return said


def header(value: object) -> str:
    """The name of one."""
    name = header_name(value)
    if name.lower() == "host":
        raise ValueError('Host has a condition of its own; write host = "api.example.com" in the rule')
    if name.lower() in _TAKEN_OUT:
        raise ValueError(f"{name} is about the connection to nlb and is taken out before rules look; leave it out")
    return name


def parameter(value: object) -> str:
    """The name of one in a query."""
    return _plain(value) or _refuse("the name of a parameter cannot be empty; write one such as version")


def _plain(value: object) -> str:
    said = text(value)
    if len(said) > _LONGEST:
        raise ValueError(f"may have {_LONGEST} characters, and this has {len(said)}")
    if not said.isprintable():
        raise ValueError("has a control character; write it without")
    return said


def _refuse(why: str) -> str:
    raise ValueError(why)


def _once(names: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    if name := twice(names):
        raise ValueError(f"{name} is given twice; the case of letters does not matter")
    return names


_OneOrMany = BeforeValidator(values.one_or_many)
_Some = Field(min_length=1, max_length=limits.VALUES)

Hosts = Annotated[tuple[Annotated[str, PlainValidator(host)], ...], _OneOrMany, _Some]
AnyPaths = Annotated[tuple[Annotated[str, PlainValidator(path)], ...], _OneOrMany, Field(max_length=limits.VALUES)]
Paths = Annotated[AnyPaths, Field(min_length=1)]
PathRegexes = Annotated[tuple[Annotated[str, PlainValidator(path_regex)], ...], _OneOrMany, _Some]
Methods = Annotated[tuple[Annotated[str, PlainValidator(method)], ...], _OneOrMany, _Some]
Sources = Annotated[tuple[Network, ...], _OneOrMany, Field(min_length=1, max_length=limits.NETWORKS)]
Ports = Annotated[tuple[values.Port, ...], _OneOrMany, _Some]
_Values = Annotated[tuple[Annotated[str, PlainValidator(_plain)], ...], _OneOrMany, _Some]
Headers = Annotated[dict[Annotated[str, PlainValidator(header)], _Values], _Some, AfterValidator(_once)]
Query = Annotated[dict[Annotated[str, PlainValidator(parameter)], _Values], _Some, AfterValidator(_once)]
