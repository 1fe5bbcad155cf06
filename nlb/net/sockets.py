"""Sockets as this program wants them: made, bound, dialled. Names of options and errnos live here and nowhere else."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from contextlib import suppress

from nlb.errors import StartError
from nlb.model.address import Address

# What a non-blocking call raises when it cannot go on now. A tuple, for `except WOULD_BLOCK`.
WOULD_BLOCK = (BlockingIOError, InterruptedError)

# Connections that the kernel holds for us while a worker is busy; the kernel caps it at net.core.somaxconn.
BACKLOG = 4096

# Seconds of silence before the kernel asks a peer whether it is alive, then between askings, then how often.
# Half of NAT boxes' usual 5 minutes, so that idle sessions (350 s) outlive them.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; the socket module has no name for it in Python 3.11
_LINGER_RESET = struct.pack("ii", 1, 0)

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


def dial(address: Address) -> tuple[socket.socket, int]:
    """Begin a connection. Returns the socket and 0 (joined already), EINPROGRESS (wait until it is writable),
    or the errno of a failure. Raises OSError when no socket can be made."""
    sock = socket.socket(family(address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    if not address.is_unix:
        tune(sock)
    try:
        return sock, sock.connect_ex(sockaddr(address))
    except BaseException:
        sock.close()
        raise


def tune(sock: socket.socket) -> None:
    """Options of every TCP socket that carries traffic."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def tune_listener(sock: socket.socket) -> None:
    """Options that accepted sockets inherit: set once here, they cost nothing per connection."""
    if sock.family == socket.AF_UNIX:
        return
    tune(sock)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def reset_on_close(sock: socket.socket) -> None:
    """Make `close` send a reset instead of an orderly end, and drop what was not sent yet."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)


def error_of(sock: socket.socket) -> int:
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
        return [_listen_ip(address) for _ in range(copies)]
    except OSError as error:
        raise StartError(_why_not(address, error)) from None


def _listen_ip(address: Address) -> socket.socket:
    sock = socket.socket(family(address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
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
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
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
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == address.port:
                if connection.pid is None:
                    return ""
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
