"""How much one daemon carries: what its tables have room for, and how many sessions its descriptors allow."""

from __future__ import annotations

# Rows in the workers' shared counters.
LISTENERS = 1024
GROUPS = 4096
TARGETS = 32768
RULES = 65536  # of all listeners together, beside the default of each
ROUTES = 2 * RULES  # a rule has one for each group that it forwards to, or one

# Sockets that one listener may have per worker: each is bound, watched and handed on.
BINDS = 64

# Values of one condition of a rule, or headers that a group edits; networks in one list, such as those of a CDN.
VALUES = 1024
NETWORKS = 16384

# Networks in a file: three times the longest public list. Each worker holds them.
LISTED = 500_000

# Of one listener: certificates and folders of them, each with a context per worker; limits to rates of requests.
CERTIFICATES = 1024
RATES = 64

WORKERS = 256

# Asked one after the other: with more, a look-up would end before its time came to the last.
NAMESERVERS = 8

# Descriptors that a worker keeps for listeners, the loop, its log and its channel to control.
RESERVED = 500

# Two sockets, and room for the pipe that splice needs for the busy ones.
PER_SESSION = 4


def max_connections(descriptors: int) -> int:
    """How many sessions a worker that may open so many descriptors can hold; at least 1."""
    return max(1, (descriptors - RESERVED) // PER_SESSION)
