"""One TCP session: a client, the target chosen for it, and the bytes between them.

    (seeker.py: choose, connect) ──> first answer ──> data ──> closed

The state is the handler that the loop calls next; `phase` tells people the same. Whatever happens, a session ends
in `close(cause)`, which acts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlb.balance.affinity import flow_key
from nlb.net.loop import BROKEN, READ, WRITE, Watch
from nlb.net.sockets import error_of, reset_on_close, spelled
from nlb.net.tls import Connection, parted
from nlb.observe import counters
from nlb.observe.counters import observe
from nlb.proxy.pipe import FAREWELL, Pipe
from nlb.proxy.seeker import Seeker

if TYPE_CHECKING:
    from nlb.proxy.exchange import Exchange
    from nlb.proxy.listener import Listener


class TcpSession(Seeker):
    """Made by a listener for an accepted client; `begin` sets it off."""

    __slots__ = (
        "active_at",
        "answered_at",
        "began",
        "client",
        "client_watch",
        "connected_at",
        "counted_down",
        "counted_up",
        "down",
        "exchange",
        "up",
    )

    def __init__(self, listener: Listener, client: Connection, address: Any) -> None:
        """`address` is what accept said: (host, port, ...), or a string for a unix socket."""
        super().__init__(listener, listener.group, address, "pick")
        self.client = client
        self.began = self.active_at = listener.loop.now
        self.connected_at = self.answered_at = 0.0
        self.client_watch: Watch | None = None
        self.up: Pipe | None = None  # client to target
        self.down: Pipe | None = None  # target to client
        self.counted_up = self.counted_down = 0  # bytes that the counters know of
        self.exchange: Exchange | None = None  # the one that became this session, of an http listener

    @property
    def client_name(self) -> str:
        return spelled(self.client_address)

    # --- choose and connect: see seeker.py

    def fail(self, cause: str) -> None:
        self.close(cause)

    def expel(self, cause: str) -> None:
        """The target is to be left: end, or choose another if no byte has gone to it yet."""
        if self.phase == "connect":
            return self.choose_another(cause)
        return self.close("done" if self._is_over else cause)

    @property
    def client_socket(self) -> Connection:
        return self.client

    def key(self) -> bytes:
        address = self.client_address
        host, port = address[:2] if isinstance(address, tuple) else ("", 0)
        return flow_key(host, port, self.group.balance.hash_key)

    # --- move

    def joined(self) -> None:
        """The target answered: from now on bytes flow."""
        client, target_socket, loop = self.client, self.target_socket, self.listener.loop
        assert target_socket is not None
        assert self.target is not None
        self.phase = "data"
        self.connected_at = self.active_at = loop.now
        self.target.words[counters.CONNECTIONS] += 1  # type: ignore[index]
        observe(self.group.words, counters.CONNECT_TIMES, counters.LATENCY, loop.now - self.began)
        pipes = self.pipes
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

    def go_on(
        self,
        exchange: Exchange,
        client_watch: Watch,
        target_socket: Connection,
        target_watch: Watch,
        up: bytes,
        down: bytes,
    ) -> None:
        """Client and target of an exchange agreed on another protocol: from now on bytes flow. `up` and `down` are
        owed to target and client already."""
        self.exchange = exchange
        self.group = exchange.group
        self.phase = "data"
        self.target, exchange.target = exchange.target, None
        self.connected_at = self.answered_at = self.active_at = self.listener.loop.now
        self.target_socket = target_socket
        self.client_watch, self.target_watch = client_watch, target_watch
        client_watch.owner = target_watch.owner = self
        pipes = self.pipes
        self.up = Pipe(self, self.client, target_socket, pipes)
        self.down = Pipe(self, target_socket, self.client, pipes)
        self.up.owe(up)
        self.down.owe(down)
        self.rewire()

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
        if not self._is_over:
            return False
        self.active_at = self.listener.loop.now  # the last goodbyes have FAREWELL from here
        if not (parted(self.client) and parted(self.target_socket)):  # type: ignore[arg-type]
            return False
        self.close("done")
        return True

    @property
    def _is_over(self) -> bool:
        """Nothing is left to be said, but perhaps goodbye."""
        return self.up is not None and self.down is not None and self.up.done and self.down.done

    def source_broke(self, pipe: Pipe) -> None:
        self.close("client_reset" if pipe is self.up else "target_reset")

    def sink_broke(self, pipe: Pipe) -> None:
        self.close("target_reset" if pipe is self.up else "client_reset")

    # --- watch over and end

    def sweep(self, now: float) -> None:
        """Once in a while, not per event: tell the counters what moved, end the idle."""
        if not (self.up and self.down):
            return None
        up, down = self.up.moved, self.down.moved
        if up == self.counted_up and down == self.counted_down:
            if self._is_over:
                return self.close("done") if now - self.active_at >= FAREWELL else None
            patience = self.listener.idle_timeout if self.exchange is None else self.exchange.tunnel_timeout
            if now - self.active_at >= patience:
                self.close("idle")
            return None
        self.active_at = now
        return self._count(up, down)

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
        self.leave_target()
        self.listener.ended(self, target)
        if self.exchange is not None:
            self.exchange.tunnel_ended(cause, target, self.counted_up, self.counted_down)

    def retire(self) -> None:
        """The listener accepts no more. A session that is under way goes on."""

    def describe(self, now: float) -> dict[str, Any]:
        """What `nlb ctl sessions` shows."""
        return {
            "target": self.target.name if self.target else None,
            "group": self.group.balance.name,
            "phase": self.phase,
            "age": round(now - self.began, 3),
            "idle": round(now - self.active_at, 3),
            "received": self.up.moved if self.up else 0,
            "sent": self.down.moved if self.down else 0,
        }


def _wire(watch: Watch, reads: Pipe, writes: Pipe, both: Any) -> None:
    """One side: `reads` has it as its source, `writes` as its sink."""
    events = (0 if reads.held or reads.done else READ) | (WRITE if writes.held else 0)
    watch.handler = reads.pump if events == READ else both
    watch.want(events)
