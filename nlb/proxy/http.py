"""One HTTP session: a client's connection, and the exchanges on it, one after the other.

    reading ──> exchange (exchange.py) ──> reading ──> ...
      │            │ the client's next requests wait in `buffer`   (early)
      │            └─ the last one: closed, or first lingering, so that a client that still sends can read our answer
      └─ a head that is late, wrong or too large: answered, then closed

The state is the handler that the loop calls next. Whatever happens, a session ends in `_end`, which acts once.
"""

from __future__ import annotations

import socket
from ssl import SSLEOFError
from typing import TYPE_CHECKING, Any

from nlb.balance.target import Target
from nlb.http1.desync import CLASS_OF
from nlb.http1.facts import no_request
from nlb.http1.head import KNOWN_LIMIT, BadHead, Request, parse_request
from nlb.net.loop import BROKEN, READ, WRITE, Watch
from nlb.net.sockets import WOULD_BLOCK, reset_on_close, spelled
from nlb.net.tls import Connection, parted
from nlb.observe import counters
from nlb.observe.counters import DESYNC_WORD
from nlb.proxy.exchange import Exchange
from nlb.proxy.guard import blamed
from nlb.proxy.pipe import COPY, FAREWELL

if TYPE_CHECKING:
    from nlb.http1.edits import HeaderEdit
    from nlb.http1.forwarded import Peer
    from nlb.proxy.listener import Listener
    from nlb.proxy.site import Site
    from nlb.proxy.tcp import TcpSession

# Bytes of further requests that are taken in while one is under way; then the client waits.
MOST_AHEAD = 65536

# Requests that are served in a row, when a client sends many at once; then others have their turn.
IN_A_ROW = 16

# Seconds for a client to read our last answer while it still sends: closed at once, the kernel would send a reset,
# and what it has not read yet would be lost.
LINGER = 2.0

# Seconds without a request after which a client whose listener takes no more of them is parted from.
GRACE = 1.0

# What some clients send behind the body of a POST. It is skipped (RFC 9112 2.2): nobody waits for what follows it.
_EMPTY_LINE = b"\r\n"

# Endings of exchanges that are no trouble.
_IN_ORDER = ("data/done", "request/redirect", "request/fixed_response")


