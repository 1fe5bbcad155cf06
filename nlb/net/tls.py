"""TLS on a socket, and a listener's side of it: which certificate a client meets, by the name that it asks for.

    ServerContext ── wrap ──> TlsSocket ── handshake, until it no longer raises ──> recv, send ── shutdown ──> close

Nothing here waits: what cannot go on raises one of sockets.WANTS, and is called again when the socket is ready.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nlb.net.openssl import openssl
from nlb.net.tickets import share_tickets
from nlb.net.tls_context import Recipe

# Why a handshake with a client failed: OpenSSL's reason -> our word. What is not here is bad_handshake.
_CAUSES = {
    "HTTP_REQUEST": "plain_http",
    "HTTPS_PROXY_REQUEST": "plain_http",
    "WRONG_VERSION_NUMBER": "not_tls",
    "UNKNOWN_PROTOCOL": "not_tls",
    "UNEXPECTED_MESSAGE": "not_tls",
    "PACKET_LENGTH_TOO_LONG": "not_tls",
    "BAD_PACKET": "not_tls",
    "UNSUPPORTED_PROTOCOL": "old_version",
    "NO_PROTOCOLS_AVAILABLE": "old_version",
    "VERSION_TOO_LOW": "old_version",
    "NO_SHARED_CIPHER": "no_common_cipher",
    "NO_SHARED_GROUPS": "no_common_cipher",
    "NO_SUITABLE_GROUPS": "no_common_cipher",
    "NO_SUITABLE_KEY_SHARE": "no_common_cipher",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "no_common_cipher",
    "NO_SHARED_SIGNATURE_ALGORITHMS": "no_common_cipher",
    "CALLBACK_FAILED": "unknown_name",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no_client_certificate",
    "CERTIFICATE_VERIFY_FAILED": "bad_client_certificate",
}

# Word -> what it means, for those who read of it.
HANDSHAKE_CAUSES = {
    "plain_http": "the client spoke plain HTTP to a port of TLS",
    "not_tls": "what the client sent is not TLS",
    "old_version": "the client has no version of TLS that the policy allows",
    "no_common_cipher": "client and policy have no cipher, group or signature in common",
    "unknown_name": "the client asked for a name that no certificate has, or for none, and strict_sni is on",
    "no_client_certificate": "the client has no certificate, and client_auth is required",
    "bad_client_certificate": "the client's certificate is not from client_ca, or is not valid",
    "client_alert": "the client ended the handshake, mostly as it does not trust the certificate",
    "client_closed": "the client closed the connection in the middle of the handshake",
    "client_reset": "the client reset the connection in the middle of the handshake",
    "bad_handshake": "the client broke the rules of TLS",
}

_UNKNOWN_NAME = ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

# What may be told on, to logs and targets. OpenSSL passes any bytes but NUL.
_HOST_NAME = re.compile(r"[0-9a-z_-][0-9a-z_.-]{0,252}", re.ASCII).fullmatch


class TlsSocket:
    """A connected, non-blocking socket with TLS on it. Takes the place of one that pipes and exchanges know.

    It speaks to _ssl's object without ssl.SSLSocket between: that makes a socket anew and asks it for its peer, 22 us
    of the 270 that a handshake takes.
    """

    __slots__ = (
        "__weakref__",
        "_is_rude",
        "_said_goodbye",
        "_tls",
        "handshake",
        "pending",
        "send",
        "server_name",
        "sock",
    )

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        is_server: bool,
        server_name: str = "",
        session: ssl.SSLSession | None = None,
    ) -> None:
        """`is_server`, as the context is; on a client's side, `server_name` is whom the certificate must be for.
        Raises OSError, and leaves `sock` as it was."""
        if context.check_hostname and not server_name:
            raise ValueError("whom the certificate must be for is not said")  # _ssl itself would let anyone pass
        wrap = context._wrap_socket  # type: ignore[attr-defined]
        tls: Any = wrap(sock, is_server, server_name or None, owner=self, session=session)
        self.sock = sock  # as it is without TLS
        self.server_name = server_name  # on a server's side: a name that the client asked for, in small letters
        self._tls = tls
        self._is_rude = False
        self._said_goodbye = False
        # Straight to the methods in C, without a frame of Python. Until `handshake()` returns, none of the others.
        self.handshake = tls.do_handshake
        self.pending = tls.pending
        # All of it, or one of WANTS: then it must be called with the same bytes again, more of them at most, since a
        # part may be under way.
        self.send = tls.write

    def recv(self, size: int) -> bytes:
        """At most one record, and with a size of at least 16384 a whole one, so that nothing stays behind in OpenSSL,
        where epoll cannot see it. b"" when the other side said goodbye. SSLEOFError: it ended without, so what came
        may be cut short."""
        try:
            data: bytes = self._tls.read(size)
        except ssl.SSLZeroReturnError:  # goodbye on both sides
            return b""
        except ssl.SSLEOFError:
            self._said_goodbye = True  # nobody is there to hear it
            raise
        return data

    def shutdown(self, how: int) -> None:
        """Say goodbye, then end the socket's side. SSLWantWriteError: no room for that now, call again."""
        if how != socket.SHUT_RD and not self.say_goodbye():
            raise ssl.SSLWantWriteError("no room to say goodbye")
        self.sock.shutdown(how)

    def close(self) -> None:
        """In order, unless told to reset. May be called twice. The goodbye is lost when there is no room for it: see
        `parted`."""
        if self.sock.fileno() >= 0:
            self.say_goodbye()
        self.sock.close()

    def say_goodbye(self) -> bool:
        """False: the socket has no room for it, call again when it has. It is said once, whatever the calls, and never
        by one that is to be reset."""
        if self._said_goodbye or self._is_rude or not self._tls.version():
            return True
        reached = openssl()
        if reached:
            self._said_goodbye = reached.say_goodbye(self._tls)
            return self._said_goodbye
        try:
            self._tls.shutdown()
        except ssl.SSLWantWriteError:
            return False
        except OSError:
            pass  # it waits for an answer, which is not there yet
        self._said_goodbye = True
        return True

    def fileno(self) -> int:
        return self.sock.fileno()

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        if option == socket.SO_LINGER and level == socket.SOL_SOCKET:
            self._is_rude = True  # see `reset_on_close`
        self.sock.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int) -> int:
        return self.sock.getsockopt(level, option)

    def getsockname(self) -> Any:
        return self.sock.getsockname()

    def getpeername(self) -> Any:
        return self.sock.getpeername()

    # --- facts, once the handshake is done

    @property
    def version(self) -> str:
        """TLSv1.3; empty before."""
        return self._tls.version() or ""

    @property
    def cipher(self) -> str:
        found = self._tls.cipher()
        return found[0] if found else ""

    @property
    def alpn(self) -> str:
        return self._tls.selected_alpn_protocol() or ""

    @property
    def is_resumed(self) -> bool:
        return bool(self._tls.session_reused)

    @property
    def session(self) -> ssl.SSLSession | None:
        """To come back to the same server with, by the same context."""
        found: ssl.SSLSession | None = self._tls.session
        return found

    @property
    def shown(self) -> tuple[str, str]:
        """Of the certificate that we showed: how it is signed and its key, in haproxy's words. Empty where none was, as
        in a session that is resumed, or where OpenSSL is out of reach."""
        reached = None if self.is_resumed else openssl()
        return reached.shown(self._tls) if reached else ("", "")

    def certificate(self) -> dict[str, Any]:
        """The other side's, as Python reads it, 5 us; empty where none was asked for or given."""
        return self._tls.getpeercert(False) or {}

    def certificate_der(self) -> bytes:
        return self._tls.getpeercert(True) or b""


