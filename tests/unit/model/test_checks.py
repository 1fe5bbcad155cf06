"""Checks of the whole file go on where keys are wrong. What they say stands in the vectors; here is what they pass over
and how they carry size.
"""

from __future__ import annotations

import pytest

from nlb.model.checks import whole

LISTENER = {"bind": "0.0.0.0:80"}
GROUP = {"name": "web", "targets": ["10.0.0.1:80"]}


def messages(**data):
    return [wrong.message for wrong in whole({"listener": [LISTENER], "target_group": [GROUP], **data})]


def test_a_fine_file_has_nothing_to_tell():
    assert messages() == []


ODD = [None, True, 5, 0.5, "text", [], [5], {}, {"a": 1}, [[]], [{}], [{"name": 5}], [{"bind": [5], "targets": [5]}]]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("key", ["admin", "listener", "target_group", "workers"])
def test_what_has_a_wrong_type_is_passed_over(key, odd):
    told = messages(**{key: odd})
    assert all("no listener" in text or "no target_group" in text for text in told)


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("key", ["name", "bind", "target_group", "protocol", "rule"])
def test_so_it_is_in_a_listener(key, odd):
    told = messages(listener=[{**LISTENER, key: odd}, {**LISTENER, "bind": "0.0.0.0:81", key: odd}])
    assert odd == "text" or told == []


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("key", ["name", "port", "targets", "health_check", "protocol"])
def test_so_it_is_in_a_group(key, odd):
    assert messages(target_group=[{**GROUP, key: odd}]) == []


def test_a_misspelt_table_is_not_told_as_a_missing_one():
    assert [wrong.message for wrong in whole({"listeners": [LISTENER], "target_groups": [GROUP]})] == []


def test_a_reference_to_a_group_with_a_wrong_key_is_fine():
    told = messages(listener=[{**LISTENER, "target_group": "web"}], target_group=[{"name": "web", "port": "x"}])
    assert told == []


def test_default_names_that_are_the_same_are_told_once_by_their_address():
    assert len(messages(listener=[LISTENER, LISTENER])) == 1


def test_targets_of_all_groups_together_have_a_limit():
    groups = [
        {"name": f"g{group}", "port": 80, "targets": [f"10.{group}.{n >> 8}.{n & 255}" for n in range(8193)]}
        for group in range(4)
    ]
    listener = {**LISTENER, "target_group": "g0"}
    assert messages(listener=[listener], target_group=groups) == [
        "32772 targets in all are too many; there is room for 32768"
    ]


def test_addresses_of_many_listeners_are_compared_in_little_time():
    """Quadratic work over these would take minutes."""
    listeners = [{"bind": [f"11.{n >> 8}.{n & 255}.{host}:80" for host in range(60)]} for n in range(1000)]
    assert messages(listener=listeners) == []
    assert len(messages(listener=[*listeners, LISTENER])) == 1


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("key", ["name", "priority", "forward", "port", "host"])
def test_so_it_is_in_a_rule(key, odd):
    told = messages(**http({"forward": "web", key: odd}))
    assert told == [] or odd in ("text", 5, [5])


def http(*rules, **more):
    listener = {**LISTENER, "protocol": "http", "rule": [*rules], **more}
    return {"listener": [listener], "target_group": [{**GROUP, "protocol": "http"}]}


def test_rules_that_have_nothing_in_common_are_fine():
    assert messages(**http({"forward": "web"}, {"forward": ["web"], "name": "1x", "priority": 5}, {"port": 80})) == []


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([{"name": "a"}, {"name": "a"}], "another rule of the listener has the name 'a' already"),
        ([{"name": "2"}, {}], "another rule of the listener has the name '2' already"),
        ([{}, {"priority": 10}], "priority 10 is that of another rule already"),
        ([{"priority": 20}, {}], "priority 20 is that of another rule already"),
        ([{"forward": ["web", "wep"]}], "there is no target_group with the name 'wep'; write web (did you mean web?)"),
        ([{"port": 81}], "the listener does not listen on port 81; write 80"),
        ([{"port": [80, 8080]}], "the listener does not listen on port 8080; write 80"),
    ],
)
def test_what_only_rules_beside_each_other_show(rules, told):
    (message,) = messages(**http(*rules))
    assert message.startswith(told)


@pytest.mark.parametrize(("bind", "told"), [("0.0.0.0:0", []), ("unix:/run/a", ["write no port"])])
def test_a_free_port_may_be_any_and_a_unix_socket_has_none(bind, told):
    found = messages(**http({"port": 81}, bind=bind))
    assert [text.partition("; ")[2].partition(",")[0] for text in found] == told


PROTOCOLS = ["tcp", "http", "tls", "https"]


