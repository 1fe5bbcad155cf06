"""Processes that must end but are no children of ours, so that nobody tells us: a descriptor of each does."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from time import monotonic


def all_end(pids: Iterable[int], within: float) -> bool:
    """Whether they do, in so many seconds. One that only waits for its parent to take note has ended."""
    end = monotonic() + within
    return all(_ends(pid, end) for pid in pids)


def _ends(pid: int, end: float) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], max(0.0, end - monotonic()))[0])
    finally:
        os.close(pidfd)
