"""What the TOML parser and the schema library say, in the words of whoever wrote the file.

Errors of our own validators are sentences already; here are the few kinds that the libraries find by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel

from nlb.model.actions import FixedResponse, Forward, Redirect
from nlb.model.config import Admin, Config, Dns, HealthCheck, Listener, Log, Target, TargetGroup
from nlb.model.http import RequestHeaders, ResponseHeaders, Stickiness
from nlb.model.nearest import did_you_mean
from nlb.model.rule import Rule
from nlb.model.shield import Block, RequestRate, Shield, ShieldHttp
from nlb.model.tls import Certificate, ListenerTls, TargetTls
from nlb.model.values import kind

_TABLES: dict[tuple[str, ...], tuple[str, type[BaseModel]]] = {
    (): ("at the top of the file", Config),
    ("admin",): ("in [admin]", Admin),
    ("log",): ("in [log]", Log),
    ("dns",): ("in [dns]", Dns),
    ("shield",): ("in [shield]", Shield),
    ("shield", "http"): ("in [shield.http]", ShieldHttp),
    ("shield", "request_rate"): ("in a `request_rate`", RequestRate),
    ("shield", "block"): ("in `block`", Block),
    ("listener",): ("in [[listener]]", Listener),
    ("listener", "certificates"): ("in `certificates`", Certificate),
    ("listener", "tls"): ("in `tls`", ListenerTls),
    ("listener", "shield"): ("in [listener.shield]", Shield),
    ("listener", "shield", "http"): ("in [listener.shield.http]", ShieldHttp),
    ("listener", "shield", "request_rate"): ("in a `request_rate`", RequestRate),
    ("listener", "shield", "block"): ("in `block`", Block),
    ("listener", "rule"): ("in [[listener.rule]]", Rule),
    ("listener", "rule", "forward"): ("in a group of `forward`", Forward),
    ("listener", "rule", "redirect"): ("in `redirect`", Redirect),
    ("listener", "rule", "fixed_response"): ("in `fixed_response`", FixedResponse),
    ("target_group",): ("in [[target_group]]", TargetGroup),
    ("target_group", "targets"): ("in a target", Target),
    ("target_group", "health_check"): ("in [target_group.health_check]", HealthCheck),
    ("target_group", "target_tls"): ("in `target_tls`", TargetTls),
    ("target_group", "stickiness"): ("in `stickiness`", Stickiness),
    ("target_group", "request_headers"): ("in `request_headers`", RequestHeaders),
    ("target_group", "response_headers"): ("in `response_headers`", ResponseHeaders),
}

# Keys of each table, as the file has them.
KEYS: dict[tuple[str, ...], tuple[str, ...]] = {
    path: tuple(field.alias or name for name, field in model.model_fields.items())
    for path, (_, model) in _TABLES.items()
}

_EXAMPLES = {
    "bind": 'bind = "0.0.0.0:80"',
    "name": 'name = "web"',
    "address": 'address = "10.0.0.11:3000"',
    "target_group": 'target_group = "web"',
    "status": "status = 503",
    "type": 'type = "lb_cookie"',
    "rate": 'rate = "5/m burst 5"',
}

# What a value must be where it is a list or a table, by its key; "" is an element of `targets`.
_SHAPES = {
    "listener": "must be tables, one per listener; write [[listener]] with two brackets",
    "target_group": "must be tables, one per group; write [[target_group]] with two brackets",
    "targets": 'must be a list; write targets = ["10.0.0.11:3000"]',
    "health_check": "must be one table; write [target_group.health_check] with single brackets",
    "rule": "must be tables, one per rule; write [[listener.rule]] with two brackets",
    "forward": 'must be the name of a group, or tables such as { target_group = "web", weight = 1 }',
    "redirect": 'must be a table; write redirect = { status = 301, protocol = "https" }',
    "fixed_response": 'must be a table; write fixed_response = { status = 503, body = "back at noon" }',
    "header": 'must be a table; write header = { X-Canary = ["1", "yes*"] }',
    "query": 'must be a table; write query = { version = ["2"] }',
    "error_pages": 'must be a table; write error_pages = { 502 = "/etc/nlb/502.html" }',
    "stickiness": 'must be a table; write stickiness = { type = "lb_cookie" }',
    "request_headers": 'must be a table; write request_headers = { set = { X-Env = "prod" }, remove = ["X-Debug"] }',
    "response_headers": 'must be a table; write response_headers = { set = { X-Env = "prod" }, remove = ["Server"] }',
    "set": 'must be a table; write set = { X-Env = "prod" }',
    "certificates": 'must be tables; write certificates = [{ cert = "/etc/nlb/www.pem", key = "/etc/nlb/www.key" }]',
    "tls": 'must be a table; write tls = { policy = "intermediate" }',
    "target_tls": 'must be a table; write target_tls = { ca = "/etc/nlb/ca.pem", server_name = "www.example.com" }',
    "shield": "must be one table; write [shield], or [listener.shield] for a listener, with single brackets",
    "http": "must be one table; write [shield.http], or [listener.shield.http] for a listener, with single brackets",
    "request_rate": 'must be tables; write request_rate = [{ path = "/login", rate = "5/m burst 5" }]',
    "block": 'must be a table; write block = { after = 20, within = "1m", for = "10m" }',
    "admin": "must be one table; write [admin] with single brackets",
    "log": "must be one table; write [log] with single brackets",
    "dns": "must be one table; write [dns] with single brackets",
    "nameservers": 'must be a list; write nameservers = ["10.0.0.2"]',
    "": 'must be text such as "web01=10.0.0.11:3000" or a table such as { name = "web01", address = "10.0.0.11:3000" }',
}

_SYNTAX: Mapping[str, str] = {
    "Invalid statement": "a key or a [table] is expected here",
    "Invalid initial character for a key part": "a key is expected here: letters, digits, _ and -",
    "Invalid value": "this is not a value; text needs quotes",
    "Expected newline or end of document after a statement": (
        "this does not belong to the value before it; write one key = value on a line, and text in quotes"
    ),
    "Expected '=' after a key in a key/value pair": "a = is expected here: write key = value, or [key] for a table",
    "Expected ']' at the end of a table declaration": "a ] is expected here: write [table]",
    "Expected ']]' at the end of an array declaration": "a ]] is expected here: write [[table]]",
    "Illegal character '\\n'": "the text is not closed: its second quote is missing on this line",
    "Found invalid character '\\n'": "the text is not closed: its second quote is missing on this line",
    "Unterminated string": "the text is not closed: its second quote is missing",
    'Expected "\'"': "the text is not closed: its second quote is missing",
    "Expected \"'''\"": "the text is not closed: its last three quotes are missing",
    "Unclosed array": "the list is not closed here: a comma or ] is missing",
    "Unclosed inline table": "the table is not closed here: a comma or } is missing",
    "Unescaped '\\' in a string": "a backslash begins an escape in quotes; write \\\\, or the text in 'single quotes'",
    "Invalid date or datetime": "this is no date; text needs quotes",
}

# The same key or table in a way that TOML forbids. Repeating is the common case and has a phrase of its own.
REPEATED = ("Cannot overwrite", "Cannot declare", "Cannot redefine", "Cannot mutate", "Duplicate inline table key")


def syntax(message: str, character: str) -> str:
    """A message of the TOML parser, without its position, and the character that it is about."""
    if message == "Invalid value" and character in ("", "\n", "#"):
        return "a value is missing here"
    if message.startswith(REPEATED):
        return "this is given above in another form; write each key and table once"
    return _SYNTAX.get(message, message)


def sentence(error: Mapping[str, Any], value: object) -> str:
    """One error of the schema library about a value, which may be missing."""
    path = tuple(error["loc"])
    context = error.get("ctx", {})
    match error["type"]:
        case "value_error":
            return str(context["error"])
        case "missing":
            return f"{path[-1]} is missing; write {_EXAMPLES[path[-1]]}"
        case "extra_forbidden":
            return _unknown_key(path)
        case "literal_error":
            return _none_of(path, value)
        case "too_long":
            return f"there is room for {context['max_length']}, and this has more"
        case "too_short":
            return "there is nothing in it; write something, or leave the key out"
        case "tuple_type" | "model_type" | "dict_type":
            return f"{_shape(path)}; this is {kind(value)}"
    return f"cannot be used here: {kind(value)}"


def _table(path: tuple[str | int, ...]) -> tuple[str, ...]:
    return tuple(part for part in path if isinstance(part, str))


def _shape(path: tuple[str | int, ...]) -> str:
    if isinstance(path[-1], str):
        return _SHAPES.get(path[-1], "cannot be this")
    return _SHAPES["" if path[-2] == "targets" else str(path[-2])]


def _unknown_key(path: tuple[str | int, ...]) -> str:
    key, here = str(path[-1]), _table(path[:-1])
    guess = did_you_mean(key, KEYS[here])
    elsewhere = list(dict.fromkeys(_TABLES[table][0] for table, keys in KEYS.items() if key in keys))
    if elsewhere:
        return f"unknown here; it belongs {' or '.join(elsewhere)}{guess}"
    return f"unknown key{guess or '; the keys here are ' + ', '.join(KEYS[here])}"


def _none_of(path: tuple[str | int, ...], value: object) -> str:
    words = _words(_TABLES[_table(path[:-1])][1].model_fields[str(path[-1])].annotation)
    wanted = " or ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]
    if not isinstance(value, str):
        return f"must be text in quotes: {wanted}; this is {kind(value)}"
    return f"'{value}' is not known; write {wanted}{did_you_mean(value, words)}"


def _words(annotation: Any) -> tuple[str, ...]:
    """Those of a Literal, which may be left out."""
    words: list[str] = []
    for word in get_args(annotation):
        words += [word] if isinstance(word, str) else _words(word)
    return tuple(words)


def printable(text: str, longest: int) -> str:
    """On one line, short enough to read, and without anything that a terminal would act on."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"
