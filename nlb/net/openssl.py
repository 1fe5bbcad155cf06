"""What Python's ssl module has no call for is set in OpenSSL itself, through ctypes: keys of session tickets, groups,
suites of TLS 1.3, names of client authorities, a close_notify that reads nothing, which certificate was shown.

Nothing is written before everything was read: the library is the very one that Python's _ssl is linked to, found
through it and never loaded anew; where a context's and a connection's pointers lie is tried on contexts of ours, and
what OpenSSL says behind them must be what Python says. Where one thing differs, OpenSSL is out of reach, and why.
"""

from __future__ import annotations

import _ssl
import ctypes
import os
import ssl
from collections.abc import Iterable
from functools import cache
from typing import Any

# openssl/ssl.h
_CTRL_SESSION_CACHE = 44
_CTRL_GET_TICKET_KEYS = 58
_CTRL_SET_TICKET_KEYS = 59
_CTRL_SET_GROUPS_LIST = 92
_CTRL_GET_MIN_VERSION = 130
_CACHE_OFF = 0
_WANT_WRITE = 3

_POINTER = ctypes.sizeof(ctypes.c_void_p)
_FIRST = object.__basicsize__  # where an object's own fields begin

# Name -> (result, arguments). Pointers are numbers here.
_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_long
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "OpenSSL_version": (ctypes.c_char_p, [_I]),
    "ERR_clear_error": (None, []),
    "SSL_CTX_ctrl": (_L, [_P, _I, _L, _P]),
    "SSL_CTX_get_options": (ctypes.c_uint64, [_P]),
    "SSL_CTX_get_verify_mode": (_I, [_P]),
    "SSL_CTX_set_ciphersuites": (_I, [_P, ctypes.c_char_p]),
    "SSL_CTX_set_client_CA_list": (None, [_P, _P]),
    "SSL_load_client_CA_file": (_P, [ctypes.c_char_p]),
    "SSL_get_SSL_CTX": (_P, [_P]),
    "SSL_get_error": (_I, [_P, _I]),
    "SSL_shutdown": (_I, [_P]),
    "SSL_get_certificate": (_P, [_P]),
    "X509_get_signature_nid": (_I, [_P]),
    "X509_get0_pubkey": (_P, [_P]),
    "EVP_PKEY_get_base_id": (_I, [_P]),
    "EVP_PKEY_get_bits": (_I, [_P]),
    "OBJ_nid2sn": (ctypes.c_char_p, [_I]),
}

# Functions that had other names before OpenSSL 3.
_BEFORE_3 = {"EVP_PKEY_get_base_id": "EVP_PKEY_base_id", "EVP_PKEY_get_bits": "EVP_PKEY_bits"}

# Kinds of keys by number, in the words of haproxy and of the PROXY protocol's specification.
_KINDS = {6: "RSA", 408: "EC"}

# Python's modes of verifying, as OpenSSL's bits: VERIFY_PEER, FAIL_IF_NO_PEER_CERT.
_VERIFY = {ssl.CERT_NONE: 0, ssl.CERT_OPTIONAL: 1, ssl.CERT_REQUIRED: 3}


class OutOfReachError(Exception):
    """OpenSSL cannot be spoken to. The text says why."""


