"""What a rule does with a request that it fits: hand it to a group, send the client elsewhere, or answer it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, field_validator
from pydantic import ValidationInfo as Info

from nlb.model import conditions, values
from nlb.model.nearest import did_you_mean
from nlb.model.table import Table
from nlb.model.values import is_whole, kind, text, whole

# What a redirect may take from the request, as #{path}: AWS's words.
PLACEHOLDERS = ("protocol", "host", "port", "path", "query")

# Bytes: a page for people with its style inside. AWS has 1 KiB. More belongs on a server: every worker holds this.
LARGEST_BODY = 16 << 10

# Characters of one part of a redirect.
_LONGEST = 1024

_PLACEHOLDER = re.compile(r"#\{([^{}#]*)\}")
_LOCATION = re.compile(r"[A-Za-z0-9._~:/?@!$&'()*+,;=%|\[\]-]*")
_PARAMETER = r" *; *[!#$%&'*+.^_`|~0-9A-Za-z-]+=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|\"[ !#-\[\]-~]*\")"
_MEDIA_TYPE = re.compile(rf"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:{_PARAMETER})*")


def redirect_status(value: object) -> int:
    if value in (301, 302, 303, 307, 308) and is_whole(value):
        return int(str(value))
    this = f"'{value}'" if isinstance(value, str) else values.digits(value) if is_whole(value) else kind(value)
    raise ValueError(f"must be 301 or 308 (for good), 302 or 307 (for now) or 303 (go on with GET); this is {this}")


def _filled(said: str) -> str:
    """A template with an x in the place of what comes from the request."""
    for word in _PLACEHOLDER.findall(said):
        if word not in PLACEHOLDERS:
            known = ", ".join(f"#{{{known}}}" for known in PLACEHOLDERS)
            raise ValueError(f"#{{{word}}} stands for nothing{did_you_mean(word, PLACEHOLDERS)}; there are {known}")
    if len(said) > _LONGEST:
        raise ValueError(f"may have {_LONGEST} characters, and this has {len(said)}")
    rest = _PLACEHOLDER.sub("x", said)
    if "#" in rest:
        raise ValueError(f"'{said}' has a # that begins no word such as #{{path}}; write %23 for the character")
    if not _LOCATION.fullmatch(rest):
        raise ValueError(f"'{said}' has a character that no URL has; write %20 for a space, and so on")
    return rest


def redirect_host(value: object) -> str:
    said = text(value)
    try:
        host = conditions.host(_filled(said))
    except ValueError as error:
        raise ValueError(str(error).replace("in the rule", "beside it")) from None
    if "*" in host or "?" in host:
        raise ValueError(f"'{said}' is not one host; write one such as www.example.com or www.#{{host}}")
    return said.lower()


def redirect_port(value: object) -> str:
    if value == "#{port}":
        return "#{port}"
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 6:
        value = int(value)
    if not is_whole(value):
        raise ValueError(f'must be a port from 1 to 65535, or "#{{port}}" for the one asked; this is {kind(value)}')
    return str(values.port(value))


def redirect_path(value: object) -> str:
    said = text(value)
    rest = _filled(said)
    if not said.startswith("/"):
        raise ValueError(f"'{said}' does not begin with /, and #{{path}} comes without its own; write /{said}")
    if said.startswith("//"):
        raise ValueError(f"'{said}' begins with two slashes, after which browsers expect a host; write one")
    if "?" in rest:
        raise ValueError(f"'{said}' has a ?; write what comes after it as query = beside it")
    return said


def redirect_query(value: object) -> str:
    said = text(value)
    _filled(said)
    if said.startswith("?"):
        raise ValueError(f"'{said}' begins with ?, which comes by itself; write {said[1:]}")
    return said


def fixed_status(value: object) -> int:
    if not is_whole(value):
        raise ValueError(f"must be a status such as 503, without quotes; this is {kind(value)}")
    status = int(values.digits(value)) if values.digits(value).isdecimal() else 0
    if 300 <= status <= 399:
        raise ValueError(f"{status} would send clients elsewhere; write redirect = {{ status = 302, ... }} for that")
    if not (200 <= status <= 299 or 400 <= status <= 599):
        raise ValueError(f"{values.digits(value)} is outside the statuses of an answer, 200-299 and 400-599")
    return status


def media_type(value: object) -> str:
    said = text(value)
    if not _MEDIA_TYPE.fullmatch(said) or len(said) > 128:
        raise ValueError(f"'{said}' is not a content type; write one such as text/html or application/json")
    return said


def fixed_body(value: object) -> str:
    said = text(value)
    if (size := len(said.encode())) > LARGEST_BODY:
        raise ValueError(f"has {size} bytes, and there is room for {LARGEST_BODY}; a server can answer more")
    return said


class Forward(Table):
    """One of the groups of a rule, and its share."""

    target_group: values.Text
    weight: Annotated[int, whole(0, 999)] = 1  # equal shares; AWS's bounds


class Redirect(Table):
    """Where clients are sent. What is left out stays as they asked for it."""

    status: Annotated[int, PlainValidator(redirect_status)] = 302  # browsers keep 301 for good, mistakes too
    protocol: Literal["#{protocol}", "http", "https"] = "#{protocol}"
    host: Annotated[str, PlainValidator(redirect_host)] = "#{host}"
    port: Annotated[str, PlainValidator(redirect_port)] = "#{port}"  # of another protocol: that one's own
    path: Annotated[str, PlainValidator(redirect_path)] = "/#{path}"
    query: Annotated[str, PlainValidator(redirect_query)] = Field(default="#{query}", validate_default=True)

    @field_validator("query")
    @classmethod
    def _elsewhere(cls, value: str, info: Info) -> str:
        same = {name: field.default for name, field in cls.model_fields.items() if name != "status"}
        if info.data | {"query": value} == same | {"status": info.data.get("status")}:
            raise ValueError("leads back to where it comes from; write another protocol, host, port, path or query")
        return value

    def __str__(self) -> str:
        port = "" if self.port == "#{port}" else f":{self.port}"
        query = {"#{query}": "", "": ", without a query"}.get(self.query, f"?{self.query}")
        return f"{self.status} to {self.protocol}://{self.host}{port}{self.path}{query}"


class FixedResponse(Table):
    """What nlb answers by itself."""

    status: Annotated[int, PlainValidator(fixed_status)]
    content_type: Annotated[str, PlainValidator(media_type)] = "text/plain; charset=utf-8"  # any text is that
    body: Annotated[str, PlainValidator(fixed_body)] = ""

    @field_validator("body")
    @classmethod
    def _where_there_is_one(cls, value: str, info: Info) -> str:
        if value and (status := info.data.get("status")) in (204, 205):
            raise ValueError(f"an answer with status {status} has no body; leave it out, or write status = 200")
        return value

    def __str__(self) -> str:
        return f"{self.status}, {len(self.body.encode())} bytes of {self.content_type}"
