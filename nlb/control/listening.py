"""The sockets that the public connects to. Control holds them; workers accept on copies.

Most it binds itself. Some it was given (systemd's outlive it) or left (those of workers whose control was killed).

Binding is the one part of a reload that can fail, so it comes first and all at once (`Opening`): then either every
new address is there, or none is and the old ones were never touched.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import time

from nlb.control import inherited
from nlb.control.certificates import Identity
from nlb.control.inherited import left_at
from nlb.control.numbers import Numbers
from nlb.control.routing import routes
from nlb.errors import StartError
from nlb.model import limits
from nlb.model.address import Address
from nlb.model.config import Config, Listener
from nlb.model.plan import Plan
from nlb.net.sockets import bound_to, identity, is_shared, listen, listen_beside

Given = inherited.Given[socket.socket]
Left = inherited.Left[socket.socket]


class Bound:
    """What listens on one address: a socket per worker, or one that all share: a unix path, or one that we were
    given. Who loses the race for a connection on that simply finds none."""

    def __init__(self, sockets: list[socket.socket], given: Given | None = None) -> None:
        self.sockets = sockets
        self.given = given
        self.shared = is_shared(sockets[0]) or given is not None

    @property
    def lasts(self) -> bool:
        """It outlives us: what queues on it at the end is for our successor."""
        return self.given is not None

    @property
    def is_open(self) -> bool:
        return any(sock.fileno() >= 0 for sock in self.sockets)

    def of_worker(self, index: int) -> socket.socket:
        return self.sockets[index % len(self.sockets)]

    def close_of(self, index: int) -> None:
        """This worker accepts here no more: a connection that comes now must be refused, not queue for nobody."""
        if not self.shared:
            self.of_worker(index).close()

    def refuse(self) -> None:
        """No worker accepts here any more."""
        if self.shared and not self.lasts:
            with suppress(OSError):
                self.sockets[0].shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close what is ours, and remove the file of a unix socket."""
        if self.lasts:
            return
        for sock in self.sockets:
            if sock.fileno() >= 0:
                if sock.family == socket.AF_UNIX:
                    with suppress(FileNotFoundError):
                        os.unlink(sock.getsockname())
                sock.close()

    def name(self, bind: Address) -> str:
        """The address as it came out: port 0 has become a port."""
        if bind.is_unix or not self.is_open:
            return str(bind)
        return str(bound_to(self.sockets[0]))


@dataclass
class OpenListener:
    """A listener of the config with its sockets."""

    number: int
    settings: Listener
    sockets: dict[Address, Bound]
    routes: list[tuple[str, str, int]] = field(default_factory=list)  # of http: rule, group or "", number
    identity: Identity | None = None  # where TLS is spoken

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def binds(self) -> list[str]:
        return [bound.name(bind) for bind, bound in self.sockets.items()]

    def show(self, identity: Identity | None) -> bool:
        """What was read, if it is newer; whether clients see anything else from now on."""
        before = self.identity
        if identity is None or (before and before.read >= identity.read):
            return False
        self.identity = identity.after(before, time())
        return before is None or self.identity.served != before.served or self.identity.client_ca != before.client_ca

    def for_worker(self, index: int, binds: list[Address]) -> list[int]:
        """The worker's descriptors for these addresses."""
        return [self.sockets[bind].of_worker(index).fileno() for bind in binds]

    def lasting(self, binds: list[Address]) -> list[str]:
        """Those that outlive us."""
        return [str(bind) for bind in binds if self.sockets[bind].lasts]


class Opening:
    """What a plan needs bound: done, but not in use yet."""

    def __init__(self, workers: int, given: Sequence[Given] = (), left: Sequence[Left] = ()) -> None:
        """`given` and `left` are to be used before anything is bound."""
        self.offered: dict[Address, Bound] = {}  # of listeners that give them up
        self.handed_on: list[Bound] = []  # of those, what another listener has taken
        self._workers = workers
        self._given = given
        self._left: dict[Address, list[Left]] = {}
        for item in left:
            self._left.setdefault(item.bind, []).append(item)
        self._fresh: list[tuple[Address, Bound]] = []

    def bind(self, wanted: list[tuple[str, Address]]) -> None:
        """Bind what is not offered, for listeners by name. Raises StartError; then nothing stays bound."""
        wanted = [(name, bind) for name, bind in wanted if bind not in self.offered]
        matched = inherited.match(wanted, self._given)
        for place in wanted:
            try:
                bound = Bound([matched[place].sock], matched[place]) if place in matched else self._bind(place)
            except StartError as error:
                self._undo()
                raise StartError(f"listener {place[0]}: {error}") from None
            self._fresh.append((place[1], bound))

    def take(self, bind: Address) -> Bound:
        if bind in self.offered:
            bound = self.offered.pop(bind)
            self.handed_on.append(bound)
            return bound
        place = next(place for place, (fresh, _) in enumerate(self._fresh) if fresh == bind)
        return self._fresh.pop(place)[1]

    def _bind(self, place: tuple[str, Address]) -> Bound:
        sockets = {identity(left.sock): left.sock for left in left_at(place, self._left.get(place[1], []))}
        if not sockets:
            return Bound(listen(place[1], self._workers))
        # More than we have workers stay with those who left them, who take their queues and close them.
        # Not by `sock.dup()`, which would make it block, for every process that has it.
        found = [socket.socket(fileno=os.dup(sock.fileno())) for sock in sockets.values()][: self._workers]
        if is_shared(found[0]):
            return Bound(found[:1])
        return Bound(found + listen_beside(found[0], self._workers - len(found)))

    def _undo(self) -> None:
        for _, bound in self._fresh:
            bound.close()


