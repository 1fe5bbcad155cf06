"""Sockets: made as promised, and what cannot be is said in words that help."""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nlb.errors import StartError
from nlb.model.address import Address, parse_address
from nlb.net import sockets
from nlb.net.sockets import connect_cause, dial, error_of, family, listen, reset_on_close, sockaddr
from tests.ipv6 import needs_ipv6
from tests.waiting import until

HERE = {"v4": "127.0.0.1:0", "v6": "[::1]:0", "unix": "unix:"}


KINDS = ["v4", pytest.param("v6", marks=needs_ipv6), "unix"]


@pytest.fixture
def keep() -> Iterator[ExitStack]:
    """Closes what a test opened."""
    with ExitStack() as stack:
        yield stack


def address_of(kind: str, folder: Path) -> Address:
    return parse_address(HERE[kind] + str(folder / "socket") if kind == "unix" else HERE[kind])


def bound(sock: socket.socket) -> Address:
    """Where it really listens."""
    name = sock.getsockname()
    return Address("", 0, name) if sock.family == socket.AF_UNIX else Address(*name[:2])


# --- listen and dial


@pytest.mark.parametrize("kind", KINDS)
def test_what_listens_can_be_dialled(kind: str, tmp_path: Path, keep: ExitStack) -> None:
    (listener,) = listen(address_of(kind, tmp_path), 1)
    keep.enter_context(listener)
    sock, error = dial(bound(listener))
    keep.enter_context(sock)
    assert error in (0, errno.EINPROGRESS)
    assert select.select([], [sock], [], 10)[1]
    assert error_of(sock) == 0
    accepted, _ = listener.accept()
    keep.enter_context(accepted)
    sock.send(b"through")
    assert select.select([accepted], [], [], 10)[0]
    assert accepted.recv(100) == b"through"


@pytest.mark.parametrize("kind", ["v4", pytest.param("v6", marks=needs_ipv6)])
def test_every_worker_gets_its_own_socket_on_the_same_port(kind: str, tmp_path: Path, keep: ExitStack) -> None:
    made = [keep.enter_context(sock) for sock in listen(address_of(kind, tmp_path), 3)]
    assert len(made) == 3
    assert len({bound(sock) for sock in made}) == 1
    assert bound(made[0]).port > 0


def test_a_unix_socket_is_shared(tmp_path: Path, keep: ExitStack) -> None:
    (only,) = listen(address_of("unix", tmp_path), 3)
    keep.enter_context(only)


@needs_ipv6
def test_all_of_ipv4_and_all_of_ipv6_do_not_collide(keep: ExitStack) -> None:
    (v4,) = listen(Address("0.0.0.0", 0), 1)
    keep.enter_context(v4)
    (v6,) = listen(Address("::", bound(v4).port), 1)
    keep.enter_context(v6)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_listening_nor_dialling_blocks(kind: str, tmp_path: Path, keep: ExitStack) -> None:
    (listener,) = listen(address_of(kind, tmp_path), 1)
    keep.enter_context(listener)
    with pytest.raises(BlockingIOError):
        listener.accept()
    sock, _ = dial(bound(listener))
    keep.enter_context(sock)
    assert select.select([], [sock], [], 10)[1]
    with pytest.raises(BlockingIOError):
        sock.recv(1)


def test_options_reach_both_sides(keep: ExitStack) -> None:
    (listener,) = listen(Address("127.0.0.1", 0), 1)
    keep.enter_context(listener)
    sock, _ = dial(bound(listener))
    keep.enter_context(sock)
    until(lambda: select.select([listener], [], [], 0)[0])
    accepted, _ = listener.accept()
    keep.enter_context(accepted)
    for side in (sock, accepted):
        assert side.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert side.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for option, value in sockets.KEEPALIVE:
        assert accepted.getsockopt(socket.IPPROTO_TCP, option) == value
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == sockets.UNSENT


def test_nobody_there(tmp_path: Path, keep: ExitStack) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        free = bound(sock)
    sock, error = dial(free)
    keep.enter_context(sock)
    assert error in (errno.EINPROGRESS, errno.ECONNREFUSED)
    assert select.select([], [sock], [], 10)[1]
    assert connect_cause(error_of(sock) or error) == "refused"
    sock, error = dial(Address("", 0, str(tmp_path / "nobody")))
    keep.enter_context(sock)
    assert connect_cause(error) == "refused"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.ECONNRESET, "refused"),
        (errno.ENOENT, "refused"),
        (errno.EAGAIN, "refused"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.EADDRNOTAVAIL, "no_port"),
        (errno.EMFILE, "descriptors"),
        (errno.ENFILE, "descriptors"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EHOSTDOWN, "unreachable"),
        (errno.EPERM, "unreachable"),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else value,
)
def test_the_cause_of_a_failed_connect(error: int, cause: str) -> None:
    assert connect_cause(error) == cause


