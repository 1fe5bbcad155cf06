"""The real processes under traffic: what clients and operators see of `nlb serve`."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from nlb.net.sockets import UNSENT
from tests.daemon import PATIENCE, Daemon, answer, call, daemon, refused
from tests.endings import all_end
from tests.targets import Target, echo, endless, say
from tests.waiting import until


def config(targets: list[Target], group: str = "", listener: str = "", weights: list[int] | None = None) -> str:
    """One listener `in` on a free port, one group `out` of targets t1, t2, ..."""
    lines = [
        f'{{ name = "t{n}", address = "127.0.0.1:{target.port}", weight = {(weights or [1] * n)[n - 1]} }}'
        for n, target in enumerate(targets, 1)
    ]
    return (
        f'[[listener]]\nname = "in"\nbind = "127.0.0.1:0"\n{listener}\n'
        f'[[target_group]]\nname = "out"\ntargets = [{", ".join(lines)}]\n{group}\n'
    )


def test_many_short_connections_are_shared_evenly_by_two_workers(tmp_path: Path, stack: ExitStack) -> None:
    names = [b"t1", b"t2", b"t3"]
    targets = [stack.enter_context(Target(say(name))) for name in names]
    nlb = stack.enter_context(daemon(tmp_path, config(targets), workers=2))
    nlb.has_health(t1="healthy", t2="healthy", t3="healthy")
    port = nlb.port
    first = Counter(answer(port) for _ in range(30))
    assert max(first.values()) <= 12, first
    everyone = first + Counter(answer(port) for _ in range(2970))
    assert sorted(everyone) == names
    assert all(990 <= count <= 1010 for count in everyone.values()), everyone
    accepted = [row["sessions"] for row in nlb.workers()]
    assert len(accepted) == 2


def test_weights_are_kept(tmp_path: Path, stack: ExitStack) -> None:
    targets = [stack.enter_context(Target(say(name))) for name in (b"t1", b"t2", b"t3")]
    nlb = stack.enter_context(daemon(tmp_path, config(targets, weights=[1, 2, 5]), workers=2))
    nlb.has_health(t1="healthy", t2="healthy", t3="healthy")
    port = nlb.port
    seen = Counter(answer(port) for _ in range(1600))
    for name, share in ((b"t1", 200), (b"t2", 400), (b"t3", 1000)):
        assert abs(seen[name] - share) <= 32, seen


def test_maglev_keeps_a_client_on_its_target(tmp_path: Path, stack: ExitStack) -> None:
    targets = [stack.enter_context(Target(say(name))) for name in (b"t1", b"t2", b"t3")]
    text = config(targets, group='policy = "maglev"\nhash_key = "source_ip"')
    nlb = stack.enter_context(daemon(tmp_path, text, workers=2))
    nlb.has_health(t1="healthy", t2="healthy", t3="healthy")
    port = nlb.port
    mine = {answer(port) for _ in range(40)}
    assert len(mine) == 1
    assert nlb.ctl("drain", mine.pop().decode()).returncode == 0
    others = {answer(port) for _ in range(40)}
    assert len(others) == 1


def test_a_drained_target_gets_no_new_session_and_its_old_one_finishes(tmp_path: Path, stack: ExitStack) -> None:
    targets = [stack.enter_context(Target(echo)) for _ in range(2)]
    nlb = stack.enter_context(daemon(tmp_path, config(targets)))
    nlb.has_health(t1="healthy", t2="healthy")
    old = [stack.enter_context(call(nlb.port)) for _ in range(2)]
    until(lambda: all(target["sessions"] == 1 for target in nlb.targets().values()), PATIENCE)
    waiting = subprocess.Popen(
        [*nlb.ctl_command("drain", "t1", "--wait"), "--reason", "new kernel"], stdout=subprocess.PIPE, text=True
    )
    until(lambda: nlb.targets()["t1"]["admin"]["state"] == "drain", PATIENCE)
    assert nlb.targets()["t1"]["admin"]["reason"] == "new kernel"
    for _ in range(6):
        stack.enter_context(call(nlb.port))
    until(lambda: nlb.targets()["t2"]["sessions"] == 7, PATIENCE)
    assert nlb.targets()["t1"]["sessions"] == 1
    assert waiting.poll() is None
    for sock in old:
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"
        sock.close()
    waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 0
    assert nlb.ctl("ready", "t1").returncode == 0
    until(lambda: nlb.targets()["t1"]["usable"], PATIENCE)


def test_a_drain_that_runs_out_of_time_resets_the_rest_and_says_so(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, config([target])))
    nlb.has_health(t1="healthy")
    old = stack.enter_context(call(nlb.port))
    until(lambda: nlb.targets()["t1"]["sessions"] == 1, PATIENCE)
    done = nlb.ctl("drain", "t1", "--timeout", "500ms", "--wait")
    assert done.returncode == 3, done
    with pytest.raises(ConnectionResetError):
        old.recv(1)
    until(lambda: nlb.listener()["outcomes"].get("data/drain_timeout") == 1, PATIENCE)


def test_a_drain_may_keep_what_is_left(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, config([target], group='on_drain_timeout = "keep"')))
    nlb.has_health(t1="healthy")
    old = stack.enter_context(call(nlb.port))
    until(lambda: nlb.targets()["t1"]["sessions"] == 1, PATIENCE)
    assert nlb.ctl("drain", "t1", "--timeout", "100ms", "--wait").returncode == 3
    old.sendall(b"kept")
    assert old.recv(10) == b"kept"


def test_a_target_killed_under_load_fails_no_later_client(tmp_path: Path, stack: ExitStack) -> None:
    targets = [stack.enter_context(Target(say(name))) for name in (b"t1", b"t2", b"t3")]
    text = config(targets, "health_check = { interval = 1, fast_interval = 0.1 }")
    nlb = stack.enter_context(daemon(tmp_path, text, workers=2))
    nlb.has_health(t1="healthy", t2="healthy", t3="healthy")
    port = nlb.port
    for _ in range(30):
        answer(port)
    targets[0].stop()
    # Each of these would meet the dead target a third of the time.
    after = Counter(answer(port) for _ in range(300))
    assert sorted(after) == [b"t2", b"t3"]
    nlb.has_health(t1="unhealthy")
    assert "refused" in nlb.targets()["t1"]["health"]["reason"]
    targets[0].start()
    nlb.has_health(t1="healthy")
    until(lambda: answer(port) == b"t1", PATIENCE)


def test_sessions_of_a_target_that_becomes_unhealthy_are_reset(tmp_path: Path, stack: ExitStack) -> None:
    """Each target's health is asked on a port of its own, so that health can change while sessions stay open."""
    targets = [stack.enter_context(Target(echo)) for _ in range(2)]
    check = 'protocol = "tcp"\ninterval = 0.1\nfast_interval = 0.05\ntimeout = 0.1'
    text = ""
    checks = [Target(echo) for _ in targets]
    for n, (target, asked) in enumerate(zip(targets, checks, strict=True), 1):
        stack.callback(asked.stop)
        text += (
            f'[[listener]]\nname = "in{n}"\nbind = "127.0.0.1:0"\ntarget_group = "out{n}"\n'
            f'[[target_group]]\nname = "out{n}"\n'
            f'targets = ["a{n}=127.0.0.1:{target.port}"BACKUP]\n'
            f"[target_group.health_check]\n{check}\nport = {asked.port}\n"
        ).replace("BACKUP", f', "b=127.0.0.2:{target.port}"' if n == 1 else "")
    # The second target of the first group is healthy at its own address, so that group does not fail open.
    spare = stack.enter_context(Target(echo, host="127.0.0.2", port=checks[0].port))
    nlb = stack.enter_context(daemon(tmp_path, text))
    nlb.has_health(a1="healthy", a2="healthy", b="healthy")
    assert nlb.ctl("drain", "b").returncode == 0
    reset = stack.enter_context(call(nlb.ports["in1"]))
    kept = stack.enter_context(call(nlb.ports["in2"]))
    until(lambda: nlb.targets()["a1"]["sessions"] == nlb.targets()["a2"]["sessions"] == 1, PATIENCE)
    assert nlb.ctl("ready", "b").returncode == 0
    for asked in checks:
        asked.stop()
    nlb.has_health(a1="unhealthy", a2="unhealthy", b="healthy")
    with pytest.raises(ConnectionResetError):
        reset.recv(1)
    until(lambda: nlb.listener("in1")["outcomes"].get("data/unhealthy") == 1, PATIENCE)
    # The only target of its group: the group fails open, and then nothing is reset.
    kept.sendall(b"kept")
    assert kept.recv(10) == b"kept"
    assert "group out2 FAILS OPEN" in nlb.output()
    assert spare.accepted


