"""What the shield of a listener would say of a client and of a request, as far as it does not depend on how often they
come: for `nlb explain`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nlb.control.shielding import shield_spec
from nlb.http1.facts import Request
from nlb.model.shield import Listing, Shield
from nlb.shield.cidr import Networks, find, parse
from nlb.shield.requests import Requests
from nlb.shield.sources import NOBODY
from nlb.shield.words import BAD_PATH, BLOCKED, DENIED, DENIED_PATH, MAX_BODY, METHOD


class Said(NamedTuple):
    """Why somebody is refused. `status` 0 is a reset at accept; without `refuses` it is only counted."""

    word: str
    status: int
    why: str
    refuses: bool


def of_client(shield: Shield, address: str, blocked: Callable[[str], str | None]) -> Said | None:
    """`blocked` tells the network of a client that is blocked now."""
    enforces = shield.mode == "enforce"
    if network := _find(shield.denied, address):
        return Said(DENIED, 0, f"{address} is denied, by {network} of deny", enforces)
    allowed = shield.allowed
    if allowed is not None and _find(allowed, address) is None:
        return Said(DENIED, 0, f"{address} is in no network of allow", enforces)
    if network := blocked(address):
        return Said(BLOCKED, 0, f"{address} is blocked, by {network}; `nlb ctl blocked` tells why", True)
    return None


def _find(listing: Listing, address: str) -> str | None:
    """The most specific network that has it. No set is made of the 100,000 that a file may have."""
    found = [Networks(listing.written).find(address), *(find(file.parts, address) for file in listing.files)]
    return max((network for network in found if network), key=lambda network: parse(network).prefixlen, default=None)


def of_request(shield: Shield, request: Request) -> Said | None:
    # Without rates nobody asks the buckets, so there need not be any.
    requests = Requests(shield_spec(shield, 0, True)["requests"] | {"rates": []}, None)  # type: ignore[arg-type]
    refusal = requests.judge(request.method, request.host, request.path, NOBODY, 0.0)
    most = shield.http.max_body
    if refusal is None and most is not None and request.length > most:
        return Said(MAX_BODY, 413, f"its body is longer than max_body, {most} bytes", shield.mode == "enforce")
    if refusal is None:
        return None
    why = {
        METHOD: f"its method is none of {requests.allowed}",
        BAD_PATH: "its path climbs out of the root, or cannot be read in one way",
        DENIED_PATH: "its path is in deny_path",
    }[refusal.word]
    return Said(refusal.word, refusal.status, why, shield.mode == "enforce")
