"""An http listener with groups behind it, and every connection played by the test.

    web = http(target := End())
    client = web.arrives(End(get("/a")))
    assert target.heard() == get("/a")
    web.says(target, ok(b"hello"))
    assert client.heard() == ok(b"hello")

Nothing is added to heads unless a test asks for it, so what one side says is what the other gets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from random import Random
from typing import Any

from nlb.http1.framing import Dechunker, last_chunk
from nlb.http1.framing import chunk as write_chunk
from nlb.observe import counters
from nlb.observe.access import REQUEST
from nlb.observe.counters import EXCHANGE_OUTCOME_WORD, QUEUED
from nlb.proxy.group import WorkerGroup
from nlb.proxy.http import HttpSession
from nlb.proxy.site import Site
from tests.fakes import End
from tests.unit.proxy.stage import SPEC, Dial, Play

# What control says of an http listener and of an http group.
SITE: dict[str, Any] = {
    "desync": "defensive",
    "trusted_proxies": [],
    "x_forwarded": "remove",
    "forwarded": "remove",
    "via": False,
    "request_id": False,
    "traceparent": False,
    "reason_header": False,
    "header_timeout": 10.0,
    "tunnel_timeout": 350.0,
    "min_body_rate": 240,
    "min_body_rate_after": 20.0,
    "max_body": None,
    "access_log_except": [],
    "error_pages": {},
    "rules": [],
    "default": {"label": "default", "number": 0, "forward": [[0, 1, 0]]},
}
GROUP: dict[str, Any] = {
    "pool_size": 64,
    "pool_timeout": 4.0,
    "retry_budget": 20,
    "response_timeout": 60.0,
    "tunnel_timeout": None,
    "request_headers": {"set": {}, "remove": []},
    "response_headers": {"set": {}, "remove": []},
    "stickiness": None,
    "key": "00" * 32,
}
IDLE = 60.0

# What rules say, of which nlb answers by itself.
REDIRECT = {"status": 301, "protocol": None, "host": None, "port": None, "path": "/new", "query": None}
HERE = {"status": 200, "content_type": "text/plain", "body": "here"}


def get(path: str = "/", *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body, as a client sends it and as the target gets it."""
    head = [f"{method} {path} HTTP/{version}", "Host: a", *lines]
    return "".join(line + "\r\n" for line in head).encode() + b"\r\n"


def post(body: bytes = b"", *lines: str, path: str = "/", method: str = "POST", length: int | None = None) -> bytes:
    """A request with a Content-Length: that of `body`, unless more is to come."""
    size = len(body) if length is None else length
    return get(path, f"Content-Length: {size}", *lines, method=method) + body


def chunked(*chunks: bytes, path: str = "/", method: str = "POST", lines: Iterable[str] = ()) -> bytes:
    """A request whose body goes on."""
    return get(path, *lines, "Transfer-Encoding: chunked", method=method) + b"".join(map(chunk, chunks))


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


LAST = b"0\r\n\r\n"