class HttpSession:
    """Made by a listener for an accepted client; `begin` sets it off."""

    __slots__ = (
        "active_at",
        "asked",
        "began",
        "buffer",
        "client",
        "client_address",
        "client_watch",
        "counted_received",
        "counted_sent",
        "exchange",
        "exchanges",
        "head_began",
        "identity",
        "is_deaf",
        "is_ended",
        "is_serving",
        "last",
        "linger_until",
        "listener",
        "outcome",
        "peer",
        "port",
        "received",
        "request",
        "scanned",
        "sent",
        "site",
        "word",
    )

    def __init__(self, listener: Listener, client: Connection, address: Any, port: int) -> None:
        """`address` is what accept said; `port` is the one of ours that the client connected to."""
        self.listener = listener
        self.site: Site = listener.site  # type: ignore[assignment]
        self.client = client
        self.client_address = address
        self.client_watch: Watch
        self.port = port
        self.peer: Peer = self.site.forwarding.peer(address[0] if isinstance(address, tuple) else "", port)
        self.outcome = ""
        self.identity: HeaderEdit | None = None  # what targets learn of the client's certificate
        self.began = self.active_at = self.head_began = listener.loop.now
        self.exchange: Exchange | None = None
        self.exchanges = 0
        self.last = ""  # how the last exchange ended
        self.word = ""  # how the session is to end, where that is not how the last exchange did
        # The last request, word for word, if it was short: the same bytes have the same reading.
        self.asked: bytes | None = None
        self.request: Request | None = None
        self.buffer = b""  # what the client sent and nobody has read yet
        self.scanned = 0  # bytes of the buffer in which no end of a head was found; 0 where none has begun
        self.is_deaf = False  # the client is not to be read now
        self.is_ended = False  # the client sent all that it ever will
        self.is_serving = False
        self.linger_until = 0.0
        self.received = self.sent = self.counted_received = self.counted_sent = 0

    @property
    def client_name(self) -> str:
        return spelled(self.client_address)

    @property
    def client_port(self) -> int:
        return self.client_address[1] if isinstance(self.client_address, tuple) else 0

    @property
    def target(self) -> Target | None:
        return self.exchange.target if self.exchange else None

    def begin(self, watch: Watch | None = None) -> None:
        """`watch` is the client's, where somebody watched it before us."""
        if watch is None:
            self.client_watch = self.listener.loop.watch(self.client.fileno(), READ, self.reading, self)
            return
        self.client_watch = watch
        watch.handler, watch.owner = self.reading, self
        watch.want(READ)
        try:
            self.reading(READ)  # what comes right behind a greeting is often here by now
        except Exception as error:  # caught here: behind the call stands whoever watched before us
            self.crashed(error)

    # --- read heads

    def reading(self, mask: int) -> None:
        """Between exchanges: the next head, or a part of it."""
        try:
            data = self.client.recv(COPY)
        except WOULD_BLOCK:
            return
        except SSLEOFError:
            data = b""  # it left without a goodbye, as many clients do; between requests nothing is cut by that
        except OSError:
            return self.close("client_reset")
        if not data:
            return self.close("client_closed" if self.scanned or not self.exchanges else "done")
        if not self.scanned:
            self.head_began = self.listener.loop.now
        self.buffer = self.buffer + data if self.buffer else data
        return self._serve()

    def _serve(self) -> None:
        """Every request that is here as a whole, one after the other. A loop: however many a client sends at once, the
        stack does not grow."""
        self.is_serving = True
        if self.site is not self.listener.site:
            self._live_by(self.listener.site)
        for _ in range(IN_A_ROW):
            data = self.buffer
            try:
                request = self.request if data == self.asked else parse_request(data, self.scanned)
            except BadHead as bad:
                self.is_serving = False
                return self._refuse(bad.status, bad.reason)
            if request is None:
                if data != _EMPTY_LINE:
                    self.scanned = len(data)
                break
            self.scanned = 0
            if len(data) != request.size:
                self.buffer = data[request.size :]
            else:
                self.buffer = b""
                # Not the first: a connection that idles after one answer shall cost no more than it must.
                if self.exchanges and request.size <= KNOWN_LIMIT:
                    self.asked, self.request = data, request
            self.exchange = exchange = Exchange(self, request, self.head_began)
            exchange.start()
            if self.exchange is not None or self.outcome or self.linger_until:
                self.is_serving = False
                return
            self.head_began = self.listener.loop.now
            if not self.buffer:
                break
        else:
            # Go on with the next turn's events, and not before the client has room for more answers.
            self.is_serving = False
            self.active_at = self.listener.loop.now
            self.client_watch.handler = self._go_on
            self.client_watch.want(WRITE)
            return
        self.is_serving = False
        self._rest()

    def _go_on(self, mask: int) -> None:
        if mask & BROKEN:
            return self.close("client_reset")
        return self._serve()

    def _live_by(self, site: Site | None) -> None:
        """The listener was told anew."""
        if site is not None:  # else it speaks no http any more; who is here still does
            self.site = site
            self.peer = site.forwarding.peer(self.peer.address, self.port)

    def _rest(self) -> None:
        """Until the client sends more."""
        self.active_at = self.listener.loop.now
        watch = self.client_watch
        watch.handler = self.reading
        if watch.events != READ:
            watch.want(READ)

    def _refuse(self, status: int, reason: str) -> None:
        """What came is no request."""
        self.count_desync(reason)
        self.exchange = Exchange(self, no_request(), self.head_began)
        self.exchange.reason = reason
        cause = "timeout" if status == 408 else "too_large" if status in (414, 431) else "bad_head"
        self.offended(self.peer.address, *(("timeout",) if status == 408 else (CLASS_OF.get(reason, ""), "bad_head")))
        self.exchange.refuse(status, cause, is_last=True)

    # --- while an exchange is under way

    def stand_by(self) -> None:
        """The client has said what it had to."""
        watch = self.client_watch
        watch.handler = self.early
        if self.is_deaf or watch.events != READ:
            watch.want(0 if self.is_deaf else READ)

    def early(self, mask: int) -> None:
        """The client is ahead with its next request, or has gone."""
        exchange = self.exchange
        assert exchange is not None
        if self.is_deaf:
            return self.close("client_reset") if mask & BROKEN else None
        try:
            data = self.client.recv(COPY)
        except WOULD_BLOCK:
            return None
        except OSError:
            return self.close("client_reset")
        if not data:
            if not exchange.status:
                return self.close("client_closed")  # nobody waits for the answer, so nobody shall work on it
            self.is_ended = self.is_deaf = True
            return self._unheard(exchange)
        self.buffer += data
        if len(self.buffer) >= MOST_AHEAD:
            self.is_deaf = True
            return self._unheard(exchange)
        return None

    def _unheard(self, exchange: Exchange) -> None:
        if exchange.streams is not None:
            exchange.streams.rewire()
        else:
            self.client_watch.want(0)

    def ended(self, exchange: Exchange, target: Target | None) -> None:
        """An exchange ended; `target` is the last it had."""
        self.exchange = None
        self.exchanges += 1
        self.last = exchange.outcome
        self.received += exchange.received
        self.sent += exchange.sent
        self.listener.exchanged(exchange, target)

    def over(self, is_last: bool) -> None:
        """It ended in order, and the client has its answer."""
        if is_last:
            return self._leave()
        if self.is_ended:
            return self.close("done")
        self.is_deaf = False
        if self.is_serving:
            return None  # the loop goes on there
        if self.buffer:
            self.head_began = self.listener.loop.now
            return self._serve()
        return self._rest()

    # --- the end

    def _leave(self) -> None:
        if not parted(self.client):
            self.linger_until = self.listener.loop.now + FAREWELL
            self.client_watch.handler = self.parting
            return self.client_watch.want(WRITE)
        if not (self.is_deaf or self.buffer) or self.is_ended:
            return self._end(self._last_word())
        try:
            self.client.shutdown(socket.SHUT_WR)
        except OSError:
            return self._end(self._last_word())
        self.buffer = b""
        self.linger_until = self.listener.loop.now + LINGER
        self.client_watch.handler = self.lingering
        return self.client_watch.want(READ)

    def parting(self, mask: int) -> None:
        """The client has our last answer on its way, and as soon as there is room, a goodbye."""
        return self._end(self._last_word()) if mask & BROKEN else self._leave()

    def lingering(self, mask: int) -> None:
        """The client has our last answer on its way, and what it still sends is nobody's."""
        try:
            if self.client.recv(COPY):
                return
        except WOULD_BLOCK:
            return
        except OSError:
            pass
        self._end(self._last_word())

    def _last_word(self) -> str:
        return self.word or ("data/done" if self.last in _IN_ORDER else self.last)

    def retire(self) -> None:
        """The listener takes no more requests: end between two of them, now or after the present one. A client that was
        heard a moment ago may have its next request on the way, and a new one its first: it is answered, as the last.
        """
        if not self._is_idle or self.listener.loop.now - self.active_at < GRACE:
            return
        self.reading(READ)  # what has come by now is served
        if self._is_idle and not self.outcome:
            self.close("done" if self.exchanges else "shutdown")

    @property
    def _is_idle(self) -> bool:
        return self.exchange is None and not self.linger_until and self.buffer in (b"", _EMPTY_LINE)

    def expel(self, cause: str) -> None:
        """The target of the exchange is to be left."""
        if self.exchange:
            self.exchange.expel(cause)

    def crashed(self, error: Exception) -> None:
        phase = self.exchange.phase if self.exchange else "request"
        self.listener.report_bug(error, f"session of {self.client_name} in phase {phase}")
        self.close("bug")

    def close(self, cause: str) -> None:
        """End now, with this cause. An exchange under way is cut, so that the client sees it."""
        if self.outcome:
            return None
        exchange = self.exchange
        if exchange is None:
            if self.linger_until:
                return self._end(self._last_word())
            self.word = f"{'data' if cause == 'done' else 'request'}/{cause}"
            if cause == "shutdown":  # either nothing was sent yet, or the worker ends now
                return self._end(self.word)
            self.buffer = b""
            self.is_deaf = False  # nobody is lingered for who was not answered just now
            return self._leave()
        outcome = f"{exchange.phase}/{cause}"
        reset_on_close(self.client)
        exchange.end(cause)
        return self._end(outcome)

    def _end(self, outcome: str) -> None:
        self.outcome = outcome
        self.publish()
        self.client_watch.closing()
        self.listener.loop.close_later(self.client)
        self.listener.ended(self)

    def become(self, tunnel: TcpSession) -> None:
        """An exchange became a tunnel, which is a session like that of a tcp listener: it goes on in our place."""
        self.outcome = "data/done"
        self.publish()
        self.listener.replaced(self, tunnel)

    # --- once in a while

    def sweep(self, now: float) -> None:
        self.publish()
        if self.exchange is not None:
            return self.exchange.sweep(now)
        if self.linger_until:
            return self._end(self._last_word()) if now >= self.linger_until else None
        if self.scanned:
            return self._refuse(408, "") if now - self.head_began >= self.site.header_timeout else None
        if self.listener.is_leaving:
            return self.retire()
        if now - self.active_at >= self.listener.idle_timeout:
            self.close("idle")
        return None

    def publish(self) -> None:
        """Tell the counters what moved."""
        received, sent = self.received, self.sent
        if self.exchange is not None:
            more_received, more_sent = self.exchange.progress()
            received, sent = received + more_received, sent + more_sent
        words = self.listener.words
        words[counters.RECEIVED] += received - self.counted_received
        words[counters.SENT] += sent - self.counted_sent
        self.counted_received, self.counted_sent = received, sent

    def offended(self, client: str, *offences: str) -> None:
        """It did what may get a source blocked."""
        shield = self.listener.shield
        if shield is not None:
            shield.offended(blamed(client, self.peer), *offences)

    def count_desync(self, reason: str) -> None:
        if reason and reason in DESYNC_WORD:
            self.listener.words[DESYNC_WORD[reason]] += 1

    def describe(self, now: float) -> dict[str, Any]:
        """What `nlb ctl sessions` shows."""
        exchange = self.exchange
        received, sent = exchange.progress() if exchange else (0, 0)
        return {
            "target": exchange.target.name if exchange and exchange.target else None,
            "group": (exchange or self.listener).group.balance.name,
            "phase": exchange.phase if exchange else "request",
            "age": round(now - self.began, 3),
            "idle": round(now - (exchange.began if exchange else self.active_at), 3),
            "received": self.received + received,
            "sent": self.sent + sent,
        }
