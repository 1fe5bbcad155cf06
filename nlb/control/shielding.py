"""The shield of a listener as workers are told it: numbers and words, and who is counted with whom.

    spec      {"monitors", "limits", "requests", "max_body", "tolerance"}    all but the first two may be None
    limits    as admission.Limits
    requests  as requests.Requests reads it, of http only
    tolerance as offences.Tolerance reads it

A kind says whose sources are counted together. What a listener has from [shield] is counted over all listeners that
have it from there, what it says itself is counted for it alone.
"""

from __future__ import annotations

from typing import Any

from nlb.model.limits import RATES
from nlb.model.shield import RequestRate, Shield

Spec = dict[str, Any]

# Kinds of one listener, or of [shield]: its connections, then each of its request rates.
_KINDS = RATES + 1


def shield_spec(shield: Shield, number: int, is_http: bool) -> Spec:
    """`shield` is what holds for a listener, `number` the listener's own."""

    def kind(key: str) -> int:
        return _KINDS * (number + 1) if key in shield.model_fields_set else 0

    rate = shield.connection_rate_per_source
    limits = {
        "max_connections": shield.max_connections,
        "per_source": shield.max_connections_per_source,
        "kind_per_source": kind("max_connections_per_source"),
        "rate": rate.per_second if rate else None,
        "burst": rate.burst if rate else 0,
        "kind_rate": kind("connection_rate_per_source"),
    }
    return {
        "monitors": shield.mode == "monitor",
        "limits": limits,
        "requests": _requests(shield, kind("request_rate")) if is_http else None,
        # Held by the listener, with its own bound; the shield only counts.
        "max_body": shield.http.max_body if is_http else None,
        "tolerance": _tolerance(shield, kind("block")),
    }


def _requests(shield: Shield, kind: int) -> Spec:
    http = shield.http
    return {
        "methods": list(http.methods),
        "deny_path": list(http.deny_path),
        "normalise_path": bool(http.normalise_path),
        "rates": [_rate(rate, kind + place) for place, rate in enumerate(shield.request_rate, 1)],
    }


def _rate(rate: RequestRate, kind: int) -> Spec:
    return {
        "path": list(rate.path),
        "method": list(rate.method),
        "host": list(rate.host),
        "rate": rate.rate.per_second,
        "burst": rate.rate.burst,
        "status": rate.status,
        "kind": kind,
    }


def _tolerance(shield: Shield, kind: int) -> Spec | None:
    block = shield.block
    if block is None or not block.after:
        return None
    return {
        "after": block.after,
        "of": list(block.of),
        "within": block.within,
        "seconds": block.time,
        "kind": kind,
    }
