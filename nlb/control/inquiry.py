"""What `nlb explain` is asked: a URL and what else is known of the client, as it was typed. Nothing here knows a
config; a head is made as `curl` would make it, and judged elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nlb.model.address import Address, parse_address

# Scheme -> the port that goes without saying, if there is one.
PORTS = {"http": 80, "https": 443, "tcp": 0, "tls": 443}

# Characters. The parser has limits of its own, and shows what comes of them.
LONGEST_URL = 20_000
MOST_HEADERS = 300
LONGEST_HEADERS = 40_000
MOST_PROTOCOLS = 32

_PROTOCOL_NAME = re.compile(r"[!-~]{1,255}")
_AUTHORITY = re.compile(r"(\[[^]]*\]|[^:]*)(?::([0-9]{1,5}))?")


class Url(NamedTuple):
    """`port` is 0 where none is written; `target` is what a request line has."""

    scheme: str
    authority: str
    host: str
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Inquiry:
    """`headers` are lines; `source` is the client's address, with port 0 where that is not known; `alpn` are the
    protocols that a TLS client offers."""

    url: Url
    method: str = "GET"
    headers: tuple[str, ...] = ()
    source: Address | None = None
    listener: str | None = None
    alpn: tuple[str, ...] = ()

    @property
    def head(self) -> bytes:
        """The head of the request. A Host among the headers takes the place of the URL's."""
        lines = [f"{self.method} {self.url.target} HTTP/1.1"]
        if not any(line.lower().startswith("host:") for line in self.headers):
            lines.append(f"Host: {self.url.authority}")
        return "\r\n".join([*lines, *self.headers, "", ""]).encode("utf-8", "surrogateescape")


def parse_url(text: str) -> Url:
    """Raises ValueError with a sentence that says what would be right."""
    if len(text) > LONGEST_URL:
        raise ValueError(f"has {len(text)} characters, and {LONGEST_URL} are allowed")
    scheme, found, rest = text.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in PORTS:
        raise ValueError(f"'{text[:80]}' is no URL of {', '.join(PORTS)}; write http://api.example.com/v1/x")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    match = _AUTHORITY.fullmatch(authority)
    if match is None or not match[1]:
        raise ValueError(f"'{authority[:80]}' is not a host with or without a port; write http://api.example.com:8080/")
    target = rest[len(authority) :].partition("#")[0]
    if not target.startswith("/"):
        target = f"/{target}"
    return Url(scheme, authority, match[1].strip("[]").lower(), int(match[2] or 0), target)


def parse_source(text: str) -> Address:
    """An IP address, with or without a port. Raises ValueError."""
    address = parse_address(text, default_port=0)
    if address.is_unix:
        raise ValueError("a client of a unix socket has no address; leave it out")
    return address


def check_headers(lines: Sequence[str]) -> None:
    """Raises ValueError for what is no header at all. Whether it is a good one is the parser's to say."""
    for line in lines:
        if ":" not in line:
            raise ValueError(f"'{line[:80]}' is no header; write 'Name: value'")
    if len(lines) > MOST_HEADERS or sum(map(len, lines)) > LONGEST_HEADERS:
        raise ValueError(f"these are too many; {MOST_HEADERS} with {LONGEST_HEADERS} characters in all are allowed")


def check_protocols(names: Sequence[str]) -> None:
    """What a TLS client may offer. Raises ValueError."""
    if len(names) > MOST_PROTOCOLS:
        raise ValueError(f"{len(names)} protocols are too many; {MOST_PROTOCOLS} are allowed")
    for name in names:
        if not _PROTOCOL_NAME.fullmatch(name):
            raise ValueError(f"'{name[:80]}' is not the name of a protocol; write one such as h2 or http/1.1")
