"""From the config that runs to the one that shall run: what is done, in which words and in which order."""

from __future__ import annotations

import pytest

from nlb.model.config import Config
from nlb.model.parse import parse
from nlb.model.plan import plan

WEB = '[[listener]]\nname = "in"\nbind = "127.0.0.1:80"\ntarget_group = "web"\n'
GROUP = '[[target_group]]\nname = "web"\ntargets = ["a=10.0.0.1:80", "b=10.0.0.2:80"]\n'
API = '[[target_group]]\nname = "api"\ntargets = ["x=10.0.1.1:80"]\n'


def read(text: str) -> Config:
    return parse(text, "nlb.toml")


BASE = read(WEB + GROUP)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (WEB + GROUP, []),
        (WEB + GROUP + "# only a comment\n", []),
        (
            WEB + GROUP.replace('"b=10.0.0.2:80"]', '"b=10.0.0.2:80", "c=10.0.0.3:80"]'),
            ["group web: add target c (10.0.0.3:80), weight 1"],
        ),
        (
            WEB + GROUP.replace(', "b=10.0.0.2:80"', ""),
            ["group web: remove target b (10.0.0.2:80): drain its sessions"],
        ),
        (
            WEB + GROUP.replace('"b=10.0.0.2:80"', '{ name = "b", address = "10.0.0.2:80", weight = 3 }'),
            ["group web: weight of b 1 -> 3"],
        ),
        (
            WEB
            + GROUP.replace(
                '"b=10.0.0.2:80"', '{ name = "b", address = "10.0.0.2:80", backup = true, max_connections = 9 }'
            ),
            ["group web: backup of b False -> True", "group web: max_connections of b default -> 9"],
        ),
        (
            WEB + GROUP.replace("10.0.0.2", "10.0.0.9"),
            [
                "group web: add target b (10.0.0.9:80), weight 1",
                "group web: remove target b (10.0.0.2:80): drain its sessions",
            ],
        ),
        (WEB + GROUP + 'policy = "maglev"\n', ["group web: policy round_robin -> maglev"]),
        (
            WEB + GROUP + "[target_group.health_check]\nrise = 5\n",
            ["group web: health_check.rise 2 -> 5"],
        ),
        (WEB + "idle_timeout = 60\n" + GROUP, ["listener in: idle_timeout 350 -> 60"]),
        (WEB.replace(":80", ":81") + GROUP, ["listener in: bind 127.0.0.1:80 -> 127.0.0.1:81"]),
        (
            WEB.replace('"web"', '"api"') + GROUP + API,
            ["add group api: 1 target, round_robin", "listener in: target_group web -> api"],
        ),
        (
            WEB.replace('"in"', '"front"') + GROUP,
            ["open listener front on 127.0.0.1:80 -> web", "close listener in on 127.0.0.1:80"],
        ),
        (
            WEB.replace('"web"', '"api"') + API,
            [
                "add group api: 1 target, round_robin",
                "listener in: target_group web -> api",
                "remove group web: 2 targets",
            ],
        ),
        ("workers = 7\n" + WEB + GROUP, ["workers changes with the next restart"]),
        ("shutdown_timeout = 3\n" + WEB + GROUP, ["shutdown_timeout: 10 -> 3"]),
    ],
    ids=[
        "nothing",
        "a comment",
        "a target more",
        "a target less",
        "a weight",
        "a limit",
        "another address is another target",
        "a policy",
        "a health check",
        "a listener's time",
        "a listener's address",
        "another group behind a listener",
        "a listener's name",
        "a group for another",
        "workers",
        "shutdown_timeout",
    ],
)
def test_what_a_reload_says_and_in_which_order(text: str, sentences: list[str]) -> None:
    planned = plan(BASE, read(text))
    assert list(planned.sentences) == sentences
    assert bool(planned) == bool(sentences)


def test_no_plan_leads_back() -> None:
    """Whatever is added by a plan is removed by the plan back."""
    other = read(WEB.replace('"in"', '"front"').replace('"web"', '"api"') + API)
    there, back = plan(BASE, other), plan(other, BASE)
    assert there.groups_added == back.groups_removed
    assert there.listeners_added == back.listeners_removed
    assert there.groups_removed == back.groups_added


def test_targets_keep_their_place_when_only_their_order_changes() -> None:
    turned = read(WEB + '[[target_group]]\nname = "web"\ntargets = ["b=10.0.0.2:80", "a=10.0.0.1:80"]\n')
    (change,) = plan(BASE, turned).groups_changed
    assert not change.targets
    assert not change.settings
    assert not plan(BASE, turned).sentences


def test_names_are_other_targets_where_they_are_written_otherwise() -> None:
    old, new = (
        read(f"[dns]\n{dns}\n" + WEB + f'[[target_group]]\nname = "web"\ntargets = [{targets}]\n')
        for dns, targets in (("", '"a=a.test:80", "b=b.test:80"'), ("min_ttl = 9", '"a=a.test:81", "b=b.test:80"'))
    )
    assert plan(old, new).sentences == (
        "group web: add target a (a.test:81), weight 1",
        "group web: remove target a (a.test:80): drain its sessions",
        "dns.min_ttl 5 -> 9",
    )
