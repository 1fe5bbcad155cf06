"""One body: it ends where its framing says, arrives once and in order, and at most one read of it is held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.http1.framing import CHUNKED, UNTIL_CLOSE
from nlb.net.loop import READ
from nlb.proxy.body import Body
from nlb.proxy.pipe import BULKY, COPY, LARGE_READ, KernelPipes
from tests.fakes import END, NOTHING, End
from tests.unit.proxy.bulk import Bulk
from tests.unit.proxy.http_stage import LAST, chunk
from tests.unit.proxy.stage import NoPipes


class Ends:
    """The exchange, which writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def rewire(self) -> None:
        self.told.append("rewire")

    def body_done(self, body: Body) -> None:
        self.told.append("done")

    def source_broke(self, body: Body) -> None:
        self.told.append("source broke")

    def source_ended(self, body: Body) -> None:
        self.told.append("source ended")

    def sink_broke(self, body: Body) -> None:
        self.told.append("sink broke")

    def bad_chunk(self, body: Body, reason: str) -> None:
        self.told.append(reason)


def body(source: End, sink: End, length: int, reframes: bool = False) -> tuple[Body, Ends]:
    ends = Ends()
    return Body(ends, source, sink, length, reframes, NoPipes()), ends  # type: ignore[arg-type]


def pumped(source: End, sink: End, length: int, reframes: bool = False) -> tuple[Body, Ends]:
    """Until there is nothing more to be said of it."""
    made, ends = body(source, sink, length, reframes)
    while not (made.complete or made.held or {"source ended", "source broke", "sink broke"} & {*ends.told}):
        before = source.reads
        made.pump(READ)
        if ends.told and ends.told[-1].startswith(("bad", "too")):
            break
        assert source.reads == before + 1, "one read for each event"
    return made, ends


# --- where it ends

A = b"0\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    ("length", "reframes", "said", "told", "over", "ending"),
    [
        (5, False, [b"hel", b"lo"], b"hello", b"", "done"),
        (5, True, [b"hello"], b"hello", b"", "done"),
        (5, False, [b"hel", b"lomore"], b"hello", b"more", "done"),
        (5, False, [b"hel", END], b"hel", b"", "source ended"),
        (CHUNKED, True, [chunk(b"hello") + LAST], chunk(b"hello") + LAST, b"", "done"),
        (CHUNKED, False, [chunk(b"hello") + LAST], b"hello", b"", "done"),
        (CHUNKED, True, [b"5\r\nhe", b"llo\r\n" + A + b"more"], chunk(b"he") + chunk(b"llo") + A, b"more", "done"),
        (CHUNKED, False, [LAST], b"", b"", "done"),
        (CHUNKED, True, [chunk(b"hello"), END], chunk(b"hello"), b"", "source ended"),
        (CHUNKED, True, [chunk(b"hello"), b"xyz\r\n"], chunk(b"hello"), b"", "bad_chunk_size"),
        (UNTIL_CLOSE, True, [b"hel", b"lo", END], chunk(b"hel") + chunk(b"lo") + LAST, b"", "done"),
        (UNTIL_CLOSE, False, [b"hel", b"lo", END], b"hello", b"", "done"),
        (UNTIL_CLOSE, True, [END], LAST, b"", "done"),
    ],
)
def test_where_a_body_ends(
    length: int, reframes: bool, said: list[bytes], told: bytes, over: bytes, ending: str
) -> None:
    sink = End()
    made, ends = pumped(End(*said), sink, length, reframes)
    assert (bytes(sink.got), made.over, ends.told) == (told, over, [ending])
    assert made.done is (ending == "done")
    assert made.moved == len(told)
    if ending == "done":
        assert made.read == sum(map(len, said)) - len(over)


def test_what_is_behind_an_empty_body_is_not_its_own() -> None:
    made, _ = body(End(), End(), 0)
    assert (made.done, made.take(b"more"), made.over) == (True, b"", b"more")


