"""What `nlb explain` says of a shield."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.control.explain import of_file
from nlb.control.inquiry import Inquiry, parse_source, parse_url
from nlb.control.shield_explained import of_client
from nlb.model.parse import parse
from nlb.model.shield import Shield

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


def test_who_is_blocked_is_refused_in_monitor_mode_too() -> None:
    said = of_client(Shield(mode="monitor"), "192.0.2.7", ["192.0.2.0/24"])
    assert said is not None
    assert (said.word, said.refuses) == ("blocked", True)


def test_whom_a_shield_has_nothing_against() -> None:
    answer = told('deny = ["10.0.0.0/8"]\nallow = ["192.0.2.0/24"]\nhttp.deny_path = "/x"')
    assert (answer["action"]["kind"], answer["shield"]) == ("forward", [])
