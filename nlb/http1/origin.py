"""Whose resource a request is for: the authority in Host or in the target, in its one spelling."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from nlb.http1.facts import HOST_LIMIT

# The unreserved signs of RFC 3986. Its sub-delims and percent escapes are legal in a host and in no host that exists;
# a rule that compares hosts must not be asked whether a%2eb is a.b.
_LABEL = rb"[0-9A-Za-z_~-]++"
_NAME = _LABEL + rb"(?>(?:\." + _LABEL + rb")*)\.?"
_AUTHORITY = re.compile(rb"(" + _NAME + rb"|\[([0-9A-Fa-f:.]{2,45}+)\])(?::([0-9]{0,5}+))?")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]++)([/?][!\"$-~]*+)?", re.IGNORECASE)


def authority(value: bytes) -> tuple[bytes, str] | None:
    """(the authority as it is sent on, the host that rules see), or None if it is none."""
    match = _AUTHORITY.fullmatch(value)
    if match is None or len(match[1]) > HOST_LIMIT:
        return None
    name, v6, port = match.groups()
    host = name.decode().lower()
    if v6 is not None:
        try:
            host = f"[{IPv6Address(v6.decode()).compressed}]"
        except ValueError:
            return None
    if not port:  # `a:` is `a` (RFC 3986 6.2.3)
        return name, host.removesuffix(".")
    number = int(port)
    if not 0 < number < 65536:
        return None
    return b"%b:%d" % (name, number), host.removesuffix(".")


def absolute(target: bytes) -> tuple[bytes, str, bytes] | None:
    """(authority, host, the rest: from `/` or `?` on, or nothing) of http://host/path, or None if it is none."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return None
    parts = authority(match[2])  # user@host is none: whoever sends that wants to be misread (RFC 9110 4.2.4)
    return None if parts is None else (*parts, match[3] or b"")
