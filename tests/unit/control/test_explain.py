"""What `nlb explain` works out: the listener, the rule, the action, and the groups behind it. From a file, for which
everybody is healthy."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.control.explain import of_file
from nlb.control.inquiry import Inquiry, parse_source, parse_url
from nlb.errors import AdminError
from nlb.model.parse import parse

CONFIG = parse(
    """
[[listener]]
name = "edge"
bind = ["0.0.0.0:80", "0.0.0.0:8080", "unix:/run/edge.sock"]
protocol = "http"
target_group = "web"
trusted_proxies = ["10.0.0.0/8"]
max_body = 1000

  [[listener.rule]]
  path = "/old/*"
  redirect = { status = 301, path = "/new/#{path}", protocol = "https" }

  [[listener.rule]]
  name = "api"
  host = "api.example.com"
  source = "192.0.2.0/24"
  forward = [{ target_group = "api", weight = 9 }, { target_group = "web", weight = 1 },
             { target_group = "spare", weight = 0 }]

  [[listener.rule]]
  name = "closed"
  host = "closed.example.com"
  fixed_response = { status = 503, body = "back at noon" }

[[listener]]
name = "strict"
bind = "127.0.0.1:81"
protocol = "http"
desync = "strictest"
target_group = "web"

[[listener]]
name = "db"
bind = "127.0.0.3:5432"
target_group = "db"

[[listener]]
name = "inside"
bind = "127.0.0.2:5432"
target_group = "db"

[[target_group]]
name = "web"
protocol = "http"
targets = ["web01=10.0.0.11:3000", "web02=10.0.0.12:3000"]

[[target_group]]
name = "api"
protocol = "http"
policy = "source_ip"
targets = ["api01=10.0.0.21:3000", "api02=10.0.0.22:3000"]

[[target_group]]
name = "spare"
protocol = "http"

