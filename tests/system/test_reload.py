"""Reload, as operators do it: edit the file, `nlb ctl reload`, traffic all the while."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

from tests.daemon import PATIENCE, Daemon, answer, call, daemon, refused
from tests.targets import Target, echo, say
from tests.traffic import speak
from tests.waiting import until


def listener(name: str, group: str, bind: str = "127.0.0.1:0", more: str = "") -> str:
    return f'[[listener]]\nname = "{name}"\nbind = "{bind}"\ntarget_group = "{group}"\n{more}\n'


def group(name: str, targets: dict[str, int], more: str = "") -> str:
    lines = ", ".join(f'"{target}=127.0.0.1:{port}"' for target, port in targets.items())
    return f'[[target_group]]\nname = "{name}"\ntargets = [{lines}]\n{more}\n'


def test_a_reload_adds_changes_and_removes(tmp_path: Path, stack: ExitStack) -> None:
    one, two = (stack.enter_context(Target(say(name))) for name in (b"one", b"two"))
    nlb = stack.enter_context(daemon(tmp_path, listener("a", "a") + group("a", {"one": one.port}), workers=2))
    port = nlb.ports["a"]
    assert answer(port) == b"one"
    before = nlb.listener("a")["accepted"]
    nlb.write(listener("a", "b") + listener("b", "a") + group("a", {"one": one.port}) + group("b", {"two": two.port}))
    done = nlb.ctl("reload")
    assert done.returncode == 0, done
    assert "add group b: 1 target, round_robin" in done.stdout
    assert "open listener b" in done.stdout
    assert "listener a: target_group a -> b" in done.stdout
    assert "generation 2" in done.stdout
    assert nlb.ports["a"] == port
    assert answer(port) == b"two"
    assert answer(nlb.ports["b"]) == b"one"
    assert nlb.listener("a")["accepted"] == before + 1, "counters survive"
    nlb.write(listener("b", "a") + group("a", {"one": one.port}))
    nlb.ask("reload")
    until(lambda: refused(port), PATIENCE)
    assert list(nlb.ports) == ["b"]


def test_an_unchanged_file_changes_nothing(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, listener("a", "a") + group("a", {"t": target.port})))
    nlb.has_health(t="healthy")
    sock = stack.enter_context(call(nlb.port))
    speak(sock, b"before")
    done = nlb.ctl("reload")
    assert "nothing to do" in done.stdout
    assert "0 of 1 sessions affected" in done.stdout
    speak(sock, b"after")


def test_health_and_admin_state_survive(tmp_path: Path, stack: ExitStack) -> None:
    ports = {name: stack.enter_context(Target(echo)).port for name in ("t1", "t2", "t3")}
    nlb = stack.enter_context(daemon(tmp_path, listener("a", "a") + group("a", {"t1": ports["t1"], "t2": ports["t2"]})))
    nlb.has_health(t1="healthy", t2="healthy")
    since = nlb.targets()["t1"]["health"]["since"]
    assert nlb.ctl("drain", "t2", "--reason", "disk").returncode == 0
    nlb.write(listener("a", "a") + group("a", ports, 'policy = "maglev"'))
    nlb.ask("reload")
    nlb.has_health(t1="healthy", t3="healthy")
    targets = nlb.targets()
    assert targets["t1"]["health"]["since"] == since
    assert (targets["t2"]["admin"]["state"], targets["t2"]["admin"]["reason"]) == ("drain", "disk")


def test_a_removed_target_drains(tmp_path: Path, stack: ExitStack) -> None:
    ports = {name: stack.enter_context(Target(echo)).port for name in ("t1", "t2")}
    nlb = stack.enter_context(daemon(tmp_path, listener("a", "a") + group("a", ports)))
    nlb.has_health(t1="healthy", t2="healthy")
    sockets = [stack.enter_context(call(nlb.port)) for _ in range(2)]
    until(lambda: all(target["sessions"] == 1 for target in nlb.targets().values()), PATIENCE)
    nlb.write(listener("a", "a") + group("a", {"t2": ports["t2"]}))
    assert "1 of 2 sessions affected" in nlb.ctl("reload").stdout
    assert nlb.targets()["t1"]["leaving"]
    for sock in sockets:
        speak(sock, b"still here")
    for _ in range(4):
        speak(stack.enter_context(call(nlb.port)), b"new")
    assert nlb.targets()["t2"]["sessions"] == 5
    for sock in sockets:
        sock.close()
    until(lambda: "t1" not in nlb.targets(), PATIENCE)


def test_a_removed_target_may_be_reset(tmp_path: Path, stack: ExitStack) -> None:
    ports = {name: stack.enter_context(Target(echo)).port for name in ("t1", "t2")}
    text = listener("a", "a") + group("a", ports, 'on_remove = "reset"')
    nlb = stack.enter_context(daemon(tmp_path, text))
    nlb.has_health(t1="healthy", t2="healthy")
    sockets = [stack.enter_context(call(nlb.port)) for _ in range(2)]
    until(lambda: all(target["sessions"] == 1 for target in nlb.targets().values()), PATIENCE)
    nlb.write(listener("a", "a") + group("a", {"t2": ports["t2"]}, 'on_remove = "reset"'))
    nlb.ask("reload")
    until(lambda: nlb.listener("a")["outcomes"].get("data/removed") == 1, PATIENCE)
    until(lambda: "t1" not in nlb.targets(), PATIENCE)
    assert nlb.targets()["t2"]["sessions"] == 1
    assert len(sockets) == 2


def test_an_address_may_pass_to_another_listener_without_a_refusal(tmp_path: Path, stack: ExitStack) -> None:
    one, two = (stack.enter_context(Target(say(name))) for name in (b"one", b"two"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        bind = f"127.0.0.1:{probe.getsockname()[1]}"
    groups = group("a", {"one": one.port}) + group("b", {"two": two.port})
    nlb = stack.enter_context(daemon(tmp_path, listener("old", "a", bind) + groups, workers=2))
    port = nlb.port
    stop = threading.Event()
    seen: list[bytes] = []
    failures: list[OSError] = []

    def keep_calling() -> None:
        while not stop.is_set():
            try:
                seen.append(answer(port))
            except OSError as error:
                failures.append(error)

    caller = threading.Thread(target=keep_calling)
    caller.start()
    try:
        nlb.write(listener("new", "b", bind) + groups)
        nlb.ask("reload")
        assert answer(port) == b"two"
    finally:
        stop.set()
        caller.join()
    assert not failures
    assert set(seen) <= {b"one", b"two"}


def test_a_refused_reload_leaves_everything_running(tmp_path: Path, stack: ExitStack) -> None:
    target, squatter = (stack.enter_context(Target(echo)) for _ in range(2))
    good = listener("a", "a") + group("a", {"t": target.port})
    nlb = stack.enter_context(daemon(tmp_path, good))
    nlb.has_health(t="healthy")
    sock = stack.enter_context(call(nlb.port))
    speak(sock, b"before")
    generation = 1
    spoils = {
        "unknown key": lambda: nlb.write(good + "tragets = []\n"),
        "no file": lambda: nlb.config.unlink(),
        "taken port": lambda: nlb.write(
            good + listener("b", "b", f"127.0.0.1:{squatter.port}") + group("b", {"t": target.port})
        ),
        "not toml": lambda: nlb.write(good + "[[["),
    }
    for name, spoil in spoils.items():
        spoil()
        done = nlb.ctl("reload")
        assert done.returncode == 1, name
        assert "nothing was changed" in done.stderr
        assert "Traceback" not in done.stderr
        speak(sock, b"after")
        speak(stack.enter_context(call(nlb.port)), b"new")
        config = nlb.ask("status")["config"]
        assert (config["generation"], config["reload_ok"]) == (generation, False)
        assert list(nlb.targets()) == ["t"]
        nlb.write(good)
        nlb.ask("reload")
        config = nlb.ask("status")["config"]
        assert config["reload_ok"]
        generation = config["generation"]


def test_sighup_reloads(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, listener("a", "a") + group("a", {"t": target.port})))
    nlb.write(listener("a", "a") + listener("b", "a") + group("a", {"t": target.port}))
    os.kill(nlb.process.pid, signal.SIGHUP)
    until(lambda: sorted(nlb.ports) == ["a", "b"], PATIENCE)
    until(lambda: "reload by SIGHUP: generation 2" in nlb.output(), PATIENCE)


def test_a_worker_that_dies_after_a_reload_comes_back_with_the_new_config(tmp_path: Path, stack: ExitStack) -> None:
    one, two = (stack.enter_context(Target(say(name))) for name in (b"one", b"two"))
    nlb = stack.enter_context(daemon(tmp_path, listener("a", "a") + group("a", {"t": one.port})))
    nlb.write(listener("a", "b") + group("b", {"t": two.port}))
    nlb.ask("reload")
    os.kill(nlb.workers()[0]["pid"], signal.SIGKILL)
    assert answer(nlb.port) == b"two"


class Busy(threading.Thread):
    """A client that sends random blocks through an echo and checks every byte, until told to stop."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__()
        self._sock = call(port)
        self._rng = random.Random(seed)
        self.sent, self.received = hashlib.sha256(), hashlib.sha256()
        self.rounds = 0
        self.error: Exception | None = None
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self._round()
        except Exception as error:
            self.error = error
        finally:
            self._sock.close()

    def _round(self) -> None:
        block = self._rng.randbytes(self._rng.randrange(1, 20_000))
        self._sock.sendall(block)
        self.sent.update(block)
        left = len(block)
        while left:
            data = self._sock.recv(left)
            assert data, "ended early"
            self.received.update(data)
            left -= len(data)
        self.rounds += 1


