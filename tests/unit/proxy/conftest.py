"""Who makes plays, and sees to it that nothing is left of them that should be gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

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
