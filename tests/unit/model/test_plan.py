"""From the config that runs to the one that shall run: what is done, in which words and in which order."""

from __future__ import annotations

import pytest

from nlb.model.config import Config
from nlb.model.parse import parse
from nlb.model.plan import plan
from nlb.model.shield import Shield
from tests.networks import content

WEB = '[[listener]]\nname = "in"\nbind = "127.0.0.1:80"\ntarget_group = "web"\n'
GROUP = '[[target_group]]\nname = "web"\ntargets = ["a=10.0.0.1:80", "b=10.0.0.2:80"]\n'
API = '[[target_group]]\nname = "api"\ntargets = ["x=10.0.1.1:80"]\n'


def read(text: str) -> Config:
    return parse(text, "nlb.toml")


BASE = read(WEB + GROUP)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (WEB + GROUP, []),
        (WEB + GROUP + "# only a comment\n", []),
        (
            WEB + GROUP.replace('"b=10.0.0.2:80"]', '"b=10.0.0.2:80", "c=10.0.0.3:80"]'),
            ["group web: add target c (10.0.0.3:80), weight 1"],
        ),
        (
            WEB + GROUP.replace(', "b=10.0.0.2:80"', ""),
            ["group web: remove target b (10.0.0.2:80): drain its sessions"],
        ),
        (
            WEB + GROUP.replace('"b=10.0.0.2:80"', '{ name = "b", address = "10.0.0.2:80", weight = 3 }'),
            ["group web: weight of b 1 -> 3"],
        ),
        (
            WEB
            + GROUP.replace(
                '"b=10.0.0.2:80"', '{ name = "b", address = "10.0.0.2:80", backup = true, max_connections = 9 }'
            ),
            ["group web: backup of b False -> True", "group web: max_connections of b default -> 9"],
        ),
        (
            WEB + GROUP.replace("10.0.0.2", "10.0.0.9"),
            [
                "group web: add target b (10.0.0.9:80), weight 1",
                "group web: remove target b (10.0.0.2:80): drain its sessions",
            ],
        ),
        (WEB + GROUP + 'policy = "maglev"\n', ["group web: policy round_robin -> maglev"]),
        (
            WEB + GROUP + "[target_group.health_check]\nrise = 5\n",
            ["group web: health_check.rise 2 -> 5"],
        ),
        (WEB + "idle_timeout = 60\n" + GROUP, ["listener in: idle_timeout 350 -> 60"]),
        (WEB.replace(":80", ":81") + GROUP, ["listener in: bind 127.0.0.1:80 -> 127.0.0.1:81"]),
        (
            WEB.replace('"web"', '"api"') + GROUP + API,
            ["add group api: 1 target, round_robin", "listener in: target_group web -> api"],
        ),
        (
            WEB.replace('"in"', '"front"') + GROUP,
            ["open listener front on 127.0.0.1:80 -> web", "close listener in on 127.0.0.1:80"],
        ),
        (
            WEB.replace('"web"', '"api"') + API,
            [
                "add group api: 1 target, round_robin",
                "listener in: target_group web -> api",
                "remove group web: 2 targets",
            ],
        ),
        ("workers = 7\n" + WEB + GROUP, ["workers changes with the next restart"]),
        ("shutdown_timeout = 3\n" + WEB + GROUP, ["shutdown_timeout: 10 -> 3"]),
    ],
    ids=[
        "nothing",
        "a comment",
        "a target more",
        "a target less",
        "a weight",
        "a limit",
        "another address is another target",
        "a policy",
        "a health check",
        "a listener's time",
        "a listener's address",
        "another group behind a listener",
        "a listener's name",
        "a group for another",
        "workers",
        "shutdown_timeout",
    ],
)
def test_what_a_reload_says_and_in_which_order(text: str, sentences: list[str]) -> None:
    planned = plan(BASE, read(text))
    assert list(planned.sentences) == sentences
    assert bool(planned) == bool(sentences)


def test_no_plan_leads_back() -> None:
    """Whatever is added by a plan is removed by the plan back."""
    other = read(WEB.replace('"in"', '"front"').replace('"web"', '"api"') + API)
    there, back = plan(BASE, other), plan(other, BASE)
    assert there.groups_added == back.groups_removed
    assert there.listeners_added == back.listeners_removed
    assert there.groups_removed == back.groups_added


