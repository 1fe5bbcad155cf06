"""Of a group: who is in, whom it would choose, and whether a cookie of the client decides. To ask changes nothing."""

from __future__ import annotations

from time import time
from typing import Any

import pytest

from nlb.balance.affinity import flow_key
from nlb.balance.target import Target
from nlb.control.prospect import Client, View, live, prospect, written
from nlb.control.registration import ManagedGroup, Registration
from nlb.http1.facts import Request
from nlb.http1.head import parse_request, parse_response
from nlb.model.config import TargetGroup
from nlb.model.parse import parse

CLIENT = Client("192.0.2.7", 40000)
KEY = b"k" * 32


def settings(keys: str = "", targets: str = '"a=10.0.0.1:80", "b=10.0.0.2:80", "c=10.0.0.3:80"') -> TargetGroup:
    listener = '[[listener]]\nbind = "0.0.0.0:80"\nprotocol = "http"\n'
    group = f'[[target_group]]\nname = "web"\nprotocol = "http"\n{keys}\ntargets = [{targets}]\n'
    return parse(listener + group, "nlb.toml").groups[0]


def managed(keys: str = "", health: str = "+++") -> ManagedGroup:
    """Running, with targets healthy +, unhealthy - or not asked ? yet."""
    asked = settings(keys)
    group = ManagedGroup(1, asked)
    for number, (item, mark) in enumerate(zip(asked.targets, health, strict=True)):
        limits = item.backup, item.max_connections
        target = Target(number, item.name, asked.name, item.server, item.weight, *limits)
        target.set_health({"+": "healthy", "-": "unhealthy", "?": "initial"}[mark], "", 0)
        group.members[item.name, item.server] = Registration(target, group)
    group.compose()
    group.balance.rebuild()
    group.table = group.balance.table()
    return group


def view(group: ManagedGroup, rows: tuple[list[int], ...] = (), key: bytes = b"") -> View:
    return live(group, rows, 0.0, key)


def states(facts: dict[str, Any]) -> list[tuple[str, str]]:
    return [(target["name"], target["state"]) for target in facts["targets"]]


def request(*lines: str) -> Request:
    made = parse_request("\r\n".join(["GET / HTTP/1.1", "Host: a", *lines, "", ""]).encode())
    assert made is not None
    return made


def test_a_running_group() -> None:
    facts = prospect(view(managed(health="+-+"), ([2, 0, 1],)), 0.5, CLIENT)
    assert states(facts) == [("a", "in"), ("b", "out"), ("c", "in")]
    assert [target["sessions"] for target in facts["targets"]] == [2, 0, 1]
    assert (facts["share"], facts["fail_open"], facts["waiting"], facts["notes"]) == (0.5, False, False, [])
    assert facts["choice"]["target"] is None


def test_one_that_fails_open_and_one_that_waits() -> None:
    assert prospect(view(managed(health="---")), 1, CLIENT)["fail_open"]
    waiting = prospect(view(managed(health="???")), 1, CLIENT)
    assert (waiting["waiting"], waiting["fail_open"]) == (True, False)


@pytest.mark.parametrize("keys", ['policy = "source_ip"', 'policy = "maglev"', 'policy = "maglev"\nmax_load = 1.25'])
def test_a_keyed_choice_is_the_groups_own(keys: str) -> None:
    group = managed(keys)
    facts = prospect(view(group, ([0, 0, 0],)), 1, CLIENT)
    target = group.balance.pick(flow_key(CLIENT.host, CLIENT.port, group.balance.hash_key), ())
    assert target is not None
    assert facts["choice"]["target"] == target.name


def test_sessions_of_all_workers_count() -> None:
    facts = prospect(view(managed('policy = "least_connections"'), ([2, 0, 1], [0, 4, 0])), 1, CLIENT)
    assert facts["choice"] == {"target": "c", "why": "which has the fewest sessions for its weight: 1"}


def test_asking_changes_nothing() -> None:
    """The next session gets what it would have got."""
    asked, left_alone = managed(), managed()
    for _ in range(3):
        prospect(view(asked), 1, CLIENT)
        picked = [group.balance.pick(b"", ()) for group in (asked, left_alone)]
        assert len({target.name for target in picked if target}) == 1


def test_a_policy_of_the_operators_own_is_not_called() -> None:
    facts = prospect(written(settings('policy = "python:tests.unit.balance.nowhere:Mine"')), 1, CLIENT)
    assert facts["policy"] == "python:tests.unit.balance.nowhere:Mine"
    assert facts["choice"]["why"] == "tests.unit.balance.nowhere.Mine decides, in each worker by itself"


def test_from_a_file_names_are_one_target_each() -> None:
    by_key = settings('policy = "source_ip"', '"a=10.0.0.1:80", "app=app.example.com:80"')
    facts = prospect(written(by_key), 1, CLIENT)
    assert facts["targets"][1]["address"] == "app.example.com:80"
    assert facts["notes"] == ["looked up while nlb runs, each address a target of its own: app.example.com:80"]
    assert facts["choice"] == {"target": None, "why": "among the addresses that DNS says, which a file does not know"}


# --- stickiness

STICKY = 'stickiness = { type = "lb_cookie" }'


def cookie_of(view: View, name: str) -> str:
    """What a client has that was sent to this target before."""
    from nlb.control.prospect import _sticky

    response = parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"GET")
    assert response is not None
    target = next(target for target in view.group.targets if target.name == name)
    line = _sticky(view).set(request(), response, target, time()).decode()
    return "Cookie: " + line.partition(": ")[2].partition(";")[0]


def test_a_cookie_decides() -> None:
    group = view(managed(STICKY), key=KEY)
    facts = prospect(group, 1, CLIENT, request(cookie_of(group, "b")))
    assert facts["choice"] == {"target": "b", "why": "which the client's cookie names"}
    assert facts["notes"] == ["sticky by cookie nlb-web: the client's names b"]


def test_a_cookie_of_a_target_that_may_not_be_used() -> None:
    group = view(managed(STICKY, "+-+"), key=KEY)
    facts = prospect(group, 1, CLIENT, request(cookie_of(group, "b")))
    assert facts["choice"]["target"] is None
    assert facts["notes"] == ["sticky by cookie nlb-web: the client's names b, which may not be used now"]


@pytest.mark.parametrize(
    ("lines", "key", "note"),
    [
        ([], KEY, "the client has none and gets one"),
        (["Cookie: other=1"], KEY, "the client has none and gets one"),
        (["Cookie: nlb-web=forged"], KEY, "the client's does not hold: forged, expired, or of a target that is gone"),
        (["Cookie: nlb-web=any"], b"", "whether the client's holds, only the daemon knows"),
    ],
)
def test_other_cookies(lines: list[str], key: bytes, note: str) -> None:
    facts = prospect(view(managed(STICKY), key=key), 1, CLIENT, request(*lines))
    assert facts["notes"] == [f"sticky by cookie nlb-web: {note}"]
    assert facts["choice"]["target"] is None
