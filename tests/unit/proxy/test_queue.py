"""Waiting for room at a target: in order, not too many, not too long; and what other workers do is seen."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from nlb.observe import counters
from nlb.observe.counters import ACTIVE, QUEUE_SINCE, QUEUE_TIMES, QUEUED, histogram
from nlb.proxy.queue import FAIR, LOOK_EVERY, PASSED_OVER
from tests.fakes import END, Dialled, End

Make = Callable[..., Any]


def ends(*which: End) -> list[End]:
    return [*which, *[End() for _ in range(20 - len(which))]]


def who(web: Any) -> list[tuple[str, str]]:
    """(client's port, target) of every session that has one, and - for those that wait."""
    return [(str(s.client_address[1]), s.target.name if s.target else "-") for s in web.sessions]


def crowd(web: Any, clients: int) -> list[End]:
    return [web.arrives(address=("192.0.2.7", 40000 + number)) for number in range(clients)]


def leave(web: Any, client: End) -> None:
    client.reset()
    web.loop.settle()


def elsewhere(web: Any, **sessions: int) -> None:
    """Another worker has so many sessions with these targets."""
    for name, count in sessions.items():
        web.other_row.target(web.targets[name].id)[ACTIVE] = count


def others_wait(web: Any, count: int, since: float) -> None:
    """So many wait in another worker's queue, the first since then."""
    words = web.other_row.group(0)
    words[QUEUED] = count
    words[QUEUE_SINCE] = int(since * 1000) if count else 0


# --- in this worker


def test_who_finds_no_room_waits_and_gets_the_place_of_who_leaves(play: Make) -> None:
    web = play(*ends(), targets="a", room=1)
    first, second = crowd(web, 2)
    assert who(web) == [("40000", "a"), ("40001", "-")]
    assert (web.group.words[QUEUED], second.fate, second.reads) == (1, "open", 0)
    leave(web, first)
    assert who(web) == [("40001", "a")]
    assert web.group.words[QUEUED] == 0


def test_a_place_is_given_in_the_turn_in_which_it_becomes_free(play: Make) -> None:
    web = play(*ends(), targets="a", room=1)
    first, _ = crowd(web, 2)
    now = web.loop.now
    leave(web, first)
    assert (web.loop.now, who(web)) == (now, [("40001", "a")])


def test_the_first_to_come_is_the_first_to_be_served(play: Make) -> None:
    web = play(*ends(), targets="ab", room=1)
    clients = crowd(web, 6)
    leave(web, clients[1])
    leave(web, clients[0])
    assert who(web) == [("40002", "b"), ("40003", "a"), ("40004", "-"), ("40005", "-")]


def test_nobody_overtakes_those_who_wait(play: Make) -> None:
    """Room that another worker made is not seen yet when a newcomer arrives."""
    web = play(*ends(), targets="a", room=1)
    elsewhere(web, a=1)
    crowd(web, 2)
    elsewhere(web, a=0)
    web.arrives(address=("192.0.2.7", 50000))
    web.loop.pass_time(LOOK_EVERY)
    assert who(web) == [("40000", "a"), ("40001", "-"), ("50000", "-")]


def test_when_the_queue_is_full_the_next_is_reset(play: Make) -> None:
    web = play(*ends(), targets="a", room=1, queue=2)
    clients = crowd(web, 4)
    assert [client.fate for client in clients] == ["open", "open", "open", "reset"]
    assert web.outcomes == {"pick/queue_full": 1}


def test_without_a_queue_nobody_waits(play: Make) -> None:
    web = play(*ends(), targets="a", room=1, queue=0)
    assert [client.fate for client in crowd(web, 2)] == ["open", "reset"]
    assert web.outcomes == {"pick/queue_full": 1}


def test_who_waits_too_long_is_reset(play: Make) -> None:
    web = play(*ends(), targets="a", room=1, queue_timeout=2.0)
    first, second = crowd(web, 2)
    web.loop.pass_time(1.9)
    third = web.arrives()
    web.loop.pass_time(0.2)
    assert (first.fate, second.fate, third.fate) == ("open", "reset", "open")
    assert web.outcomes == {"pick/queue_timeout": 1}
    assert web.group.words[QUEUED] == 1


def test_who_got_a_place_is_not_late_any_more(play: Make) -> None:
    web = play(*ends(), targets="a", room=1, queue_timeout=2.0)
    first, second = crowd(web, 2)
    leave(web, first)
    web.loop.pass_time(10)
    assert second.fate == "open"


def test_what_is_counted(play: Make) -> None:
    web = play(*ends(), targets="a", room=1, queue_timeout=3.0)
    first, _, _ = crowd(web, 3)
    assert web.group.words[QUEUE_SINCE] == web.loop.now * 1000
    web.loop.pass_time(2.0)
    leave(web, first)
    web.loop.pass_time(2.0)
    counts, seconds = histogram([web.group.words], QUEUE_TIMES, counters.LATENCY)
    assert (sum(counts), seconds) == (2, pytest.approx(5.0))
    assert (web.group.words[QUEUED], web.group.words[QUEUE_SINCE]) == (0, 0)


def test_shutdown_ends_those_who_wait(play: Make) -> None:
    web = play(*ends(), targets="a", room=1)
    crowd(web, 2)
    for session in list(web.sessions):
        session.close("shutdown")
    assert web.outcomes == {"data/shutdown": 1, "pick/shutdown": 1}
    assert web.group.words[QUEUED] == 0
    web.loop.pass_time(1)


def test_while_nobody_waits_nobody_looks(play: Make) -> None:
    web = play(*ends(), targets="a", room=1)
    first, _ = crowd(web, 2)
    leave(web, first)
    web.loop.pass_time(1)
    assert web.loop.deadlines == []


def test_the_others_do_not_stop_when_one_crashes(play: Make) -> None:
    web = play(*ends(), targets="a", room=2)
    clients = crowd(web, 4)
    web.dials[0] = OverflowError("a bug")
    leave(web, clients[0])
    assert [where for _, where in web.bugs] == ["session of 192.0.2.7:40002 in phase connect"]
    assert who(web) == [("40001", "a"), ("40003", "a")]


# --- limits and facts that change


def test_a_higher_limit_lets_those_go_who_wait(play: Make) -> None:
    web = play(*ends(), targets="a", room=1)
    crowd(web, 4)
    web.mark("a", max_connections=3)
    assert [target for _, target in who(web)] == ["a", "a", "a", "-"]
    web.mark("a", max_connections=None)
    assert [target for _, target in who(web)] == ["a"] * 4


def test_a_target_that_becomes_healthy_takes_those_who_wait(play: Make) -> None:
    web = play(*ends(), targets="ab", room=1)
    web.mark("b", health="unhealthy")
    crowd(web, 2)
    web.mark("b", health="healthy")
    assert [target for _, target in who(web)] == ["a", "b"]


def test_when_no_target_is_left_nobody_waits_for_one(play: Make) -> None:
    web = play(*ends(), targets="a", room=1)
    crowd(web, 2)
    web.mark("a", admin="drain")
    assert web.outcomes == {"pick/no_target": 1}


def test_a_group_that_is_unloaded_lets_nobody_wait(play: Make) -> None:
    web = play(*ends(), targets="a", room=1)
    crowd(web, 2)
    web.group.unload()
    web.loop.settle()
    assert web.outcomes == {"pick/no_target": 1}


def test_a_full_target_is_not_chosen_while_another_has_room(play: Make) -> None:
    web = play(*ends(), targets="abc", room=2)
    crowd(web, 6)
    assert web.active == {"front": 6, "a": 2, "b": 2, "c": 2}


# --- failures


def test_who_fails_at_a_target_waits_for_room_at_another(play: Make) -> None:
    web = play(*ends(End(), Dialled()), targets="ab", room=1)
    first, second = crowd(web, 2)
    connecting = next(session for session in web.sessions if session.phase == "connect")
    web.loop.pass_time(5.0)  # connect_timeout
    assert who(web) == [("40000", "a"), ("40001", "-")]
    assert connecting.phase == "pick"
    leave(web, first)
    assert who(web) == [("40001", "a")]
    assert second.fate == "open"


def test_who_fails_everywhere_is_not_queued(play: Make) -> None:
    web = play(errno.ECONNREFUSED, errno.ECONNREFUSED, targets="ab", room=1)
    web.arrives()
    assert web.outcomes == {"connect/refused": 1}


def test_a_place_at_a_target_that_failed_somebody_goes_to_the_next_in_the_queue(play: Make) -> None:
    """The first in the queue was refused by b, whose place is free now; the second never met it."""
    web = play(*ends(End(), errno.ECONNREFUSED, End()), targets="ab", room=1)  # type: ignore[arg-type]
    web.arrives(address=("192.0.2.7", 1))  # takes a
    web.arrives(address=("192.0.2.7", 2))  # refused by b, waits for a
    web.loop.settle()
    assert who(web) == [("1", "a"), ("2", "-")]
    third = web.arrives(address=("192.0.2.7", 3))
    assert third.fate == "open"
    assert who(web) == [("1", "a"), ("2", "-"), ("3", "b")]


def test_a_long_queue_before_a_target_that_refuses_ends_in_order_and_not_in_the_stack(play: Make) -> None:
    many = 2000
    web = play(End(), *[errno.ECONNREFUSED] * many, targets="a", room=1, queue=many, limit=many + 1)
    clients = crowd(web, many + 1)
    leave(web, clients[0])
    assert web.outcomes == {"data/client_reset": 1, "connect/refused": many}


def test_only_so_many_are_passed_over(play: Make) -> None:
    waiting = PASSED_OVER + 2
    web = play(*ends(End(), *[errno.ECONNREFUSED] * waiting), targets="ab", room=1)  # type: ignore[arg-type]
    crowd(web, 1 + waiting)
    assert web.group.words[QUEUED] == waiting
    assert web.failed == [("b", "refused")] * (PASSED_OVER + 1)


# --- other workers


def test_sessions_of_other_workers_fill_a_target(play: Make) -> None:
    web = play(*ends(), targets="ab", room=2)
    elsewhere(web, a=2, b=1)
    crowd(web, 2)
    assert [target for _, target in who(web)] == ["b", "-"]


def test_room_that_another_worker_made_is_found_soon(play: Make) -> None:
    web = play(*ends(), targets="a", room=1)
    elsewhere(web, a=1)
    crowd(web, 2)
    elsewhere(web, a=0)
    web.loop.pass_time(LOOK_EVERY)
    assert [target for _, target in who(web)] == ["a", "-"]


def test_room_that_another_worker_made_is_found_without_anybody_waiting(play: Make) -> None:
    web = play(*ends(), targets="a", room=1, queue=0)
    elsewhere(web, a=1)
    crowd(web, 1)
    elsewhere(web, a=0)
    web.loop.pass_time(1)
    assert web.arrives().fate == "open"


def test_the_queue_is_as_long_as_in_all_workers_together(play: Make) -> None:
    web = play(*ends(), targets="a", room=1, queue=3)
    others_wait(web, 2, web.loop.now)
    elsewhere(web, a=1)
    assert [client.fate for client in crowd(web, 2)] == ["open", "reset"]


def test_newcomers_wait_behind_those_of_other_workers(play: Make) -> None:
    """There is room, but another worker's first one has waited longer: it must see the place before we give it away."""
    web = play(*ends(), targets="a", room=1)
    others_wait(web, 1, web.loop.now - 1)
    crowd(web, 1)
    assert [target for _, target in who(web)] == ["-"]
    others_wait(web, 0, 0)
    web.loop.pass_time(LOOK_EVERY)
    assert [target for _, target in who(web)] == ["a"]


def test_who_waits_as_long_as_those_elsewhere_is_served(play: Make) -> None:
    web = play(*ends(), targets="a", room=1)
    others_wait(web, 1, web.loop.now - FAIR / 2000)
    crowd(web, 1)
    assert [target for _, target in who(web)] == ["a"]


def test_a_place_is_left_to_another_worker_whose_first_one_waits_much_longer(play: Make) -> None:
    web = play(*ends(), targets="a", room=1)
    first, _ = crowd(web, 2)
    others_wait(web, 1, web.loop.now - 1)
    leave(web, first)
    assert [target for _, target in who(web)] == ["-"]
    web.loop.pass_time(LOOK_EVERY)
    assert [target for _, target in who(web)] == ["-"]
    others_wait(web, 1, web.loop.now)  # it took the place, and left it again
    web.loop.pass_time(LOOK_EVERY)
    assert [target for _, target in who(web)] == ["a"]


def test_a_dead_worker_is_not_waited_for(play: Make) -> None:
    """What it showed stands there until control clears it."""
    web = play(*ends(), targets="a", room=1, queue_timeout=5.0)
    others_wait(web, 1, web.loop.now - 7)
    crowd(web, 1)
    assert [target for _, target in who(web)] == ["a"]


# --- the rest of a load-aware group


def test_least_connections_hears_of_endings(play: Make) -> None:
    web = play(*ends(), targets="abc", policy="least_connections")
    clients = crowd(web, 6)
    taken = [target for _, target in who(web)]
    leave(web, clients[4])
    web.arrives()
    assert who(web)[-1][1] == taken[4]


def test_least_connections_looks_at_other_workers_now_and_then(play: Make) -> None:
    web = play(*ends(), targets="ab", policy="least_connections")
    elsewhere(web, a=5, b=4)
    crowd(web, 1)
    elsewhere(web, a=0, b=4)
    web.loop.pass_time(1)
    web.arrives()
    web.arrives()
    assert [target for _, target in who(web)][1:] == ["a", "a"]


def test_who_half_closes_and_is_done_leaves_too(play: Make) -> None:
    target = End()
    web = play(*ends(target), targets="a", room=1)
    first, _ = crowd(web, 2)
    first.say(END)
    target.say(END)
    web.loop.settle()
    assert web.outcomes == {"data/done": 1}
    assert who(web) == [("40001", "a")]


def test_a_slow_start_goes_on_by_itself(play: Make) -> None:
    web = play(*[End() for _ in range(200)], targets="ab", slow_start=30.0, limit=1000)
    web.targets["b"].slow_from = web.loop.now
    web.mark("b")

    def share(clients: int) -> int:
        before = web.active.get("b", 0)
        crowd(web, clients)
        return int(web.active["b"] - before)

    assert share(22) == 2
    web.loop.pass_time(30.0)
    assert abs(share(40) - 20) <= 1
    assert web.loop.deadlines == []


def test_failures_of_an_own_policy_are_said_once_a_minute(play: Make) -> None:
    own = "python:tests.unit.balance.own_policies:FailsToChoose"
    web = play(*[End() for _ in range(40)], policy=own)
    crowd(web, 5)
    web.loop.pass_time(61)
    crowd(web, 3)
    assert len(web.sessions) == 8
    assert [level for level, _ in web.events] == ["error", "error"]
    first, second = (text for _, text in web.events)
    assert first.startswith("group web: tests.unit.balance.own_policies.FailsToChoose.choose failed: KeyError: 'web01'")
    assert first.endswith("; round robin chooses instead")
    assert ", 5 times since this was said last;" in second
    assert web.group.words[counters.POLICY_FAILURES] == 8