def test_targets_keep_their_place_when_only_their_order_changes() -> None:
    turned = read(WEB + '[[target_group]]\nname = "web"\ntargets = ["b=10.0.0.2:80", "a=10.0.0.1:80"]\n')
    (change,) = plan(BASE, turned).groups_changed
    assert not change.targets
    assert not change.settings
    assert not plan(BASE, turned).sentences


def test_names_are_other_targets_where_they_are_written_otherwise() -> None:
    old, new = (
        read(f"[dns]\n{dns}\n" + WEB + f'[[target_group]]\nname = "web"\ntargets = [{targets}]\n')
        for dns, targets in (("", '"a=a.test:80", "b=b.test:80"'), ("min_ttl = 9", '"a=a.test:81", "b=b.test:80"'))
    )
    assert plan(old, new).sentences == (
        "group web: add target a (a.test:81), weight 1",
        "group web: remove target a (a.test:80): drain its sessions",
        "dns.min_ttl 5 -> 9",
    )


HTTP = """
[[listener]]
name = "edge"
bind = "127.0.0.1:80"
protocol = "http"
target_group = "web"
"""
HTTP_GROUPS = "".join(f'[[target_group]]\nname = "{name}"\nprotocol = "http"\n' for name in ("web", "api"))
API_RULE = '[[listener.rule]]\nname = "api-v1"\npath = "/v1/*"\nforward = "api"\n'
OLD_RULE = '[[listener.rule]]\nname = "old"\nhost = "old.test"\nredirect = { host = "new.test" }\n'
SHUT_RULE = '[[listener.rule]]\nport = 80\nfixed_response = { status = 503, body = "noon" }\n'


def of_http(*rules: str, listener: str = "", group: str = "") -> Config:
    return read(HTTP + listener + "".join(rules) + HTTP_GROUPS + group)


@pytest.mark.parametrize(
    ("old", "new", "sentences"),
    [
        pytest.param([API_RULE], [API_RULE], [], id="nothing"),
        pytest.param([], [API_RULE], ["add rule api-v1: path /v1/* -> group api"], id="a rule more"),
        pytest.param([API_RULE, OLD_RULE], [OLD_RULE], ["remove rule api-v1"], id="a rule less"),
        pytest.param(
            [API_RULE], [API_RULE.replace("/v1/*", "/v2/*")], ["rule api-v1: path /v1/* -> /v2/*"], id="a condition"
        ),
        pytest.param(
            [API_RULE],
            [API_RULE + 'header = { X-A = ["1", "2"] }\nmethod = "GET"\n'],
            ["rule api-v1: method any -> GET", "rule api-v1: header any -> X-A: 1, 2"],
            id="more conditions",
        ),
        pytest.param(
            [API_RULE],
            [API_RULE.replace('"api"\n', '[{ target_group = "api", weight = 3 }, "web"]\n')],
            ["rule api-v1: group api -> groups api (75 %), web (25 %)"],
            id="an action",
        ),
        pytest.param(
            [SHUT_RULE], [SHUT_RULE.replace("noon", "nine")], ["rule 1: another body of the same length"], id="a body"
        ),
        pytest.param(
            [API_RULE, OLD_RULE, SHUT_RULE],
            [OLD_RULE, API_RULE, SHUT_RULE],
            ["rules are tried in another order: old, api-v1, 3"],
            id="the order",
        ),
        pytest.param([API_RULE, OLD_RULE], [API_RULE, SHUT_RULE.replace("port", "name = 'shut'\nport"), OLD_RULE],
            ["add rule shut: port 80 -> answer 503, 4 bytes of text/plain; charset=utf-8"],
            id="one between others moves none",
        ),
        pytest.param(
            [API_RULE, OLD_RULE],
            [API_RULE + "priority = 15\n", OLD_RULE],
            ["rule api-v1: priority 10 -> 15"],
            id="a priority",
        ),
    ],
)  # fmt: skip
def test_what_a_reload_says_of_rules(old: list[str], new: list[str], sentences: list[str]) -> None:
    planned = plan(of_http(*old), of_http(*new))
    assert list(planned.sentences) == [f"listener edge: {sentence}" for sentence in sentences]
    assert bool(planned.listeners_changed) == bool(sentences)


