"""Targets that die or drain, reloads and dead workers, while clients keep asking: nobody notices who need not."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.daemon import PATIENCE, daemon
from tests.endings import all_end
from tests.sites import UNASKED, edge, group, rule
from tests.waiting import until
from tests.webclients import Client, Crowd, get
from tests.webtargets import Seen, WebTarget, reply


@pytest.fixture
def targets(stack: ExitStack) -> list[WebTarget]:
    return [stack.enter_context(WebTarget(name)) for name in ("t1", "t2", "t3")]


def test_a_target_killed_under_load_fails_no_request(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    """All of them may be repeated."""
    check = "health_check = { interval = 1, fast_interval = 0.1 }"
    nlb = stack.enter_context(daemon(tmp_path, edge() + group(targets, check), workers=2))
    nlb.has_health(t1="healthy", t2="healthy", t3="healthy")
    with Crowd(nlb.port) as crowd:
        crowd.goes_on()
        targets[0].stop()
        before = len(targets[0].seen)
        assert before
        crowd.goes_on()
        nlb.has_health(t1="unhealthy")
        targets[0].start()
        nlb.has_health(t1="healthy")
        until(lambda: len(targets[0].seen) > before + 10, PATIENCE)
    assert not crowd.errors


def test_many_requests_at_a_target_that_dies_are_all_asked_again(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    """After a thousand others: the part of the requests that may be repeated is that of the last seconds."""
    at_once = threading.Barrier(24, timeout=PATIENCE)
    together = threading.Barrier(13, timeout=PATIENCE)
    victim, other = targets[:2]
    for target in (victim, other):
        target.respond = lambda seen: (seen.target == "/first" and at_once.wait(), reply(b"there"))[1]
    nlb = stack.enter_context(daemon(tmp_path, edge() + group([victim, other])))
    clients = [stack.enter_context(Client(nlb.port)) for _ in range(24)]
    for path in ("/first", *["/"] * 20):
        for client in clients:
            client.say(path)
        assert [client.hear().status for client in clients] == [200] * 24
    assert (victim.accepted, other.accepted) == (12, 12), "each of what follows finds a connection"

    def hangs(seen: Seen) -> bytes:
        together.wait()
        together.wait()
        return b""

    victim.respond = hangs
    for client in clients:
        client.say()
    together.wait()  # twelve are under way
    victim.stop()
    together.wait()
    assert [client.hear().status for client in clients] == [200] * 24
    assert nlb.ask("status")["groups"][0]["http_retries"] == 12


def test_a_drained_target_is_left_without_a_failed_request(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    nlb = stack.enter_context(daemon(tmp_path, edge() + group(targets), workers=2))
    slow, held = threading.Event(), threading.Semaphore(3)
    stack.callback(slow.set)

    def three_wait(seen: Seen) -> bytes:
        if held.acquire(blocking=False):
            slow.wait()
        return reply()

    with Crowd(nlb.port) as crowd:
        crowd.goes_on()
        targets[0].respond = three_wait
        until(lambda: nlb.targets()["t1"]["sessions"] >= 3, PATIENCE)
        assert nlb.ctl("drain", "t1").returncode == 0
        seen = len(targets[0].seen)
        crowd.goes_on()
        assert (len(targets[0].seen), nlb.targets()["t1"]["sessions"]) == (seen, 3), "no new ones"
        # Idle connections were closed at once, those with a request are when it is answered.
        until(lambda: targets[0].connections == 3, PATIENCE)
        slow.set()
        until(lambda: not targets[0].connections, PATIENCE)
        crowd.goes_on()
        assert nlb.ctl("ready", "t1").returncode == 0
        until(lambda: len(targets[0].seen) > seen + 10, PATIENCE)
    assert not crowd.errors
    assert set(nlb.listener("edge")["exchanges"]) == {"data/done"}


def test_a_drain_that_runs_out_of_time_ends_requests(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    released = threading.Event()
    stack.callback(released.set)
    targets[0].respond = lambda _: (released.wait(), b"")[1]
    nlb = stack.enter_context(daemon(tmp_path, edge(more="reason_header = true") + group(targets[:1])))
    client = stack.enter_context(Client(nlb.port))
    client.say()
    until(lambda: targets[0].seen, PATIENCE)
    assert nlb.ctl("drain", "t1", "--timeout", "200ms", "--wait").returncode == 3
    answer = client.hear()
    assert (answer.status, answer.get("X-Nlb-Reason")) == (502, "response/drain_timeout")
    answer = client.ask()
    assert (answer.status, answer.get("X-Nlb-Reason")) == (503, "pick/no_target")


def test_rules_change_under_load_without_a_failed_request(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    """Also for clients that were connected before: their next request goes by the new rules."""
    one, two, three = targets
    groups = group([one]) + group({"u1": two}, name="next")
    nlb = stack.enter_context(daemon(tmp_path, edge() + groups, workers=2))
    port = nlb.port
    kept = stack.enter_context(Client(port))
    assert kept.ask("/new/").body == b"t1"
    with Crowd(port) as crowd:
        for turn in range(3):
            crowd.goes_on(60)
            rules = rule("new", 'path = "/new/*"\nforward = "next"') if turn % 2 == 0 else ""
            more = f"idle_timeout = {60 + turn}\n{rules}"
            nlb.write(edge(more=more) + groups)
            nlb.ask("reload")
            assert kept.ask("/new/").body == (b"t2" if rules else b"t1")
        # The group that they were connected for is gone.
        nlb.write(edge(group="other") + group([three], name="other"))
        nlb.ask("reload")
        assert kept.ask("/new/").body == b"t3"
        crowd.goes_on(60)
    assert not crowd.errors
    assert nlb.port == port
    assert set(nlb.listener("edge")["exchanges"]) == {"data/done"}


def test_headers_and_modes_change_for_connected_clients_too(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    nlb = stack.enter_context(daemon(tmp_path, edge() + group(targets[:1])))
    kept = stack.enter_context(Client(nlb.port))
    forged = [("X-Forwarded-For", "203.0.113.7")]
    assert kept.ask(headers=forged).status == 200
    changed = 'x_forwarded = "replace"\nvia = false\nreason_header = true\nmax_body = 1'
    edit = f'request_headers = {{ set = {{ X-Env = "new" }} }}\n{UNASKED}'
    nlb.write(edge(more=changed) + group(targets[:1], edit))
    nlb.ask("reload")
    assert kept.ask(headers=forged).status == 200
    before, after = targets[0].seen
    assert (before.get("X-Forwarded-For"), before.get("X-Env")) == ("203.0.113.7, 127.0.0.1", "")
    assert (after.get("X-Forwarded-For"), after.get("X-Env"), after.get("Via")) == ("127.0.0.1", "new", "")
    answer = kept.ask(method="POST", body=b"12")
    assert (answer.status, answer.get("X-Nlb-Reason")) == (413, "request/too_large")


def test_a_listener_that_is_removed_tells_its_clients(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    """Between two requests it closes; with one under way, behind the answer, which says so."""
    gate = threading.Event()
    targets[0].respond = lambda seen: (seen.target != "/slow" or gate.wait(PATIENCE), reply(b"done"))[1]
    text = edge() + edge(name="stays") + group(targets[:1])
    nlb = stack.enter_context(daemon(tmp_path, text))
    idle, busy = (stack.enter_context(Client(nlb.ports["edge"])) for _ in range(2))
    assert idle.ask().status == 200
    busy.say("/slow")
    until(lambda: targets[0].seen[-1].target == "/slow", PATIENCE)
    nlb.write(edge(name="stays") + group(targets[:1]))
    nlb.ask("reload")
    assert idle.sock.recv(1) == b""
    gate.set()
    answer = busy.hear()
    assert (answer.body, answer.get("Connection")) == (b"done", "close")
    assert get(nlb.ports["stays"]).body == b"done"


def test_an_address_passes_to_another_listener_without_a_failed_request(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    """Also for who is about to ask on a connection to the one that goes."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        bind = f'"127.0.0.1:{probe.getsockname()[1]}"'
    groups = group(targets[:1])
    nlb = stack.enter_context(daemon(tmp_path, edge(name="l0", bind=bind) + groups, workers=2))
    with Crowd(nlb.port) as crowd:
        for number in range(1, 4):
            crowd.goes_on(60)
            nlb.write(edge(name=f"l{number}", bind=bind) + groups)
            nlb.ask("reload")
        crowd.goes_on(60)
    assert not crowd.errors