# What sessions hold: who reads and sends need not know which.
Connection = socket.socket | TlsSocket


def parted(sock: Connection) -> bool:
    """Before a close in order: the other side was told, where TLS wants that. False: it has no room for that now. What
    was sent before gets there after the close, but without a goodbye nobody can tell it from what was cut."""
    return not isinstance(sock, TlsSocket) or sock.say_goodbye()


class ServerContext:
    """A listener's side of TLS, made of what control sends: plain data, see `control` for where it comes from.

    certificates: [{"names": [...], "pem": "..."}], the key in the same text; default: numbers of those for a client
    that names nobody known; policy, alpn, client_ca (PEM or ""), client_auth, strict_sni.

    Certificates of one name with keys of different kinds lie in one context, and OpenSSL takes what the client can
    verify. The contexts are made when first asked for, 1 ms each, so a reload with 1,000 names costs one.
    """

    def __init__(self, spec: Mapping[str, Any], secret: bytes = b"") -> None:
        """`secret` of tickets; without one, sessions are resumed by this context only. Raises ssl.SSLError."""
        recipe = Recipe(spec)
        self._domain = recipe.domain
        self._initial = recipe.context(tuple(spec["default"]))
        # Whatever name leads to: tickets are granted and judged by the context that a connection began with.
        self.share_tickets(secret)
        self._initial.sni_callback = _Names(spec, recipe).asked  # type: ignore[assignment]
        _ignore_what_is_no_name()

    def share_tickets(self, secret: bytes) -> bool:
        """Another secret, for handshakes from now on. See tickets.py; False where that cannot be."""
        return bool(secret) and share_tickets(self._initial, secret, self._domain)

    def wrap(self, sock: socket.socket) -> TlsSocket:
        """For an accepted, non-blocking socket. 7 us."""
        return TlsSocket(sock, self._initial, True)