@pytest.mark.parametrize(
    ("listener", "group", "sentences"),
    [
        ('desync = "strictest"', "", ["listener edge: desync defensive -> strictest"]),
        ('trusted_proxies = "10.0.0.0/8"', "", ["listener edge: trusted_proxies none -> 10.0.0.0/8"]),
        ('error_pages = { 502 = "/a" }', "", ["listener edge: error_pages none -> 502: /a"]),
        ('max_body = "1MiB"', "", ["listener edge: max_body default -> 1048576"]),
        ("", 'stickiness = { type = "lb_cookie" }', ["group api: stickiness default -> lb_cookie for 1d"]),
        ("", "request_headers = { set = { X-A = '1' } }", ["group api: request_headers.set none -> X-A: 1"]),
    ],
)
def test_what_a_reload_says_of_settings(listener: str, group: str, sentences: list[str]) -> None:
    planned = plan(of_http(), of_http(listener=listener + "\n", group=group + "\n"))
    assert list(planned.sentences) == sentences


def test_of_long_lists_only_what_differs_is_told() -> None:
    networks = [f"10.{number}.0.0/16" for number in range(200)]
    old, new = (of_http(listener=f"trusted_proxies = {some}\n") for some in (networks[:-1], networks[1:]))
    assert plan(old, new).sentences == ("listener edge: trusted_proxies + 10.199.0.0/16, - 10.0.0.0/16",)
    (long,) = plan(of_http(), new).sentences
    assert long.endswith("+ 10.10.0.0/16 and 189 more")


def test_a_new_listener_names_all_its_groups() -> None:
    assert "open listener edge on 127.0.0.1:80 -> web, api" in plan(BASE, of_http(API_RULE)).sentences


def test_a_page_with_another_content_is_told_where_both_are_known() -> None:
    config = of_http(listener='error_pages = { 502 = "/a", 503 = "/b" }\n')

    def having(pages: dict[int, bytes]) -> Config:
        return config.model_copy(update={"listeners": (config.listeners[0].with_pages(pages),)})

    old, new = having({502: b"a", 503: b"b"}), having({502: b"a", 503: b"c"})
    assert plan(old, new).sentences == ("listener edge: error_pages 503: /b has another content",)
    assert plan(old, new).listeners_changed
    assert plan(config, new).sentences == ()


TLS = """
[[listener]]
name = "edge"
bind = "127.0.0.1:443"
protocol = "https"
certificates = [{ cert = "/a.pem" }]
"""
TLS_GROUP = '[[target_group]]\nname = "web"\nprotocol = "https"\ntargets = ["a=10.0.0.1:1", "b=10.0.0.2:1"]\n'


@pytest.mark.parametrize(
    ("listener", "group", "sentences"),
    [
        ("tls.policy = 'modern'", "", ["listener edge: tls.policy intermediate -> modern"]),
        (
            "tls.client_ca = '/ca.pem'",
            "",
            ["listener edge: tls.client_ca default -> /ca.pem", "listener edge: tls.client_auth off -> required"],
        ),
        ("tls.alpn = 'http/1.1'", "", ["listener edge: tls.alpn none -> http/1.1"]),
        (
            "proxy_protocol = 'accept'\ntrusted_proxies = '10.0.0.0/8'",
            "",
            [
                "listener edge: proxy_protocol none -> accept",
                "listener edge: trusted_proxies none -> 10.0.0.0/8",
            ],
        ),
        ("", "target_tls = { verify = false }", ["group web: target_tls.verify True -> False"]),
        ("", "target_tls.server_name = 'a.test'", ["group web: target_tls.server_name default -> a.test"]),
    ],
)
def test_what_a_reload_says_of_tls(listener: str, group: str, sentences: list[str]) -> None:
    old, new = read(TLS + TLS_GROUP), read(TLS + listener + "\n" + TLS_GROUP + group + "\n")
    assert list(plan(old, new).sentences) == sentences


def test_what_a_reload_says_of_certificates() -> None:
    old = read(TLS + TLS_GROUP)
    new = read(TLS.replace("}]", '}, { directory = "/certs" }]') + TLS_GROUP)
    assert plan(old, new).sentences == ("listener edge: certificates /a.pem -> /a.pem, /certs",)
    other = read(TLS.replace('"/a.pem"', '"/a.pem", key = "/a.key"') + TLS_GROUP)
    assert plan(old, other).sentences == ("listener edge: certificates /a.pem -> /a.pem with /a.key",)


