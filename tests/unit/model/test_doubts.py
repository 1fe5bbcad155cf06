"""What is legal but probably not meant is told, and nothing else is."""

from __future__ import annotations

import pytest

from nlb.model.doubts import warnings
from nlb.model.parse import parse

FINE = """
[admin]
web = "127.0.0.1:9191"
[[listener]]
bind = "0.0.0.0:80"
[[target_group]]
name = "web"
policy = "round_robin"
targets = ["10.0.0.1:80"]
[target_group.health_check]
protocol = "http"
path = "/healthz"
"""

CASES = {
    "no targets": ('targets = ["10.0.0.1:80"]', "targets = []", "target_group.web: has no targets"),
    "no weight": (
        '"10.0.0.1:80"]',
        '{ address = "10.0.0.1:80", weight = 0 }]',
        "target_group.web: all weights are 0",
    ),
    "an unused group": ('[[target_group]]\nname = "web"', None, "target_group.spare: no listener forwards to it"),
    "a path for tcp": (
        'protocol = "http"',
        'protocol = "tcp"',
        "target_group.web.health_check.path: is not used, because protocol is tcp",
    ),
    "a path for none": (
        'protocol = "http"',
        'protocol = "none"',
        "target_group.web.health_check.path: is not used, because protocol is none",
    ),
    "a key for round robin": (
        'policy = "round_robin"',
        'hash_key = "source_ip"',
        "target_group.web.hash_key: is not used, because the policy is round_robin: it asks for no key",
    ),
    "a key for source_ip": (
        'policy = "round_robin"',
        'policy = "source_ip"\nhash_key = "flow"',
        "target_group.web.hash_key: is not used, because the policy is source_ip: its key is the client's address",
    ),
    "a bounded load without a hash": (
        'policy = "round_robin"',
        'policy = "random_two"\nmax_load = 1.25',
        "target_group.web.max_load: is not used, because the policy is random_two; it is for maglev and source_ip",
    ),
    "a slow start with a hash": (
        'policy = "round_robin"',
        'policy = "maglev"\nslow_start = "30s"',
        "target_group.web.slow_start: is not used, because the policy is maglev: each step would move clients",
    ),
    "a slow start with an own policy": (
        'policy = "round_robin"',
        'policy = "python:mymodule:MyPolicy"\nslow_start = "30s"',
        "target_group.web.slow_start: is not used, because the policy is python:mymodule:MyPolicy: it decides",
    ),
    "a queue that nobody waits in": (
        'policy = "round_robin"',
        'policy = "round_robin"\nqueue = 5',
        "target_group.web.queue: is not used, because no target has max_connections",
    ),
    "nothing but backups": (
        '"10.0.0.1:80"]',
        '{ address = "10.0.0.1:80", backup = true }]',
        "target_group.web: every target is a backup, so all of them work",
    ),
    "a port of a unix socket": (
        '"10.0.0.1:80"]\n[target_group.health_check]',
        '"unix:/run/a"]\n[target_group.health_check]\nport = 80',
        "target_group.web.health_check.port: is not used for unix sockets",
    ),
    "localhost": ('"10.0.0.1:80"', '"localhost:80"', "target_group.web: localhost:80 may be two targets"),
    "settings for names that are not there": (
        "[admin]",
        "[dns]\nmin_ttl = 1\n[admin]",
        "dns: is not used, because no target is given by a name",
    ),
    "a status page for all": ('web = "127.0.0.1:9191"', 'web = "0.0.0.0:9191"', "admin.web: 0.0.0.0:9191 shows"),
}


@pytest.mark.parametrize(("old", "new", "doubt"), CASES.values(), ids=CASES.keys())
def test_a_doubt_is_told(old, new, doubt):
    if new is None:
        text = FINE.replace('bind = "0.0.0.0:80"', 'bind = "0.0.0.0:80"\ntarget_group = "web"')
        text += '[[target_group]]\nname = "spare"\ntargets = ["10.0.0.2:80"]\n'
    else:
        text = FINE.replace(old, new)
    (told,) = warnings(parse(text, "test.toml"))
    assert told.startswith(doubt)


def test_clients_without_an_address_all_get_one_target():
    text = FINE.replace('bind = "0.0.0.0:80"', 'bind = ["0.0.0.0:80", "unix:/run/front"]')
    for policy, key in (('"maglev"\nhash_key = "source_ip"', "hash_key"), ('"source_ip"', "policy")):
        (told,) = warnings(parse(text.replace('"round_robin"', policy), "test.toml"))
        assert told.startswith(f"target_group.web.{key}: clients of a unix socket have no address")


@pytest.mark.parametrize("web", ['"[::1]:9191"', '"127.8.0.1:9191"', "false"])
def test_there_is_no_doubt_about_a_common_file(web):
    assert warnings(parse(FINE.replace('"127.0.0.1:9191"', web), "test.toml")) == []