def test_a_killed_worker_loses_its_own_sessions_only_and_is_replaced(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, config([target]), workers=2))
    nlb.has_health(t1="healthy")
    port = nlb.port
    sockets = [stack.enter_context(call(port)) for _ in range(40)]
    for sock in sockets:
        sock.sendall(b"a")
        assert sock.recv(1) == b"a"
    until(lambda: sum(row["sessions"] for row in nlb.workers()) == 40, PATIENCE)
    accepted = nlb.listener()["accepted"]
    victim, survivor = nlb.workers()
    os.kill(victim["pid"], signal.SIGKILL)
    alive = 0
    for sock in sockets:
        try:
            sock.sendall(b"b")
            alive += sock.recv(1) == b"b"
        except OSError:
            pass
    assert alive == survivor["sessions"]
    # Also those that the kernel gave to the dead worker's socket are served: by the replacement.
    for _ in range(40):
        with call(port) as sock:
            sock.sendall(b"c")
            assert sock.recv(1) == b"c"
    until(lambda: [row["state"] for row in nlb.workers()] == ["running", "running"], PATIENCE)
    assert nlb.workers()[0]["restarts"] == 1
    assert nlb.workers()[0]["last_exit"] == "killed by SIGKILL"
    assert nlb.listener()["accepted"] >= accepted + 40, "totals never fall"
    for sock in sockets:
        sock.close()
    until(lambda: nlb.targets()["t1"]["sessions"] == 0, PATIENCE)


