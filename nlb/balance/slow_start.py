"""Slow start: a target that comes back, or joins, begins with a tenth of its weight and has all of it after a time.
Caches fill, pools connect and code warms up meanwhile.

Control sees who arrives (`arrivals`) and when; everybody who chooses weighs by that (`weights`), on the same clock.
Not slowed are: what was there when nlb started and passed its first check, for then all begin together; and a target
beside which there is none at full weight, for somebody must do the work.
"""

from __future__ import annotations

from collections.abc import Sequence

from nlb.balance.target import INITIAL, Target

# Weights grow in twentieths: fine enough to be smooth, coarse enough for short schedules.
FULL = 20
LEAST = 2


def arrivals(targets: Sequence[Target], now: float, seconds: float) -> None:
    """After facts about `targets` of a group changed: note who begins slowly, and who no longer does.

    `is_cold` says that the next arrival of a target is one of these: whoever adds a target while nlb runs sets it.
    """
    arrived = []
    is_someone_warm = False
    for target in targets:
        if not target.usable:
            target.slow_from = 0.0
            if target.health.state != INITIAL or not target.eligible:
                target.is_cold = True
        elif target.is_cold:
            target.is_cold = False
            arrived.append(target)
        elif level(target, now, seconds) == FULL:
            is_someone_warm = True
    for target in arrived:
        target.slow_from = now if is_someone_warm else 0.0


def level(target: Target, now: float, seconds: float) -> int:
    """Twentieths of its weight that `target` has now."""
    if not target.slow_from or now >= target.slow_from + seconds:
        return FULL
    return LEAST + int((FULL - LEAST) * max(0.0, now - target.slow_from) / seconds)


def weights(candidates: Sequence[Target], now: float, seconds: float) -> list[int] | None:
    """What the candidates weigh now, in twentieths; None when each weighs what it always does."""
    levels = [level(target, now, seconds) for target in candidates]
    if min(levels, default=FULL) == FULL or max(levels) < FULL:
        return None
    return [target.weight * twentieths for target, twentieths in zip(candidates, levels, strict=True)]
