"""Does this core stand still? `python -m loadtests.slow.sentinel`, pinned to it, until stdin ends.

It sleeps and notes when it woke up late: then somebody else had the core, or the whole box was stopped, and whoever
waited for an answer meanwhile did not wait for a balancer. One that is busy makes nobody late who sleeps: the kernel
lets him go first. Each standstill is a line: when it was over, by the monotonic clock, and its seconds.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import NamedTuple

NAP = 0.002

# Seconds. What the kernel may let somebody wait who is due.
LATE = 0.005


class Standstill(NamedTuple):
    at: float
    seconds: float

    def meets(self, at: float, seconds: float) -> bool:
        """Was it in this time, which was over `at`?"""
        return self.at - self.seconds < at and at - seconds < self.at


def read(line: str) -> Standstill:
    at, seconds = line.split()
    return Standstill(float(at), float(seconds))


def watch() -> None:
    before = time.monotonic()
    while True:
        time.sleep(NAP)
        now = time.monotonic()
        if (late := now - before - NAP) > LATE:
            sys.stdout.write(f"{now:.6f} {late:.6f}\n")
            sys.stdout.flush()
        before = now


if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    sys.stdin.read()