@pytest.mark.parametrize("room", [9, 10])
def test_no_more_payload_may_come_in_chunks_than_is_allowed(room: int) -> None:
    made, ends = body(End(chunk(b"hello"), chunk(b"world") + LAST), End(), CHUNKED)
    made.most = room
    made.pump(READ)
    made.pump(READ)
    assert ends.told == ["done" if room == 10 else "too_large"]


def test_a_source_that_breaks_and_one_with_nothing_to_say() -> None:
    source = End(NOTHING)
    made, ends = body(source, End(), 5)
    made.pump(READ)
    source.reset()
    made.pump(READ)
    assert ends.told == ["source broke"]


# --- what is held


@given(
    parts=st.lists(st.binary(min_size=1, max_size=40), max_size=10),
    sizes=st.lists(st.integers(1, 60), max_size=60),
    rooms=st.lists(st.integers(0, 50), max_size=60),
    at_most=st.integers(1, 50),
    framing=st.sampled_from(["length", "chunked", "close"]),
)
def test_everything_arrives_once_and_in_order(
    parts: list[bytes], sizes: list[int], rooms: list[int], at_most: int, framing: str
) -> None:
    payload = b"".join(parts)
    wire = {"length": payload, "chunked": b"".join(map(chunk, parts)) + LAST, "close": payload}[framing]
    length = {"length": len(payload), "chunked": CHUNKED, "close": UNTIL_CLOSE}[framing]
    source, sink = End(), End(room=0, at_most=at_most)
    for size in sizes:
        if wire:
            source.say(wire[:size])
            wire = wire[size:]
    source.say(*[wire] if wire else [], *[END] if framing == "close" else [])
    made, _ = body(source, sink, length)
    for room in [*rooms, *[50] * 2000]:
        sink.take(room)
        if made.held:
            made.flush()
        elif not made.complete:
            made.pump(READ)
        assert made.read - made.moved <= COPY
        if made.done:
            break
    assert (made.done, bytes(sink.got), made.moved) == (True, payload, len(payload))


def test_a_sink_that_breaks_with_bytes_held() -> None:
    source, sink = End(b"hello"), End(room=2)
    made, ends = body(source, sink, 9)
    made.pump(READ)
    assert (made.held, ends.told) == (3, ["rewire"])
    sink.reset()
    made.flush()
    assert ends.told == ["rewire", "sink broke"]
    made.abandon()
    assert (made.done, made.unsent) == (True, b"")


def test_what_is_to_be_sent_before_the_body_is_sent_before_it() -> None:
    source, sink = End(b"hello"), End(room=0)
    made, ends = body(source, sink, 5)
    made.keep(b"head ")
    made.keep(b"of it ")
    sink.take(8)
    made.flush()
    assert (bytes(sink.got), made.unsent, ends.told) == (b"head of ", b"it ", [])
    sink.take(100)
    made.flush()
    made.pump(READ)
    assert (bytes(sink.got), ends.told) == (b"head of it hello", ["rewire", "done"])


def test_the_last_chunk_may_have_to_wait_too() -> None:
    source, sink = End(b"hello", END), End(room=10)
    made, ends = body(source, sink, UNTIL_CLOSE, reframes=True)
    made.pump(READ)
    made.pump(READ)
    assert (bytes(sink.got), made.complete, made.done) == (chunk(b"hello"), True, False)
    sink.take(100)
    made.flush()
    assert (bytes(sink.got), ends.told) == (chunk(b"hello") + LAST, ["rewire", "done"])


# --- splicing: only real sockets can be spliced


class Across(Bulk):
    """A body of a known length between the two."""

    def __init__(self, pipes: KernelPipes, length: int) -> None:
        super().__init__()
        self.ends = Ends()
        self.body = Body(self.ends, self.source, self.sink, length, False, pipes)

    def turn(self) -> None:
        if self.body.held:
            self.body.flush()
        elif not self.body.complete:
            self.body.pump(READ)

    def become_bulky(self) -> None:
        self.make_bulky()
        assert self.is_spliced

    @property
    def is_spliced(self) -> bool:
        return self.body._kernel is not None

    def close(self) -> None:
        if hasattr(self.body, "ends"):
            self.body.release()
        super().close()