def test_what_a_reload_says_of_proxy_headers() -> None:
    new = read(WEB + GROUP.replace('"b=10.0.0.2:80"', '{ name = "b", address = "10.0.0.2:80", proxy_protocol = "v2" }'))
    assert plan(BASE, new).sentences == ("group web: proxy_protocol of b default -> v2",)
    assert plan(BASE, read(WEB + GROUP + "proxy_protocol = 'v1'\n")).sentences == (
        "group web: proxy_protocol none -> v1",
    )


def test_what_a_reload_says_of_rules_by_name() -> None:
    rule = '[[listener.rule]]\nsni = ["a.test", "*.b.test"]\nalpn = "h2"\nforward = "web"\n'
    there = read(WEB + rule + GROUP)
    assert plan(BASE, there).sentences == ("listener in: add rule 1: sni a.test or *.b.test, alpn h2 -> group web",)
    other = read(WEB + rule.replace('["a.test", "*.b.test"]', '"c.test"') + GROUP)
    assert plan(there, other).sentences == ("listener in: rule 1: sni a.test, *.b.test -> c.test",)


@pytest.mark.parametrize(
    ("old", "new", "sentences"),
    [
        ("max_connections = 5", "max_connections = 6", ["shield.max_connections 5 -> 6"]),
        ("", "deny = ['10.0.0.0/8', { file = '/d' }]", ["shield.deny none -> 10.0.0.0/8, /d"]),
        ("", "connection_rate_per_source = '50/s'", ["shield.connection_rate_per_source default -> 50/s burst 50"]),
        ("", "request_rate = { rate = '5/m' }", ["shield.request_rate none -> 5/m burst 5 of all requests: 429"]),
        ("block = {}", "block.for = '1h'", ["shield.block.for 600 -> 3600"]),
        ("", "block.of = 'rate'", ["shield.block default -> after 20 of rate within 1m for 10m"]),
        (
            "",
            "http.deny_path = '/a'",
            ["shield.http.deny_path none -> /a", "shield.http.normalise_path False -> True"],
        ),
    ],
)
def test_what_a_reload_says_of_the_shield_is_said_once(old: str, new: str, sentences: list[str]) -> None:
    before, after = (read(f"[shield]\n{text}\n" + WEB + GROUP) for text in (old, new))
    planned = plan(before, after)
    assert list(planned.sentences) == sentences
    assert [change.new.name for change in planned.listeners_changed] == ["in"], "it obeys it as well"


def test_what_a_reload_says_of_a_listeners_own_shield() -> None:
    old, new = (
        read(f"[shield]\nmax_connections = 9\n{WEB}{own}\n{GROUP}") for own in ("", "shield.max_connections = 5")
    )
    assert plan(old, new).sentences == ("listener in: shield.max_connections 9 -> 5",)
    assert plan(new, old).sentences == ("listener in: shield.max_connections 5 -> 9",)


def test_a_list_with_another_content_is_told_where_both_are_known() -> None:
    config = read("[shield]\ndeny = { file = '/d' }\n" + WEB + "shield.max_connections = 5\n" + GROUP)

    def having(*networks: str) -> Config:
        def full(shield: Shield) -> Shield:
            return shield.with_lists({"/d": content(*networks)})

        listeners = tuple(item.with_shield(full(item.shield)) for item in config.listeners)
        return config.model_copy(update={"shield": full(config.shield), "listeners": listeners})

    old, new = having("10.0.0.0/8", "192.0.2.1/32"), having("10.0.0.0/8", "192.0.2.2/32", "192.0.2.3/32")
    assert plan(old, new).sentences == ("shield: /d has 2 networks more and 1 less",)
    assert plan(old, new).listeners_changed
    assert plan(config, new).sentences == ()


def test_other_authorities_in_the_same_file_are_told() -> None:
    group = GROUP + 'protocol = "tls"\ntarget_tls = { ca = "/ca.pem" }\n'
    config = read(WEB + group)

    def believing(authorities: str) -> Config:
        return config.model_copy(update={"groups": (config.groups[0].with_authorities(authorities),)})

    assert plan(believing("one"), believing("one")).sentences == ()
    changed = plan(believing("one"), believing("two"))
    assert changed.sentences == ("group web: target_tls.ca: /ca.pem has another content",)
    assert [change.new.authorities for change in changed.groups_changed] == ["two"]
