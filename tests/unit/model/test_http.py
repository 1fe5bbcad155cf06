"""The values that only http listeners and groups have. What is refused, and in which words, is in the vectors."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nlb.model import http
from nlb.model.config import Listener, TargetGroup


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("10.0.0.0/08", "10.0.0.0/8"),
    ],
)
def test_a_network_has_one_spelling(written, network):
    assert http.network(written) == network


@pytest.mark.parametrize(
    ("written", "better"),
    [
        ("10.0.0.1/8", "write 10.0.0.0/8, or 10.0.0.1 for one address"),
        ("2001:db8::1/32", "write 2001:db8::/32, or 2001:db8::1 for one address"),
        ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
        ("::ffff:10.0.0.1", "write 10.0.0.1/32"),
        ("10.0.0.0/33", "write 0-32"),
        ("::/129", "write 0-128"),
        ("10.0.0.0/", "write 0-32"),
        ("10.0.0.0/-1", "write 0-32"),
        ("10.0.0.0/٣", "write 0-32"),
        ("10.0/8", "write one such as 10.0.0.0/8"),
        ("", "write one such as 10.0.0.0/8"),
        ("fe80::1%eth0", "write it without %eth0"),
        ("example.com", "write one such as"),
    ],
)
def test_what_is_no_network_is_told_with_what_would_be(written, better):
    with pytest.raises(ValueError, match=better):
        http.network(written)


@given(st.ip_addresses(), st.integers(0, 128))
def test_any_network_is_taken_or_told_right(ip, length):
    text = f"{ip}/{length}"
    try:
        assert http.network(text) == str(ipaddress.ip_network(text))
    except ValueError as error:
        assert "write " in str(error)  # noqa: PT017


@pytest.mark.parametrize("value", ["", "a", "a b", "max-age=1; x", "a\tb", "~" * 4096])
def test_header_values(value):
    assert http.header_value(value) == value


@pytest.mark.parametrize("value", [" a", "a ", "\ta", "a\r\nX: b", "a\0", "ä", "a\x7f", "a" * 4097])
def test_no_header_values(value):
    with pytest.raises(ValueError, match=r"."):
        http.header_value(value)


FRAMING = ("Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade")


@pytest.mark.parametrize("name", [*FRAMING, "trailer", "Expect", "X-Forwarded-For", "Forwarded", "Via", "traceparent"])
@pytest.mark.parametrize("key", ["set", "remove"])
def test_what_nlb_writes_into_requests_is_not_for_edits(name, key):
    with pytest.raises(ValidationError, match="is not for you to change"):
        http.RequestHeaders.model_validate({key: {name: "x"} if key == "set" else [name]})


@pytest.mark.parametrize("name", [*FRAMING, "X-Nlb-Reason"])
@pytest.mark.parametrize("key", ["set", "remove"])
def test_nor_what_it_writes_into_responses(name, key):
    with pytest.raises(ValidationError, match="is not for you to change"):
        http.ResponseHeaders.model_validate({key: {name: "x"} if key == "set" else [name]})


def test_a_host_may_be_set_and_not_removed():
    assert http.RequestHeaders(set={"Host": "inner.test"}).set == {"Host": "inner.test"}
    with pytest.raises(ValidationError, match="every request needs a Host"):
        http.RequestHeaders(remove=["host"])


def test_what_is_removed_may_be_one_or_many():
    assert http.ResponseHeaders(remove="Server").remove == ("Server",)
    assert http.ResponseHeaders(remove=["Server", "X-A"]).remove == ("Server", "X-A")


def test_stickiness_lasts_a_day():
    ours = http.Stickiness(type="lb_cookie")
    theirs = http.Stickiness(type="app_cookie", name="SESSIONID", duration="1h")
    assert (ours.duration, ours.cookie, ours.name, str(ours)) == (86400, None, None, "lb_cookie for 1d")
    assert (theirs.duration, theirs.name, str(theirs)) == (3600, "SESSIONID", "app_cookie SESSIONID for 1h")


def test_the_keys_of_http_are_those_of_the_schema():
    assert {*http.LISTENER_KEYS} < {*Listener.model_fields}
    assert {*http.GROUP_KEYS} < {*TargetGroup.model_fields}
