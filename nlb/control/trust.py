"""TLS as probes speak it: whom they believe, and how they part. And what a connection's troubles are called."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import suppress
from functools import lru_cache

from nlb.net.tls_client import trusting

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


# By file of authorities: what was made of it the last time that it could be read.
_last_good: dict[str, ssl.SSLContext] = {}


def tls_context(verify: bool, authorities: str | None) -> ssl.SSLContext:
    """How to speak TLS, shared by all that check alike; a file of `authorities` is read again when it has changed.
    Where it has become bad, what it had before goes on; whoever watches such files tells of that.

    Raises OSError when it cannot be read, and never could.
    """
    if not verify or authorities is None:
        return _context(verify, None, 0, 0)
    try:
        about = os.stat(authorities)
        context = _last_good[authorities] = _context(True, authorities, about.st_ino, about.st_mtime_ns)
    except OSError:
        if authorities not in _last_good:
            raise
        context = _last_good[authorities]
    return context


@lru_cache(maxsize=16)
def _context(verify: bool, authorities: str | None, inode: int, changed: int) -> ssl.SSLContext:
    return trusting(verify, authorities)


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
