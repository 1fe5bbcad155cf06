"""Sessions over real sockets and a real worker: every byte, every end and every reset arrives on the other side."""

from __future__ import annotations

import random
import select
import socket
import threading
from time import monotonic

import pytest

from nlb.observe import counters
from tests.ipv6 import needs_ipv6
from tests.waiting import until
from tests.wire.rig import Hear, Rig, Talk, carry, fate, receive, reset, stuff

MIB = 1 << 20


PATHS = [
    pytest.param("v4", "v4", id="v4 to v4"),
    pytest.param("v6", "v6", id="v6 to v6", marks=needs_ipv6),
    pytest.param("v6", "v4", id="v6 to v4", marks=needs_ipv6),
    pytest.param("v4", "v6", id="v4 to v6", marks=needs_ipv6),
    pytest.param("unix", "v4", id="unix to v4"),
    pytest.param("v4", "unix", id="v4 to unix"),
    pytest.param("unix", "unix", id="unix to unix"),
]


# --- both ways


@pytest.mark.parametrize(("front", "back"), PATHS)
def test_half_close_in_both_orders(rig: Rig, front: str, back: str) -> None:
    origin = rig.origin(back)
    address = rig.listen(rig.group(origin), front)
    client, target = rig.through(address, origin)
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert (receive(target, 100), target.recv(1)) == (b"last words", b"")
    target.sendall(b"the sum")
    target.close()
    assert (receive(client, 100), client.recv(1)) == (b"the sum", b"")
    client, target = rig.through(address, origin)
    target.sendall(b"greeting")
    target.shutdown(socket.SHUT_WR)
    assert (receive(client, 100), client.recv(1)) == (b"greeting", b"")
    client.sendall(b"thanks")
    client.close()
    assert (receive(target, 100), target.recv(1)) == (b"thanks", b"")
    rig.until(lambda: rig.outcomes == {"data/done": 2})
    assert rig.gauges == [0, 0]


@pytest.mark.parametrize(("front", "back"), PATHS)
def test_bulk_both_ways_at_once(rig: Rig, front: str, back: str) -> None:
    """Pieces of every size: short ones are copied, long ones spliced, and the mode changes on the way."""
    origin = rig.origin(back)
    client, target = rig.through(rig.listen(rig.group(origin), front), origin)
    sizes = random.Random(7)
    pieces = [sizes.choice((1, 100, 5_000, 65_536, 300_000)) for _ in range(80)]
    hears = [Hear(target, 100_000), Hear(client, 30_000)]
    talks = [Talk(client, pieces, seed=1), Talk(target, pieces[::-1], seed=2)]
    assert [hear.digest() for hear in hears] == [talk.digest() for talk in talks]
    assert [hear.size for hear in hears] == [sum(pieces)] * 2
    client.close()
    target.close()
    rig.until(lambda: rig.outcomes == {"data/done": 1})
    words = rig.row.listener(0)
    assert (words[counters.RECEIVED], words[counters.SENT]) == (sum(pieces), sum(pieces))
    words = rig.row.target(0)
    assert (words[counters.TARGET_RECEIVED], words[counters.TARGET_SENT]) == (sum(pieces), sum(pieces))


def test_the_mode_follows_the_traffic(rig: Rig) -> None:
    """Bulk, short messages, bulk: the bytes are right, and one kernel pipe serves all of it."""
    origin = rig.origin()
    client, target = rig.through(rig.listen(rig.group(origin)), origin)
    rig.settle()
    before = rig.kernel_pipes
    for seed in range(3):
        data = random.Random(seed).randbytes(8 * MIB)
        assert carry(target, client, data) == data
        for _ in range(40):
            target.sendall(b"ping")
            assert receive(client, 4) == b"ping"
            client.sendall(b"pong")
            assert receive(target, 4) == b"pong"
    assert rig.kernel_pipes == before + 1


def test_urgent_matters(rig: Rig) -> None:
    """Out-of-band data is not carried, and does no harm."""
    origin = rig.origin()
    client, target = rig.through(rig.listen(rig.group(origin)), origin)
    client.send(b"!", socket.MSG_OOB)
    client.sendall(b"in band")
    assert receive(target, 7) == b"in band"


