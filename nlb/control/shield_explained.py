"""What the shield of a listener would say of a client and of a request, as far as it does not depend on how often they
come: for `nlb explain`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from nlb.control.shielding import shield_spec
from nlb.http1.facts import Request
from nlb.model.shield import Shield
from nlb.shield.cidr import Networks
from nlb.shield.requests import Requests
from nlb.shield.sources import NOBODY
from nlb.shield.words import BAD_PATH, BLOCKED, DENIED, DENIED_PATH, METHOD


class Said(NamedTuple):
    """Why somebody is refused. `status` 0 is a reset at accept; without `refuses` it is only counted."""

    word: str
    status: int
    why: str
    refuses: bool


def of_client(shield: Shield, address: str, blocked: Iterable[str]) -> Said | None:
    """`blocked` are the networks that are blocked now."""
    enforces = shield.mode == "enforce"
    if network := Networks(shield.denied).find(address):
        return Said(DENIED, 0, f"{address} is denied, by {network} of deny", enforces)
    allowed = shield.allowed
    if allowed is not None and Networks(allowed).find(address) is None:
        return Said(DENIED, 0, f"{address} is in no network of allow", enforces)
    if network := Networks(blocked).find(address):
        return Said(BLOCKED, 0, f"{address} is blocked, by {network}; `nlb ctl blocked` tells why", True)
    return None


def of_request(shield: Shield, request: Request) -> Said | None:
    # Without rates nobody asks the buckets, so there need not be any.
    requests = Requests(shield_spec(shield, 0, True)["requests"] | {"rates": []}, None)  # type: ignore[arg-type]
    refusal = requests.judge(request.method, request.host, request.path, NOBODY, 0.0)
    if refusal is None:
        return None
    why = {
        METHOD: f"its method is none of {requests.allowed}",
        BAD_PATH: "its path climbs out of the root, or cannot be read in one way",
        DENIED_PATH: "its path is in deny_path",
    }[refusal.word]
    return Said(refusal.word, refusal.status, why, shield.mode == "enforce")
