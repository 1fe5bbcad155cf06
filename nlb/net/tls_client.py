"""TLS towards targets, and whom it believes: their certificates are verified unless it is written that they are not."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

from nlb.net.tls import TlsSocket


def trusting(verify: bool = True, file: str | None = None, pem: str | None = None) -> ssl.SSLContext:
    """A client's context. It verifies by the authorities in `file` or `pem`, by the system's (20 ms to read) when
    neither is given. Raises OSError when there are none in it.
    """
    if verify:
        return ssl.create_default_context(cafile=file, cadata=pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def name_for(name: str) -> str:
    """A host name or address as certificates and SNI have it; one of other than ASCII letters by IDNA. Raises
    ValueError."""
    if name.startswith("."):
        raise ValueError(f"'{name}' begins with a dot")
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError(f"'{name}' is no host name") from None


@lru_cache(maxsize=64)
def _context(verify: bool, authorities: str | None, alpn: tuple[str, ...], state: tuple[int, ...]) -> ssl.SSLContext:
    """One for all groups, and loads of groups, that check alike: 50 of them must not read the system's 50 times."""
    context = trusting(verify, pem=authorities)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _state_of_system() -> tuple[int, ...]:
    """Differs when the system's authorities are others."""
    places = ssl.get_default_verify_paths()
    found = []
    for path in (places.cafile, places.capath):
        with suppress(OSError):
            found.append(os.stat(path or "").st_mtime_ns)
    return tuple(found)


class ClientContext:
    """How a group's targets are spoken to, one per group and worker. `verify` without a name is not possible: give
    `wrap` the target's address then, which the certificate must be for."""

    def __init__(self, verify: bool = True, authorities: str | None = None, alpn: Sequence[str] = ()) -> None:
        """`authorities` is PEM, None for the system's. Raises OSError."""
        self._context = _context(verify, authorities, tuple(alpn), _state_of_system())

    def wrap(self, sock: socket.socket, server_name: str, session: ssl.SSLSession | None = None) -> TlsSocket:
        """For a connected, non-blocking socket. `server_name` is what `name_for` returned; an address is verified but
        not asked for. A `session` of an earlier connection to the same target, not a must, halves what TLS 1.2 costs.
        """
        return TlsSocket(sock, self._context, False, server_name, session)
