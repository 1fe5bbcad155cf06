"""Whatever a client sends, nlb and the targets behind it read the same requests: as many, and no byte otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon import Daemon, daemon
from tests.heads import BODIES, HEADS
from tests.sites import edge, group
from tests.webclients import everything
from tests.webtargets import Seen, WebTarget, reply

# What is not complete, or has no successor, ends soon: a client then just reads until its connection ends.
HURRIED = (
    "idle_timeout = 0.1\nheader_timeout = 0.1\nmin_body_rate = 1000000\nmin_body_rate_after = 0.1\n"
    "reason_header = true\n"
)

# What each mode refuses beside what has no single reading. That has a status in its vector.
REFUSED: dict[str, set[str]] = {"monitor": set(), "defensive": set(), "strictest": {"acceptable", "ambiguous"}}

# A vector whose head is passed on, and whose body turns out to be none.
BROKEN = {"smuggling: TE.CL: both, the other way round"}

# The answers in what a client got. None of the bodies here looks like a head.
_ANSWER = re.compile(rb"^HTTP/1\.1 ([0-9]{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n", re.MULTILINE)
_SERIAL = re.compile(rb"^X-Serial: ([0-9]+)\r\n", re.MULTILINE)


@dataclass(frozen=True)
class Answered:
    """What one client got: statuses in order, and the serials of those requests that a target answered."""

    statuses: list[int]
    serials: list[int]


class Recorder(WebTarget):
    """Every answer says which of the requests that were seen it is for."""

    def __init__(self) -> None:
        super().__init__(respond=lambda _: b"")
        self.respond = lambda seen: reply(b"", f"X-Serial: {self.seen.index(seen)}")

    def of(self, source: str) -> list[int]:
        """The serials of the requests that came from this client, by the address that nlb put at the right end."""
        return [n for n, seen in enumerate(self.seen) if client_of(seen) == source]


def client_of(seen: Seen) -> str:
    return seen.get("X-Forwarded-For").rpartition(",")[2].strip()


def source_of(number: int) -> str:
    return f"127.1.{number >> 8}.{number & 255}"


def answered(data: bytes) -> Answered:
    found = [(int(status), _SERIAL.search(head)) for status, head in _ANSWER.findall(data)]
    return Answered([status for status, _ in found], [int(serial[1]) for _, serial in found if serial])


class Site:
    """One nlb with a listener for each mode, and a recorder behind each."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.recorders = {mode: stack.enter_context(Recorder()) for mode in REFUSED}
        text = "".join(
            edge(mode, f'desync = "{mode}"\n{HURRIED}', name=mode) + group({mode: recorder}, name=mode)
            for mode, recorder in self.recorders.items()
        )
        self.nlb: Daemon = stack.enter_context(daemon(folder, text))
        self.ports = self.nlb.ports

    def ask(self, wire: list[bytes], mode: str = "defensive") -> tuple[Recorder, list[Answered]]:
        """What each client gets for its bytes. All come at once, each from an address of its own."""
        recorder = self.recorders[mode]
        recorder.seen.clear()
        with ThreadPoolExecutor(len(wire)) as pool:
            got = pool.map(everything, [self.ports[mode]] * len(wire), wire, map(source_of, range(len(wire))))
            answers = [answered(data) for data in got]
        assert not recorder.broken
        # No request hangs on, and nothing was reported as a bug.
        assert self.nlb.targets()[mode]["sessions"] == 0
        assert not [name for name in self.nlb.listener(mode)["outcomes"] if name.endswith("/bug")], self.nlb.output()
        return recorder, answers


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("nlb"), stack)


