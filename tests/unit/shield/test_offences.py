"""After how many offences, within which time, a source is to be blocked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.model import shield as model
from nlb.shield import table
from nlb.shield.offences import OFFENCES, Offences, Tolerance
from nlb.shield.sources import NOBODY, source_of
from tests.unit.shield.shared import memory

NOW = 1_000_000.0
BLOCK = memory(2)


def told(moments: list[float], after: int, within: float) -> list[int]:
    """Which offences, from 1, were the last that was needed."""
    offences = Offences(memory())
    return [number for number, now in enumerate(moments, 1) if offences.count(1, 7, after, within, NOW + now)]


@pytest.mark.parametrize(
    ("moments", "after", "within", "last"),
    [
        pytest.param([0] * 20, 20, 60, [20], id="all at once"),
        pytest.param([0] * 19, 20, 60, [], id="one too few"),
        pytest.param([number * 3 for number in range(20)], 20, 60, [20], id="all through the minute"),
        pytest.param([number * 3.2 for number in range(20)], 20, 60, [], id="not all of them within it"),
        pytest.param([number * 2.9 for number in range(100)], 20, 60, [20, 40, 60, 80, 100], id="ever on"),
        pytest.param([0, 59.9], 2, 60, [2], id="just within"),
        pytest.param([0, 60], 2, 60, [], id="just not"),
        pytest.param([0, 60, 61], 2, 60, [3], id="the second time begins with its first offence"),
        pytest.param([0] * 3, 1, 60, [1, 2, 3], id="every one is too many"),
        pytest.param([10, 9.5, 10], 3, 60, [3], id="a worker whose clock is behind by a turn"),
        pytest.param([100, 50, 50, 50], 3, 60, [4], id="what cannot be begins anew"),
    ],
)
def test_the_last_offence_that_is_needed(moments: list[float], after: int, within: float, last: list[int]) -> None:
    assert told(moments, after, within) == last


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 6), st.integers(1, 60))
def test_nobody_is_blocked_for_fewer_and_who_goes_on_is_found(pauses: list[int], after: int, within: int) -> None:
    now, moments = 0, []
    for pause in pauses:
        now += pause
        moments.append(float(now))
    last = told(moments, after, float(within))
    for number in last:
        assert number >= after
        assert moments[number - 1] - moments[number - after] < within
    if len(moments) >= 2 * after and max(pauses, default=0) * 2 * after < within:
        assert last


def test_workers_count_together_and_sources_and_kinds_apart() -> None:
    one, other = Offences(BLOCK), Offences(BLOCK)
    assert not one.count(1, 7, 3, 60, NOW)
    assert not other.count(1, 7, 3, 60, NOW)
    assert not one.count(1, 8, 3, 60, NOW)
    assert not one.count(2, 7, 3, 60, NOW)
    assert one.count(1, 7, 3, 60, NOW)


def test_the_most_offences_that_a_config_may_ask_for() -> None:
    offences = Offences(memory())
    assert [offences.count(1, 7, 1_000_000, 86400.0, NOW) for _ in range(1_000)] == [False] * 1_000


def test_a_flood_of_offenders_takes_the_places_of_those_that_began_first() -> None:
    block = memory()
    offences = Offences(block)
    part = table.offences(block)
    at = part.name(1, 0) & part.mask
    keys = [key for key in range(4096 * 40) if part.name(1, key) & part.mask == at][:17]
    for number, key in enumerate(keys):
        offences.count(1, key, 2, 60, NOW + number)
    later = NOW + len(keys)
    assert offences.count(1, keys[-1], 2, 60, later)
    assert not offences.count(1, keys[0], 2, 60, later)  # forgotten, and so forgiven


def test_a_listener_puts_up_with_so_much() -> None:
    spec = {"after": 2, "of": ["severe", "rate"], "within": 60.0, "seconds": 600.0, "kind": 3}
    tolerance = Tolerance(spec, Offences(memory()))
    one, other = source_of("192.0.2.1"), source_of("192.0.2.2")
    steps = [("severe", one), ("path", one), ("rate", other), ("rate", NOBODY), ("severe", NOBODY), ("rate", one)]
    assert [tolerance.ends(offence, source, NOW) for offence, source in steps] == [False] * 5 + [True]
    assert tolerance.seconds == 600.0


def test_what_a_config_may_name_is_what_is_counted() -> None:
    assert set(model.OFFENCES) == set(OFFENCES)
