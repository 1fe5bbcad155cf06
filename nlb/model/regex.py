"""Does a regular expression take time beyond reason for a text made to annoy it? Only what shows in its form is
found: what repeats within a repetition, as in `(a+)+`, and what refers back.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""\\(?P<back>[1-9])|\\.                       # an escape, or what an earlier group has found
    |\[\^?\]?(?:\\.|[^\]\\])*\]                     # a set of characters
    |(?P<back2>\(\?P=)[^)]*\)
    |(?P<comment>\(\?\#)[^)]*\)|(?P<flags>\(\?[aiLmsux-]+\))
    |(?P<open>\((?:\?(?:P<\w+>|<?[=!]|[:>]|[aiLmsux-]+:|\([^)]*\)))?)
    |(?P<close>\))
    |(?P<many>[*+]|\{\d*,\}|\{\d*,?\d+\})(?P<how>[?+]?)
    |.""",
    re.VERBOSE | re.DOTALL,
)

# A bound above this is as good as none.
_FEW = 8


def too_slow(text: str) -> str:
    """Why, as the rest of a sentence, or ""; of a text that compiles."""
    inner = [False]  # of each open group: does it repeat something without a bound?
    atomic: list[bool] = []
    before = False  # does what was just closed?
    for token in _TOKEN.finditer(text):
        closed, before = before, False
        if token["back"] or token["back2"]:
            return "refers back to what it has found, which can take very long; write it without"
        if token["open"]:
            inner.append(False)
            atomic.append(token["open"] == "(?>")
        elif token["close"] and atomic:
            before = inner.pop() and not atomic.pop()
            inner[-1] = inner[-1] or before
        elif token["many"] and _is_boundless(token["many"]) and token["how"] != "+":
            if closed:
                return "repeats what repeats, as (a+)+ does, which can take very long; write one repetition, as a+"
            inner[-1] = True
    return ""


def _is_boundless(many: str) -> bool:
    most = many.strip("{}").rpartition(",")[2]
    return many in ("*", "+") or not most or int(most) > _FEW
