"""One TCP session: a client, the target chosen for it, and the bytes between them.

    choose ──> connecting ──> first answer ──> data ──> closed
      │  ↑         │ refused, late
      │  └─────────┘ another target, up to `tries`
      ├─ parked, while the group waits for its first health verdict
      └─ in the queue, while no target has room

The state is the handler that the loop calls next; `phase` tells people the same. Whatever happens, a session ends
in `close(cause)`, which acts once.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

from nlb.balance.affinity import flow_key
from nlb.balance.target import Target
from nlb.net.loop import BROKEN, READ, WRITE, Deadline, Watch
from nlb.net.sockets import connect_cause, error_of, reset_on_close
from nlb.observe import counters
from nlb.observe.counters import ACTIVE, observe
from nlb.proxy.pipe import Pipe

if TYPE_CHECKING:
    from nlb.proxy.listener import Listener

# Failures of ours: they say nothing about the target.
_OWN_FAULTS = ("no_port", "descriptors")


class TcpSession:
    """Made by a listener for an accepted client; `begin` sets it off."""

    __slots__ = (
        "active_at",
        "answered_at",
        "began",
        "client",
        "client_address",
        "client_watch",
        "connected_at",
        "counted_down",
        "counted_up",
        "deadline",
        "down",
        "group",
        "listener",
        "outcome",
        "phase",
        "target",
        "target_socket",
        "target_watch",
        "tried",
        "up",
    )

    def __init__(self, listener: Listener, client: socket.socket, address: Any) -> None:
        """`address` is what accept said: (host, port, ...), or a string for a unix socket."""
        self.listener = listener
        self.group = listener.group
        self.client = client
        self.client_address = address
        self.phase = "pick"
        self.outcome = ""
        self.began = self.active_at = listener.loop.now
        self.connected_at = self.answered_at = 0.0
        self.tried: tuple[Target, ...] = ()
        self.target: Target | None = None
        self.target_socket: socket.socket | None = None
        self.client_watch: Watch | None = None
        self.target_watch: Watch | None = None
        self.deadline: Deadline | None = None
        self.up: Pipe | None = None  # client to target
        self.down: Pipe | None = None  # target to client
        self.counted_up = self.counted_down = 0  # bytes that the counters know of

    @property
    def client_name(self) -> str:
        address = self.client_address
        if not isinstance(address, tuple):
            return "unix:"
        return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"

    # --- choose and connect

    def begin(self) -> None:
        try:
            if self.group.balance.waiting:
                # Nobody knows yet who is healthy. The client waits in the kernel's buffers, a second at most.
                self.group.parked.append(self)
            else:
                self._choose("no_target")
        except Exception as error:  # caught here, since no handler of the loop stands behind the call
            self.crashed(error)

    def _choose(self, failure: str) -> None:
        """Dial the next target; when there is none, end for `failure`."""
        group = self.group
        balance = group.balance
        if balance.attentive and group.must_wait(self):
            return
        target = balance.pick(self._key() if balance.needs_key else b"", self.tried)
        if target is not None:
            return self._dial(target)
        if balance.is_crowded(self.tried):
            return group.queue.join(self)
        return self.close(failure)

    def take_place(self) -> bool:
        """Of a session in the queue: choose again. Returns whether it waits no more."""
        group = self.group
        balance = group.balance
        try:
            target = balance.pick(self._key() if balance.needs_key else b"", self.tried)
            if target is None and balance.is_crowded(self.tried):
                return False
            group.queue.leave(self)
            self.deadline.cancel()  # type: ignore[union-attr]
            self.deadline = None
            if target is None:
                self.close("no_target")
            else:
                self._dial(target)
        except Exception as error:  # caught here: those behind it are to be served too
            self.crashed(error)
        return True

    def waited_too_long(self) -> None:
        self.deadline = None
        self.close("queue_timeout")

    def _dial(self, target: Target) -> None:
        group = self.group
        if group.balance.fail_open:
            group.words[counters.FAIL_OPEN_PICKS] += 1
        self.phase = "connect"
        self.target = target
        target.words[ACTIVE] += 1  # type: ignore[index]
        # The client is not read until the target answers: the kernel's buffer is our queue, so a slow target
        # slows its client and costs us no memory.
        try:
            if group.sources is None:
                self.target_socket, error = group.dial(target.address)
            else:
                self.target_socket, error = group.sources.dial(target.address, self.client_address)
        except OSError as refusal:
            return self._try_another(connect_cause(refusal.errno or 0))
        if not error:
            return self._joined()
        if error != errno.EINPROGRESS:
            return self._try_another(connect_cause(error))
        loop = self.listener.loop
        self.target_watch = loop.watch(self.target_socket.fileno(), WRITE, self.connecting, self)
        self.deadline = loop.call_at(loop.now + group.connect_timeout, self._late, self)

    def connecting(self, mask: int) -> None:
        if mask & BROKEN:
            return self._try_another(connect_cause(error_of(self.target_socket)))  # type: ignore[arg-type]
        self.deadline.cancel()  # type: ignore[union-attr]
        self.deadline = None
        return self._joined()

    def _late(self) -> None:
        self.deadline = None
        self._try_another("timeout")

    def _try_another(self, cause: str) -> None:
        target = self.target
        assert target is not None
        target.words[counters.CONNECT_FAILURES] += 1  # type: ignore[index]
        if cause not in _OWN_FAULTS:
            self.group.connect_failed(target, cause)
        self._leave_target()
        self.tried += (target,)
        if len(self.tried) >= self.group.tries:
            return self.close(cause)
        self.group.words[counters.RETRIES] += 1
        return self._choose(cause)

    def expel(self, cause: str) -> None:
        """The target is to be left: end, or choose another if no byte has gone to it yet."""
        if self.phase != "connect":
            return self.close(cause)
        assert self.target is not None
        self.tried += (self.target,)
        self._leave_target()
        self._choose(cause)

    def _leave_target(self) -> None:
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
            self.target.words[ACTIVE] -= 1  # type: ignore[index]
            if self.group.balance.attentive:
                self.group.left(self.target)
            self.target = None

    def _key(self) -> bytes:
        address = self.client_address
        host, port = address[:2] if isinstance(address, tuple) else ("", 0)
        return flow_key(host, port, self.group.balance.hash_key)

    # --- move

    def _joined(self) -> None:
        """The target answered: from now on bytes flow."""
        client, target_socket, loop = self.client, self.target_socket, self.listener.loop
        assert target_socket is not None
        assert self.target is not None
        self.phase = "data"
        self.connected_at = self.active_at = loop.now
        self.target.words[counters.CONNECTIONS] += 1  # type: ignore[index]
        observe(self.group.words, counters.CONNECT_TIMES, counters.LATENCY, loop.now - self.began)
        pipes = self.listener.pipes
        self.up = Pipe(self, client, target_socket, pipes)
        self.down = Pipe(self, target_socket, client, pipes)
        self.down.pump = self.first_answer
        self.client_watch = loop.watch(client.fileno(), READ, self.up.pump, self)
        if self.target_watch:
            self.target_watch.handler = self.first_answer
            self.target_watch.want(READ)
        else:
            self.target_watch = loop.watch(target_socket.fileno(), READ, self.first_answer, self)
        # What the client said while we dialled is here already in the common case: no turn of the loop for it.
        self.up.pump(READ)

    def first_answer(self, mask: int) -> None:
        """The target's first bytes, or its end: note the time, then pump as ever after."""
        self.answered_at = now = self.listener.loop.now
        observe(self.group.words, counters.FIRST_BYTE_TIMES, counters.LATENCY, now - self.connected_at)
        watch, down = self.target_watch, self.down
        assert watch is not None
        assert down is not None
        down.pump = down.copy
        if watch.events == READ:
            watch.handler = down.copy
        down.copy(mask)

    def client_event(self, mask: int) -> None:
        """The client's descriptor, whenever it is not simply pumped: see `rewire`."""
        if mask & WRITE:
            self.down.flush()  # type: ignore[union-attr]
        if mask & (READ | BROKEN) and not self.outcome:
            self._readable(self.up, self.client_watch, mask)  # type: ignore[arg-type]

    def target_event(self, mask: int) -> None:
        if mask & WRITE:
            self.up.flush()  # type: ignore[union-attr]
        if mask & (READ | BROKEN) and not self.outcome:
            self._readable(self.down, self.target_watch, mask)  # type: ignore[arg-type]

    def _readable(self, pipe: Pipe, watch: Watch, mask: int) -> None:
        if not (pipe.held or pipe.done):
            return pipe.pump(mask)
        if not mask & BROKEN:
            return
        if error_of(pipe.source):
            return self.source_broke(pipe)
        # Hung up in order, with bytes that must wait for the sink: ask again when they can be read.
        return watch.mute()

    def rewire(self) -> None:
        """A pipe changed: watch each side for what its two directions need now. On change only."""
        up, down = self.up, self.down
        assert up is not None
        assert down is not None
        assert self.client_watch is not None
        assert self.target_watch is not None
        _wire(self.client_watch, up, down, self.client_event)
        _wire(self.target_watch, down, up, self.target_event)

    def over(self) -> bool:
        if self.up.done and self.down.done:  # type: ignore[union-attr]
            self.close("done")
            return True
        return False

    def source_broke(self, pipe: Pipe) -> None:
        self.close("client_reset" if pipe is self.up else "target_reset")

    def sink_broke(self, pipe: Pipe) -> None:
        self.close("target_reset" if pipe is self.up else "client_reset")

    # --- watch over and end

    def sweep(self, now: float) -> None:
        """Once in a while, not per event: tell the counters what moved, end the idle."""
        if not (self.up and self.down):
            return
        up, down = self.up.moved, self.down.moved
        if up == self.counted_up and down == self.counted_down:
            if now - self.active_at >= self.listener.idle_timeout:
                self.close("idle")
            return
        self.active_at = now
        self._count(up, down)

    def _count(self, up: int, down: int) -> None:
        listener, target = self.listener.words, self.target.words  # type: ignore[union-attr]
        listener[counters.RECEIVED] += up - self.counted_up
        listener[counters.SENT] += down - self.counted_down
        target[counters.TARGET_RECEIVED] += up - self.counted_up  # type: ignore[index]
        target[counters.TARGET_SENT] += down - self.counted_down  # type: ignore[index]
        self.counted_up = up
        self.counted_down = down

    def crashed(self, error: Exception) -> None:
        self.listener.report_bug(error, f"session of {self.client_name} in phase {self.phase}")
        self.close("bug")

    def close(self, cause: str) -> None:
        """End, with the outcome phase/cause. May be called twice and acts once."""
        if self.outcome:
            return
        self.outcome = f"{self.phase}/{cause}"
        loop = self.listener.loop
        if cause != "done":
            # An unfinished session is reset on both sides: nobody may take a cut stream for a whole one.
            reset_on_close(self.client)
            if self.target_socket:
                reset_on_close(self.target_socket)
        if self.client_watch:
            self.client_watch.closing()
        loop.close_later(self.client)
        if self.phase == "pick":
            self.group.queue.leave(self)
        target = self.target
        if self.up and self.down:
            self._count(self.up.moved, self.down.moved)
            self.up.release()
            self.down.release()
        self._leave_target()
        self.listener.ended(self, target)


def _wire(watch: Watch, reads: Pipe, writes: Pipe, both: Any) -> None:
    """One side: `reads` has it as its source, `writes` as its sink."""
    events = (0 if reads.held or reads.done else READ) | (WRITE if writes.held else 0)
    watch.handler = reads.pump if events == READ else both
    watch.want(events)
