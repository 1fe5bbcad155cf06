"""Which regular expressions are refused because a text could keep them busy for hours."""

from __future__ import annotations

import re

import pytest

from nlb.model.regex import too_slow


@pytest.mark.parametrize(
    "text",
    [
        "^/v[0-9]+/users/[^/]+$",
        "(a+)",
        "(a+)?",
        "(a|b+)c*",
        "(a*)(b*)",
        "(?:/[a-z]{1,8})*",
        "(a+){2}",
        "(a+){0,3}",
        "([+*]x)+",
        r"(\+\*)+",
        r"([\]+*])*",
        "([]+])*",
        "(?>a+)*",
        "(?:a++)*",
        "(?:a*+)+",
        "(a+)*+",
        "(?#(a+)b+",
        "(?i)a+",
        "(?=a+)b+",
        "(?P<name>a)+",
        "a{,5}",
        "(a{2,4})+",
    ],
)
def test_these_are_fine(text):
    re.compile(text.encode())
    assert too_slow(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+",
        "(a*)*b",
        "^(/[a-z]*)+$",
        "((a+)b?)*",
        "((a+))*",
        "(?:a+|b)*",
        "(?P<name>a+)+",
        "(?i:a+)+",
        "(a{2,})+",
        "(a{1,100})*",
        "(a+){3,}",
        "(a+?)+?",
        "(?:(?>a+)b*)*",
        "x(y(z+)?)*",
    ],
)
def test_what_repeats_within_a_repetition_is_refused(text):
    re.compile(text.encode())
    assert too_slow(text).startswith("repeats what repeats")


@pytest.mark.parametrize("text", [r"(a)\1", r"(a|b)+\1", r"(?P<x>a)(?P=x)"])
def test_what_refers_back_is_refused(text):
    re.compile(text.encode())
    assert too_slow(text).startswith("refers back")


@pytest.mark.parametrize("text", [r"\\1", r"[\1]", r"\d+\.html", "((((", "))))", "*+?", "[", "(?P<"])
def test_what_only_looks_so_or_does_not_compile_is_no_trouble(text):
    assert too_slow(text) == ""
