"""What Content-Length and Transfer-Encoding say of a body, each in its one spelling or refused."""

from __future__ import annotations

import re

from nlb.http1.desync import worse
from nlb.http1.facts import BadHead
from nlb.http1.fields import TOKEN, elements

_CODING = re.compile(TOKEN + rb"++")


def content_length(values: list[bytes]) -> tuple[bytes, str]:
    """The one spelling of equal lengths, and the reason if they were spelled otherwise. A list is several lines."""
    reason = ""
    if len(values) > 1 or b"," in values[0]:
        values = elements(values)
        reason = "duplicate_content_length"
    value = values[0]
    # bytes.isdigit is ASCII's. 18 digits fit into everybody's 64 bits.
    if not all(each.isdigit() and len(each) <= 18 for each in values):
        raise BadHead(400, "bad_content_length")
    if values.count(value) != len(values):
        raise BadHead(400, "multiple_content_length")
    plain = value.lstrip(b"0") or b"0"
    return plain, worse(reason, "" if plain == value else "non_compliant_header")


def check_chunked(values: list[bytes], minor: int) -> None:
    """That the transfer codings are `chunked`, once, and nothing else: not even an empty element beside it."""
    codings = [coding.lower() for coding in elements(values)]
    if codings == [b"chunked"] and minor == 1:
        return
    if codings.count(b"chunked") > 1:
        raise BadHead(400, "multiple_transfer_encoding_chunked")
    if minor == 1 and codings[-1] == b"chunked" and all(_CODING.fullmatch(coding) for coding in codings):
        raise BadHead(501, "unknown_transfer_coding")  # gzip, chunked (RFC 9112 6.1)
    raise BadHead(400, "bad_transfer_encoding")
