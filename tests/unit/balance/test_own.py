"""Policies of the operator's own: whatever they do, every session gets a target, and somebody hears of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from nlb.balance.own import Contained
from nlb.balance.policy import Means
from nlb.balance.target import Target
from tests.unit.balance import own_policies
from tests.unit.balance.box import built, chosen, make

HERE = "python:tests.unit.balance.own_policies"


class Story:
    """A policy, what it chose and what was heard of it."""

    def __init__(self, name: str, weights: list[int] | None = None) -> None:
        self.heard: list[str] = []
        self.targets = make(weights or [1, 1, 1], workers=1)
        self.policy = Contained(f"{HERE}:{name}", Means(failed=self.heard.append))
        built(self.policy, self.targets)


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the policy `Says` says."""

    def set_to(**what: Any) -> Story:
        for name, value in what.items():
            monkeypatch.setattr(own_policies.Says, name, value)
        return Story("Says")

    return set_to


@pytest.mark.parametrize(("name", "served"), [("First", "aaa"), ("Last", "ccc")])
def test_a_good_one_chooses(name: str, served: str) -> None:
    story = Story(name)
    assert chosen(story.policy, 3) == served
    assert story.heard == []


def test_it_is_told_who_was_tried() -> None:
    story = Story("First")
    assert chosen(story.policy, 1, story.targets[:1]) == "b"
    assert chosen(story.policy, 1, story.targets) == "-"
    assert story.heard == [], "it is no fault to have none when all were tried"


def test_one_that_wants_a_key_gets_it() -> None:
    policy = Story("Keyed").policy
    assert policy.needs_key
    assert [policy.choose(key, ()).name for key in (b"\0", b"\1", b"\2", b"\3")] == list("abca")  # type: ignore[union-attr]
    assert not Story("First").policy.needs_key


def test_it_may_look_at_the_sessions_of_targets() -> None:
    story = Story("Quiet")
    story.targets[0].rows[0][1] = 5  # type: ignore[index]
    assert chosen(story.policy, 1) == "b"


@pytest.mark.parametrize(
    "error", [KeyError("web01"), RecursionError(), SystemExit(1), asyncio.CancelledError(), BaseException("any")]
)
def test_when_it_raises_round_robin_chooses_and_it_is_heard(says: Any, error: BaseException) -> None:
    story = says(error=error)
    assert chosen(story.policy, 6) == "abcabc"
    assert len(story.heard) == 6
    assert "own_policies.Says.choose failed: " in story.heard[0]
    assert "own_policies.py:" in story.heard[0], "where it was"


class Pretender:
    """Says that it is equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        raise ValueError("of no use in a set")


@pytest.mark.parametrize("answer", [None, 5, "a", [], Pretender(), make([1])[0]])
def test_when_it_answers_nonsense_round_robin_chooses_and_it_is_heard(says: Any, answer: Any) -> None:
    story = says(answer=answer)
    assert chosen(story.policy, 3) == "abc"
    assert len(story.heard) == 3
    assert "choose answered" in story.heard[0]


def test_an_answer_that_was_tried_already_is_nonsense_too(says: Any) -> None:
    story = says()
    own_policies.Says.answer = story.targets[0]
    assert chosen(story.policy, 2) == "aa"
    assert chosen(story.policy, 1, story.targets[:1]) in "bc"
    assert story.heard == ["tests.unit.balance.own_policies.Says.choose answered target a, which was tried already"]


def test_a_target_that_is_no_candidate_any_more_is_nonsense(says: Any) -> None:
    story = says()
    own_policies.Says.answer = story.targets[2]
    built(story.policy, story.targets[:2])
    assert chosen(story.policy, 2) == "ab"


def test_one_that_fails_to_build_is_not_asked_until_it_succeeds(says: Any) -> None:
    story = says(build_error=ValueError("too many"))
    own_policies.Says.answer = story.targets[2]
    assert chosen(story.policy, 3) == "abc"
    assert story.heard[-1].startswith("tests.unit.balance.own_policies.Says.build failed: ValueError: too many (")
    own_policies.Says.build_error = None
    built(story.policy, story.targets)
    assert chosen(story.policy, 2) == "cc"


@pytest.mark.parametrize("name", ["NoChoose", "NoBuild", "WantsArguments", "Exits", "Missing"])
def test_one_that_cannot_be_had_is_round_robin(name: str) -> None:
    """A worker that replaces another may find the module changed; it must not fall over it."""
    story = Story(name, [1, 2])
    assert Counter(chosen(story.policy, 6)) == {"a": 2, "b": 4}
    assert len(story.heard) == 6


def test_without_candidates_it_is_not_asked(says: Any) -> None:
    story = says(error=KeyError())
    built(story.policy, ())
    assert chosen(story.policy, 1) == "-"
    assert story.heard == []


def test_weights_that_change_step_by_step_are_not_for_it() -> None:
    assert not Story("First").policy.eases


def test_a_target_is_itself() -> None:
    """What is compared is identity: nothing foreign gets through."""
    story = Story("First")
    assert isinstance(story.policy.choose(b"", ()), Target)
