"""The shield in the config: defaults, every form, and how a listener's own keys stand over those for all."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nlb.model.network_list import NetworkFile
from nlb.model.rate import Rate
from nlb.model.shield import OFFENCES, Block, RequestRate, Shield, ShieldHttp
from nlb.shield import offences
from tests.networks import content, listing

WHOLE = {
    "mode": "monitor",
    "deny": ["203.0.113.0/24", {"file": "/etc/nlb/deny.txt"}],
    "allow": ["192.0.2.7", {"file": "/etc/nlb/allow.txt"}],
    "max_connections": 8000,
    "max_connections_per_source": 200,
    "connection_rate_per_source": "50/s burst 100",
    "request_rate": [
        {"path": ["/login"], "per": "source", "rate": "5/m burst 5", "status": 429},
        {"path": "/a*", "method": "POST", "host": "*.test", "rate": "100/s", "status": 503},
    ],
    "block": {"after": 20, "of": ["severe", "bad_head", "rate", "tls_alert"], "within": "1m", "for": "10m"},
    "http": {
        "methods": ["GET", "HEAD"],
        "max_body": "64MiB",
        "deny_path": ["*/.git/*", "*/.env"],
        "normalise_path": True,
    },
}


def complaints(**keys):
    with pytest.raises(ValidationError) as caught:
        Shield.model_validate(keys)
    return [
        f"{'.'.join(map(str, error['loc']))}: {error.get('ctx', {}).get('error', error['msg'])}"
        for error in caught.value.errors()
    ]


def test_nothing_is_refused_unasked():
    shield = Shield()
    assert (shield.mode, shield.denied, shield.allowed, shield.files) == ("enforce", listing(), None, ())
    assert (shield.max_connections, shield.max_connections_per_source) == (None, None)
    assert (shield.connection_rate_per_source, shield.request_rate, shield.block) == (None, (), None)
    http = shield.http
    assert (http.methods, http.max_body, http.deny_path, http.normalise_path) == ((), None, (), False)


def test_every_key_is_read():
    shield = Shield.model_validate(WHOLE)
    assert shield.deny == ("203.0.113.0/24", NetworkFile("/etc/nlb/deny.txt"))
    assert (shield.max_connections, shield.max_connections_per_source) == (8000, 200)
    assert shield.connection_rate_per_source == Rate(50, 1, 100)
    assert [str(item) for item in shield.request_rate] == [
        "5/m burst 5 of path /login: 429",
        "100/s burst 100 of path /a*, method POST, host *.test: 503",
    ]
    assert str(shield.block) == "after 20 of severe, bad_head, rate, tls_alert within 1m for 10m"
    assert (shield.http.methods, shield.http.max_body) == (("GET", "HEAD"), 64 << 20)


def test_a_block_and_a_rate_are_made_whole_by_defaults():
    block = Block()
    assert (block.after, block.within, block.time) == (20, 60, 600)
    assert block.of == ("bad_head", "severe", "rate", "path", "tls_alert")
    assert str(Block(after=0)) == "never"
    rate = RequestRate(rate="1/s")
    assert (rate.path, rate.method, rate.host, rate.per, rate.status) == ((), (), (), "source", 429)
    assert str(rate) == "1/s burst 1 of all requests: 429"


def test_a_path_that_is_denied_is_denied_however_it_is_written():
    assert ShieldHttp(deny_path="*/.git/*").normalise_path
    assert not ShieldHttp(deny_path="*/.git/*", normalise_path=False).normalise_path
    assert ShieldHttp(normalise_path=True).normalise_path


def test_the_words_for_offences_are_those_that_are_counted():
    assert tuple(offences.OFFENCES) == OFFENCES


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"mode": "watch"}, "mode: Input should be 'enforce' or 'monitor'"),
        ({"deny": ["10.0.0.1/8"]}, "deny.0: '10.0.0.1/8' has bits behind its length"),
        ({"deny": [{"file": "x"}]}, "deny.0: 'x' must be the absolute path of a file"),
        ({"max_connections": 0}, "max_connections: 0 is outside 1-10000000"),
        ({"connection_rate_per_source": 50}, "connection_rate_per_source: a number is not a rate"),
        ({"request_rate": [{}]}, "request_rate.0.rate: Field required"),
        ({"request_rate": [{"rate": "1/s", "per": "user"}]}, "request_rate.0.per: Input should be 'source'"),
        (
            {"request_rate": [{"rate": "1/s", "status": 200}]},
            "request_rate.0.status: must be one of the statuses 403, 429, 503; this is 200",
        ),
        (
            {"request_rate": [{"rate": "1/s", "status": "429"}]},
            "request_rate.0.status: must be one of the statuses 403, 429, 503; this is text",
        ),
        ({"request_rate": [{"rate": "1/s", "path": "login"}]}, "request_rate.0.path.0: 'login' begins neither with /"),
        ({"block": {"of": ["severre"]}}, "block.of.0: 'severre' is not counted; write one of bad_head, severe,"),
        ({"block": {"of": ["rate", "rate"]}}, "block.of: rate is given twice"),
        ({"block": {"within": 0}}, "block.within: 0 is outside 1s to 1d"),
        ({"block": {"for": "31d"}}, "block.for: 31d is outside 1s to 30d"),
        ({"block": {"time": 5}}, "block.time: Extra inputs are not permitted"),
        ({"http": {"methods": "get"}}, "http.methods.0: 'get' is another method than GET"),
        ({"http": {"max_body": "64MB"}}, "http.max_body: 'MB' is not a unit of size"),
        ({"http": {"deny_path": [".git"]}}, "http.deny_path.0: '.git' begins neither with / nor with *"),
        ({"http": {"normalise_path": "yes"}}, "http.normalise_path: must be true or false without quotes"),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(keys, told):
    (said,) = complaints(**keys)
    assert said.startswith(told)


def test_a_file_that_was_read_has_its_networks():
    shield = Shield.model_validate(WHOLE)
    assert shield.files == ("/etc/nlb/deny.txt", "/etc/nlb/allow.txt")
    assert (shield.denied.written, shield.denied.size) == (("203.0.113.0/24",), 1)
    read, empty = content("10.0.0.0/8"), content()
    full = shield.with_lists({"/etc/nlb/deny.txt": read, "/etc/nlb/allow.txt": empty, "/other": empty})
    assert full.denied == listing("203.0.113.0/24", files=(read,))
    assert full.allowed == listing("192.0.2.7/32", files=(empty,))
    assert (full.denied.size, full.allowed.size) == (2, 1)
    assert set(full.lists) == {"/etc/nlb/deny.txt", "/etc/nlb/allow.txt"}
    assert full != shield
    assert pickle.loads(pickle.dumps(full)) == full
    assert "lists" not in full.model_dump(by_alias=True)


def test_an_empty_file_of_those_who_are_allowed_allows_nobody():
    shield = Shield.model_validate({"allow": {"file": "/a"}})
    assert shield.allowed == shield.with_lists({"/a": content()}).allowed == listing(files=(content(),))


def over(own, base):
    return Shield.model_validate(own).over(Shield.model_validate(base))


@pytest.mark.parametrize("key", WHOLE)
def test_what_a_listener_does_not_say_is_said_for_all(key):
    held = over({}, {key: WHOLE[key]})
    assert getattr(held, key) == getattr(Shield.model_validate(WHOLE), key)
    assert held.model_fields_set == set()


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"mode": "enforce"}, {"mode": "enforce"}),
        ({"deny": []}, {"deny": ()}),
        ({"deny": ["10.0.0.0/8"]}, {"deny": ("10.0.0.0/8",)}),
        ({"max_connections": 5}, {"max_connections": 5}),
        ({"request_rate": []}, {"request_rate": ()}),
        ({"block": {"after": 0}}, {"block": Block(after=0)}),
    ],
)
def test_what_it_says_is_its_own(own, expected):
    base = Shield.model_validate(WHOLE)
    held = over(own, WHOLE)
    for key in WHOLE:
        assert getattr(held, key) == expected.get(key, getattr(base, key))
    assert held.model_fields_set == own.keys()


def test_what_is_said_of_requests_is_overridden_key_by_key_too():
    held = over({"http": {"methods": ["POST"], "normalise_path": False}}, WHOLE).http
    assert (held.methods, held.max_body, held.normalise_path) == (("POST",), 64 << 20, False)
    assert held.deny_path == ("*/.git/*", "*/.env")
    assert held.model_fields_set == {"methods", "normalise_path"}


def test_a_default_that_depends_on_another_key_looks_at_what_holds():
    base = {"http": {"deny_path": ["/a"]}}
    assert over({"http": {"max_body": 1}}, base).http.normalise_path
    assert not over({"http": {"deny_path": []}}, base).http.normalise_path
    assert over(base, {"http": {"max_body": 1}}).http.normalise_path


SOME = st.sets(st.sampled_from(sorted(WHOLE))).map(lambda keys: {key: WHOLE[key] for key in keys})


@given(SOME, SOME, st.booleans())
def test_a_dump_reads_the_same(own, base, unset):
    held = over(own, base)
    dumped = held.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=unset)
    read = Shield.model_validate(dumped)
    assert (read.over(Shield.model_validate(base)) if unset else read) == held


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "refuses nothing"),
        ({"mode": "monitor", "deny": ["10.0.0.0/8", "192.0.2.1"]}, "would refuse: denies 2 networks"),
        ({"allow": {"file": "/absent"}}, "allows 0 networks and nobody else"),
        ({"max_connections": 9, "max_connections_per_source": 5}, "9 connections of a listener, 5 of a source"),
        ({"connection_rate_per_source": "5/s"}, "5/s burst 5 new ones of a source"),
        ({"request_rate": [{"rate": "5/m"}]}, "requests 5/m burst 5 of all requests: 429"),
        ({"block": {"after": 0}}, "refuses nothing"),
        ({"block": {"of": "rate"}}, "blocks after 20 of rate within 1m for 10m"),
        (
            {"http": {"methods": ["GET", "HEAD"], "max_body": "1KiB", "deny_path": ["/a", "/b"]}},
            "methods GET, HEAD, bodies up to 1024 bytes, denies 2 paths",
        ),
        ({"http": {"normalise_path": True}}, "paths as targets read them"),
    ],
)
def test_a_shield_in_words(keys, told):
    assert str(Shield.model_validate(keys)) == told
