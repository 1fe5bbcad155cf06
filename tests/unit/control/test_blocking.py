"""Blocks carried out: what workers and the log are told of them, and how they end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nlb.control import blocks as blocks_module
from nlb.control.blocking import Blocking
from nlb.control.blocks import Block, Blocks
from nlb.errors import AdminError
from tests.fakes import HandLoop
from tests.unit.control.stepped import FakeEvents

WALL = 1_700_000_000.0


class Box:
    """The loop's clock and that on the wall go together, from different numbers."""

    def __init__(self, *held: Block) -> None:
        self.loop = HandLoop(now=1000.0)
        self.events = FakeEvents()
        self.told: list[dict[str, Any]] = []
        self.blocks = Blocks(None, self.events.say)
        for block in held:
            self.blocks.wish(block)
        self.blocking = Blocking(self.loop, self.blocks, self.events, self._tell, self.wall)  # type: ignore[arg-type]

    def wall(self) -> float:
        return WALL - 1000.0 + self.loop.now

    def _tell(self, message: dict[str, Any]) -> None:
        self.told.append(json.loads(json.dumps(message)))

    def offended(self, *networks: str, monitored: bool = False) -> None:
        self.blocking.offended([(network, "web", "severe", 600.0, monitored) for network in networks])

    @property
    def texts(self) -> list[str]:
        return [text for _, _, text in self.events.said]


@pytest.fixture
def box() -> Box:
    return Box()


def test_a_block_is_told_to_workers_and_to_the_log(box: Box) -> None:
    block = box.blocking.block("203.0.113.0/24", "scans", "ann", 3600.0)
    assert block == Block("203.0.113.0/24", "operator", "ann", WALL, "scans", WALL + 3600)
    assert box.told == [{"verb": "block", "blocks": [["203.0.113.0/24", 4600.0]], "all": False, "cut": True}]
    assert box.events.said == [("info", "operator", "203.0.113.0/24 blocked by ann, for 1h: scans")]


def test_what_a_source_has_open_may_stay(box: Box) -> None:
    box.blocking.block("203.0.113.0/24", "scans", "ann", None, keep=True)
    assert box.told == [{"verb": "block", "blocks": [["203.0.113.0/24", None]], "all": False, "cut": False}]
    assert box.texts == ["203.0.113.0/24 blocked by ann, open connections stay: scans"]


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.7/32", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
    ],
)
def test_a_network_has_one_spelling(box: Box, written: str, spelled: str) -> None:
    assert box.blocking.block(written, "", "ann", None).network == spelled
    assert box.told[-1]["blocks"] == [[spelled, None]]
    assert box.texts == [f"{spelled} blocked by ann"]
    assert [block.network for block in box.blocking.unblock(written, "bob")] == [spelled]


def test_unblocking_is_told_as_well(box: Box) -> None:
    for number in range(7):
        box.blocking.block(f"10.0.0.{number}", "", "ann", None)
    box.blocking.unblock("10.0.0.0/24", "bob")
    assert box.told[-1] == {"verb": "unblock", "networks": [f"10.0.0.{number}" for number in range(7)]}
    assert box.texts[-1] == "10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4 and 2 more unblocked by bob"
    assert box.blocking.all() == []


@pytest.mark.parametrize("network", ["office", "10.0.0.1/8", "0.0.0.0/0"])
def test_what_is_refused_changes_nothing(box: Box, network: str) -> None:
    with pytest.raises(AdminError):
        box.blocking.block(network, "", "ann", None)
    with pytest.raises(AdminError):
        box.blocking.unblock(network, "ann")
    assert (box.told, box.events.said, box.blocking.all()) == ([], [], [])


