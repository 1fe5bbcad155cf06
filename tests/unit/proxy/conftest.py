"""Who makes plays, and sees to it that nothing is left of them that should be gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nlb.proxy.pipe import KernelPipes
from tests.unit.proxy.http_stage import HttpPlay
from tests.unit.proxy.stage import Dial, Play


@pytest.fixture
def play() -> Iterator[Callable[..., Play]]:
    plays = []

    def make(*dials: Dial, **options: Any) -> Play:
        plays.append(Play(*dials, **options))
        return plays[-1]

    yield make
    for made in plays:
        for session in list(made.sessions):
            session.close("shutdown")
        made.loop.settle()
        assert made.active == {}
        assert set(made.loop.watches) <= {made.door.number}


@pytest.fixture
def http() -> Iterator[Callable[..., HttpPlay]]:
    plays = []

    def make(*dials: Dial, **options: Any) -> HttpPlay:
        plays.append(HttpPlay(*dials, **options))
        return plays[-1]

    yield make
    for made in plays:
        made.must_be_over()


@pytest.fixture
def pipes() -> Iterator[KernelPipes]:
    """A few of the kernel's pipes. Those that are given back are empty: somebody else gets them next."""
    store = 4
    pipes = KernelPipes(most=store)
    yield pipes
    for ends in [pipes.take() for _ in range(store)]:
        assert ends is not None
        with pytest.raises(BlockingIOError):
            os.read(ends[0], 1)
        os.close(ends[0])
        os.close(ends[1])
