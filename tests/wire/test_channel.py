"""Control and a worker process over their channel: neither waits for the other, and nothing is lost on the way."""

from __future__ import annotations

import os
import signal
import socket

from nlb.net.channel import memfd
from tests.wire.rig import Rig, receive


def test_a_worker_that_stands_still_catches_up(rig: Rig) -> None:
    """Thousands of orders wait for it, some with a table beside them; control goes on in the meantime."""
    origins = [rig.origin(), rig.origin()]
    address = rig.listen(rig.group(*origins))
    rig.settle()
    ours, theirs = len(os.listdir("/proc/self/fd")), rig.descriptors
    os.kill(rig.process.pid, signal.SIGSTOP)
    for number in range(3000):
        rig.mark(number % 2, admin="drain")
        rig.mark(1 - number % 2, admin="ready")
        if number % 50 == 49:
            table = memfd("table", bytes(4096))
            rig.send({"verb": "mark", "targets": [], "tables": [[0, [0, 4096]]]}, [table])
            os.close(table)
    os.kill(rig.process.pid, signal.SIGCONT)
    rig.settle()
    assert not rig.said("event")
    with rig.connect(address) as client, origins[0].accept() as target:
        client.sendall(b"the last order holds")
        assert receive(target, 20) == b"the last order holds"
    rig.until(lambda: rig.active == 0)
    assert len(os.listdir("/proc/self/fd")) <= ours
    rig.until(lambda: rig.descriptors <= theirs)


def test_a_control_that_does_not_read_stops_no_worker(rig: Rig) -> None:
    origin = rig.origin()
    address = rig.listen(rig.group(origin))
    clients = [rig.through(address, origin) for _ in range(50)]
    for number in range(300):
        rig.send({"verb": "sessions", "ask": number, "limit": 1000, "target": None, "listener": None})
    for client, target in clients:
        client.sendall(b"meanwhile")
        assert receive(target, 9) == b"meanwhile"
    rig.until(lambda: len(rig.said("sessions")) == 300)
    assert [message["ask"] for message in rig.said("sessions")] == list(range(300))
    assert all(len(message["sessions"]) == 50 for message in rig.said("sessions"))


def test_as_many_descriptors_as_a_message_may_have(rig: Rig) -> None:
    origin = rig.origin()
    rig.listen(rig.group(origin), binds=250)
    for host, port in rig.bound[::25]:
        with socket.create_connection((host, port), 10) as client, origin.accept() as target:
            client.sendall(b"here")
            assert receive(target, 4) == b"here"


def test_a_killed_worker_closes_the_channel_once(rig: Rig) -> None:
    rig.settle()
    rig.process.kill()
    rig.until(lambda: rig.closed)
    rig.send({"verb": "settle", "ask": 0})
    rig.loop.turn(0)
    assert (rig.closed, rig.channel.closed) == (1, True)
    assert rig.exit_code() == -signal.SIGKILL
