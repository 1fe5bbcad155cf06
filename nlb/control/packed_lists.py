"""Lists of networks as workers take them: each distinct one once, in memory that they read (cidr.py, `packed`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nlb.model.shield import Listing, Shield
from nlb.net.channel import memfd
from nlb.shield.cidr import Networks, packed

# Networks that are packed at once, of those that the config itself has: 5 ms. Files come packed.
_STEP = 2500


@dataclass(frozen=True, slots=True)
class Listed:
    """`number` says which one it is, as long as it is kept."""

    number: int
    fd: int


class PackedLists:
    """Those of all listeners, by what is in them."""

    def __init__(self) -> None:
        self._listed: dict[Listing, Listed] = {}
        self._last = 0

    def deny(self, shield: Shield) -> Listed | None:
        """None denies nobody."""
        return self._ready(shield.denied) if shield.deny else None

    def allow(self, shield: Shield) -> Listed | None:
        """None allows everybody."""
        return None if shield.allowed is None else self._ready(shield.allowed)

    def prepare(self, shield: Shield) -> Iterator[None]:
        """Pack what `deny` and `allow` will ask for, some of it per step."""
        for listing in _listings(shield):
            yield from self._pack(listing)

    def keep(self, shields: Iterable[Shield]) -> None:
        """Only those of these: all others are of no listener any more."""
        used = {listing for shield in shields for listing in _listings(shield)}
        for listing in self._listed.keys() - used:
            os.close(self._listed.pop(listing).fd)

    def _ready(self, listing: Listing) -> Listed:
        for _ in self._pack(listing):
            pass
        return self._listed[listing]

    def _pack(self, listing: Listing) -> Iterator[None]:
        if listing in self._listed:
            return
        data = bytearray()
        for start in range(0, len(listing.written), _STEP):
            data += Networks(listing.written[start : start + _STEP]).packed()
            yield
        for file in listing.files:
            data += packed(file.parts)
        self._last += 1
        self._listed[listing] = Listed(self._last, memfd("nlb-networks", data))


def _listings(shield: Shield) -> list[Listing]:
    return [listing for listing in (shield.denied if shield.deny else None, shield.allowed) if listing is not None]
