"""Which rule does a request meet? By priority, whatever way a rule is found."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.http1.conditions import Asked, compiled, hold
from nlb.http1.routes import FIXED_RESPONSE, FORWARD, NOT_ASKED, REDIRECT, Routes, Rule
from tests.unit.http1.asking import ask

DEFAULT = {"label": "default", "number": 99, "forward": [["web", 1]]}


def rule(label: str, **spec: Any) -> dict[str, Any]:
    return {"label": label, "number": 1, "forward": [[label, 1]], **spec}


def routes(*rules: dict[str, Any]) -> Routes:
    return Routes(rules, DEFAULT)


def found(routes: Routes, url: str, *lines: str) -> str:
    return routes.find(ask(url, "GET", *lines), 80, "192.0.2.7").label


SHOP = routes(
    rule("api", host=["api.example.com", "*.api.example.com"], path=["/v1/*"]),
    rule("health", path=["/healthz"]),
    rule("shop", host=["shop.example.com"]),
    rule("canary", header={"X-Canary": ["1"]}, host=["*.example.com", "example.com"]),
    rule("stage", host=["stage-?.example.com"]),
    rule("all", host=["*.example.com"]),
    rule("late", host=["shop.example.com"]),
)


@pytest.mark.parametrize(
    ("url", "lines", "label"),
    [
        pytest.param("http://api.example.com/v1/x", [], "api", id="exact host"),
        pytest.param("http://eu.api.example.com/v1/x", [], "api", id="domain"),
        pytest.param("http://api.example.com/v2/x", [], "all", id="a condition fails: on to the next that fits"),
        pytest.param("http://api.example.com/healthz", [], "health", id="a rule for every host, between two of hosts"),
        pytest.param("http://shop.example.com/healthz", [], "health", id="before the exact host, by priority"),
        pytest.param("http://shop.example.com/", ["X-Canary: 1"], "shop", id="the exact host before, by priority"),
        pytest.param("http://www.example.com/", ["X-Canary: 1"], "canary", id="the first of two for a domain"),
        pytest.param("http://www.example.com/", [], "all", id="the second"),
        pytest.param("http://stage-1.example.com/", [], "stage", id="a wildcard before its domain, by priority"),
        pytest.param("http://stage-10.example.com/", [], "all", id="not that wildcard"),
        pytest.param("http://example.com/", ["X-Canary: 1"], "canary", id="exact beside a domain"),
        pytest.param("http://example.com/", [], "default", id="no rule"),
        pytest.param("http://SHOP.Example.com./", [], "shop", id="another spelling of a host"),
    ],
)
def test_the_first_by_priority(url: str, lines: list[str], label: str) -> None:
    assert found(SHOP, url, *lines) == label


def test_without_rules_the_default() -> None:
    assert found(routes(), "http://a/") == "default"


def test_the_port_and_the_source_are_the_callers() -> None:
    two = routes(rule("port", port=[8080]), rule("source", source=["192.0.2.0/24"]))
    request = ask("http://a:8080/")
    assert two.find(request, 8080, "").label == "port"
    assert two.find(request, 80, "192.0.2.1").label == "source"
    assert two.find(request, 80, "").label == "default"


HOSTS = ["a.b", "b", "x.a.b", "c", ""]
PATTERNS = [*HOSTS[:-1], "*.b", "*.a.b", "*b", "?.b", "*", "a.*", "B."]

SPECS = st.fixed_dictionaries(
    {"label": st.just(""), "number": st.just(0), "forward": st.just([["g", 1]])},
    optional={
        "host": st.lists(st.sampled_from(PATTERNS), max_size=3),
        "path": st.lists(st.sampled_from(["/", "/a", "/a*", "*b", "/?"]), max_size=2),
        "method": st.lists(st.sampled_from(["GET", "POST"]), max_size=1),
        "port": st.lists(st.sampled_from([80, 81]), max_size=1),
    },
)


class Facts:
    """A request, without the work of parsing one."""

    query = b""

    def __init__(self, host: str, path: str, method: str) -> None:
        self.host, self.path, self.method = host, path.encode(), method.encode()

    def get(self, name: bytes) -> list[bytes]:
        return []


REQUESTS = st.builds(
    Facts, st.sampled_from(HOSTS), st.sampled_from(["/", "/a", "/ab"]), st.sampled_from(["GET", "PUT"])
)


@given(st.lists(SPECS, max_size=8), REQUESTS, st.sampled_from([80, 81]))
def test_found_is_what_asking_one_after_the_other_finds(specs: list[dict[str, Any]], request: Facts, port: int) -> None:
    asked = Asked(request, port, "")
    fitting = [place for place, spec in enumerate(specs) if hold(compiled(spec), asked)]
    first = min(fitting, default=len(specs))
    trace: list[tuple[str, bool, str]] = []
    tried = Routes(specs, DEFAULT)
    assert tried.find(request, port, "").place == first
    assert tried.find(request, port, "", trace).place == first
    assert [matched for _, matched, _ in trace] == [place == first for place in range(len(specs))]
    assert [why == NOT_ASKED for _, _, why in trace] == [place > first for place in range(len(specs))]


def test_a_trace_says_why_of_every_rule() -> None:
    trace: list[tuple[str, bool, str]] = []
    SHOP.find(ask("http://www.example.com/x", "GET", "X-Canary: 1"), 80, "", trace)
    assert trace == [
        ("api", False, "host www.example.com matches none of api.example.com, *.api.example.com"),
        ("health", False, "path /x is not /healthz"),
        ("shop", False, "host www.example.com is not shop.example.com"),
        ("canary", True, "host www.example.com matches *.example.com, header X-Canary: 1"),
        *[(label, False, "not asked") for label in ("stage", "all", "late")],
    ]


def test_a_trace_of_a_rule_for_everything() -> None:
    trace: list[tuple[str, bool, str]] = []
    routes(rule("all")).find(ask(), 80, "", trace)
    assert trace == [("all", True, "it has no conditions")]


# --- what a rule does


def no_chance() -> float:
    raise AssertionError("nothing is to be drawn")


def test_one_group_needs_no_chance() -> None:
    only = Rule(rule("r", forward=[["api", 7]]), 0)
    assert (only.kind, only.groups, only.group(no_chance)) == (FORWARD, ("api",), "api")


def test_groups_by_weight() -> None:
    weighted = Rule(rule("r", forward=[["api", 9], ["none", 0], ["next", 1]]), 0)
    assert weighted.groups == ("api", "next")
    assert Counter(weighted.group(lambda number=number: number / 1000) for number in range(1000)) == {
        "api": 900,
        "next": 100,
    }


def test_a_group_without_a_weight_gets_nothing_also_as_the_last() -> None:
    weighted = Rule(rule("r", forward=[["api", 1], ["next", 2], ["none", 0]]), 0)
    assert weighted.group(lambda: 0.9999999999999999) == "next"


def test_where_nobody_has_a_weight_somebody_gets_it() -> None:
    assert Rule(rule("r", forward=[["api", 0], ["next", 0]]), 0).group(no_chance) == "api"


def test_a_redirect() -> None:
    away = Rule({"label": "r", "number": 3, "redirect": {"status": 308, "protocol": "https"}}, 0)
    assert (away.kind, away.status, away.number) == (REDIRECT, 308, 3)
    assert away.location(ask("http://a/x"), "http", "a", 80) == b"https://a/x"


def test_a_fixed_response() -> None:
    fixed = {"status": 503, "content_type": "text/html", "body": "zurück um 12"}
    closed = Rule({"label": "r", "number": 3, "fixed_response": fixed}, 0)
    assert (closed.kind, closed.status, closed.content_type) == (FIXED_RESPONSE, 503, "text/html")
    assert closed.body == "zurück um 12".encode()
