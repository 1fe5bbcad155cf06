"""The operator's desk: what it asks of others, and how they are answered."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.control.blocking import Blocking
from nlb.control.blocks import Blocks
from nlb.control.desk import Desk
from nlb.errors import AdminError
from tests.fakes import HandLoop
from tests.unit.control.stepped import FakeEvents


def desk(blocking: Blocking | None) -> Desk:
    """Nobody else is asked here."""
    absent: Any = None
    return Desk(absent, absent, absent, absent, absent, blocking=blocking)


def test_blocks_come_as_plain_data() -> None:
    events, told = FakeEvents(), []
    blocking = Blocking(HandLoop(), Blocks(None, events.say), events, told.append, lambda: 5000.0)  # type: ignore[arg-type]
    here = desk(blocking)
    block = {"network": "10.0.0.1", "by": "operator", "who": "ann", "when": 5000.0, "reason": "scans", "until": 5060.0}
    assert here.block("10.0.0.1/32", "scans", "ann", 60.0) == [block]
    assert here.blocked() == [block]
    assert here.unblock("10.0.0.0/8", "bob") == [block]
    assert here.blocked() == []
    assert [message["verb"] for message in told] == ["block", "unblock"]


def test_without_a_shield_nobody_is_blocked() -> None:
    here = desk(None)
    assert here.blocked() == []
    with pytest.raises(AdminError, match="cannot block anybody"):
        here.block("10.0.0.1", "", "ann")
    with pytest.raises(AdminError, match="cannot block anybody"):
        here.unblock("10.0.0.1", "ann")
