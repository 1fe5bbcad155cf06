"""What of an exchange does not come and go at once: a body that is under way, bytes that somebody has no room for.

Most exchanges have none of it. The two directions are apart from one another: a response may come before its request
is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlb.http1.framing import CHUNKED, BadChunk
from nlb.net.loop import BROKEN, READ, WRITE, Watch
from nlb.net.sockets import error_of
from nlb.proxy.body import Body

if TYPE_CHECKING:
    from nlb.proxy.exchange import Exchange
    from nlb.proxy.http import HttpSession
    from nlb.proxy.upstream import Upstream


class Streams:
    """Both directions of one exchange."""

    __slots__ = (
        "_down",
        "_exchange",
        "_is_torn",
        "_mark",
        "_marked_at",
        "_paced",
        "_paced_at",
        "_session",
        "_told_received",
        "_told_sent",
        "_up",
    )

    def __init__(self, exchange: Exchange, session: HttpSession) -> None:
        self._exchange = exchange
        self._session = session
        self._up: Body | None = None  # from the client to the target
        self._down: Body | None = None
        self._is_torn = False  # the target took only a part of the request
        self._mark = 0  # bytes that had moved at `_marked_at`
        self._paced = 0  # bytes of the body that had come at `_paced_at`
        self._marked_at = self._paced_at = session.listener.loop.now
        self._told_received = self._told_sent = 0  # bytes that the target's counters know of

    @property
    def is_asked(self) -> bool:
        """The client has sent all of its request."""
        return self._up is None or self._up.complete

    @property
    def is_sent(self) -> bool:
        """And so have we."""
        return self._up is None or self._up.done

    @property
    def is_full(self) -> bool:
        """The client has no room for more at the moment."""
        return self._down is not None and self._down.held > 0

    @property
    def is_clean(self) -> bool:
        """Nobody said more or less than was announced."""
        return self.is_sent and not self._is_torn and not (self._down is not None and self._down.over)

    # --- the request

    def begin_up(self, upstream: Upstream, length: int, data: bytes) -> bytes | None:
        """A body of this length or framing begins with `data`. Returns what the target shall get of it; None: it is
        wrong, and the exchange ended."""
        session = self._session
        up = self._up = Body(self, session.client, upstream.sock, length, length == CHUNKED, self._exchange.pipes)
        if session.site.max_body >= 0:
            up.most = session.site.max_body
        if not data:
            return b""
        try:
            first = up.take(data)
        except BadChunk as bad:
            self.bad_chunk(up, bad.reason)
            return None
        session.buffer, up.over = up.over, b""
        return first

    def sends_up(self, upstream: Upstream, rest: bytes) -> None:
        """These are to be sent first, then the body as it comes."""
        session = self._session
        up = self._up
        if up is None:
            up = self._up = Body(self, session.client, upstream.sock, 0, False, self._exchange.pipes)
        up.begin_again(upstream.sock, rest)
        self.rewire()

    def take_back(self, upstream: Upstream) -> None:
        """The request is here as a whole, and is to be sent anew."""
        self.settle(upstream)
        self._is_torn = False
        if self._up is not None:
            self._up.abandon()

    def begin_anew(self) -> None:
        """Nothing was sent, and the body has yet to begin."""
        if self._up is not None:
            self._up.release()
            self._up = None

    # --- the response

    def begin_down(self, upstream: Upstream, head: bytes, data: bytes, length: int) -> None:
        """A response whose body has not come as a whole: `data` is its beginning."""
        session, exchange = self._session, self._exchange
        before = self._set_aside()
        reframes = exchange.request.minor > 0  # HTTP/1.0 knows no chunks
        down = Body(self, upstream.sock, session.client, length, reframes, self._exchange.pipes)
        if data:
            try:
                data = down.take(data)
            except BadChunk:
                return exchange.misunderstood(before)
            self._told_sent = down.read
        self._down = down
        if not down.send(before + head + data):
            return session.close("client_reset")
        return exchange.finish() if down.done else self.rewire()

    def holds_down(self, rest: bytes) -> None:
        """The client has no room for these, which are the last, or an interim response."""
        session = self._session
        if self._down is None:
            self._down = Body(self, session.client, session.client, 0, False, self._exchange.pipes)
        self._down.keep(rest)
        self.rewire()

    def _set_aside(self) -> bytes:
        """What the client has not taken yet of interim responses: it is to be sent first."""
        down, self._down = self._down, None
        if down is None:
            return b""
        self._exchange.sent += down.moved
        down.release()
        return down.unsent

    def hand_on(self, upstream: Upstream) -> tuple[bytes, bytes]:
        """The exchange becomes a tunnel: what target and client have not taken yet."""
        up = self._up.unsent if self._up is not None else b""
        self.leave(upstream)
        return up, self._set_aside()

    # --- both

    def rewire(self) -> None:
        """Something changed: watch each side for what its two directions need now."""
        exchange, session, up, down = self._exchange, self._session, self._up, self._down
        upstream = exchange.upstream
        if up is not None and up.over:  # now, or what is read next would come before it
            session.buffer += up.over
            up.over = b""
        is_asked = up is None or up.complete
        reads = 0 if (session.is_deaf if is_asked else up.held) else READ  # type: ignore[union-attr]
        session.client_watch.handler = self.client_event
        session.client_watch.want(reads | (WRITE if down is not None and down.held else 0))
        if upstream is None:
            return
        writes = WRITE if up is not None and up.held else 0
        if exchange.response is None:
            upstream.watch.handler = self.target_event
            upstream.watch.want(writes if down is not None and down.held else READ | writes)
            return
        reads = 0 if down is None or down.held or down.complete else READ
        upstream.watch.handler = down.pump if down is not None and reads and not writes else self.target_event
        upstream.watch.want(reads | writes)

    def client_event(self, mask: int) -> None:
        exchange, up, down = self._exchange, self._up, self._down
        if mask & WRITE and down is not None:
            down.flush()
        if not mask & (READ | BROKEN) or exchange.outcome:
            return None
        if up is None or up.complete:
            return self._session.early(mask)
        return self._readable(up, self._session.client_watch, mask)

    def target_event(self, mask: int) -> None:
        exchange, up, down = self._exchange, self._up, self._down
        if mask & WRITE and up is not None:
            up.flush()
        if not mask & (READ | BROKEN) or exchange.outcome or exchange.upstream is None:
            return None
        if exchange.response is None:
            return exchange.answering(mask)
        if down is not None and not down.complete:
            return self._readable(down, exchange.upstream.watch, mask)
        if mask & BROKEN:
            exchange.upstream.watch.mute()  # it has said all: whoever uses it next will see
        return None

    def _readable(self, body: Body, watch: Watch, mask: int) -> None:
        if not body.held:
            return body.pump(mask)
        if not mask & BROKEN:
            return None
        if error_of(body.source):
            return self.source_broke(body)
        return watch.mute()  # hung up in order, with bytes that must wait for the sink

    def body_done(self, body: Body) -> None:
        exchange = self._exchange
        if body is self._up:
            exchange.was_sent()
        elif exchange.response is not None or exchange.upstream is None:
            return exchange.finish()
        else:
            self._set_aside()  # it was the rest of an interim response
        return self.rewire()

    def source_broke(self, body: Body) -> None:
        self._session.close("client_reset" if body is self._up else "target_reset")

    def source_ended(self, body: Body) -> None:
        if body is self._up:
            return self._spoilt("client_closed")
        return self._session.close("target_closed")

    def sink_broke(self, body: Body) -> None:
        exchange = self._exchange
        if body is self._down:
            return self._session.close("client_reset")
        # It takes no more of the request. It may have answered before it closed: "413, go away" is worth passing on.
        if not body.complete:
            exchange.is_last = self._session.is_deaf = True
        self._is_torn = True
        body.abandon()
        self.rewire()
        return exchange.answering(READ) if exchange.response is None else None

    def bad_chunk(self, body: Body, reason: str) -> None:
        exchange = self._exchange
        if body is not self._up:
            return self._session.close("bad_chunk")
        is_large = reason == "too_large"
        if not is_large:
            self._session.count_desync("bad_chunk")
        self._session.offended(exchange.client, *(("bad_head",) if is_large else ("severe", "bad_head")))
        cause = "too_large" if is_large else "bad_chunk"
        if exchange.response is None:
            return exchange.refuse(413 if is_large else 400, cause, is_last=True)
        return self._spoilt(cause)

    def _spoilt(self, cause: str) -> None:
        """The client's part went wrong, whatever the response has come to."""
        self._exchange.phase = "request"
        self._session.close(cause)

    # --- watch over and end

    def progress(self) -> tuple[int, int]:
        """Bytes that came from the client, and that it took."""
        up, down = self._up, self._down
        return up.read if up is not None else 0, down.moved if down is not None else 0

    def settle(self, upstream: Upstream) -> None:
        """Tell what moved between us and the target."""
        up, down = self._up, self._down
        if up is not None:
            upstream.received += up.moved - self._told_received
            self._told_received = up.moved
        if down is not None:
            upstream.sent += down.read - self._told_sent
            self._told_sent = down.read

    def sweep(self, now: float) -> None:
        """Who is waited for, and how long may that take?"""
        exchange, session, up, down = self._exchange, self._session, self._up, self._down
        if exchange.upstream is not None:
            self.settle(exchange.upstream)
        moved = (up.read + up.moved if up is not None else 0) + (down.read + down.moved if down is not None else 0)
        is_moving = moved != self._mark
        if is_moving:
            self._mark, self._marked_at = moved, now
        if up is not None and exchange.phase == "request" and self._is_asking(up):
            return self._judge_pace(up, now)
        self._paced, self._paced_at = up.read if up is not None else 0, now
        if is_moving:
            return None
        waited = now - max(self._marked_at, exchange.sent_at)
        if down is not None and down.held and (exchange.phase == "data" or exchange.upstream is None):
            if waited < session.listener.idle_timeout:
                return None
            return session.close("idle" if exchange.phase == "data" else exchange.ending)
        if exchange.upstream is None or waited < exchange.group.response_timeout:
            return None
        return session.close("idle") if exchange.phase == "data" else exchange.late()

    def _is_asking(self, up: Body) -> bool:
        """It is the client's turn to send. Not while the target has no room, nor before it said `100 Continue`."""
        if up.complete or up.held:
            return False
        return bool(up.read or self._exchange.interim or not self._exchange.request.expects)

    def _judge_pace(self, up: Body, now: float) -> None:
        """The client sends its body. By spans, so that a quick beginning does not earn it hours."""
        site = self._session.site
        if not site.min_body_rate:  # as slowly as it likes, but not never
            is_slow = now - self._marked_at >= self._session.listener.idle_timeout
            return self._too_slow() if is_slow else None
        span = now - self._paced_at
        if span < site.min_body_rate_after:
            return None
        if up.read - self._paced < site.min_body_rate * span:
            return self._too_slow()
        self._paced, self._paced_at = up.read, now
        return None

    def _too_slow(self) -> None:
        self._session.offended(self._exchange.client, "timeout")
        self._exchange.refuse(408, "slow_body", is_last=True)

    def leave(self, upstream: Upstream | None) -> None:
        """The target is left, and the request with it; what the client has no room for yet stays."""
        if upstream is not None:
            self.settle(upstream)
        up = self._up
        if up is not None:
            self._exchange.received += up.read
            up.release()
            self._up = None
            self._weigh(up)

    def _weigh(self, up: Body) -> None:
        """What came in chunks said nothing of its length before. The listener's own bound was held as it came."""
        session = self._session
        shield = session.listener.shield
        if shield is not None and shield.finds_too_long(up.payload) and up.payload <= up.most:
            session.offended(self._exchange.client, "bad_head")

    def release(self, upstream: Upstream | None) -> None:
        """The exchange ended."""
        self.leave(upstream)
        if self._down is not None:
            self._down.release()
            self._down = None