@pytest.mark.parametrize(
    ("size", "is_spliced"),
    [pytest.param(65_483, True, id="the largest segment of loopback"), pytest.param(LARGE_READ - 1, False, id="less")],
)
def test_reads_need_not_be_full_to_be_large(pipes: KernelPipes, size: int, is_spliced: bool) -> None:
    bulk = Across(pipes, 60 * COPY)
    for _ in range(BULKY):
        assert not bulk.is_spliced
        bulk.say(size)
        bulk.turn()
        bulk.hear()
    assert bulk.is_spliced == is_spliced
    assert bulk.heard == bulk.said
    bulk.close()


def test_a_large_body_is_spliced_to_its_end_and_not_beyond(pipes: KernelPipes) -> None:
    bulk = Across(pipes, 40 * COPY + 123)
    bulk.become_bulky()
    while len(bulk.said) < 41 * COPY:
        bulk.say(30_000)
        bulk.turn()
        bulk.hear()
    for _ in range(10):
        bulk.turn()
        bulk.hear()
    assert bulk.heard == bulk.said[: 40 * COPY + 123]
    assert (bulk.body.done, bulk.ends.told[-1]) == (True, "done")
    assert bulk.source.recv(5) == bulk.said[40 * COPY + 123 :][:5], "what comes next was not touched"
    bulk.close()


def test_a_body_that_is_nearly_over_is_not_worth_a_kernel_pipe(pipes: KernelPipes) -> None:
    bulk = Across(pipes, (BULKY + 4) * COPY)
    for _ in range(BULKY + 4):
        bulk.say(COPY)
        bulk.turn()
        bulk.hear()
        assert not bulk.is_spliced
    assert (bulk.body.done, bulk.heard) == (True, bulk.said)
    bulk.close()


def test_a_slow_sink_holds_no_more_than_the_kernel_does(pipes: KernelPipes) -> None:
    bulk = Across(pipes, 60 * COPY)
    bulk.become_bulky()
    while not bulk.body.done:
        bulk.say(100_000)
        bulk.turn()
        bulk.hear(most=7_000)
    bulk.hear()
    assert bulk.heard == bulk.said[: 60 * COPY]
    bulk.close()


@pytest.mark.parametrize("way", ["released", "abandoned"])
def test_a_kernel_pipe_with_bytes_in_it_is_never_given_to_another(pipes: KernelPipes, way: str) -> None:
    bulk = Across(pipes, 60 * COPY)
    bulk.become_bulky()
    for _ in range(200):
        bulk.say(COPY)
        bulk.turn()
        if bulk.body.held:
            break
    assert bulk.body.held
    if way == "abandoned":
        bulk.body.abandon()
    bulk.close()


def test_a_sink_that_breaks_while_splicing(pipes: KernelPipes) -> None:
    bulk = Across(pipes, 60 * COPY)
    bulk.become_bulky()
    bulk.hearer.close()
    bulk.say(COPY)
    bulk.turn()
    assert bulk.ends.told[-1] == "sink broke"
    bulk.body.abandon()
    bulk.close()


def test_a_source_that_ends_while_splicing(pipes: KernelPipes) -> None:
    bulk = Across(pipes, 60 * COPY)
    bulk.become_bulky()
    bulk.talker.close()
    bulk.turn()
    assert bulk.ends.told[-1] == "source ended"
    bulk.close()


def test_a_source_with_nothing_to_say_while_splicing(pipes: KernelPipes) -> None:
    bulk = Across(pipes, 60 * COPY)
    bulk.become_bulky()
    told = [*bulk.ends.told]
    bulk.turn()
    assert bulk.ends.told == told
    bulk.close()


def test_a_source_that_breaks_while_splicing(pipes: KernelPipes) -> None:
    bulk = Across(pipes, 60 * COPY)
    bulk.become_bulky()
    bulk.source.send(b"never read")
    bulk.talker.close()  # with bytes unread, so the other end is reset
    bulk.turn()
    assert bulk.ends.told[-1] == "source broke"
    bulk.close()
