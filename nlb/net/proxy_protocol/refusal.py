"""Why a header is refused, and how long one may be."""

from __future__ import annotations

# Bytes of the longest line of version 1, with its end; section 2.1.
LONGEST_LINE = 107
# Of version 2, where 65551 are possible: addresses and a certificate's names fit many times.
LARGEST = 4096

# Reason -> what that means.
REASONS = {
    "no_header": "what came first is no PROXY header",
    "bad_line": "a line of version 1 that is malformed",
    "bad_address": "an address or port of version 1 that is not of its protocol, or not in its canonical form",
    "too_long": f"a line over {LONGEST_LINE} bytes, or a header of version 2 over {LARGEST}",
    "bad_version": "a binary header of another version than 2",
    "bad_command": "a command other than LOCAL and PROXY",
    "bad_family": "an address family or transport that there is not",
    "too_short": "no room for the addresses of its family",
    "bad_tlv": "a TLV that is malformed, too long, or there twice",
    "bad_checksum": "its CRC32C is wrong",
}


class BadProxyHeader(Exception):  # noqa: N818 - it is the header that is bad
    """Carries no bytes of the sender: `reason` is one of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
