"""What `nlb demo` can show: its web servers, its config, and what to try then. Only text; demo.py runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Row = tuple[str, str]  # what to type, or to open, and a remark

PAGE = "<!doctype html><title>{name}</title><h1>Hello from {name}</h1>\n"

HEAD = """\
workers = 2            # so that one can be killed while the other goes on
shutdown_timeout = {shutdown}   # seconds that open connections get when the demo ends

[admin]
socket = {socket}
state_dir = {state}
web = "127.0.0.1:{status}"
"""


class Pair(NamedTuple):
    """A certificate for `host`, good for so many days, in a file of that name."""

    file: str
    host: str
    days: int
    is_rsa: bool = False


@dataclass(frozen=True)
class Show:
    """`config` has a place for the port of nlb, for each server as a target, by its name, for the ports of `doors` and
    for the {folder} of files. `tries` and `pages` have places for {nlb}, which is how to call it, its {socket}, its
    {port}, and those of doors and {folder} too. `certificates` are made, in the folder, as NAME.pem and NAME.key."""

    servers: Mapping[str, int]  # name -> the port that is wanted
    config: str
    tries: tuple[Row, ...]
    pages: tuple[Row, ...]
    doors: Mapping[str, int] = field(default_factory=dict)  # further ports of nlb: name -> the one that is wanted
    certificates: tuple[Pair, ...] = ()


def filled(rows: tuple[Row, ...], words: Mapping[str, object]) -> list[Row]:
    return [(text.format(**words), remark.format(**words)) for text, remark in rows]


# Browsers and curl find every name under localhost on this box.
TCP = Show(
    servers={"web01": 3001, "web02": 3002, "web03": 3003},
    config="""
[[listener]]
name = "web"
bind = "127.0.0.1:{port}"

[[target_group]]
name = "web"
targets = [{web01}, {web02}, {web03}]
""",
    tries=(
        ("for i in 1 2 3 4 5 6; do curl -s http://sample-elb.localhost:{port}/; done", ""),
        ("export NLB_SOCKET={socket}", "so that nlb ctl finds this nlb"),
        ("{nlb} ctl targets", "what nlb thinks of each web server"),
        ("{nlb} ctl drain web01", "no new work for it; back with: {nlb} ctl ready web01"),
        ("{nlb} ctl errors", "how connections ended, and why"),
    ),
    pages=(("http://sample-elb.localhost:{port}/", "the web servers"),),
)

HTTP = Show(
    servers={"app01": 3001, "app02": 3002, "api01": 3003},
    config="""
[[listener]]
name = "edge"
bind = "127.0.0.1:{port}"
protocol = "http"
target_group = "app"         # what no rule is for

  [[listener.rule]]
  name = "api"
  host = "api.localhost"
  forward = "api"

  [[listener.rule]]
  name = "closed"
  host = "closed.localhost"
  fixed_response = {{ status = 503, body = "back at noon\\n" }}

  [[listener.rule]]
  name = "moved"
  path = "/old/*"
  redirect = {{ status = 301, path = "/" }}

[[target_group]]
name = "app"
protocol = "http"
targets = [{app01}, {app02}]

[[target_group]]
name = "api"
protocol = "http"
targets = [{api01}]
""",
    tries=(
        ("for i in 1 2 3 4; do curl -s http://app.localhost:{port}/; done", "one group, request by request"),
        ("curl -s http://api.localhost:{port}/", "another host, another group"),
        ("curl -si http://closed.localhost:{port}/", "nlb answers by itself"),
        ("curl -si http://app.localhost:{port}/old/page", "and here too: go elsewhere"),
        ("export NLB_SOCKET={socket}", "so that what follows finds this nlb"),
        ("{nlb} explain http://api.localhost:{port}/", "which rule, which group, which target, and why"),
        ("{nlb} ctl requests", "what each rule did"),
        ("{nlb} ctl drain app01", "no further request for it; back with: {nlb} ctl ready app01"),
        ("{nlb} ctl errors", "how requests ended, and why"),
    ),
    pages=(
        ("http://app.localhost:{port}/", "app01 and app02"),
        ("http://api.localhost:{port}/", "api01"),
    ),
)

TLS = Show(
    servers={"app01": 3001, "app02": 3002, "api01": 3003},
    doors={"plain": 8081},
    certificates=(
        Pair("app", "app.localhost", 14),  # so few days are warned of
        Pair("api", "api.localhost", 90, is_rsa=True),
        Pair("renewed", "app.localhost", 90),
    ),
    config="""
[[listener]]
name = "edge"
bind = "127.0.0.1:{port}"
protocol = "https"
target_group = "app"
certificates = [
  {{ cert = "{folder}/app.pem", key = "{folder}/app.key" }},
  {{ cert = "{folder}/api.pem", key = "{folder}/api.key" }},
]

  [[listener.rule]]
  host = "api.localhost"
  forward = "api"

[[listener]]
name = "plain"
bind = "127.0.0.1:{plain}"
protocol = "http"
target_group = "app"

  [[listener.rule]]
  redirect = {{ status = 301, protocol = "https", port = "{port}" }}

[[target_group]]
name = "app"
protocol = "http"
targets = [{app01}, {app02}]
response_headers = {{ set = {{ Strict-Transport-Security = "max-age=300" }} }}

[[target_group]]
name = "api"
protocol = "http"
targets = [{api01}]
""",
    tries=(
        ("for i in 1 2 3 4; do curl -s --cacert {folder}/ca.pem https://app.localhost:{port}/; done", ""),
        ("curl -s --cacert {folder}/ca.pem https://api.localhost:{port}/", "another name, another certificate"),
        ("curl -sL --cacert {folder}/ca.pem http://app.localhost:{plain}/", "plain HTTP is sent to HTTPS"),
        ("curl -s http://app.localhost:{port}/", "plain HTTP on the wrong port is told so"),
        ("export NLB_SOCKET={socket}", "so that nlb ctl finds this nlb"),
        ("{nlb} ctl certs", "which certificates, until when"),
        ("cd {folder}; cp renewed.pem app.pem; cp renewed.key app.key", "a renewed one: nlb takes it by itself, below"),
    ),
    pages=(("https://app.localhost:{port}/", "app01 and app02; browsers warn, they do not know the authority"),),
)
