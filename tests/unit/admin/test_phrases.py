"""The sentences that people read."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.admin import phrases
from tests.unit.admin.canned import (
    NOW,
    fact,
    group,
    http_group,
    http_listener,
    listener,
    override,
    snapshot,
    target,
    worker,
)

DOWN = target(0, "a", health=fact("unhealthy"), usable=False)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"state": "stopping"}, "stopping: no new connection is taken"),
        ({"ready": False, "state": "starting"}, "starting: waiting for first verdicts"),
        ({"ready": False, "listeners": []}, "no listener is configured"),
        ({"ready": False, "workers": [worker(1, state="backing_off")]}, "no worker is running"),
        ({"ready": False, "groups": [group("web", DOWN), group("spare", DOWN)]}, "no usable target in group web"),
        (
            {"ready": False, "groups": [group("web", DOWN), group("api", DOWN)]},
            "no usable target in group web, api",
        ),
        (
            {"ready": False, "groups": [group("web", DOWN, waiting=True), group("api", DOWN)]},
            "waiting for first verdicts of group web",
        ),
        (
            {"ready": False, "groups": [group("web", DOWN, candidates=1, fail_open=True)]},
            "no healthy target in group web",
        ),
        ({"ready": False, "groups": [group("web", target(0, "a")), group("api", target(1, "b"))]}, "not ready"),
    ],
)
def test_why_nlb_is_not_ready(changes: dict[str, Any], why: str) -> None:
    facts = snapshot(listeners=[listener("web", "web"), listener("api", "api")])
    assert phrases.not_ready({**facts, **changes}) == why


def test_groups_of_rules_are_needed_too() -> None:
    groups = [group("pages", target(0, "a"), candidates=1), group("api", DOWN)]
    facts = snapshot(listeners=[http_listener("edge", "pages", "api")], groups=groups, ready=False)
    assert phrases.not_ready(facts) == "no usable target in group api"


@pytest.mark.parametrize(
    ("groups", "text"), [(["web"], "web"), (["web", "api"], "web and 1 more"), (["web", "a", "b"], "web and 2 more")]
)
def test_where_a_listener_leads(groups: list[str], text: str) -> None:
    assert phrases.groups(http_listener("edge", *groups)) == text


@pytest.mark.parametrize(("hits", "misses", "text"), [(0, 0, "-"), (880, 20, "97.8 %"), (0, 1, "0.0 %")])
def test_how_many_connections_were_reused(hits: int, misses: int, text: str) -> None:
    assert phrases.reused(http_group("web", pool_hits=hits, pool_misses=misses)) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "connected"),
        ({"probe": None, "health": fact("initial")}, ""),
        ({"health": fact("unhealthy", "3 failures")}, "3 failures; connected"),
        ({"admin": fact("maint", "new disk")}, "new disk; connected"),
        ({"resolve": fact("stale", "no DNS answer")}, "no DNS answer; connected"),
        (
            {"admin": fact("drain", "deploy"), "drain": {"seconds_left": 90.2, "ended": ""}},
            "1m 30s left; deploy; connected",
        ),
        ({"admin": fact("drain"), "drain": {"seconds_left": 0.0, "ended": "empty"}}, "drained; connected"),
        ({"admin": fact("drain"), "drain": {"seconds_left": 0.0, "ended": "timeout"}}, "drain time ran out; connected"),
    ],
)
def test_why_a_target_stands_where_it_stands(changes: dict[str, Any], text: str) -> None:
    assert phrases.explanation(target(0, "a", **changes)) == text


def test_the_operators_wish_comes_before_health() -> None:
    both = target(0, "a", admin=fact("drain", since=NOW - 5), health=fact("unhealthy", since=NOW - 9))
    assert phrases.standing(both)["since"] == NOW - 5


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 << 20, "5.0 MiB"),
        (1 << 30, "1.0 GiB"),
        ((1 << 64) - 1, "16.0 EiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert phrases.size(count) == text


@pytest.mark.parametrize(("weight", "text"), [(1, "1"), (5, "5 (config 1)"), (0, "0 (config 1)")])
def test_a_changed_weight_shows_the_configured_one(weight: int, text: str) -> None:
    assert phrases.weight(target(0, "a", weight=weight)) == text


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        (override("web/a", "admin", "drain"), "drain by ann"),
        (override("web/a", "admin", "maint", until=NOW + 1500), "maint by ann, 25m left"),
        (override("web/a", "weight", 0), "weight 0 by ann"),
        (override("web/a", "added", 1, who="bob"), "added by bob"),
        (override("web/a", "added", 3), "added, weight 3 by ann"),
        (override("web/a", "removed", until=NOW - 5), "removed by ann, 0s left"),
    ],
)
def test_what_an_operator_changed_about_a_target(wish: dict[str, Any], text: str) -> None:
    assert phrases.overrides(target(0, "a", overrides=[wish]), NOW) == text
    assert phrases.overrides(target(0, "a", overrides=[wish, wish]), NOW) == f"{text}; {text}"
