"""Connections of sources over several workers: what comes and goes, dies, and does not fit."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from nlb.shield import connections, table
from nlb.shield.connections import Connections, clear
from tests.unit.shield.shared import memory


def workers(count: int) -> tuple[memoryview, list[Connections]]:
    block = memory(count)
    return block, [Connections(block, count, index) for index in range(count)]


def test_what_one_worker_counts_all_see() -> None:
    _, (one, other, third) = workers(3)
    ticket = one.enter(0, 7)
    other.enter(0, 7)
    other.enter(0, 7)
    assert [each.count(0, 7) for each in (one, other, third)] == [3, 3, 3]
    one.leave(ticket)
    assert [each.count(0, 7) for each in (one, other, third)] == [2, 2, 2]


def test_sources_and_kinds_are_counted_apart() -> None:
    _, (one, other) = workers(2)
    one.enter(0, 7)
    assert [other.count(kind, key) for kind, key in ((0, 7), (1, 7), (0, 8), (0, 7 | 1 << 64))] == [1, 0, 0, 0]


def test_after_a_death_its_connections_are_gone_and_the_others_stay() -> None:
    block, (one, other) = workers(2)
    for _ in range(3):
        one.enter(0, 7)
        other.enter(0, 7)
    clear(block, 0)
    assert other.count(0, 7) == 3
    replacement = Connections(block, 2, 0)
    assert replacement.count(0, 7) == 3
    replacement.enter(0, 7)
    assert other.count(0, 7) == 4


def test_nothing_is_left_when_all_have_left() -> None:
    block, (one, other) = workers(2)
    tickets = [one.enter(0, key) for key in range(2000) for _ in range(2)]
    for ticket in tickets:
        one.leave(ticket)
    assert all(other.count(0, key) == one.count(0, key) == 0 for key in range(2000))
    part = table.connections(block, 0)
    assert not any(part.words[at + table.WAYS + way] for at in range(0, len(part.words), 16) for way in range(8))
    assert not one._mine


def in_one_set(block: memoryview, count: int) -> list[int]:
    """Sources that meet there."""
    part = table.connections(block, 0)
    at = part.name(0, 0) & part.mask
    return [key for key in range(4096 * count * 2) if part.name(0, key) & part.mask == at][:count]


def test_a_full_set_keeps_the_highest_counts_and_the_worker_itself_forgets_nothing() -> None:
    block, (one, other) = workers(2)
    keys = in_one_set(block, 2 * table.WAYS)
    tickets = {key: [one.enter(0, key) for _ in range(number + 1)] for number, key in enumerate(keys)}
    assert [one.count(0, key) for key in keys] == list(range(1, 2 * table.WAYS + 1))
    seen = [other.count(0, key) for key in keys]
    assert seen == [0] * table.WAYS + list(range(table.WAYS + 1, 2 * table.WAYS + 1))

    for key in keys[table.WAYS :]:
        for ticket in tickets[key]:
            one.leave(ticket)
    for key in keys[: table.WAYS]:
        one.enter(0, key)
    assert [other.count(0, key) for key in keys] == [*range(2, table.WAYS + 2), *[0] * table.WAYS]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("+-x"), st.integers(0, 2), st.integers(0, 5)), max_size=80))
def test_workers_count_what_is_open(steps: list[tuple[str, int, int]]) -> None:
    """Any coming, going and dying, of few enough sources that all fit."""
    block, all_of_them = workers(3)
    open_ones: list[dict[int, list[int]]] = [{}, {}, {}]
    for what, index, key in steps:
        if what == "+":
            open_ones[index].setdefault(key, []).append(all_of_them[index].enter(0, key))
        elif what == "-" and open_ones[index].get(key):
            all_of_them[index].leave(open_ones[index][key].pop())
        elif what == "x":
            clear(block, index)
            all_of_them[index] = Connections(block, 3, index)
            open_ones[index] = {}
    held = Counter({key: sum(len(each.get(key, [])) for each in open_ones) for key in range(6)})
    for worker in all_of_them:
        assert {key: worker.count(0, key) for key in range(6)} == held


def test_parts_do_not_overlap() -> None:
    block = memory(2)
    parts = [table.buckets(block), table.offences(block), *(table.connections(block, index) for index in range(2))]
    for number, part in enumerate(parts, 1):
        part.memory[:] = bytes([number]) * len(part.memory)
    assert [set(part.memory) for part in parts] == [{1}, {2}, {3}, {4}]
    assert sum(len(part.memory) for part in parts) + table.HEAD == table.size(2)
    assert table.secrets(block) == table.secrets(memory())
    assert connections.__doc__