# --- resets


@pytest.mark.parametrize("moment", ["idle", "after bytes", "half-closed", "bytes unread", "in bulk"])
@pytest.mark.parametrize("who", ["client", "target"])
def test_a_reset_on_one_side_is_a_reset_on_the_other(rig: Rig, who: str, moment: str) -> None:
    origin = rig.origin()
    client, target = rig.through(rig.listen(rig.group(origin)), origin)
    rig.until(lambda: rig.row.target(0)[counters.CONNECTIONS])  # a reset before that is a refusal
    breaks, other = (client, target) if who == "client" else (target, client)
    if moment == "after bytes":
        breaks.sendall(b"some")
        assert receive(other, 4) == b"some"
    elif moment == "half-closed":
        breaks.shutdown(socket.SHUT_WR)
        assert other.recv(1) == b""
    elif moment == "bytes unread":
        other.sendall(b"never read")
        assert select.select([breaks], [], [], 10)[0]
    elif moment == "in bulk":
        stuff(breaks)
    reset(breaks)
    if moment == "half-closed":
        # This side has its end already, and learns of the reset when it speaks.
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            until(lambda: other.send(b"x") == 0)
    else:
        assert fate(other) == "reset"
    rig.until(lambda: rig.outcomes == {f"data/{who}_reset": 1})
    assert rig.gauges == [0, 0]


def test_a_target_that_leaves_with_the_question_unread(rig: Rig) -> None:
    """A server that dies: its kernel resets. The client must see that, not an orderly end."""
    origin = rig.origin()
    client, target = rig.through(rig.listen(rig.group(origin)), origin)
    client.sendall(b"question")
    assert select.select([target], [], [], 10)[0]
    target.close()
    assert fate(client) == "reset"
    rig.until(lambda: rig.outcomes == {"data/target_reset": 1})


# --- backpressure


def test_slow_readers_against_endless_senders(rig: Rig) -> None:
    """Both ways: what the worker holds is bounded, it costs nothing while it waits, and in the end all arrives."""
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    client, target = rig.through(address, origin)
    client2, target2 = rig.through(address, origin)
    directions = [(client, target), (target2, client2)]
    for talks, hears in directions:
        carry(talks, hears, b"x" * MIB)  # everything is warm
    before = rig.memory
    sent = [stuff(talks) for talks, _ in directions]
    assert rig.memory - before < MIB
    assert rig.turns_of_a_sweep() < 50
    for (talks, hears), data in zip(directions, sent, strict=True):
        thread = threading.Thread(target=end_with, args=(talks, b"the end"))
        thread.start()
        assert receive(hears, len(data) + 100) == data + b"the end"
        thread.join()
    assert rig.memory - before < MIB


def end_with(sock: socket.socket, words: bytes) -> None:
    sock.sendall(words)
    sock.shutdown(socket.SHUT_WR)


def test_an_end_with_data_held(rig: Rig) -> None:
    """The target says a lot and leaves at once; the client reads later."""
    origin = rig.origin()
    client, target = rig.through(rig.listen(rig.group(origin)), origin, receive_buffer=4096)
    sent = stuff(target)
    target.close()
    rig.settle()
    assert rig.outcomes == {}
    assert receive(client, len(sent) + 1) == sent
    client.close()
    rig.until(lambda: rig.outcomes == {"data/done": 1})


def test_hang_ups_that_must_wait_burn_no_core(rig: Rig) -> None:
    """Every way to hang up without an error while the worker cannot act on it, all at once."""
    for kind in ("v4", "unix"):
        origin = rig.origin(kind)
        address = rig.listen(rig.group(origin), kind)
        # The client said a lot and left; its target does not read.
        client, _ = rig.through(address, origin)
        stuff(client)
        client.close()
        # The target said a lot and left; its client does not read.
        _, target = rig.through(address, origin)
        stuff(target)
        target.close()
        # The target ended first, then the client, after more than the target reads.
        client, target = rig.through(address, origin)
        target.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        stuff(client)
        client.shutdown(socket.SHUT_WR)
        # A client that said all and left while its target is silent.
        client, target = rig.through(address, origin)
        client.sendall(b"fire and forget")
        client.close()
        assert receive(target, 100) == b"fire and forget"
    assert rig.turns_of_a_sweep() < 50
    assert rig.active == 8


