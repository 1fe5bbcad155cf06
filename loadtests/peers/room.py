"""A network of our own, so that ports do not run out and nobody else's traffic is in the figures."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x41  # linux/sockios.h, linux/if.h

# A connection that was closed keeps its ports for a minute: let there be many.
SETTINGS = {"ipv4/ip_local_port_range": "1024 65535", "ipv4/tcp_max_tw_buckets": "262144"}


def enter() -> bool:
    """Move this process and all it will start into a network namespace with nothing but loopback. It ends with them.
    False, and nothing changed, where that needs more rights. Before any thread is started."""
    if os.geteuid() or ctypes.CDLL(None).unshare(_CLONE_NEWNET):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))
    for name, value in SETTINGS.items():
        try:
            Path("/proc/sys/net", name).write_text(value)
        except OSError:
            pass  # read-only in some containers; there is room enough for short runs
    return True
