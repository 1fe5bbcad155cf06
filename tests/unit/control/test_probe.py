"""When a target is asked, with a clock set by hand. Answers over real sockets are in tests/wire/test_probe.py; here
the target is a unix socket, which connects or refuses at once.
"""

from __future__ import annotations

import errno
import heapq
import socket
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nlb.balance.health import Health
from nlb.balance.target import Target
from nlb.control.probe import JITTER, Prober, Shared
from nlb.model.address import Address
from nlb.model.config import HealthCheck
from nlb.net.loop import WRITE


class FakeDeadline:
    def __init__(self, action: Callable[[], None], owner: Any) -> None:
        self.action: Callable[[], None] | None = action
        self.owner = owner

    def cancel(self) -> None:
        self.action = None


class FakeWatch:
    def __init__(self, handler: Callable[[int], None], owner: Any) -> None:
        self.handler = handler
        self.owner = owner
        self.open = True

    def forget(self) -> None:
        self.open = False


class FakeLoop:
    """Time passes by `until`; sockets are ready when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.watches: list[FakeWatch] = []
        self.trouble = 0  # errno of every new watch
        self._heap: list[tuple[float, int, FakeDeadline]] = []
        self._order = count()

    def call_at(self, when: float, action: Callable[[], None], owner: Any) -> FakeDeadline:
        deadline = FakeDeadline(action, owner)
        heapq.heappush(self._heap, (when, next(self._order), deadline))
        return deadline

    def watch(self, fd: int, events: int, handler: Callable[[int], None], owner: Any) -> FakeWatch:
        if self.trouble:
            raise OSError(self.trouble, "scripted")
        self.watches.append(FakeWatch(handler, owner))
        return self.watches[-1]

    def close_later(self, closable: socket.socket) -> None:
        closable.close()

    def until(self, now: float) -> None:
        """Let time pass until `now`, seconds from the start."""
        end = 1000 + now
        while self._heap and self._heap[0][0] <= end + 1e-6:
            when, _, deadline = heapq.heappop(self._heap)
            if deadline.action:
                self.now = max(self.now, when)
                self._run(deadline.action, deadline.owner)
        self.now = end

    def ready(self) -> None:
        """What is watched becomes writable."""
        [watch] = [watch for watch in self.watches if watch.open]
        self._run(lambda: watch.handler(WRITE), watch.owner)

    def _run(self, action: Callable[[], None], owner: Any) -> None:
        try:
            action()
        except ValueError as error:
            owner.crashed(error)


class Steady(Random):
    """No jitter."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class FakeEvents:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, level: str, kind: str, text: str, **facts: str) -> None:
        self.said.append(text)

    def bug(self, error: Exception, where: str) -> None:
        self.said.append(f"bug in {where}: {error}")


class Play:
    """A prober and all that it touches. `asked` are the times of its probes, `reports` its answers."""

    def __init__(
        self, path: Path, number: int = 0, rng: Random | None = None, beside: Play | None = None, **settings: Any
    ) -> None:
        """`beside`: another play, of the same balancer."""
        self.path = path
        self.loop = beside.loop if beside else FakeLoop()
        self.events = beside.events if beside else FakeEvents()
        self.shared = beside.shared if beside else Shared(self.loop, rng or Steady(), self.events)  # type: ignore[arg-type]
        self.health = Health(2, 3)
        self.reports: list[tuple[float, bool, str]] = []
        self.took: list[float] = []
        self.on_report: Callable[[], None] = lambda: None
        self.listener: socket.socket | None = None
        target = Target(number, "web01", "web", Address("", 0, str(path)))
        check = HealthCheck(**{"interval": 2, "fast_interval": 0.5, "timeout": 1, **settings})
        self.prober = Prober(self.shared, target, check, self.health, self.report)

    def report(self, ok: bool, detail: str, took: float) -> None:
        self.reports.append((round(self.loop.now - 1000, 3), ok, detail))
        self.took.append(took)
        self.health.observe(ok, self.loop.now)
        self.on_report()

    def listen(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.setblocking(False)
        self.listener.bind(str(self.path))
        self.listener.listen(100)

    def hung_up(self) -> bool:
        """The next connection that the target has: did its other side close in order?"""
        assert self.listener is not None
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(0)
            try:
                return connection.recv(1) == b""
            except BlockingIOError:
                return False

    @property
    def asked(self) -> int:
        return len(self.loop.watches)

    @property
    def times(self) -> list[float]:
        return [when for when, _, _ in self.reports]

    def close(self) -> None:
        self.prober.stop()
        if self.listener:
            self.listener.close()


Make = Callable[..., Play]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Make]:
    """Make a play whose target's socket is not there; `listen()` puts it there."""
    plays: list[Play] = []

    def make(**settings: Any) -> Play:
        plays.append(Play(tmp_path / "s", **settings))
        return plays[-1]

    yield make
    for made in plays:
        made.close()


