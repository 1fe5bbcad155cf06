"""The loop: who is told what and when, and that nothing can be told to the wrong one."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import weakref
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from nlb.net.loop import BATCH, BROKEN, HUNG_UP, LAG, READ, SHORT_BATCH, WRITE, Loop, Watch
from tests.waiting import PATIENCE, until


class Owner:
    """Stands behind handlers and writes down what crashed."""

    def __init__(self) -> None:
        self.crashes: list[Exception] = []

    def crashed(self, error: Exception) -> None:
        self.crashes.append(error)


class Heard:
    """A handler that writes down what it was told."""

    def __init__(self) -> None:
        self.masks: list[int] = []

    def __call__(self, mask: int) -> None:
        self.masks.append(mask)


class Closable:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def couple() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


Couple = tuple[socket.socket, socket.socket]


# --- descriptors


def test_a_handler_is_told_again_as_long_as_it_holds(loop: Loop, owner: Owner, couple: Couple) -> None:
    ours, theirs = couple
    heard = Heard()
    loop.watch(ours.fileno(), READ, heard, owner)
    loop.turn(0)
    assert heard.masks == []
    theirs.send(b"x")
    loop.turn(0)
    loop.turn(0)
    assert heard.masks == [READ, READ]
    ours.recv(1)
    loop.turn(0)
    assert len(heard.masks) == 2


def test_a_handler_is_replaced_by_one_assignment(loop: Loop, owner: Owner, couple: Couple) -> None:
    ours, theirs = couple
    first, second = Heard(), Heard()
    watch = loop.watch(ours.fileno(), READ, first, owner)
    theirs.send(b"x")
    watch.handler = second
    loop.turn(0)
    assert (first.masks, second.masks) == ([], [READ])


@pytest.mark.parametrize(
    ("want", "told"),
    [
        pytest.param(READ, READ, id="read"),
        pytest.param(WRITE, WRITE, id="write"),
        pytest.param(READ | WRITE, READ | WRITE, id="both"),
    ],
)
def test_only_what_is_wanted_is_told(loop: Loop, owner: Owner, couple: Couple, want: int, told: int) -> None:
    ours, theirs = couple
    theirs.send(b"x")
    heard = Heard()
    watch = loop.watch(ours.fileno(), 0, heard, owner)
    loop.turn(0)
    assert heard.masks == []
    watch.want(want)
    loop.turn(0)
    assert heard.masks == [told]


def test_a_paused_one_hears_of_a_hang_up(loop: Loop, owner: Owner, couple: Couple) -> None:
    ours, theirs = couple
    heard = Heard()
    loop.watch(ours.fileno(), 0, heard, owner)
    theirs.close()
    loop.turn(0)
    assert len(heard.masks) == 1
    assert heard.masks[0] & BROKEN
    assert not heard.masks[0] & (READ | WRITE)


def test_a_muted_one_hears_of_nothing_until_it_wants_again(loop: Loop, owner: Owner, couple: Couple) -> None:
    ours, theirs = couple
    heard = Heard()
    watch = loop.watch(ours.fileno(), READ, heard, owner)
    watch.mute()
    watch.mute()
    theirs.send(b"x")
    theirs.close()
    loop.turn(0)
    assert heard.masks == []
    watch.want(READ)
    loop.turn(0)
    assert len(heard.masks) == 1
    assert heard.masks[0] & READ


@pytest.mark.parametrize("end", [Watch.forget, Watch.closing])
@pytest.mark.parametrize("muted", [False, True])
def test_a_watch_ends_once(loop: Loop, owner: Owner, couple: Couple, end: Any, muted: bool) -> None:
    heard = Heard()
    watch = loop.watch(couple[0].fileno(), WRITE, heard, owner)
    if muted:
        watch.mute()
    end(watch)
    end(watch)
    if end == Watch.closing:
        couple[0].close()
    loop.turn(0)
    assert heard.masks == []


def test_a_forgotten_watch_keeps_nobody_alive(loop: Loop, couple: Couple) -> None:
    owner = Owner()
    watch = loop.watch(couple[0].fileno(), READ, Heard(), owner)
    gone = weakref.ref(owner)
    del owner
    watch.forget()
    assert gone() is None


def test_what_cannot_be_watched_is_said_at_once(loop: Loop, owner: Owner, tmp_path: Any) -> None:
    with open(tmp_path / "file", "w") as file, pytest.raises(PermissionError):
        loop.watch(file.fileno(), READ, Heard(), owner)


def test_more_events_than_a_batch_are_all_told(loop: Loop, owner: Owner) -> None:
    fds = [os.eventfd(1, os.EFD_NONBLOCK) for _ in range(BATCH + 10)]
    try:
        for fd in fds:
            loop.watch(fd, READ, lambda mask, fd=fd: os.eventfd_read(fd) and None, owner)  # type: ignore[misc]
        loop.turn(0)
        loop.turn(0)
        for fd in fds:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(fd)
    finally:
        for fd in fds:
            os.close(fd)


# --- within one batch


def _two_ready(loop: Loop, owner: Owner, handler: Any) -> tuple[list[Watch], list[socket.socket]]:
    """Two watched sockets that are ready in the same batch; `handler(number)` is called for each."""
    sockets = [sock for _ in range(2) for sock in socket.socketpair()]
    watches = []
    for number, ours in enumerate(sockets[::2]):
        watches.append(loop.watch(ours.fileno(), READ, lambda mask, number=number: handler(number), owner))  # type: ignore[misc]
    for theirs in sockets[1::2]:
        theirs.send(b"x")
    return watches, sockets


def test_an_event_of_this_batch_does_not_reach_a_watch_that_was_forgotten(loop: Loop, owner: Owner) -> None:
    called = []

    def first_ends_the_other(number: int) -> None:
        called.append(number)
        watches[1 - number].forget()

    watches, sockets = _two_ready(loop, owner, first_ends_the_other)
    loop.turn(0)
    assert len(called) == 1
    for sock in sockets:
        sock.close()


def test_a_number_is_not_used_again_within_the_batch(loop: Loop, owner: Owner) -> None:
    """The first handler closes the other's socket and opens a new one, which must not get the other's event."""
    made: list[socket.socket] = []
    told: list[str] = []

    def replace_the_other(number: int) -> None:
        told.append("first")
        other = sockets[2 * (1 - number)]
        watches[1 - number].closing()
        loop.close_later(other)
        newcomer, peer = socket.socketpair()
        made.extend((newcomer, peer))
        assert newcomer.fileno() != other.fileno()
        loop.watch(newcomer.fileno(), READ, lambda mask: told.append("newcomer"), owner)
        watches[number].forget()

    watches, sockets = _two_ready(loop, owner, replace_the_other)
    loop.turn(0)
    assert told == ["first"]
    assert sum(sock.fileno() == -1 for sock in sockets) == 1
    loop.turn(0)
    assert told == ["first"]
    for sock in sockets + made:
        sock.close()


def test_a_number_that_comes_back_belongs_to_the_newcomer(loop: Loop, owner: Owner) -> None:
    old, old_peer = socket.socketpair()
    gone, heard = Heard(), Heard()
    watch = loop.watch(old.fileno(), READ, gone, owner)
    number = old.fileno()
    watch.closing()
    loop.close_later(old)
    loop.turn(0)
    peer, new = socket.socketpair()
    if new.fileno() != number:
        peer, new = new, peer
    assert new.fileno() == number
    loop.watch(new.fileno(), READ, heard, owner)
    old_peer.close()
    peer.send(b"x")
    loop.turn(0)
    assert (gone.masks, heard.masks) == ([], [READ])
    peer.close()
    new.close()


def test_closes_wait_for_the_end_of_the_turn_and_are_not_forgotten_by_the_last_one(owner: Owner) -> None:
    loop = Loop()
    during, after = Closable(), Closable()
    seen = []

    def close_now() -> None:
        loop.close_later(during)
        loop.call_at(loop.now, lambda: seen.append(during.closed), owner)

    loop.call_at(loop.now, close_now, owner)
    loop.turn(0)
    assert (seen, during.closed) == ([False], True)
    loop.close_later(after)
    loop.close()
    assert after.closed


# --- deadlines


def test_deadlines_come_in_the_order_of_their_times_then_of_their_calls(loop: Loop, owner: Owner) -> None:
    order: list[str] = []
    now = loop.now
    for when, name in [(-1.0, "b"), (-2.0, "a"), (-1.0, "c"), (0.0, "d")]:
        loop.call_at(now + when, lambda name=name: order.append(name), owner)  # type: ignore[misc]
    loop.call_at(now + 1000, lambda: order.append("far away"), owner)
    loop.turn(0)
    assert "".join(order) == "abcd"


def test_a_turn_waits_no_longer_than_the_next_deadline(loop: Loop, owner: Owner) -> None:
    done: list[float] = []
    due = monotonic() + 0.01
    loop.call_at(due, lambda: done.append(loop.now), owner)
    until(lambda: done, between=lambda: loop.turn(PATIENCE))
    assert done[0] >= due
    assert loop.turns <= 2


def test_a_cancelled_deadline_does_nothing_and_lets_go_of_its_owner(loop: Loop) -> None:
    owner, called = Owner(), []
    deadline = loop.call_at(loop.now, lambda: called.append(1), owner)
    gone = weakref.ref(owner)
    del owner
    deadline.cancel()
    deadline.cancel()
    assert (gone(), loop.cancelled) == (None, 1)
    loop.turn(0)
    assert (called, loop.cancelled) == ([], 0)


def test_a_deadline_that_cancels_itself_or_a_later_one_of_the_same_turn(loop: Loop, owner: Owner) -> None:
    called: list[str] = []

    def first() -> None:
        called.append("first")
        itself.cancel()
        later.cancel()

    itself = loop.call_at(loop.now - 1, first, owner)
    later = loop.call_at(loop.now, lambda: called.append("later"), owner)
    loop.turn(0)
    assert (called, loop.cancelled) == (["first"], 0)


def test_cancelled_deadlines_do_not_fill_the_memory(loop: Loop, owner: Owner) -> None:
    """A busy worker makes and cancels thousands a second, all due in seconds."""
    called: list[int] = []
    far = loop.now + 1000
    kept = [loop.call_at(loop.now, lambda n=n: called.append(n), owner) for n in range(3)]  # type: ignore[misc]
    for _ in range(5000):
        loop.call_at(far, lambda: None, owner).cancel()
    assert loop.cancelled == 5000
    loop.turn(0)
    assert loop.cancelled == 0
    assert called == [0, 1, 2]
    assert kept[0].action is None


def test_deadlines_survive_the_clean_up(loop: Loop, owner: Owner) -> None:
    called: list[int] = []
    soon = monotonic() + 0.005
    for n in range(20):
        loop.call_at(soon + n / 10_000, lambda n=n: called.append(n), owner)  # type: ignore[misc]
    for _ in range(3000):
        loop.call_at(soon + 1000, lambda: None, owner).cancel()
    loop.call_at(loop.now, lambda: None, owner)
    loop.turn(0)
    assert loop.cancelled == 0
    until(lambda: len(called) == 20, between=lambda: loop.turn(0.001))
    assert called == list(range(20))


# --- errors


def test_an_error_goes_to_its_owner_and_the_others_of_the_batch_are_served(loop: Loop, owner: Owner) -> None:
    called = []

    def raise_at_once(number: int) -> None:
        called.append(number)
        raise OverflowError(number)

    watches, sockets = _two_ready(loop, owner, raise_at_once)
    loop.turn(0)
    assert sorted(called) == [0, 1]
    assert sorted(str(error) for error in owner.crashes) == ["0", "1"]
    for watch in watches:
        watch.forget()
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("end", [Watch.forget, Watch.closing])
def test_an_error_after_the_watch_ended_does_not_end_the_loop(
    loop: Loop, owner: Owner, couple: Couple, end: Any
) -> None:
    """A session closes itself, which ends its watch, and only then something goes wrong."""

    def end_and_raise(mask: int) -> None:
        end(watch)
        loop.close_later(couple[0])
        raise OverflowError("late")

    watch = loop.watch(couple[0].fileno(), WRITE, end_and_raise, owner)
    loop.turn(0)
    assert [str(error) for error in owner.crashes] == ["late"]


def test_an_error_of_a_deadline_goes_to_its_owner_and_the_next_is_done(loop: Loop, owner: Owner) -> None:
    called = []

    def fail() -> None:
        raise OverflowError("late")

    loop.call_at(loop.now, fail, owner)
    loop.call_at(loop.now, lambda: called.append(1), owner)
    loop.turn(0)
    assert ([str(error) for error in owner.crashes], called) == (["late"], [1])


def test_an_error_of_a_posted_action_goes_to_its_owner_and_the_next_is_done(loop: Loop, owner: Owner) -> None:
    called = []

    def fail() -> None:
        raise OverflowError("posted")

    loop.post(fail, owner)
    loop.post(lambda: called.append(1))
    loop.turn(0)
    assert ([str(error) for error in owner.crashes], called) == (["posted"], [1])


def test_an_error_that_nobody_owns_is_not_hidden(loop: Loop) -> None:
    def fail() -> None:
        raise OverflowError("nobody's")

    loop.post(fail)
    with pytest.raises(OverflowError, match="nobody's"):
        loop.turn(0)


# --- wake-ups


def test_a_post_ends_the_wait(loop: Loop) -> None:
    done: list[int] = []
    threading.Timer(0.01, lambda: loop.post(lambda: done.append(1))).start()
    loop.turn(PATIENCE)
    assert done == [1]


def test_posts_of_many_threads_all_run_on_the_loop_in_their_order(loop: Loop) -> None:
    done: list[tuple[int, int, int]] = []

    def poster(number: int) -> None:
        for n in range(500):
            loop.post(lambda n=n: done.append((number, n, threading.get_ident())))  # type: ignore[misc]

    threads = [threading.Thread(target=poster, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(done) == 2000, between=lambda: loop.turn(0.01))
    for thread in threads:
        thread.join()
    assert {ident for _, _, ident in done} == {threading.get_ident()}
    for number in range(4):
        assert [n for who, n, _ in done if who == number] == list(range(500))


def test_what_a_posted_action_posts_runs_in_the_next_turn(loop: Loop) -> None:
    """Or an action that posts itself would never let the sockets have a turn."""
    done: list[str] = []

    def first() -> None:
        done.append("first")
        loop.post(lambda: done.append("second"))

    loop.post(first)
    loop.turn(0)
    assert done == ["first"]
    loop.turn(0)
    assert done == ["first", "second"]


def test_wakes_beyond_what_the_pipe_takes_do_not_block(loop: Loop) -> None:
    for _ in range(70_000):
        loop.wake()
    done: list[int] = []
    loop.post(lambda: done.append(1))
    until(lambda: done, between=lambda: loop.turn(0))


def test_stop_from_another_thread(loop: Loop) -> None:
    thread = threading.Thread(target=loop.run)
    thread.start()
    loop.post(loop.stop)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_signal_ends_the_wait(loop: Loop) -> None:
    done: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: loop.post(lambda: done.append(1)))
    try:
        threading.Timer(0.01, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
        until(lambda: done, between=lambda: loop.turn(PATIENCE))
    finally:
        signal.signal(signal.SIGUSR1, before)


# --- one a turn


class Heavy:
    """Sockets with a byte each to be read, and a heavy answer to it that takes it."""

    def __init__(self, loop: Loop, owner: Owner, many: int, meanwhile: int = 0) -> None:
        self._loop = loop
        self.done: list[tuple[int, int]] = []  # which one, and in which turn
        self.left: list[tuple[int, int]] = []  # which one, and what it was told
        couples = [socket.socketpair() for _ in range(many)]
        self.ours, self.theirs = [ours for ours, _ in couples], [theirs for _, theirs in couples]
        self.watches = [
            loop.watch(ours.fileno(), READ, self._ready(n, meanwhile), owner) for n, ours in enumerate(self.ours)
        ]
        for theirs in self.theirs:
            theirs.send(b"x")

    def _ready(self, number: int, meanwhile: int) -> Any:
        def act() -> None:
            self.done.append((number, self._loop.turns))
            self.ours[number].recv(1)
            self.watches[number].want(READ)

        def left(mask: int) -> None:
            self.left.append((number, mask))
            self.watches[number].forget()

        return lambda mask: self._loop.one_a_turn(self.watches[number], act, left, meanwhile)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self._loop.turn(PATIENCE)  # none of them has to wait

    def close(self) -> None:
        for sock in self.ours + self.theirs:
            sock.close()


def test_of_what_is_heavy_one_is_done_a_turn_and_first_who_came_first(loop: Loop, owner: Owner) -> None:
    heavy = Heavy(loop, owner, 4)
    heavy.turn(4)
    assert [number for number, _ in heavy.done] == [0, 1, 2, 3]
    assert [turn for _, turn in heavy.done] == [loop.turns - 3, loop.turns - 2, loop.turns - 1, loop.turns]
    loop.turn(0)
    assert len(heavy.done) == 4
    heavy.close()


def test_one_that_had_its_turn_is_told_as_before(loop: Loop, owner: Owner) -> None:
    heavy = Heavy(loop, owner, 2)
    heavy.turn(2)
    heavy.theirs[1].send(b"x")
    heavy.turn()
    assert ([number for number, _ in heavy.done], heavy.left) == ([0, 1, 1], [])
    heavy.close()


def test_who_is_light_has_a_turn_between_two_that_are_heavy(loop: Loop, owner: Owner, couple: Couple) -> None:
    heavy = Heavy(loop, owner, 3)
    ours, theirs = couple
    theirs.send(b"x")
    seen: list[int] = []
    loop.watch(ours.fileno(), READ, lambda mask: seen.append(len(heavy.done)), owner)
    heavy.turn(3)
    assert seen in ([1, 1, 2], [0, 1, 2])  # in the first turn it may come before or behind
    heavy.close()


def test_whoever_comes_while_others_wait_waits_behind_them(loop: Loop, owner: Owner) -> None:
    heavy = Heavy(loop, owner, 2)
    heavy.turn()
    late = Heavy(loop, owner, 1)
    heavy.turn()
    assert (len(heavy.done), late.done) == (2, [])
    heavy.turn()
    assert late.done == [(0, loop.turns)]
    heavy.close()
    late.close()


@pytest.mark.parametrize(
    ("meanwhile", "leave", "told"),
    [
        pytest.param(0, socket.socket.close, BROKEN & ~select.EPOLLERR, id="gone"),
        pytest.param(0, lambda sock: sock.shutdown(socket.SHUT_WR), 0, id="said all it has to say"),
        pytest.param(HUNG_UP, lambda sock: sock.shutdown(socket.SHUT_WR), HUNG_UP, id="said so, and somebody asked"),
    ],
)
def test_one_that_leaves_while_it_waits(loop: Loop, owner: Owner, meanwhile: int, leave: Any, told: int) -> None:
    heavy = Heavy(loop, owner, 3, meanwhile)
    heavy.turn()
    leave(heavy.theirs[2])
    heavy.turn(2)
    assert heavy.left == ([(2, told)] if told else [])
    assert [number for number, _ in heavy.done] == ([0, 1] if told else [0, 1, 2])
    heavy.close()


def test_one_that_ended_while_it_waited_costs_no_turn(loop: Loop, owner: Owner) -> None:
    heavy = Heavy(loop, owner, 4)
    heavy.turn()
    heavy.watches[1].forget()
    heavy.watches[2].forget()
    heavy.turn()
    assert [number for number, _ in heavy.done] == [0, 3]
    heavy.close()


def test_an_error_of_one_goes_to_its_owner_and_the_next_has_its_turn(loop: Loop, owner: Owner, couple: Couple) -> None:
    heavy = Heavy(loop, owner, 1)
    heavy.turn()
    ours, theirs = couple
    other = Owner()
    watch = loop.watch(ours.fileno(), READ, lambda mask: loop.one_a_turn(watch, lambda: 1 / 0, Heard()), other)  # type: ignore[arg-type, return-value]
    theirs.send(b"x")
    heavy.theirs[0].send(b"x")
    heavy.turn(2)
    assert [type(error) for error in other.crashes] == [ZeroDivisionError]
    assert (len(heavy.done), owner.crashes) == (2, [])
    heavy.close()


def test_a_turn_is_short_while_something_heavy_waits(loop: Loop, owner: Owner) -> None:
    heavy = Heavy(loop, owner, 2)
    heavy.turn()
    light = [os.eventfd(1, os.EFD_NONBLOCK) for _ in range(SHORT_BATCH + 10)]
    heard = Heard()
    for fd in light:
        loop.watch(fd, READ, heard, owner)
    loop.turn(0)
    assert len(heard.masks) == SHORT_BATCH
    loop.turn(0)
    assert len(heard.masks) == 2 * SHORT_BATCH + 10, "and long again afterwards"
    heavy.close()
    for fd in light:
        os.close(fd)


# --- lag


def test_a_long_turn_is_told(loop: Loop, owner: Owner) -> None:
    lags: list[float] = []
    loop.on_lag = lags.append

    def slow() -> None:
        end = monotonic() + 2 * LAG
        while monotonic() < end:
            pass

    loop.call_at(loop.now, slow, owner)
    loop.turn(0)
    assert len(lags) == 1
    assert lags[0] >= 2 * LAG
