"""Counters: every word has its own place, buckets hold what their bounds say, and a new worker goes on counting."""

from __future__ import annotations

import pytest

from nlb.errors import OUTCOMES
from nlb.http1.desync import CLASS_OF
from nlb.model.limits import GROUPS, LISTENERS, ROUTES, TARGETS
from nlb.observe import counters
from nlb.observe.counters import (
    ACCEPTED,
    ACTIVE,
    CONNECT_TIMES,
    CONNECTIONS,
    DESYNC_WORD,
    DURATION,
    DURATIONS,
    EXCHANGE_OUTCOME_WORD,
    GROUP_WORDS,
    LAG,
    LATENCY,
    LISTENER_WORDS,
    MONITORED_WORD,
    OUTCOME_WORD,
    POLICY_FAILURES,
    QUEUE_SINCE,
    QUEUED,
    ROUTE_WORDS,
    SESSIONS,
    SHIELD_WORD,
    TARGET_WORDS,
    TLS_FULL,
    TLS_RESUMED,
    TURNS,
    WORKER_LAG,
    WORKER_WORDS,
    Row,
    histogram,
    observe,
    size,
    total,
)
from nlb.shield.words import REASONS


def rows(workers: int) -> list[Row]:
    memory = memoryview(bytearray(size(workers)))
    return [Row(memory, index) for index in range(workers)]


def test_every_word_has_its_own_place() -> None:
    """The first and last of each kind, in two rows: each keeps what was written to it."""
    blocks = []
    for row in rows(2):
        blocks.append(row.worker)
        kinds = ((row.listener, LISTENERS), (row.group, GROUPS), (row.target, TARGETS), (row.route, ROUTES))
        for block, count in kinds:
            blocks += [block(0), block(1), block(count - 1)]
    number = 0
    for block in blocks:
        for word in range(len(block)):
            number += 1
            block[word] = number
    number = 0
    for block in blocks:
        for word in range(len(block)):
            number += 1
            assert block[word] == number


def test_blocks_have_room_for_all_their_words() -> None:
    (row,) = rows(1)
    assert len(row.worker) == WORKER_WORDS == WORKER_LAG + len(LAG) + 2
    assert len(row.listener(LISTENERS - 1)) == LISTENER_WORDS
    assert len(row.group(GROUPS - 1)) == GROUP_WORDS
    assert len(row.target(TARGETS - 1)) == TARGET_WORDS
    assert len(row.route(ROUTES - 1)) == ROUTE_WORDS == 999 // 100 + 1
    assert DURATIONS + len(DURATION) + 2 == min(OUTCOME_WORD.values())


def test_every_outcome_and_every_reason_has_a_word_of_its_own() -> None:
    assert list(OUTCOME_WORD) == list(EXCHANGE_OUTCOME_WORD) == list(OUTCOMES)
    assert list(DESYNC_WORD) == list(CLASS_OF)
    assert list(SHIELD_WORD) == list(MONITORED_WORD) == list(REASONS)
    words = [*OUTCOME_WORD.values(), *EXCHANGE_OUTCOME_WORD.values(), *DESYNC_WORD.values()]
    words += [*SHIELD_WORD.values(), *MONITORED_WORD.values(), TLS_FULL, TLS_RESUMED]
    assert words == list(range(DURATIONS + len(DURATION) + 2, LISTENER_WORDS))


def test_a_row_beyond_the_memory_cannot_be_written() -> None:
    memory = memoryview(bytearray(size(1)))
    with pytest.raises(IndexError):
        Row(memory, 1).worker[TURNS] = 1


def test_words_are_seen_by_everyone_who_has_the_memory() -> None:
    memory = memoryview(bytearray(size(2)))
    Row(memory, 1).target(7)[CONNECTIONS] = 5
    assert Row(memory.cast("Q"), 1).target(7)[CONNECTIONS] == 5
    assert Row(memory, 0).target(7)[CONNECTIONS] == 0


