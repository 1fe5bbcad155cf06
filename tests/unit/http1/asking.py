"""Requests for rules to look at, made by the parser from a head that is written here."""

from __future__ import annotations

from nlb.http1.head import Request, parse_request


def ask(url: str = "http://www.example.com/", method: str = "GET", *lines: str) -> Request:
    """`lines` are further lines of the head."""
    host, slash, rest = url.partition("://")[2].partition("/")
    head = [f"{method} {slash}{rest} HTTP/1.1", f"Host: {host}", *lines, "", ""]
    request = parse_request("\r\n".join(head).encode("latin-1"))
    assert request is not None
    return request
