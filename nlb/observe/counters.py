"""Counters and gauges as plain 64-bit words in memory that all processes share. Nothing here knows Prometheus.

Control makes one block of memory and hands it to every worker. It holds a row per worker; a row has one writer,
its worker, and any number of readers, so nothing is locked:

    row of worker 0 | row of worker 1 | ...
    row = worker words | listener words x LISTENERS | group words x GROUPS | route words x ROUTES
          | target words x TARGETS

Memory that nobody touches costs nothing, so the capacities are generous. A replaced worker goes on in the row of
the dead one: counters keep their values, so that totals never fall; gauges are cleared first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from nlb.errors import OUTCOMES
from nlb.http1.desync import CLASS_OF
from nlb.model.limits import GROUPS, LISTENERS, ROUTES, TARGETS
from nlb.shield.words import REASONS

WORD = 8  # bytes

# Upper bounds of latency buckets, in seconds. A word per bucket, one for everything above, one for the sum.
LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Sessions last from a millisecond to days.
DURATION = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 3600.0)
# Time that a loop spent in one turn; under the first bound is a loop in good health.
LAG = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)


def _histogram_words(bounds: tuple[float, ...]) -> int:
    return len(bounds) + 2


# Words of a worker.
TURNS = 0  # of the loop: a worker whose TURNS stand still is stuck
SESSIONS = 1  # gauge
LOG_DROPPED = 2  # access lines that nobody took
WORKER_LAG = 3
WORKER_WORDS = WORKER_LAG + _histogram_words(LAG)

# Words of a listener. ACTIVE is a gauge, as everywhere.
ACTIVE = 0
ACCEPTED = 1
RECEIVED = 2  # bytes from clients
SENT = 3  # bytes to clients
DURATIONS = 4
OUTCOME = DURATIONS + _histogram_words(DURATION)
EXCHANGE_OUTCOME = OUTCOME + len(OUTCOMES)  # of http: how each exchange ended, beside how its session did
DESYNC = EXCHANGE_OUTCOME + len(OUTCOMES)  # requests by the reason of their desync class
SHIELD = DESYNC + len(CLASS_OF)  # connections and requests that the shield refused, by its word
MONITORED = SHIELD + len(REASONS)  # and those that it would have refused, were its mode not monitor
TLS_FULL = MONITORED + len(REASONS)  # handshakes with a new session
TLS_RESUMED = TLS_FULL + 1  # and with one that was known
LISTENER_WORDS = TLS_RESUMED + 1

# Words of a group.
CONNECT_TIMES = 0
# From the connect until the target's first byte; of http: from a request sent until the response's first byte.
FIRST_BYTE_TIMES = CONNECT_TIMES + _histogram_words(LATENCY)
RETRIES = FIRST_BYTE_TIMES + _histogram_words(LATENCY)  # further targets tried after a failed connect
FAIL_OPEN_PICKS = RETRIES + 1
QUEUED = FAIL_OPEN_PICKS + 1  # gauge: sessions that wait for room at a target
QUEUE_SINCE = QUEUED + 1  # gauge: since when the first of them does, in milliseconds of the monotonic clock; 0 nobody
QUEUE_TIMES = QUEUE_SINCE + 1  # of those that got a place, and of those that did not
POLICY_FAILURES = QUEUE_TIMES + _histogram_words(LATENCY)  # of a policy of the operator's own
REQUEST_DURATIONS = POLICY_FAILURES + 1  # from a request's first byte until the end of its response
HTTP_REQUESTS = REQUEST_DURATIONS + _histogram_words(LATENCY)
HTTP_RETRIES = HTTP_REQUESTS + 1  # requests that were sent once more
POOL_HITS = HTTP_RETRIES + 1  # sent on a connection that was there already
POOL_MISSES = POOL_HITS + 1  # for which one had to be made
GROUP_WORDS = POOL_MISSES + 1

# Words of a target; ACTIVE 0 as in a listener: sessions that are connecting or connected to it, of http: requests.
CONNECTIONS = 1  # made
CONNECT_FAILURES = 2
TARGET_RECEIVED = 3  # bytes sent to the target
TARGET_SENT = 4  # bytes that came from it
TARGET_WORDS = 5

# Words of a route: a rule of a listener with one group that it forwards to, or with none. They count requests by the
# status that the client got: word status // 100; word 0 when it got none. Some servers answer 999: told as 5xx.
ROUTE_WORDS = 10
STATUSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")

_LISTENERS_AT = WORKER_WORDS
_GROUPS_AT = _LISTENERS_AT + LISTENERS * LISTENER_WORDS
_ROUTES_AT = _GROUPS_AT + GROUPS * GROUP_WORDS
_TARGETS_AT = _ROUTES_AT + ROUTES * ROUTE_WORDS  # the last: a target beyond the capacity has no words, not a route's
ROW_WORDS = _TARGETS_AT + TARGETS * TARGET_WORDS

OUTCOME_WORD = {outcome: OUTCOME + position for position, outcome in enumerate(OUTCOMES)}
EXCHANGE_OUTCOME_WORD = {outcome: EXCHANGE_OUTCOME + position for position, outcome in enumerate(OUTCOMES)}
DESYNC_WORD = {reason: DESYNC + position for position, reason in enumerate(CLASS_OF)}
SHIELD_WORD = {reason: SHIELD + position for position, reason in enumerate(REASONS)}
MONITORED_WORD = {reason: MONITORED + position for position, reason in enumerate(REASONS)}

Words = memoryview  # of format "Q": unsigned 64-bit words


def size(workers: int) -> int:
    """Bytes of shared memory for so many workers."""
    return workers * ROW_WORDS * WORD


class Row:
    """One worker's row. The worker writes through it; everyone else reads."""

    def __init__(self, memory: memoryview, index: int) -> None:
        """`memory` is the whole shared block as bytes, `index` the worker's number from 0."""
        words = memory.cast("B").cast("Q") if memory.format != "Q" else memory
        self._words = words[index * ROW_WORDS : (index + 1) * ROW_WORDS]

    @property
    def worker(self) -> Words:
        return self._words[:WORKER_WORDS]

    def listener(self, number: int) -> Words:
        return self._block(_LISTENERS_AT, LISTENER_WORDS, number)

    def group(self, number: int) -> Words:
        return self._block(_GROUPS_AT, GROUP_WORDS, number)

    def target(self, number: int) -> Words:
        return self._block(_TARGETS_AT, TARGET_WORDS, number)

    def route(self, number: int) -> Words:
        return self._block(_ROUTES_AT, ROUTE_WORDS, number)

    def active_on(self, target: int) -> int:
        """Sessions of this worker that a target has: the one word that is asked for all targets at once."""
        return self._words[_TARGETS_AT + target * TARGET_WORDS]

    @property
    def sessions(self) -> Words:
        """The sessions of every target, by its number."""
        return self._words[_TARGETS_AT + ACTIVE :: TARGET_WORDS]

    def clear_gauges(self, listeners: Iterable[int], targets: Iterable[int], groups: Iterable[int] = ()) -> None:
        """After a worker's death: what it had open is gone. Given are the numbers in use."""
        self._words[SESSIONS] = 0
        for number in listeners:
            self.listener(number)[ACTIVE] = 0
        for number in groups:
            self.group(number)[QUEUED] = self.group(number)[QUEUE_SINCE] = 0
        for number in targets:
            self.target(number)[ACTIVE] = 0

    def clear_listener(self, number: int) -> None:
        """A new owner takes this number. Nobody writes there: the last session of the old one has ended."""
        _clear(self.listener(number))

    def clear_group(self, number: int) -> None:
        _clear(self.group(number))

    def clear_target(self, number: int) -> None:
        _clear(self.target(number))

    def clear_route(self, number: int) -> None:
        _clear(self.route(number))

    def _block(self, base: int, length: int, number: int) -> Words:
        start = base + number * length
        return self._words[start : start + length]


def _clear(words: Words) -> None:
    for place in range(len(words)):
        words[place] = 0


def observe(words: Words, at: int, bounds: tuple[float, ...], seconds: float) -> None:
    """Count one duration into the histogram that begins at word `at`. The sum is kept in microseconds."""
    words[at + bisect_left(bounds, seconds)] += 1
    words[at + len(bounds) + 1] += int(seconds * 1e6)


def histogram(rows: list[Words], at: int, bounds: tuple[float, ...]) -> tuple[list[int], float]:
    """Counts per bucket, not cumulated (one more than bounds), and the sum in seconds, over several workers."""
    counts = [sum(words[at + bucket] for words in rows) for bucket in range(len(bounds) + 1)]
    return counts, sum(words[at + len(bounds) + 1] for words in rows) / 1e6


def total(rows: list[Words], at: int) -> int:
    """One word over several workers."""
    return sum(words[at] for words in rows)


def totals(rows: list[Words], at: int, count: int) -> list[int]:
    """So many words from `at` on, each over several workers."""
    return [sum(column) for column in zip(*(words[at : at + count].tolist() for words in rows), strict=True)]
