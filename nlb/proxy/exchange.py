"""One HTTP request and its response.

    start ──> (seeker.py: choose, connect) ──> request ──> response ──> data ──> ended
      │                                           │           │ nothing came on a used connection: once more
      │                                           │           └─ on a fresh one, if the request may be repeated
      │                                           └─ the head is sent; its body goes up, while the response may come
      └─ answered by us: a redirect, a fixed response, a refusal

Who answers on failure depends on how far it came. Nothing was sent: another target, up to `tries`. Sent on a used
connection, no byte back, and the request may be repeated: once more. The response has not begun: 502 or 504. It has:
both connections are cut, the client must see it. A request that is not idempotent is never sent twice.
"""

from __future__ import annotations

from math import ceil
from random import getrandbits, random
from time import time
from typing import TYPE_CHECKING

from nlb.balance.affinity import flow_key
from nlb.balance.target import Target
from nlb.http1.desync import CLASS_OF, PASS, REFUSE, verdict
from nlb.http1.fields import options
from nlb.http1.framing import CHUNKED, UNTIL_CLOSE
from nlb.http1.head import IDEMPOTENT, KNOWN_LIMIT, BadHead, Request, Response, parse_response
from nlb.http1.routes import FORWARD, Rule
from nlb.http1.write import request_head, response_head
from nlb.net.loop import READ
from nlb.net.sockets import WOULD_BLOCK
from nlb.net.tls import Connection
from nlb.observe import counters
from nlb.observe.counters import Words, observe
from nlb.proxy.pipe import COPY
from nlb.proxy.seeker import Seeker
from nlb.proxy.streams import Streams
from nlb.proxy.tcp import TcpSession
from nlb.proxy.upstream import Upstream
from nlb.shield.requests import Refusal
from nlb.shield.words import METHOD, REQUEST_RATE

if TYPE_CHECKING:
    from nlb.proxy.guard import Shield
    from nlb.proxy.http import HttpSession

# What the client is answered when an exchange fails before its response began: by cause, else by phase.
_STATUS_OF_CAUSE = {"timeout": 504, "slow_body": 408, "bad_chunk": 400, "no_port": 503, "descriptors": 503}
_STATUS_OF_PHASE = {"request": 502, "pick": 503, "connect": 502, "response": 502}

DONE = "data/done"

# Where an outcome has another word than the shield.
_CAUSE_OF_WORD = {REQUEST_RATE: "rate"}

# Interim responses (1xx) that a target may send before the response itself. Real ones send one or two.
_MOST_INTERIM = 20


