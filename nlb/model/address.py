"""Where something listens: an IP address and port, or the path of a unix socket; or the DNS name of a server. The only
place that reads and writes the text forms `10.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock` and `app.example.com:80`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_INTERFACE = re.compile(r"[A-Za-z0-9._-]{1,15}")  # IFNAMSIZ - 1

# A last label of digits alone is refused, so that 10.0.0.999 is a mistake and not a name that nobody has.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\.?\Z)(?:{_LABEL}\.)*(?![0-9]+\.?\Z){_LABEL}\.?")


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


@dataclass(frozen=True, slots=True, order=True)
class DnsName:
    """A name in the place of an IP address: each address that `host` has is meant. Port 0: its SRV records say it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Read one address.

    `default_port` is for a host without a port; None means that the port must be written.
    Raises ValueError with a sentence that says what is wrong and what would be right.
    """
    return _address(text, default_port, "is not an IP address; names are not looked up here")


def parse_server(text: str, default_port: int | None = None) -> Address | DnsName:
    """As `parse_address`, for what may be given by its name as well."""
    host, port = ("", None) if text.startswith(("unix:", "[")) or "://" in text else _split(text)
    if _HOST.fullmatch(host):
        number = _port(port, default_port, text, f"{host}:80")
        if port and not number:
            raise ValueError("port 0 is outside 1-65535")
        return DnsName(host.lower(), number)
    if not host.isascii():
        raise ValueError(f"'{host}' is not ASCII; write the xn-- form of the name")
    return _address(text, default_port, "is neither an IP address nor a DNS name")


def _address(text: str, default_port: int | None, otherwise: str) -> Address:
    """`otherwise` is what to say of anything else."""
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    host, port = _split(text)
    host = _ip(host, text, otherwise)
    return Address(host, _port(port, default_port, text, str(Address(host, 80))))


def _port(port: str | None, default: int | None, text: str, better: str) -> int:
    if port is None:
        if default is None:
            raise ValueError(f"'{text}' has no port; write {better}")
        return default
    if not (port.isascii() and port.isdigit()):
        raise ValueError(f"'{port}' is not a port; a port is a number from 1 to 65535")
    if len(port) > 5 or int(port) > 65535:
        raise ValueError(f"port {port} is outside 1-65535")
    return int(port)


def _unix(path: str) -> Address:
    if not path.startswith("/"):
        raise ValueError(f"'unix:{path}' needs an absolute path: unix:/run/app.sock")
    if not path.isprintable():
        raise ValueError("the path of a unix socket has a control character in it")
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


def _ip(host: str, text: str, otherwise: str) -> str:
    """The one spelling of an IP address."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(_not_an_ip(host, text, otherwise)) from None
    if ip.version == 6:
        if ip.ipv4_mapped:
            # Our IPv6 sockets are IPv6 only, so the kernel would refuse it much later.
            raise ValueError(f"'{host}' is an IPv4 address in disguise; write {ip.ipv4_mapped}")
        if ip.scope_id is not None and not _INTERFACE.fullmatch(ip.scope_id):
            raise ValueError(f"'{ip.scope_id}' is not the name of a network interface; write fe80::1%eth0")
    return ip.compressed


def _not_an_ip(host: str, text: str, otherwise: str) -> str:
    if not text:
        return "an address is missing; write 10.0.0.11:3000, [::1]:3000 or unix:/run/app.sock"
    if text.isdecimal():
        return f"'{text}' is only a number; write host:port, such as 0.0.0.0:{text}"
    if "://" in text:
        return f"'{text}' is a URL; write only its host and port, such as 10.0.0.11:3000"
    if text.startswith((":", "*:")):
        port = text.lstrip("*")
        return f"'{text}' has no host; write 10.0.0.11{port}, or 0.0.0.0{port} or [::]{port} to listen on all addresses"
    if host == "localhost":
        return "'localhost' is a name; write 127.0.0.1 or [::1]"
    return f"'{host or text}' {otherwise}"
