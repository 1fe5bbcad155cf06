"""One target: its three facts, and the one combination of them."""

from __future__ import annotations

import pytest

from nlb.balance.target import Target
from nlb.model.address import Address


def make(weight: int = 1) -> Target:
    return Target(7, "web01", "web", Address("10.0.0.11", 3000), weight)


@pytest.mark.parametrize(
    ("admin", "health", "resolve", "weight", "usable", "eligible"),
    [
        pytest.param("ready", "healthy", "ok", 1, True, True, id="all is well"),
        pytest.param("ready", "healthy", "stale", 1, True, True, id="an old answer of DNS is an answer"),
        pytest.param("ready", "initial", "ok", 1, False, True, id="not asked yet"),
        pytest.param("ready", "unhealthy", "ok", 1, False, True, id="unhealthy"),
        pytest.param("drain", "healthy", "ok", 1, False, False, id="drain"),
        pytest.param("maint", "healthy", "ok", 1, False, False, id="maint"),
        pytest.param("ready", "healthy", "none", 1, False, False, id="its name means nothing"),
        pytest.param("ready", "healthy", "ok", 0, False, False, id="weight 0"),
    ],
)
def test_usable_needs_every_fact_and_eligible_all_but_health(
    admin: str, health: str, resolve: str, weight: int, usable: bool, eligible: bool
) -> None:
    target = make(weight)
    target.set_admin(admin, "", 0)
    target.set_health(health, "", 0)
    target.set_resolve(resolve, "", 0)
    assert (target.usable, target.eligible) == (usable, eligible)


def test_a_new_target_is_ready_but_nobody_knows_its_health() -> None:
    target = make(weight=4)
    assert (target.admin.state, target.health.state, target.resolve.state) == ("ready", "initial", "ok")
    assert target.weight == target.configured_weight == 4


def test_a_fact_tells_whether_it_changed_and_remembers_why_and_since_when() -> None:
    target = make()
    assert target.set_health("unhealthy", "connection refused", 100)
    assert (target.health.reason, target.health.since) == ("connection refused", 100)


def test_a_new_reason_is_no_change_and_moves_no_date() -> None:
    target = make()
    target.set_health("unhealthy", "connection refused", 100)
    assert not target.set_health("unhealthy", "no answer in 2 s", 200)
    assert (target.health.reason, target.health.since) == ("no answer in 2 s", 100)


def test_facts_do_not_touch_each_other() -> None:
    target = make()
    target.set_admin("drain", "new disk", 100)
    target.set_health("healthy", "connected", 200)
    assert (target.admin.state, target.admin.since) == ("drain", 100)
    assert (target.health.state, target.resolve.state) == ("healthy", "ok")


def test_a_changed_weight_does_not_change_the_configured_one() -> None:
    target = make(weight=2)
    assert target.set_weight(5)
    assert not target.set_weight(5)
    assert (target.weight, target.configured_weight) == (5, 2)


def test_equal_only_to_itself() -> None:
    one, same = make(), make()
    assert one != same
    assert len({one, same, one}) == 2


def test_its_repr_says_who_it_is() -> None:
    assert repr(make()) == "<Target web/web01 10.0.0.11:3000>"
