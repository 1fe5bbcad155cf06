"""A worker for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.rig import Rig


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Rig]:
    """Control's side; the test starts the worker."""
    with Rig(tmp_path) as rig:
        yield rig
        rig.check()


@pytest.fixture
def rig(bare: Rig) -> Rig:
    """A worker that was told hello and nothing else."""
    return bare.start()
