"""Listening sockets that somebody else opened: recognised, made to behave, and joined by our own."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from nlb.model.address import Address
from nlb.net.sockets import adopt, bound_to, identity, is_shared, listen, listen_beside, peer


def listening(stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_server(("127.0.0.1", 0)))


def handed_over(stack: ExitStack, sock: socket.socket) -> int:
    """A descriptor as it would be inherited."""
    fd = os.dup(sock.fileno())
    os.set_inheritable(fd, True)
    return fd


def test_an_adopted_socket_does_not_block_and_is_not_inherited_by_our_children(stack: ExitStack) -> None:
    given = listening(stack)
    sock = stack.enter_context(adopt(handed_over(stack, given)))
    assert not os.get_blocking(sock.fileno())
    assert not sock.get_inheritable()
    with pytest.raises(BlockingIOError):
        sock.accept()


def test_what_it_accepts_is_tuned_as_from_our_own(stack: ExitStack) -> None:
    given = listening(stack)
    sock = stack.enter_context(adopt(handed_over(stack, given)))
    with socket.create_connection(given.getsockname()), sock.accept()[0] as client:
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("kind", ["pipe", "datagrams", "connected", "closed"])
def test_what_is_no_listening_socket_is_refused_and_left_open(stack: ExitStack, kind: str) -> None:
    if kind == "pipe":
        fd, other = os.pipe()
        stack.callback(os.close, other)
    elif kind == "datagrams":
        fd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
    elif kind == "connected":
        one, two = socket.socketpair()
        stack.enter_context(two)
        fd = one.detach()
    else:
        fd = os.dup(0)
        os.close(fd)
    with pytest.raises(ValueError, match=r"it is no socket|no stream socket|does not listen"):
        adopt(fd)
    if kind != "closed":
        os.fstat(fd)
        os.close(fd)


def test_where_it_listens(stack: ExitStack, tmp_path: Path) -> None:
    sock = listening(stack)
    assert bound_to(sock) == Address("127.0.0.1", sock.getsockname()[1])
    path = str(tmp_path / "in.sock")
    assert bound_to(stack.enter_context(listen(Address("", 0, path), 1)[0])) == Address("", 0, path)
    abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
    abstract.bind(f"\0nlb-test-{os.getpid()}")
    assert bound_to(abstract) == Address("", 0, f"@nlb-test-{os.getpid()}")


def test_one_socket_is_known_by_whatever_descriptor(stack: ExitStack) -> None:
    one, other = listening(stack), listening(stack)
    same = stack.enter_context(socket.socket(fileno=os.dup(one.fileno())))
    assert identity(one) == identity(same) != identity(other)


def test_further_sockets_beside_one_that_allows_it(stack: ExitStack) -> None:
    (first,) = listen(Address("127.0.0.1", 0), 1)
    stack.enter_context(first)
    more = [stack.enter_context(sock) for sock in listen_beside(first, 2)]
    assert {bound_to(sock) for sock in more} == {bound_to(first)}
    assert len({identity(sock) for sock in [first, *more]}) == 3


def test_who_can_be_joined(stack: ExitStack, tmp_path: Path) -> None:
    assert is_shared(listening(stack))
    assert is_shared(stack.enter_context(listen(Address("", 0, str(tmp_path / "in.sock")), 1)[0]))
    assert not is_shared(stack.enter_context(listen(Address("127.0.0.1", 0), 1)[0]))


def test_who_is_at_the_other_end() -> None:
    one, two = socket.socketpair()
    with one, two:
        assert peer(one) == (os.getpid(), os.geteuid())
