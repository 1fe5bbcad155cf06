"""However the bytes are cut into reads and sends, both sides get the same; and whatever comes in whatever order,
nothing breaks. h11, which is strict, plays client and target.
"""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from nlb.balance.target import DRAIN, MAINT, READY
from nlb.errors import OUTCOMES
from tests.fakes import END, NOTHING, Dialled, End
from tests.unit.proxy.http_stage import HERE, LAST, HttpPlay, answer, chunk, chunked, get, ok, post
from tests.unit.proxy.stage import Dial

# --- messages as they are meant


@dataclass(frozen=True)
class Message:
    """What one side wants to say: with a body of so many pieces, and how it is framed."""

    framing: str  # none, length, chunked, close
    pieces: tuple[bytes, ...] = ()
    trailers: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def lines(self) -> list[str]:
        return {
            "none": [],
            "length": [f"Content-Length: {len(self.body)}"],
            "chunked": ["Transfer-Encoding: chunked"],
            "close": [],
        }[self.framing]

    def wire(self) -> bytes:
        if self.framing != "chunked":
            return self.body
        end = b"0\r\nX-Sum: 7\r\n\r\n" if self.trailers else LAST
        return b"".join(chunk(piece) for piece in self.pieces if piece) + end

    @property
    def told(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """(body, trailers) as the other side is to see them."""
        return self.body, [(b"x-sum", b"7")] if self.framing == "chunked" and self.trailers else []


@dataclass(frozen=True)
class Asked:
    method: str
    message: Message

    def wire(self, number: int) -> bytes:
        return get(f"/{number}", *self.message.lines(), method=self.method) + self.message.wire()


@dataclass(frozen=True)
class Said:
    status: str
    message: Message
    interim: tuple[str, ...] = ()
    closes: bool = False

    def wire(self, asked: Asked) -> bytes:
        lines = [*self.message.lines(), *["Connection: close"] * self.closes]
        before = b"".join(answer(status) for status in self.interim)
        bodiless = asked.method == "HEAD" or self.status[:3] in ("204", "304")
        return before + answer(self.status, *lines) + (b"" if bodiless else self.message.wire())

    def told(self, asked: Asked) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        bodiless = asked.method == "HEAD" or self.status[:3] in ("204", "304")
        return int(self.status[:3]), *((b"", []) if bodiless else self.message.told)

    @property
    def ends(self) -> bool:
        """The target closes behind it."""
        return self.closes or self.message.framing == "close"


def messages(framings: tuple[str, ...], unit: int) -> st.SearchStrategy[Message]:
    pieces = st.lists(st.integers(0, 9).map(lambda size: b"abcdefg"[size % 7 :][:1] * (size * unit)), max_size=4)
    return st.builds(Message, st.sampled_from(framings), pieces.map(tuple), st.booleans())


@st.composite
def conversations(draw: st.DrawFn) -> tuple[int, list[tuple[Asked, Said]]]:
    """(a measure for sizes, requests with their responses)"""
    unit = draw(st.sampled_from([1, 1, 30, 20_000]))
    empty = st.just(Message("none"))
    full = messages(("length", "chunked"), unit)
    asked = st.one_of(
        st.builds(Asked, st.sampled_from(["GET", "HEAD", "DELETE"]), empty),
        st.builds(Asked, st.sampled_from(["POST", "PUT"]), full),
    )
    said = st.one_of(
        st.builds(
            Said,
            st.sampled_from(["200 OK", "404 Not Found", "500 "]),
            messages(("length", "chunked", "close"), unit),
            st.lists(st.sampled_from(["100 Continue", "103 Early Hints"]), max_size=2).map(tuple),
            st.booleans(),
        ),
        st.builds(Said, st.sampled_from(["204 No Content", "304 Not Modified"]), empty),
    )
    return unit, draw(st.lists(st.tuples(asked, said), min_size=1, max_size=5))


# --- who plays them


@dataclass
class Script:
    """What targets have seen and what they are to say, in the order of the requests."""

    replies: deque[tuple[Asked, Said]]
    sizes: list[int]  # of the pieces that targets say
    seen: list[tuple[bytes, bytes, bytes, Any]] = field(default_factory=list)


class Server(End):
    """A target that reads requests as strictly as h11 does, and answers each when it is complete."""

    def __init__(self, script: Script, **limits: Any) -> None:
        super().__init__(**limits)
        self._script = script
        self._connection = h11.Connection(h11.SERVER)
        self._request: Any = None
        self._body = b""

    def send(self, data: bytes) -> int:
        size = super().send(data)
        if self.says and self.says[-1] == END:
            return size  # it has left, and reads nothing more
        self._connection.receive_data(data[:size])
        while (event := self._connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                self._request = event
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._answer(list(event.headers))
        return size

    def _answer(self, trailers: list[tuple[bytes, bytes]]) -> None:
        assert self._connection.trailing_data == (b"", False), "a request before the answer to the one before"
        self._script.seen.append((self._request.method, self._request.target, self._body, trailers))
        self._connection, self._body = h11.Connection(h11.SERVER), b""
        asked, said = self._script.replies.popleft()
        self.say(*cut(said.wire(asked), self._script.sizes), *[END] if said.ends else [])


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """In pieces of these sizes, again and again."""
    pieces, at, number = [], 0, 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        pieces.append(data[at : at + size])
        at, number = at + size, number + 1
    return pieces


def heard(data: bytes, methods: list[str]) -> list[tuple[int, bytes, list[tuple[bytes, bytes]]]]:
    """The responses to requests of these methods, as h11 reads them."""
    responses = []
    for method in methods:
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        status, body, trailers = 0, b"", None
        while trailers is None:
            event = connection.next_event()
            assert event is not h11.NEED_DATA, f"response {len(responses)} is missing, or a part of it"
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                trailers = list(event.headers)
        responses.append((status, body, trailers))
        data = connection.trailing_data[0]
    assert data == b""
    return responses


def are_requests(data: bytes) -> bool:
    """Whole ones, but for the last."""
    while data:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(data)
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return True
            if event is h11.PAUSED:
                return False
        data = connection.trailing_data[0]
    return True


sizes_of = st.lists(st.integers(1, 60), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(
    conversation=conversations(),
    client_sizes=sizes_of,
    target_sizes=sizes_of,
    limits=st.tuples(*[st.integers(1, 40)] * 2),
    rooms=st.tuples(*[st.integers(1, 400)] * 2),
    turns=st.integers(0, 3),
)
def test_both_sides_get_the_same_however_the_bytes_are_cut(
    conversation: tuple[int, list[tuple[Asked, Said]]],
    client_sizes: list[int],
    target_sizes: list[int],
    limits: tuple[int, int],
    rooms: tuple[int, int],
    turns: int,
) -> None:
    unit, exchanges = conversation
    script = Script(deque(exchanges), [size * unit for size in target_sizes])
    servers = [Server(script, room=rooms[1] * unit, at_most=limits[1] * unit) for _ in range(10)]
    web = HttpPlay(*servers, targets="a")
    client = web.arrives(End(room=rooms[0] * unit, at_most=limits[0] * unit))
    wire = b"".join(asked.wire(number) for number, (asked, _) in enumerate(exchanges))
    for piece in cut(wire, [size * unit for size in client_sizes]):
        client.say(piece)
        for _ in range(turns):
            web.loop.turn()
    web.loop.settle()
    for _ in range(1000):
        if sum(web.exchanges.values()) == len(exchanges):
            break
        client.take(rooms[0] * unit)
        for server in servers:
            server.take(rooms[1] * unit)
        web.loop.settle()
    told = [said.told(asked) for asked, said in exchanges]
    assert heard(bytes(client.got), [asked.method for asked, _ in exchanges]) == told
    asked = [(asked.method.encode(), *asked.message.told) for asked, _ in exchanges]
    assert [(method, *message) for method, _, *message in script.seen] == asked
    assert [target for _, target, *_ in script.seen] == [b"/%d" % number for number in range(len(exchanges))]
    assert (client.fate, web.exchanges) == ("open", {"data/done": len(exchanges)})
    web.must_be_over()


# --- anything, in any order


UPGRADE = get("/", "Connection: upgrade", "Upgrade: websocket")
YES = answer("101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket")
CHUNKS = answer("200 OK", "Transfer-Encoding: chunked")

CLIENTS = [
    get(), get("/here"), get("/here") * 20, get("/a"), get(method="HEAD"), get(version="1.0"), get()[:9], get()[9:],
    get("/", "Connection: close"), get("/", "Content-Length: 0"), post(b"hello"), post(b"hel", length=5), b"lo",
    post(b"hel", method="PUT", length=5), chunked(b"hel"), chunked() + LAST, chunk(b"lo"), LAST, b"5\r\nhe", b"\0",
    post(b"", "Expect: 100-continue", length=5), post(b"x" * 5000, length=99_000), b"y" * 70_000, UPGRADE, END, NOTHING,
]  # fmt: skip
TARGETS = [
    ok(), ok(b"hello"), ok(b"hel", length=5), b"lo", ok(length=5), ok()[:9], ok()[9:], CHUNKS, CHUNKS + chunk(b"hel"),
    chunk(b"lo"), LAST, answer("200 OK"), ok(b"x" * 5000, length=200_000), b"y" * 70_000, answer("100 Continue"),
    answer("103 Early Hints") + ok(), YES, YES + b"pong", b"nonsense\r\n\r\n", answer("204 No Content"), END, NOTHING,
    ok(b"", "Connection: close"), ok() + b"more", b"HTTP/1.1 200 OK\r\n", ok(status="413 No") + END,
]  # fmt: skip
CAUSES = ["unhealthy", "removed", "drain_timeout"]
FACTS = [{"admin": DRAIN}, {"admin": READY}, {"admin": MAINT}, {"health": "unhealthy"}, {"health": "healthy"}]

who = st.integers(0, 3)
room = st.sampled_from([1, 50, 5000, 1 << 20])
deeds = st.one_of(
    st.tuples(st.just("arrives"), room, st.booleans()),
    st.tuples(st.just("client"), who, st.sampled_from(CLIENTS)),
    st.tuples(st.just("client"), who, st.sampled_from(CLIENTS)),
    st.tuples(st.just("target"), who, st.sampled_from(TARGETS)),
    st.tuples(st.just("target"), who, st.sampled_from(TARGETS)),
    st.tuples(st.just("takes"), st.booleans(), who, room),
    st.tuples(st.just("resets"), st.booleans(), who),
    st.tuples(st.just("answers"), who, st.sampled_from([0, 0, 0, errno.ECONNREFUSED])),
    st.tuples(st.just("turn")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("sweep"), st.sampled_from([1.0, 5.0, 25.0, 70.0])),
    st.tuples(st.just("expel"), st.sampled_from("abc"), st.sampled_from(CAUSES)),
    st.tuples(st.just("mark"), st.sampled_from("abc"), st.sampled_from(FACTS)),
    st.tuples(st.just("change")),
    st.tuples(st.just("leave")),
)
dials = st.lists(
    st.tuples(st.sampled_from(["joined", "joined", "late", "refused", "no socket"]), room, st.booleans()),
    min_size=80,
    max_size=80,
)
STICKY = {"type": "lb_cookie", "name": None, "cookie": None, "duration": 86400.0}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"room": 1},
    {"room": 1, "queue_timeout": 100.0, "response_timeout": 20.0},
    {"stickiness": STICKY, "policy": "maglev"},
    {"min_body_rate": 0, "desync": "monitor", "pool_size": 1},
    {"retry_budget": 0, "tries": 1, "via": True, "x_forwarded": "append"},
]
RULES = [{"label": "here", "number": 1, "path": ["/here"], "fixed_response": HERE}]


class Chaos:
    """Does whatever it is told. Each deed finds its one by number, among those that are there."""

    def __init__(self, ways: list[tuple[str, int, bool]], options: dict[str, Any]) -> None:
        made = [self._dial(*way) for way in ways]
        self.web = HttpPlay(*made, rules=RULES, max_body=100_000, queue=2, reason_header=True, **options)

    def _dial(self, way: str, room: int, unix: bool) -> Dial:
        if way == "refused":
            return errno.ECONNREFUSED
        if way == "no socket":
            return OSError(errno.EMFILE, "too many")
        return (Dialled if way == "late" else End)(room=room, unix=unix)

    def do(self, deed: str, *how: Any) -> None:
        getattr(self, deed)(*how)

    def arrives(self, room: int, unix: bool) -> None:
        if self.web.listener.is_open:
            self.web.queues(End(room=room, unix=unix), "" if unix else ("192.0.2.7", 40000))

    def _one(self, ends: list[End], number: int) -> End:
        alive = [end for end in ends if not end.closed and (not end.says or end.says[-1] != END)]
        return alive[number % len(alive)] if alive else End()

    def client(self, number: int, what: Any) -> None:
        self._one(self.web.clients, number).say(what)

    def target(self, number: int, what: Any) -> None:
        self._one(self.web.joined, number).say(what)

    def takes(self, is_client: bool, number: int, size: int) -> None:
        self._one(self.web.clients if is_client else self.web.joined, number).take(size)

    def resets(self, is_client: bool, number: int) -> None:
        self._one(self.web.clients if is_client else self.web.joined, number).reset()

    def answers(self, number: int, error: int) -> None:
        end = self._one([end for end in self.web.joined if isinstance(end, Dialled)], number)
        if isinstance(end, Dialled) and not end.mask:
            end.answer(error)

    def turn(self) -> None:
        self.web.loop.turn()

    def settle(self) -> None:
        self.web.loop.settle()

    def sweep(self, seconds: float) -> None:
        self.web.sweep(seconds)

    def expel(self, name: str, cause: str) -> None:
        self.web.expel(name, cause)

    def mark(self, name: str, facts: dict[str, str]) -> None:
        self.web.mark(name, **facts)

    def change(self) -> None:
        self.web.change(rules=RULES, max_body=100)

    def leave(self) -> None:
        self.web.listener.close()


@settings(max_examples=120, deadline=None)
@given(ways=dials, options=st.sampled_from(OPTIONS), told=st.lists(deeds, max_size=40))
def test_whatever_comes_in_whatever_order_nothing_breaks(
    ways: list[tuple[str, int, bool]], options: dict[str, Any], told: list[tuple[Any, ...]]
) -> None:
    chaos = Chaos(ways, options)
    for deed in told:
        chaos.do(*deed)
    web = chaos.web
    web.loop.settle()
    assert {*web.exchanges, *web.outcomes} <= {*OUTCOMES}
    for end in web.joined:
        assert b"Upgrade" in end.got or are_requests(bytes(end.got)), end.got
    web.sweep(1000)
    assert list(web.sessions) == [], "somebody is kept for ever"
    web.must_be_over()
