"""Sessions as dialogues: who says what, what the other side gets, and how it ends."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from nlb.observe import counters
from nlb.observe.counters import ACCEPTED, FAIL_OPEN_PICKS, RETRIES, histogram
from nlb.proxy.pipe import COPY
from tests.fakes import END, NOTHING, Dialled, End

Make = Callable[..., Any]


def reset(end: End) -> End:
    end.reset()
    return end


# --- a session in order


def test_question_and_answer(play: Make) -> None:
    target = Dialled()
    web = play(target)
    client = web.arrives(End(b"question"))
    assert (web.session.phase, client.reads) == ("connect", 0), "the kernel is the queue until the target answers"
    target.answer()
    web.loop.settle()
    assert bytes(target.got) == b"question"
    target.say(b"answer")
    web.loop.settle()
    assert bytes(client.got) == b"answer"
    assert web.active == {"front": 1, "a": 1}
    client.say(END)
    target.say(END)
    web.loop.settle()
    assert (client.fate, target.fate, web.outcomes) == ("closed", "closed", {"data/done": 1})
    assert web.active == {}


def test_a_target_that_is_joined_at_once_needs_no_turn(play: Make) -> None:
    web = play(target := End(b"greeting"))
    client = web.arrives(End(b"question"))
    assert (bytes(target.got), bytes(client.got)) == (b"question", b"greeting")
    assert web.session.phase == "data"


def test_what_is_counted(play: Make) -> None:
    web = play(target := Dialled())
    client = web.arrives(End(b"question"))
    web.loop.pass_time(0.02)
    target.answer()
    web.loop.settle()
    web.loop.pass_time(0.3)
    target.say(b"an answer", END)
    client.say(END)
    web.loop.settle()
    words = web.words
    assert words[ACCEPTED] == 1
    assert (words[counters.RECEIVED], words[counters.SENT]) == (8, 9)
    assert web.target_words(counters.CONNECTIONS) == {"a": 1}
    assert web.target_words(counters.TARGET_RECEIVED) == {"a": 8}
    assert web.target_words(counters.TARGET_SENT) == {"a": 9}
    group = [web.group.words]
    assert histogram(group, counters.CONNECT_TIMES, counters.LATENCY)[1] == pytest.approx(0.02, abs=1e-5)
    assert histogram(group, counters.FIRST_BYTE_TIMES, counters.LATENCY)[1] == pytest.approx(0.3, abs=1e-5)
    assert histogram([words], counters.DURATIONS, counters.DURATION)[1] == pytest.approx(0.32, abs=1e-5)


def test_bytes_of_an_open_session_are_counted_by_the_sweep(play: Make) -> None:
    web = play(target := End(b"12345"))
    web.arrives(End(b"123"))
    assert web.words[counters.RECEIVED] == 0
    web.sweep()
    assert (web.words[counters.RECEIVED], web.words[counters.SENT]) == (3, 5)
    target.say(b"6")
    web.sweep()
    assert (web.words[counters.RECEIVED], web.words[counters.SENT]) == (3, 6)


def test_the_first_byte_is_timed_once(play: Make) -> None:
    web = play(target := End())
    web.arrives()
    for _ in range(3):
        target.say(b"x")
        web.loop.settle()
    counts, _ = histogram([web.group.words], counters.FIRST_BYTE_TIMES, counters.LATENCY)
    assert sum(counts) == 1


# --- half-close


def test_half_close_reaches_the_target_and_the_answer_still_comes(play: Make) -> None:
    web = play(target := End())
    client = web.arrives(End(b"last words", END))
    assert (bytes(target.got), target.fate, client.fate) == (b"last words", "ended", "open")
    target.say(b"the sum", END)
    web.loop.settle()
    assert (bytes(client.got), client.fate, web.outcomes) == (b"the sum", "closed", {"data/done": 1})


def test_half_close_reaches_the_client_and_it_may_still_talk(play: Make) -> None:
    web = play(target := End(b"greeting", END))
    client = web.arrives()
    assert (bytes(client.got), client.fate, target.fate) == (b"greeting", "ended", "open")
    client.say(b"thanks", END)
    web.loop.settle()
    assert (bytes(target.got), target.fate, web.outcomes) == (b"thanks", "closed", {"data/done": 1})


def test_an_end_with_data_held_waits_for_the_data(play: Make) -> None:
    web = play(target := End(room=3))
    web.arrives(End(b"0123456789", END))
    assert (bytes(target.got), target.fate) == (b"012", "open")
    target.take(100)
    web.loop.settle()
    assert (bytes(target.got), target.fate) == (b"0123456789", "ended")


# --- resets


@pytest.mark.parametrize("moment", ["idle", "after bytes", "half-closed", "with bytes held", "other side ended"])
@pytest.mark.parametrize("who", ["client", "target"])
def test_a_reset_on_one_side_is_a_reset_on_the_other(play: Make, who: str, moment: str) -> None:
    ends = {"client": End(), "target": End()}
    web = play(ends["target"])
    web.arrives(ends["client"])
    breaks = ends[who]
    other = ends["target" if who == "client" else "client"]
    if moment == "after bytes":
        breaks.say(b"some")
    elif moment == "half-closed":
        breaks.say(END)
    elif moment == "with bytes held":
        other.room = 2
        breaks.say(b"12345")
    elif moment == "other side ended":
        other.say(END)
    web.loop.settle()
    breaks.reset()
    web.loop.settle()
    assert (other.fate, breaks.fate) == ("reset", "reset")
    assert web.outcomes == {f"data/{who}_reset": 1}


def test_a_client_that_left_while_its_target_was_dialled(play: Make) -> None:
    web = play(target := Dialled())
    client = web.arrives()
    client.reset()
    target.answer()
    web.loop.settle()
    assert (target.fate, web.outcomes) == ("reset", {"data/client_reset": 1})


def test_a_target_that_answers_with_a_reset(play: Make) -> None:
    web = play(target := End())
    client = web.arrives(End(b"question"))
    target.reset()
    web.loop.settle()
    assert (client.fate, web.outcomes) == ("reset", {"data/target_reset": 1})


def test_both_sides_reset_in_one_turn_end_the_session_once(play: Make) -> None:
    web = play(target := End())
    client = web.arrives()
    client.reset()
    target.reset()
    web.loop.settle()
    assert sum(web.outcomes.values()) == 1


# --- backpressure


def test_a_slow_client_stops_the_reading_from_its_target(play: Make) -> None:
    web = play(target := End(b"x" * 100 * COPY))
    client = web.arrives(End(room=10))
    assert target.reads == 1
    assert web.session.down.held == COPY - 10
    for _ in range(20):
        client.take(COPY // 2)
        web.loop.settle()
        assert web.session.down.held <= COPY
    assert target.reads < 15
    client.take(1 << 30)
    web.loop.settle()
    assert len(client.got) == 100 * COPY


def test_a_slow_target_does_not_stop_the_other_direction(play: Make) -> None:
    web = play(target := End(room=1))
    client = web.arrives(End(b"abc"))
    target.say(b"still talking")
    web.loop.settle()
    assert (bytes(target.got), bytes(client.got)) == (b"a", b"still talking")


def test_both_directions_held_then_both_go_on(play: Make) -> None:
    web = play(target := End(b"1234", room=1))
    client = web.arrives(End(b"abcd", room=1))
    assert (bytes(target.got), bytes(client.got)) == (b"a", b"1")
    target.take(100)
    client.take(100)
    target.say(b"5", END)
    client.say(b"e", END)
    web.loop.settle()
    assert (bytes(target.got), bytes(client.got)) == (b"abcde", b"12345")
    assert web.outcomes == {"data/done": 1}


def test_partial_sends_lose_nothing(play: Make) -> None:
    web = play(target := End(at_most=1))
    client = web.arrives(End(b"one byte at a time", at_most=2))
    target.say(b"two at a time")
    web.loop.settle()
    assert (bytes(target.got), bytes(client.got)) == (b"one byte at a time", b"two at a time")


# --- a hang-up that cannot be acted on yet must not burn the core: `settle` fails when the loop spins


@pytest.mark.parametrize("held", ["up", "down"])
def test_a_source_that_hangs_up_in_order_while_its_bytes_are_held(play: Make, held: str) -> None:
    talker, slow = End(b"0123456789", unix=True), End(room=1)
    web = play(talker if held == "down" else slow)
    client = web.arrives(slow if held == "down" else talker)
    talker.say(b"more")
    talker.hang_up()
    web.loop.settle()
    assert (bytes(slow.got), slow.fate) == (b"0", "open")
    slow.take(100)
    web.loop.settle()
    assert bytes(slow.got) == b"0123456789more"
    assert client.fate in ("open", "ended")


def test_a_client_that_said_all_and_left_while_the_target_is_silent(play: Make) -> None:
    web = play(target := End())
    client = web.arrives(End(b"fire and forget", unix=True))
    client.hang_up()
    web.loop.settle()
    assert (bytes(target.got), target.fate) == (b"fire and forget", "ended")
    target.say(b"too late")
    web.loop.settle()
    assert web.outcomes == {"data/client_reset": 1}


def test_both_directions_shut_with_bytes_still_held(play: Make) -> None:
    """TCP hangs up without an error once both directions are shut: here while the client's bytes must wait."""
    web = play(target := End(END, room=0))
    client = web.arrives(End(b"held", END))
    web.loop.settle()
    assert (client.fate, target.fate) == ("ended", "open")
    target.take(100)
    web.loop.settle()
    assert (bytes(target.got), web.outcomes) == (b"held", {"data/done": 1})


