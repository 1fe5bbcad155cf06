"""What an http listener was told, compiled: how it judges, where it sends, what it answers by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlb.http1.forwarded import Forwarding
from nlb.http1.head import Request
from nlb.http1.replies import ErrorPages, redirect, reply, wants_html
from nlb.http1.routes import FIXED_RESPONSE, Routes, Rule
from nlb.observe.counters import Row
from nlb.proxy.group import WorkerGroup
from nlb.shield.cidr import Networks
from nlb.shield.patterns import Patterns

_HEAD = b"HEAD"

# What may be asked with: RFC 9110 15.5.6 wants it said. Others than CONNECT and TRACE pass too, whatever they mean.
_ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"


class Site:
    """Made anew when the listener changes; exchanges under way keep the one that they began with."""

    __slots__ = (
        "_pages",
        "_silent",
        "desync",
        "forwarding",
        "header_timeout",
        "max_body",
        "min_body_rate",
        "min_body_rate_after",
        "protocol",
        "reason_header",
        "routes",
        "tunnel_timeout",
    )

    def __init__(self, spec: dict[str, Any], groups: Mapping[int, WorkerGroup], row: Row) -> None:
        """`spec` is the `http` of a listener as control tells it, with numbers of groups and routes. The rules here
        have the groups themselves, and the words in which routes are counted."""
        self.protocol: str = spec.get("protocol", "http")
        self.desync: str = spec["desync"]
        self.header_timeout: float = spec["header_timeout"]
        self.tunnel_timeout: float = spec["tunnel_timeout"]
        self.max_body: int = -1 if spec["max_body"] is None else spec["max_body"]
        self.min_body_rate: int = spec["min_body_rate"]
        self.min_body_rate_after: float = spec["min_body_rate_after"]
        self.reason_header: bool = spec["reason_header"]
        rules = [_joined(rule, groups, row) for rule in spec["rules"]]
        self.routes = Routes(rules, _joined(spec["default"], groups, row))
        self.forwarding = Forwarding(
            spec["x_forwarded"],
            spec["forwarded"],
            Networks(spec["trusted_proxies"]),
            self.protocol,
            spec["via"],
            spec["request_id"],
            spec["traceparent"],
        )
        self._pages = ErrorPages({int(status): page.encode("latin-1") for status, page in spec["error_pages"].items()})
        self._silent = Patterns(spec["access_log_except"], fold=False) if spec["access_log_except"] else None

    def is_logged(self, request: Request) -> bool:
        return self._silent is None or not self._silent.match(request.path)

    def answer(self, rule: Rule, request: Request, port: int, close: bool) -> tuple[bytes, str]:
        """The reply of a rule that forwards to nobody, and the cause with which such an exchange ends."""
        head_only = request.method == _HEAD
        if rule.kind == FIXED_RESPONSE:
            data = reply(rule.status, rule.body, rule.content_type, close=close, head_only=head_only)
            return data, "fixed_response"
        location = rule.location(request, self.protocol, request.host, port)
        return redirect(rule.status, location, close=close, head_only=head_only), "redirect"

    def error(self, status: int, request: Request, outcome: str, close: bool, extra: bytes = b"") -> bytes:
        """The reply to a request that no target answered; `extra` are lines of its head."""
        body, content_type = self._pages.page(status, wants_html(request.fields))
        if self.reason_header:
            extra += b"X-Nlb-Reason: %s\r\n" % outcome.encode()
        if status == 405 and b"Allow:" not in extra:
            extra += _ALLOW
        head_only = request.method == _HEAD
        return reply(status, body, content_type, extra, close, head_only)


def _joined(rule: dict[str, Any], groups: Mapping[int, WorkerGroup], row: Row) -> dict[str, Any]:
    joined = rule | {"number": row.route(rule["number"])}
    if "forward" in rule:
        joined["forward"] = [(groups[group], weight, row.route(number)) for group, weight, number in rule["forward"]]
    return joined
