"""Listeners in all workers: opened, changed, shut. A worker is told what a listener is like by `listener_spec`, and
never twice of the same socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nlb.control.certificates import tls_spec
from nlb.control.crew import Crew, WorkerProcess
from nlb.control.listener_spec import NumberOf, listener_spec
from nlb.control.listening import Bound, Listening, Opening, OpenListener
from nlb.control.packed_lists import PackedLists
from nlb.control.shutting import Shutting
from nlb.model.address import Address
from nlb.model.plan import ListenerChange, Plan
from nlb.net.channel import Message
from nlb.observe.counters import ACTIVE, Row


class ListenerOrders:
    """What workers are told of those in `listening`."""

    def __init__(
        self,
        listening: Listening,
        crew: Crew,
        rows: list[Row],
        shutting: Shutting,
        max_connections: int,
        number_of: NumberOf,
        tell: Callable[[Message], None],
    ) -> None:
        """`max_connections` is what a listener that names no limit gets, `number_of` gives a group's number."""
        self.removed: list[int] = []  # numbers; they may have sessions yet
        self._listening = listening
        self._crew = crew
        self._rows = rows
        self._shutting = shutting
        self._max_connections = max_connections
        self._number_of = number_of
        self._tell = tell
        self._lists = PackedLists()

    def limit(self, opened: OpenListener) -> int:
        """A listener's max_connections, of all workers together."""
        settings = opened.settings
        most = settings.max_connections or self._max_connections
        shields = settings.shield.max_connections if settings.shield.mode == "enforce" else None
        return min(most, shields or most)

    def brief(self, worker: WorkerProcess) -> None:
        """A new worker: it accepts everywhere."""
        for opened in self._listening.listeners.values():
            self._open_in(worker, opened, list(opened.sockets))

    def apply(self, plan: Plan, opening: Opening) -> Iterator[None]:
        """Open, change and close listeners, one per step. `opening` has all that had to be bound."""
        for number in [number for number in self.removed if not self._active(number)]:
            self.removed.remove(number)
            self._listening.release(number)
        for settings in (*plan.listeners_added, *(change.new for change in plan.listeners_changed)):
            yield from self._lists.prepare(settings.shield)
        for settings in plan.listeners_added:
            opened, used, routes = self._listening.add(settings, opening)
            self._clear_routes(routes)
            if used:
                for row in self._rows:
                    row.clear_listener(opened.number)
            self._open(opened, list(settings.binds))
            yield
        for change in plan.listeners_changed:
            self._change(change, opening)
            yield
        for settings in plan.new.listeners:
            opened = self._listening.listeners[settings.name]
            if opened.show(settings.identity):  # nothing else about it is new
                self.certify(opened)
                yield
        for settings in plan.listeners_removed:
            opened = self._listening.remove(settings.name)
            self._shut(opened, opened.sockets, opening)
            self.removed.append(opened.number)
            yield
        self._lists.keep(opened.settings.shield for opened in self._listening.listeners.values())

    def certify(self, opened: OpenListener) -> None:
        """A listener proves itself with other certificates, in handshakes from now on."""
        if opened.identity:
            spec = tls_spec(opened.settings, opened.identity)
            self._tell({"verb": "certificates", "listener": opened.number, "tls": spec})

    def _active(self, number: int) -> int:
        return sum(row.listener(number)[ACTIVE] for row in self._rows)

    def _open(self, opened: OpenListener, binds: list[Address]) -> None:
        for worker in self._crew.workers:
            self._open_in(worker, opened, binds)

    def _open_in(self, worker: WorkerProcess, opened: OpenListener, binds: list[Address]) -> None:
        """Tell a worker what a listener is like, and of these sockets of it."""
        if worker.channel is None:
            return
        spec = listener_spec(opened, binds, self.limit(opened), self._number_of)
        lists = self._add_lists(spec, opened)
        worker.channel.send({"verb": "open", "listener": spec}, opened.for_worker(worker.index, binds) + lists)

    def _add_lists(self, spec: Message, opened: OpenListener) -> list[int]:
        """Tell of the lists that the shield has; returns their descriptors."""
        shield = opened.settings.shield
        lists = {"deny": self._lists.deny(shield), "allow": self._lists.allow(shield)}
        spec["shield"] |= {key: listed and listed.number for key, listed in lists.items()}
        return [listed.fd for listed in lists.values() if listed]

    def _change(self, change: ListenerChange, opening: Opening) -> None:
        opened = self._listening.listeners[change.new.name]
        self._clear_routes(self._listening.settle_in(opened, change.new))
        new = [bind for bind in change.new.binds if bind not in opened.sockets]
        old = {bind: opened.sockets.pop(bind) for bind in change.old.binds if bind not in change.new.binds}
        opened.sockets |= {bind: opening.take(bind) for bind in new}
        self._open(opened, new)
        if old:
            self._shut(opened, old, opening)

    def _clear_routes(self, numbers: list[int]) -> None:
        for row in self._rows:
            for number in numbers:
                row.clear_route(number)

    def _shut(self, opened: OpenListener, sockets: dict[Address, Bound], opening: Opening) -> None:
        """Workers take what queues on these, then stop accepting there; then the sockets are closed."""
        self._shutting.begin(opened.number, sockets, opening)
        self._tell({"verb": "shut", "listener": opened.number, "binds": [str(bind) for bind in sockets]})
