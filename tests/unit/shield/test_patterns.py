"""Patterns with `*` and `?`, against whole values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.shield.patterns import Patterns


@pytest.mark.parametrize(
    ("pattern", "value", "fit"),
    [
        pytest.param("", "", True, id="nothing"),
        pytest.param("", "a", False, id="nothing is not something"),
        pytest.param("abc", "abc", True, id="literal"),
        pytest.param("abc", "abcd", False, id="the whole value"),
        pytest.param("*", "", True, id="a star is nothing too"),
        pytest.param("*", "a\nb", True, id="a star is anything"),
        pytest.param("ab*", "ab", True, id="prefix"),
        pytest.param("ab*", "aab", False, id="prefix at the beginning"),
        pytest.param("*bc", "abcbc", True, id="suffix"),
        pytest.param("*bc", "abcb", False, id="suffix at the end"),
        pytest.param("a**c", "abc", True, id="two stars are one"),
        pytest.param("a?c", "abc", True, id="any one"),
        pytest.param("a?c", "ac", False, id="any one is not none"),
        pytest.param("?", "", False, id="one"),
        pytest.param("*?", "", False, id="at least one"),
        pytest.param("*?", "a", True, id="one or more"),
        pytest.param("a*b*c", "a-b-b-c-c", True, id="between stars"),
        pytest.param("a*bc*bc", "a-bc", False, id="nothing counts twice"),
        pytest.param("*a?b*", "aab", True, id="the first fit need not be the first letter"),
        pytest.param(r"a\*c", "a*c", True, id="escaped star"),
        pytest.param(r"a\*c", "abc", False, id="an escaped star is no star"),
        pytest.param(r"a\?*", "a?bc", True, id="escaped, then a star"),
        pytest.param(r"a\b", r"a\b", True, id="any other backslash is itself"),
        pytest.param("a.c", "abc", False, id="no regular expression"),
        pytest.param("a[b]c*d", "a[b]cd", True, id="no regular expression either"),
    ],
)
def test_a_pattern(pattern: str, value: str, fit: bool) -> None:
    assert Patterns([pattern]).match(value.encode()) == fit
    assert Patterns(["nobody", pattern]).any([value.encode()]) == fit


def naive(pattern: str, value: str) -> bool:
    """By trying everything."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(naive(pattern[1:], value[cut:]) for cut in range(len(value) + 1))
    if pattern[0] == "\\" and pattern[1:2] in ("*", "?") and pattern[1:]:
        return value[:1] == pattern[1] and naive(pattern[2:], value[1:])
    return bool(value) and pattern[0] in ("?", value[0]) and naive(pattern[1:], value[1:])


@given(st.lists(st.text("ab*?\\", max_size=7), min_size=1, max_size=3), st.text("ab*?\\", max_size=7))
def test_patterns_are_what_trying_everything_finds(patterns: list[str], value: str) -> None:
    assert Patterns(patterns).match(value.encode()) == any(naive(pattern, value) for pattern in patterns)


def test_no_value_keeps_a_pattern_busy() -> None:
    """By backtracking this would take longer than the universe has been there; so it ends, or it does not."""
    assert not Patterns(["*a*a*a*a*a*a*a*a*b"]).match(b"a" * 16384)


def test_which_of_them_fit() -> None:
    assert Patterns(["a*", "*B", "ab", "c"]).fitting([b"ab", b"x"]) == ["a*", "*B", "ab"]
