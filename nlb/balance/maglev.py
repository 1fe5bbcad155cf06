"""Names and weights -> the Maglev table: which slot belongs to whom. A pure function of its arguments, so every
node and process that knows the same names and weights has the same table.

Each target has a permutation of all slots, made from its name alone. In turns by weight, each target takes the
first slot of its permutation that is still free, until none is. So a target's share is exact to one slot, and most
slots keep their owner when another target comes or goes (Eisenbud et al., NSDI 2016, section 3.4).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b

from nlb.balance.turns import turns

# A prime, so that every step but 0 visits all slots; large enough for 1 % of balance between 650 targets.
SLOTS = 65537


def build(targets: Sequence[tuple[str, int]], slots: int = SLOTS) -> array[int]:
    """Slot -> index into `targets`, which are (name, weight above 0); `slots` is a prime. Empty without targets.

    The order of `targets` makes no difference to who owns which slot.
    """
    if not targets:
        return array("I")
    order = sorted(range(len(targets)), key=lambda index: targets[index])
    # Where each stands in its permutation, and its step.
    at = [_hash(targets[index][0], b"offset") % slots for index in order]
    step = [_hash(targets[index][0], b"skip") % (slots - 1) + 1 for index in order]
    owners = [-1] * slots
    for turn in turns([targets[index][1] for index in order], slots):
        slot = at[turn]
        skip = step[turn]
        while owners[slot] >= 0:
            slot += skip
            if slot >= slots:
                slot -= slots
        owners[slot] = order[turn]
        at[turn] = slot
    return array("I", owners)


def _hash(name: str, what: bytes) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8, person=what).digest(), "big")
