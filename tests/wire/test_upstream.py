"""Idle connections to targets that speak TLS: what TLS says for itself, such as late tickets, leaves them usable, and
whatever else comes does not.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from nlb.balance.target import Target
from nlb.model.address import Address
from nlb.net.loop import READ, Loop
from nlb.net.sockets import reset_on_close
from nlb.net.tls import TlsSocket
from nlb.net.tls_client import ClientContext
from nlb.proxy.upstream import Pool, Upstream
from tests.authority import Authority
from tests.tlsends import shake_hands
from tests.unit.proxy.stage import two_rows


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


class Stage:
    """A pool for one target, on a real loop. `met` is a lent connection after its handshake, and the target's end."""

    def __init__(self, stack: ExitStack, authority: Authority) -> None:
        self.stack = stack
        self.loop = Loop()
        stack.callback(self.loop.close)
        self.target = Target(0, "t0", "web", Address("192.0.2.1", 1))
        self.target.words = two_rows()[0].target(0)
        self.pool = Pool(self.loop, self)
        self.pool.size, self.pool.timeout = 2, 4.0
        self.pool.keep_only((self.target,))
        self._authority = authority

    def crashed(self, error: Exception) -> None:
        raise error

    def met(self, version: str) -> tuple[Upstream, ssl.SSLSocket]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = ssl.TLSVersion[version]
        self._authority.ca.issue_cert("shop.example").configure_cert(context)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        ours.setblocking(False)
        theirs.setblocking(False)
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it says is here when it has said it
        connection = ClientContext(authorities=self._authority.pem).wrap(ours, "shop.example")
        other = context.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False)
        self.stack.callback(other.close)
        self.stack.callback(connection.close)
        assert shake_hands(connection, other) == (None, None)
        watch = self.loop.watch(connection.fileno(), READ, lambda mask: None, self)
        return self.pool.adopt(self.target, connection, watch), other

    def turn(self) -> None:
        for _ in range(3):
            self.loop.turn(0.01)


@pytest.fixture
def stage(authority: Authority) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, authority)


def reset(end: ssl.SSLSocket) -> None:
    reset_on_close(end)
    end.close()


def say_goodbye(end: ssl.SSLSocket) -> None:
    with pytest.raises(ssl.SSLWantReadError):
        end.unwrap()


# What the target does while nobody asks it for anything.
DONE: list[Callable[[ssl.SSLSocket], object]] = [
    lambda end: end.send(b"x"),
    say_goodbye,
    lambda end: end.close(),
    lambda end: end.shutdown(socket.SHUT_WR),
    reset,
]
NAMES = ["it speaks", "goodbye", "closed", "ended", "reset"]
VERSIONS = ["TLSv1_2", "TLSv1_3"]


def has_word(sock: TlsSocket) -> bool:
    """Something lies in the kernel's buffer."""
    return bool(sock.sock.recv(1, socket.MSG_PEEK))


def test_tickets_that_came_late_are_no_reason_to_part(stage: Stage) -> None:
    upstream, _ = stage.met("TLSv1_3")
    assert isinstance(upstream.sock, TlsSocket)
    assert has_word(upstream.sock)
    stage.pool.give_back(upstream)
    assert stage.pool.take(stage.target, verify=True) is upstream
    with pytest.raises(BlockingIOError):
        has_word(upstream.sock)


def test_tickets_that_come_while_nobody_asks(stage: Stage) -> None:
    upstream, _ = stage.met("TLSv1_3")
    stage.pool.give_back(upstream)
    stage.turn()
    assert len(stage.pool) == 1
    with pytest.raises(BlockingIOError):
        has_word(upstream.sock)  # type: ignore[arg-type]
    assert stage.pool.take(stage.target, verify=True) is upstream


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("does", DONE, ids=NAMES)
def test_whatever_else_the_target_does_it_is_asked_on_another(
    stage: Stage, version: str, does: Callable[[ssl.SSLSocket], object]
) -> None:
    """Also behind tickets, which have not been read yet."""
    upstream, end = stage.met(version)
    stage.pool.give_back(upstream)
    upstream.watch.mute()  # who takes it is first to see
    does(end)
    taken: list[Upstream | None] = []
    stage.loop.post(lambda: taken.append(stage.pool.take(stage.target, verify=True)), stage)
    stage.turn()
    assert taken == [None]
    assert upstream.sock.fileno() == -1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("does", DONE, ids=NAMES)
def test_and_while_nobody_asks_it_leaves_the_pool(
    stage: Stage, version: str, does: Callable[[ssl.SSLSocket], object]
) -> None:
    upstream, end = stage.met(version)
    stage.pool.give_back(upstream)
    does(end)
    stage.turn()
    assert len(stage.pool) == 0
    assert upstream.sock.fileno() == -1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_silent_one_stays(stage: Stage, version: str) -> None:
    upstream, _ = stage.met(version)
    for verify in (True, True, False):
        stage.pool.give_back(upstream)
        assert stage.pool.take(stage.target, verify) is upstream