@pytest.mark.parametrize(
    ("text", "wanted_family", "wanted"),
    [
        ("10.0.0.1:80", socket.AF_INET, ("10.0.0.1", 80)),
        ("[2001:db8::1]:80", socket.AF_INET6, ("2001:db8::1", 80)),
        ("unix:/run/app.sock", socket.AF_UNIX, "/run/app.sock"),
    ],
)
def test_addresses_as_the_kernel_takes_them(text: str, wanted_family: int, wanted: object) -> None:
    address = parse_address(text)
    assert (family(address), sockaddr(address)) == (wanted_family, wanted)


def test_a_reset_on_close_is_seen_as_one(keep: ExitStack) -> None:
    (listener,) = listen(Address("127.0.0.1", 0), 1)
    keep.enter_context(listener)
    sock, _ = dial(bound(listener))
    until(lambda: select.select([listener], [], [], 0)[0])
    accepted, _ = listener.accept()
    keep.enter_context(accepted)
    reset_on_close(sock)
    sock.close()
    reset_on_close(sock)  # of a closed one: nothing happens
    with pytest.raises(ConnectionResetError):
        accepted.recv(1)


# --- what cannot be


def test_a_taken_port_is_said_with_its_holder(keep: ExitStack) -> None:
    """Also when the holder let others share the port: SO_REUSEPORT would join it silently."""
    pytest.importorskip("psutil")
    (first,) = listen(Address("127.0.0.1", 0), 1)
    keep.enter_context(first)
    taken = bound(first)
    with pytest.raises(StartError, match=rf"^{taken} is already taken by .+ \(pid {os.getpid()}\)$"):
        listen(taken, 1)


def test_a_port_whose_last_connections_linger_is_free(keep: ExitStack) -> None:
    """TIME_WAIT of the daemon before us must not keep us from starting."""
    (first,) = listen(Address("127.0.0.1", 0), 1)
    address = bound(first)
    sock, _ = dial(address)
    until(lambda: select.select([first], [], [], 0)[0])
    accepted, _ = first.accept()
    accepted.close()  # the side that closes first waits
    assert select.select([sock], [], [], 10)[0]
    assert sock.recv(1) == b""
    sock.close()
    first.close()
    keep.enter_context(listen(address, 1)[0])


def test_a_foreign_address() -> None:
    with pytest.raises(StartError, match=r"^192\.0\.2\.1:8080 is not an address of this box$"):
        listen(Address("192.0.2.1", 8080), 1)


def test_a_stale_unix_socket_is_replaced(tmp_path: Path, keep: ExitStack) -> None:
    address = address_of("unix", tmp_path)
    listen(address, 1)[0].close()
    assert os.path.exists(address.path)
    keep.enter_context(listen(address, 1)[0])
    keep.enter_context(dial(address)[0])


@pytest.mark.parametrize("full", [False, True], ids=["listening", "queue full"])
def test_a_unix_socket_in_use_is_left_alone(tmp_path: Path, keep: ExitStack, full: bool) -> None:
    address = address_of("unix", tmp_path)
    other = keep.enter_context(socket.socket(socket.AF_UNIX))
    other.bind(address.path)
    other.listen(0)
    while full:
        sock, error = dial(address)
        keep.enter_context(sock)
        full = error != errno.EAGAIN
    with pytest.raises(StartError, match=rf"^{address} is already taken$"):
        listen(address, 1)
    assert os.path.exists(address.path)


@pytest.mark.parametrize("what", ["file", "folder", "dangling link"])
def test_somebodys_file_is_not_removed(tmp_path: Path, what: str) -> None:
    path = tmp_path / "socket"
    if what == "file":
        path.write_text("precious")
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StartError, match="is already taken"):
        listen(Address("", 0, str(path)), 1)
    assert path.is_symlink() or path.exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="No such file or directory"):
        listen(Address("", 0, str(tmp_path / "missing/socket")), 1)


@pytest.mark.skipif(os.getuid() == 0, reason="root may listen on any port")
def test_a_low_port_without_the_right() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1:
        pytest.skip("this box lets everyone listen on low ports")
    with pytest.raises(StartError, match="ports below 1024 need root or CAP_NET_BIND_SERVICE"):
        listen(Address("127.0.0.1", 1), 1)


def test_without_descriptors_nothing_is_left_open(keep: ExitStack) -> None:
    """Two of three copies could be made: they are closed again."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        free = bound(sock)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + 2, hard))
    try:
        with pytest.raises(StartError, match="Too many open files"):
            listen(free, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    keep.enter_context(listen(free, 1)[0])