# --- choosing and connecting


@pytest.mark.parametrize(
    ("refusal", "cause", "told"),
    [
        (errno.ECONNREFUSED, "refused", True),
        (errno.ENOENT, "refused", True),
        (errno.EAGAIN, "refused", True),
        (errno.EHOSTUNREACH, "unreachable", True),
        (errno.ENETUNREACH, "unreachable", True),
        (errno.ETIMEDOUT, "timeout", True),
        (errno.EADDRNOTAVAIL, "no_port", False),
        (OSError(errno.EMFILE, "no descriptor"), "descriptors", False),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else str(value),
)
def test_a_target_that_cannot_be_dialled(play: Make, refusal: Any, cause: str, told: bool) -> None:
    """What is our own fault says nothing about the target: control does not hear of it."""
    web = play(refusal, refusal, refusal)
    client = web.arrives()
    assert (client.fate, web.outcomes) == ("reset", {f"connect/{cause}": 1})
    assert web.failed == [(name, cause) for name in "abc"] * told
    assert web.active == {}


def test_refused_then_the_next_target_serves(play: Make) -> None:
    web = play(refusing := Dialled(), errno.ECONNREFUSED, target := Dialled())
    client = web.arrives(End(b"hello"))
    refusing.answer(errno.ECONNREFUSED)
    web.loop.settle()
    assert web.active == {"front": 1, "c": 1}
    target.answer()
    web.loop.settle()
    assert web.dialled == ["a", "b", "c"]
    assert bytes(target.got) == b"hello"
    assert (refusing.fate, client.fate) == ("closed", "open")
    assert web.failed == [("a", "refused"), ("b", "refused")]
    assert web.group.words[RETRIES] == 2
    assert web.target_words(counters.CONNECT_FAILURES) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("tries", "targets", "dialled"),
    [
        pytest.param(1, "abc", "a", id="one try"),
        pytest.param(2, "abc", "ab", id="two tries"),
        pytest.param(5, "ab", "ab", id="no target twice"),
        pytest.param(3, "a", "a", id="one target"),
    ],
)
def test_at_most_so_many_tries(play: Make, tries: int, targets: str, dialled: str) -> None:
    web = play(*[errno.ECONNREFUSED] * 5, tries=tries, targets=targets)
    web.arrives()
    assert "".join(web.dialled) == dialled
    assert web.outcomes == {"connect/refused": 1}


