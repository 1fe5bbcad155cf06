"""What `nlb explain` says of a shield."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.control.explain import of_file
from nlb.control.inquiry import Inquiry, parse_source, parse_url
from nlb.control.shield_explained import of_client, of_request
from nlb.http1.head import parse_request
from nlb.model.parse import parse
from nlb.model.shield import Shield
from tests.networks import content

CONFIG = """
[shield]
{shield}
[[listener]]
bind = "127.0.0.1:80"
protocol = "http"
[[target_group]]
name = "web"
protocol = "http"
targets = ["10.0.0.1:80"]
"""


def told(shield: str, path: str = "/", method: str = "GET", source: str = "192.0.2.7") -> Any:
    config = parse(CONFIG.format(shield=shield), "nlb.toml")
    return of_file(config, Inquiry(parse_url(f"http://a{path}"), method, source=parse_source(source)))


@pytest.mark.parametrize(
    ("shield", "asked", "outcome", "text"),
    [
        ('deny = ["192.0.2.0/24"]', {}, "accept/denied", "reset at accept, 192.0.2.7 is denied, by 192.0.2.0/24"),
        ('allow = ["10.0.0.0/8"]', {}, "accept/denied", "reset at accept, 192.0.2.7 is in no network of allow"),
        ('http.methods = ["GET"]', {"method": "PUT"}, "request/method", "answered 405, its method is none of GET"),
        ('http.deny_path = "/x*"', {"path": "/%78y"}, "request/denied_path", "answered 403, its path is in deny_path"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_who_and_what_is_refused(shield: str, asked: dict[str, str], outcome: str, text: str) -> None:
    answer = told(shield, **asked)
    assert (answer["action"]["kind"], answer["action"]["outcome"]) == ("refuse", outcome)
    assert answer["action"]["text"].startswith(text)
    assert (answer["groups"], answer["shield"]) == ([], [])
    answer = told(f'mode = "monitor"\n{shield}', **asked)
    assert answer["action"]["kind"] == "forward"
    (said,) = answer["shield"]
    assert said.startswith("would ")
    assert said.endswith("but mode is monitor, so it is only counted")


def test_a_body_that_is_too_long_is_told_of() -> None:
    request = parse_request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
    assert request is not None
    for mode in ("enforce", "monitor"):
        said = of_request(Shield.model_validate({"mode": mode, "http": {"max_body": 10}}), request)
        assert said is not None
        assert (said.word, said.status, said.refuses) == ("max_body", 413, mode == "enforce")
        assert said.why == "its body is longer than max_body, 10 bytes"
    assert of_request(Shield.model_validate({"http": {"max_body": 11}}), request) is None


def test_who_is_blocked_is_refused_in_monitor_mode_too() -> None:
    said = of_client(Shield(mode="monitor"), "192.0.2.7", {"192.0.2.7": "192.0.2.0/24"}.get)
    assert said is not None
    assert (said.word, said.refuses) == ("blocked", True)
    assert of_client(Shield(), "192.0.2.8", {"192.0.2.7": "192.0.2.0/24"}.get) is None


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("192.0.2.66", "192.0.2.66/32"),
        ("198.51.100.1", "198.51.100.0/25"),
        ("2001:db8::7", "2001:db8::/32"),
        ("203.0.113.1", None),
    ],
)
def test_the_most_specific_network_is_named_wherever_it_is_written(source: str, network: str | None) -> None:
    """In the config, or in one of several files."""
    shield = Shield.model_validate({"deny": ["192.0.2.0/24", {"file": "/a"}, "198.51.0.0/16", {"file": "/b"}]})
    shield = shield.with_lists(
        {"/a": content("192.0.0.0/16", "2001:db8::/32"), "/b": content("192.0.2.66", "198.51.100.0/25")}
    )
    said = of_client(shield, source, lambda address: None)
    assert (said and said.why) == (network and f"{source} is denied, by {network} of deny")


def test_whom_a_shield_has_nothing_against() -> None:
    answer = told('deny = ["10.0.0.0/8"]\nallow = ["192.0.2.0/24"]\nhttp.deny_path = "/x"')
    assert (answer["action"]["kind"], answer["shield"]) == ("forward", [])