@pytest.mark.parametrize("mode", REFUSED)
def test_a_target_sees_what_nlb_answered_for_on_every_vector(site: Site, mode: str) -> None:
    target, answers = site.ask([head.raw for head in HEADS], mode)
    wrong = {
        str(head): (answer, target.of(source_of(number)))
        for number, (head, answer) in enumerate(zip(HEADS, answers, strict=True))
        if answer.serials != target.of(source_of(number))
        or (head.status and (answer.statuses != [head.status] or answer.serials))
    }
    assert not wrong
    assert all(client_of(seen).startswith("127.1.") for seen in target.seen), "one that came from nobody was smuggled"
    unanswered = {str(head) for head, answer in zip(HEADS, answers, strict=True) if not answer.serials}
    assert unanswered == {str(head) for head in HEADS if head.status or head.desync_class in REFUSED[mode]} | BROKEN
    # However a target reads, it finds the same in what it was sent.
    for stream in target.streams:
        assert len({str(read(bytes(stream))) for read in READERS}) == 1, bytes(stream)


def test_after_an_ambiguous_request_nothing_more_is_read(site: Site) -> None:
    """In defensive mode: what follows it may have been put there by somebody else."""
    twice = b"GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"
    target, (answer,) = site.ask([twice + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"])
    (seen,) = target.seen
    assert (answer.statuses, seen.target) == ([200], "/1")
    # The connection to the target ended as well.
    target, _ = site.ask([b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert target.seen[0].connection != seen.connection


def test_chunked_bodies_arrive_as_their_payload_or_not_at_all(site: Site) -> None:
    head = b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    target, answers = site.ask([head % number + body.raw for number, body in enumerate(BODIES)])
    bodies = {seen.target: seen.body for seen in target.seen}
    for number, (body, answer) in enumerate(zip(BODIES, answers, strict=True)):
        if body.read is None:
            assert answer.statuses == [400 if body.error else 408], body.name
            assert f"/{number}" not in bodies, body.name
        else:
            assert answer.statuses[0] == 200, body.name
            assert bodies[f"/{number}"] == body.read[0], body.name


def test_many_requests_in_one_write_are_answered_in_order(site: Site) -> None:
    wire = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(200))
    target, (answer,) = site.ask([wire])
    assert answer.serials == list(range(200))
    assert [seen.target for seen in target.seen] == [f"/{number}" for number in range(200)]


# --- servers that read otherwise than h11 does

Read = list[tuple[bytes, bytes]]  # request line and body of each


def length_first(data: bytes) -> Read:
    """A server that looks at Content-Length first."""
    return _read(data, lambda head: _length(head) if _length(head) is not None else _chunked(head))


def chunks_first(data: bytes) -> Read:
    """One that looks at Transfer-Encoding first."""
    return _read(data, lambda head: _chunked(head) or _length(head))


def loose(data: bytes) -> Read:
    """One that takes the last of several lengths, and for a length whatever looks like one."""
    return _read(data, lambda head: _chunked(head) or _length(head, at=-1, name=rb"[ \t]*content[-_]?length[ \t]*"))


READERS: list[Callable[[bytes], Read]] = [length_first, chunks_first, loose]


def _length(head: bytes, at: int = 0, name: bytes = b"content-length") -> int | None:
    found = re.findall(rb"(?im)^%b:[ \t+]*([0-9]+)" % name, head)
    return int(found[at]) if found else None


def _chunked(head: bytes) -> int:
    return -1 if re.search(rb"(?im)^[ \t]*transfer[-_]?encoding[ \t]*:.*chunked", head) else 0


def _read(data: bytes, framing: Callable[[bytes], int | None]) -> Read:
    """The whole requests in it. Lines may end with a bare LF."""
    requests: Read = []
    while blank := re.search(rb"\r?\n\r?\n", data):
        head, rest = data[: blank.end()], data[blank.end() :]
        length = framing(head) or 0
        body = _unchunked(rest) if length < 0 else (rest[:length], rest[length:]) if len(rest) >= length else None
        if body is None:
            break
        requests.append((head.partition(b"\r\n")[0], body[0]))
        data = body[1]
    return requests


def _unchunked(data: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        line, found, data = data.partition(b"\n")
        if not found:
            return None
        size = int(line.split(b";")[0], 16)
        if not size:
            break
        body, data = body + data[:size], data[size:].partition(b"\n")[2]
    while True:
        line, found, data = data.partition(b"\n")
        if not found:
            return None
        if not line.strip():
            return body, data
