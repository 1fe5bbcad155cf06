"""Guesses at which word was meant."""

from __future__ import annotations

import pytest

from nlb.model.nearest import did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "meant"),
    [("web", "web"), ("wbe", "web"), ("WEB", "web"), ("apis", "api"), ("database", ""), ("", ""), ("w" * 9999, "")],
)
def test_the_nearest_word_is_told_if_it_is_near(word, meant):
    assert nearest(word, ["web", "api"]) == meant


def test_a_guess_is_put_behind_a_sentence():
    assert did_you_mean("wbe", ["web", "api"]) == " (did you mean web?)"
    assert did_you_mean("zzz", ["web", "api"]) == ""
