"""What a worker tells control without having been asked. What comes often is gathered first."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from nlb.balance.target import Target
from nlb.net.channel import Message
from nlb.net.loop import Loop, Owner
from nlb.proxy.group import REPORT_EVERY


class Reports:
    def __init__(self, loop: Loop, send: Callable[[Message], None], owner: Owner) -> None:
        self.number = 1  # of the worker, as people count
        self._loop = loop
        self._send = send
        self._owner = owner
        self._failed: dict[tuple[int, str], int] = {}

    def connect_failed(self, target: Target, cause: str) -> None:
        if not self._failed:
            self._loop.call_at(self._loop.now + REPORT_EVERY, self._send_failed, self._owner)
        key = (target.id, cause)
        self._failed[key] = self._failed.get(key, 0) + 1

    def offended(self, sources: list[list[Any]]) -> None:
        self._send({"verb": "offended", "sources": sources})

    def event(self, level: str, text: str) -> None:
        self._send({"verb": "event", "level": level, "text": text})

    def of_log(self, level: str, text: str) -> None:
        self.event(level, f"worker {self.number}: {text}")

    def bug(self, error: Exception, where: str) -> None:
        text = "".join(traceback.format_exception(error))
        self.event("error", f"bug in worker {self.number}, {where}\n{text}")

    def _send_failed(self) -> None:
        failed = [[number, cause, count] for (number, cause), count in self._failed.items()]
        self._failed = {}
        self._send({"verb": "failed", "targets": failed})
