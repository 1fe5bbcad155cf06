"""Who a client is to limits and blocks: an IPv4 address, or the /64 of an IPv6 one. A /64 is what one household or one
server gets, and has as many addresses as anybody could want to hide behind.
"""

from __future__ import annotations

import ipaddress

from nlb.shield.cidr import Network, numbered

# Of an address: its version and its number; version 0 is no address, such as that of a unix socket.
Source = tuple[int, int]

NOBODY: Source = (0, 0)

_V6 = 1 << 64


def source_of(address: str) -> Source:
    """Where only the text of an address is known. The kernel can give the number in a third of the time."""
    return numbered(address)


def key_of(source: Source) -> int:
    """The number that limits know a source by; 0 is nobody's."""
    version, number = source
    return number if version != 6 else number >> 64 | _V6


def network_of(key: int) -> Network:
    """All addresses of that key."""
    if key >= _V6:
        return ipaddress.IPv6Network(((key - _V6) << 64, 64))
    return ipaddress.IPv4Network((key, 32))