def test_control_is_killed_under_load_and_nobody_notices(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    """Its workers serve on, then leave to those of the next control."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        bind = f'"127.0.0.1:{probe.getsockname()[1]}"'
    text = edge(bind=bind) + group(targets[:1])
    first = stack.enter_context(daemon(tmp_path, text, workers=2, orphans=True))
    crew = [psutil.Process(row["pid"]) for row in first.workers()]
    stack.callback(lambda: [process.kill() for process in crew if process.is_running()])
    with Crowd(first.port) as crowd:
        crowd.goes_on()
        first.process.kill()
        first.process.wait(PATIENCE)
        crowd.goes_on()
        second = stack.enter_context(daemon(tmp_path, text, workers=2))
        assert all_end([process.pid for process in crew], PATIENCE)
        crowd.goes_on()
    assert not crowd.errors
    assert second.listener("edge")["requests"] > 0


def test_a_killed_worker_costs_its_own_connections_only(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    nlb = stack.enter_context(daemon(tmp_path, edge() + group(targets), workers=2))
    port = nlb.port
    kept = [stack.enter_context(Client(port)) for _ in range(30)]
    for client in kept:
        assert client.ask().status == 200
    until(lambda: sum(row["sessions"] for row in nlb.workers()) == 30, PATIENCE)
    victim, survivor = nlb.workers()
    os.kill(victim["pid"], signal.SIGKILL)
    alive = 0
    for client in kept:
        try:
            alive += client.ask().status == 200
        except OSError:
            pass
    assert alive == survivor["sessions"]
    assert [get(port).status for _ in range(30)] == [200] * 30
    until(lambda: [row["state"] for row in nlb.workers()] == ["running", "running"], PATIENCE)
    assert nlb.listener("edge")["requests"] >= 30 + alive, "totals never fall"


def test_a_stop_lets_requests_finish(tmp_path: Path, stack: ExitStack, targets: list[WebTarget]) -> None:
    gate = threading.Event()
    targets[0].respond = lambda _: (gate.wait(PATIENCE), reply(b"done"))[1]
    nlb = stack.enter_context(daemon(tmp_path, edge() + group(targets[:1])))
    client = stack.enter_context(Client(nlb.port))
    client.say()
    until(lambda: targets[0].seen, PATIENCE)
    nlb.process.terminate()
    until(lambda: nlb.ask("status")["state"] == "stopping", PATIENCE)
    gate.set()
    answer = client.hear()
    assert (answer.body, answer.get("Connection")) == (b"done", "close")
    assert nlb.process.wait(PATIENCE) == 0
