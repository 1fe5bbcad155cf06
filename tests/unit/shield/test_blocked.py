"""Who is blocked at run time, until when."""

from __future__ import annotations

import pytest

from nlb.shield.blocked import Blocked
from nlb.shield.sources import source_of


def has(blocked: Blocked, address: str, now: float = 100.0) -> bool:
    return blocked.has(*source_of(address), now)


@pytest.fixture
def blocked() -> Blocked:
    blocked = Blocked()
    blocked.block([("198.51.100.7/32", 200.0), ("203.0.113.0/24", None), ("2001:db8:1:2::/64", 150.0)])
    blocked.block([("192.0.2.1", None), ("2001:db8::1", None)])
    return blocked


@pytest.mark.parametrize(
    ("address", "until"),
    [
        ("198.51.100.7", 200.0),
        ("198.51.100.8", 0.0),
        ("::ffff:198.51.100.7", 200.0),
        ("203.0.113.255", 1e9),
        ("2001:db8:1:2:3::4", 150.0),
        ("2001:db8:1:3::4", 0.0),
        ("192.0.2.1", 1e9),
        ("2001:db8::1", 1e9),
        ("2001:db8::2", 0.0),
        ("unknown", 0.0),
    ],
)
def test_a_block_holds_until_its_end(blocked: Blocked, address: str, until: float) -> None:
    assert [has(blocked, address, now) for now in (0.0, 149.0, 151.0, 199.9, 200.0, 1e8)] == [
        now < until for now in (0.0, 149.0, 151.0, 199.9, 200.0, 1e8)
    ]


def test_a_block_is_taken_back(blocked: Blocked) -> None:
    blocked.unblock(["203.0.113.0/24", "192.0.2.1/32", "10.9.8.7/32", "10.0.0.0/9"])
    assert not has(blocked, "203.0.113.1")
    assert not has(blocked, "192.0.2.1")
    assert has(blocked, "198.51.100.7")
    assert len(blocked) == 3


def test_a_block_gets_another_end(blocked: Blocked) -> None:
    blocked.block([("198.51.100.7", 1000.0), ("203.0.113.0/24", 50.0)])
    assert has(blocked, "198.51.100.7", 999.0)
    assert not has(blocked, "203.0.113.1")
    assert len(blocked) == 5


def test_a_wide_block_and_a_narrow_one_hold_both() -> None:
    blocked = Blocked()
    blocked.block([("10.1.0.0/16", None), ("10.1.2.3", 50.0)])
    assert has(blocked, "10.1.2.3", 60.0)


def test_without_blocks_there_is_nothing_to_ask(blocked: Blocked) -> None:
    assert not Blocked()
    assert blocked
    blocked.clear()
    assert not blocked
    blocked.block([("10.0.0.1", None)])
    blocked.unblock(["10.0.0.1"])
    assert not blocked
    assert len(blocked) == 0