def test_the_last_cause_is_the_outcome(play: Make) -> None:
    web = play(errno.ECONNREFUSED, errno.EHOSTUNREACH, targets="ab")
    web.arrives()
    assert web.outcomes == {"connect/unreachable": 1}


def test_a_target_that_does_not_answer_in_time(play: Make) -> None:
    web = play(hole := Dialled(), target := Dialled())
    web.arrives(End(b"hello"))
    web.loop.pass_time(4.9)
    assert web.dialled == ["a"]
    web.loop.pass_time(0.2)
    assert (web.dialled, hole.fate, web.failed) == (["a", "b"], "closed", [("a", "timeout")])
    target.answer()
    web.loop.settle()
    assert bytes(target.got) == b"hello"
    web.loop.pass_time(100)
    assert web.outcomes == {}, "the deadline of a target that answered is gone"


def test_every_target_gets_its_own_connect_timeout(play: Make) -> None:
    web = play(Dialled(), Dialled(), Dialled())
    client = web.arrives()
    web.loop.pass_time(14.9)
    assert web.outcomes == {}
    web.loop.pass_time(0.2)
    assert (client.fate, web.outcomes) == ("reset", {"connect/timeout": 1})


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        ({"admin": "drain"}, "pick/no_target"),
        ({"admin": "maint"}, "pick/no_target"),
        ({"weight": 0}, "pick/no_target"),
        ({"resolve": "none"}, "pick/no_target"),
    ],
    ids=str,
)
def test_nobody_to_choose(play: Make, facts: dict[str, Any], outcome: str) -> None:
    web = play(targets="a")
    web.mark("a", **facts)
    client = web.arrives()
    assert (client.fate, web.outcomes, web.dialled) == ("reset", {outcome: 1}, [])


