"""A worker obeys its verbs, counts right, outlives shortages and errors, and leaves in order."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess

import pytest

from nlb.errors import OUTCOMES
from nlb.model.address import Address
from nlb.model.limits import TARGETS
from nlb.observe import counters
from nlb.observe.counters import ACCEPTED, ACTIVE, CONNECTIONS, FAIL_OPEN_PICKS, SESSIONS, total
from tests.wire.rig import Rig, fate, receive, reset


def echo(client: socket.socket, target: socket.socket, text: bytes = b"hello") -> None:
    """A session works, both ways."""
    client.sendall(text)
    assert receive(target, len(text)) == text
    target.sendall(text[::-1])
    assert receive(client, len(text)) == text[::-1]


def end(client: socket.socket, target: socket.socket) -> None:
    """A session ends in order."""
    client.close()
    assert target.recv(1) == b""
    target.close()


# --- the first verdict


def test_clients_wait_for_the_first_verdict(rig: Rig) -> None:
    origins = [rig.origin(), rig.origin()]
    address = rig.listen(rig.group(*origins, health="initial", wait=60))
    clients = [rig.connect(address) for _ in range(3)]
    for client in clients:
        client.sendall(b"early")
    rig.until(lambda: rig.active == 3)
    assert [session["phase"] for session in rig.sessions()] == ["pick"] * 3
    rig.mark(1)
    for _ in clients:
        with origins[1].accept() as target:
            assert receive(target, 5) == b"early"
    assert rig.row.group(0)[FAIL_OPEN_PICKS] == 0


def test_clients_wait_no_longer_than_the_limit(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin, health="initial", wait=0.05))
    client, target = rig.through(address, origin)
    echo(client, target)
    assert rig.row.group(0)[FAIL_OPEN_PICKS] == 1
    echo(*rig.through(address, origin))


def test_the_last_bad_verdict_ends_the_wait_as_well(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin, health="initial", wait=60))
    client = rig.connect(address)
    rig.until(lambda: rig.active == 1)
    rig.mark(0, health="unhealthy")
    with origin.accept() as target:
        echo(client, target)
    assert rig.row.group(0)[FAIL_OPEN_PICKS] == 1


def test_a_drain_of_the_only_target_ends_the_wait(rig: Rig) -> None:
    client = rig.connect(rig.listen(rig.group(rig.origin(), health="initial", wait=60)))
    rig.until(lambda: rig.active == 1)
    rig.mark(0, admin="drain", health="initial")
    assert fate(client) == "reset"
    assert rig.outcomes == {"pick/no_target": 1}


# --- marks and resets


def test_marks_move_new_sessions_and_leave_old_ones_alone(rig: Rig) -> None:
    origins = [rig.origin(), rig.origin()]
    address = rig.listen(rig.group(*origins))
    old = rig.through(address, origins[0])
    rig.mark(0, admin="drain")
    rig.settle()
    for _ in range(4):
        end(*rig.through(address, origins[1]))
    echo(*old)
    rig.mark(0, admin="ready")
    rig.mark(1, weight=0)
    rig.settle()
    end(*rig.through(address, origins[0]))


@pytest.mark.parametrize("cause", ["drain_timeout", "unhealthy"])
def test_a_reset_ends_the_sessions_of_one_target(rig: Rig, cause: str) -> None:
    origins = [rig.origin(), rig.origin()]
    address = rig.listen(rig.group(*origins))
    pairs = [rig.through(address, origins[number % 2]) for number in range(6)]
    rig.send({"verb": "reset", "target": 0, "cause": cause})
    for number, (client, target) in enumerate(pairs):
        if number % 2:
            echo(client, target)
        else:
            assert fate(client) == fate(target) == "reset"
    rig.until(lambda: rig.outcomes == {f"data/{cause}": 3})
    assert rig.gauges == [3, 0, 3]


def test_a_reset_reaches_sessions_that_are_still_connecting(rig: Rig) -> None:
    hole = rig.origin(backlog=0)
    rig.swallow(hole)
    client = rig.connect(rig.listen(rig.group(hole)))
    rig.until(lambda: rig.row.target(0)[ACTIVE])
    rig.send({"verb": "reset", "target": 0, "cause": "drain_timeout"})
    assert fate(client) == "reset"
    rig.until(lambda: rig.outcomes == {"connect/drain_timeout": 1})


def test_a_session_that_is_still_connecting_may_choose_another_target(rig: Rig) -> None:
    hole, origin = rig.origin(backlog=0), rig.origin()
    rig.swallow(hole)
    client = rig.connect(rig.listen(rig.group(hole, origin)))
    rig.until(lambda: rig.row.target(0)[ACTIVE])
    rig.mark(0, admin="drain")
    rig.send({"verb": "reset", "target": 0, "cause": "drain_timeout"})
    with origin.accept() as target:
        echo(client, target)
    assert rig.gauges == [1, 0, 1]
    assert not rig.said("failed"), "it was not the target's fault"


@pytest.mark.parametrize("cut", [True, False])
def test_who_is_blocked_while_connected_is_cut_off_unless_told_otherwise(rig: Rig, cut: bool) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    bad = rig.through(address, origin)
    other = socket.create_connection((address.host, address.port), 10, ("127.0.0.2", 0))
    with other, origin.accept() as target:
        rig.send({"verb": "block", "blocks": [["127.0.0.1", None]], "all": False, "cut": cut})
        if cut:
            assert (fate(bad[0]), fate(bad[1])) == ("reset", "reset")
            rig.until(lambda: rig.outcomes == {"data/blocked": 1})
        else:
            assert rig.turned_away(address)
            rig.turns_of_a_sweep()
            echo(*bad)
        echo(other, target)


def test_every_cause_of_a_reset_has_an_outcome() -> None:
    """What control may say in `reset` must be countable in every phase in which a session has a target."""
    for cause in ("drain_timeout", "unhealthy", "removed", "shutdown"):
        for phase in ("connect", "data"):
            assert f"{phase}/{cause}" in OUTCOMES


# --- what is loaded may be loaded anew


def test_a_group_loaded_anew_keeps_the_sessions_of_its_targets(rig: Rig) -> None:
    """One target leaves, one stays, one is new."""
    origins = [rig.origin() for _ in range(3)]
    group = rig.group(*origins[:2])
    address = rig.listen(group)
    leaving, staying = rig.through(address, origins[0]), rig.through(address, origins[1])
    rig.group(origins[1], origins[2], number=group, ids=[1, 2])
    rig.settle()
    fresh = [rig.connect(address) for _ in range(4)]
    accepted = [origins[1].accept(), origins[1].accept(), origins[2].accept(), origins[2].accept()]
    for pair in (leaving, staying):
        echo(*pair)
    assert rig.gauges == [6, 1, 3, 2]
    rig.send({"verb": "reset", "target": 0, "cause": "removed"})
    assert fate(leaving[0]) == "reset"
    for sock in [*fresh, *accepted, *staying]:
        sock.close()
    rig.until(lambda: rig.gauges == [0] * 4)
    assert rig.outcomes.get("data/removed") == 1
    assert not rig.said("event")


def test_clients_that_wait_when_their_group_is_loaded_anew(rig: Rig) -> None:
    origins = [rig.origin(), rig.origin()]
    group = rig.group(origins[0], health="initial", wait=60)
    client = rig.connect(rig.listen(group))
    rig.until(lambda: rig.active == 1)
    rig.group(origins[1], number=group, ids=[1])
    with origins[1].accept() as target:
        echo(client, target)


def test_a_group_that_is_gone_ends_no_session(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    session = rig.through(address, origin)
    rig.send({"verb": "unload", "groups": [0]})
    rig.settle()
    assert rig.turned_away(address)
    echo(*session)
    end(*session)
    rig.until(lambda: rig.outcomes == {"data/done": 1, "pick/no_target": 1})


def test_an_address_that_is_shut(rig: Rig) -> None:
    """Its queue is taken, its sessions go on, and the other address of the listener still accepts."""
    origin = rig.origin()
    rig.listen(rig.group(origin), binds=2)
    first, second = rig.bound
    rig.settle()
    old = rig.through(Address(*first), origin)
    os.kill(rig.process.pid, signal.SIGSTOP)
    queued = [rig.connect(Address(*first)) for _ in range(40)]
    rig.send({"verb": "shut", "listener": 0, "binds": ["bind0"]})
    os.kill(rig.process.pid, signal.SIGCONT)
    rig.until(lambda: rig.said("shut"))
    assert rig.said("shut") == [{"verb": "shut", "listener": 0, "binds": ["bind0"]}]
    rig.until(lambda: _refused(first[1]))
    for client in queued:
        with origin.accept() as target:
            client.sendall(b"served")
            assert receive(target, 6) == b"served"
            client.close()
    echo(*old)
    with socket.create_connection(second, 10) as client, origin.accept() as target:
        echo(client, target)


# --- limits


def test_over_the_limit(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin), max_connections=2)
    first = rig.through(address, origin)
    second = rig.through(address, origin)
    assert rig.turned_away(address)
    assert rig.outcomes == {"accept/limit": 1}
    echo(*second)
    end(*first)
    rig.until(lambda: rig.active == 1)
    echo(*rig.through(address, origin))
    assert rig.row.listener(0)[ACCEPTED] == 4


def test_the_limit_counts_the_sessions_of_all_workers(rig: Rig) -> None:
    origin = rig.origin()
    rig.rows[1].listener(0)[ACTIVE] = 2
    address = rig.listen(rig.group(origin), max_connections=3)
    rig.through(address, origin)
    assert rig.turned_away(address)


def test_without_descriptors_accepting_pauses_and_resumes(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    first = rig.through(address, origin)
    rig.settle()
    # Room for one more session and nothing else.
    rig.leave_descriptors(2)
    second = rig.through(address, origin)
    waiting = [rig.connect(address) for _ in range(3)]
    rig.until(lambda: rig.said("event"))
    assert rig.turns_of_a_sweep() < 100, "the queue is left alone for moments, not asked without end"
    echo(*second)
    end(*first)
    with origin.accept() as target:
        echo(waiting[0], target)
    rig.leave_descriptors(1000)
    for client in waiting[1:]:
        with origin.accept() as target:
            echo(client, target)
    rig.settle()
    texts = [event["text"] for event in rig.said("event")]
    assert texts[0].startswith("listener listener0: accepting pauses: Too many open files")
    assert len(texts) <= 3, "said once, or once more on a box so busy that a second passed in between"
    assert set(rig.outcomes) <= {"data/done"}


def test_a_descriptor_for_the_client_but_none_for_its_target(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    rig.settle()
    rig.leave_descriptors(1)
    assert rig.turned_away(address)
    rig.until(lambda: rig.outcomes == {"connect/descriptors": 1})
    assert not rig.said("failed"), "it says nothing about the target"
    rig.leave_descriptors(1000)
    echo(*rig.through(address, origin))


# --- counters


def test_totals_and_gauges(rig: Rig) -> None:
    origins = [rig.origin(), rig.origin()]
    address = rig.listen(rig.group(*origins))
    open_ = [rig.through(address, origins[number % 2]) for number in range(6)]
    rig.until(lambda: rig.gauges == [6, 3, 3])
    for number, (client, target) in enumerate(open_):
        echo(client, target, b"x" * (number + 1))
    rig.until(lambda: rig.row.listener(0)[counters.RECEIVED] == 21)  # published while they are open
    rig.until(lambda: rig.row.worker[SESSIONS] == 6)
    for client, target in open_:
        end(client, target)
    rig.until(lambda: rig.gauges == [0, 0, 0])
    words = rig.row.listener(0)
    assert (words[ACCEPTED], words[counters.RECEIVED], words[counters.SENT]) == (6, 21, 21)
    assert [rig.row.target(number)[CONNECTIONS] for number in range(2)] == [3, 3]
    assert [rig.row.target(number)[counters.TARGET_RECEIVED] for number in range(2)] == [1 + 3 + 5, 2 + 4 + 6]
    assert rig.outcomes == {"data/done": 6}
    for at, bounds, block in (
        (counters.DURATIONS, counters.DURATION, words),
        (counters.CONNECT_TIMES, counters.LATENCY, rig.row.group(0)),
        (counters.FIRST_BYTE_TIMES, counters.LATENCY, rig.row.group(0)),
    ):
        assert sum(counters.histogram([block], at, bounds)[0]) == 6
    rig.until(lambda: rig.row.worker[SESSIONS] == 0)


def test_many_short_sessions_leave_nothing_behind(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    for round_ in range(2):
        if round_ == 1:
            rig.until(lambda: rig.active == 0)
            rig.settle()
            descriptors = rig.descriptors
        for _ in range(100):
            with rig.connect(address) as client, origin.accept() as target:
                client.sendall(b"x")
                client.shutdown(socket.SHUT_WR)
                assert receive(target, 2) == b"x"
    rig.until(lambda: rig.outcomes == {"data/done": 200})
    rig.until(lambda: rig.descriptors == descriptors)


def test_a_replaced_worker_goes_on_in_the_row_of_the_dead_one(bare: Rig) -> None:
    origin = bare.origin()
    for generation in (1, 2):
        bare.start()
        address = bare.listen(bare.group(origin))
        end(*bare.through(address, origin))
        bare.until(lambda: bare.active == 0)
        client, _ = bare.through(address, origin)
        assert bare.row.listener(0)[ACCEPTED] == 2 * generation
        bare.process.kill()
        bare.until(lambda generation=generation: bare.closed == generation)  # type: ignore[misc]
        bare.process.wait()
        assert bare.row.listener(0)[ACTIVE] == 1, "what it had open is still written there"
        assert fate(client) in ("end", "reset")
        bare.row.clear_gauges([0], [0])
    assert bare.gauges == [0, 0]
    words = [bare.row.listener(0)]
    assert (total(words, ACCEPTED), bare.outcomes) == (4, {"data/done": 2})


# --- errors of ours, provoked by orders that make no sense


def test_an_error_in_one_session_ends_that_one_and_is_told(rig: Rig) -> None:
    rig.expects_bugs = True
    origin = rig.origin()
    good = rig.listen(rig.group(origin))
    bad = rig.listen(rig.group(rig.origin(), odd={"connect_timeout": "soon"}))
    session = rig.through(good, origin)
    assert rig.turned_away(bad)
    rig.until(lambda: rig.said("event"))
    (event,) = rig.said("event")
    assert event["level"] == "error"
    assert re.match(r"bug in worker 1, session of 127\.0\.0\.1:\d+ in phase connect\nTraceback", event["text"])
    assert "TypeError" in event["text"]
    assert rig.outcomes == {"connect/bug": 1}
    assert rig.gauges == [1, 0, 1, 0]
    echo(*session)


def test_an_error_of_the_sweep_in_one_session_does_not_keep_it_from_the_others(rig: Rig) -> None:
    rig.expects_bugs = True
    origin = rig.origin()
    bad = rig.listen(rig.group(origin), idle_timeout="never")
    good = rig.listen(0, idle_timeout=0.1)
    client, target = rig.through(bad, origin)
    later, _ = rig.through(good, origin)
    assert fate(client) == fate(target) == "reset"
    assert fate(later) == "reset"
    rig.until(lambda: rig.outcomes == {"data/bug": 1, "data/idle": 1})


def test_a_target_beyond_the_counters_costs_its_sessions_only(rig: Rig) -> None:
    rig.expects_bugs = True
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    rig._targets = TARGETS
    bad = rig.listen(rig.group(rig.origin()))
    rig._targets = 1
    assert rig.turned_away(bad)
    rig.until(lambda: rig.said("event"))
    echo(*rig.through(address, origin))
    rig.send({"verb": "stop", "timeout": 0})
    assert rig.exit_code() == 0


def test_an_order_that_fails_is_told_and_the_next_is_obeyed(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    rig.expects_bugs = True
    rig.send({"verb": "unload", "groups": [4711]})
    rig.send({"verb": "a word of the future", "fields": 1}, [origin._sock.fileno()])
    rig.settle()
    (event,) = rig.said("event")
    assert "bug in worker 1, outside any session" in event["text"]
    assert "KeyError: 4711" in event["text"]
    descriptors = rig.descriptors
    rig.send({"verb": "a word of the future"}, [origin._sock.fileno()])
    rig.settle()
    assert rig.descriptors == descriptors
    echo(*rig.through(address, origin))


# --- what it tells


def test_sessions_are_described_and_filtered(rig: Rig) -> None:
    origins = [rig.origin(), rig.origin()]
    first = rig.listen(rig.group(*origins))
    second = rig.listen(0)
    pairs = [rig.through(first, origins[0]), rig.through(first, origins[1]), rig.through(second, origins[0])]
    echo(*pairs[0])
    told = rig.sessions()
    assert len(told) == 3
    described = told[0]
    host, port = pairs[0][0].getsockname()
    assert described.pop("age") >= described.pop("idle") >= 0
    assert described == {
        "worker": 1,
        "listener": "listener0",
        "client": f"{host}:{port}",
        "target": "t0",
        "group": "group0",
        "phase": "data",
        "received": 5,
        "sent": 5,
    }
    assert len(rig.sessions(target=0)) == 2
    assert len(rig.sessions(listener="listener1")) == 1
    assert len(rig.sessions(target=1, listener="listener1")) == 0
    assert len(rig.sessions(limit=2)) == 2


def test_failures_to_connect_are_told_together(rig: Rig) -> None:
    dead = rig.origin()
    dead.close()
    address = rig.listen(rig.group(dead))
    for _ in range(20):
        assert rig.turned_away(address)
    rig.until(lambda: sum(entry[2] for message in rig.said("failed") for entry in message["targets"]) == 20)
    assert all(message["targets"][0][:2] == [0, "refused"] for message in rig.said("failed"))
    assert len(rig.said("failed")) < 20


def test_access_lines(bare: Rig) -> None:
    bare.start(stdout=subprocess.PIPE)
    origin = bare.origin()
    address = bare.listen(bare.group(origin), access_log=True)
    silent = bare.listen(0)
    end(*bare.through(address, origin))
    end(*bare.through(silent, origin))
    bare.until(lambda: bare.outcomes == {"data/done": 2})
    bare.send({"verb": "stop", "timeout": 0})
    bare.exit_code()
    assert bare.process.stdout is not None
    (line,) = bare.process.stdout.read().decode().splitlines()
    assert " outcome=data/done listener=listener0 client=127.0.0.1:" in line


def test_a_reader_of_the_access_log_that_is_stuck_stops_nobody(bare: Rig) -> None:
    bare.start(stdout=subprocess.PIPE)
    address = bare.listen(bare.group(), access_log=True)
    for _ in range(1000):  # more lines than a pipe takes
        assert bare.turned_away(address)
    bare.settle()
    assert bare.outcomes == {"pick/no_target": 1000}


# --- many of everything


def test_a_load_of_thousands_of_targets(rig: Rig) -> None:
    origin = rig.origin()
    nobody = rig.origin()
    nobody.close()
    group = rig.group(*[nobody] * 3000, origin)
    address = rig.listen(group)
    rig.mark(*range(3000), admin="drain")
    echo(*rig.through(address, origin))


def test_a_listener_with_many_addresses(rig: Rig) -> None:
    origin = rig.origin()
    rig.listen(rig.group(origin), binds=64)
    for host, port in rig.bound:
        with socket.create_connection((host, port), 10) as client, origin.accept() as target:
            echo(client, target)
    rig.send({"verb": "stop", "timeout": 5})
    assert rig.exit_code() == 0


# --- the end


def test_a_stop_without_sessions(rig: Rig) -> None:
    address = rig.listen(rig.group(rig.origin()))
    rig.send({"verb": "stop", "timeout": 60})
    assert rig.exit_code() == 0
    rig.until(lambda: rig.closed)
    assert [message["verb"] for message in rig.messages] == ["stopping"]
    with pytest.raises(ConnectionRefusedError):
        rig.connect(address)


def test_a_stop_lets_sessions_finish(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    client, target = rig.through(address, origin)
    rig.send({"verb": "stop", "timeout": 60})
    rig.until(lambda: _refused(address.port))
    echo(client, target)
    end(client, target)
    assert rig.exit_code() == 0
    assert rig.outcomes["data/done"] == 1
    assert (rig.gauges, rig.row.worker[SESSIONS]) == ([0, 0], 0)


def test_a_stop_resets_what_is_left_after_its_time(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    waiting = rig.connect(rig.listen(rig.group(rig.origin(), health="initial", wait=60)))
    client, target = rig.through(address, origin)
    rig.until(lambda: rig.active == 2)
    rig.send({"verb": "stop", "timeout": 0.05})
    assert fate(client) == fate(target) == fate(waiting) == "reset"
    assert rig.exit_code() == 0
    assert rig.outcomes == {"data/shutdown": 1, "pick/shutdown": 1}
    assert rig.gauges == [0] * 4


def test_a_second_stop_may_shorten_the_time(rig: Rig) -> None:
    origin = rig.origin()
    client, _ = rig.through(rig.listen(rig.group(origin)), origin)
    rig.send({"verb": "stop", "timeout": 60})
    rig.until(lambda: rig.said("stopping"))
    rig.send({"verb": "stop", "timeout": 0})
    assert fate(client) == "reset"
    assert rig.exit_code() == 0
    assert len(rig.said("stopping")) == 1


def test_a_stop_serves_those_who_queue_already(rig: Rig) -> None:
    """The kernel promised them a connection: they connect while the worker stands still, and it is told to stop."""
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    rig.settle()
    os.kill(rig.process.pid, signal.SIGSTOP)
    rig.send({"verb": "stop", "timeout": 60})
    clients = [rig.connect(address) for _ in range(50)]
    os.kill(rig.process.pid, signal.SIGCONT)
    for client in clients:
        with origin.accept() as target:
            client.sendall(b"served")
            assert receive(target, 6) == b"served"
            client.close()
    assert rig.exit_code() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signals_are_for_control(rig: Rig, number: signal.Signals) -> None:
    """A Ctrl-C reaches the whole terminal; control decides what it means."""
    origin = rig.origin()
    session = rig.through(rig.listen(rig.group(origin)), origin)
    os.kill(rig.process.pid, number)
    echo(*session)


def test_an_orphan_lets_its_sessions_finish_and_leaves(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    client, target = rig.through(address, origin)
    rig.channel.close()
    rig.loop.turn(0)
    rig.until(lambda: _refused(address.port))
    echo(client, target)
    end(client, target)
    assert rig.exit_code() == 0
    assert rig.outcomes["data/done"] == 1


def test_an_orphan_that_never_heard_a_word_leaves_too(bare: Rig) -> None:
    bare.start(hello=False)
    bare.channel.close()
    bare.loop.turn(0)
    assert bare.exit_code() == 0


def _refused(port: int) -> bool:
    """Does nobody listen there any more? Who asks too early may become a session, or be reset with the queue."""
    try:
        reset(socket.create_connection(("127.0.0.1", port), 10))
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False
