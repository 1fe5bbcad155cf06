"""How much one daemon carries: what its tables have room for, and how many sessions its descriptors allow."""

from __future__ import annotations

# Rows in the workers' shared counters.
LISTENERS = 1024
GROUPS = 4096
TARGETS = 32768

# Sockets that one listener may have per worker: each is bound, watched and handed on.
BINDS = 64

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
