"""What a group asks of its policy. A policy does its work in `build`, when candidates change; `choose` only indexes.

`tried` are the targets that failed this session already: the empty tuple in the normal case.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from nlb.balance.target import Target

# Fraction of a round between the starts of worker n and worker n + 1. By the golden ratio the starts of any number
# of workers lie far apart: side by side, all would serve the same few targets at the same time.
GOLDEN = 0.6180339887498949


def _no_chance() -> float:
    raise RuntimeError("this process does not choose targets, so it was given no random numbers")


def _unheard(text: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Means:
    """What a policy gets beside its candidates. The defaults will do for a process that never chooses."""

    offset: int = 0  # the worker's number: each begins its rounds elsewhere
    random: Callable[[], float] = _no_chance  # from 0 to below 1
    max_load: float | None = None  # hashing policies: at most so many times the fair share
    failed: Callable[[str], None] = _unheard  # a policy of the operator's own failed, and how


class Policy:
    """The base of all policies; here is what most of them do not need."""

    __slots__ = ()

    # Does `choose` look at its key?
    needs_key = False
    # Does it want to be told by `left`, and to `look`?
    attentive = False
    # Can weights grow step by step? No, where every step would move clients to another target.
    eases = True

    def build(self, candidates: tuple[Target, ...], weights: Sequence[int], table: bytes | memoryview | None) -> None:
        """Choose among `candidates` from now on, by `weights` above 0 (while targets start slowly they are not the
        targets' own). `table` is what `table()` of the same group gave in another process; None or empty: work it
        out here."""
        raise NotImplementedError

    def choose(self, key: bytes, tried: Container[Target]) -> Target | None:
        """One candidate that is not in `tried`; None when there is none. The session is its target's from now on,
        until `left` or `full`."""
        raise NotImplementedError

    def table(self) -> bytes:
        """What is worth building once and handing to every worker; empty when nothing is."""
        return b""

    def left(self, target: Target) -> None:
        """A session of this worker left `target`, or the target has room again."""

    def full(self, target: Target) -> None:
        """It was chosen in vain, as it has no room. Until `left` it need not be chosen."""

    def look(self) -> None:
        """See what other workers have done to the candidates since the last look."""
