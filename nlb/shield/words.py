"""Why the shield refuses: one bounded list of words for metrics, logs and people."""

from __future__ import annotations

# Connections, at accept or after the PROXY header: reset.
DENIED, BLOCKED, LIMIT, SOURCE_LIMIT, RATE = "denied", "blocked", "limit", "source_limit", "rate"

# Requests: answered.
METHOD, BAD_PATH, DENIED_PATH, REQUEST_RATE = "method", "bad_path", "denied_path", "request_rate"
MAX_BODY = "max_body"

# word -> what it means and what to look at. The order is that of the words in a worker's counters.
REASONS: dict[str, str] = {
    DENIED: "the source is in a network of deny, or in none of allow",
    BLOCKED: "the source is blocked, by an operator or for its offences; nlb ctl blocked lists them",
    LIMIT: "the listener had max_connections sessions",
    SOURCE_LIMIT: "the source had max_connections_per_source connections open",
    RATE: "the source came more often than connection_rate_per_source",
    METHOD: "the request's method is none of shield.http.methods; answered 405",
    BAD_PATH: "the request's path climbs out of the root, has a zero byte, or too many readings; answered 400",
    DENIED_PATH: "the request's path is one of shield.http.deny_path; answered 403",
    REQUEST_RATE: "the source sent more requests than a request_rate; answered 429 with Retry-After, or as it says",
    MAX_BODY: "the request's body was longer than shield.http.max_body; answered 413",
}