[[target_group]]
name = "db"
policy = "maglev"
targets = ["db1=10.0.0.31:5432", "db2=10.0.0.32:5432"]
""",
    "nlb.toml",
)


def explained(
    url: str, *headers: str, method: str = "GET", source: str | None = None, listener: str | None = None
) -> dict[str, Any]:
    client = None if source is None else parse_source(source)
    return of_file(CONFIG, Inquiry(parse_url(url), method, headers, client, listener))


def lines(facts: dict[str, Any]) -> list[str]:
    """A rule each: yes or no, its name, why."""
    return [f"{'yes' if rule['matched'] else 'no'} {rule['rule']}: {rule['why']}" for rule in facts["rules"]]


# --- which listener


@pytest.mark.parametrize(
    ("url", "listener", "name", "port", "why"),
    [
        pytest.param("http://a/", None, "edge", 80, "it listens on port 80", id="the port that goes without saying"),
        pytest.param("http://a:8080/", None, "edge", 8080, "it listens on port 8080", id="the port of the URL"),
        pytest.param("http://a/", "strict", "strict", 81, "as asked", id="by name, at a port of its own"),
        pytest.param("http://a:8080/", "edge", "edge", 8080, "as asked", id="by name and port"),
        pytest.param("tcp://127.0.0.2:5432", None, "inside", 5432, "it listens on port 5432", id="by address"),
    ],
)
def test_the_listener(url: str, listener: str | None, name: str, port: int, why: str) -> None:
    facts = explained(url, listener=listener)["listener"]
    assert (facts["name"], facts["port"], facts["why"]) == (name, port, why)


@pytest.mark.parametrize(
    ("url", "listener", "message"),
    [
        (
            "http://a:82/",
            None,
            r"no listener is on port 82; say which by --listener: edge \(0\.0\.0\.0:80, .*\), strict",
        ),
        ("tcp://a", None, "no listener is meant by that URL; say which by --listener: edge"),
        ("tcp://a:5432", None, r"several listen on port 5432, say which by --listener: db \(.*\), inside"),
        ("http://a/", "edgy", r"no listener is called 'edgy' \(did you mean edge\?\)"),
        ("http://a/", "x", "no listener is called 'x'; there are: edge"),
        ("https://a:80/", None, "speaks http without TLS; ask for http://a:80/"),
    ],
)
def test_no_listener(url: str, listener: str | None, message: str) -> None:
    with pytest.raises(AdminError, match=message):
        explained(url, listener=listener)


def test_the_only_listener_is_meant_whatever_the_port() -> None:
    alone = CONFIG.model_copy(update={"listeners": CONFIG.listeners[:1]})
    facts = of_file(alone, Inquiry(parse_url("http://a:8443/")))
    assert (facts["listener"]["port"], facts["listener"]["why"]) == (80, "it is the only one")


def test_the_only_one_that_speaks_it_is_meant_where_no_port_is_said() -> None:
    two = CONFIG.model_copy(update={"listeners": CONFIG.listeners[1:3]})
    assert of_file(two, Inquiry(parse_url("http://a/")))["listener"]["name"] == "strict"
    with pytest.raises(AdminError):
        of_file(two, Inquiry(parse_url("http://a:80/")))


# --- the request


def test_rules_in_order_until_one_matches() -> None:
    facts = explained("http://api.example.com/v1/x", source="192.0.2.7")
    assert lines(facts) == [
        "no 1: path /v1/x does not match /old/*",
        "yes api: host api.example.com, source 192.0.2.7 is in 192.0.2.0/24",
        "no closed: not asked",
        "no default: not asked",
    ]
    assert facts["action"]["text"] == "to one of the groups api (90 %), web (10 %), spare (0 %), drawn for each request"
    assert [(group["name"], group["share"]) for group in facts["groups"]] == [("api", 0.9), ("web", 0.1)]


def test_no_rule_matches() -> None:
    facts = explained("http://www.example.com/")
    assert lines(facts)[-1] == "yes default: no rule before it matches"
    assert facts["action"] == {
        "kind": "forward",
        "text": "to group web",
        "groups": [{"group": "web", "weight": 1, "share": 1.0}],
    }


def test_a_listener_without_rules() -> None:
    assert lines(explained("http://a:81/")) == ["yes default: there are no rules"]


def test_a_redirect() -> None:
    action = explained("http://www.example.com:8080/old/x?y")["action"]
    assert action == {
        "kind": "redirect",
        "text": "301 to https://www.example.com/new/old/x?y",
        "status": 301,
        "location": "https://www.example.com/new/old/x?y",
    }


def test_a_fixed_response() -> None:
    facts = explained("http://closed.example.com/")
    assert (facts["action"]["status"], facts["action"]["body"]) == (503, "back at noon")
    assert facts["groups"] == []


def test_the_client_is_who_a_trusted_proxy_says() -> None:
    facts = explained("http://api.example.com/", "X-Forwarded-For: 192.0.2.7", source="10.0.0.5")
    assert (facts["request"]["client"], facts["request"]["peer"]) == ("192.0.2.7", "10.0.0.5")
    assert facts["action"]["groups"][0]["group"] == "api"


def test_anybody_elses_word_is_not_taken() -> None:
    facts = explained("http://api.example.com/", "X-Forwarded-For: 192.0.2.7", source="198.51.100.1")
    assert facts["request"]["client"] == "198.51.100.1"
    assert facts["rules"][-1]["matched"]


def test_desync_in_each_mode() -> None:
    passed = explained("http://a/", "Content_Length: 3")
    assert (passed["request"]["class"], passed["request"]["reason"]) == ("ambiguous", "suspicious_header")
    assert passed["request"]["verdict"] == "passes it, and closes both connections after it"
    assert passed["action"]["kind"] == "forward"
    refused = explained("http://a:81/", "Content_Length: 3")
    assert refused["request"]["mode"] == "strictest"
    assert (refused["action"]["status"], refused["action"]["outcome"]) == (400, "request/desync")
    assert (refused["rules"], refused["groups"]) == ([], [])


@pytest.mark.parametrize(
    ("headers", "method", "status", "outcome"),
    [
        (["Content-Length: 1", "Content-Length: 2"], "POST", 400, "request/bad_head"),
        (["A: \x00"], "GET", 400, "request/bad_head"),
        ([], "TRACE", 405, "request/bad_head"),
        (["A: " + "x" * 17_000], "GET", 431, "request/too_large"),
        (["Content-Length: 1001"], "POST", 413, "request/too_large"),
    ],
)
def test_what_is_never_passed_on(headers: list[str], method: str, status: int, outcome: str) -> None:
    action = explained("http://a/", *headers, method=method)["action"]
    assert (action["kind"], action["status"], action["outcome"]) == ("refuse", status, outcome)
    assert action["text"].startswith(f"answered {status}, ")


# --- what else should be known


@pytest.mark.parametrize(
    ("url", "source", "hints"),
    [
        pytest.param("http://api.example.com/", None, ["--source IP says who the client is, which this depends on"],
                     id="a rule asks who the client is"),
        pytest.param("http://www.example.com/", None, [], id="it makes no difference"),
        pytest.param("http://api.example.com/", "192.0.2.7", [], id="known"),
        pytest.param("tcp://127.0.0.2:5432", None, ["--source IP:PORT says who the client is, which this depends on"],
                     id="the policy asks"),
        pytest.param("tcp://127.0.0.2:5432", "192.0.2.7",
                     ["--source 192.0.2.7:PORT says the client's port too, which this depends on"], id="no port"),
        pytest.param("tcp://127.0.0.2:5432", "192.0.2.7:4000", [], id="all is known"),
    ],
)  # fmt: skip
def test_hints(url: str, source: str | None, hints: list[str]) -> None:
    assert explained(url, source=source)["hints"] == hints


def test_tcp_goes_straight_to_the_group() -> None:
    facts = explained("tcp://127.0.0.2:5432", source="192.0.2.7:40000")
    assert (facts["request"], facts["rules"], facts["action"]["text"]) == (None, [], "to group db")
    (group,) = facts["groups"]
    assert group["choice"]["target"] in ("db1", "db2")


def test_the_source_decides_for_a_hashing_policy() -> None:
    chosen = {
        explained("http://api.example.com/", source=f"192.0.2.{n}")["groups"][0]["choice"]["target"] for n in range(9)
    }
    assert chosen == {"api01", "api02"}
