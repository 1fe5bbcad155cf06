"""What a strict client sent is what a strict target saw, and the other way round, in whatever pieces. Both are h11."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daemon import daemon
from tests.sites import edge, group
from tests.webclients import HOST, Client
from tests.webtargets import WebTarget

EXAMPLES = settings(max_examples=150, deadline=None)

# What nlb writes by itself, or takes out. Everything else must arrive as it was sent, in its order.
OURS = {
    *("connection", "transfer-encoding", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"),
    *("x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "forwarded", "via", "x-request-id", "traceparent"),
}

TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NAMES = st.text(TOKEN, min_size=1, max_size=12).map("X-A".__add__) | st.sampled_from(["Cookie", "accept", "User-Agent"])
# Latin-1, so that the bytes above ASCII are there too; with blanks inside.
VALUES = st.text("".join(map(chr, [0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])), max_size=30).map(
    lambda text: text.strip(" \t\x85\xa0")
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
TARGETS = st.text(TOKEN.replace("#", "") + "/?:@,;=()[]", max_size=60).map("/".__add__)

# A body: its chunks, and whether its length is said before.
CHUNKS = st.lists(st.binary(min_size=1, max_size=3000), max_size=4)
CUTS = st.lists(st.integers(0, 12000), max_size=5)


class Joint:
    """A target with nlb before it, and a client that keeps its connection as long as it may."""

    def __init__(self, target: WebTarget, port: int) -> None:
        self.target = target
        self._port = port
        self._client: Client | None = None

    @contextmanager
    def client(self) -> Iterator[Client]:
        client, self._client = self._client or Client(self._port), None
        self.target.seen.clear()
        self.target.broken.clear()
        try:
            yield client
            if not client.is_over:
                self._client = client
        finally:
            if self._client is None:
                client.sock.close()

    def close(self) -> None:
        if self._client:
            self._client.sock.close()


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joint]:
    with (
        WebTarget() as target,
        daemon(tmp_path_factory.mktemp("nlb"), edge(more='desync = "monitor"') + group([target])) as nlb,
        closing(Joint(target, nlb.port)) as joint,
    ):
        yield joint


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


def theirs(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers if name.lower() not in OURS]


def lower(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in fields]


def wire(fields: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in fields]


@EXAMPLES
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "REPORT"]),
    target=TARGETS,
    fields=FIELDS,
    chunks=CHUNKS,
    trailers=FIELDS,
    framing=st.sampled_from(["none", "length", "chunked"]),
    cuts=CUTS,
)
def test_a_target_sees_what_a_client_sent(
    joint: Joint,
    method: str,
    target: str,
    fields: list[tuple[str, str]],
    chunks: list[bytes],
    trailers: list[tuple[str, str]],
    framing: str,
    cuts: list[int],
) -> None:
    joint.target.respond = lambda _: b"HTTP/1.1 204 No Content\r\n\r\n"
    body = b"" if framing == "none" else b"".join(chunks)
    said = [("Host", HOST), *fields]
    sent = {"none": [], "length": [("Content-Length", str(len(body)))], "chunked": [("Transfer-Encoding", "chunked")]}
    trailing = lower([field for field in trailers if field[0].startswith("X-A")]) if framing == "chunked" else []
    with joint.client() as client:
        raw = client.wire(
            h11.Request(method=method, target=target, headers=wire(said + sent[framing])),
            *[h11.Data(data=chunk) for chunk in chunks if framing != "none"],
            h11.EndOfMessage(headers=wire(trailing)),
        )
        for piece in pieces(raw, cuts):
            client.sock.sendall(piece)
        assert client.hear().status == 204
    assert not joint.target.broken
    (seen,) = joint.target.seen
    assert (seen.method, seen.target, seen.body) == (method, target, body)
    assert theirs(seen.headers) == lower(said + (sent["length"] if framing == "length" else []))
    assert lower(list(seen.trailers)) == trailing


@EXAMPLES
@given(
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    status=st.integers(200, 599),
    reason=VALUES,
    fields=FIELDS,
    chunks=CHUNKS,
    trailers=FIELDS,
    framing=st.sampled_from(["length", "chunked", "until close"]),
    interim=st.lists(st.sampled_from([100, 102, 103]), max_size=2),
    cuts=CUTS,
)
def test_a_client_sees_what_a_target_sent(
    joint: Joint,
    method: str,
    status: int,
    reason: str,
    fields: list[tuple[str, str]],
    chunks: list[bytes],
    trailers: list[tuple[str, str]],
    framing: str,
    interim: list[int],
    cuts: list[int],
) -> None:
    has_body = method != "HEAD" and status not in (204, 304)
    chunks = chunks if has_body else []
    body = b"".join(chunks)
    sent = {
        "length": [("Content-Length", str(len(body)))],
        "chunked": [("Transfer-Encoding", "chunked")],
        "until close": [("Connection", "close")],
    }[framing if status != 204 else "until close"]
    trailing = lower([field for field in trailers if field[0].startswith("X-A")]) if "chunked" in sent[0] else []
    writer = h11.Connection(h11.SERVER)
    writer.receive_data(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    while not isinstance(writer.next_event(), h11.EndOfMessage):
        pass
    raw = b""
    for event in (
        *[h11.InformationalResponse(status_code=code, headers=wire(fields)) for code in interim],
        h11.Response(status_code=status, reason=reason.encode("latin-1"), headers=wire(fields + sent)),
        *[h11.Data(data=chunk) for chunk in chunks],
        h11.EndOfMessage(headers=wire(trailing) if has_body else []),
    ):
        raw += writer.send(event) or b""
    joint.target.respond = lambda _: pieces(raw, cuts)
    with joint.client() as client:
        answer = client.ask(method=method)
    assert (answer.status, answer.body, list(answer.interim)) == (status, body, interim)
    expected = lower(fields + (sent if sent[0][0] == "Content-Length" else []))
    assert theirs(answer.headers) == expected
    assert lower(list(answer.trailers)) == (trailing if has_body else [])
