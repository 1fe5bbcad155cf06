"""Whoever needs a target: chooses one, waits for one, connects to it, tries another. A TCP session does so once, an
HTTP session for every exchange.

    choose ──> connecting ──> joined
      │  ↑         │ refused, late
      │  └─────────┘ another target, up to `tries`
      ├─ parked, while the group waits for its first health verdict
      └─ in the queue, while no target has room
"""

from __future__ import annotations

import errno
from random import getrandbits
from ssl import SSLWantWriteError
from typing import TYPE_CHECKING, Any

from nlb.balance.target import Target
from nlb.net.loop import BROKEN, READ, WRITE, Deadline, Watch
from nlb.net.sockets import WOULD_BLOCK, connect_cause, error_of
from nlb.net.tls import Connection, TlsSocket
from nlb.observe import counters
from nlb.observe.counters import ACTIVE
from nlb.proxy.introduction import introduction
from nlb.proxy.pipe import NO_KERNEL_PIPES, KernelPipes

if TYPE_CHECKING:
    from nlb.proxy.group import WorkerGroup
    from nlb.proxy.listener import Listener

# Failures of ours: they say nothing about the target.
_OWN_FAULTS = ("no_port", "descriptors")


class Seeker:
    """The base of those two. Until `joined` the socket and its watch are the seeker's.

    A subclass says what becomes of the connection (`joined`), and how to end without one (`fail`).
    """

    __slots__ = (
        "client_address",
        "deadline",
        "group",
        "id",
        "listener",
        "outcome",
        "phase",
        "target",
        "target_socket",
        "target_watch",
        "tried",
    )

    def __init__(self, listener: Listener, group: WorkerGroup, client_address: Any, phase: str) -> None:
        """`client_address` is what accept said: (host, port, ...), or a string for a unix socket."""
        self.listener = listener
        self.group = group
        self.client_address = client_address
        self.phase = phase
        self.id = 0  # 128 random bits, once somebody is told of them
        self.outcome = ""
        self.tried: tuple[Target, ...] = ()
        self.target: Target | None = None
        self.target_socket: Connection | None = None
        self.target_watch: Watch | None = None
        self.deadline: Deadline | None = None

    # --- for the subclass

    def joined(self) -> None:
        """The target answered; `target_socket` is connected, `target_watch` is None if nobody had to wait for it."""
        raise NotImplementedError

    def fail(self, cause: str) -> None:
        """There is no target to be had, in the phase that `phase` says."""
        raise NotImplementedError

    def crashed(self, error: Exception) -> None:
        raise NotImplementedError

    def key(self) -> bytes:
        """What a keyed policy chooses by."""
        raise NotImplementedError

    def approach(self, target: Target) -> None:
        """The target is chosen: connect to it, unless there is a connection already."""
        self.dial(target)

    def preferred(self) -> Target | None:
        """A target that is to be had before the policy is asked."""
        return None

    def waits(self) -> None:
        """The target is not there at once."""

    @property
    def client_socket(self) -> Connection:
        raise NotImplementedError

    # --- choose

    def begin(self) -> None:
        try:
            if self.group.balance.waiting:
                # Nobody knows yet who is healthy. The client waits in the kernel's buffers, a second at most.
                self.group.parked.append(self)
                self.waits()
            else:
                self.choose("no_target")
        except Exception as error:  # caught here, since no handler of the loop stands behind the call
            self.crashed(error)

    def choose(self, failure: str) -> None:
        """Take the next target; when there is none, end for `failure`."""
        group = self.group
        balance = group.balance
        if balance.attentive and group.must_wait(self):
            return None
        target = self.preferred() if group.sticky is not None else None
        if target is None:
            target = balance.pick(self.key() if balance.needs_key else b"", self.tried)
        if target is not None:
            return self._take(target)
        if balance.is_crowded(self.tried):
            self.waits()
            return group.queue.join(self)
        return self.fail(failure)

    def take_place(self) -> bool:
        """Of one in the queue: choose again. Returns whether it waits no more."""
        group = self.group
        balance = group.balance
        try:
            target = balance.pick(self.key() if balance.needs_key else b"", self.tried)
            if target is None and balance.is_crowded(self.tried):
                return False
            group.queue.leave(self)
            self.deadline.cancel()  # type: ignore[union-attr]
            self.deadline = None
            if target is None:
                self.fail("no_target")
            else:
                self._take(target)
        except Exception as error:  # caught here: those behind it are to be served too
            self.crashed(error)
        return True

    def waited_too_long(self) -> None:
        self.deadline = None
        self.group.queue.leave(self)
        self.fail("queue_timeout")

    def _take(self, target: Target) -> None:
        if self.group.balance.fail_open:
            self.group.words[counters.FAIL_OPEN_PICKS] += 1
        self.phase = "connect"
        self.target = target
        target.words[ACTIVE] += 1  # type: ignore[index]
        self.approach(target)

    # --- connect

    def dial(self, target: Target) -> None:
        # The client is not read until the target answers: the kernel's buffer is our queue, so a slow target
        # slows its client and costs us no memory.
        group = self.group
        try:
            if group.sources is None:
                sock, error = group.dial(target.address)
            else:
                sock, error = group.sources.dial(target.address, self.client_address)
        except OSError as refusal:
            return self.try_another(connect_cause(refusal.errno or 0))
        self.target_socket = sock
        if not error:
            return self._connected()
        if error != errno.EINPROGRESS:
            return self.try_another(connect_cause(error))
        loop = self.listener.loop
        self.target_watch = loop.watch(sock.fileno(), WRITE, self.connecting, self)
        self.deadline = loop.call_at(loop.now + group.connect_timeout, self._late, self)
        return self.waits()

    def connecting(self, mask: int) -> None:
        if mask & BROKEN:
            return self.try_another(connect_cause(error_of(self.target_socket)))  # type: ignore[arg-type]
        return self._connected()

    def _connected(self) -> None:
        if self.group.greets:
            return self._greet()
        if self.deadline:
            self.deadline.cancel()
            self.deadline = None
        return self.joined()

    def _greet(self) -> None:
        """What the target wants to hear before anything else: a PROXY header, a TLS handshake."""
        group, target, sock = self.group, self.target, self.target_socket
        assert target is not None
        assert sock is not None
        loop = self.listener.loop
        try:
            if target.proxy_protocol:
                # Before anything else, TLS too. An empty socket buffer has room for it.
                version = target.proxy_protocol
                if version == "v2" and not self.id:  # the same at every target that is tried
                    self.id = getrandbits(128)
                sock.send(introduction(version, self.client_address, self.client_socket, f"{self.id:032x}"))
            if group.tls is None:
                return self._greeted()
            self.target_socket = group.tls.wrap(sock, group.tls_name or target.server_name)  # type: ignore[arg-type]
        except (OSError, ValueError):  # ValueError: of a server name that TLS cannot ask for
            return self.try_another("tls" if group.tls is not None else "refused")
        if self.target_watch is None:
            self.target_watch = loop.watch(sock.fileno(), WRITE, self.shaking_hands, self)
            self.waits()
        else:
            self.target_watch.handler = self.shaking_hands
        if self.deadline is None:
            self.deadline = loop.call_at(loop.now + group.connect_timeout, self._late, self)
        return self.shaking_hands(WRITE)

    def shaking_hands(self, mask: int) -> None:
        watch = self.target_watch
        assert watch is not None
        self.listener.loop.one_a_turn(watch, self._shake, self.left_by_target)

    def left_by_target(self, mask: int) -> None:
        self.try_another("tls")

    def _shake(self) -> None:
        tls, watch = self.target_socket, self.target_watch
        assert isinstance(tls, TlsSocket)
        assert watch is not None
        try:
            tls.handshake()
        except SSLWantWriteError:
            return watch.want(WRITE)
        except WOULD_BLOCK:
            return watch.want(READ)
        except OSError as error:
            return self.try_another("certificate" if "CERTIFICATE" in str(error) else "tls")
        return self._greeted()

    def _greeted(self) -> None:
        if self.deadline:
            self.deadline.cancel()
            self.deadline = None
        return self.joined()

    @property
    def pipes(self) -> KernelPipes:
        """For bodies and pipes between client and target: the kernel cannot move what is encrypted here."""
        is_secret = self.listener.tls is not None or self.group.tls is not None
        return NO_KERNEL_PIPES if is_secret else self.listener.pipes

    def _late(self) -> None:
        self.deadline = None
        self.try_another("timeout")

    def try_another(self, cause: str) -> None:
        """The target failed, and was told nothing."""
        target = self.target
        assert target is not None
        target.words[counters.CONNECT_FAILURES] += 1  # type: ignore[index]
        if cause not in _OWN_FAULTS:
            self.group.connect_failed(target, cause)
        self.leave_target()
        self.tried += (target,)
        if len(self.tried) >= self.group.tries:
            return self.fail(cause)
        self.group.words[counters.RETRIES] += 1
        return self.choose(cause)

    def choose_another(self, cause: str) -> None:
        """The target is to be left, through no fault of its own; end for `cause` when there is no other."""
        assert self.target is not None
        self.tried += (self.target,)
        self.leave_target()
        self.choose(cause)

    def leave_target(self) -> None:
        if self.deadline:
            self.deadline.cancel()
            self.deadline = None
        if self.target_watch:
            self.target_watch.closing()
            self.target_watch = None
        if self.target_socket:
            self.listener.loop.close_later(self.target_socket)
            self.target_socket = None
        if self.target:
            self.uncount(self.target)

    def uncount(self, target: Target) -> None:
        """It has nothing more to do with this target."""
        target.words[ACTIVE] -= 1  # type: ignore[index]
        if self.group.balance.attentive:
            self.group.left(target)
        self.target = None
