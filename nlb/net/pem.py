"""Certificates and keys as bytes, where OpenSSL wants files: they never touch a disk."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from nlb.net.channel import memfd


@contextmanager
def as_file(body: bytes) -> Iterator[str]:
    """The path of a file in memory, for as long as it is needed."""
    fd = memfd("nlb-pem", body)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """A key, its certificate and what signed that, all in one. 0.5 ms. Raises ssl.SSLError."""
    with as_file(pem) as path:
        context.load_cert_chain(path, password=_none)


def _none() -> str:
    """Without this OpenSSL would ask for a password at the terminal, and wait."""
    raise ssl.SSLError("the key is encrypted")
