"""What runs when an operator has added and removed targets of what the file says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from nlb.model import limits
from nlb.model.address import Address, DnsName
from nlb.model.config import Config, TargetGroup
from nlb.model.merge import Change, merge, named_target, typed_target
from nlb.model.parse import parse

FILE = """
[[listener]]
bind = ["0.0.0.0:80", "10.9.9.9:8080"]
target_group = "web"

[[target_group]]
name = "web"
targets = ["web01=10.0.0.1:3000", "web02=10.0.0.2:3000", "10.0.0.3:3000"]

[[target_group]]
name = "api"
targets = ["api01=10.0.1.1:3000"]
"""


@pytest.fixture(scope="module")
def config() -> Config:
    return parse(FILE, "nlb.toml")


def change(text: str) -> Change:
    """`+web web04=10.0.0.4:3000` or `-web web01=10.0.0.1:3000`."""
    group, typed = text[1:].split(" ")
    return Change("added" if text[0] == "+" else "removed", group, typed_target(typed))


def targets(group: TargetGroup) -> list[str]:
    return [
        str(target.address) if ":" in target.name else f"{target.name}={target.address}" for target in group.targets
    ]


def merged(config: Config, *texts: str) -> tuple[list[str], list[str]]:
    """The targets of web, and the reasons of what did not apply."""
    result = merge(config, [change(text) for text in texts])
    return targets(result.config.groups[0]), [("(as wished) " * void.as_wished) + void.why for void in result.void]


WEB01, WEB02, WEB03 = "web01=10.0.0.1:3000", "web02=10.0.0.2:3000", "10.0.0.3:3000"


@pytest.mark.parametrize(
    ("changes", "web"),
    [
        pytest.param(["+web web04=10.0.0.4:3000"], [WEB01, WEB02, WEB03, "web04=10.0.0.4:3000"], id="added"),
        pytest.param(["+web app=unix:/run/a=b"], [WEB01, WEB02, WEB03, "app=unix:/run/a=b"], id="added, a unix socket"),
        pytest.param([f"-web {WEB02}"], [WEB01, WEB03], id="removed"),
        pytest.param([f"-web {WEB01}", f"-web {WEB02}", f"-web {WEB03}"], [], id="the last one removed"),
        pytest.param(
            [f"-web {WEB01}", "+web web01=10.0.0.9:3000"], [WEB02, WEB03, "web01=10.0.0.9:3000"], id="moved elsewhere"
        ),
        pytest.param(
            ["+web web09=10.0.0.1:3000", f"-web {WEB01}"],
            [WEB02, WEB03, "web09=10.0.0.1:3000"],
            id="renamed, in whatever order",
        ),
        pytest.param(["+api web01=10.0.0.1:3000"], [WEB01, WEB02, WEB03], id="in another group it is another target"),
    ],
)
def test_changes_that_apply(config: Config, changes: list[str], web: list[str]) -> None:
    assert merged(config, *changes) == (web, [])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param(
            ["+wep web04=10.0.0.4:3000"], "there is no group 'wep' (did you mean web?)", id="an unknown group"
        ),
        pytest.param(
            [f"+web {WEB01}"], "(as wished) group web has web01 at 10.0.0.1:3000 already", id="in the file by now"
        ),
        pytest.param(
            [f"+web {WEB03}"],
            "(as wished) group web has 10.0.0.3:3000 already",
            id="in the file by now, without a name",
        ),
        pytest.param(["+web web01=10.0.0.9:3000"], "group web has web01 at 10.0.0.1:3000 already", id="the same name"),
        pytest.param(
            ["+web web09=10.0.0.1:3000"], "group web has web01 at 10.0.0.1:3000 already", id="the same address"
        ),
        pytest.param(
            ["+web web09=127.0.0.1:80"],
            "127.0.0.1:80 is where the listener of this group listens; write the server's own port",
            id="the listener itself",
        ),
        pytest.param(
            ["+web web09=10.9.9.9:8080"],
            "10.9.9.9:8080 is where the listener of this group listens; write the server's own port",
            id="the listener itself, by its second address",
        ),
        pytest.param([f"-wep {WEB01}"], "(as wished) there is no group 'wep' any more", id="removed with its group"),
        pytest.param(
            ["-web web09=10.0.0.9:3000"],
            "(as wished) group web has no target web09 any more",
            id="removed from the file",
        ),
        pytest.param(
            ["-web web01=10.0.0.9:3000"],
            "web01 is at 10.0.0.1:3000 now, not at 10.0.0.9:3000",
            id="removed, and the file gives its name to another",
        ),
    ],
)
def test_changes_that_do_not_apply_are_named_and_change_nothing(config: Config, changes: list[str], why: str) -> None:
    assert merged(config, *changes) == ([WEB01, WEB02, WEB03], [why])
    assert merge(config, [change(text) for text in changes]).config == config


def test_the_target_of_a_group_may_be_where_the_listener_of_another_listens(config: Config) -> None:
    result = merge(config, [change("+api itself=127.0.0.1:80")])
    assert targets(result.config.groups[1]) == ["api01=10.0.1.1:3000", "itself=127.0.0.1:80"]


def test_of_two_additions_that_exclude_each_other_the_first_one_holds(config: Config) -> None:
    web, why = merged(config, "+web web04=10.0.0.4:3000", "+web web04=10.0.0.5:3000", "+web web05=10.0.0.4:3000")
    assert web == [WEB01, WEB02, WEB03, "web04=10.0.0.4:3000"]
    assert why == ["group web has web04 at 10.0.0.4:3000 already"] * 2


def test_what_does_not_apply_does_not_hinder_the_rest(config: Config) -> None:
    changes = [
        change(text) for text in ("+wep a=10.0.0.8:1", "+web b=10.0.0.8:2", f"-web {WEB01}", "-web c=10.0.0.8:3")
    ]
    result = merge(config, changes)
    assert targets(result.config.groups[0]) == [WEB02, WEB03, "b=10.0.0.8:2"]
    assert [void.change for void in result.void] == [changes[3], changes[0]]


def test_without_changes_the_config_is_the_same_object(config: Config) -> None:
    assert merge(config, []).config is config


def test_what_no_change_touches_stays_the_same_object(config: Config) -> None:
    result = merge(config, [change("+api api02=10.0.1.2:3000"), change(f"+web {WEB01}")]).config
    assert result.groups[0] is config.groups[0]
    assert result.groups[1] is not config.groups[1]
    assert result.listeners is config.listeners
    assert targets(config.groups[1]) == ["api01=10.0.1.1:3000"], "the file's own is as it was"


def test_the_weight_of_an_added_target_is_its_own(config: Config) -> None:
    added = Change("added", "api", typed_target("api02=10.0.1.2:3000", 7))
    assert [target.weight for target in merge(config, [added]).config.groups[1].targets] == [1, 7]


def test_a_removed_target_is_removed_whatever_its_weight(config: Config) -> None:
    removed = Change("removed", "api", typed_target("api01=10.0.1.1:3000", 7))
    assert merge(config, [removed]).config.groups[1].targets == ()


def test_there_is_room_for_so_many_targets_and_no_more(config: Config) -> None:
    full = tuple(named_target(f"t{n}", f"10.1.{n >> 8}.{n & 255}:80") for n in range(limits.TARGETS - 1))
    group = config.groups[0].model_copy(update={"targets": full[:-1]})
    file = config.model_copy(update={"groups": (group, config.groups[1])})  # room for one
    result = merge(file, [change("+web a=10.2.0.1:80"), change("+api b=10.2.0.2:80")])
    assert [void.why for void in result.void] == ["there is room for 32768 targets in all, and it is full"]
    assert result.config.target_count == limits.TARGETS
    gone = Change("removed", "web", full[0])
    assert merge(file, [change("+web a=10.2.0.1:80"), change("+api b=10.2.0.2:80"), gone]).void == ()


@pytest.mark.parametrize(
    ("typed", "port", "name", "address"),
    [
        ("web01=10.0.0.1:3000", None, "web01", Address("10.0.0.1", 3000)),
        ("web01=10.0.0.1", 8080, "web01", Address("10.0.0.1", 8080)),
        ("web01=10.0.0.1:3000", 8080, "web01", Address("10.0.0.1", 3000)),
        ("web01=[::1]:80", None, "web01", Address("::1", 80)),
        ("10.0.0.1:3000", None, "10.0.0.1:3000", Address("10.0.0.1", 3000)),
        ("web01=unix:/run/web.sock", None, "web01", Address("", 0, "/run/web.sock")),
        ("app=app.test:3000", None, "app", DnsName("app.test", 3000)),
        ("app=app.test", 8080, "app", DnsName("app.test", 8080)),
    ],
)
def test_a_target_as_an_operator_types_it(typed: str, port: int | None, name: str, address: Address | DnsName) -> None:
    target = typed_target(typed, 5, port)
    assert (target.name, target.address, target.weight) == (name, address, 5)


@pytest.mark.parametrize(
    ("typed", "weight", "complaint"),
    [
        ("", 1, "address: an address is missing; write 10.0.0.11:3000, [::1]:3000 or unix:/run/app.sock"),
        ("web01=", 1, "address: an address is missing"),
        ("web01=10.0.0.1:99999", 1, "address: port 99999 is outside 1-65535"),
        ("web01=10.0.0.1", 1, "address: '10.0.0.1' has no port to connect to; write 10.0.0.1:3000"),
        ("web01=0.0.0.0:80", 1, "address: 0.0.0.0 is no target but all addresses of this box"),
        ("web01=app.test", 1, "address: 'app.test' has no port to connect to; write app.test:3000"),
        ("web01@10.0.0.1=10.0.0.1:80", 1, "name: 'web01@10.0.0.1' cannot be a name"),
        ("=10.0.0.1:80", 1, "name: a name cannot be empty"),
        ("a b=10.0.0.1:80", 1, "name: 'a b' cannot be a name"),
        ("a/b=10.0.0.1:80", 1, "name: 'a/b' cannot be the name of a target"),
        ("web01=10.0.0.1:80", 1001, "weight: 1001 is outside 0-1000"),
        ("web01=10.0.0.1:80", -1, "weight: -1 is outside 0-1000"),
    ],
)
def test_what_cannot_be_a_target_is_refused_in_the_words_of_the_file(typed: str, weight: int, complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(complaint)):
        typed_target(typed, weight)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"^address: port 70000 .*; name: 'a b' cannot .*; weight: 2000 is outside"):
        typed_target("a b=10.0.0.1:70000", 2000)


def test_a_listener_is_in_front_of_the_groups_of_its_rules_too() -> None:
    http = FILE.replace('target_group = "web"', 'protocol = "http"\ntarget_group = "web"\nrule = [{ forward = "api" }]')
    http = http.replace("[[target_group]]", '[[target_group]]\nprotocol = "http"')
    result = merge(parse(http, "nlb.toml"), [change("+api itself=127.0.0.1:80")])
    assert [void.why for void in result.void] == [
        "127.0.0.1:80 is where the listener of this group listens; write the server's own port"
    ]


# --- names

NAMES = """
[[listener]]
bind = "0.0.0.0:80"
[[target_group]]
name = "web"
targets = ["app=app.test:3000", { name = "svc", address = "_svc._tcp.test", srv = true }, "web01=10.0.0.1:3000"]
"""


@pytest.mark.parametrize(
    ("changes", "web", "void"),
    [
        pytest.param(
            [("removed", named_target("app", "app.test:3000")), ("removed", named_target("svc", "_svc._tcp.test"))],
            [WEB01],
            [],
            id="removed",
        ),
        pytest.param(
            [("removed", named_target("app", "app.test:3001"))],
            ["app=app.test:3000", "svc=_svc._tcp.test", WEB01],
            ["app is at app.test:3000 now, not at app.test:3001"],
            id="removed, but it is another by now",
        ),
        pytest.param(
            [("added", named_target("new", "new.test:80", 5))],
            ["app=app.test:3000", "svc=_svc._tcp.test", WEB01, "new=new.test:80"],
            [],
            id="added",
        ),
        pytest.param(
            [("added", named_target("new", "app.test:3000"))],
            ["app=app.test:3000", "svc=_svc._tcp.test", WEB01],
            ["group web has app at app.test:3000 already"],
            id="added, but it is there",
        ),
    ],
)
def test_a_name_is_added_and_removed_as_an_address_is(changes: list[Any], web: list[str], void: list[str]) -> None:
    result = merge(parse(NAMES, "nlb.toml"), [Change(what, "web", target) for what, target in changes])
    assert targets(result.config.groups[0]) == web
    assert [one.why for one in result.void] == void


@pytest.mark.parametrize(
    ("name", "address", "complaint"),
    [
        ("web01", "nowhere!:80", "address: 'nowhere!' is neither an IP address nor a DNS name"),
        ("app@10.0.0.2", "10.0.0.1:80", "name: 'app@10.0.0.2' is not the name of 10.0.0.1:80"),
        ("a b@10.0.0.1", "10.0.0.1:80", "name: 'a b' cannot be a name"),
        ("app@", "app.test:80", "name: 'app@' cannot be a name"),
    ],
)
def test_a_name_with_an_at_is_only_for_what_dns_gave(name: str, address: str, complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(complaint)):
        named_target(name, address)


@pytest.mark.parametrize("name", ["app@10.0.0.1", "app@10.0.0.1:80"])
def test_an_address_that_dns_gave_for_a_name_may_be_spoken_of(name: str) -> None:
    target = named_target(name, "10.0.0.1:80", 5)
    assert (target.name, target.address, target.weight) == (name, Address("10.0.0.1", 80), 5)
