"""Sockets that were opened before we started: which of them is whose. Nothing here touches a socket.

Two kinds of giver. systemd opens sockets for us and keeps them open when we end (`Given`): we accept on them while
the config wants that, and never close them. Workers of a control that was killed hand on theirs (`Left`): they become
ours, with the connections that queue on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from nlb.model.address import Address

Sock = TypeVar("Sock")

# A listener's name and one of its addresses.
Place = tuple[str, Address]

_FIRST = 3  # sd_listen_fds(3): behind stdin, stdout and stderr


@dataclass(frozen=True, slots=True, eq=False)
class Given(Generic[Sock]):
    """`name` is the FileDescriptorName= of the socket unit; without one, the unit's own."""

    address: Address
    name: str
    sock: Sock

    def __str__(self) -> str:
        return f"{self.address} ({self.name})" if self.name else str(self.address)


@dataclass(frozen=True, slots=True, eq=False)
class Left(Generic[Sock]):
    """`bind` is as in the config of then; `index` is that of the worker."""

    listener: str
    bind: Address
    index: int
    sock: Sock


def announced(environment: Mapping[str, str], pid: int) -> dict[int, str]:
    """Descriptor -> name, of those that are for the process `pid`: a parent's may have been left in our environment."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(pid) or not (count.isascii() and count.isdigit()):
        return {}
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    return {_FIRST + place: names[place] if place < len(names) else "" for place in range(int(count))}


def match(wanted: Iterable[Place], given: Iterable[Given[Sock]]) -> dict[Place, Given[Sock]]:
    """The socket of each place that has one. An address decides; a name does where no address fits."""
    free, matched = list(given), {}
    places = list(wanted)
    for fits in (_by_address, _by_name):
        for place in places:
            if place in matched:
                continue
            for item in free:
                if fits(place, item):
                    matched[place] = item
                    free.remove(item)
                    break
    return matched


def _by_address(place: Place, item: Given[Sock]) -> bool:
    return place[1] == item.address


def _by_name(place: Place, item: Given[Sock]) -> bool:
    return place[0] == item.name


def left_at(place: Place, left: Iterable[Left[Sock]]) -> list[Left[Sock]]:
    """What workers left at a place, in the order of the workers. A listener may have got another name; but nobody
    else can ask for a port that was chosen for it."""
    listener, bind = place
    found = [item for item in left if item.bind == bind]
    if not bind.is_unix and not bind.port:
        found = [item for item in found if item.listener == listener]
    return sorted(found, key=lambda item: item.index)
