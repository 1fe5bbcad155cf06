"""Waiting for something to become true, with an end. Tests never sleep for a fixed time instead."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

# Seconds. Far beyond what anything here takes, for boxes that are busy with something else.
PATIENCE = 10.0

# Seconds between two looks: soon again at first, then with room for those who are to make it true.
_FIRST_LOOK, _LAST_LOOK = 0.001, 0.02


def until(
    condition: Callable[[], object], within: float = PATIENCE, between: Callable[[], object] | None = None
) -> None:
    """Return once `condition()` holds; fail after `within` seconds. `between` two looks something may be done, such
    as turning a loop; else it is a short sleep."""
    end, pause = monotonic() + within, _FIRST_LOOK
    while not condition():
        if monotonic() > end:
            raise AssertionError(f"did not happen within {within} s: {_said(condition)}")
        if between is None:
            sleep(pause)
            pause = min(pause * 1.5, _LAST_LOOK)
        else:
            between()


def _said(condition: Callable[[], object]) -> str:
    """The line of the condition, for the message."""
    code = getattr(condition, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(condition)
