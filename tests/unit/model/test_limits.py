"""How many sessions the descriptors of a worker allow."""

from __future__ import annotations

import pytest

from nlb.model.limits import max_connections


@pytest.mark.parametrize(
    ("descriptors", "sessions"), [(500, 1), (0, 1), (503, 1), (504, 1), (508, 2), (1024, 131), (1_048_576, 262_019)]
)
def test_four_descriptors_a_session_beside_the_reserved_ones(descriptors, sessions):
    assert max_connections(descriptors) == sessions
