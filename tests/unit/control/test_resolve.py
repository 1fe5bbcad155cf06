"""When names are asked for, with answers that the test writes. Real questions are in tests/wire/test_resolve.py."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest

from nlb.control.names import JITTER, Question, Settings, Verdict
from nlb.control.resolve import THREADS, Resolver
from tests.names import Oracle, PostedTo, failing, told
from tests.waiting import until

SETTINGS = Settings(floor=5, ceiling=60)
WEB = Question("app.test")
API = Question("api.test")
MANY = [Question(f"app{number}.test") for number in range(1000)]


class Desk:
    """A resolver, and what it said."""

    def __init__(self) -> None:
        self.loop = PostedTo()
        self.oracle = Oracle()
        self.events: list[str] = []
        self.changes: list[tuple[str, list[str], str, str]] = []
        self.resolver = Resolver(cast(Any, self.loop), self.say, self._changed, Random(1), self.oracle.ask)

    def follow(self, *questions: Question, settings: Settings = SETTINGS) -> None:
        self.resolver.follow(questions, settings)

    def say(self, level: str, kind: str, text: str) -> None:
        self.events.append(f"{level} {kind} {text}")

    def _changed(self, question: Question, verdict: Verdict) -> None:
        known = verdict.known
        self.changes.append((question.host, [item.ip for item in known.found], known.state, known.reason))


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.oracle.open.set()
    desk.resolver.stop()
    until(lambda: not threads_of(desk.resolver))


def threads_of(resolver: Resolver) -> list[threading.Thread]:
    """They live as long as it does."""
    target = resolver._work
    return [thread for thread in threading.enumerate() if getattr(thread, "_target", None) == target]


def test_followed_names_are_asked_for_at_once_and_again_after_their_ttl(desk: Desk) -> None:
    desk.oracle.answers[WEB] = told("10.0.0.1", ttl=30)
    desk.follow(WEB)
    assert desk.resolver.known(WEB).state == "none"
    assert desk.resolver.unanswered == {WEB}
    desk.loop.hear()
    assert desk.changes == [("app.test", ["10.0.0.1"], "ok", "")]
    assert not desk.resolver.unanswered
    desk.loop.pass_time(29.9)
    assert len(desk.oracle.asked) == 1
    desk.oracle.answers[WEB] = told("10.0.0.2", ttl=30)
    desk.loop.pass_time(30 * JITTER + 0.2)
    desk.loop.hear()
    assert desk.changes[1:] == [("app.test", ["10.0.0.2"], "ok", "")]
    assert {question: [item.ip for item in found] for question, found in desk.resolver.found().items()} == {
        WEB: ["10.0.0.2"]
    }


def test_nobody_is_called_when_nothing_changed(desk: Desk) -> None:
    desk.oracle.answers[WEB] = told("10.0.0.1")
    desk.follow(WEB)
    desk.loop.hear()
    for _ in range(3):
        desk.loop.pass_time(60)
        desk.loop.hear()
    assert (len(desk.oracle.asked), len(desk.changes), len(desk.events)) == (4, 1, 1)


def test_the_last_good_answer_stays_in_use_until_there_is_another(desk: Desk) -> None:
    desk.oracle.answers[WEB] = told("10.0.0.1")
    desk.follow(WEB)
    desk.loop.hear()
    desk.oracle.answers[WEB] = failing("NXDOMAIN")
    for _ in range(4):
        desk.loop.pass_time(70)
        desk.loop.hear()
    assert desk.changes[1:] == [("app.test", ["10.0.0.1"], "stale", "NXDOMAIN")]
    desk.oracle.answers[WEB] = told("10.0.0.1")
    desk.loop.pass_time(70)
    desk.loop.hear()
    assert desk.changes[2:] == [("app.test", ["10.0.0.1"], "ok", "")]
    assert [event.split()[0] for event in desk.events] == ["info", "warning", "info"]


def test_a_first_answer_is_a_change_even_if_it_is_none(desk: Desk) -> None:
    desk.oracle.answers[WEB] = failing("SERVFAIL")
    desk.follow(WEB)
    desk.loop.hear()
    assert desk.changes == [("app.test", [], "none", "SERVFAIL")]
    assert not desk.resolver.unanswered


def test_one_look_up_serves_everybody_who_asks_for_that_name(desk: Desk) -> None:
    desk.oracle.answers[WEB] = told("10.0.0.1")
    desk.follow(WEB, WEB)
    desk.loop.hear()
    assert (len(desk.oracle.asked), len(desk.changes)) == (1, 1)


def test_what_is_known_survives_another_list_of_names(desk: Desk) -> None:
    desk.oracle.answers = {WEB: told("10.0.0.1"), API: told("10.0.0.2")}
    desk.follow(WEB)
    desk.loop.hear()
    desk.follow(API, WEB)
    desk.loop.hear()
    assert desk.resolver.known(WEB).state == "ok"
    assert desk.oracle.asked == [WEB, API]


def test_a_name_that_nobody_follows_any_more_is_not_asked_for(desk: Desk) -> None:
    desk.oracle.answers = {WEB: told("10.0.0.1"), API: told("10.0.0.2")}
    desk.follow(WEB, API)
    desk.loop.hear(2)
    desk.follow(API)
    desk.oracle.asked.clear()
    desk.loop.pass_time(60)
    desk.loop.hear()
    assert desk.oracle.asked == [API]
    with pytest.raises(KeyError):
        desk.resolver.known(WEB)


def test_an_answer_that_comes_after_its_name_was_given_up_is_not_heard(desk: Desk) -> None:
    desk.oracle.answers[WEB] = told("10.0.0.1")
    desk.oracle.open.clear()
    desk.follow(WEB)
    desk.follow()
    assert not desk.resolver.unanswered
    desk.oracle.open.set()
    desk.loop.hear()
    assert (desk.changes, desk.events, desk.loop.deadlines) == ([], [], [])


def test_other_settings_hold_at_once(desk: Desk) -> None:
    desk.oracle.answers = {WEB: failing()}
    desk.follow(WEB)
    desk.loop.hear()
    desk.oracle.answers = {WEB: told("10.0.0.1", ttl=3600)}
    other = replace(SETTINGS, ceiling=7)
    desk.follow(WEB, settings=other)
    desk.loop.hear()
    assert desk.changes[1:] == [("app.test", ["10.0.0.1"], "ok", "")]
    assert desk.oracle.settings == [SETTINGS, other]
    assert 7 <= desk.loop.deadlines[0] - desk.loop.now <= 7 * (1 + JITTER)


def test_who_is_asked_already_is_asked_again_by_other_settings(desk: Desk) -> None:
    desk.oracle.answers = {WEB: failing()}
    desk.oracle.open.clear()
    desk.follow(WEB)
    other = replace(SETTINGS, ceiling=7)
    until(lambda: desk.oracle.asked)
    desk.follow(WEB, settings=other)
    desk.oracle.open.set()
    desk.loop.hear()
    desk.loop.settle()
    desk.loop.hear()
    assert desk.oracle.settings == [SETTINGS, other]


def test_a_thousand_names_are_asked_for_by_a_few_threads(desk: Desk) -> None:
    desk.oracle.answers = {question: told("10.0.0.1") for question in MANY}
    desk.oracle.open.clear()
    desk.follow(*MANY)
    until(lambda: len(desk.oracle.asked) == THREADS)
    assert len(threads_of(desk.resolver)) == THREADS
    desk.oracle.open.set()
    desk.loop.hear(1000)
    assert len(desk.oracle.asked) == len(desk.changes) == 1000


def test_one_name_needs_one_thread(desk: Desk) -> None:
    desk.oracle.answers[WEB] = told("10.0.0.1")
    desk.follow(WEB)
    for _ in range(5):
        desk.loop.hear()
        desk.loop.pass_time(70)
    assert len(threads_of(desk.resolver)) == 1


def test_an_error_of_ours_is_told_and_the_name_is_asked_for_again(desk: Desk) -> None:
    desk.follow(WEB)  # there is no answer written for it: a KeyError in the thread
    desk.loop.hear(2)
    assert desk.resolver.known(WEB).reason.startswith("error inside nlb: KeyError")
    assert desk.events[-1].startswith("error nlb bug in name look-ups\nTraceback")
    desk.oracle.answers[WEB] = told("10.0.0.1")
    desk.loop.pass_time(5 * (1 + JITTER))
    desk.loop.hear()
    assert desk.resolver.known(WEB).state == "ok"


def test_a_callback_that_fails_does_not_end_the_look_ups(desk: Desk) -> None:
    def fail(*change: object) -> None:
        raise ValueError("scripted")

    resolver = Resolver(cast(Any, desk.loop), desk.say, fail, Random(1), desk.oracle.ask)
    desk.oracle.answers[WEB] = told("10.0.0.1", ttl=5)
    resolver.follow([WEB], SETTINGS)
    desk.loop.hear()
    assert "ValueError: scripted" in desk.events[-1]
    desk.loop.pass_time(6)
    desk.loop.hear()
    assert len(desk.oracle.asked) == 2
    resolver.stop()


def test_after_stop_nothing_is_posted_and_threads_end(desk: Desk) -> None:
    desk.oracle.answers = {question: told("10.0.0.1") for question in MANY}
    desk.oracle.open.clear()
    desk.follow(*MANY)
    until(lambda: len(desk.oracle.asked) == THREADS)
    desk.resolver.stop()
    desk.oracle.open.set()
    until(lambda: not threads_of(desk.resolver))
    assert len(desk.oracle.asked) == THREADS  # those in the queue were not asked any more
    assert (list(desk.loop.posted), desk.loop.deadlines, desk.changes) == ([], [], [])


def test_a_resolver_without_names_is_idle(desk: Desk) -> None:
    desk.follow()
    assert (desk.loop.deadlines, threads_of(desk.resolver)) == ([], [])


def test_the_library_for_dns_is_imported_when_a_name_is_asked_for_and_not_before() -> None:
    code = "import sys, nlb.cli.serve; sys.exit('dns' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