@pytest.mark.parametrize("listener", [*PROTOCOLS, "ssl"])
@pytest.mark.parametrize("group", [*PROTOCOLS, 5])
@pytest.mark.parametrize("named", [True, False])
def test_a_listener_and_its_groups_speak_the_same_inside_the_encryption(listener, group, named):
    one = {**LISTENER, "protocol": listener} | ({"target_group": "web"} if named else {})
    found = messages(listener=[one], target_group=[{**GROUP, "protocol": group}])
    of_requests = {protocol: protocol in ("http", "https") for protocol in PROTOCOLS}
    known = listener in of_requests and group in of_requests
    if known and of_requests[listener] != of_requests[group]:
        words = ["http or https", "tcp or tls"] if of_requests[listener] else ["tcp or tls", "http or https"]
        better = "write {} in the group, or {} in the listener".format(*words)
        assert found == [f"the group 'web' speaks {group} and this listener {listener}; {better}"]
    else:
        assert found == []


@pytest.mark.parametrize(
    ("protocol", "rule", "told"),
    [
        ("tcp", {"sni": "a.test", "alpn": ["h2"]}, []),
        ("tcp", {"sni": 5, "alpn": {}}, []),
        ("tcp", {}, []),
        ("tcp", {"host": "a.test"}, ["is asked of requests, and tcp sees none"]),
        ("tcp", {"source": [], "port": 80}, ["is asked of requests, and tcp sees none"] * 2),
        ("tcp", {"redirect": {}}, ["is an answer to a request, and tcp sees none"]),
        ("tcp", {"fixed_response": {}}, ["is an answer to a request, and tcp sees none"]),
        ("http", {"sni": "a.test"}, ["is asked of what tcp passes on encrypted"]),
        ("https", {"alpn": "h2"}, ["is asked of what tcp passes on encrypted"]),
        ("tls", {}, ["tls forwards to one group"]),
        ("ssl", {"sni": "a.test", "host": "a.test"}, []),
    ],
)
def test_rules_ask_what_their_listener_sees(protocol, rule, told):
    listener = {**LISTENER, "protocol": protocol, "rule": [{"forward": "web"} | rule]}
    groups = [{**GROUP, "protocol": "http" if "http" in protocol else "tcp"}]
    found = messages(listener=[listener], target_group=groups)
    assert [text.partition(";")[0] for text in found] == told


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("key", ["tls", "shield", "certificates", "proxy_protocol"])
def test_what_has_a_wrong_type_is_passed_over_in_tls_too(key, odd):
    listener = {**LISTENER, "protocol": "https", key: odd}
    group = {**GROUP, "protocol": "https", "target_tls": odd, "proxy_protocol": odd}
    assert messages(listener=[listener], target_group=[group]) == []
    for protocol, inner in (("https", "alpn"), ("tcp", "http")):
        table = {**LISTENER, "protocol": protocol, key: {inner: odd}}
        found = messages(listener=[table], target_group=[{**GROUP, "protocol": protocol}])
        assert [text for text in found if "is not spoken by https" not in text and "needs protocol" not in text] == []


@pytest.mark.parametrize(
    ("protocol", "shield", "told"),
    [
        ("tcp", {"deny": []}, 0),
        ("tcp", {"http": {}, "request_rate": []}, 2),
        ("tls", {"http": {}}, 1),
        ("http", {"http": {}, "request_rate": []}, 0),
    ],
)
def test_only_who_sees_requests_can_refuse_them(protocol, shield, told):
    groups = [{**GROUP, "protocol": protocol}]
    found = messages(listener=[{**LISTENER, "protocol": protocol, "shield": shield}], target_group=groups)
    assert [text.partition(",")[0] for text in found] == [
        f'needs protocol = "{"https" if protocol == "tls" else "http"}"'
    ] * told


def test_rules_of_all_listeners_together_have_a_limit():
    rules = [{"forward": "web"}] * 32769
    listeners = [{"bind": f"0.0.0.0:{port}", "protocol": "http", "rule": rules} for port in (80, 81)]
    groups = [{**GROUP, "protocol": "http"}]
    assert messages(listener=listeners, target_group=groups) == [
        "65538 rules in all are too many; there is room for 65536"
    ]


def test_so_have_the_groups_that_they_forward_to():
    groups = [{**GROUP, "name": name, "protocol": "http"} for name in ("web", "api", "new")]
    rules = [{"forward": ["web", "api", "new"]}] * 43691
    listener = {**LISTENER, "protocol": "http", "target_group": "web", "rule": rules}
    assert messages(listener=[listener], target_group=groups) == [
        "131074 groups of all rules are too many; there is room for 131072"
    ]


def test_a_target_may_not_be_the_listener_whose_rule_leads_to_it():
    other = {"name": "api", "protocol": "http", "targets": ["127.0.0.1:80"]}
    data = http({"forward": "api"}, target_group="web")
    found = messages(**data | {"target_group": [*data["target_group"], other]})
    assert found == ["127.0.0.1:80 is where the listener of this group listens; write the server's own port"]
