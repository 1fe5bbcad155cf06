"""A real loop, which is closed at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nlb.net.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()
