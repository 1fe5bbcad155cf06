"""Checks of the whole file go on where keys are wrong. What they say stands in the vectors; here is what they pass over
and how they carry size.
"""

from __future__ import annotations

import pytest

from nlb.model.checks import whole

LISTENER = {"bind": "0.0.0.0:80"}
GROUP = {"name": "web", "targets": ["10.0.0.1:80"]}


def messages(**data):
    return [wrong.message for wrong in whole({"listener": [LISTENER], "target_group": [GROUP], **data})]


def test_a_fine_file_has_nothing_to_tell():
    assert messages() == []


ODD = [None, True, 5, 0.5, "text", [], [5], {}, {"a": 1}, [[]], [{}], [{"name": 5}], [{"bind": [5], "targets": [5]}]]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("key", ["admin", "listener", "target_group", "workers"])
def test_what_has_a_wrong_type_is_passed_over(key, odd):
    told = messages(**{key: odd})
    assert all("no listener" in text or "no target_group" in text for text in told)


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("key", ["name", "bind", "target_group"])
def test_so_it_is_in_a_listener(key, odd):
    told = messages(listener=[{**LISTENER, key: odd}, {**LISTENER, "bind": "0.0.0.0:81", key: odd}])
    assert odd == "text" or told == []


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("key", ["name", "port", "targets", "health_check"])
def test_so_it_is_in_a_group(key, odd):
    assert messages(target_group=[{**GROUP, key: odd}]) == []


def test_a_misspelt_table_is_not_told_as_a_missing_one():
    assert [wrong.message for wrong in whole({"listeners": [LISTENER], "target_groups": [GROUP]})] == []


def test_a_reference_to_a_group_with_a_wrong_key_is_fine():
    told = messages(listener=[{**LISTENER, "target_group": "web"}], target_group=[{"name": "web", "port": "x"}])
    assert told == []


def test_default_names_that_are_the_same_are_told_once_by_their_address():
    assert len(messages(listener=[LISTENER, LISTENER])) == 1


def test_targets_of_all_groups_together_have_a_limit():
    groups = [
        {"name": f"g{group}", "port": 80, "targets": [f"10.{group}.{n >> 8}.{n & 255}" for n in range(8193)]}
        for group in range(4)
    ]
    listener = {**LISTENER, "target_group": "g0"}
    assert messages(listener=[listener], target_group=groups) == [
        "32772 targets in all are too many; there is room for 32768"
    ]


def test_addresses_of_many_listeners_are_compared_in_little_time():
    """Quadratic work over these would take minutes."""
    listeners = [{"bind": [f"11.{n >> 8}.{n & 255}.{host}:80" for host in range(60)]} for n in range(1000)]
    assert messages(listener=listeners) == []
    assert len(messages(listener=[*listeners, LISTENER])) == 1
