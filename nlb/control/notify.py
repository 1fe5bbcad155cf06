"""Tell systemd how we are (sd_notify(3)): one datagram to the socket that it named. Without systemd, nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """`environment` is where NOTIFY_SOCKET and WATCHDOG_USEC are looked for; an abstract address begins with @."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._last = ""
        self._stopping = False
        # Seconds without `alive` after which systemd takes us for dead; 0 if it does not look.
        self.watchdog = _watchdog(environment)

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`; sent when it changed."""
        if status != self._last:
            self._last = status
            self._send(f"STATUS={status}")

    def stopping(self, seconds: float) -> None:
        """We end, and need so long for it; TimeoutStopSec= may be less. Sent once."""
        if self._stopping:
            return
        self._stopping = True
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto(text.encode(), address)
            except OSError:
                pass  # systemd not listening is no reason to stop serving


def _watchdog(environment: Mapping[str, str]) -> float:
    """sd_watchdog_enabled(3)."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if mine and microseconds.isascii() and microseconds.isdigit() else 0.0
