"""What an http listener is when little is written, and what tcp and http ones have in common."""

from __future__ import annotations

import pickle
import re

import pytest

from nlb.errors import ConfigError
from nlb.model import http
from nlb.model.config import Config
from nlb.model.parse import parse

CERTIFICATES = 'certificates = { cert = "/a.pem" }\n'
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
    "desync": 'desync = "monitor"',
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


def speaking(protocol, more="", groups=""):
    """The config of a listener and groups that speak this."""
    more = CERTIFICATES + more if protocol in ("tls", "https") else more
    return parse(
        LISTENER.replace("http", protocol) + more + "\n" + GROUPS.replace("http", protocol) + groups, "nlb.toml"
    )


def told(*args):
    with pytest.raises(ConfigError) as caught:
        speaking(*args)
    return str(caught.value)


@pytest.mark.parametrize("key", http.LISTENER_KEYS)
def test_a_listener_that_reads_no_requests_has_none_of_the_keys_of_http(key):
    assert re.fullmatch(r'nlb.toml:6:\d+: listener.edge.*: needs protocol = "http", .*', told("tcp", VALUES[key]))
    assert re.fullmatch(r'nlb.toml:7:\d+: listener.edge.*: needs protocol = "https", .*', told("tls", VALUES[key]))
    assert listener(VALUES[key])
    assert speaking("https", VALUES[key])


@pytest.mark.parametrize("key", http.GROUP_KEYS)
def test_nor_has_such_a_group(key):
    assert re.search(r'target_group.old.*: needs protocol = "http"', told("tcp", "", OF_GROUPS[key]))
    assert re.search(r'target_group.old.*: needs protocol = "https"', told("tls", "", OF_GROUPS[key]))
    assert speaking("http", "", OF_GROUPS[key])
    assert speaking("https", "", OF_GROUPS[key])


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_certificates_are_for_who_encrypts(protocol):
    better = {"tcp": "tls", "http": "https"}[protocol]
    for key in (CERTIFICATES, "tls = {}\n"):
        assert f'needs protocol = "{better}", because {protocol} encrypts nothing' in told(protocol, key)
    assert f'target_group.old.target_tls: needs protocol = "{better}"' in told(protocol, "", "target_tls = {}\n")
    plain = speaking(protocol)
    assert (plain.listeners[0].certificates, plain.listeners[0].is_encrypted) == ((), False)


@pytest.mark.parametrize("protocol", ["tls", "https"])
@pytest.mark.parametrize("none", ["", "certificates = []\n"])
def test_who_encrypts_needs_them(protocol, none):
    text = LISTENER.replace("http", protocol) + none + GROUPS.replace("http", protocol)
    with pytest.raises(ConfigError, match=r"certificates are missing; write certificates = \[\{ cert"):
        parse(text, "nlb.toml")
    edge = speaking(protocol).listeners[0]
    assert [str(item) for item in edge.certificates] == ["/a.pem"]
    assert (edge.tls.policy, edge.is_encrypted, edge.speaks_http) == ("intermediate", True, protocol == "https")
    assert (edge.idle_timeout, edge.access_log) == ((60, True) if protocol == "https" else (350, False))


def test_who_accepts_proxy_headers_says_whose():
    accept = 'proxy_protocol = "accept"\n'
    for none in ("", "trusted_proxies = []\n"):
        assert "PROXY headers are accepted, and nothing says whose; write trusted_proxies" in told("tcp", accept + none)
    edge = speaking("tcp", accept + 'trusted_proxies = "10.0.0.0/8"\n').listeners[0]
    assert (edge.trusted_proxies, edge.proxy_header_timeout) == (("10.0.0.0/8",), 3)
    socket = LISTENER.replace('"0.0.0.0:80", ', "").replace("http", "tcp") + accept + GROUPS.replace("http", "tcp")
    assert parse(socket, "nlb.toml").listeners[0].trusted_proxies == ()


def test_without_them_nobody_says_anything_where_no_requests_are_read():
    assert 'write proxy_protocol = "accept", or leave this out' in told("tcp", 'trusted_proxies = "10.0.0.0/8"\n')
    assert speaking("https", 'trusted_proxies = "10.0.0.0/8"\n')


