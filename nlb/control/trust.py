"""TLS as probes speak it: whom they believe, and how they part. And what a connection's troubles are called."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import suppress
from functools import lru_cache

# What other errors are called; the rest in the system's own words.
_WORDS = {
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ECONNRESET: "connection reset",
    errno.ENOTCONN: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ENOENT: "no such socket",
    errno.EAGAIN: "its queue is full",  # a unix socket's; TCP is silent instead
}


def say_goodbye(sock: socket.socket) -> None:
    """Send the end that TLS wants, if it is spoken. The other side's is not waited for."""
    if isinstance(sock, ssl.SSLSocket) and sock.version():
        with suppress(OSError):  # not there yet, or all is broken already
            sock.unwrap()


def tls_context(verify: bool, authorities: str | None) -> ssl.SSLContext:
    """How to speak TLS, shared by all that check alike; a file of `authorities` is read again when it has changed.

    Raises OSError when that cannot be read.
    """
    if not verify or authorities is None:
        return _context(verify, None, 0, 0)
    about = os.stat(authorities)
    return _context(verify, authorities, about.st_ino, about.st_mtime_ns)


@lru_cache(maxsize=16)
def _context(verify: bool, authorities: str | None, inode: int, changed: int) -> ssl.SSLContext:
    if verify:
        return ssl.create_default_context(cafile=authorities)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def trouble_with(authorities: str | None, trouble: OSError) -> str:
    """Why a file of authorities cannot be used."""
    words = "holds no certificate" if isinstance(trouble, ssl.SSLError) else os.strerror(trouble.errno or 0).lower()
    return f"tls_ca {authorities}: {words}"


def words_for(trouble: OSError) -> str:
    """What went wrong, for people."""
    if isinstance(trouble, ssl.SSLCertVerificationError):
        return f"certificate refused: {trouble.verify_message.rstrip('.')}"
    if isinstance(trouble, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "closed in the middle of the TLS handshake"
    if isinstance(trouble, ssl.SSLError):
        return f"no TLS: {(trouble.reason or 'unknown').lower().replace('_', ' ')}"
    number = trouble.errno or 0
    return _WORDS.get(number) or os.strerror(number).lower()