def test_a_crash_loop_backs_off_and_shows(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, config([target])))
    for deaths in range(1, 6):
        until(lambda: nlb.workers()[0]["pid"], PATIENCE)
        os.kill(nlb.workers()[0]["pid"], signal.SIGKILL)
        until(lambda deaths=deaths: nlb.workers()[0]["restarts"] == deaths, PATIENCE)
    row = nlb.workers()[0]
    assert row["state"] == "backing_off"
    assert 0 < row["retry_in"] <= 1.6
    assert "crash loop" in nlb.output()
    assert "backing" in nlb.ctl("status").stdout


def test_a_stop_lets_sessions_finish(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, config([target]), workers=2))
    port = nlb.port
    sock = stack.enter_context(call(port))
    sock.sendall(b"x")
    assert sock.recv(1) == b"x"
    nlb.process.terminate()
    until(lambda: refused(port), PATIENCE)
    sock.sendall(b"last words")
    assert sock.recv(100) == b"last words"
    sock.close()
    assert nlb.process.wait(PATIENCE) == 0
    assert not os.path.exists(nlb.socket)


def test_a_stop_resets_what_does_not_finish_in_time(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, config([target]), top="shutdown_timeout = 0.2"))
    sock = stack.enter_context(call(nlb.port))
    sock.sendall(b"x")
    assert sock.recv(1) == b"x"
    assert nlb.stop() == 0
    with pytest.raises(ConnectionResetError):
        sock.recv(1)


def test_a_second_signal_ends_at_once(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, config([target]), top="shutdown_timeout = 600"))
    port = nlb.port
    sock = stack.enter_context(call(port))
    sock.sendall(b"x")
    assert sock.recv(1) == b"x"
    nlb.process.send_signal(signal.SIGINT)
    until(lambda: refused(port), PATIENCE)
    nlb.process.send_signal(signal.SIGINT)
    assert nlb.process.wait(PATIENCE) == 0


def test_a_slow_reader_costs_no_memory(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(endless))
    nlb = stack.enter_context(daemon(tmp_path, config([target])))
    nlb.has_health(t1="healthy")
    worker = psutil.Process(nlb.workers()[0]["pid"])
    with call(nlb.port) as sock:
        sock.recv(1)  # once through: buffers are there
    before = worker.memory_full_info().uss
    slow = stack.enter_context(call(nlb.port))
    slow.recv(1)

    moved = [-1, 0]

    def stuck() -> bool:
        """All buffers between the two are full: nothing moves any more."""
        moved.append(nlb.targets()["t1"]["sent"])
        return moved[-1] == moved[-2] > UNSENT

    until(stuck, PATIENCE, between=nlb.publishes)
    assert worker.memory_full_info().uss - before < 1 << 20


def test_no_target_at_all_is_said_in_words(tmp_path: Path, stack: ExitStack) -> None:
    target = Target(echo)
    target.stop()
    nlb = stack.enter_context(daemon(tmp_path, config([target])))
    nlb.has_health(t1="unhealthy")
    with pytest.raises(ConnectionResetError):
        answer(nlb.port)
    until(lambda: nlb.listener()["outcomes"] == {"connect/refused": 1}, PATIENCE)
    assert "connect/refused" in nlb.ctl("errors").stdout
    assert "FAIL-OPEN" in nlb.ctl("targets").stdout
    assert nlb.ctl("maint", "t1").returncode == 0
    with pytest.raises(ConnectionResetError):
        answer(nlb.port)
    until(lambda: nlb.listener()["outcomes"].get("pick/no_target") == 1, PATIENCE)