def test_a_listener_has_what_the_shield_says_for_all_unless_it_says_otherwise():
    text = "[shield]\nmax_connections = 9\ndeny = '10.0.0.0/8'\n" + LISTENER + "shield.deny = []\n" + GROUPS
    config = parse(text, "nlb.toml")
    shield = config.listeners[0].shield
    assert (shield.max_connections, shield.deny, shield.model_fields_set) == (9, (), {"deny"})
    assert "shield" in config.listeners[0].model_fields_set
    other = parse(text.replace("shield.deny = []\n", ""), "nlb.toml").listeners[0]
    assert (other.shield.deny, "shield" in other.model_fields_set) == (("10.0.0.0/8",), False)


@pytest.mark.parametrize("unset", [True, False])
@pytest.mark.parametrize("protocol", ["tcp", "http", "tls", "https"])
def test_a_dump_with_a_shield_reads_the_same(protocol, unset):
    text = "[shield]\nmax_connections = 9\nhttp.deny_path = '/a'\nrequest_rate = { rate = '5/m' }\nblock = {}\n"
    text += LISTENER.replace("http", protocol) + (CERTIFICATES if protocol in ("tls", "https") else "")
    text += "proxy_protocol = 'accept'\ntrusted_proxies = '10.0.0.0/8'\nshield.max_connections = 5\n"
    config = parse(text + GROUPS.replace("http", protocol), "nlb.toml")
    dumped = config.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=unset)
    assert Config.model_validate(dumped) == config
    assert ("http" in dumped["listener"][0]["shield"]) == ("http" in protocol and not unset)


def test_what_nobody_wrote_is_in_no_dump():
    config = parse("[shield]\nmax_connections = 9\n" + (LISTENER + GROUPS).replace("http", "tcp"), "nlb.toml")
    dumped = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert dumped["listener"][0].keys() == {"name", "bind", "protocol", "target_group"}
    assert dumped["shield"] == {"max_connections": 9}


def test_what_a_check_sees_of_a_target_is_what_the_traffic_sees():
    text = GROUPS.replace("http", "https") + "target_tls = { ca = '/ca.pem', server_name = 'a.test' }\n"

    def check(keys, groups=text):
        edge = LISTENER.replace("http", "https") + CERTIFICATES
        return parse(edge + groups + f"health_check = {{ {keys} }}\n", "nlb.toml").groups[-1].health_check

    asked = check('protocol = "https"')
    assert (asked.tls_verify, asked.tls_ca, asked.tls_server_name) == (True, "/ca.pem", "a.test")
    assert asked.model_fields_set == {"protocol"}
    own = check('protocol = "tls", tls_verify = false, tls_server_name = "b.test"')
    assert (own.tls_verify, own.tls_ca, own.tls_server_name) == (False, "/ca.pem", "b.test")
    assert check('protocol = "https", host = "c.test"').tls_server_name == "c.test"
    assert check('protocol = "http"').tls_ca is None
    careless = text.replace("ca = '/ca.pem', server_name = 'a.test'", "verify = false")
    assert not check('protocol = "https"', careless).tls_verify


def test_a_target_is_told_of_clients_as_its_group_unless_it_says_otherwise():
    targets = 'targets = ["a=10.0.0.1:1", { name = "b", address = "10.0.0.2:1", proxy_protocol = "none" }]\n'
    group = speaking("tcp", "", 'proxy_protocol = "v2"\n' + targets).groups[-1]
    assert [group.proxy_protocol_of(target) for target in group.targets] == ["v2", "none"]


@pytest.mark.parametrize("protocol", ["tcp", "http", "tls", "https"])
def test_a_dump_with_every_default_is_a_file_that_reads_the_same(protocol):
    config = speaking(protocol)
    dumped = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    edge, group = dumped["listener"][0], dumped["target_group"][0]
    assert ("desync" in edge, "pool_size" in group) == ("http" in protocol,) * 2
    assert ("transparent" in group, "proxy_protocol" in group) == ("http" not in protocol,) * 2
    assert ("certificates" in edge, "tls" in edge, "target_tls" in group) == (protocol in ("tls", "https"),) * 3
    assert ("rule" in edge) == (protocol != "tls")
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
