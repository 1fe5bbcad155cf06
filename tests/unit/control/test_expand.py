"""Each address of a name is a target of its own, and whatever has no name in it stays as it is."""

from __future__ import annotations

import pytest

from nlb.control.expand import expand, name_behind
from nlb.control.names import Found, Question
from nlb.model import limits
from nlb.model.address import Address
from nlb.model.config import Config
from nlb.model.parse import parse
from nlb.model.plan import plan

LISTENER = '[[listener]]\nbind = "0.0.0.0:80"\ntarget_group = "web"\n'
APP = Question("app.test")
SERVICE = Question("_app._tcp.test", srv=True)


def config(*groups: tuple[str, str]) -> Config:
    text = "".join(f'[[target_group]]\nname = "{name}"\nport = 3000\ntargets = {targets}\n' for name, targets in groups)
    return parse(LISTENER + text, "test.toml")


def found(*ips: str) -> tuple[Found, ...]:
    return tuple(Found("app.test", ip) for ip in ips)


def targets(config: Config) -> list[tuple[str, str, int]]:
    return [(target.name, str(target.address), target.weight) for group in config.groups for target in group.targets]


def test_each_address_is_a_target_in_the_place_of_its_name() -> None:
    asked = config(("web", '["one=10.0.0.1", { name = "app", address = "app.test", weight = 7 }, "two=10.0.0.2"]'))
    expanded = expand(asked, {APP: found("10.0.0.8", "fd00::8")})
    assert targets(expanded.config) == [
        ("one", "10.0.0.1:3000", 1),
        ("app@10.0.0.8", "10.0.0.8:3000", 7),
        ("app@fd00::8", "[fd00::8]:3000", 7),
        ("two", "10.0.0.2:3000", 1),
    ]
    assert expanded.asked is asked
    names = [target.server_name for target in expanded.config.groups[0].targets]
    assert names == ["10.0.0.1", "app.test", "app.test", "10.0.0.2"]
    assert [(name.group, name.target.name, name.question) for name in expanded.names] == [("web", "app", APP)]


def test_a_target_of_a_service_has_port_and_weight_of_its_record() -> None:
    asked = config(("web", '[{ name = "app", address = "_app._tcp.test", srv = true }]'))
    items = Found("a", "10.0.0.1", 8001, 3), Found("a", "10.0.0.1", 8002, 4), Found("b", "fd00::1", 8001, 5)
    assert targets(expand(asked, {SERVICE: items}).config) == [
        ("app@10.0.0.1:8001", "10.0.0.1:8001", 3),
        ("app@10.0.0.1:8002", "10.0.0.1:8002", 4),
        ("app@[fd00::1]:8001", "[fd00::1]:8001", 5),
    ]


def test_a_name_without_a_name_of_its_own_gives_its_address_to_its_targets() -> None:
    asked = config(("web", '["app.test"]'))
    assert targets(expand(asked, {APP: found("10.0.0.1")}).config) == [("app.test:3000@10.0.0.1", "10.0.0.1:3000", 1)]


def test_one_name_in_two_groups_is_one_question() -> None:
    asked = config(("web", '["app=app.test"]'), ("api", '["other=APP.test:81"]'))
    expanded = expand(asked, {APP: found("10.0.0.1")})
    assert targets(expanded.config) == [("app@10.0.0.1", "10.0.0.1:3000", 1), ("other@10.0.0.1", "10.0.0.1:81", 1)]
    assert {name.question for name in expanded.names} == {APP}


@pytest.mark.parametrize("known", [{}, {APP: ()}], ids=["not asked for yet", "no address"])
def test_a_name_of_which_nothing_is_known_stands_for_no_target(known: dict[Question, tuple[Found, ...]]) -> None:
    expanded = expand(config(("web", '["app=app.test", "one=10.0.0.1"]')), known)
    assert targets(expanded.config) == [("one", "10.0.0.1:3000", 1)]
    assert len(expanded.names) == 1


def test_what_has_no_names_in_it_stays_the_same_object() -> None:
    plain = config(("web", '["one=10.0.0.1"]'))
    assert expand(plain, {}).config is plain
    mixed = config(("web", '["one=10.0.0.1"]'), ("api", '["app=app.test"]'))
    assert expand(mixed, {}).config.groups[0] is mixed.groups[0]


def test_another_family_changes_who_stands_for_a_name_and_nothing_else() -> None:
    old, new = (
        config(("web", f'[{{ name = "app", address = "app.test", family = "{family}" }}]'))
        for family in ("any", "ipv4")
    )
    both, half = found("10.0.0.1", "fd00::1"), found("10.0.0.1")
    before = expand(old, {APP: both}).config
    after = expand(new, {Question("app.test", family="ipv4"): half}).config
    assert plan(before, after).sentences == (
        "group web: remove target app@fd00::1 ([fd00::1]:3000): drain its sessions",
    )


def test_an_expanded_config_changes_as_its_answers_do() -> None:
    asked = config(("web", '["app=app.test"]'))
    before, after = (expand(asked, {APP: found(*ips)}).config for ips in (["10.0.0.1", "10.0.0.2"], ["10.0.0.2"]))
    assert plan(before, before).sentences == ()
    assert plan(before, after).sentences == (
        "group web: remove target app@10.0.0.1 (10.0.0.1:3000): drain its sessions",
    )


def test_there_is_room_for_so_many_targets_and_names_in_front_come_first() -> None:
    asked = config(("web", '["app=app.test", "one=10.0.0.1"]'), ("api", '["app=app.test", "two=10.0.0.2"]'))
    many = found(*(f"10.{number >> 8}.{number & 255}.9" for number in range(limits.TARGETS // 2 + 9)))
    expanded = expand(asked, {APP: many})
    assert expanded.config.target_count == limits.TARGETS
    assert expanded.left_out == 2 * len(many) + 2 - limits.TARGETS
    first, second = (group.targets for group in expanded.config.groups)
    assert (len(first), first[-1].name, second[-1].name) == (len(many) + 1, "one", "two")


@pytest.mark.parametrize(
    ("target", "name"),
    [("app@10.0.0.1", "app"), ("app.test:80@[fd00::1]:80", "app.test:80"), ("app", ""), ("10.0.0.1:80", "")],
)
def test_the_name_behind_a_target_is_told_by_its_own(target: str, name: str) -> None:
    assert name_behind(target) == name


def test_an_expanded_target_has_an_address_to_connect_to() -> None:
    expanded = expand(config(("web", '["app=app.test"]')), {APP: found("10.0.0.1")})
    assert expanded.config.groups[0].targets[0].server == Address("10.0.0.1", 3000)
