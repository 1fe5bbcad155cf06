"""Where something listens: an IP address and port, or the path of a unix socket. The only place that reads
and writes the text forms `10.0.0.1:80`, `[::1]:80` and `unix:/run/app.sock`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """`host` is an IP address without brackets and `port` 0-65535, or `host` is empty and `path` is a unix socket."""

    host: str
    port: int
    path: str = ""

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    @property
    def is_v6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Read one address.

    `default_port` is for a host without a port; None means that the port must be written.
    Raises ValueError with a sentence that says what is wrong and what would be right.
    """
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    host, port = _split(text)
    try:
        host = ipaddress.ip_address(host).compressed
    except ValueError:
        raise ValueError(_not_an_ip(host, text)) from None
    if port is None:
        if default_port is None:
            raise ValueError(f"'{text}' has no port; write {Address(host, 80)}")
        return Address(host, default_port)
    if not (port.isascii() and port.isdigit()):
        raise ValueError(f"'{port}' is not a port; a port is a number from 1 to 65535")
    if int(port) > 65535:
        raise ValueError(f"port {port} is outside 1-65535")
    return Address(host, int(port))


def _unix(path: str) -> Address:
    if not path.startswith("/"):
        raise ValueError(f"'unix:{path}' needs an absolute path: unix:/run/app.sock")
    if len(path.encode()) > 107:  # sizeof(sockaddr_un.sun_path) - 1
        raise ValueError(f"the path of a unix socket may have 107 bytes, this one has {len(path.encode())}")
    return Address("", 0, path)


def _split(text: str) -> tuple[str, str | None]:
    """Host and port of `host`, `host:port`, `[v6]`, `[v6]:port` or a bare v6 address."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"'{text}' is not an address; write [::1]:80")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _not_an_ip(host: str, text: str) -> str:
    if not host:
        return f"'{text}' has no host; for all addresses write 0.0.0.0{text} (IPv4) or [::]{text} (IPv6)"
    if host == "localhost":
        return "'localhost' is a name; write 127.0.0.1 or [::1]"
    return f"'{host}' is not an IP address; names are not looked up here"