class Exchange(Seeker):
    """Made by a session for a request whose head was read; `start` sets it off, `end` is its only end."""

    __slots__ = (
        "answered_at",
        "began",
        "client",
        "connected_at",
        "ending",
        "interim",
        "is_last",
        "is_routed",
        "partial",
        "picked_at",
        "queued",
        "reason",
        "received",
        "replay",
        "request",
        "response",
        "route",
        "rule",
        "sent",
        "sent_at",
        "served",
        "session",
        "status",
        "streams",
        "upstream",
    )

    def __init__(self, session: HttpSession, request: Request, began: float) -> None:
        """`began` is when the first byte of the request came."""
        # What Seeker's own would do; calling it costs a request 0.15 us.
        self.listener = listener = session.listener
        self.group = listener.group
        self.client_address = session.client_address
        self.phase = "request"
        self.outcome = ""
        self.tried = ()
        self.target = self.target_socket = self.target_watch = self.deadline = None
        self.session = session
        self.request = request
        self.began = began
        self.is_last = not request.keep_alive  # the client's connection ends with it
        self.ending = "done"  # the cause with which it ends once the client has everything
        self.rule: Rule | None = None
        self.route: Words | None = None  # where its status is counted
        self.is_routed = False  # the group is the one that the rule says
        self.upstream: Upstream | None = None
        self.served: Target | None = None  # the last one that it was sent to, or was to be
        self.streams: Streams | None = None  # what does not come and go at once
        self.response: Response | None = None
        self.replay = b""  # all that was sent, while it may be sent once more
        self.partial = b""  # of the response's head
        self.client = session.peer.address  # as far as it is believed
        self.reason = request.reason  # desync's
        self.id = self.interim = self.status = self.sent = 0
        self.received = request.size
        self.picked_at = listener.loop.now  # then: when a target was chosen
        self.connected_at = self.sent_at = self.answered_at = self.queued = 0.0

    # --- judge and route

    def start(self) -> None:
        session, request, site = self.session, self.request, self.session.site
        if request.special is not None:
            self.client = session.peer.client(request)
        if request.reason:
            passes = verdict(site.desync, request.reason)
            session.count_desync(request.reason)
            session.offended(self.client, CLASS_OF[request.reason])
            if passes == REFUSE:
                return self.refuse(400, "desync", is_last=True)
            self.is_last |= passes != PASS
        if request.length > 0 and self._is_too_long(request.length):
            return self.refuse(413, "too_large", is_last=True)
        shield = self.listener.shield
        if shield is not None:
            refusal = shield.judge_request(request, self.client, session.peer)
            if refusal is not None:
                return self._turn_away(refusal, shield)
        rule = self.rule = site.routes.find(request, session.port, self.client)
        if rule.kind != FORWARD:
            self.is_last |= not request.minor or self.listener.is_leaving
            if request.length:
                self.is_last = session.is_deaf = True  # nobody wants the body that comes with it
            self.route = rule.number
            self.status = rule.status
            return self._answer(*site.answer(rule, request, session.port, self.is_last))
        self.group = rule.group(random)
        self.route = rule.numbers[self.group]
        self.is_routed = True
        self.phase = "pick"
        return self.begin()

    def _is_too_long(self, length: int) -> bool:
        """A body, for the listener. One that is so for a shield alone, which is a monitor then, is counted."""
        session, shield = self.session, self.listener.shield
        refuses = length > session.site.max_body >= 0
        if (shield is not None and shield.finds_too_long(length)) or refuses:
            session.offended(self.client, "bad_head")
        return refuses

    def _turn_away(self, refusal: Refusal, shield: Shield) -> None:
        extra = b""
        if refusal.word == METHOD:
            extra = b"Allow: %b\r\n" % shield.methods.encode()
        elif refusal.wait:
            extra = b"Retry-After: %d\r\n" % ceil(refusal.wait)
        is_last = shield.has_blocked(self.session.peer.address)  # since its connection was let in
        self.refuse(refusal.status, _CAUSE_OF_WORD.get(refusal.word, refusal.word), is_last, extra)

    def preferred(self) -> Target | None:
        """Whom a cookie of the client names."""
        if self.tried:
            return None
        target = self.group.sticky.find(self.request, time())  # type: ignore[union-attr]
        return target if target is not None and self.group.balance.admits(target) else None

    def key(self) -> bytes:
        return flow_key(self.client, self.session.client_port, self.group.balance.hash_key)

    def waits(self) -> None:
        self.session.stand_by()

    @property
    def client_socket(self) -> Connection:
        return self.session.client

    @property
    def tunnel_timeout(self) -> float:
        """Once it is a tunnel: the listener's or the group's, whichever is over first."""
        return min(self.session.site.tunnel_timeout, self.group.tunnel_timeout)

    # --- a connection to the target

    def approach(self, target: Target) -> None:
        group = self.group
        self.served = target
        now = self.listener.loop.now
        if not self.tried:
            self.queued = now - self.picked_at
        self.picked_at = now
        # A body that is not here as a whole cannot be sent once more either, whatever the method.
        upstream = group.pool.take(target, self.request.length != 0 or self.request.method not in IDEMPOTENT)
        if upstream is None:
            group.words[counters.POOL_MISSES] += 1
            return self.dial(target)
        group.words[counters.POOL_HITS] += 1
        upstream.watch.owner = self
        self.upstream = upstream
        self.connected_at = now
        return self._send(upstream)

    def joined(self) -> None:
        """A fresh connection."""
        group, target, loop = self.group, self.target, self.listener.loop
        sock, watch = self.target_socket, self.target_watch
        assert target is not None
        assert sock is not None
        self.target_socket = self.target_watch = None
        if watch is None:
            watch = loop.watch(sock.fileno(), READ, self.answering, self)
        else:
            watch.want(READ)
        self.upstream = upstream = group.pool.adopt(target, sock, watch)
        self.connected_at = loop.now
        target.words[counters.CONNECTIONS] += 1  # type: ignore[index]
        observe(group.words, counters.CONNECT_TIMES, counters.LATENCY, loop.now - self.picked_at)
        self._send(upstream)

    def leave_target(self) -> None:
        if self.upstream is not None:
            self.group.pool.lost(self.upstream)
            self.upstream = None
        Seeker.leave_target(self)

    # --- the request goes up

    def _send(self, upstream: Upstream) -> None:
        """The head, and what is here of the body."""
        session, request = self.session, self.request
        data, unread = self.replay, session.buffer
        if not data:
            data = self._head()
            if request.length:
                body = self._body(upstream)
                if body is None:
                    return
                data += body
            if self.streams is None or self.streams.is_asked:
                self.replay = data  # it is here as a whole, so it can be sent again
        try:
            sent = upstream.sock.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            return self._not_sent(upstream, unread)
        upstream.received += sent
        upstream.watch.handler = self.answering
        streams = self.streams
        if streams is None or streams.is_asked:
            if sent == len(data):
                self.phase = "response"
                self.sent_at = self.listener.loop.now
                return session.stand_by()
        else:
            self.replay = b""
        self.phase = "request"
        return self.streaming().sends_up(upstream, data[sent:])

    def streaming(self) -> Streams:
        if self.streams is None:
            self.streams = Streams(self, self.session)
        return self.streams

    def _head(self) -> bytes:
        request = self.request
        if not self.id:
            self.id = getrandbits(128)
        edit = self.group.request_edit
        fields = request.fields if edit is None else edit.apply(request.fields)
        identity = self.session.identity
        if identity is not None:
            fields = identity.apply(fields)
        return request_head(request, fields, self.session.peer.lines(request, self.id))

    def _body(self, upstream: Upstream) -> bytes | None:
        """Begin the body with what the client sent behind the head. None: it is wrong, and the exchange ended."""
        session = self.session
        data, session.buffer = session.buffer, b""
        session.is_deaf = False
        self.phase = "request"
        first = self.streaming().begin_up(upstream, self.request.length, data)
        if first is not None:
            self.phase = "connect"
        return first

    def was_sent(self) -> None:
        """The target has taken the whole request."""
        if self.phase == "request":
            self.phase = "response"
            self.sent_at = self.listener.loop.now

    def _not_sent(self, upstream: Upstream, unread: bytes) -> None:
        """The connection took not a byte: it had been closed. Nothing is lost, whatever the request is; `unread` is
        what the client had sent behind its head."""
        if self.streams is not None and not self.replay:
            self.streams.begin_anew()
            self.session.buffer = unread
        if not upstream.is_used:
            return self.try_another("refused")
        self.group.pool.lost(upstream)
        self.upstream = None
        return self.dial(upstream.target)

    # --- the response comes down

    def answering(self, mask: int) -> None:
        """The target says something, or has gone."""
        upstream = self.upstream
        assert upstream is not None
        try:
            data = upstream.sock.recv(COPY)
        except WOULD_BLOCK:
            return
        except OSError:
            return self._silent(upstream, "target_reset")
        if not data:
            return self._silent(upstream, "target_closed")
        upstream.sent += len(data)
        scanned = len(self.partial)
        if scanned:
            data = self.partial + data
        else:
            self.replay = b""
            self.answered_at = self.listener.loop.now
            if upstream.said and data.startswith(upstream.said) and self.request.method != b"HEAD":
                return self._respond(upstream.response, data)
        while True:
            try:
                response = parse_response(data, self.request.method, scanned)
            except BadHead:
                return self.misunderstood()
            if response is None:
                self.partial = data
                return
            self.partial = b""
            if response.status >= 200:
                if response.length >= 0 and response.size <= KNOWN_LIMIT and self.request.method != b"HEAD":
                    upstream.said, upstream.response = data[: response.size], response
                return self._respond(response, data)
            if response.status == 101:
                return self._switch(response, data)
            if not self._pass_interim(response):
                return
            data = data[response.size :]
            if not data:
                return
            scanned = 0

    def _pass_interim(self, response: Response) -> bool:
        """100, 103 and their like go on to the client; False: the exchange ended."""
        self.interim += 1
        if self.interim > _MOST_INTERIM:
            self.misunderstood()
            return False
        if not self.request.minor:
            return True  # HTTP/1.0 knows none
        head = response_head(response, response.fields, b"", 1, False)
        if self.streams is not None and self.streams.is_full:
            self.streams.holds_down(head)
            return True
        try:
            sent = self.session.client.send(head)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            self.session.close("client_reset")
            return False
        self.sent += sent
        if sent != len(head):
            self.streaming().holds_down(head[sent:])
        return True

    def _respond(self, response: Response, data: bytes) -> None:
        """The head is here: send it, and what is here of the body."""
        # A response that comes before the request is complete took no time at all.
        waited = self.answered_at - self.sent_at
        if waited < 0 or not self.sent_at:
            waited = 0.0
        observe(self.group.words, counters.FIRST_BYTE_TIMES, counters.LATENCY, waited)
        self.phase = "data"
        self.response = response
        self.status = response.status
        length, minor = response.length, self.request.minor
        if self.listener.is_leaving or (self.streams is not None and not self.streams.is_sent):
            self.is_last = True  # answered before all was asked: what still comes is nobody's
        if length < 0:
            if not minor:
                self.is_last = True  # HTTP/1.0 knows no chunks
            elif length == UNTIL_CLOSE:
                response.length = CHUNKED  # so that the client can tell its end from a broken connection
        edit = self.group.response_edit
        fields = response.fields if edit is None else edit.apply(response.fields)
        sticky = self.group.sticky
        extra = b""
        if sticky is not None:
            is_secret = self.session.site.protocol == "https"
            extra = sticky.set(self.request, response, self.served, time(), is_secret)  # type: ignore[arg-type]
        head = response_head(response, fields, extra, minor, self.is_last)
        whole = len(data) - response.size
        if 0 <= length <= whole:
            if length != whole:
                response.keep_alive = False  # more came than was announced
                data = data[: response.size + length]
            return self._deliver(head + data[response.size :] if length else head)
        upstream = self.upstream
        assert upstream is not None
        return self.streaming().begin_down(upstream, head, data[response.size :], length)

    def _deliver(self, data: bytes) -> None:
        """All that the client still gets."""
        if self.streams is not None and self.streams.is_full:
            return self.streams.holds_down(data)  # behind an interim response
        try:
            sent = self.session.client.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            return self.session.close("client_reset")
        self.sent += sent
        if sent == len(data):
            return self.finish()
        return self.streaming().holds_down(data[sent:])

    def finish(self) -> None:
        """The client has everything."""
        session, upstream, streams = self.session, self.upstream, self.streams
        if upstream is not None:
            reuses = self.response is not None and self.response.keep_alive
            if self.reason and verdict(session.site.desync, self.reason) != PASS:
                reuses = False  # both sides close behind what could be read in two ways
            if streams is not None:
                reuses = reuses and streams.is_clean
                streams.settle(upstream)
                if not streams.is_asked:
                    session.is_deaf = True  # answered early: what still comes of the request is nobody's
            self.upstream = None
            if reuses:
                self.group.pool.give_back(upstream)
            else:
                self.group.pool.lost(upstream)
        is_last = self.is_last
        self.end(self.ending)
        session.over(is_last)

    # --- trouble

    def fail(self, cause: str) -> None:
        self.refuse(0, cause)

    def misunderstood(self, before: bytes = b"") -> None:
        """What the target sent is no response, and none of it went to the client, which is owed `before`."""
        self.phase = "response"
        self.response = None
        if before:
            self.streaming().holds_down(before)
        self.refuse(0, "bad_head")

    def late(self) -> None:
        """The target did not begin its response in time."""
        self.phase = "response"
        self.refuse(504, "timeout")

    def _silent(self, upstream: Upstream, cause: str) -> None:
        """The target has gone, and its response never began."""
        may_repeat = self.replay and upstream.is_used and self.request.method in IDEMPOTENT
        if may_repeat and self.group.budget.allows(self.listener.loop.now):
            self.group.words[counters.HTTP_RETRIES] += 1
            if self.streams is not None:
                self.streams.take_back(upstream)
            self.group.pool.lost(upstream)
            self.upstream = None
            self.phase = "connect"
            return self.dial(upstream.target)
        return self.refuse(0, cause)

    def expel(self, cause: str) -> None:
        """The target is to be left: choose another if it has not been asked yet, else end."""
        if self.phase == "connect":
            return self.choose_another(cause)
        if self.phase == "data":
            return self.session.close(cause)
        return self.refuse(0, cause)

    def refuse(self, status: int, cause: str, is_last: bool = False, extra: bytes = b"") -> None:
        """Answer for the target, which cannot; 0 is the status that fits the cause or the phase. `extra` are lines of
        the answer's head."""
        self.status = status or _STATUS_OF_CAUSE.get(cause) or _STATUS_OF_PHASE[self.phase]
        streams = self.streams
        self.is_last |= not self.request.minor or self.listener.is_leaving
        if is_last or (self.request.length and (streams is None or not streams.is_asked)):
            self.is_last = self.session.is_deaf = True  # what still comes of the request is nobody's
        if streams is not None:
            streams.leave(self.upstream)
        self.leave_target()
        outcome = f"{self.phase}/{cause}"
        self._answer(self.session.site.error(self.status, self.request, outcome, self.is_last, extra), cause)

    def _answer(self, data: bytes, cause: str) -> None:
        """With words of our own; then the exchange ends with this cause."""
        self.ending = cause
        self.response = None
        self._deliver(data)

    def crashed(self, error: Exception) -> None:
        self.session.crashed(error)

    # --- watch over and end

    def sweep(self, now: float) -> None:
        """Once in a while: has anything moved? Who is waited for, and how long may that take?"""
        if self.streams is not None:
            return self.streams.sweep(now)
        if self.phase == "response" and now - self.sent_at >= self.group.response_timeout:
            return self.late()
        return None

    def end(self, cause: str) -> None:
        """With the outcome phase/cause; may be called twice and acts once."""
        if self.outcome:
            return
        phase, target = self.phase, self.target
        self.outcome = DONE if cause == "done" and phase == "data" else f"{phase}/{cause}"
        if phase == "pick":
            self.group.queue.leave(self)
        if self.streams is not None:
            self.sent += self.streams.progress()[1]
            self.streams.release(self.upstream)
            self.streams = None
        if self.upstream is None and self.target_socket is None and self.deadline is None:
            if target is not None:  # as most end: its connection went back to the pool
                self.uncount(target)
        else:
            self.leave_target()
        self.session.ended(self, target or self.served)

    def progress(self) -> tuple[int, int]:
        """Bytes from the client and to it, so far."""
        received, sent = self.streams.progress() if self.streams is not None else (0, 0)
        return self.received + received, self.sent + sent

    def tunnel_ended(self, cause: str, target: Target | None, received: int, sent: int) -> None:
        """The session that it became has ended, with this cause."""
        self.served = target
        self.received += received
        self.sent += sent
        self.end(cause)

    # --- other protocols

    def _switch(self, response: Response, data: bytes) -> None:
        """The target agreed to another protocol: from now on bytes flow."""
        session, upstream, target = self.session, self.upstream, self.target
        agreed, offered = set(options([response.upgrade])), options([self.request.upgrade])
        if not agreed or not agreed.issubset(offered) or upstream is None or target is None:
            return self.misunderstood()  # nobody asked for it
        self.phase = "data"
        self.status = 101
        self.response = response
        edit = self.group.response_edit
        fields = response.fields if edit is None else edit.apply(response.fields)
        up, down = session.buffer, response_head(response, fields, b"", 1, False) + data[response.size :]
        if self.streams is not None:  # one of them has not taken all that came before
            rests = self.streams.hand_on(upstream)
            self.streams = None
            up, down = rests[0] + up, rests[1] + down
        upstream.sent -= len(data)  # the tunnel will count what it passes on
        self.group.pool.handed_on(upstream)
        self.upstream = None
        tunnel = TcpSession(self.listener, session.client, session.client_address)
        session.become(tunnel)
        tunnel.go_on(self, session.client_watch, upstream.sock, upstream.watch, up, down)