@pytest.mark.parametrize("bounds", [LATENCY, DURATION, LAG], ids=["latency", "duration", "lag"])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        pytest.param(0.0, 0, id="nothing"),
        pytest.param(LATENCY[0], 0, id="the first bound itself"),
        pytest.param(LATENCY[0] + 1e-6, 1, id="just above it"),
        pytest.param(LATENCY[-1], len(LATENCY) - 1, id="the last bound itself"),
        pytest.param(LATENCY[-1] + 1, len(LATENCY), id="above all"),
        pytest.param(1e6, len(LATENCY), id="far above all"),
    ],
)
def test_which_bucket(seconds: float, bucket: int) -> None:
    words = rows(1)[0].group(0)
    observe(words, CONNECT_TIMES, LATENCY, seconds)
    counts, summed = histogram([words], CONNECT_TIMES, LATENCY)
    assert counts == [int(number == bucket) for number in range(len(LATENCY) + 1)]
    assert summed == pytest.approx(seconds)


def test_histograms_beside_each_other_do_not_mix() -> None:
    words = rows(1)[0].group(0)
    observe(words, CONNECT_TIMES, LATENCY, 1e6)
    observe(words, counters.FIRST_BYTE_TIMES, LATENCY, 0.0)
    assert histogram([words], CONNECT_TIMES, LATENCY)[0][0] == 0
    assert histogram([words], counters.FIRST_BYTE_TIMES, LATENCY) == ([1] + [0] * len(LATENCY), 0.0)
    assert words[counters.RETRIES] == words[counters.FAIL_OPEN_PICKS] == 0
    observe(words, counters.REQUEST_DURATIONS, LATENCY, 1e6)
    assert words[counters.POLICY_FAILURES] == words[counters.HTTP_REQUESTS] == 0


def test_several_workers_are_one_box() -> None:
    words = [row.listener(3) for row in rows(3)]
    for number, block in enumerate(words):
        block[ACCEPTED] = 10**number
        observe(block, DURATIONS, DURATION, 1.5)
    assert total(words, ACCEPTED) == 111
    counts, summed = histogram(words, DURATIONS, DURATION)
    assert (sum(counts), summed) == (3, pytest.approx(4.5))


def test_after_a_death_gauges_are_cleared_and_counters_stay() -> None:
    row, other = rows(2)
    for each in (row, other):
        each.worker[SESSIONS] = 3
        each.worker[TURNS] = 1000
        each.listener(1)[ACTIVE] = 2
        each.listener(1)[ACCEPTED] = 20
        each.target(2)[ACTIVE] = 1
        each.target(2)[CONNECTIONS] = 10
    row.clear_gauges(range(2), range(3))
    assert (row.worker[SESSIONS], row.listener(1)[ACTIVE], row.target(2)[ACTIVE]) == (0, 0, 0)
    assert (row.listener(1)[ACCEPTED], row.target(2)[CONNECTIONS]) == (20, 10)
    assert (other.worker[SESSIONS], other.listener(1)[ACTIVE], other.target(2)[ACTIVE]) == (3, 2, 1)


def test_a_number_with_a_new_owner_starts_from_nothing() -> None:
    (row,) = rows(1)
    for block, clear in (
        (row.listener, row.clear_listener),
        (row.group, row.clear_group),
        (row.target, row.clear_target),
        (row.route, row.clear_route),
    ):
        for number in (3, 4, 5):
            for word in range(len(block(number))):
                block(number)[word] = 7
        clear(4)
        assert set(block(4)) == {0}
        assert set(block(3)) == set(block(5)) == {7}


def test_queues_of_a_dead_worker_are_empty() -> None:
    row, other = rows(2)
    for each in (row, other):
        words = each.group(1)
        words[QUEUED], words[QUEUE_SINCE], words[POLICY_FAILURES] = 3, 1_000_000, 7
    row.clear_gauges(listeners=[], targets=[], groups=[1])
    words = row.group(1)
    assert (words[QUEUED], words[QUEUE_SINCE], words[POLICY_FAILURES]) == (0, 0, 7)
    assert other.group(1)[QUEUED] == 3


def test_sessions_of_all_targets_at_a_glance() -> None:
    row, other = rows(2)
    for number in (0, 1, TARGETS - 1):
        row.target(number)[ACTIVE] = 10 + number
        other.target(number)[ACTIVE] = 1
    sessions = row.sessions
    assert [sessions[number] for number in (0, 1, 2, TARGETS - 1)] == [10, 11, 0, 10 + TARGETS - 1]
    assert len(sessions) == TARGETS
    row.target(1)[ACTIVE] += 5
    assert sessions[1] == 16


def test_a_gauge_below_zero_is_an_error_and_not_a_huge_number() -> None:
    words = rows(1)[0].listener(0)
    with pytest.raises(ValueError, match="format 'Q'"):
        words[ACTIVE] -= 1
