"""`nlb explain` of a listener that passes TLS on: which rule takes a client, by what its hello says."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.control.explain import of_file
from nlb.control.inquiry import Inquiry, parse_source, parse_url
from nlb.model.parse import parse

CONFIG = parse(
    """
[[listener]]
name = "front"
bind = "0.0.0.0:443"
target_group = "web"

  [[listener.rule]]
  name = "mail"
  sni = ["mail.example.com", "*.mail.example.com"]
  forward = "mail"

  [[listener.rule]]
  name = "shop"
  sni = "shop.*"
  alpn = ["h2", "http/1.1"]
  forward = [{ target_group = "web", weight = 3 }, { target_group = "mail", weight = 1 }]

  [[listener.rule]]
  name = "chat"
  alpn = "xmpp-client"
  forward = "mail"

[[target_group]]
name = "web"
targets = ["web01=10.0.0.11:443"]

[[target_group]]
name = "mail"
policy = "maglev"
targets = ["mail01=10.0.0.21:443", "mail02=10.0.0.22:443"]
""",
    "nlb.toml",
)


def explained(url: str, *alpn: str, source: str | None = None) -> dict[str, Any]:
    return of_file(CONFIG, Inquiry(parse_url(url), source=parse_source(source) if source else None, alpn=alpn))


def lines(facts: dict[str, Any]) -> list[str]:
    return [f"{'yes' if rule['matched'] else 'no'} {rule['rule']}: {rule['why']}" for rule in facts["rules"]]


NO_TLS = "the client speaks no TLS"
NOT_MAIL = "and it wants mail.example.com or *.mail.example.com"
LAST = "yes default: no rule before it matches"


@pytest.mark.parametrize(
    ("url", "alpn", "said", "group"),
    [
        pytest.param(
            "tls://mail.example.com",
            [],
            ["yes mail: name mail.example.com", "no shop: not asked", "no chat: not asked", "no default: not asked"],
            "mail",
            id="by its name",
        ),
        pytest.param(
            "tls://a.MAIL.example.com:443",
            ["h2"],
            [
                "yes mail: name a.mail.example.com matches *.mail.example.com",
                *("no shop: not asked", "no chat: not asked", "no default: not asked"),
            ],
            "mail",
            id="by a pattern, in any case",
        ),
        pytest.param(
            "tls://shop.example.com",
            ["x", "http/1.1"],
            [
                f"no mail: name shop.example.com, {NOT_MAIL}",
                "yes shop: name shop.example.com matches shop.*, offers http/1.1",
                *("no chat: not asked", "no default: not asked"),
            ],
            "web",
            id="by both",
        ),
        pytest.param(
            "tls://shop.example.com",
            [],
            [
                f"no mail: name shop.example.com, {NOT_MAIL}",
                "no shop: the client does not offer h2 or http/1.1",
                "no chat: the client does not offer xmpp-client",
                LAST,
            ],
            "web",
            id="not by one of two",
        ),
        pytest.param(
            "https://shop.example.com/cart",
            [],
            [
                f"no mail: name shop.example.com, {NOT_MAIL}",
                "yes shop: name shop.example.com matches shop.*, offers h2 or http/1.1",
                *("no chat: not asked", "no default: not asked"),
            ],
            "web",
            id="a browser says what it offers",
        ),
        pytest.param(
            "tls://192.0.2.1",
            ["xmpp-client"],
            [
                f"no mail: no name, {NOT_MAIL}",
                "no shop: no name, and it wants shop.*",
                "yes chat: offers xmpp-client",
                "no default: not asked",
            ],
            "mail",
            id="an address is no name",
        ),
        pytest.param(
            "tls://[2001:db8::1]",
            [],
            [
                f"no mail: no name, {NOT_MAIL}",
                "no shop: no name, and it wants shop.*",
                "no chat: the client does not offer xmpp-client",
                LAST,
            ],
            "web",
            id="nothing fits",
        ),
        pytest.param(
            "tcp://mail.example.com:443",
            [],
            [f"no mail: {NO_TLS}", f"no shop: {NO_TLS}", f"no chat: {NO_TLS}", LAST],
            "web",
            id="no TLS",
        ),
    ],
)
def test_which_rule_takes_it(url: str, alpn: list[str], said: list[str], group: str) -> None:
    facts = explained(url, *alpn)
    assert lines(facts) == said
    assert facts["groups"][0]["name"] == group
    assert facts["action"]["groups"][0]["group"] == group


def test_shares_and_the_choice() -> None:
    facts = explained("https://shop.example.com/", source="192.0.2.7:40000")
    assert facts["action"]["text"] == "to one of the groups web (75 %), mail (25 %), drawn for each connection"
    assert [(group["name"], group["share"]) for group in facts["groups"]] == [("web", 0.75), ("mail", 0.25)]
    assert facts["groups"][1]["choice"]["target"] in ("mail01", "mail02")
    assert (facts["hello"], facts["hints"]) == ({"name": "shop.example.com", "alpn": ["h2", "http/1.1"]}, [])


def test_who_is_asked_for_where_nobody_looks() -> None:
    """Without rules the hello is not read, so nothing is said of it."""
    listener = CONFIG.listeners[0].model_copy(update={"rules": ()})
    facts = of_file(CONFIG.model_copy(update={"listeners": (listener,)}), Inquiry(parse_url("tls://mail.example.com")))
    assert (facts["hello"], facts["rules"], facts["groups"][0]["name"]) == (None, [], "web")
