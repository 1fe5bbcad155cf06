"""Durations, sizes and rates: what people write, what they read, and that both agree."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.model.units import Rate, format_duration, format_rate, parse_duration, parse_rate, parse_size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (300, 300.0),
        (0, 0.0),
        (0.5, 0.5),
        ("300", 300.0),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("10s", 10.0),
        ("30m", 1800.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1.5h", 5400.0),
        ("1m 30s", 90.0),
        ("1h30m", 5400.0),
    ],
)
def test_a_duration_is_seconds_or_text_with_units(written, seconds):
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (-1, "cannot be negative"),
        ("-1s", "cannot be negative"),
        (math.inf, "inf is not a duration"),
        (math.nan, "nan is not a duration"),
        (10**400, "longer than any duration"),
        (True, "a duration is seconds"),
        (None, "a duration is seconds"),
        ([1], "a duration is seconds"),
        ("", "'' is not a duration"),
        ("ten", "'ten' is not a duration"),
        ("10 s", "'10 s' is not a duration"),
        ("10sec", "'10sec' is not a duration"),
        ("1e3", "'1e3' is not a duration"),
        ("٣s", "is not a duration"),
        ("9" * 5000 + "s", "9...' is not a duration"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_sentence(written, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (0.0002, "0.2ms"),
        (0.25, "250ms"),
        (0.99999, "1s"),
        (1.5, "1.5s"),
        (10, "10s"),
        (59.96, "1m"),
        (90, "1m 30s"),
        (350, "5m 50s"),
        (3600, "1h"),
        (3599.9, "1h"),
        (3661, "1h 1m"),
        (3601, "1h"),
        (86400, "1d"),
        (273600, "3d 4h"),
        (-90, "-1m 30s"),
    ],
)
def test_durations_are_shown_by_their_two_largest_units(seconds, shown):
    assert format_duration(seconds) == shown


@given(st.floats(min_value=0, max_value=1e9))
def test_what_is_shown_can_be_written(seconds):
    again = parse_duration(format_duration(seconds))
    assert again == pytest.approx(seconds, rel=0.03, abs=0.1)


@pytest.mark.parametrize(
    ("written", "size"),
    [(0, 0), (4096, 4096), ("4096", 4096), ("64KiB", 65536), ("1.5MiB", 1572864), ("2 GiB", 2 << 30), ("10B", 10)],
)
def test_a_size_is_bytes_or_text_with_a_unit(written, size):
    assert parse_size(written) == size


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (-1, "cannot be negative"),
        (True, "a size is bytes"),
        (1.5, "a size is bytes"),
        ("much", "a size is bytes"),
        ("64MB", "'MB' is not a unit of size; write B, KiB, MiB, GiB, TiB"),
        ("0.3KiB", "not a whole number of bytes"),
    ],
)
def test_what_is_no_size_is_refused_with_a_sentence(written, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_size(written)


@pytest.mark.parametrize(
    ("written", "per_second", "burst", "shown"),
    [
        ("50/s burst 100", 50.0, 100, "50/s burst 100"),
        ("50/s", 50.0, 50, "50/s burst 50"),
        ("5/m burst 5", 5 / 60, 5, "5/m burst 5"),
        ("60/m burst 1", 1.0, 1, "1/s burst 1"),
        ("1/h", 1 / 3600, 1, "1/h burst 1"),
        ("7/d burst 2", 7 / 86400, 2, "7/d burst 2"),
        ("1000000/s burst 1000000", 1e6, 1_000_000, "1000000/s burst 1000000"),
        ("0050/s burst 01", 50.0, 1, "50/s burst 1"),
    ],
)
def test_a_rate_is_a_count_per_time_and_what_may_come_at_once(written, per_second, burst, shown):
    rate = parse_rate(written)
    assert rate == Rate(pytest.approx(per_second), burst)
    assert format_rate(rate) == shown


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (50, 'a rate is text such as "50/s burst 100", "5/m"'),
        (None, "a rate is text such as"),
        ("", '\'\' is not a rate; write "50/s burst 100", "5/m"'),
        ("50", "'50' is not a rate"),
        ("50/s burst", "'50/s burst' is not a rate"),
        ("50 /s", "'50 /s' is not a rate"),
        ("1.5/s", "'1.5/s' is not a rate"),
        ("-5/s", "'-5/s' is not a rate"),
        ("5/10s", "'5/10s' is not a rate"),
        ("٣/s", "is not a rate"),
        ("50/sec", "'sec' is not a unit of a rate; write 50/s, 50/m, 50/h or 50/d"),
        ("50/ms", "'ms' is not a unit of a rate"),
        ("0/s", "0 would refuse everybody"),
        ("5/s burst 0", "0 would refuse everybody"),
        ("1000001/s", "1000001 is more than any limit needs; at most 1000000"),
        ("5/s burst 999999999", "999999999 is more than any limit needs"),
        ("9" * 5000 + "/s", "9...' is not a rate"),
    ],
)
def test_what_is_no_rate_is_refused_with_a_sentence(written, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse_rate(written)


@given(st.integers(1, 1_000_000), st.sampled_from("smhd"), st.integers(1, 1_000_000))
def test_a_rate_that_is_shown_can_be_written(count, unit, burst):
    rate = parse_rate(f"{count}/{unit} burst {burst}")
    again = parse_rate(format_rate(rate))
    assert again == Rate(pytest.approx(rate.per_second), burst)
