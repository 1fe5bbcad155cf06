"""Where connections to targets come from: the kernel's choice, addresses in turn, or the client's own."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from nlb.model.address import Address
from nlb.proxy.sources import Sources, sources


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        sock.settimeout(10)
        yield sock


def where(listener: socket.socket) -> Address:
    return Address(*listener.getsockname()[:2])


def seen_from(listener: socket.socket, chosen: Sources, client: object = ("127.0.0.9", 5)) -> str:
    """The address that the target sees."""
    sock, error = chosen.dial(where(listener), client)
    assert error in (0, errno.EINPROGRESS)
    with sock, listener.accept()[0] as accepted:
        return str(accepted.getpeername()[0])


def test_without_sources_there_is_nothing_to_ask() -> None:
    assert sources([], transparent=False) is None


def test_sources_take_turns(listener: socket.socket) -> None:
    chosen = Sources(["127.0.0.2", "127.0.0.3"], transparent=False)
    seen = [seen_from(listener, chosen) for _ in range(4)]
    assert sorted(seen) == ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"]


def test_a_source_of_the_other_family_is_not_used(listener: socket.socket) -> None:
    assert seen_from(listener, Sources(["::1"], transparent=False)) == "127.0.0.1"


def test_a_source_that_cannot_be_taken_is_passed_over(listener: socket.socket) -> None:
    """203.0.113.1 is nobody's address (RFC 5737): as with one whose ports are all taken, the errno is EADDRNOTAVAIL."""
    chosen = Sources(["203.0.113.1", "127.0.0.2"], transparent=False)
    assert [seen_from(listener, chosen) for _ in range(4)] == ["127.0.0.2"] * 4


def test_when_no_source_is_left_that_is_said(listener: socket.socket) -> None:
    with pytest.raises(OSError, match="no port is free") as refusal:
        Sources(["203.0.113.1", "203.0.113.2"], transparent=False).dial(where(listener), ("127.0.0.9", 5))
    assert refusal.value.errno == errno.EADDRNOTAVAIL


def test_ports_of_one_source_serve_many_targets(listener: socket.socket) -> None:
    """Bound without a port, so that connect may choose one that another connection to another target has."""
    chosen = Sources(["127.0.0.2"], transparent=False)
    sock, _ = chosen.dial(where(listener), ("127.0.0.9", 5))
    with sock:
        assert sock.getsockopt(socket.SOL_IP, 24) == 1  # IP_BIND_ADDRESS_NO_PORT


def _may_be_transparent() -> bool:
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.SOL_IP, 19, 1)
        except PermissionError:
            return False
    return True


transparent = pytest.mark.skipif(not _may_be_transparent(), reason="needs CAP_NET_ADMIN for IP_TRANSPARENT")


@transparent
def test_the_client_s_own_address_is_taken_along(listener: socket.socket) -> None:
    assert seen_from(listener, Sources([], transparent=True), ("127.0.0.9", 5)) == "127.0.0.9"
    assert seen_from(listener, Sources([], transparent=True), ("::ffff:127.0.0.8", 5, 0, 0)) == "127.0.0.8"


@transparent
@pytest.mark.parametrize("client", ["", ("fd77::1", 5, 0, 0)], ids=["unix", "IPv6"])
def test_a_client_without_such_an_address_comes_from_ours(listener: socket.socket, client: object) -> None:
    assert seen_from(listener, Sources([], transparent=True), client) == "127.0.0.1"
