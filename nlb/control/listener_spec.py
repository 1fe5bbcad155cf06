"""What a worker is told of a listener, as plain data. Sockets and lists of networks go beside it as descriptors."""

from __future__ import annotations

from collections.abc import Callable

from nlb.control.certificates import tls_spec
from nlb.control.listening import OpenListener
from nlb.control.routing import hello_specs, site_spec
from nlb.control.shielding import shield_spec
from nlb.model.address import Address
from nlb.net.channel import Message

# A group's number, by its name.
NumberOf = Callable[[str], int]


def listener_spec(opened: OpenListener, binds: list[Address], limit: int, number_of: NumberOf) -> Message:
    """`binds` are those whose sockets go with it, `limit` is its max_connections."""
    settings = opened.settings
    return {
        "number": opened.number,
        "name": settings.name,
        "group": number_of(settings.target_group),
        "idle_timeout": settings.idle_timeout,
        "max_connections": limit,
        "access_log": settings.access_log,
        "http": _http(opened, number_of) if settings.speaks_http else None,
        **_preface(opened, number_of),
        "shield": shield_spec(settings.shield, opened.number, settings.speaks_http),
        "binds": [str(bind) for bind in binds],
        "lasting": opened.lasting(binds),
    }


def _preface(opened: OpenListener, number_of: NumberOf) -> Message:
    """What clients have to say before their sessions begin."""
    settings = opened.settings
    hellos = settings.rules if settings.protocol == "tcp" else ()
    return {
        "tls": tls_spec(settings, opened.identity) if opened.identity else None,
        "handshake_timeout": settings.tls.handshake_timeout,
        "hellos": hello_specs(settings, number_of) if hellos else [],
        "proxies": list(settings.trusted_proxies) if settings.proxy_protocol == "accept" else None,
        "proxy_header_timeout": settings.proxy_header_timeout,
    }


def _http(opened: OpenListener, number_of: NumberOf) -> Message:
    """What only listeners of http have."""
    numbers = {(rule, group): number for rule, group, number in opened.routes}
    return site_spec(opened.settings, number_of, lambda *of: numbers[of])