class _Names:
    """Name -> context. It does not hold the context that it is called by, so no circle outlives a reload."""

    def __init__(self, spec: Mapping[str, Any], recipe: Recipe) -> None:
        self._recipe = recipe
        self._strict = bool(spec["strict_sni"])
        self._default = tuple(spec["default"])
        self._made: dict[tuple[int, ...], ssl.SSLContext] = {}
        self._chosen: dict[str, tuple[int, ...]] = {}
        for number, certificate in enumerate(spec["certificates"]):
            for name in certificate["names"]:
                self._chosen[name] = (*self._chosen.get(name, ()), number)

    def asked(self, connection: TlsSocket, name: str | None, context: ssl.SSLContext) -> int | None:
        """Called by OpenSSL for every handshake, about 1 us; the number of an alert ends it."""
        if name is None:
            return _UNKNOWN_NAME if self._strict else None
        name = name.lower().rstrip(".")
        if _HOST_NAME(name):
            connection.server_name = name
        chosen = self._chosen.get(name) or self._chosen.get(f"*.{name.partition('.')[2]}")
        if chosen is None:
            return _UNKNOWN_NAME if self._strict else None
        if chosen != self._default:
            made = self._made.get(chosen)
            if made is None:
                made = self._made[chosen] = self._recipe.context(chosen)
            connection._tls.context = made
        return None


def handshake_cause(error: OSError, sock: socket.socket | None = None) -> str:
    """Why a handshake with a client failed, a word of HANDSHAKE_CAUSES. With `sock`, the one below TLS, plain HTTP is
    known by more than the four methods that OpenSSL knows."""
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "client_closed"
    if not isinstance(error, ssl.SSLError):
        return "client_reset"
    reason = error.reason or ""
    cause = _CAUSES.get(reason, "client_alert" if "_ALERT_" in reason else "bad_handshake")
    if reason == "WRONG_VERSION_NUMBER" and sock is not None and _goes_on_in_http(sock):
        return "plain_http"
    return cause


def _goes_on_in_http(sock: socket.socket) -> bool:
    """OpenSSL took the first five bytes. What follows may still be there."""
    with suppress(OSError):
        return b" HTTP/1." in sock.recv(4096, socket.MSG_PEEK)
    return False


def _ignore_what_is_no_name() -> None:
    """Python decodes the name that a client asks for as ASCII, and where it is none, ends the handshake and writes a
    traceback to stderr: a log that strangers fill. The handshake's error says enough."""
    before = sys.unraisablehook
    if getattr(before, "is_of_nlb", False):
        return

    def hook(trouble: Any) -> None:
        if not (issubclass(trouble.exc_type, UnicodeDecodeError) and isinstance(trouble.object, bytes)):
            before(trouble)

    hook.is_of_nlb = True  # type: ignore[attr-defined]
    sys.unraisablehook = hook
