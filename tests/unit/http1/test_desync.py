"""What each mode does with each class."""

from __future__ import annotations

import pytest

from nlb.http1.desync import (
    CLASS_OF,
    CLASSES,
    MODES,
    PASS,
    PASS_AND_CLOSE,
    REFUSE,
    verdict,
    worse,
)

# AWS's table: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html
AWS = """
    bad_content_length bad_header bad_transfer_encoding bad_uri bad_method bad_version multiple_content_length
    multiple_transfer_encoding_chunked ambiguous_uri both_te_cl_present duplicate_content_length empty_header
    suspicious_header undefined_content_length_semantics undefined_transfer_encoding_semantics
    get_head_zero_content_length non_compliant_header non_compliant_version space_in_uri
"""


@pytest.mark.parametrize(
    ("reason", "monitor", "defensive", "strictest"),
    [
        ("", PASS, PASS, PASS),
        ("non_compliant_header", PASS, PASS, REFUSE),
        ("suspicious_header", PASS, PASS_AND_CLOSE, REFUSE),
        ("bad_header", PASS, REFUSE, REFUSE),
    ],
    ids=CLASSES,
)
def test_the_mode_decides_what_a_class_comes_to(reason: str, monitor: int, defensive: int, strictest: int) -> None:
    assert [verdict(mode, reason) for mode in MODES] == [monitor, defensive, strictest]


def test_every_reason_has_a_class_and_every_reason_of_aws_is_known() -> None:
    assert set(CLASS_OF.values()) == set(CLASSES)
    assert set(AWS.split()) <= set(CLASS_OF)


@pytest.mark.parametrize(
    ("first", "second", "worst"),
    [
        ("", "non_compliant_header", "non_compliant_header"),
        ("non_compliant_header", "", "non_compliant_header"),
        ("suspicious_header", "non_compliant_header", "suspicious_header"),
        ("suspicious_header", "both_te_cl_present", "suspicious_header"),
    ],
)
def test_of_two_reasons_the_worse_class_counts_and_then_the_first(first: str, second: str, worst: str) -> None:
    assert worse(first, second) == worst