def test_a_new_worker_is_told_all(box: Box) -> None:
    box.blocking.block("10.0.0.1", "", "ann", None)
    box.offended("10.0.0.2/32")
    assert box.blocking.message() == {
        "verb": "block",
        "blocks": [["10.0.0.1", None], ["10.0.0.2", 1600.0]],
        "all": True,
        "cut": False,
    }
    box.loop.pass_time(100)
    assert box.blocking.message()["blocks"][1] == ["10.0.0.2", 1600.0]


def test_a_block_ends_by_itself(box: Box) -> None:
    box.blocking.block("10.0.0.1", "scans", "ann", 90.0)
    box.loop.pass_time(89)
    assert len(box.told) == 1
    box.loop.pass_time(2)
    assert box.told[-1] == {"verb": "unblock", "networks": ["10.0.0.1"]}
    assert box.texts[-1] == "10.0.0.1, blocked by ann (scans): that has ended by itself"
    assert not box.loop.deadlines


def test_what_ended_while_control_was_down_holds_no_more() -> None:
    box = Box(
        Block("10.0.0.1", "operator", "ann", WALL - 99, "scans", WALL - 9), Block("10.0.0.2", "operator", "", WALL)
    )
    assert [block.network for block in box.blocking.all()] == ["10.0.0.2"]
    assert box.texts == ["10.0.0.1, blocked by ann (scans): that has ended by itself"]


def test_thousands_that_end_one_after_the_other_are_looked_for_once_a_second(box: Box) -> None:
    for number in range(200):
        box.blocking.block(f"10.0.0.{number}", "", "ann", 10 + number / 100)
    told = len(box.told)
    box.loop.pass_time(15)
    assert len(box.told) - told <= 4
    assert box.blocking.all() == []


def test_offenders_are_blocked_at_once_and_told_of_together(box: Box) -> None:
    box.offended("198.51.100.7/32")
    assert box.told == [{"verb": "block", "blocks": [["198.51.100.7", 1600.0]], "all": False, "cut": True}]
    assert box.events.said == []
    box.loop.pass_time(1)
    text = "198.51.100.7 blocked for 10m: offences at listener web, the last: severe"
    assert box.events.said == [("warning", "nlb", text)]
    assert [(block.by, block.who, block.until) for block in box.blocking.all()] == [("offences", "", WALL + 600)]

    box.offended("2001:db8:1:2::/64")
    box.offended(*(f"10.0.0.{number}/32" for number in range(9)))
    box.loop.pass_time(5)
    assert box.texts[1:] == [
        "10 sources blocked for offences: 2001:db8:1:2::/64, 10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3 and 5 more"
    ]
    box.loop.pass_time(700)
    assert box.blocking.all() == []
    assert len(box.texts) == 2  # nobody waits for the end of these


def test_in_monitor_mode_nothing_comes_of_offences(box: Box) -> None:
    box.offended("198.51.100.7/32", monitored=True)
    box.loop.pass_time(5)
    assert (box.told, box.blocking.all()) == ([], [])
    assert box.texts == [
        "198.51.100.7 not blocked, because mode is monitor, for 10m: offences at listener web, the last: severe"
    ]


def test_a_flood_of_offenders_pushes_out_the_oldest(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "MOST", 3)
    box.blocking.block("192.0.2.1", "", "ann", None)
    for number in range(10):
        box.offended(f"10.0.0.{number}/32")
    assert [block.network for block in box.blocking.all()] == ["192.0.2.1", "10.0.0.7", "10.0.0.8", "10.0.0.9"]
    assert [message["networks"] for message in box.told if message["verb"] == "unblock"] == [
        [f"10.0.0.{number}"] for number in range(7)
    ]
    box.loop.pass_time(1)
    assert box.texts[-1] == "7 of the oldest blocks for offences were lifted: there is room for no more"


def test_a_source_that_an_operator_blocks_stays_his(box: Box) -> None:
    box.blocking.block("10.0.0.1", "", "ann", None)
    told = len(box.told)
    box.offended("10.0.0.1/32")
    assert len(box.told) == told
    assert [block.by for block in box.blocking.all()] == ["operator"]