def test_weight_zero_takes_new_work_away(tmp_path: Path, stack: ExitStack) -> None:
    targets = [stack.enter_context(Target(say(name))) for name in (b"t1", b"t2")]
    nlb = stack.enter_context(daemon(tmp_path, config(targets)))
    nlb.has_health(t1="healthy", t2="healthy")
    assert nlb.ctl("weight", "t1", "0").returncode == 0
    until(lambda: nlb.targets()["t1"]["weight"] == 0, PATIENCE)
    assert {answer(nlb.port) for _ in range(10)} == {b"t2"}


def test_an_unknown_target_names_the_nearest(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, config([target]).replace('"t1"', '"web01"')))
    done = nlb.ctl("drain", "web1")
    assert done.returncode == 1
    assert "web01" in done.stderr
    assert "Traceback" not in done.stderr


def test_sessions_are_listed(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, config([target]), workers=2))
    nlb.has_health(t1="healthy")
    sock = stack.enter_context(call(nlb.port))
    sock.sendall(b"12345")
    assert sock.recv(5) == b"12345"
    host, port = sock.getsockname()
    (row,) = nlb.ask("sessions")["sessions"]
    assert (row["client"], row["target"], row["phase"]) == (f"{host}:{port}", "t1", "data")
    assert (row["received"], row["sent"]) == (5, 5)


def test_metrics_tell_what_happened(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(say(b"hello")))
    nlb = stack.enter_context(daemon(tmp_path, config([target]), web=True))
    nlb.has_health(t1="healthy")
    for _ in range(3):
        assert answer(nlb.port) == b"hello"
    until(lambda: nlb.listener()["outcomes"].get("data/done") == 3, PATIENCE)
    with urlopen(f"{nlb.web}metrics") as page:
        text = page.read().decode()
    assert 'nlb_listener_connections_total{listener="in"} 3.0' in text
    assert 'nlb_target_sent_bytes_total{group="out",target="t1"} 15.0' in text
    with urlopen(f"{nlb.web}ready") as page:
        assert page.status == 200


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (lambda text: text.replace("targets", "target_s"), 2, "did you mean"),
        (lambda text: "", 2, "listener"),
    ],
    ids=["unknown key", "empty file"],
)
def test_a_bad_config_never_starts(
    tmp_path: Path, stack: ExitStack, spoil: Callable[[str], str], code: int, words: str
) -> None:
    target = stack.enter_context(Target(echo))
    nlb = Daemon(tmp_path, spoil(config([target])), wait=False)
    assert nlb.process.wait(PATIENCE) == code
    assert words in nlb.output()
    assert "Traceback" not in nlb.output()
    assert not os.path.exists(nlb.socket)


def test_a_taken_port_is_said_with_its_holder(tmp_path: Path, stack: ExitStack) -> None:
    target, squatter = (stack.enter_context(Target(echo)) for _ in range(2))
    text = config([target]).replace("127.0.0.1:0", f"127.0.0.1:{squatter.port}")
    nlb = Daemon(tmp_path, text, wait=False)
    assert nlb.process.wait(PATIENCE) == 1
    assert f"127.0.0.1:{squatter.port} is already taken by" in nlb.output()
    assert f"pid {os.getpid()}" in nlb.output()
    assert "Traceback" not in nlb.output()


def test_a_killed_control_leaves_no_worker_that_was_told_to_end_with_it(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(echo))
    nlb = stack.enter_context(daemon(tmp_path, config([target]), workers=2))
    workers = [row["pid"] for row in nlb.workers()]
    nlb.process.kill()
    nlb.process.wait(PATIENCE)
    assert all_end(workers, PATIENCE)


def test_traffic_goes_on_while_the_status_page_is_scraped(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(say(b"hello")))
    nlb = stack.enter_context(daemon(tmp_path, config([target]), web=True))
    nlb.has_health(t1="healthy")
    stop = threading.Event()
    pages: Counter[int] = Counter()

    def scrape() -> None:
        while not stop.is_set():
            with urlopen(nlb.web) as page:
                pages[page.status] += 1

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        assert all(answer(nlb.port) == b"hello" for _ in range(200))
    finally:
        stop.set()
        scraper.join()
    assert list(pages) == [200]
