"""Which policies there are, by the words of the config."""

from __future__ import annotations

from collections.abc import Callable

from nlb.balance.affinity import Maglev
from nlb.balance.least_connections import LeastConnections
from nlb.balance.own import PREFIX, Contained
from nlb.balance.policy import Means, Policy
from nlb.balance.random_two import RandomTwo
from nlb.balance.round_robin import RoundRobin

POLICIES: dict[str, Callable[[Means], Policy]] = {
    "round_robin": RoundRobin,
    "least_connections": LeastConnections,
    "random_two": RandomTwo,
    "maglev": Maglev,
    # The key is the client's address, see Group. A table and not a score per target: that would be work for every
    # target in every choice, and as many clients would move.
    "source_ip": Maglev,
}


def make(policy: str, means: Means) -> Policy:
    if policy.startswith(PREFIX):
        return Contained(policy, means)
    return POLICIES[policy](means)
