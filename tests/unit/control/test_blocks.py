"""Who is blocked at run time, from the block to its end, and over restarts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nlb.control import blocks as module
from nlb.control.blocks import Block, Blocks, By, entries
from nlb.control.kept import LONGEST
from nlb.control.state import VERSION, StateDir
from nlb.errors import AdminError
from nlb.shield.cidr import parse


def block(network: str = "198.51.100.7", by: By = "operator", until: float | None = None, who: str = "ada") -> Block:
    return Block(network, by, who if by == "operator" else "", 1000.0, "scans", until)


class Box:
    """A box with a state directory; `start` is a start of nlb on it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "blocks.json"
        self.events: list[str] = []
        self._folder = folder
        self._state: StateDir | None = None

    def say(self, level: str, kind: str, text: str) -> None:
        self.events.append(f"{level} {kind}: {text}")

    def start(self) -> Blocks:
        self.stop()
        self.events.clear()
        self._state = StateDir(str(self._folder), self.say)
        return Blocks(self._state, self.say)

    def stop(self) -> None:
        if self._state:
            self._state.close()

    def write(self, *entries: object) -> None:
        """An operator edits the file."""
        self._folder.mkdir(exist_ok=True)
        self.file.write_text(json.dumps({"version": VERSION, "data": {"blocks": entries}}))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path / "state")
    yield box
    box.stop()


@pytest.fixture
def blocks(box: Box) -> Blocks:
    """Without a state directory."""
    return Blocks(None, box.say)


def networks(blocks: Blocks) -> list[str]:
    return [each.network for each in blocks.all()]


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(block(), id="an address"),
        pytest.param(block("203.0.113.0/24", until=5000.25), id="a network, for a while"),
        pytest.param(block("2001:db8:1:2::/64"), id="a /64"),
        pytest.param(block("2001:db8::1"), id="an IPv6 address"),
        pytest.param(block("10.0.0.0/8"), id="the widest"),
        pytest.param(replace(block(), who="", reason=""), id="nobody said why"),
        pytest.param(replace(block(), who="\u00fc" * LONGEST, reason="\U0001f600" * LONGEST), id="the longest texts"),
    ],
)
def test_a_block_survives_a_restart_as_it_is(box: Box, one: Block) -> None:
    box.start().wish(one)
    assert box.start().all() == [one]
    assert box.events == []


def test_blocks_for_offences_survive_once_they_are_saved(box: Box) -> None:
    blocks = box.start()
    one = block(by="offences", until=5000.0)
    assert blocks.catch([one]) == ([one], [])
    assert not box.file.exists()
    blocks.save_changes()
    assert box.start().all() == [one]


def test_nothing_is_written_where_nothing_changed(box: Box) -> None:
    blocks = box.start()
    blocks.save_changes()
    assert not box.file.exists()
    blocks.catch([block(by="offences", until=5.0)])
    blocks.save_changes()
    written = box.file.stat().st_mtime_ns
    blocks.save_changes()
    blocks.expire(4.0)
    blocks.save_changes()
    assert box.file.stat().st_mtime_ns == written
    blocks.expire(5.0)
    blocks.save_changes()
    assert json.loads(box.file.read_text())["data"]["blocks"] == []


def test_the_last_wish_for_a_network_is_the_one_that_holds(blocks: Blocks) -> None:
    blocks.wish(block(until=5000.0))
    blocks.wish(block(who="bob"))
    assert [(one.who, one.until) for one in blocks.all()] == [("bob", None)]


def test_an_operator_takes_over_what_was_blocked_for_offences_and_not_the_other_way(blocks: Blocks) -> None:
    blocks.catch([block(by="offences", until=5000.0)])
    blocks.wish(block())
    assert [one.by for one in blocks.all()] == ["operator"]
    assert blocks.catch([block(by="offences", until=9000.0)]) == ([], [])
    assert [one.by for one in blocks.all()] == ["operator"]


@pytest.mark.parametrize(
    ("lifted", "left"),
    [
        ("198.51.100.7", ["198.51.100.0/24", "203.0.113.9", "2001:db8::1", "198.51.100.8"]),
        ("198.51.100.0/24", ["203.0.113.9", "2001:db8::1"]),
        ("0.0.0.0/0", ["2001:db8::1"]),
        ("::/0", ["198.51.100.7", "198.51.100.0/24", "203.0.113.9", "198.51.100.8"]),
    ],
)
def test_lifting_a_network_lifts_all_in_it(blocks: Blocks, lifted: str, left: list[str]) -> None:
    for network in ("198.51.100.7", "198.51.100.0/24", "203.0.113.9", "2001:db8::1"):
        blocks.wish(block(network))
    blocks.catch([block("198.51.100.8", "offences", 5000.0)])
    ended = blocks.lift(parse(lifted))
    assert networks(blocks) == left
    assert len(ended) + len(left) == 5


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ("192.0.2.1", "192.0.2.1 is not blocked; nlb ctl blocked lists who is"),
        ("198.51.100.9", "198.51.100.9 is not blocked; 198.51.100.0/24 is, and 198.51.100.9 is in it"),
        ("2001:db8::/32", "2001:db8::/32 is not blocked; nlb ctl blocked lists who is"),
    ],
)
def test_what_is_not_blocked_cannot_be_lifted(blocks: Blocks, network: str, sentence: str) -> None:
    blocks.wish(block("198.51.100.0/24"))
    with pytest.raises(AdminError, match=sentence):
        blocks.lift(parse(network))
    assert len(blocks) == 1


