"""Which requests the shield refuses, with which status, and when they may come again."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.shield.buckets import Buckets
from nlb.shield.requests import Refusal, Requests
from nlb.shield.sources import NOBODY, source_of
from tests.unit.shield.shared import memory

NOW = 1_000_000.0
CLIENT = source_of("192.0.2.1")


def shield(*rates: dict[str, Any], **keys: Any) -> Requests:
    plain = {"path": [], "method": [], "host": [], "status": 429}
    spec = {"methods": [], "deny_path": [], "normalise_path": False, "rates": [plain | rate for rate in rates]}
    return Requests(spec | keys, Buckets(memory()))


def judge(asked: Requests, path: str = "/", method: str = "GET", host: str = "a.test", now: float = NOW) -> Any:
    return asked.judge(method.encode(), host, path.encode(), CLIENT, now)


@pytest.mark.parametrize(
    ("method", "path", "refusal"),
    [
        ("GET", "/", None),
        ("POST", "/x", None),
        ("DELETE", "/", Refusal("method", 405, 0.0)),
        ("get", "/", Refusal("method", 405, 0.0)),
        ("GET", "/.git/config", Refusal("denied_path", 403, 0.0)),
        ("GET", "/x/%2e%2e/.GIT/config", Refusal("denied_path", 403, 0.0)),
        ("GET", "/../x", Refusal("bad_path", 400, 0.0)),
        ("DELETE", "/../x", Refusal("method", 405, 0.0)),
    ],
)
def test_methods_and_paths(method: str, path: str, refusal: Refusal | None) -> None:
    asked = shield(methods=["GET", "POST"], deny_path=["*/.git/*"], normalise_path=True)
    assert judge(asked, path, method) == refusal
    assert asked.allowed == "GET, POST"


def test_without_methods_any_may_come() -> None:
    assert judge(shield(deny_path=["/x"]), method="PROPFIND") is None


LOGIN = {"path": ["/login"], "rate": 5 / 60, "burst": 5, "kind": 1}


def test_a_rate_refuses_and_says_when_to_come_again() -> None:
    asked = shield(LOGIN)
    assert [judge(asked, "/login") for _ in range(5)] == [None] * 5
    assert judge(asked, "/login") == Refusal("request_rate", 429, pytest.approx(12.0))
    assert judge(asked, "/login", now=NOW + 11.8) is not None
    assert judge(asked, "/login", now=NOW + 12.1) is None
    assert judge(asked, "/other") is None


@pytest.mark.parametrize("path", ["/login", "/%6cogin", "//login", "/x/../login", "/login;x=1", "/LOGIN"])
def test_a_limited_path_is_limited_however_it_is_written(path: str) -> None:
    asked = shield(LOGIN | {"burst": 1}, normalise_path=True)
    assert judge(asked, "/login") is None
    assert judge(asked, path) is not None


@pytest.mark.parametrize(
    ("path", "method", "host", "fits"),
    [
        ("/api/x", "POST", "api.test", True),
        ("/api/x", "PUT", "api.test", True),
        ("/api/x", "GET", "api.test", False),
        ("/x", "POST", "api.test", False),
        ("/api/x", "POST", "www.test", False),
        ("/api/x", "POST", "v2.api.test", True),
    ],
)
def test_a_rate_is_for_what_it_names(path: str, method: str, host: str, fits: bool) -> None:
    rate = {"path": ["/api/*"], "method": ["POST", "PUT"], "host": ["api.test", "*.api.test"]}
    asked = shield(rate | {"rate": 1.0, "burst": 1, "kind": 1, "status": 503})
    assert judge(asked, path, method, host) is None
    assert judge(asked, path, method, host) == (Refusal("request_rate", 503, pytest.approx(1.0)) if fits else None)


def test_rates_are_counted_apart_and_each_must_have_a_token() -> None:
    asked = shield({"rate": 10.0, "burst": 3, "kind": 1}, LOGIN | {"burst": 2, "kind": 2})
    assert [judge(asked, "/login") for _ in range(2)] == [None] * 2
    refusal = judge(asked, "/login")
    assert refusal.wait == pytest.approx(12.0)
    assert judge(asked, "/").wait == pytest.approx(0.1)


def test_sources_do_not_pay_for_one_another_and_whoever_has_no_address_pays_nothing() -> None:
    asked = shield({"rate": 1.0, "burst": 1, "kind": 1})
    for source in (CLIENT, source_of("192.0.2.2"), NOBODY, NOBODY):
        assert asked.judge(b"GET", "", b"/", source, NOW) is None
    assert asked.judge(b"GET", "", b"/", CLIENT, NOW) is not None


def test_is_there_anything_to_ask() -> None:
    assert not shield()
    assert judge(shield()) is None
    assert shield(LOGIN)
    assert shield(methods=["GET"])
    assert shield(deny_path=["/x"])
    assert shield(normalise_path=True)
