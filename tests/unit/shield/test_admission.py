"""Who may connect, and the word for who may not."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from nlb.shield.admission import Admission, Limits
from nlb.shield.blocked import Blocked
from nlb.shield.buckets import Buckets
from nlb.shield.cidr import Networks
from nlb.shield.connections import Connections
from nlb.shield.sources import source_of
from nlb.shield.words import BLOCKED, DENIED, LIMIT, RATE, REASONS, SOURCE_LIMIT
from tests.unit.shield.shared import memory

NOW = 1_000_000.0


class Door:
    """A listener's admission, on a box of its own."""

    def __init__(
        self,
        deny: list[str] | None = None,
        allow: list[str] | None = None,
        blocked: list[tuple[str, float | None]] | None = None,
        monitors: bool = False,
        **limits: Any,
    ) -> None:
        block = memory()
        self.sessions = 0
        self.connections = Connections(block, 1, 0)
        self.blocked = Blocked()
        self.blocked.block(blocked or [])
        self.admission = Admission(
            Limits(**limits),
            Networks(deny or []),
            None if allow is None else Networks(allow),
            self.blocked,
            Buckets(block),
            self.connections,
            lambda: self.sessions,
            monitors,
        )

    def judge(self, address: str, now: float = NOW) -> str:
        return self.admission.judge(source_of(address), now)

    def enter(self, address: str) -> int | None:
        return self.admission.enter(source_of(address))


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("192.0.2.1", ""),
        ("203.0.113.9", DENIED),
        ("::ffff:203.0.113.9", DENIED),
        ("192.0.2.66", DENIED),  # allowed, and denied: deny wins
        ("10.0.0.1", DENIED),  # not among the allowed
        ("2001:db8::1", ""),
        ("2001:db9::1", DENIED),
        ("192.0.2.7", BLOCKED),
        ("", ""),  # of a unix socket
    ],
)
def test_deny_wins_over_allow_and_a_block_over_both(address: str, word: str) -> None:
    door = Door(
        ["203.0.113.0/24", "192.0.2.66"], ["192.0.2.0/24", "2001:db8::/32"], [("192.0.2.7", None), ("10.0.0.1", None)]
    )
    assert door.judge(address) == word


def test_without_allow_everybody_is_allowed_and_with_an_empty_one_nobody() -> None:
    assert Door(deny=["10.0.0.0/8"]).judge("192.0.2.1") == ""
    assert Door(allow=[]).judge("192.0.2.1") == DENIED


def test_a_block_ends() -> None:
    door = Door(blocked=[("192.0.2.7", NOW + 60)])
    assert [door.judge("192.0.2.7", NOW + after) for after in (0, 59, 60)] == [BLOCKED, BLOCKED, ""]


def test_a_listener_is_full() -> None:
    door = Door(max_connections=3)
    door.sessions = 2
    assert door.judge("192.0.2.1") == ""
    door.sessions = 3
    assert door.judge("192.0.2.1") == door.judge("") == LIMIT


def test_a_source_has_too_many_connections() -> None:
    door = Door(per_source=2)
    tickets = []
    for _ in range(2):
        assert door.judge("2001:db8:1:2::1") == ""
        tickets.append(door.enter("2001:db8:1:2::1"))
    assert door.judge("2001:db8:1:2:ffff::9") == SOURCE_LIMIT  # the same /64
    assert door.judge("2001:db8:1:3::1") == ""
    assert tickets[0] is not None
    door.connections.leave(tickets[0])
    assert door.judge("2001:db8:1:2::1") == ""


def test_a_source_comes_too_often() -> None:
    door = Door(rate=50.0, burst=10)
    assert [door.judge("192.0.2.1") for _ in range(12)] == [""] * 10 + [RATE] * 2
    assert door.judge("192.0.2.2") == ""
    assert door.judge("192.0.2.1", NOW + 0.02) == ""


