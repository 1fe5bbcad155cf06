"""Rates: every form, what it means, and what is said of anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.model.rate import Rate, rate


@pytest.mark.parametrize(
    ("written", "read", "per_second"),
    [
        ("50/s", Rate(50, 1, 50), 50),
        ("50/s burst 100", Rate(50, 1, 100), 50),
        ("5/m burst 1", Rate(5, 60, 1), 5 / 60),
        ("100/10s", Rate(100, 10, 100), 10),
        ("1/h", Rate(1, 3600, 1), 1 / 3600),
        ("1000000/d burst 1000000", Rate(1000000, 86400, 1000000), 1000000 / 86400),
    ],
)
def test_a_rate_is_read(written, read, per_second):
    assert rate(written) == read
    assert rate(written).per_second == pytest.approx(per_second)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("50", "'50' is not a rate; write one such as"),
        (50, "a number is not a rate; write one such as"),
        ("50/", "is not a rate"),
        ("/s", "is not a rate"),
        ("50/ms", "is not a rate"),
        ("50/0s", "is not a rate"),
        ("0.5/s", "is not a rate"),
        ("-5/s", "is not a rate"),
        ("50/s burst", "is not a rate"),
        ("50/s burst 1.5", "is not a rate"),
        ("50 / s", "is not a rate"),
        ("\u0665/s", "is not a rate"),
        ("0/s", "0 is outside 1-1000000, the bounds of a rate"),
        ("1000001/s", "1000001 is outside 1-1000000, the bounds of a rate"),
        ("5/s burst 0", "0 is outside 1-1000000, the bounds of a burst"),
        ("9" * 5000 + "/s", "is not a rate"),
    ],
)
def test_anything_else_is_told_with_what_would_be_right(written, complaint):
    with pytest.raises(ValueError, match=complaint):
        rate(written)


@given(st.integers(1, 1_000_000), st.integers(1, 9999), st.sampled_from("smhd"), st.integers(1, 1_000_000))
def test_what_is_shown_reads_the_same(count, times, unit, burst):
    read = rate(f"{count}/{times}{unit} burst {burst}")
    assert rate(str(read)) == read == rate(read)
