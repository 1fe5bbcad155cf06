"""How the real processes choose: policies over several workers, limits and the queue, backups, slow start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.daemon import PATIENCE, Daemon, daemon
from tests.targets import Target, say
from tests.waiting import until

# Who dies or comes back is noticed soon.
QUICK = "health_check = { interval = 1, fast_interval = 0.1 }"


def named(name: bytes) -> Target:
    """Says its name at once, and holds the connection until the client closes it."""

    def serve(sock: socket.socket) -> None:
        sock.sendall(name)
        while sock.recv(4096):
            pass

    return Target(serve)


def config(targets: list[str], keys: str = "") -> str:
    return (
        f'[[listener]]\nname = "in"\nbind = "127.0.0.1:0"\n'
        f'[[target_group]]\nname = "out"\n{keys}\ntargets = [{", ".join(targets)}]\n'
    )


def table(name: str, target: Target, more: str = "") -> str:
    return f'{{ name = "{name}", address = "127.0.0.1:{target.port}"{more} }}'


class Client:
    """One connection; `name` is what its target said, once it did."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.sock.setblocking(False)
        self.name = b""

    @property
    def is_served(self) -> bool:
        try:
            self.name = self.name or self.sock.recv(100)
        except BlockingIOError:
            pass
        return bool(self.name)

    @property
    def is_reset(self) -> bool:
        try:
            self.sock.recv(100)
        except ConnectionResetError:
            return True
        except BlockingIOError:
            pass
        return False

    def close(self) -> None:
        self.sock.close()


def connect(stack: ExitStack, port: int, clients: int) -> list[Client]:
    made = [Client(port) for _ in range(clients)]
    for client in made:
        stack.callback(client.close)
    return made


def served(clients: list[Client], at_least: int) -> list[Client]:
    """Those who have a target, once there are so many."""
    until(lambda: sum(client.is_served for client in clients) >= at_least, PATIENCE)
    return [client for client in clients if client.is_served]


def one_by_one(port: int, sessions: int) -> Counter[bytes]:
    """Whom they meet if each ends before the next one comes."""
    names: Counter[bytes] = Counter()
    for _ in range(sessions):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            names[sock.recv(100)] += 1
    return names


def started(stack: ExitStack, folder: Path, text: str, workers: int, *healthy: str, **environment: str) -> Daemon:
    nlb = stack.enter_context(daemon(folder, text, workers, environment=environment))
    nlb.has_health(**dict.fromkeys(healthy, "healthy"))
    return nlb


def test_least_connections_over_three_workers(tmp_path: Path, stack: ExitStack) -> None:
    """Sessions that stay: targets differ by one, whichever workers they came to."""
    targets = [stack.enter_context(named(name)) for name in (b"t1", b"t2", b"t3")]
    text = config([table(f"t{n}", target) for n, target in enumerate(targets, 1)], 'policy = "least_connections"')
    nlb = started(stack, tmp_path, text, 3, "t1", "t2", "t3")
    clients: list[Client] = []
    for _ in range(31):
        clients += connect(stack, nlb.port, 1)
        served(clients, len(clients))
    counts = Counter(client.name for client in clients)
    assert max(counts.values()) - min(counts.values()) <= 1, counts