def test_who_is_refused_for_something_else_spends_no_token() -> None:
    door = Door(rate=50.0, burst=1, max_connections=1)
    door.sessions = 1
    assert [door.judge("192.0.2.1") for _ in range(5)] == [LIMIT] * 5
    door.sessions = 0
    assert door.judge("192.0.2.1") == ""
    assert door.judge("192.0.2.1") == RATE


def test_whoever_has_no_address_shares_no_limit() -> None:
    door = Door(rate=1.0, burst=1, per_source=1)
    for _ in range(5):
        assert door.judge("") == ""
        assert door.enter("") is None


def test_only_where_sources_are_counted_is_there_anything_to_leave() -> None:
    assert Door(rate=1.0, burst=1).enter("192.0.2.1") is None
    assert Door(per_source=1).enter("192.0.2.1") is not None


def test_a_proxy_is_asked_for_itself_and_its_clients_for_themselves() -> None:
    door = Door(
        ["203.0.113.0/24"], ["192.0.2.0/24"], [("192.0.2.7", None), ("10.0.0.9", None)], rate=1.0, burst=1, per_source=1
    )
    proxy, client = source_of("10.0.0.1"), source_of("192.0.2.1")
    for _ in range(5):
        assert door.admission.judge_proxy(proxy, NOW) == ""  # not among the allowed: those are clients
    assert door.admission.judge_proxy(source_of("203.0.113.1"), NOW) == DENIED
    assert door.admission.judge_proxy(source_of("10.0.0.9"), NOW) == BLOCKED
    assert door.admission.judge_client(client, NOW) == ""
    assert door.admission.judge_client(client, NOW) == RATE
    door.admission.enter(client)
    assert door.admission.judge_client(client, NOW + 9) == SOURCE_LIMIT
    assert door.admission.judge_client(source_of("203.0.113.1"), NOW) == DENIED
    assert door.admission.judge_client(source_of("192.0.2.7"), NOW) == BLOCKED


def test_the_listener_is_full_for_proxies_at_accept_only() -> None:
    door = Door(max_connections=1)
    door.sessions = 1
    assert door.admission.judge_proxy(source_of("10.0.0.1"), NOW) == LIMIT
    assert door.admission.judge_client(source_of("10.0.0.1"), NOW) == ""


@pytest.mark.parametrize(
    ("word", "refused"), [(DENIED, False), (BLOCKED, True), (LIMIT, False), (SOURCE_LIMIT, False), (RATE, False)]
)
def test_monitor_mode_judges_and_lets_in_whom_nobody_blocked(word: str, refused: bool) -> None:
    assert Door(monitors=True).admission.refuses(word) is refused
    assert Door().admission.refuses(word)


@pytest.mark.parametrize(
    "door",
    [
        Door(deny=["10.0.0.0/8"]),
        Door(allow=[]),
        Door(blocked=[("10.0.0.1", None)]),
        Door(max_connections=1),
        Door(per_source=1),
        Door(rate=1.0, burst=1),
    ],
)
def test_something_is_asked_where_anything_could_refuse(door: Door) -> None:
    assert door.admission


def test_nothing_is_asked_where_nothing_is_set() -> None:
    door = Door()
    assert not door.admission
    door.blocked.block([("10.0.0.1", None)])
    assert door.admission
    door.blocked.clear()
    assert not door.admission
    assert door.judge("192.0.2.1") == ""


def test_every_word_has_a_meaning() -> None:
    assert {DENIED, BLOCKED, LIMIT, SOURCE_LIMIT, RATE} <= set(REASONS)
    assert all(meaning and word.isidentifier() for word, meaning in REASONS.items())


def test_refused_connections_leave_nothing_behind() -> None:
    """Each from another source, refused or not: what is kept of them is in the table, whose size is fixed."""
    door = Door(["203.0.0.0/16"], rate=1.0, burst=1, per_source=5)
    addresses = [f"{first}.0.{number >> 8}.{number & 255}" for first in (203, 10) for number in range(5000)]
    for address in addresses:
        door.judge(address)
    tracemalloc.start()
    try:
        for address in addresses:
            door.judge(address)
        assert tracemalloc.get_traced_memory()[0] < 2000
    finally:
        tracemalloc.stop()
