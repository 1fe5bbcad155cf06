"""The two records of what was carried: a line per ended session, a line per ended exchange. Their time is that end.

Whoever writes one gives a list with a value for each field, in this order. What strangers sent (TEXT, WIRE) is quoted
here and nowhere else; a WORD is one of ours or a name of the config, and goes in as it is.
"""

from __future__ import annotations

from nlb.observe.lines import NUMBER, SECONDS, TEXT, WIRE, WORD, Layout, optional

# `connect` counts from the beginning, `first_byte` from the connect.
SESSION = Layout(
    "session",
    {
        "outcome": WORD,
        "listener": WORD,
        "client": TEXT,
        "group": WORD,
        "target": optional(WORD),
        "duration": SECONDS,
        "connect": optional(SECONDS),
        "first_byte": optional(SECONDS),
        "received": NUMBER,
        "sent": NUMBER,
        "tries": NUMBER,
        "unique_id": optional(WORD),  # that of its PROXY headers; None where no target wants any
    },
)

# Times are those of the exchange's parts, so that they add up to less than `duration`. What comes from the head of the
# request is None when there was none that could be read.
REQUEST = Layout(
    "request",
    {
        "outcome": WORD,
        "listener": WORD,
        "client": TEXT,  # the address that is believed
        "peer": TEXT,  # who is at the other end of the connection
        "method": optional(WIRE),
        "uri": optional(WIRE),
        "version": optional(WORD),  # HTTP/1.1
        "host": optional(TEXT),
        "rule": optional(WORD),
        "group": optional(WORD),
        "target": optional(WORD),
        "status": optional(NUMBER),  # what the client got
        "target_status": optional(NUMBER),  # what the target said
        "received": NUMBER,  # bytes from the client, and to it: heads and bodies
        "sent": NUMBER,
        "queue": optional(SECONDS),  # waiting for room at a target
        "connect": optional(SECONDS),  # None on a connection that was there already
        "first_byte": optional(SECONDS),  # from the request sent until the response's first byte
        "duration": SECONDS,  # from the request's first byte until the end of the response
        "tries": NUMBER,  # targets that were tried
        "desync": optional(WORD),  # AWS's class
        "desync_reason": optional(WORD),
        "request_id": optional(TEXT),
        "user_agent": optional(WIRE),
    },
)