def test_an_empty_group(play: Make) -> None:
    web = play(targets="")
    web.arrives()
    assert web.outcomes == {"pick/no_target": 1}


def test_a_group_without_a_healthy_target_fails_open_and_says_so(play: Make) -> None:
    web = play(target := End(), health="unhealthy")
    web.arrives(End(b"hello"))
    assert bytes(target.got) == b"hello"
    assert web.group.words[FAIL_OPEN_PICKS] == 1


# --- the wait for the first verdict


def test_a_session_waits_for_the_first_verdict(play: Make) -> None:
    web = play(target := End(), health="initial")
    client = web.arrives(End(b"early"))
    assert (web.dialled, client.reads, web.session.phase) == ([], 0, "pick")
    web.mark("b", health="healthy")
    assert (web.dialled, bytes(target.got)) == (["b"], b"early")
    assert web.group.words[FAIL_OPEN_PICKS] == 0


def test_a_session_does_not_wait_longer_than_the_limit(play: Make) -> None:
    web = play(target := End(), health="initial")
    web.arrives(End(b"early"))
    web.group.stop_waiting()
    web.loop.settle()
    assert bytes(target.got) == b"early"
    assert web.group.words[FAIL_OPEN_PICKS] == 1


def test_a_bad_verdict_about_one_target_leaves_the_session_waiting_for_the_others(play: Make) -> None:
    web = play(End(), health="initial")
    web.arrives()
    web.mark("a", health="unhealthy")
    assert web.dialled == []
    web.mark("b", health="unhealthy")
    web.mark("c", health="unhealthy")
    assert len(web.dialled) == 1