def test_twenty_reloads_break_no_session_and_refuse_no_connection(tmp_path: Path, stack: ExitStack) -> None:
    target, other = (stack.enter_context(Target(echo)) for _ in range(2))
    kept = listener("kept", "kept") + group("kept", {"t": target.port})
    nlb = stack.enter_context(daemon(tmp_path, kept, workers=2))
    nlb.has_health(t="healthy")
    port = nlb.ports["kept"]
    busy = [Busy(port, seed) for seed in range(40)]
    for client in busy:
        client.start()
    try:
        for turn in range(20):
            more = ""
            if turn % 2 == 0:
                more += listener("extra", "extra") + group("extra", {"x": other.port, f"y{turn}": target.port})
            if turn % 3 == 0:
                more += listener("third", "kept", more=f"idle_timeout = {100 + turn}")
            nlb.write(kept + more)
            done = nlb.ctl("reload")
            assert done.returncode == 0, done
            for _ in range(5):
                with call(port) as sock:
                    speak(sock, b"new")
    finally:
        for client in busy:
            client.stopping.set()
        for client in busy:
            client.join()
    assert [client.error for client in busy] == [None] * len(busy)
    assert all(client.rounds > 5 for client in busy)
    assert all(client.sent.digest() == client.received.digest() for client in busy)
    assert nlb.ask("status")["config"]["generation"] == 21


def test_a_second_reload_waits_its_turn(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, listener("a", "a") + group("a", {"t": target.port})))
    calls = [threading.Thread(target=lambda: results.append(nlb.ctl("reload"))) for _ in range(4)]
    results: list[object] = []
    for thread in calls:
        thread.start()
    for thread in calls:
        thread.join()
    codes = [done.returncode for done in results]  # type: ignore[attr-defined]
    assert 0 in codes
    for done in results:
        if done.returncode:  # type: ignore[attr-defined]
            assert "under way" in done.stderr  # type: ignore[attr-defined]
    assert isinstance(nlb, Daemon)
