"""Which word was meant. Nothing is corrected for anybody: the nearest word is only told."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, words: Iterable[str]) -> str:
    """The word most like this one, or "" when none is."""
    if len(word) > 128:
        return ""
    folded = {known.casefold(): known for known in words}
    found = get_close_matches(word.casefold(), folded, 1, 0.6)
    return folded[found[0]] if found else ""


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """What to put behind a sentence: `(did you mean web01?)` with a blank before it, or nothing."""
    found = nearest(word, words)
    return f" (did you mean {found}?)" if found else ""
