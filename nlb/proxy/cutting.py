"""Who is blocked while connected is cut off: which of the open sessions are meant, and their end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nlb.net.sockets import reset_on_close
from nlb.net.tls import Connection
from nlb.proxy.guard import accepted
from nlb.shield.blocked import Blocked, Entry
from nlb.shield.sources import NOBODY, Source

if TYPE_CHECKING:
    from nlb.proxy.listener import Session


class Cutting:
    """The sources whose sessions are to go. They are gathered, since one walk over all sessions costs the same for one
    source and for a thousand, and offenders may come by the thousand."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due = Blocked()

    def add(self, entries: Iterable[Entry]) -> None:
        self._due.block(entries)

    def spare(self, networks: Iterable[str]) -> None:
        """They are blocked no more."""
        self._due.unblock(networks)

    def cut(self, sessions: Iterable[Session], now: float) -> None:
        """With the outcome phase/blocked. Reset, as at accept: a goodbye would have us wait for theirs."""
        if not self._due:
            return
        due, self._due = self._due, Blocked()
        for session in list(sessions):
            try:
                if _is_meant(session, due, now):
                    reset_on_close(session.client)
                    session.close("blocked")
            except Exception as error:  # the others are to go all the same
                session.crashed(error)


def _is_meant(session: Session, due: Blocked, now: float) -> bool:
    """By its client; or by the proxy that it came through, where that told of the client."""
    if due.has(*accepted(session.client_address), now):
        return True
    return session.listener.proxies is not None and due.has(*_peer(session.client), now)


def _peer(sock: Connection) -> Source:
    try:
        return accepted(sock.getpeername())
    except OSError:
        return NOBODY  # gone already