class OpenSsl:
    """The library behind this process's ssl module. Costs: a call is 0.3 to 0.6 us and what OpenSSL does in it."""

    def __init__(self) -> None:
        """Raises OutOfReachError."""
        self._functions = _find()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._prove(server)
        self.ticket_key_size: int = self._ctrl(_pointer_at(id(server)), _CTRL_GET_TICKET_KEYS, 0, None)
        if self.ticket_key_size < 48:
            raise OutOfReachError("this OpenSSL has no keys of session tickets to set")

    def set_ticket_key(self, context: ssl.SSLContext, key: bytes) -> None:
        """`ticket_key_size` bytes: the key's public name, then its secrets. For handshakes from now on."""
        if len(key) != self.ticket_key_size:
            raise ValueError(f"a ticket key of {len(key)} bytes; {self.ticket_key_size} are right")
        if self._ctrl(self._of(context), _CTRL_SET_TICKET_KEYS, len(key), key) != 1:
            raise OutOfReachError("OpenSSL refused the key of session tickets")

    def set_groups(self, context: ssl.SSLContext, names: Iterable[str]) -> list[str]:
        """Offer these for key exchange, in this order, or those of them that are known, which are returned."""
        pointer = self._of(context)
        known = [name for name in names if self._ctrl(pointer, _CTRL_SET_GROUPS_LIST, 0, name.encode()) == 1]
        self._ctrl(pointer, _CTRL_SET_GROUPS_LIST, 0, ":".join(known).encode())
        self._functions.ERR_clear_error()
        return known

    def set_suites(self, context: ssl.SSLContext, names: Iterable[str]) -> None:
        """Offer these of TLS 1.3, in this order."""
        self._functions.SSL_CTX_set_ciphersuites(self._of(context), ":".join(names).encode())
        self._functions.ERR_clear_error()

    def keep_no_sessions(self, context: ssl.SSLContext) -> None:
        """Tickets are kept by clients. OpenSSL would also keep up to 20,480 sessions of clients that take none: memory
        that strangers fill, for a worker that they may not meet again."""
        self._ctrl(self._of(context), _CTRL_SESSION_CACHE, _CACHE_OFF, None)

    def name_authorities(self, context: ssl.SSLContext, file: str) -> None:
        """Tell clients the authorities of this PEM file when asking for a certificate, so that they choose the right
        one; Python tells none."""
        pointer = self._of(context)
        names = self._functions.SSL_load_client_CA_file(file.encode())
        if names:
            self._functions.SSL_CTX_set_client_CA_list(pointer, names)  # which owns them from now on
        self._functions.ERR_clear_error()

    def say_goodbye(self, connection: object) -> bool:
        """Send close_notify, once. False: the socket has no room, call again when it has. Python's own call goes on to
        read, and breaks the connection when it finds data: half of a half-closed one would be lost."""
        pointer = _pointer_at(id(connection), _POINTER)
        said = self._functions.SSL_shutdown(pointer)
        if said >= 0:
            return True
        must_wait: bool = self._functions.SSL_get_error(pointer, said) == _WANT_WRITE
        self._functions.ERR_clear_error()  # or another connection's next call would be taken for this failure
        return not must_wait

    def shown(self, connection: object) -> tuple[str, str]:
        """How the certificate that this side of a connection has shown is signed (ecdsa-with-SHA256), and its key
        (EC256): of several, OpenSSL chose one. Empty where it showed none. 2 us."""
        functions = self._functions
        certificate = functions.SSL_get_certificate(_pointer_at(id(connection), _POINTER))
        key = functions.X509_get0_pubkey(certificate) if certificate else None
        if not key:
            return "", ""
        signature = functions.OBJ_nid2sn(functions.X509_get_signature_nid(certificate)) or b""
        kind = _KINDS.get(functions.EVP_PKEY_get_base_id(key), "")
        return signature.decode(), f"{kind}{functions.EVP_PKEY_get_bits(key)}" if kind else ""

    def _of(self, context: ssl.SSLContext) -> int:
        pointer = _pointer_at(id(context))
        if not self._agree(context, pointer):
            raise OutOfReachError("what OpenSSL says of a context is not what Python says")
        return pointer

    def _agree(self, context: ssl.SSLContext, pointer: int) -> bool:
        functions = self._functions
        return (
            functions.SSL_CTX_get_options(pointer) == context.options & (1 << 64) - 1
            and functions.SSL_CTX_get_verify_mode(pointer) & 3 == _VERIFY[context.verify_mode]
            and self._ctrl(pointer, _CTRL_GET_MIN_VERSION, 0, None) == max(context.minimum_version, 0)
        )

    def _ctrl(self, pointer: int, command: int, number: int, argument: bytes | None) -> int:
        return int(self._functions.SSL_CTX_ctrl(pointer, command, number, argument))

    def _prove(self, server: ssl.SSLContext) -> None:
        """Two contexts that differ, and a connection of each: read and compared. What is no memory is not followed."""
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.options |= ssl.OP_NO_TICKET
        client.minimum_version = ssl.TLSVersion.TLSv1_3
        if _pointer_at(id(server)) == _pointer_at(id(client)):
            raise OutOfReachError("this Python keeps its TLS contexts in a way that nlb does not know")
        for context, name in ((server, None), (client, "nlb.invalid")):
            pointer = _pointer_at(id(context))
            if not _is_memory(pointer) or not self._agree(context, pointer):
                raise OutOfReachError("this Python keeps its TLS contexts in a way that nlb does not know")
            made = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=name is None, server_hostname=name)
            connection = _pointer_at(id(made._sslobj), _POINTER)  # type: ignore[attr-defined]
            if not _is_memory(connection) or self._functions.SSL_get_SSL_CTX(connection) != pointer:
                raise OutOfReachError("this Python keeps its TLS connections in a way that nlb does not know")


@cache
def _reach() -> tuple[OpenSsl | None, str]:
    try:
        return OpenSsl(), ""
    except OutOfReachError as reason:
        return None, str(reason)


def openssl() -> OpenSsl | None:
    """The library, proved once in a process; None where it is out of reach."""
    return _reach()[0]


def out_of_reach() -> str:
    """Why; empty where it is not."""
    return _reach()[1]


def _find() -> Any:
    """The functions, as _ssl itself sees them: its handle leads to the library that it is linked to, and no other."""
    file = getattr(_ssl, "__file__", None)  # none: it is a part of Python's own program
    try:
        # PyDLL keeps Python's lock: taking it again would cost more than these calls do.
        library = ctypes.PyDLL(file, mode=os.RTLD_NOW | os.RTLD_NOLOAD if file else os.RTLD_NOW)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name, None) or getattr(library, _BEFORE_3.get(name, name))
            function.restype = result
            function.argtypes = arguments
    except (AttributeError, OSError):
        raise OutOfReachError("OpenSSL is built into this Python and cannot be seen from outside") from None
    version = library.OpenSSL_version(0).decode()
    if version != ssl.OPENSSL_VERSION:
        raise OutOfReachError(f"found {version}, but Python's is {ssl.OPENSSL_VERSION}")
    return library


def _pointer_at(address: int, offset: int = 0) -> int:
    """The pointer in an object's own fields. Part of the object, so reading it is safe whatever it is."""
    return ctypes.c_void_p.from_address(address + _FIRST + offset).value or 0


def _is_memory(pointer: int) -> bool:
    """It may be read: a page of ours, with room for the fields that OpenSSL looks at."""
    if pointer == 0 or pointer % _POINTER:
        return False
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                begin, _, end = line.partition(" ")[0].partition("-")
                if int(begin, 16) <= pointer < int(end, 16) - 1024:
                    return " rw" in line
    except OSError:
        pass
    return False
