"""What carries traffic, as the controller sees it: it obeys these verbs, and decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nlb.control.registration import ManagedGroup
    from nlb.observe.counters import Row


class Plane(Protocol):
    rows: list[Row]

    @property
    def up(self) -> bool:
        """Has every part of it been set up?"""

    def load(self, groups: list[ManagedGroup]) -> None: ...

    def unload(self, groups: list[ManagedGroup]) -> None: ...

    def mark(self, targets: list[list[Any]], tables: list[tuple[int, bytes]]) -> None: ...

    def reset(self, target: int, cause: str) -> None: ...

    def sessions(
        self, done: Callable[[list[dict[str, Any]]], None], limit: int, target: int | None, listener: str | None
    ) -> None: ...

    def stop(self, timeout: float) -> None: ...
