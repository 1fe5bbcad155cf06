"""What conditions take, in the one spelling that is used. What they refuse, and in which words, is in the vectors."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.model import conditions


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.Com.", "api.example.com"),
        ("*.example.com", "*.example.com"),
        ("*", "*"),
        ("api-?.example.*", "api-?.example.*"),
        ("_x.test", "_x.test"),
        ("10.0.0.1", "10.0.0.1"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
        ("localhost", "localhost"),
    ],
)
def test_hosts(written, host):
    assert conditions.host(written) == host


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "a b", "a/b", "a" * 64, "a." * 130, "[::1]:80", "[::1", "::1", "a\n"]
)
def test_no_hosts(text):
    with pytest.raises(ValueError, match=r"is not a host|has a port"):
        conditions.host(text)


@pytest.mark.parametrize("path", ["/", "*", "/v1/*", "*.php", "/a%20b", "/a?c", r"/a\*", "/~a;b=c,d!$&'()+@:"])
def test_paths(path):
    assert conditions.path(path) == path


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("v1", "write /v1"),
        ("", "write /v1/*"),
        ("http://a/b", "write /v1/*"),
        ("/ä", "as clients send it"),
        ("/a\n", "as clients send it"),
        ("/a#b", "has a #"),
        ("/" * 1025, "may have 1024 characters"),
        (5, "must be text"),
    ],
)
def test_no_paths(path, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        conditions.path(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has 1-128 characters"),
        ("a" * 129, "has 1-128 characters"),
        ("ä", "not ASCII"),
        ("a{2", ""),
        ("(?<=a+)b", "look-behind requires fixed-width"),
        ("[[a]", "is not a regular expression: Possible nested set"),
        ("a{9999999999}", "is not a regular expression"),
        ("(a*)*", "repeats what repeats"),
    ],
)
def test_regular_expressions(text, says):
    if says:
        with pytest.raises(ValueError, match=re.escape(says)):
            conditions.path_regex(text)
    else:
        assert conditions.path_regex(text) == text


@given(st.text(st.sampled_from("ab()[]{}*+?|\\^$.,:=!<>P#-19 \n"), max_size=30))
def test_any_text_is_a_regular_expression_or_refused_in_a_sentence(text):
    try:
        conditions.path_regex(text)
    except ValueError as error:
        assert " " in str(error)  # noqa: PT017
    else:
        re.compile(text.encode())


@pytest.mark.parametrize("method", ["GET", "M-SEARCH", "PROPFIND", "X!"])
def test_methods(method):
    assert conditions.method(method) == method


@pytest.mark.parametrize("method", ["", "get", "Get", "G T", "CONNECT", "TRACE", "X" * 33, 5])
def test_no_methods(method):
    with pytest.raises(ValueError, match=r"."):
        conditions.method(method)


@pytest.mark.parametrize("name", ["X-Canary", "cookie", "Content-Type", "X-Forwarded-For", "Content-Length"])
def test_headers_that_rules_may_look_at(name):
    assert conditions.header(name) == name


@pytest.mark.parametrize("name", ["Host", "HOST", "Connection", "transfer-encoding", "Upgrade", "TE", "X Y", ""])
def test_headers_that_they_may_not(name):
    with pytest.raises(ValueError, match=r"."):
        conditions.header(name)