def one_chunk(message: bytes) -> bytes:
    """A message whose body, if it is chunked, is made one chunk: how many there are is nobody's business."""
    head, blank, body = message.partition(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" not in head:
        return message
    dechunker = Dechunker()
    payload = dechunker.feed(body)
    assert dechunker.done, "the body has no end"
    return head + blank + write_chunk(payload) + last_chunk(dechunker.trailers) + dechunker.rest


def ok(body: bytes = b"", *lines: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A response with a Content-Length."""
    size = len(body) if length is None else length
    return answer(status, *lines, f"Content-Length: {size}") + body


def answer(status: str, *lines: str, version: str = "1.1") -> bytes:
    """A response's head."""
    return "".join(line + "\r\n" for line in (f"HTTP/{version} {status}", *lines)).encode() + b"\r\n"


def closing(message: bytes, says: str = "close") -> bytes:
    """The same, with our word on the connection as the last line of its head."""
    head, blank, body = message.partition(b"\r\n\r\n")
    return head + f"\r\nConnection: {says}".encode() + blank + body


def status(heard: bytes) -> int:
    """Of a response; 0 if there is none."""
    return int(heard.split(b" ", 2)[1]) if heard else 0


class Lines:
    """An access log that keeps its lines: a dict each."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, layout: Any, when: float, values: list[Any]) -> None:
        assert layout is REQUEST, "only exchanges are told of"
        self.lines.append(json.loads(layout.line("json", when, values)))


class HttpPlay(Play):
    """Group 0 has targets a, b, c, or those that `targets` says; group 1, if there is an `api`, its targets, which
    are named after them. `options` are of the listener, of its default group, or a Play's."""

    def __init__(self, *dials: Dial, api: str = "", **options: Any) -> None:
        site, group = ({key: options.pop(key) for key in keys if key in options} for keys in (SITE, GROUP))
        self.log = Lines()
        self.groups: dict[int, WorkerGroup] = {}
        super().__init__(*dials, http=GROUP | group, access_log=self.log, **options)  # type: ignore[arg-type]
        self.groups[0] = self.group
        if api:
            self.groups[1] = self._second(api, len(self.targets))
        self.is_buggy = False  # a test wants something to crash
        self.clients: list[End] = []
        self.listener.idle_timeout = IDLE
        self.change(**site)

    def _second(self, names: str, first: int) -> WorkerGroup:
        targets = {name: self._target(number, name, "healthy", None) for number, name in enumerate(names, first)}
        self.targets |= targets
        group = WorkerGroup(
            self.loop,  # type: ignore[arg-type]
            self,
            self.row.group(1),
            [self.row.group(1), self.other_row.group(1)],
            self._connect_failed,
            lambda level, text: self.events.append((level, text)),
            self._dial,
        )
        group.load(SPEC | {"name": "api", "http": GROUP}, list(targets.values()), 0, Random(1).random)
        group.rebuild()
        return group

    def change(self, **site: Any) -> None:
        """The listener is told anew."""
        self.listener.site = Site(SITE | site, self.groups, self.row)

    def queues(self, client: End | None = None, address: Any = ("192.0.2.7", 40000)) -> End:
        client = super().queues(client, address)
        self.clients.append(client)
        return client

    def says(self, end: End, *what: bytes | OSError) -> None:
        """Somebody speaks, and everything that can happen happens."""
        end.say(*what)
        self.loop.settle()

    def takes(self, end: End, size: int = 1 << 30) -> None:
        """Somebody reads."""
        end.take(size)
        self.loop.settle()

    def resets(self, end: End) -> None:
        end.reset()
        self.loop.settle()

    def sweep(self, seconds: float = 1.0) -> None:
        """Time passes, a second at a time, and the worker makes its rounds."""
        while seconds > 0:
            self.loop.pass_time(min(seconds, 1.0))
            seconds -= 1.0
            for session in list(self.sessions):
                try:
                    session.sweep(self.loop.now)
                except Exception as error:
                    session.crashed(error)
            for group in self.groups.values():
                group.sweep(self.loop.now)
            self.loop.settle()

    def expel(self, name: str, cause: str) -> None:
        """As the worker does when control says that a target is to be left."""
        for session in list(self.sessions):
            if session.target is self.targets[name]:
                session.expel(cause)
        self.loop.settle()

    @property
    def session(self) -> HttpSession:
        (session,) = self.sessions
        return session  # type: ignore[return-value]

    def session_of(self, client: End) -> HttpSession:
        (session,) = (session for session in self.sessions if session.client is client)  # type: ignore[comparison-overlap]
        return session  # type: ignore[return-value]

    @property
    def exchanges(self) -> dict[str, int]:
        """How exchanges ended, and how often."""
        return {outcome: self.words[word] for outcome, word in EXCHANGE_OUTCOME_WORD.items() if self.words[word]}

    @property
    def pooled(self) -> int:
        """Idle connections to targets."""
        return sum(len(group.pool) for group in self.groups.values())

    @property
    def joined(self) -> list[End]:
        """Ends of targets, in the order in which they were dialled."""
        return [end for end in self.loop.known if isinstance(end, End) and end not in self.clients]

    def group_word(self, word: int, group: int = 0) -> int:
        return self.groups[group].words[word]

    def statuses(self, route: int = 0) -> dict[str, int]:
        """What a route counted: by the class of the status that clients got."""
        words = self.row.route(route)
        return {f"{number}xx": count for number, count in enumerate(words) if count}

    def must_be_over(self) -> None:
        """Everything is closed: nothing may be left, and nothing may have been counted twice or not at all."""
        for session in list(self.sessions):
            session.close("shutdown")
        self.loop.settle()
        assert (self.active, self.group_word(QUEUED)) == ({}, 0)
        for group in self.groups.values():
            group.unload()
        self.loop.settle()
        assert set(self.loop.watches) <= {self.door.number}
        assert all(end.closed for end in self.joined)
        assert all(client.closed for client in self.clients)
        assert bool(self.bugs) is self.is_buggy, self.bugs
        ended = sum(self.outcomes.values())
        assert ended == self.words[counters.ACCEPTED] == len(self.clients)
        assert sum(self.exchanges.values()) == len(self.log.lines)
        assert self.words[counters.SENT] == sum(len(client.got) for client in self.clients)
        told = sum(self.target_words(counters.TARGET_RECEIVED).values())
        assert told == sum(len(end.got) for end in self.joined)