# --- connecting


def test_refused_then_the_next(rig: Rig) -> None:
    dead = [rig.origin(), rig.origin("unix")]
    for origin in dead:
        origin.close()
    origin = rig.origin()
    address = rig.listen(rig.group(*dead, origin))
    client, target = rig.through(address, origin)
    client.sendall(b"hello")
    assert receive(target, 5) == b"hello"
    rig.until(lambda: rig.said("failed"))
    failed = [entry for message in rig.said("failed") for entry in message["targets"]]
    assert failed == [[0, "refused", 1], [1, "refused", 1]]
    assert rig.row.group(0)[counters.RETRIES] == 2


def test_all_refuse(rig: Rig) -> None:
    dead = [rig.origin() for _ in range(5)]
    for origin in dead:
        origin.close()
    assert rig.turned_away(rig.listen(rig.group(*dead, tries=3)))
    rig.until(lambda: rig.outcomes == {"connect/refused": 1})
    assert [rig.row.target(number)[counters.CONNECT_FAILURES] for number in range(5)] == [1, 1, 1, 0, 0]
    assert rig.gauges == [0] * 6


def test_a_black_hole_then_the_next(rig: Rig) -> None:
    hole, origin = rig.origin(backlog=0), rig.origin()
    rig.swallow(hole)
    began = monotonic()
    client, target = rig.through(rig.listen(rig.group(hole, origin, connect_timeout=0.1)), origin)
    assert monotonic() - began >= 0.1
    client.sendall(b"hello")
    assert receive(target, 5) == b"hello"
    rig.until(lambda: rig.said("failed"))
    assert rig.said("failed")[0]["targets"] == [[0, "timeout", 1]]


def test_nothing_but_black_holes(rig: Rig) -> None:
    holes = [rig.origin(backlog=0) for _ in range(2)]
    for hole in holes:
        rig.swallow(hole)
    assert rig.turned_away(rig.listen(rig.group(*holes, connect_timeout=0.05)))
    rig.until(lambda: rig.outcomes == {"connect/timeout": 1})


def test_a_full_unix_socket_then_the_next(rig: Rig) -> None:
    full, origin = rig.origin("unix", backlog=0), rig.origin()
    rig.connect(full.address)
    client, target = rig.through(rig.listen(rig.group(full, origin)), origin)
    client.sendall(b"hello")
    assert receive(target, 5) == b"hello"


def test_the_client_waits_in_the_kernel_while_its_target_is_dialled(rig: Rig) -> None:
    hole, origin = rig.origin(backlog=0), rig.origin()
    rig.swallow(hole)
    address = rig.listen(rig.group(hole, origin, connect_timeout=0.1))
    client = rig.connect(address)
    client.sendall(b"said early")
    client.shutdown(socket.SHUT_WR)
    with origin.accept() as target:
        assert receive(target, 100) == b"said early"


def test_a_client_that_gave_up_while_its_target_was_dialled(rig: Rig) -> None:
    hole, origin = rig.origin(backlog=0), rig.origin()
    rig.swallow(hole)
    client = rig.connect(rig.listen(rig.group(hole, origin, connect_timeout=0.1)))
    reset(client)
    with origin.accept() as target:
        assert fate(target) == "reset"
    rig.until(lambda: rig.outcomes == {"data/client_reset": 1})


# --- idle


def test_idle_sessions_are_reset_and_busy_ones_stay(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin), idle_timeout=0.2)
    client, target = rig.through(address, origin)
    busy, busy_target = rig.through(rig.listen(rig.group(origin), idle_timeout=60), origin)
    assert fate(client) == fate(target) == "reset"
    rig.until(lambda: rig.outcomes == {"data/idle": 1})
    busy.sendall(b"still here")
    assert receive(busy_target, 10) == b"still here"
