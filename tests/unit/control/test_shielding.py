"""What workers are told of a listener's shield, and that they can make of it what judges."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nlb.control.shielding import Spec, shield_spec
from nlb.model.shield import Shield
from nlb.shield.admission import Limits
from nlb.shield.buckets import Buckets
from nlb.shield.offences import Offences, Tolerance
from nlb.shield.requests import Refusal, Requests
from nlb.shield.sources import source_of
from tests.unit.shield.shared import memory

FOR_ALL = {
    "max_connections": 8000,
    "max_connections_per_source": 200,
    "connection_rate_per_source": "50/s burst 100",
    "request_rate": [
        {"path": ["/login"], "per": "source", "rate": "5/m burst 5", "status": 429},
        {"method": ["POST"], "host": ["api.test"], "rate": "10/s"},
    ],
    "block": {"after": 20, "of": ["severe", "rate"], "within": "1m", "for": "10m"},
    "http": {"methods": ["GET"], "deny_path": ["*/.git/*"]},
}


def told(number: int = 3, is_http: bool = True, own: dict[str, Any] | None = None, **for_all: Any) -> Spec:
    shield = Shield.model_validate(own or {}).over(Shield.model_validate(for_all))
    spec: Spec = json.loads(json.dumps(shield_spec(shield, number, is_http)))
    return spec


def test_what_is_said_for_all_is_counted_for_all() -> None:
    assert told(3, **FOR_ALL) == told(4, **FOR_ALL)
    spec = told(**FOR_ALL)
    assert Limits(**spec["limits"]) == Limits(8000, 200, 0, 50.0, 100, 0)
    assert [rate["kind"] for rate in spec["requests"]["rates"]] == [1, 2]
    assert spec["tolerance"] == {
        "after": 20,
        "of": ["severe", "rate"],
        "within": 60.0,
        "seconds": 600.0,
        "kind": 0,
    }


@pytest.mark.parametrize(
    ("own", "kinds"),
    [
        ({}, (0, 0, 1, 0)),
        ({"max_connections_per_source": 9}, (1, 0, 1, 0)),
        ({"connection_rate_per_source": "1/s"}, (0, 1, 1, 0)),
        ({"request_rate": [{"rate": "1/s"}]}, (0, 0, 2, 0)),
        ({"block": {"after": 1}}, (0, 0, 1, 1)),
        ({"deny": ["10.0.0.0/8"]}, (0, 0, 1, 0)),
    ],
    ids=str,
)
def test_what_a_listener_says_itself_is_counted_for_it_alone(own: dict[str, Any], kinds: tuple[int, ...]) -> None:
    def counted(spec: Spec) -> tuple[int, ...]:
        limits, rates = spec["limits"], spec["requests"]["rates"]
        return limits["kind_per_source"], limits["kind_rate"], rates[0]["kind"], spec["tolerance"]["kind"]

    specs = [counted(told(number, own=own, **FOR_ALL)) for number in (0, 1, 1023)]
    for place, wanted in enumerate(kinds):
        found = {spec[place] for spec in specs}
        is_own = wanted == 2 if place == 2 else wanted == 1
        assert len(found) == (3 if is_own else 1)


def test_no_two_kinds_are_one() -> None:
    own = {key: FOR_ALL[key] for key in ("connection_rate_per_source", "request_rate")}
    specs = [told(**FOR_ALL), *(told(number, own=own) for number in range(5))]
    kinds = [spec["limits"]["kind_rate"] for spec in specs]
    kinds += [rate["kind"] for spec in specs for rate in spec["requests"]["rates"]]
    assert len(set(kinds)) == len(kinds)


def test_a_shield_that_says_nothing() -> None:
    spec = told()
    assert Limits(**spec["limits"]) == Limits()
    assert spec["tolerance"] is None
    assert not spec["monitors"]
    assert not Requests(spec["requests"], Buckets(memory()))
    assert told(is_http=False)["requests"] is None
    assert (told(http={"max_body": 10})["max_body"], told()["max_body"]) == (10, None)
    assert told(is_http=False, http={"max_body": 10})["max_body"] is None
    assert told(mode="monitor")["monitors"]
    assert told(block={"after": 0})["tolerance"] is None


def test_workers_make_of_it_what_judges() -> None:
    spec, block, client = told(**FOR_ALL), memory(), source_of("192.0.2.1")
    requests = Requests(spec["requests"], Buckets(block))
    assert requests.judge(b"POST", "", b"/", client, 0.0) == Refusal("method", 405, 0.0)
    assert requests.judge(b"GET", "", b"/%2e/.git/x", client, 0.0) == Refusal("denied_path", 403, 0.0)
    assert [requests.judge(b"GET", "", b"/login", client, 0.0) is None for _ in range(6)] == [True] * 5 + [False]
    tolerance = Tolerance(spec["tolerance"], Offences(block))
    assert [tolerance.ends("severe", client, 0.0) for _ in range(20)] == [False] * 19 + [True]