def test_a_full_target_makes_clients_wait_whichever_worker_they_came_to(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(named(b"t1"))
    text = config([table("t1", target, ", max_connections = 3")], 'queue = 9\nqueue_timeout = "60s"')
    nlb = started(stack, tmp_path, text, 2, "t1")
    waiting = connect(stack, nlb.port, 12)
    seen = 0
    while waiting:
        ready = served(waiting, 1)
        assert nlb.targets()["t1"]["sessions"] <= 4, "one too many at most: there are two workers"
        for client in ready:
            waiting.remove(client)
            client.close()
            seen += 1
    assert (seen, target.accepted >= 12) == (12, True)


def test_a_full_queue_and_a_long_wait_have_outcomes(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(named(b"t1"))
    text = config([table("t1", target, ", max_connections = 1")], 'queue = 1\nqueue_timeout = "300ms"')
    nlb = started(stack, tmp_path, text, 1, "t1")
    served(connect(stack, nlb.port, 1), 1)
    late, more = connect(stack, nlb.port, 2)
    until(lambda: more.is_reset, PATIENCE)
    until(lambda: late.is_reset, PATIENCE)
    assert nlb.listener()["outcomes"] == {"pick/queue_full": 1, "pick/queue_timeout": 1}


def test_a_killed_worker_leaves_its_places_and_its_queue_to_the_others(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(named(b"t1"))
    text = config([table("t1", target, ", max_connections = 2")], 'queue = 50\nqueue_timeout = "60s"')
    nlb = started(stack, tmp_path, text, 2, "t1")
    clients = connect(stack, nlb.port, 20)
    served(clients, 2)
    for worker in nlb.workers():
        os.kill(worker["pid"], signal.SIGKILL)
    until(lambda: sum(worker["restarts"] for worker in nlb.workers()) == 2, PATIENCE)
    served(connect(stack, nlb.port, 2), 2)
    until(lambda: nlb.targets()["t1"]["sessions"] == 2, PATIENCE)


def test_a_backup_serves_only_while_nobody_else_can(tmp_path: Path, stack: ExitStack) -> None:
    first, spare = stack.enter_context(Target(say(b"t1"))), stack.enter_context(Target(say(b"spare")))
    text = config([table("t1", first), table("spare", spare, ", backup = true")], QUICK)
    nlb = started(stack, tmp_path, text, 2, "t1", "spare")
    assert set(one_by_one(nlb.port, 10)) == {b"t1"}
    first.stop()
    nlb.has_health(t1="unhealthy")
    assert set(one_by_one(nlb.port, 10)) == {b"spare"}
    first.start()
    nlb.has_health(t1="healthy")
    until(lambda: set(one_by_one(nlb.port, 5)) == {b"t1"}, PATIENCE)


def test_a_target_that_comes_back_starts_slowly(tmp_path: Path, stack: ExitStack) -> None:
    targets = [stack.enter_context(Target(say(name))) for name in (b"t1", b"t2")]
    text = config([table(f"t{n}", target) for n, target in enumerate(targets, 1)], 'slow_start = "1h"')
    nlb = started(stack, tmp_path, text, 1, "t1", "t2")
    assert one_by_one(nlb.port, 20) == {b"t1": 10, b"t2": 10}, "nobody is slow at the start"
    assert nlb.ctl("drain", "t2").returncode == 0
    assert nlb.ctl("ready", "t2").returncode == 0
    assert one_by_one(nlb.port, 110)[b"t2"] in (9, 10), "the worker may hear of it after the first sessions"
    (worker,) = nlb.workers()
    os.kill(worker["pid"], signal.SIGKILL)
    until(lambda: nlb.workers()[0]["restarts"] == 1 and nlb.workers()[0]["state"] == "running", PATIENCE)
    assert one_by_one(nlb.port, 110)[b"t2"] == 10, "the new worker knows of it"


OWN = """
class Last:
    def build(self, candidates):
        self.candidates = sorted(candidates, key=lambda target: target.name)

    def choose(self, key, tried):
        if len(self.candidates) == 1:
            raise LookupError("only one")
        return self.candidates[-1]
"""


def test_a_policy_of_the_operators_own_serves_and_its_errors_are_survived(tmp_path: Path, stack: ExitStack) -> None:
    (tmp_path / "mymodule.py").write_text(OWN)
    targets = [stack.enter_context(Target(say(name))) for name in (b"t1", b"t2")]
    text = config([table(f"t{n}", target) for n, target in enumerate(targets, 1)], 'policy = "python:mymodule:Last"')
    nlb = started(stack, tmp_path, text, 2, "t1", "t2", PYTHONPATH=str(tmp_path))
    assert one_by_one(nlb.port, 6) == {b"t2": 6}
    assert nlb.ctl("drain", "t2").returncode == 0
    assert one_by_one(nlb.port, 6) == {b"t1": 6}
    until(lambda: "mymodule.Last.choose failed: LookupError: only one" in nlb.output(), PATIENCE)
    assert nlb.listener()["outcomes"] == {"data/done": 12}


def test_check_tells_what_is_wrong_with_an_own_policy(tmp_path: Path) -> None:
    (tmp_path / "mymodule.py").write_text(OWN)
    path = tmp_path / "nlb.toml"
    path.write_text(config(['"127.0.0.1:3000"'], 'policy = "python:mymodule:Last"'))
    command = [sys.executable, "-m", "nlb", "check", "-c", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert told.returncode == 2
    assert f"{path}:6:10: target_group.out.policy: mymodule.Last.choose failed: LookupError: only one" in told.stderr
