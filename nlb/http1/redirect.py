"""Where a redirect leads: a template that is compiled once, and a location per request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nlb.http1.facts import Request

# As nlb.model.actions has them, which is not for workers to import.
PLACEHOLDERS = ("protocol", "host", "port", "path", "query")

_PLACEHOLDER = re.compile("#{(" + "|".join(PLACEHOLDERS) + ")}")
_PORTS = {"http": 80, "https": 443}


class Redirect:
    """As AWS: #{path} comes without its leading slash, #{query} without its question mark, and what is left out stays
    as it was. Two things are better than there: a port that the protocol implies is not written, and where only the
    protocol is another, the port is that protocol's."""

    __slots__ = ("_host", "_path", "_port", "_protocol", "_query", "status")

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.status = int(spec["status"])
        self._protocol: str = _given(spec, "protocol")
        self._host = _compiled(_given(spec, "host"))
        self._port = _given(spec, "port")
        self._path = _compiled(_given(spec, "path", "/#{path}"))
        self._query = _compiled(_given(spec, "query"))

    def location(self, request: Request, protocol: str, host: str, port: int) -> bytes:
        """`protocol`, `host` and `port` are those the client used. Without a host (HTTP/1.0 has none) the location
        has only a path."""
        facts = {
            "protocol": protocol.encode(),
            "host": host.encode(),
            "port": b"%d" % port,
            "path": request.path.removeprefix(b"/"),
            "query": request.query,
        }
        query = _filled(self._query, facts)
        rest = _filled(self._path, facts) + (b"?" + query if query else b"")
        new_host = _filled(self._host, facts)
        if not new_host:
            # Two slashes, or what browsers take for them, would begin the name of a host of the client's choice.
            return b"/" + rest.lstrip(b"/\\")
        new_protocol = protocol if self._protocol == "#{protocol}" else self._protocol
        if self._port == "#{port}":
            new_port = port if new_protocol == protocol else _PORTS[new_protocol]
        else:
            new_port = int(self._port)
        place = b"" if new_port == _PORTS[new_protocol] else b":%d" % new_port
        return b"%b://%b%b%b" % (new_protocol.encode(), new_host, place, rest)


def _given(spec: Mapping[str, Any], key: str, default: str = "") -> str:
    value = spec.get(key)
    return (default or "#{" + key + "}") if value is None else str(value)


def _compiled(template: str) -> list[str | bytes]:
    """Literal bytes and names of placeholders, in turns; literals first and last."""
    parts = _PLACEHOLDER.split(template)
    return [part if place % 2 else part.encode() for place, part in enumerate(parts)]


def _filled(template: list[str | bytes], facts: Mapping[str, bytes]) -> bytes:
    return b"".join([facts[part] if isinstance(part, str) else part for part in template])
