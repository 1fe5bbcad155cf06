"""What listeners and groups speak, and who can stand behind whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pydantic import ValidationInfo as Info

Protocol = Literal["tcp", "http", "tls", "https"]

# Requests are read, so there are rules, headers and statuses.
HTTP = ("http", "https")

# A listener takes the encryption off; a group puts it on again.
ENCRYPTED = ("tls", "https")

# A listener -> the groups that it may forward to. What is inside the encryption stays the same.
FORWARDS: dict[str, tuple[str, ...]] = {
    "tcp": ("tcp", "tls"),
    "tls": ("tcp", "tls"),
    "http": ("http", "https"),
    "https": ("http", "https"),
}

# What a connection begins with where there is a proxy in between.
ProxyProtocol = Literal["none", "v1", "v2"]


NO_PROXY_HEADER = (
    "connections to http targets carry requests of many clients, so no header can say whose they are; "
    "X-Forwarded-For tells it: leave this out"
)


def of_requests(value: object, info: Info) -> object:
    """A validator of keys that only who reads requests has. After a wrong protocol, which is an error already, any."""
    protocol = info.data.get("protocol", "http")
    if protocol not in HTTP:
        raise ValueError(needs_http(protocol))
    return value


def of_tls(value: object, info: Info) -> object:
    """The same of keys that only who encrypts has."""
    protocol = info.data.get("protocol", "tls")
    if protocol not in ENCRYPTED:
        raise ValueError(needs_tls(protocol))
    return value


def needs_http(protocol: str) -> str:
    """Why a key that is about requests is not for what speaks this."""
    better = "https" if protocol in ENCRYPTED else "http"
    return (
        f'needs protocol = "{better}", because {protocol} passes bytes on and sees no requests; '
        "write that, or leave this out"
    )


def needs_tls(protocol: str) -> str:
    better = "https" if protocol in HTTP else "tls"
    return f'needs protocol = "{better}", because {protocol} encrypts nothing; write that, or leave this out'
