"""What an operator gets: the defaults, and every form that keys may have."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from nlb.errors import ConfigError
from nlb.model.address import Address, DnsName
from nlb.model.config import Config, HealthCheck, Target, TargetGroup, read_target
from nlb.model.parse import parse
from nlb.model.values import POLICIES

MINIMAL = """
[[listener]]
bind = "0.0.0.0:8080"

[[target_group]]
name = "web"
targets = ["web01=127.0.0.1:3001", "127.0.0.1:3002"]
"""


def with_targets(targets, more=""):
    text = f'[[listener]]\nbind = "0.0.0.0:80"\n[[target_group]]\nname = "web"\n{more}\ntargets = {targets}\n'
    return parse(text, "test.toml").groups[0].targets


def test_a_small_file_is_made_whole_by_defaults():
    config = parse(MINIMAL, "test.toml")
    assert (config.workers, config.shutdown_timeout) == ("auto", 10)
    assert (config.admin.socket, config.admin.state_dir, str(config.admin.web)) == (None, None, "127.0.0.1:9191")
    (listener,) = config.listeners
    assert (listener.name, listener.protocol, listener.target_group) == ("0.0.0.0:8080", "tcp", "web")
    assert (listener.idle_timeout, listener.max_connections, listener.access_log) == (350, None, False)
    (group,) = config.groups
    assert (group.protocol, group.policy, group.hash_key, group.port) == ("tcp", "round_robin", "flow", None)
    assert (group.deregistration_delay, group.tries, group.connect_timeout, group.max_ejected) == (300, 3, 5, 50)
    assert (group.on_unhealthy, group.on_remove, group.on_drain_timeout) == ("reset", "drain", "reset")
    check = group.health_check
    assert (check.protocol, check.interval, check.fast_interval, check.timeout) == ("tcp", 2, 0.5, 2)
    assert (check.rise, check.fall, check.port, check.path, str(check.matcher)) == (2, 3, None, "/", "200-399")
    assert [target.name for target in group.targets] == ["web01", "127.0.0.1:3002"]
    assert config.target_count == 2


@pytest.mark.parametrize(
    ("written", "name", "address"),
    [
        ('"10.0.0.11:3000"', "10.0.0.11:3000", Address("10.0.0.11", 3000)),
        ('"10.0.0.11"', "10.0.0.11:3333", Address("10.0.0.11", 3333)),
        ('"web01=10.0.0.11:3000"', "web01", Address("10.0.0.11", 3000)),
        ('"web01=10.0.0.11"', "web01", Address("10.0.0.11", 3333)),
        ('"[::1]:3000"', "[::1]:3000", Address("::1", 3000)),
        ('"::1"', "[::1]:3333", Address("::1", 3333)),
        ('"unix:/run/app.sock"', "unix:/run/app.sock", Address("", 0, "/run/app.sock")),
        ('"app=unix:/run/a=b.sock"', "app", Address("", 0, "/run/a=b.sock")),
        ('{ address = "10.0.0.11" }', "10.0.0.11:3333", Address("10.0.0.11", 3333)),
        ('{ address = "10.0.0.11:3000" }', "10.0.0.11:3000", Address("10.0.0.11", 3000)),
        ('{ name = "w", address = "10.0.0.11", port = 3001 }', "w", Address("10.0.0.11", 3001)),
        ('{ name = "w", address = "unix:/run/app.sock" }', "w", Address("", 0, "/run/app.sock")),
        ('"App.example.com"', "app.example.com:3333", DnsName("app.example.com", 3333)),
        ('"app=app.example.com:3000"', "app", DnsName("app.example.com", 3000)),
        ('"app"', "app:3333", DnsName("app", 3333)),
        ('{ name = "w", address = "app.example.com", port = 3001 }', "w", DnsName("app.example.com", 3001)),
        ('{ address = "_app._tcp.test.", srv = true }', "_app._tcp.test.", DnsName("_app._tcp.test.", 0)),
    ],
)
def test_a_target_may_be_written_in_any_of_these_forms(written, name, address):
    (target,) = with_targets(f"[{written}]", "port = 3333")
    assert (target.name, target.address, target.weight) == (name, address, 1)


def test_one_target_in_two_spellings_is_equal():
    spelled = ['"10.0.0.11"', '"10.0.0.11:3000"', '{ address = "10.0.0.11", port = 3000 }']
    first, *others = [with_targets(f"[{one}]", "port = 3000") for one in spelled]
    assert all(other == first for other in others)


def test_weights_are_0_to_1000():
    targets = with_targets('[{ address = "10.0.0.1:1", weight = 0 }, { address = "10.0.0.2:1", weight = 1000 }]')
    assert [target.weight for target in targets] == [0, 1000]


def test_targets_may_be_tables_of_their_own():
    text = MINIMAL.partition("targets")[0] + '[[target_group.targets]]\nname = "a"\naddress = "10.0.0.1:80"\n'
    assert parse(text, "test.toml").groups[0].targets[0].name == "a"


def test_what_cannot_be_read_of_a_target_is_left_for_its_own_key_to_refuse():
    assert read_target("no where", 80) == {"address": "no where"}
    assert read_target(5, 80) == 5
    assert read_target({"address": 5}, 80) == {"address": 5}
    assert read_target({"address": "10.0.0.1", "port": "x"}, 80) == {"address": "10.0.0.1", "port": "x"}


def test_a_bind_may_be_one_or_many_and_the_first_is_the_name():
    text = MINIMAL.replace('"0.0.0.0:8080"', '["127.0.0.1:0", "[::1]:8080", "unix:/run/a.sock"]')
    (listener,) = parse(text, "test.toml").listeners
    assert listener.binds == (Address("127.0.0.1", 0), Address("::1", 8080), Address("", 0, "/run/a.sock"))
    assert listener.name == "127.0.0.1:0"


@pytest.mark.parametrize("interval", [0.1, 1, 2, 60])
def test_a_probe_never_takes_longer_than_its_interval(interval):
    check = HealthCheck(interval=interval)
    assert (check.fast_interval, check.timeout) == (min(0.5, interval), min(2, interval))


def test_times_may_have_units():
    group = TargetGroup(name="web", deregistration_delay="30m", connect_timeout="500ms", max_ejected="25%")
    assert (group.deregistration_delay, group.connect_timeout, group.max_ejected) == (1800, 0.5, 25)


@pytest.mark.parametrize("off", ["false", '"off"'])
def test_the_status_page_can_be_turned_off(off):
    assert parse(f"[admin]\nweb = {off}\n" + MINIMAL, "test.toml").admin.web is None


def test_a_config_cannot_be_changed():
    target = Target(address=Address("10.0.0.1", 80))
    with pytest.raises(ValidationError):
        target.weight = 5


def test_a_dumped_config_is_plain_data_that_reads_as_the_same_config():
    text = MINIMAL + '[target_group.health_check]\nprotocol = "http"\nmatcher = "200,301-302"\n'
    config = parse(text, "test.toml")
    dumped = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert dumped["listener"][0]["bind"] == ["0.0.0.0:8080"]
    target = {"name": "web01", "address": "127.0.0.1:3001", "weight": 1, "srv": False, "family": "any", "backup": False}
    assert dumped["target_group"][0]["targets"][0] == target
    assert Config.model_validate(dumped) == config


def test_names_of_targets_survive_a_dump_too():
    names = '["app=app.test:80", { address = "_app._tcp.test", srv = true, family = "ipv6" }]'
    text = f'[[listener]]\nbind = "0.0.0.0:80"\n[[target_group]]\nname = "web"\ntargets = {names}\n'
    config = parse(text, "test.toml")
    dumped = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert [target["address"] for target in dumped["target_group"][0]["targets"]] == ["app.test:80", "_app._tcp.test"]
    assert Config.model_validate(dumped) == config


def test_only_a_target_with_an_address_has_a_server_to_connect_to():
    (address, name) = with_targets('["10.0.0.1:80", "app.test:80"]')
    assert address.server == Address("10.0.0.1", 80)
    with pytest.raises(AssertionError):
        _ = name.server


@pytest.mark.parametrize(
    ("written", "least", "most"), [("", 5, 60), ("min_ttl = 120", 120, 120), ("max_ttl = 9", 5, 9)]
)
def test_an_answer_of_dns_holds_at_least_and_at_most_so_long(written, least, most):
    dns = parse(f"[dns]\n{written}\n{MINIMAL}", "test.toml").dns
    assert (dns.min_ttl, dns.max_ttl, dns.timeout, dns.nameservers) == (least, most, 5, ())


def test_nameservers_have_port_53_unless_it_is_written():
    written = 'nameservers = ["10.0.0.2", "[fd00::2]:5353", "fd00::3"]'
    dns = parse(f"[dns]\n{written}\n{MINIMAL}", "test.toml").dns
    assert [str(server) for server in dns.nameservers] == ["10.0.0.2:53", "[fd00::2]:5353", "[fd00::3]:53"]


@pytest.mark.parametrize(
    ("written", "places"),
    [
        ("", ("text", "stderr", "stderr")),
        ('format = "json"', ("json", "stderr", "stderr")),
        ('file = "/var/log/nlb/nlb.log"', ("text", "/var/log/nlb/nlb.log", "/var/log/nlb/nlb.log")),
        ('file = "journal"\naccess_file = "stdout"', ("text", "journal", "stdout")),
        ('access_file = "/var/log/nlb/access.log"', ("text", "stderr", "/var/log/nlb/access.log")),
    ],
)
def test_access_lines_go_where_events_go_unless_told(written, places):
    log = parse(f"[log]\n{written}\n" + MINIMAL, "test.toml").log
    assert (log.format, log.file, log.access_file) == places


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('format = "xml"', "test.toml:2:10: log.format: 'xml' is not known; write text or json"),
        (
            'file = "nlb.log"',
            "test.toml:2:8: log.file: 'nlb.log' must be stderr, stdout, journal or an absolute path, "
            "such as /var/log/nlb/nlb.log",
        ),
        (
            'access_file = "jornal"',
            "test.toml:2:15: log.access_file: 'jornal' must be stderr, stdout, journal or an absolute path, "
            "such as /var/log/nlb/nlb.log (did you mean journal?)",
        ),
        ("file = 5", "test.toml:2:8: log.file: must be text in quotes; this is a number"),
        ("fille = 'x'", "test.toml:2:1: log.fille: unknown key (did you mean file?)"),
    ],
)
def test_mistakes_about_the_log(written, told):
    with pytest.raises(ConfigError) as caught:
        parse(f"[log]\n{written}\n" + MINIMAL, "test.toml")
    assert str(caught.value) == told


def test_the_log_is_one_table():
    with pytest.raises(ConfigError, match=r"log: must be one table; write \[log\] with single brackets"):
        parse('log = "json"\n' + MINIMAL, "test.toml")


def test_how_targets_are_chosen_and_what_they_take():
    group, target = TargetGroup(name="web"), Target(address=Address("10.0.0.1", 80))
    assert (group.policy, group.max_load, group.slow_start) == ("round_robin", None, 0)
    assert (group.queue, group.queue_timeout, target.backup, target.max_connections) == (100, 5, False, None)
    more = 'policy = "source_ip"\nmax_load = 1.25\nqueue = 0\nqueue_timeout = "500ms"\nslow_start = "30s"'
    text = MINIMAL.replace('name = "web"', f'name = "web"\n{more}')
    text = text.replace('"127.0.0.1:3002"', '{ address = "127.0.0.1:3002", backup = true, max_connections = 100 }')
    (group,) = parse(text, "test.toml").groups
    assert (group.policy, group.max_load, group.slow_start) == ("source_ip", 1.25, 30)
    assert (group.queue, group.queue_timeout) == (0, 0.5)
    assert (group.targets[1].backup, group.targets[1].max_connections) == (True, 100)


@pytest.mark.parametrize("policy", [*POLICIES, "python:mymodule:MyPolicy", "python:a.b_c.d:_P2"])
def test_a_policy_is_a_word_or_a_class(policy):
    assert TargetGroup(name="web", policy=policy).policy == policy


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("leastconn", "is not known; write round_robin, least_connections, "),
        ("random_tow", "(did you mean random_two?)"),
        ("python:mymodule", "names no class; write python:mymodule:MyPolicy"),
        ("python:my-module:MyPolicy", "names no class"),
        ("python:mymodule:", "names no class"),
        ("python:.mymodule:MyPolicy", "names no class"),
        ("python:" + "a" * 300 + ":P", "names no class"),
        (5, "must be text in quotes: round_robin, "),
    ],
)
def test_what_is_no_policy(policy, says):
    with pytest.raises(ValidationError, match=re.escape(says)):
        TargetGroup(name="web", policy=policy)


@pytest.mark.parametrize("max_load", [1, 1.0, 0, -2, 101, float("nan"), float("inf"), "1.25", True])
def test_a_bound_of_load_is_above_the_fair_share(max_load):
    with pytest.raises(ValidationError):
        TargetGroup(name="web", max_load=max_load)
