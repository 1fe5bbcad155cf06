"""The operator's desk: what the admin socket and the web pages may ask of control, answered in plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nlb.control.blocking import Blocking
from nlb.control.controller import Controller
from nlb.control.explain import Place, explain
from nlb.control.inquiry import Inquiry
from nlb.control.operator import Operator
from nlb.control.overrides import Overrides
from nlb.control.prospect import View, live
from nlb.control.reload import Reloader
from nlb.control.snapshot import Data, Reporter
from nlb.errors import AdminError, NlbError
from nlb.net.loop import Loop

Answer = Callable[[Any], None]


class Desk:
    """Called on the loop's thread; other threads `loop.post`. Every method may raise AdminError: nothing was changed.

    An answer that comes later goes to `done`; {"refused": why} where it could not be done after all.
    """

    def __init__(
        self,
        controller: Controller,
        operator: Operator,
        reporter: Reporter,
        reloader: Reloader,
        overrides: Overrides,
        key: bytes = b"",
        blocking: Blocking | None = None,
    ) -> None:
        """`key` signs what workers give to clients; without it no cookie can be judged. Without `blocking` nobody can
        be blocked."""
        self._controller = controller
        self._operator = operator
        self._reporter = reporter
        self._reloader = reloader
        self._overrides = overrides
        self._key = key
        self._blocking = blocking

    @property
    def loop(self) -> Loop:
        return self._controller.loop

    def snapshot(self) -> Data:
        return self._reporter.snapshot()

    def status(self) -> Data:
        """As `snapshot`, with groups in figures."""
        return self._reporter.status()

    def set_admin(
        self, target: str, state: str, reason: str, timeout: float | None, who: str, lasts: float | None = None
    ) -> list[Data]:
        """The targets that were asked for, as they are now."""
        return [self._reporter.target(self._operator.set_admin(target, state, reason, timeout, who, lasts))]

    def set_weight(self, target: str, weight: int, reason: str, who: str, lasts: float | None = None) -> list[Data]:
        return [self._reporter.target(self._operator.set_weight(target, weight, reason, who, lasts))]

    def add_target(
        self, done: Answer, group: str, typed: str, weight: int, reason: str, who: str, lasts: float | None = None
    ) -> None:
        """Add `typed`, which is NAME=HOST:PORT, to a group. Answered like `reload`."""
        self._operator.add_target(group, typed, weight, reason, who, lasts, lambda result: done(_or_refused(result)))

    def remove_target(self, done: Answer, target: str, reason: str, who: str, lasts: float | None = None) -> None:
        self._operator.remove_target(target, reason, who, lasts, lambda result: done(_or_refused(result)))

    def health(self, target: str) -> Data:
        """What one target was asked, and what it answered."""
        return self._reporter.health(self._controller.find(target))

    def overrides(self) -> list[Data]:
        """What the operator changed at run time."""
        return self._overrides.listing()

    def block(self, network: str, reason: str, who: str, lasts: float | None = None, keep: bool = False) -> list[Data]:
        """Refuse connections from an address or a network, and cut those that are open unless told to `keep` them. The
        block as it holds now."""
        return [self._blocks().block(network, reason, who, lasts, keep).data()]

    def unblock(self, network: str, who: str) -> list[Data]:
        """Lift the block of a network, and those of all in it. What is lifted."""
        return [block.data() for block in self._blocks().unblock(network, who)]

    def blocked(self) -> list[Data]:
        """Who is blocked, by an operator or for offences."""
        return [block.data() for block in self._blocking.all()] if self._blocking else []

    def sessions(self, done: Answer, limit: int, target: str | None = None, listener: str | None = None) -> None:
        """`done` gets a list of descriptions."""
        self._controller.sessions(done, limit, target, listener)

    def reload(self, done: Answer, who: str) -> None:
        """Make the file's config the running one; `done` gets what was done."""
        self._reloader.reload(who, lambda result: done(_or_refused(result)))

    def events(self) -> list[Data]:
        """The latest, newest last."""
        return list(self._controller.events.ring)

    def explain(self, asked: Inquiry) -> Data:
        """What becomes of a request, or of a connection."""
        controller = self._controller
        rows = tuple(row.sessions for row in controller.plane.rows)
        binds = {row["name"]: row["binds"] for row in self._reporter.status()["listeners"]}
        # One that a reload under way has closed already is gone.
        open_ones = [settings for settings in controller.config.listeners if settings.name in binds]
        places = [Place(settings, binds[settings.name]) for settings in open_ones]

        def view(name: str) -> View:
            return live(controller.groups[name], rows, controller.loop.now, self._key)

        return explain(asked, places, view, self._blocking.network_of if self._blocking else lambda address: None)

    def config(self) -> Data:
        """The running config, as a file would have it (without defaults), and which it is."""
        asked = self._reloader.naming.expanded.asked  # with the names, not with what they stand for
        config = asked.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {"config": config, "about": self._reloader.running.as_data()}

    def _blocks(self) -> Blocking:
        if self._blocking is None:
            raise AdminError("this nlb cannot block anybody")
        return self._blocking


def _or_refused(result: Data | NlbError) -> Data:
    return {"refused": str(result)} if isinstance(result, NlbError) else result
