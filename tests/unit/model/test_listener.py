"""What an http listener is when little is written, and what tcp and http ones have in common."""

from __future__ import annotations

import pickle

import pytest

from nlb.errors import ConfigError
from nlb.model import http
from nlb.model.config import Config
from nlb.model.parse import parse

GROUPS = "".join(f'[[target_group]]\nname = "{name}"\nprotocol = "http"\n' for name in ("web", "api", "next", "old"))
LISTENER = (
    '[[listener]]\nname = "edge"\nbind = ["0.0.0.0:80", "unix:/run/e"]\nprotocol = "http"\ntarget_group = "web"\n'
)


def listener(more=""):
    return parse(LISTENER + more + "\n" + GROUPS, "nlb.toml").listeners[0]


def test_an_http_listener_is_made_whole_by_defaults():
    edge = listener()
    assert (edge.desync, edge.x_forwarded, edge.forwarded, edge.trusted_proxies) == (
        "defensive",
        "append",
        "remove",
        (),
    )
    assert (edge.via, edge.request_id, edge.traceparent, edge.reason_header) == (True, True, True, False)
    assert (edge.header_timeout, edge.idle_timeout, edge.tunnel_timeout) == (10, 60, 350)
    assert (edge.min_body_rate, edge.min_body_rate_after, edge.max_body) == (240, 20, None)
    assert (edge.access_log, edge.access_log_except, edge.error_pages, edge.pages) == (True, (), {}, {})
    assert (edge.rules, edge.groups, edge.ports) == ((), ("web",), {80})


def test_an_http_group_is_made_whole_by_defaults():
    (group, *_) = parse(LISTENER + GROUPS, "nlb.toml").groups
    assert (group.stickiness, group.request_headers.set, group.response_headers.remove) == (None, {}, ())
    assert (group.response_timeout, group.tunnel_timeout, group.retry_budget) == (60, None, 20)
    assert (group.pool_size, group.pool_timeout) == (64, 4)


def test_sizes_and_times_may_have_units():
    edge = listener('max_body = "64MiB"\nmin_body_rate = "1KiB"\nmin_body_rate_after = "1m"\nidle_timeout = "2m"')
    assert (edge.max_body, edge.min_body_rate, edge.min_body_rate_after, edge.idle_timeout) == (64 << 20, 1024, 60, 120)


def test_its_groups_are_the_default_and_those_of_its_rules_each_once():
    rules = '[[listener.rule]]\npath = "/a"\nforward = ["api", "web"]\n'
    rules += '[[listener.rule]]\npath = "/b"\nfixed_response = { status = 404 }\n'
    rules += '[[listener.rule]]\npath = "/c"\nforward = ["next", "api"]\n'
    assert listener(rules).groups == ("web", "api", "next")


VALUES = {
    "rules": 'rule = [{ forward = "web" }]',
    "desync": 'desync = "monitor"',
    "trusted_proxies": "trusted_proxies = []",
    "x_forwarded": 'x_forwarded = "append"',
    "forwarded": 'forwarded = "append"',
    "via": "via = true",
    "request_id": "request_id = true",
    "traceparent": "traceparent = true",
    "reason_header": "reason_header = true",
    "header_timeout": "header_timeout = 1",
    "tunnel_timeout": "tunnel_timeout = 1",
    "min_body_rate": "min_body_rate = 1",
    "min_body_rate_after": "min_body_rate_after = 1",
    "max_body": "max_body = 1",
    "error_pages": "error_pages = {}",
    "access_log_except": "access_log_except = []",
}
OF_GROUPS = {
    "stickiness": 'stickiness = { type = "lb_cookie" }',
    "request_headers": "request_headers = {}",
    "response_headers": "response_headers = {}",
    "response_timeout": "response_timeout = 1",
    "tunnel_timeout": "tunnel_timeout = 1",
    "pool_size": "pool_size = 1",
    "pool_timeout": "pool_timeout = 1",
    "retry_budget": "retry_budget = 1",
}


@pytest.mark.parametrize("key", http.LISTENER_KEYS)
def test_a_tcp_listener_has_none_of_the_keys_of_http(key):
    with pytest.raises(ConfigError, match=r'^nlb.toml:6:\d+: listener.edge.*: needs protocol = "http"') as caught:
        parse(LISTENER.replace("http", "tcp") + VALUES[key] + "\n" + GROUPS.replace("http", "tcp"), "nlb.toml")
    assert len(caught.value.mistakes) == 1
    assert listener(VALUES[key])


@pytest.mark.parametrize("key", http.GROUP_KEYS)
def test_nor_has_a_tcp_group(key):
    text = GROUPS.replace("http", "tcp") + OF_GROUPS[key] + "\n"
    with pytest.raises(ConfigError, match=r'target_group.old.*: needs protocol = "http"'):
        parse(LISTENER.replace("http", "tcp") + text, "nlb.toml")
    assert parse(LISTENER + GROUPS + OF_GROUPS[key] + "\n", "nlb.toml")


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_a_dump_with_every_default_is_a_file_that_reads_the_same(protocol):
    config = parse((LISTENER + GROUPS).replace("http", protocol), "nlb.toml")
    dumped = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert ("desync" in dumped["listener"][0], "pool_size" in dumped["target_group"][0]) == (protocol == "http",) * 2
    assert ("transparent" in dumped["target_group"][0]) == (protocol == "tcp")
    assert Config.model_validate(dumped) == config


def test_error_pages_are_known_by_their_status_and_survive_a_dump():
    edge = listener('error_pages = { 502 = "/a.html", 503 = "/b.html" }')
    assert edge.error_pages == {502: "/a.html", 503: "/b.html"}
    dumped = edge.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert dumped["error_pages"] == {"502": "/a.html", "503": "/b.html"}
    assert type(edge).model_validate(dumped) == edge


def test_the_bytes_of_error_pages_go_along_and_are_no_keys():
    edge = listener('error_pages = { 502 = "/a.html" }').with_pages({502: b"<h1>"})
    copy = pickle.loads(pickle.dumps(edge))
    assert copy == edge
    assert copy.pages == {502: b"<h1>"}
    assert edge != edge.with_pages({502: b"<h2>"})
    assert "pages" not in edge.model_dump(by_alias=True)
    assert edge.model_copy(update={"target_group": "api"}).pages == edge.pages
