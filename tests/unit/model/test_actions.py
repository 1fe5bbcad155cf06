"""What a rule may do. What is refused, and in which words, is in the vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nlb.model.actions import LARGEST_BODY, FixedResponse, Redirect


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"protocol": "https"}, "302 to https://#{host}/#{path}"),
        ({"protocol": "https", "port": 443, "status": 301}, "301 to https://#{host}:443/#{path}"),
        ({"host": "WWW.#{host}"}, "302 to #{protocol}://www.#{host}/#{path}"),
        ({"port": "8080"}, "302 to #{protocol}://#{host}:8080/#{path}"),
        ({"path": "/new/#{path}"}, "302 to #{protocol}://#{host}/new/#{path}"),
        ({"path": "/#{host}/#{port}/#{protocol}"}, "302 to #{protocol}://#{host}/#{host}/#{port}/#{protocol}"),
        ({"query": ""}, "302 to #{protocol}://#{host}/#{path}, without a query"),
        ({"query": "#{query}&from=#{host}"}, "302 to #{protocol}://#{host}/#{path}?#{query}&from=#{host}"),
        ({"host": "[::1]", "path": "/"}, "302 to #{protocol}://[::1]/"),
        ({"path": "/a%20b"}, "302 to #{protocol}://#{host}/a%20b"),
    ],
)
def test_redirects(given, told):
    assert str(Redirect.model_validate(given)) == told


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"status": 301},
        {"path": "/#{path}", "query": "#{query}", "host": "#{host}", "port": "#{port}", "protocol": "#{protocol}"},
    ],
)
def test_a_redirect_to_the_same_is_refused(given):
    with pytest.raises(ValidationError, match="leads back to where it comes from"):
        Redirect.model_validate(given)


@pytest.mark.parametrize(
    "given",
    [
        {"path": "new"},
        {"path": "//evil.test"},
        {"path": "/a?b=c"},
        {"path": "/a b"},
        {"path": "/a\r\nSet-Cookie: x"},
        {"path": "/ä"},
        {"path": "/#top"},
        {"path": "/#{Path}"},
        {"path": "/#{path"},
        {"path": "/" + "a" * 1024},
        {"query": "?a"},
        {"query": "a\nb"},
        {"host": "a b"},
        {"host": "*.test"},
        {"host": "a.test:80"},
        {"host": "#{host}:80"},
        {"host": "http://a.test"},
        {"host": ""},
        {"port": 0},
        {"port": 65536},
        {"port": "https"},
        {"port": True},
        {"port": "#{path}"},
        {"protocol": "ftp"},
        {"status": 300},
        {"status": "301"},
        {"status": True},
    ],
    ids=str,
)
def test_no_redirects(given):
    with pytest.raises(ValidationError):
        Redirect.model_validate({"protocol": "https", **given})


@given(st.sampled_from(["path", "query", "host"]), st.text())
def test_no_control_character_comes_into_a_location(key, text):
    try:
        redirect = Redirect.model_validate({key: f"/{text}" if key == "path" else text, "protocol": "https"})
    except ValidationError:
        return
    assert str(redirect).isascii()
    assert str(redirect).isprintable()


@pytest.mark.parametrize("status", [200, 204, 299, 400, 404, 503, 599])
def test_statuses_of_an_answer(status):
    response = FixedResponse(status=status)
    assert (response.content_type, response.body) == ("text/plain; charset=utf-8", "")


@pytest.mark.parametrize("status", [0, 100, 101, 199, 300, 302, 399, 600, -1, 10**30, "503", 503.0, True, None])
def test_no_statuses_of_an_answer(status):
    with pytest.raises(ValidationError):
        FixedResponse.model_validate({"status": status})


@pytest.mark.parametrize("kind", ["text/html", "application/json; charset=utf-8", 'a/b; c="d e"', "image/svg+xml"])
def test_content_types(kind):
    assert FixedResponse(status=200, content_type=kind).content_type == kind


@pytest.mark.parametrize("kind", ["", "html", "text/", "text/html;", "text/html\r\nX: y", "text/html, a/b", "a/b; c"])
def test_no_content_types(kind):
    with pytest.raises(ValidationError, match="is not a content type"):
        FixedResponse(status=200, content_type=kind)


def test_a_body_is_measured_in_bytes():
    assert FixedResponse(status=200, body="a" * LARGEST_BODY)
    with pytest.raises(ValidationError, match="16386 bytes, and there is room for 16384"):
        FixedResponse(status=200, body="ä" * (LARGEST_BODY // 2 + 1))
