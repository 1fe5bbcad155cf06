"""Sockets as this program wants them: made, bound, dialled. Names of options and errnos live here and nowhere else."""

from __future__ import annotations

import _socket
import errno
import os
import socket
import ssl
import stat
import struct
from contextlib import ExitStack, suppress
from typing import Any, Protocol

from nlb.errors import StartError
from nlb.model.address import Address

# What a non-blocking call raises when it cannot go on now: with TLS on the socket, and with it or without. Tuples, for
# `except WOULD_BLOCK`.
WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
WOULD_BLOCK = (BlockingIOError, InterruptedError, *WANTS)

# Connections that the kernel holds for us while a worker is busy; the kernel caps it at net.core.somaxconn.
BACKLOG = 4096

# Seconds of silence before the kernel asks a peer whether it is alive, then between askings, then how often.
# Half of NAT boxes' usual 5 minutes, so that idle sessions (350 s) outlive them.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))

# Bytes for a client that the kernel takes before they can be sent. It would take 1.5 MB and more for each of thousands
# of clients that read nothing. With less than this, bulk through TLS costs a tenth more CPU.
UNSENT = 512 * 1024

# linux/in.h, linux/in6.h; the socket module has no names for these in Python 3.11.
_IP_BIND_ADDRESS_NO_PORT = 24
_IP_TRANSPARENT = 19
_IPV6_TRANSPARENT = 75
_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
_LINGER_RESET = struct.pack("ii", 1, 0)
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class BareSocket(socket.socket):
    """Made and closed as in C: no files will be made of it, which the standard one has an eye on."""

    __slots__ = ()

    __init__ = _socket.socket.__init__
    close = _socket.socket.close

    def __exit__(self, *error: object) -> None:
        self.close()


class ListeningSocket(socket.socket):
    """Made of the descriptor of a socket that listens. `accept` as ever, but cheaper: the standard one reads family,
    type and time-outs anew for each connection."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self._made_as = int(self.family), int(self.type), self.proto

    def accept(self) -> tuple[socket.socket, Any]:
        fileno, address = self._accept()  # type: ignore[attr-defined]
        return BareSocket(*self._made_as, fileno), address


class HasOptions(Protocol):
    """A socket, or what stands in for one."""

    def getsockopt(self, level: int, option: int, /) -> int: ...

    def setsockopt(self, level: int, option: int, value: Any, /) -> None: ...


# errno of a failed connect -> cause. Everything else is "unreachable": the network's own ways of saying no.
_CONNECT_CAUSES = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "refused",
    errno.ENOENT: "refused",  # a unix socket whose file is not there
    errno.EAGAIN: "refused",  # a unix socket whose queue is full
    errno.ETIMEDOUT: "timeout",
    errno.EADDRNOTAVAIL: "no_port",
    errno.EMFILE: "descriptors",
    errno.ENFILE: "descriptors",
}


def connect_cause(error: int) -> str:
    """The cause word of a failed connect, from its errno."""
    return _CONNECT_CAUSES.get(error, "unreachable")


def family(address: Address) -> socket.AddressFamily:
    if address.is_unix:
        return socket.AF_UNIX
    return socket.AF_INET6 if address.is_v6 else socket.AF_INET


def sockaddr(address: Address) -> str | tuple[str, int]:
    """What `connect` and `bind` take."""
    return address.path if address.is_unix else (address.host, address.port)


def dial(address: Address, source: str = "", transparent: bool = False) -> tuple[socket.socket, int]:
    """Begin a connection. Returns the socket and 0 (joined already), EINPROGRESS (wait until it is writable),
    or the errno of a failure. Raises OSError when no socket can be made.

    `source` is the address it comes from, the kernel's choice by default; with `transparent` it need not be one of
    this box's (ip(7), IP_TRANSPARENT), which takes CAP_NET_ADMIN: OSError without it.
    """
    sock = BareSocket(family(address), _STREAM)
    try:
        if not address.is_unix:
            tune(sock)
        if source and (error := _come_from(sock, source, transparent)):
            return sock, error
        return sock, sock.connect_ex(sockaddr(address))
    except BaseException:
        sock.close()
        raise


def _come_from(sock: socket.socket, source: str, transparent: bool) -> int:
    """Bind to a source address; returns an errno. The port is left to connect, which may use one again that another
    connection to another target has: bound early, each would be taken for all."""
    v6 = sock.family == socket.AF_INET6
    if transparent:
        sock.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.SOL_IP, _IPV6_TRANSPARENT if v6 else _IP_TRANSPARENT, 1)
    sock.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind((source, 0))
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    return 0


def tune(sock: socket.socket) -> None:
    """Options of every TCP socket that carries traffic."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def tune_listener(sock: socket.socket) -> None:
    """Options that accepted sockets inherit: set once here, they cost nothing per connection."""
    if sock.family == socket.AF_UNIX:
        return
    tune(sock)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def reset_on_close(sock: HasOptions) -> None:
    """Make `close` send a reset instead of an orderly end, and drop what was not sent yet."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)


def wait_for_more(sock: socket.socket, seen: int) -> None:
    """Be readable when there is more than `seen` bytes, which were looked at and left where they are."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, seen + 1)


