"""Sockets that systemd opened for us (sd_listen_fds(3)), before anything else is opened.

Connections queue on them while nlb restarts, so none is refused. Which is for what tells `inherited.match`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, MutableMapping

from nlb.control.inherited import Given, announced, match
from nlb.control.listening import Given as GivenSocket
from nlb.model.address import Address
from nlb.net.sockets import adopt, bound_to

# FileDescriptorName= of what is for the operator: the keys of the config.
ADMIN_SOCKET = "admin.socket"
ADMIN_WEB = "admin.web"


class Activation:
    """What we were started with. `given` is what nobody has claimed yet."""

    def __init__(self, environment: MutableMapping[str, str], pid: int, warn: Callable[[str], None]) -> None:
        """Takes the announcement out of the environment: it is not for our children."""
        self.given: list[GivenSocket] = []
        for fd, name in announced(environment, pid).items():
            try:
                sock = adopt(fd)
            except ValueError as error:
                warn(f"the inherited descriptor {fd} ({name}) is not used: {error}")
            else:
                self.given.append(Given(bound_to(sock), name, sock))
        for variable in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
            environment.pop(variable, None)

    def claim(self, name: str, address: Address) -> socket.socket | None:
        """The socket for something that is no listener, if there is one."""
        found = match([(name, address)], self.given).get((name, address))
        if found is None:
            return None
        self.given.remove(found)
        return found.sock
