"""How far a request is from one reading: the classes and reasons of AWS's desync mitigation, and what each mode does.

A request that two parsers could read differently never gets this far: `head.parse_request` raises for it in every mode,
so what is passed on in `monitor` has one reading too. The modes choose only among requests that were rewritten to one.
"""

from __future__ import annotations

CLASSES = COMPLIANT, ACCEPTABLE, AMBIGUOUS, SEVERE = ("compliant", "acceptable", "ambiguous", "severe")

# Reason word -> class. AWS's names in snake_case; what stands apart at the end is ours.
CLASS_OF: dict[str, str] = {
    "": COMPLIANT,
    # Passed on, rewritten where two spellings exist.
    "get_head_zero_content_length": ACCEPTABLE,  # GET or HEAD with Content-Length: 0
    "non_compliant_header": ACCEPTABLE,  # bytes above 0x7f in a value, Content-Length: 007, an odd connection option
    # Passed on once; defensive closes both connections behind them, so nothing can hide in what follows.
    "ambiguous_uri": AMBIGUOUS,  # http://a/ with Host: b. The target wins and Host is rewritten (RFC 9112 3.2.2)
    "both_te_cl_present": AMBIGUOUS,  # Content-Length is dropped; its connection ends in monitor too (RFC 9112 6.1)
    "duplicate_content_length": AMBIGUOUS,  # equal ones, made one
    "suspicious_header": AMBIGUOUS,  # Content_Length, X_Forwarded_For, Connection: host: taken out, or not obeyed
    "undefined_content_length_semantics": AMBIGUOUS,  # GET or HEAD with a body
    "undefined_transfer_encoding_semantics": AMBIGUOUS,
    # No single reading: answered 4xx or 5xx in every mode, counted here.
    "bad_content_length": SEVERE,
    "bad_header": SEVERE,  # a name or value that is none; bare CR, LF, NUL; obs-fold; space before the colon
    "bad_method": SEVERE,
    "bad_transfer_encoding": SEVERE,  # anything but one final `chunked`, or any in HTTP/1.0
    "bad_uri": SEVERE,
    "bad_version": SEVERE,
    # AWS means a line without a name or of spaces alone, and passes it as ambiguous. A line without a name can only be
    # refused. An empty *value* is something else: legal (RFC 9110 5.5), common (`Accept:`), read alike by all.
    "empty_header": SEVERE,
    "multiple_content_length": SEVERE,
    "multiple_transfer_encoding_chunked": SEVERE,
    # AWS calls it acceptable. `GET /a HTTP/1.1 HTTP/1.1` ends its target at the first space for one parser and at the
    # last for another: there is no one reading to rewrite it to.
    "space_in_uri": SEVERE,
    # Ours.
    "bad_chunk": SEVERE,  # a body that is not chunked as its head said
    "bad_host": SEVERE,  # none in HTTP/1.1, several, or not host[:port]
    "non_compliant_version": ACCEPTABLE,  # well-formed and not ours: HTTP/1.2, HTTP/2.0; answered 505
    # One reading, and still not for us: 405, 414, 417, 431, 501. No attempt to confuse anybody.
    "method_not_allowed": COMPLIANT,
    "unknown_expectation": COMPLIANT,
    "unknown_transfer_coding": COMPLIANT,  # gzip, chunked
    "uri_too_long": COMPLIANT,
    "head_too_large": COMPLIANT,
    "too_many_fields": COMPLIANT,
}

MODES = ("monitor", "defensive", "strictest")
PASS, PASS_AND_CLOSE, REFUSE = 0, 1, 2

_VERDICTS = {
    "monitor": {COMPLIANT: PASS, ACCEPTABLE: PASS, AMBIGUOUS: PASS, SEVERE: PASS},
    "defensive": {COMPLIANT: PASS, ACCEPTABLE: PASS, AMBIGUOUS: PASS_AND_CLOSE, SEVERE: REFUSE},
    "strictest": {COMPLIANT: PASS, ACCEPTABLE: REFUSE, AMBIGUOUS: REFUSE, SEVERE: REFUSE},
}
_VERDICT_ON = {mode: {reason: of[CLASS_OF[reason]] for reason in CLASS_OF} for mode, of in _VERDICTS.items()}


def verdict(mode: str, reason: str) -> int:
    """What `mode` does with a request of that reason: PASS, PASS_AND_CLOSE (both sides, afterwards) or REFUSE (400)."""
    return _VERDICT_ON[mode][reason]


def worse(reason: str, other: str) -> str:
    """The reason of the worse class; the one that was found first if the classes are the same."""
    return other if CLASSES.index(CLASS_OF[other]) > CLASSES.index(CLASS_OF[reason]) else reason