def test_blocks_end_in_time(blocks: Blocks) -> None:
    blocks.wish(block("10.0.0.1", until=2000.0))
    blocks.wish(block("10.0.0.2"))
    blocks.catch([block("10.0.0.3", "offences", 1500.0)])
    assert blocks.next_expiry() == 1500.0
    assert [one.network for one in blocks.expire(1999.9)] == ["10.0.0.3"]
    assert blocks.next_expiry() == 2000.0
    assert [one.network for one in blocks.expire(2000.0)] == ["10.0.0.1"]
    assert blocks.next_expiry() is None
    assert networks(blocks) == ["10.0.0.2"]


def test_workers_are_told_ends_by_the_other_clock() -> None:
    told = entries([block(), block("10.0.0.0/8", until=1060.5)], wall=1000.0, monotonic=50.0)
    assert told == [("198.51.100.7", None), ("10.0.0.0/8", 110.5)]


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ("0.0.0.0/0", "0.0.0.0/0 is too wide to be blocked at once: /8 is the widest; `deny` in the config takes any"),
        ("0.0.0.0/7", "is too wide"),
        ("2000::/3", "2000::/3 is too wide to be blocked at once: /16 is the widest"),
        ("10.0.0.1/32", "network must be written 10.0.0.1"),
        ("office", "'office' is not a network"),
    ],
)
def test_what_may_not_be_blocked(blocks: Blocks, network: str, sentence: str) -> None:
    with pytest.raises(AdminError, match=sentence):
        blocks.wish(block(network))
    assert len(blocks) == 0


def test_there_is_room_for_so_many(blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    for number in range(3):
        blocks.wish(block(f"10.0.0.{number}"))
    with pytest.raises(AdminError, match="there is room for 3 blocks"):
        blocks.wish(block("10.0.0.9"))
    blocks.wish(block("10.0.0.1", until=2000.0))
    held, gone = blocks.catch([block(f"10.0.1.{number}", "offences", 2000.0) for number in range(5)])
    assert [one.network for one in held] == ["10.0.1.2", "10.0.1.3", "10.0.1.4"]
    assert [one.network for one in gone] == ["10.0.1.0", "10.0.1.1"]
    assert len(blocks) == 6


def test_who_offends_again_is_not_the_oldest_any_more(blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    for network in ("10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.3"):
        blocks.catch([block(network, "offences", 2000.0)])
    assert networks(blocks) == ["10.0.0.1", "10.0.0.3"]


GOOD = block().data()


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("x", "not an object"),
        ({name: GOOD[name] for name in GOOD if name != "until"}, "until is missing"),
        (GOOD | {"colour": 1}, "colour is unknown"),
        (GOOD | {"by": "me"}, "by must be operator or offences"),
        (GOOD | {"network": 7}, "network must be text on one line"),
        (GOOD | {"network": "0.0.0.0/0"}, "is too wide"),
        (GOOD | {"network": "10.0.0.1/8"}, "10.0.0.1/8 has host bits"),
        (GOOD | {"reason": "a\nb"}, "reason must be text on one line"),
        (GOOD | {"when": "now"}, "when must be unix seconds"),
        (GOOD | {"until": 1e300}, "until must be unix seconds"),
        (GOOD | {"until": True}, "until must be unix seconds"),
        (GOOD, "this network is there twice"),
    ],
)
def test_a_damaged_entry_is_named_and_left_out(box: Box, entry: Any, why: str) -> None:
    box.write(GOOD, entry)
    assert box.start().all() == [block()]
    (event,) = box.events
    assert event.startswith("error operator: 1 of 2 blocks on disk cannot be used and are dropped\n")
    assert why in event


def test_a_document_without_blocks_is_set_aside(box: Box) -> None:
    box.write()
    box.file.write_text(json.dumps({"version": VERSION, "data": {"blocks": 7}}))
    assert box.start().all() == []
    assert "it has no list of blocks" in box.events[0]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.7/32"),
        ("198.51.100.8", "198.51.100.0/24"),
        ("198.51.101.1", None),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.8", "198.51.100.0/24"),
        ("fe80::1%eth0", None),
        ("unix:", None),
    ],
)
def test_the_most_specific_block_of_an_address(address: str, network: str | None) -> None:
    blocks = Blocks(None, lambda *said: None)
    blocks.wish(block("198.51.100.0/24"))
    blocks.catch([block("198.51.100.7", by="offences"), block("2001:db8:1:2::/64", by="offences")])
    assert blocks.find(address) == network
