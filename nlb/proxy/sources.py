"""From which address a group's connections to its targets come: the kernel's choice, some of ours in turn, or the
client's own.

Several addresses of ours multiply the ports: each gives some 28,000 connections to one target's address and port.
The client's own (`transparent`) needs CAP_NET_ADMIN, and the targets' answers must be routed back through this box.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from nlb.model.address import Address
from nlb.net.sockets import dial


class Sources:
    """Sources of one group, in turn. `dial` is as `sockets.dial`, with the client's address as accept said it."""

    def __init__(self, hosts: list[str], transparent: bool) -> None:
        self._by_family = {version: [host for host in hosts if (":" in host) is version] for version in (False, True)}
        self._transparent = transparent
        self._next = 0

    def dial(self, address: Address, client: Any) -> tuple[socket.socket, int]:
        """One that has no free port left is passed over; when none has, the errno is EADDRNOTAVAIL.

        Raises OSError when no socket can be made, or this process may not take the client's address.
        """
        if address.is_unix:
            return dial(address)
        if self._transparent:
            host = _host(client)
            # A client of the other family, or of a unix socket, has no address that the target could answer to.
            return dial(address, host, transparent=True) if host and (":" in host) is address.is_v6 else dial(address)
        hosts = self._by_family[address.is_v6]
        for _ in hosts:
            self._next += 1
            sock, error = dial(address, hosts[self._next % len(hosts)])
            if error != errno.EADDRNOTAVAIL:
                return sock, error
            sock.close()
        if hosts:
            raise OSError(errno.EADDRNOTAVAIL, "no port is free at any source address")
        return dial(address)


def sources(hosts: list[str], transparent: bool) -> Sources | None:
    """None where the kernel chooses, so that the common case pays nothing."""
    return Sources(hosts, transparent) if hosts or transparent else None


def _host(client: Any) -> str:
    return str(client[0]).removeprefix("::ffff:") if isinstance(client, tuple) else ""