def test_a_waiting_session_that_was_ended_stays_ended(play: Make) -> None:
    web = play(health="initial")
    client = web.arrives()
    web.session.close("shutdown")
    web.mark("a", health="healthy")
    assert (client.fate, web.outcomes, web.dialled) == ("reset", {"pick/shutdown": 1}, [])


def test_an_error_in_one_waiting_session_leaves_the_others_alone(play: Make) -> None:
    web = play(OverflowError("a bug"), target := End(), health="initial")
    unlucky = web.arrives()
    web.arrives(End(b"lucky"))
    web.mark("a", health="healthy")
    assert (unlucky.fate, bytes(target.got)) == ("reset", b"lucky")
    assert web.outcomes == {"connect/bug": 1}


# --- time


def test_an_idle_session_is_reset_on_both_sides(play: Make) -> None:
    web = play(target := End())
    client = web.arrives()
    web.sweep(349)
    assert web.outcomes == {}
    web.sweep(2)
    assert (client.fate, target.fate, web.outcomes) == ("reset", "reset", {"data/idle": 1})


@pytest.mark.parametrize("who", ["client", "target"])
def test_one_byte_either_way_keeps_a_session(play: Make, who: str) -> None:
    ends = {"client": End(), "target": End()}
    web = play(ends["target"])
    web.arrives(ends["client"])
    for _ in range(4):
        web.sweep(200)
        ends[who].say(b"x")
        web.loop.settle()
        web.sweep(1)
    assert web.outcomes == {}


def test_a_session_whose_reader_is_stuck_is_idle_too(play: Make) -> None:
    web = play(End(b"x" * 10 * COPY))
    web.arrives(End(room=10))
    web.sweep(1)
    web.sweep(351)
    assert web.outcomes == {"data/idle": 1}


# --- errors of ours


@pytest.mark.parametrize("who", ["client", "target"])
def test_an_error_of_ours_ends_that_session_only(play: Make, who: str) -> None:
    ends = {"client": End(), "target": End()}
    web = play(ends["target"], bystander := End())
    web.arrives(ends["client"])
    other = web.arrives(End(b"unharmed"))
    ends[who].recv = _bug  # type: ignore[method-assign]
    ends[who].say(b"x")
    web.loop.settle()
    assert (ends["client"].fate, ends["target"].fate) == ("reset", "reset")
    assert web.outcomes == {"data/bug": 1}
    ((error, where),) = web.bugs
    assert (str(error), where) == ("a bug", "session of 192.0.2.7:40000 in phase data")
    other.say(b" still")
    web.loop.settle()
    assert bytes(bystander.got) == b"unharmed still"


def _bug(size: int) -> bytes:
    raise OverflowError("a bug")


# --- the end


def test_close_acts_once(play: Make) -> None:
    web = play(End())
    web.arrives()
    session = web.session
    session.close("idle")
    session.close("done")
    session.crashed(OverflowError("late"))
    assert web.outcomes == {"data/idle": 1}


def test_an_event_of_the_same_turn_does_not_reach_a_closed_session(play: Make) -> None:
    """Both sides have news in one batch, and the first ends the session."""
    web = play(target := End())
    client = web.arrives()
    client.reset()
    target.say(b"too late")
    web.loop.settle()
    assert sum(web.outcomes.values()) == 1
    assert web.bugs == []


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("192.0.2.7", 40000), "192.0.2.7:40000"),
        (("2001:db8::7", 40000, 0, 0), "[2001:db8::7]:40000"),
        ("", "unix:"),
    ],
    ids=str,
)
def test_what_a_client_is_called(play: Make, address: Any, name: str) -> None:
    web = play(End())
    web.arrives(address=address)
    assert web.session.client_name == name


def test_wake_ups_for_nothing_are_harmless(play: Make) -> None:
    web = play(target := End(NOTHING, b"answer", NOTHING))
    client = web.arrives(End(NOTHING, b"question"))
    assert (bytes(target.got), bytes(client.got)) == (b"question", b"answer")
