"""One direction: everything arrives once and in order, at most one read is held, and the end is passed on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.net.loop import READ
from nlb.proxy.pipe import BULKY, COPY, LARGE_READ, SMALL, SMALL_MOVE, KernelPipes, Pipe
from tests.fakes import END, NOTHING, End
from tests.unit.proxy.bulk import Bulk


class Ends:
    """Who owns both sockets, and writes down what it is told."""

    def __init__(self, last: bool = False) -> None:
        self.told: list[str] = []
        self._last = last  # the other direction has ended already

    def over(self) -> bool:
        return self._last

    def rewire(self) -> None:
        self.told.append("rewire")

    def source_broke(self, pipe: Pipe) -> None:
        self.told.append("source broke")

    def sink_broke(self, pipe: Pipe) -> None:
        self.told.append("sink broke")


class NoPipes(KernelPipes):
    """No descriptor is left."""

    def take(self) -> tuple[int, int] | None:
        return None


def joined(source: End, sink: End, pipes: KernelPipes | None = None) -> tuple[Pipe, Ends]:
    ends = Ends()
    return Pipe(ends, source, sink, pipes or NoPipes()), ends  # type: ignore[arg-type]


# --- copying


def test_bytes_pass_and_are_counted() -> None:
    source, sink = End(b"one", b"two"), End()
    pipe, ends = joined(source, sink)
    pipe.pump(READ)
    pipe.pump(READ)
    assert (bytes(sink.got), pipe.moved, pipe.held) == (b"onetwo", 6, 0)
    assert ends.told == []


def test_one_event_costs_one_read() -> None:
    source = End(b"one", b"two")
    pipe, _ = joined(source, End())
    pipe.pump(READ)
    assert source.reads == 1


def test_a_wake_up_for_nothing_changes_nothing() -> None:
    pipe, ends = joined(End(NOTHING, b"late"), sink := End())
    pipe.pump(READ)
    assert (bytes(sink.got), pipe.held, ends.told) == (b"", 0, [])
    pipe.pump(READ)
    assert bytes(sink.got) == b"late"


@pytest.mark.parametrize(
    ("room", "arrived"),
    [pytest.param(0, b"", id="a full sink takes nothing"), pytest.param(4, b"0123", id="a sink takes a part")],
)
def test_what_the_sink_does_not_take_is_held(room: int, arrived: bytes) -> None:
    sink = End(room=room)
    pipe, ends = joined(End(b"0123456789"), sink)
    pipe.pump(READ)
    assert (bytes(sink.got), pipe.moved, pipe.held) == (arrived, room, 10 - room)
    assert ends.told == ["rewire"]


def test_held_bytes_go_out_as_room_appears() -> None:
    sink = End(room=4)
    pipe, ends = joined(End(b"0123456789"), sink)
    pipe.pump(READ)
    sink.take(3)
    pipe.flush()
    assert (bytes(sink.got), pipe.held, ends.told) == (b"0123456", 3, ["rewire"])
    pipe.flush()  # woken, but no room
    sink.take(100)
    pipe.flush()
    assert (bytes(sink.got), pipe.moved, pipe.held) == (b"0123456789", 10, 0)
    assert ends.told == ["rewire", "rewire"]


def test_at_most_one_read_is_held() -> None:
    source = End(b"x" * 10 * COPY)
    pipe, _ = joined(source, End(room=0))
    pipe.pump(READ)
    assert (pipe.held, source.reads) == (COPY, 1)


def test_the_end_is_passed_on_once_everything_was_sent() -> None:
    sink = End(room=2)
    pipe, ends = joined(End(b"last", END), sink)
    pipe.pump(READ)
    assert (sink.fate, pipe.done) == ("open", False)
    sink.take(10)
    pipe.flush()
    pipe.pump(READ)
    assert (bytes(sink.got), sink.fate, pipe.done) == (b"last", "ended", True)
    assert ends.told == ["rewire", "rewire", "rewire"]


def test_the_last_end_is_left_to_the_close() -> None:
    """Closing tells the sink as well: no call is spent on it, and nothing is asked of a closed session."""
    sink = End()
    ends = Ends(last=True)
    pipe = Pipe(ends, End(END), sink, NoPipes())  # type: ignore[arg-type]
    pipe.pump(READ)
    assert (pipe.done, sink.fate, ends.told) == (True, "open", [])


def reset(end: End) -> End:
    end.reset()
    return end


@pytest.mark.parametrize(
    ("source", "sink", "told"),
    [
        pytest.param(reset(End()), End(), "source broke", id="the source was reset"),
        pytest.param(End(OSError(errno.ETIMEDOUT, "keep-alive")), End(), "source broke", id="the source is dead"),
        pytest.param(End(b"x"), reset(End()), "sink broke", id="the sink was reset"),
        pytest.param(End(END), reset(End()), "sink broke", id="the sink was reset before its end"),
    ],
)
def test_what_breaks_is_told(source: End, sink: End, told: str) -> None:
    pipe, ends = joined(source, sink)
    pipe.pump(READ)
    assert ends.told == [told]


def test_bytes_before_a_reset_still_arrive() -> None:
    source, sink = End(b"before"), End()
    source.reset()
    pipe, ends = joined(source, sink)
    pipe.pump(READ)
    pipe.pump(READ)
    assert (bytes(sink.got), ends.told) == (b"before", ["source broke"])


def test_a_sink_that_breaks_while_bytes_are_held_is_told() -> None:
    sink = End(room=1)
    pipe, ends = joined(End(b"xyz"), sink)
    pipe.pump(READ)
    sink.reset()
    pipe.flush()
    assert ends.told == ["rewire", "sink broke"]


@given(
    parts=st.lists(st.binary(min_size=1, max_size=200), max_size=20),
    rooms=st.lists(st.integers(0, 300), max_size=40),
    at_most=st.integers(1, 250),
)
def test_whatever_the_rhythm_everything_arrives_once_and_in_order(
    parts: list[bytes], rooms: list[int], at_most: int
) -> None:
    source, sink = End(*parts, END), End(room=0, at_most=at_most)
    pipe, _ = joined(source, sink)
    for room in [*rooms, *[10_000] * 10_000]:
        sink.take(room)
        if pipe.held:
            pipe.flush()
        else:
            pipe.pump(READ)
        assert pipe.held <= COPY
        if pipe.done:
            break
    assert bytes(sink.got) == b"".join(parts)
    assert (pipe.moved, sink.fate) == (len(sink.got), "ended")


def test_without_a_descriptor_for_a_kernel_pipe_bytes_go_on_being_copied() -> None:
    source, sink = End(b"x" * COPY * 3 * BULKY), End()
    pipe, ends = joined(source, sink, NoPipes())
    for _ in range(3 * BULKY):
        pipe.pump(READ)
    assert (len(sink.got), ends.told) == (3 * BULKY * COPY, [])


# --- splicing: only real sockets can be spliced


class Through(Bulk):
    """A pipe between the two."""

    def __init__(self, pipes: KernelPipes) -> None:
        super().__init__()
        self.ends = Ends()
        self.pipe = Pipe(self.ends, self.source, self.sink, pipes)  # type: ignore[arg-type]

    def turn(self) -> None:
        """What a loop would do: flush what is held, else read."""
        if self.pipe.held:
            self.pipe.flush()
        else:
            self.pipe.pump(READ)

    def become_bulky(self) -> None:
        self.make_bulky()
        assert self.pipe.pump == self.pipe.splice

    def close(self) -> None:
        if hasattr(self.pipe, "ends"):
            self.pipe.release()
        super().close()


@pytest.fixture
def bulk(pipes: KernelPipes) -> Iterator[Through]:
    bulk = Through(pipes)
    yield bulk
    bulk.close()


SEGMENT = 65_483  # bytes, the most that loopback carries in one


@pytest.mark.parametrize("size", [COPY, SEGMENT, LARGE_READ])
def test_large_reads_in_a_row_turn_to_splice_and_large_moves_keep_to_it(bulk: Through, size: int) -> None:
    for number in range(BULKY):
        assert bulk.pipe.pump == bulk.pipe.copy, number
        bulk.say(size)
        bulk.turn()
        bulk.hear()
    for number in range(2 * SMALL):
        assert bulk.pipe.pump == bulk.pipe.splice, number
        bulk.say(size)
        bulk.turn()
        bulk.hear()
    assert bulk.ends.told == ["rewire"]
    assert bulk.heard == bulk.said


@pytest.mark.parametrize("size", [SMALL_MOVE, LARGE_READ - 1])
def test_what_is_neither_large_nor_small_changes_nothing(bulk: Through, size: int) -> None:
    for begin in (lambda: None, bulk.become_bulky):
        begin()
        mode = bulk.pipe.pump
        for number in range(2 * SMALL):
            assert bulk.pipe.pump == mode, number
            bulk.say(size)
            bulk.turn()
            bulk.hear()
    assert bulk.heard == bulk.said


@pytest.mark.parametrize("short", [10, LARGE_READ - 1])
def test_a_short_read_between_large_ones_keeps_to_copying(bulk: Through, short: int) -> None:
    for number in range(3 * BULKY):
        bulk.say(short if number % BULKY == BULKY - 1 else COPY)
        bulk.turn()
        bulk.hear()
    assert bulk.pipe.pump == bulk.pipe.copy
    assert bulk.heard == bulk.said


def test_small_moves_in_a_row_turn_back_to_copying_and_again(bulk: Through) -> None:
    for _ in range(3):
        bulk.become_bulky()
        for number in range(SMALL):
            assert bulk.pipe.pump == bulk.pipe.splice, number
            bulk.say(100)
            bulk.turn()
        bulk.hear()
        assert bulk.pipe.pump == bulk.pipe.copy
    assert bulk.heard == bulk.said
    assert bulk.pipe.moved == len(bulk.said)


def test_a_full_sink_holds_the_rest_in_the_kernel_and_reads_no_more(bulk: Through) -> None:
    bulk.become_bulky()
    while not bulk.pipe.held:
        bulk.say(COPY)
        bulk.turn()
    moved, held = bulk.pipe.moved, bulk.pipe.held
    bulk.say(COPY)
    bulk.pipe.flush()  # woken, but no room
    assert (bulk.pipe.moved, bulk.pipe.held) == (moved, held)
    while bulk.pipe.held or len(bulk.heard) < len(bulk.said):
        bulk.hear()
        bulk.turn()
    assert bulk.heard == bulk.said
    assert bulk.pipe.moved == len(bulk.said)


def test_the_end_passes_in_splice_mode_too(bulk: Through) -> None:
    bulk.become_bulky()
    bulk.say(10)
    bulk.talker.shutdown(socket.SHUT_WR)
    bulk.turn()
    bulk.turn()
    assert bulk.pipe.done
    bulk.hear()
    assert bulk.hearer.recv(1) == b""
    assert bulk.heard == bulk.said


def test_a_wake_up_for_nothing_in_splice_mode_changes_nothing(bulk: Through) -> None:
    bulk.become_bulky()
    told = list(bulk.ends.told)
    bulk.pipe.pump(READ)
    assert (bulk.pipe.held, bulk.pipe.done, bulk.ends.told) == (0, False, told)


def test_a_sink_that_breaks_in_splice_mode_is_told(bulk: Through) -> None:
    bulk.become_bulky()
    bulk.hearer.close()
    bulk.say(10)
    bulk.turn()
    assert bulk.ends.told[-1] == "sink broke"


def test_a_kernel_pipe_with_strange_bytes_in_it_is_never_given_to_another_session(
    bulk: Through, pipes: KernelPipes
) -> None:
    bulk.become_bulky()
    while not bulk.pipe.held:
        bulk.say(COPY)
        bulk.turn()
    bulk.pipe.release()
    other = Through(pipes)
    try:
        other.become_bulky()
        other.say(1000)
        other.turn()
        other.hear()
        assert other.heard == other.said
    finally:
        other.close()


def test_released_kernel_pipes_are_used_again(bulk: Through, pipes: KernelPipes) -> None:
    bulk.become_bulky()
    bulk.pipe.release()
    ends = pipes.take()
    assert ends is not None
    os.write(ends[1], b"mine")
    assert os.read(ends[0], 100) == b"mine"
    pipes.give_back(ends, empty=True)
    assert pipes.take() == ends
    pipes.give_back(ends, empty=True)


@pytest.mark.parametrize("empty", [True, False])
def test_kernel_pipes_beyond_the_store_are_closed(empty: bool) -> None:
    pipes = KernelPipes(most=0)
    ends = pipes.take()
    assert ends is not None
    pipes.give_back(ends, empty)
    for end in ends:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


def test_a_released_pipe_lets_go_of_its_session(bulk: Through) -> None:
    """Else every ended session waits for the garbage collector."""
    bulk.pipe.release()
    assert not hasattr(bulk.pipe, "ends")
    assert not hasattr(bulk.pipe, "pump")
