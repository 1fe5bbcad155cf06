"""What a header says, and how those of version 2 are laid out. reading.py makes it of bytes, writing.py bytes of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from nlb.model.address import Address
from nlb.net.proxy_protocol.tlvs import ALPN, AUTHORITY, UNIQUE_ID, Tls

# Version 2, section 2.2: the signature, a byte of version and command, one of family and transport, the length of
# what follows.
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PREAMBLE = 16
LOCAL, PROXY = 0, 1
UNSPEC, INET, INET6, UNIX = 0, 1, 2, 3
STREAM = 1
TRANSPORTS = (0, STREAM, 2)  # none, stream, datagram
UNIX_PATH = 108
SIZES = {UNSPEC: 0, INET: 12, INET6: 36, UNIX: 2 * UNIX_PATH}
V4, V6 = struct.Struct("!8B2H"), struct.Struct("!16s16s2H")


@dataclass(frozen=True, slots=True)
class Header:
    """`source` and `destination` are None where the connection's own ends hold: in LOCAL headers, for UNKNOWN and
    AF_UNSPEC, for a unix socket without a name. IPv4 in the disguise of IPv6 is IPv4; the path of an abstract unix
    socket begins with @. `tlvs` has no NOOPs, and of a LOCAL header none. `size` is where the client's bytes begin."""

    version: int
    command: str  # PROXY or LOCAL
    source: Address | None
    destination: Address | None
    tlvs: Mapping[int, bytes]
    size: int
    tls: Tls | None = None

    @property
    def authority(self) -> str:
        """The name that the client asked for."""
        return self.tlvs.get(AUTHORITY, b"").decode()

    @property
    def alpn(self) -> bytes:
        return self.tlvs.get(ALPN, b"")

    @property
    def unique_id(self) -> bytes:
        return self.tlvs.get(UNIQUE_ID, b"")