class Listening:
    """All listeners of this process, by name."""

    def __init__(self, config: Config, workers: int, given: Sequence[Given] = (), left: Sequence[Left] = ()) -> None:
        """Raises StartError when an address cannot be listened on; then nothing stays bound."""
        self.listeners: dict[str, OpenListener] = {}
        self._workers = workers
        self._given = given
        self._numbers = Numbers(limits.LISTENERS)
        self._route_numbers = Numbers(limits.ROUTES)
        opening = Opening(workers, given, left)
        opening.bind([(settings.name, bind) for settings in config.listeners for bind in settings.binds])
        for settings in config.listeners:
            self.add(settings, opening)

    @property
    def unused(self) -> list[Given]:
        """What we were given and no listener wants. It stays open: a later config may."""
        used = [bound.given for opened in self.listeners.values() for bound in opened.sockets.values()]
        return [given for given in self._given if given not in used]

    def identities(self) -> set[int]:
        """Of all sockets that we accept on."""
        bounds = [bound for opened in self.listeners.values() for bound in opened.sockets.values()]
        return {identity(sock) for bound in bounds for sock in bound.sockets if sock.fileno() >= 0}

    def open(self, plan: Plan) -> Opening:
        """Bind what the plan adds. Raises StartError; then nothing was changed."""
        offered: dict[Address, Bound] = {}
        for settings in plan.listeners_removed:
            offered |= self._named(settings.name, settings.binds)
        for change in plan.listeners_changed:
            offered |= self._named(change.old.name, _less(change.old.binds, change.new.binds))
        free = [*self.unused, *(bound.given for bound in offered.values() if bound.given)]
        opening = Opening(self._workers, free)
        opening.offered = offered
        wanted = [(settings.name, bind) for settings in plan.listeners_added for bind in settings.binds]
        for change in plan.listeners_changed:
            wanted += [(change.new.name, bind) for bind in _less(change.new.binds, change.old.binds)]
        opening.bind(wanted)
        return opening

    def add(self, settings: Listener, opening: Opening) -> tuple[OpenListener, bool, list[int]]:
        """A new listener with sockets of `opening`, whether its number had an owner before, and as `settle_in`."""
        number, used = self._numbers.take()
        sockets = {bind: opening.take(bind) for bind in settings.binds}
        opened = self.listeners[settings.name] = OpenListener(number, settings, sockets)
        return opened, used, self.settle_in(opened, settings)

    def settle_in(self, opened: OpenListener, settings: Listener) -> list[int]:
        """These are its settings from now on. Returns the numbers of its new routes that had an owner before."""
        opened.settings = settings
        if settings.is_encrypted:
            opened.show(settings.identity)
        else:
            opened.identity = None
        known = {(rule, group): number for rule, group, number in opened.routes}
        wanted = routes(settings) if settings.speaks_http else []
        for way in known.keys() - set(wanted):
            self._route_numbers.give_back(known.pop(way))
        used: list[int] = []
        for way in wanted:
            if way not in known:
                known[way], had_owner = self._route_numbers.take()
                used += [known[way]] * had_owner
        opened.routes = [(*way, known[way]) for way in wanted]
        return used

    def remove(self, name: str) -> OpenListener:
        """Its number is still in use, until `release`: its sessions go on."""
        opened = self.listeners.pop(name)
        for _, _, number in opened.routes:
            self._route_numbers.give_back(number)
        return opened

    def release(self, number: int) -> None:
        """The last session of a removed listener has ended."""
        self._numbers.give_back(number)

    def close(self) -> None:
        for opened in self.listeners.values():
            for bound in opened.sockets.values():
                bound.close()

    def _named(self, name: str, binds: Iterable[Address]) -> dict[Address, Bound]:
        """A listener's sockets, without those on a port that was chosen for it: nobody can ask for that one."""
        sockets = self.listeners[name].sockets
        return {bind: sockets[bind] for bind in binds if bind.port or bind.is_unix}


def _less(binds: tuple[Address, ...], others: tuple[Address, ...]) -> list[Address]:
    return [bind for bind in binds if bind not in others]
