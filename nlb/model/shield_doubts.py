"""What is legal but probably not meant, of the shield. What a listener has from [shield] is told there alone."""

from __future__ import annotations

from collections.abc import Iterator

from nlb.model.config import Config
from nlb.model.shield import Shield


def warnings(config: Config) -> Iterator[str]:
    shield = config.shield
    yield from (f"shield.{doubt}" for doubt in _of(shield))
    if not any(listener.speaks_http for listener in config.listeners):
        for key in sorted(shield.model_fields_set & {"http", "request_rate"}):
            yield f"shield.{key}: is not used, because no listener speaks http"
    for listener in config.listeners:
        yield from (f"listener.{listener.name}.shield.{doubt}" for doubt in _of(listener.shield))


def _of(shield: Shield) -> Iterator[str]:
    """Of the keys that are written in this very table."""
    given = shield.model_fields_set
    if "mode" in given and shield.mode == "monitor":
        yield "mode: is monitor, so nothing is refused, only counted and logged"
    if "deny" in given and (everybody := shield.denied.everybody):
        yield f"deny: {everybody} is everybody, so nobody can connect"
    if "allow" in given and shield.allowed and (everybody := shield.allowed.everybody):
        yield f"allow: {everybody} is everybody"
    most, each = shield.max_connections, shield.max_connections_per_source
    if given & {"max_connections", "max_connections_per_source"} and most and each and each >= most:
        yield f"max_connections_per_source: is never reached, because max_connections is {most}"
    http, has_path = shield.http, "http" in given and "normalise_path" in shield.http.model_fields_set
    if has_path and http.deny_path and not http.normalise_path:
        yield "http.normalise_path: is false, so a denied path passes when it is written in another way, with %2e"