def error_of(sock: HasOptions) -> int:
    """The pending errno of a socket, 0 for none; asking clears it."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def listen(address: Address, copies: int) -> list[socket.socket]:
    """Bind and listen: one SO_REUSEPORT socket per worker for an IP address, one shared socket for a unix path.

    Port 0 takes a free port, the same for all copies.
    Raises StartError that names the address, and whoever holds it where that can be seen.
    """
    try:
        if address.is_unix:
            return [_listen_unix(address)]
        # SO_REUSEPORT lets a second daemon of the same user join in silently. One bind without it tells.
        with socket.socket(family(address), socket.SOCK_STREAM) as trial:
            _bind(trial, address)
            if address.port == 0:
                address = Address(address.host, trial.getsockname()[1])
        return _listen_together(address, copies)
    except OSError as error:
        raise StartError(_why_not(address, error)) from None


def listen_beside(sock: socket.socket, copies: int) -> list[socket.socket]:
    """Further sockets on the address of this one, which has SO_REUSEPORT. Raises StartError."""
    address = bound_to(sock)
    try:
        return _listen_together(address, copies)
    except OSError as error:
        raise StartError(_why_not(address, error)) from None


def _listen_together(address: Address, copies: int) -> list[socket.socket]:
    with ExitStack() as undo:
        made = [undo.enter_context(_listen_ip(address)) for _ in range(copies)]
        undo.pop_all()
    return made


def adopt(fd: int) -> socket.socket:
    """A listening socket that another program opened for us, made to behave as our own.

    Raises ValueError that says what else the descriptor is.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        raise ValueError("it is no socket") from None
    if sock.type != socket.SOCK_STREAM or sock.family not in _FAMILIES:
        sock.detach()
        raise ValueError("it is no stream socket: use ListenStream=")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise ValueError("it does not listen: use Accept=no")
    # Of the description that all copies share, so it holds in workers too.
    os.set_blocking(fd, False)
    os.set_inheritable(fd, False)
    tune_listener(sock)
    return sock


def spelled(address: Any) -> str:
    """What accept said of a client, for people."""
    if not isinstance(address, tuple):
        return "unix:"
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def bound_to(sock: socket.socket) -> Address:
    """Where a socket listens. One in the abstract namespace has a path that begins with @."""
    name = sock.getsockname()
    if sock.family != socket.AF_UNIX:
        return Address(name[0], name[1])
    return Address("", 0, name if isinstance(name, str) else "@" + name[1:].decode(errors="replace"))


def is_shared(sock: socket.socket) -> bool:
    """Nobody else can listen on its address beside it."""
    return sock.family == socket.AF_UNIX or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def identity(sock: socket.socket) -> int:
    """The same for every descriptor of one socket, in whatever process."""
    return os.fstat(sock.fileno()).st_ino


def peer(sock: socket.socket) -> tuple[int, int]:
    """Process id and user id of who is at the other end of a unix socket, from the kernel: cannot be lied about."""
    pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def _listen_ip(address: Address) -> socket.socket:
    sock = socket.socket(family(address), _STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(sock, address)
        tune_listener(sock)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, address: Address) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if address.is_v6:
        # [::] means IPv6 only, so that 0.0.0.0:80 and [::]:80 are two listeners that do not collide.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(sockaddr(address))


def _listen_unix(address: Address) -> socket.socket:
    remove_stale(address.path)
    sock = socket.socket(socket.AF_UNIX, _STREAM)
    try:
        sock.bind(address.path)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def remove_stale(path: str) -> None:
    """Remove a unix socket that nobody listens on any more. Raises OSError (EADDRINUSE) when somebody does."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return  # bind will say that the path is taken; never remove somebody's file
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(1)
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except (BlockingIOError, TimeoutError):
            pass  # its queue is full: somebody is there, only busy
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _why_not(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{address} is already taken{_holder(address)}"
    if error.errno in (errno.EACCES, errno.EPERM) and not address.is_unix:
        return f"no right to listen on {address}: ports below 1024 need root or CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address} is not an address of this box"
    return f"cannot listen on {address}: {os.strerror(error.errno or 0)}"


def _holder(address: Address) -> str:
    """' by nginx (pid 812)', or nothing where it cannot be seen."""
    if address.is_unix:
        return ""
    import psutil  # 20 ms, needed only here

    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            where = connection.laddr
            if where and connection.status == psutil.CONN_LISTEN and where.port == address.port:
                if connection.pid is None:
                    return ""
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