# --- when


def test_the_first_probe_is_at_once(play: Make) -> None:
    it = play()
    it.prober.start()
    it.loop.until(0)
    assert it.reports == [(0, False, "no such socket")]


@pytest.mark.parametrize(("number", "after"), [(0, 0), (199, 0), (200, 0.01), (1000, 0.05), (10_000, 0.5)])
def test_with_many_targets_200_first_probes_start_every_10_ms(play: Make, number: int, after: float) -> None:
    it = play(number=number)
    it.prober.start()
    it.loop.until(after - 0.001)
    assert not it.reports
    it.loop.until(after)
    assert it.times == [after]


@pytest.mark.parametrize(("number", "after"), [(0, 0), (9, 0), (10, 0.01), (1000, 1.0)])
def test_with_tls_10_start_every_10_ms(play: Make, number: int, after: float) -> None:
    it = play(number=number, protocol="https")
    it.prober.start()
    it.loop.until(after - 0.001)
    assert not it.reports
    it.loop.until(after)
    assert it.times == [after]


def test_then_every_interval(play: Make) -> None:
    it = play()
    it.prober.start()
    it.loop.until(6.5)
    assert it.times == [0, 2, 4, 6]


def test_the_interval_counts_from_the_answer_so_probes_never_overlap(play: Make) -> None:
    it = play()
    it.listen()
    it.prober.start()
    it.loop.until(0.7)
    it.loop.ready()
    it.loop.until(2.6)
    assert it.asked == 1
    it.loop.until(2.7)
    assert it.asked == 2
    assert it.took == [pytest.approx(0.7)]


def test_while_results_change_the_fast_interval_holds(play: Make) -> None:
    it = play()
    it.health.observe(True, 0)  # healthy: three failures to go
    it.prober.start()
    it.loop.until(4)
    assert it.times == [0, 0.5, 1, 3]


def test_jitter_is_a_tenth_of_the_interval_either_way(play: Make) -> None:
    it = play(rng=Random(4))
    it.prober.start()
    it.loop.until(200)
    gaps = [after - before for before, after in zip(it.times[1:], it.times[2:], strict=False)]
    assert all(2 * (1 - JITTER) - 0.002 <= gap <= 2 * (1 + JITTER) + 0.002 for gap in gaps)
    assert max(gaps) - min(gaps) > 0.2


def test_after_the_first_probe_targets_are_spread_over_the_whole_interval(play: Make) -> None:
    first = play(rng=Random(4))
    plays = [first, *(play(beside=first) for _ in range(199))]
    for it in plays:
        it.prober.start()
    first.loop.until(3.0)
    seconds = [it.times[1] for it in plays]
    assert min(seconds) >= 1.0
    for quarter in (1.0, 1.5, 2.0, 2.5):
        assert 30 <= sum(quarter <= when < quarter + 0.5 for when in seconds) <= 70


def test_no_answer_in_time_is_a_failure(play: Make) -> None:
    it = play(timeout=1)
    it.listen()
    it.prober.start()
    it.loop.until(0.99)
    assert not it.reports
    it.loop.until(1)
    assert it.reports == [(1, False, "no answer in 1 s")]
    assert it.hung_up()


def stood_still(it: Play, until: float) -> None:
    """The loop comes to its deadlines only then."""
    it.loop.now = 1000 + until
    it.loop.until(until)


@pytest.mark.parametrize(("until", "late_at"), [(1.05, 1.05), (1.4, 1.8), (9.0, 10.0)])
def test_the_time_in_which_we_stood_still_is_given_back_once(play: Make, until: float, late_at: float) -> None:
    it = play(timeout=1)
    it.listen()
    it.prober.start()
    it.loop.until(0)
    stood_still(it, until)
    if late_at > until:
        it.loop.until(late_at - 0.01)
        assert not it.reports
    it.loop.until(late_at)
    assert it.reports == [(late_at, False, "no answer in 1 s")]


def test_an_answer_in_the_time_given_back_counts(play: Make) -> None:
    it = play(timeout=1)
    it.listen()
    it.prober.start()
    it.loop.until(0)
    stood_still(it, 3.0)
    it.loop.ready()
    assert it.reports == [(3.0, True, "connected")]
    it.loop.until(4.5)
    assert len(it.reports) == 1


def test_a_late_answer_is_not_heard(play: Make) -> None:
    it = play()
    it.listen()
    it.prober.start()
    it.loop.until(1)
    [watch] = it.loop.watches
    assert not watch.open


def test_an_answer_in_time_leaves_no_deadline_behind(play: Make) -> None:
    it = play()
    it.listen()
    it.prober.start()
    it.loop.until(0.1)
    it.loop.ready()
    it.loop.until(1.9)
    assert it.reports == [(0.1, True, "connected")]


