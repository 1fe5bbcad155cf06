"""What an answer changes, in tables with a clock set by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.control.names import JITTER, MOST, Answer, Failure, Found, Known, Settings, judge, sentences
from tests.names import failing, told

SETTINGS = Settings(floor=5, ceiling=60)
HOST = "app.test"
NEVER = Known(since=100.0)
THEN, NOW = 500.0, 1000.0


def found(*ips: str, host: str = HOST, weight: int = 0) -> tuple[Found, ...]:
    return tuple(Found(host, ip, weight=weight) for ip in ips)


def fine(*ips: str, **more: Any) -> Known:
    return Known(found(*ips, **more), "ok", "", THEN)


def judged(known: Known, answer: Answer, chance: float = 0.0) -> Any:
    return judge(known, answer, NOW, chance, SETTINGS)


def ips(items: tuple[Found, ...]) -> list[str]:
    return [item.ip for item in items]


# --- judge

BOTH_FAMILIES = fine("10.0.0.1", "fd00::1")
TWO_HOSTS = Known((Found("a.test", "10.0.0.1", 80, 1), Found("b.test", "10.0.0.2", 80, 1)), "ok", "", THEN)
STALE = Known(found("10.0.0.1"), "stale", "SERVFAIL", THEN, 3)


@pytest.mark.parametrize(
    ("known", "answer", "added", "removed", "state", "reason"),
    [
        pytest.param(NEVER, told("10.0.0.1"), ["10.0.0.1"], [], "ok", "", id="the first answer"),
        pytest.param(fine("10.0.0.1"), told("10.0.0.1"), [], [], "ok", "", id="the same again"),
        pytest.param(
            fine("10.0.0.1", "10.0.0.2"), told("10.0.0.2", "10.0.0.1"), [], [], "ok", "", id="in another order"
        ),
        pytest.param(
            fine("10.0.0.1"), told("10.0.0.2"), ["10.0.0.2"], ["10.0.0.1"], "ok", "", id="one comes and one goes"
        ),
        pytest.param(NEVER, failing("NXDOMAIN"), [], [], "none", "NXDOMAIN", id="never looked up successfully"),
        pytest.param(fine("10.0.0.1"), failing(), [], [], "stale", "SERVFAIL", id="a failure keeps the last answer"),
        pytest.param(fine("10.0.0.1"), Answer(), [], [], "stale", "the answer is empty", id="so does an empty answer"),
        pytest.param(NEVER, Answer(), [], [], "none", "the answer is empty", id="empty from the beginning"),
        pytest.param(STALE, failing("timeout"), [], [], "stale", "timeout", id="another reason for the same state"),
        pytest.param(STALE, told("10.0.0.1"), [], [], "ok", "", id="well again"),
        pytest.param(
            STALE, told("10.0.0.9"), ["10.0.0.9"], ["10.0.0.1"], "ok", "", id="well again, and all has changed"
        ),
        pytest.param(
            BOTH_FAMILIES,
            Answer(found("10.0.0.2"), (Failure("AAAA: SERVFAIL", HOST, 6),)),
            ["10.0.0.2"],
            ["10.0.0.1"],
            "stale",
            "AAAA: SERVFAIL",
            id="one IP version fails: only its addresses are kept",
        ),
        pytest.param(
            fine("10.0.0.1"),
            Answer(found("10.0.0.1"), (Failure("AAAA: SERVFAIL", HOST, 6),)),
            [],
            [],
            "ok",
            "AAAA: SERVFAIL",
            id="one IP version fails that never gave anything: nothing in use is old",
        ),
        pytest.param(
            TWO_HOSTS,
            Answer((Found("a.test", "10.0.0.3", 80, 1),), (Failure("b.test: SERVFAIL", "b.test"),)),
            ["10.0.0.3"],
            ["10.0.0.1"],
            "stale",
            "b.test: SERVFAIL",
            id="one host of a service fails: only its addresses are kept",
        ),
        pytest.param(
            TWO_HOSTS,
            failing("c.test: SERVFAIL", "c.test"),
            [],
            [],
            "stale",
            "c.test: SERVFAIL",
            id="the hosts of a service are replaced by one that fails: the old ones are all there is",
        ),
        pytest.param(
            TWO_HOSTS,
            Answer((Found("a.test", "10.0.0.1", 80, 1),)),
            [],
            ["10.0.0.2"],
            "ok",
            "",
            id="one host of a service is gone",
        ),
    ],
)
def test_what_an_answer_changes(
    known: Known, answer: Answer, added: list[str], removed: list[str], state: str, reason: str
) -> None:
    verdict = judged(known, answer)
    assert (ips(verdict.added), ips(verdict.removed)) == (added, removed)
    assert (verdict.known.state, verdict.known.reason) == (state, reason)
    assert set(ips(verdict.known.found)) == set(ips(known.found)) - set(removed) | set(added)


def test_since_is_when_the_state_began() -> None:
    assert judged(fine("10.0.0.1"), told("10.0.0.2")).known.since == THEN
    assert judged(fine("10.0.0.1"), failing()).known.since == NOW
    assert judged(STALE, failing("timeout")).known.since == THEN
    assert judged(STALE, told("10.0.0.1")).known.since == NOW
    assert judged(NEVER, failing()).known.since == NEVER.since


def test_another_weight_is_a_change_but_no_new_address() -> None:
    verdict = judged(fine("10.0.0.1", "10.0.0.2", weight=5), Answer(found("10.0.0.1", weight=7) + found("10.0.0.2")))
    assert (verdict.added, verdict.removed) == ((), ())
    assert verdict.weighed == (*found("10.0.0.1", weight=7), *found("10.0.0.2"))


def test_addresses_are_in_the_order_of_their_numbers() -> None:
    verdict = judged(NEVER, told("fd00::1", "10.0.0.10", "10.0.0.9", "9.0.0.1"))
    assert ips(verdict.known.found) == ["9.0.0.1", "10.0.0.9", "10.0.0.10", "fd00::1"]


def test_two_hosts_with_one_address_are_one_target_whoever_comes_first() -> None:
    one, other = Found("a.test", "10.0.0.1", 80, 1), Found("b.test", "10.0.0.1", 80, 9)
    verdict = judged(NEVER, Answer((one, other)))
    assert len(verdict.added) == 1
    assert judged(NEVER, Answer((other, one))) == verdict
    assert not judged(verdict.known, Answer((other, one))).moved


def test_no_name_has_more_addresses_than_can_be_meant() -> None:
    many = [f"10.0.{number // 256}.{number % 256}" for number in range(MOST + 203)]
    verdict = judged(NEVER, told(*many))
    assert len(verdict.known.found) == len(verdict.added) == MOST
    assert verdict.known.state == "ok"
    assert verdict.known.reason == f"more than {MOST} addresses; the others are not used"
    assert not judged(verdict.known, told(*reversed(many))).moved
    assert len(judged(verdict.known, failing()).known.found) == MOST


@pytest.mark.parametrize(
    ("known", "answer", "wait"),
    [
        pytest.param(NEVER, told("10.0.0.1", ttl=30), 30, id="the TTL"),
        pytest.param(NEVER, told("10.0.0.1", ttl=0), 5, id="not below the floor"),
        pytest.param(NEVER, told("10.0.0.1", ttl=86400), 60, id="not above the ceiling"),
        pytest.param(NEVER, failing(), 5, id="the first failure"),
        pytest.param(Known(failures=1), failing(), 10, id="the second"),
        pytest.param(Known(failures=3), failing(), 40, id="the fourth"),
        pytest.param(Known(failures=4), failing(), 60, id="the fifth"),
        pytest.param(Known(failures=1_000_000), failing(), 60, id="the millionth"),
        pytest.param(STALE, told("10.0.0.1", ttl=30), 30, id="well again"),
        pytest.param(
            Known(failures=4),
            Answer(found("10.0.0.1"), (Failure("AAAA", HOST, 6),), 30),
            30,
            id="half an answer: the backoff, but no later than the TTL of what came",
        ),
    ],
)
def test_when_it_is_asked_again(known: Known, answer: Answer, wait: float) -> None:
    assert judged(known, answer).wait == wait
    # Never earlier: a cache would only hand out the rest of the TTL.
    assert judged(known, answer, chance=1.0).wait == pytest.approx(wait * (1 + JITTER))


POSSIBLE = [Found(host, ip) for host in ("a", "b") for ip in ("10.0.0.1", "10.0.0.2", "fd00::1")]
FAILURES = [Failure("no", host, version) for host in ("", "a", "b") for version in (0, 4, 6)]
answers = st.builds(
    Answer,
    st.lists(st.sampled_from(POSSIBLE), max_size=4).map(tuple),
    st.lists(st.sampled_from(FAILURES), max_size=2).map(tuple),
    st.sampled_from([0.0, 30.0, 1e6]),
)


@given(st.lists(answers, max_size=4), st.sampled_from([0.0, 0.5, 1.0]))
def test_whatever_comes_an_address_goes_only_when_an_answer_leaves_it_out(given_: list[Answer], chance: float) -> None:
    known = NEVER
    for answer in given_:
        verdict = judged(known, answer, chance)
        assert not set(verdict.removed) & set(answer.found)
        for failure in answer.failures:
            assert not any(failure.covers(item) for item in verdict.removed)
        assert verdict.removed == () or answer.found
        assert (verdict.known.state == "none") == (not verdict.known.found)
        assert 5 <= verdict.wait <= 60 * (1 + JITTER)
        assert {(item.ip, item.port) for item in answer.found} <= {(item.ip, item.port) for item in verdict.known.found}
        known = verdict.known


# --- events


@pytest.mark.parametrize(
    ("known", "answer", "said"),
    [
        (NEVER, told("10.0.0.1", "10.0.0.2"), ["info app.test: 10.0.0.1, 10.0.0.2 added"]),
        (fine("10.0.0.1"), told("10.0.0.1"), []),
        (fine("10.0.0.1"), told("10.0.0.2"), ["info app.test: 10.0.0.2 added; 10.0.0.1 removed"]),
        (fine("10.0.0.1", weight=1), told("10.0.0.1", weight=2), ["info app.test: 10.0.0.1 with another weight"]),
        (
            fine("10.0.0.1", "10.0.0.2"),
            failing("no answer within 5s"),
            [
                "warning app.test cannot be looked up, so addresses of the last answer stay in use (2 in all): "
                "no answer within 5s"
            ],
        ),
        (STALE, failing("another reason"), []),
        (STALE, told("10.0.0.1"), ["info app.test is looked up without trouble again"]),
        (
            STALE,
            told("10.0.0.2"),
            ["info app.test: 10.0.0.2 added; 10.0.0.1 removed", "info app.test is looked up without trouble again"],
        ),
        (
            Known(found("10.0.0.1"), "ok", "AAAA: SERVFAIL", THEN, 2),
            failing("SERVFAIL"),
            ["warning app.test cannot be looked up, so addresses of the last answer stay in use (1 in all): SERVFAIL"],
        ),
        (NEVER, failing("NXDOMAIN"), ["warning app.test cannot be looked up and has no address: NXDOMAIN"]),
        (Known(failures=1), failing("SERVFAIL"), []),
        (
            NEVER,
            Answer(found("10.0.0.1"), (Failure("AAAA: SERVFAIL", HOST, 6),)),
            [
                "info app.test: 10.0.0.1 added",
                "warning app.test is only known in part (1 addresses): AAAA: SERVFAIL",
            ],
        ),
        (
            fine("10.0.0.1"),
            Answer(found("10.0.0.1"), (Failure("b: no", "b"), Failure("c: no", "c"))),
            ["warning app.test is only known in part (1 addresses): b: no; c: no"],
        ),
    ],
)
def test_an_event_tells_a_change_and_not_a_try(known: Known, answer: Answer, said: list[str]) -> None:
    assert [" ".join(event) for event in sentences(HOST, known, judged(known, answer))] == said


def test_a_long_list_in_an_event_is_cut() -> None:
    [(_, text)] = sentences(HOST, NEVER, judged(NEVER, told(*(f"10.0.0.{number}" for number in range(1, 31)))))
    assert text == "app.test: 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 25 more added"


def test_too_many_addresses_are_told_once() -> None:
    many = told(*(f"10.0.{number // 256}.{number % 256}" for number in range(MOST + 1)))
    first = judged(NEVER, many)
    assert [level for level, _ in sentences(HOST, NEVER, first)] == ["info", "warning"]
    assert list(sentences(HOST, first.known, judged(first.known, many))) == []
