"""The fields that nlb acts on, by their lower-case names, and the elements of lists."""

from __future__ import annotations

from nlb.http1.facts import FIELDS_LIMIT, BadHead

# Of one connection only (RFC 9110 7.6.1): taken out, and what Connection names with them. HTTP2-Settings goes with the
# h2c upgrade that is never passed on.
HOP_BY_HOP = frozenset(
    b"connection http2-settings keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)

# Taken out of a request and kept beside it: whether they are believed depends on the peer.
SPECIAL = frozenset(
    b"forwarded traceparent via x-forwarded-for x-forwarded-port x-forwarded-proto x-request-id".split()
)

# Everything whose meaning a proxy and a target must agree on.
TELLING = HOP_BY_HOP | SPECIAL | {b"content-length", b"expect", b"host"}

# `Connection: X-Forwarded-For` asks that what nlb adds, or what a target decides by, be taken out on the way. Fields
# for all recipients must not be named there (RFC 9110 7.6.1): such an option is not obeyed.
END_TO_END = SPECIAL | frozenset(
    b"authorization cache-control content-encoding content-length content-range content-type cookie date expect host"
    b" location origin range referer set-cookie vary x-forwarded-host x-real-ip".split()
)

# Framing, routing, authentication, and how a message is to be understood (RFC 9110 6.5.1).
NEVER_A_TRAILER = (
    TELLING
    | END_TO_END
    | frozenset(
        b"age allow expires if-match if-modified-since if-none-match if-range if-unmodified-since max-forwards pragma"
        b" proxy proxy-authenticate proxy-authorization retry-after warning www-authenticate".split()
    )
)

_SIGNS_AS_DASHES = bytes.maketrans(b"!#$%&'*+.^_`|~", b"-" * 14)

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"


def dashed(name: bytes) -> bytes:
    """A lower-case name as it is to CGI, WSGI and others, which read `_`, some of them any other sign, as `-`."""
    return name.translate(_SIGNS_AS_DASHES)


def elements(values: list[bytes]) -> list[bytes]:
    """Those of a list field, which may be one line or several. Empty ones are left: the caller knows if they may be."""
    found = b",".join(values).split(b",", FIELDS_LIMIT)
    if len(found) > FIELDS_LIMIT:  # 64 KiB of commas would cost 3 ms, and mean nothing
        raise BadHead(431, "too_many_fields")
    return [element.strip(b" \t") for element in found]


def options(values: list[bytes]) -> list[bytes]:
    """The elements, lower-case, without empty ones (RFC 9110 5.6.1)."""
    return [element.lower() for element in elements(values) if element] if values else []