def test_now_does_not_wait_for_the_interval(play: Make) -> None:
    it = play()
    it.prober.start()
    it.loop.until(0.3)
    it.prober.now()
    it.loop.until(2.3)
    assert it.times == [0, 0.3, 2.3]


def test_now_does_nothing_while_a_probe_is_under_way(play: Make) -> None:
    it = play()
    it.listen()
    it.prober.start()
    it.loop.until(0.3)
    it.prober.now()
    it.loop.until(0.5)
    assert it.asked == 1


@pytest.mark.parametrize("word", ["pause", "stop"])
def test_pause_and_stop_drop_the_probe_under_way_and_ask_no_more(play: Make, word: str) -> None:
    it = play()
    it.listen()
    it.prober.start()
    it.loop.until(0.1)
    getattr(it.prober, word)()
    assert it.hung_up()
    it.prober.now()
    it.loop.until(60)
    assert (it.asked, it.reports) == (1, [])


@pytest.mark.parametrize("word", ["pause", "stop"])
def test_whoever_hears_a_report_may_pause_or_stop(play: Make, word: str) -> None:
    it = play()
    it.on_report = getattr(it.prober, word)
    it.prober.start()
    it.loop.until(60)
    assert it.times == [0]


def test_whoever_hears_a_report_may_ask_for_the_next_one(play: Make) -> None:
    it = play()
    it.listen()
    it.on_report = it.prober.now
    it.prober.start()
    it.loop.until(0)
    it.loop.ready()
    it.loop.until(0.1)
    assert it.asked == 2


def test_resume_asks_at_once(play: Make) -> None:
    it = play()
    it.prober.start()
    it.loop.until(0.5)
    it.prober.pause()
    it.loop.until(10)
    it.prober.resume()
    it.loop.until(12)
    assert it.times == [0, 10, 12]


def test_resume_and_start_mean_nothing_to_one_that_runs(play: Make) -> None:
    it = play()
    it.prober.start()
    it.loop.until(0.5)
    it.prober.resume()
    it.prober.start()
    it.loop.until(1.9)
    assert it.times == [0]


@pytest.mark.parametrize("word", ["start", "resume", "now", "pause"])
def test_stop_is_for_good(play: Make, word: str) -> None:
    it = play()
    it.prober.start()
    it.prober.stop()
    getattr(it.prober, word)()
    it.prober.resume()
    it.loop.until(60)
    assert not it.reports


# --- trouble of our own


@pytest.mark.parametrize("trouble", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC])
def test_a_shortage_here_is_no_result_and_is_said_once(play: Make, trouble: int) -> None:
    it = play()
    it.listen()
    it.loop.trouble = trouble
    it.prober.start()
    it.loop.until(5)
    assert (it.reports, it.health.state) == ([], "initial")
    [text] = it.events.said
    assert text.startswith("cannot probe web/web01: ")


def test_after_a_shortage_the_next_probe_counts_and_the_next_shortage_is_said_again(play: Make) -> None:
    it = play()
    it.listen()
    it.loop.trouble = errno.EMFILE
    it.prober.start()
    it.loop.until(1)
    it.loop.trouble = 0
    it.loop.until(2)
    it.loop.ready()
    assert it.reports == [(2, True, "connected")]
    it.loop.trouble = errno.EMFILE
    it.loop.until(4)
    assert it.events.said == ["cannot probe web/web01: too many open files here (said once for all targets)"] * 2


def test_a_shortage_is_said_once_for_all_targets_until_none_has_it(play: Make) -> None:
    first = play()
    second = play(beside=first)
    first.listen()
    first.loop.trouble = errno.EMFILE
    first.prober.start()
    second.prober.start()
    first.loop.until(3)
    assert len(first.events.said) == 1
    assert (first.prober.trouble, second.prober.trouble) == ("too many open files here", "too many open files here")
    first.prober.stop()
    first.loop.until(5)
    assert len(first.events.said) == 1  # the second has it still
    second.prober.pause()
    second.prober.resume()
    first.loop.until(5)
    assert len(first.events.said) == 2


def test_a_bug_is_told_and_the_next_probe_comes_in_its_time(play: Make) -> None:
    it = play()

    def broken() -> None:
        raise ValueError("not mine")

    it.on_report = broken
    it.prober.start()
    it.loop.until(2)
    assert it.times == [0, 2]
    assert it.events.said == ["bug in the probe of web/web01: not mine"] * 2


def test_a_bug_does_not_wake_a_stopped_prober(play: Make) -> None:
    it = play()

    def broken() -> None:
        it.prober.stop()
        raise ValueError("not mine")

    it.on_report = broken
    it.prober.start()
    it.loop.until(60)
    assert it.times == [0]
