"""What operators change at run time lasts: through reloads, restarts and the death of a worker, until it is undone."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import time

import pytest

from tests.daemon import PATIENCE, Daemon, daemon
from tests.targets import Target, say
from tests.waiting import until


@pytest.fixture
def ports(stack: ExitStack) -> dict[str, int]:
    """Five servers, each of which says its name."""
    return {name: stack.enter_context(Target(say(name.encode()))).port for name in ("t1", "t2", "t3", "t4", "t5")}


def config(ports: dict[str, int], *names: str) -> str:
    targets = ", ".join(f'"{name}=127.0.0.1:{ports[name]}"' for name in names)
    listener = '[[listener]]\nname = "in"\nbind = "127.0.0.1:0"\n'
    return f'{listener}[[target_group]]\nname = "web"\ntargets = [{targets}]\n'


def answers(nlb: Daemon, count: int) -> Counter[str]:
    """Which server answered how many of these connections."""
    seen: Counter[str] = Counter()
    port = nlb.port
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            seen[sock.makefile().read()] += 1
    return seen


def done(nlb: Daemon, *arguments: str) -> str:
    result = nlb.ctl(*arguments)
    assert result.returncode == 0, result
    return result.stdout


def said(nlb: Daemon, text: str) -> bool:
    return any(text in event["text"] for event in nlb.ask("events", limit=1000)["events"])


def wishes(nlb: Daemon) -> dict[str, object]:
    return {f"{one['target']} {one['what']}": one["value"] for one in nlb.ask("overrides")["overrides"]}


Again = Callable[[], Daemon]


def reload(nlb: Daemon, again: Again) -> Daemon:
    done(nlb, "reload")
    return nlb


def restart(nlb: Daemon, again: Again) -> Daemon:
    nlb.stop()
    return again()


def start_after_a_kill(nlb: Daemon, again: Again) -> Daemon:
    nlb.process.kill()
    nlb.process.wait()
    return again()


def lose_a_worker(nlb: Daemon, again: Again) -> Daemon:
    pid = nlb.workers()[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: nlb.workers()[0]["pid"] not in (pid, None), PATIENCE)
    until(lambda: nlb.workers()[0]["state"] == "running", PATIENCE)
    return nlb


How = Callable[[Daemon, Again], Daemon]


@pytest.mark.parametrize("how", [reload, restart, start_after_a_kill, lose_a_worker], ids=lambda how: how.__name__)
def test_what_an_operator_changed_survives(tmp_path: Path, stack: ExitStack, ports: dict[str, int], how: How) -> None:
    def start() -> Daemon:
        return stack.enter_context(daemon(tmp_path, config(ports, "t1", "t2", "t3", "t4")))

    nlb = start()
    nlb.has_health(t1="healthy", t2="healthy", t3="healthy", t4="healthy")
    done(nlb, "drain", "t1", "--reason", "new kernel")
    done(nlb, "maint", "web/t2", "--for", "2h")
    done(nlb, "weight", "t3", "5")
    done(nlb, "target", "remove", "t4", "--reason", "too old")
    done(nlb, "target", "add", "web", f"t5=127.0.0.1:{ports['t5']}", "--reason", "more load")
    before = nlb.ask("overrides")["overrides"]
    nlb = how(nlb, start)
    nlb.has_health(t3="healthy", t5="healthy")
    until(lambda: list(nlb.targets()) == ["t1", "t2", "t3", "t5"], PATIENCE)
    targets = nlb.targets()
    states = {name: target["admin"]["state"] for name, target in targets.items()}
    assert states == {"t1": "drain", "t2": "maint", "t3": "ready", "t5": "ready"}
    assert targets["t1"]["admin"]["reason"] == "new kernel"
    assert [targets[name]["weight"] for name in ("t3", "t5")] == [5, 1]
    assert nlb.ask("overrides")["overrides"] == before
    assert answers(nlb, 60) == {"t3": 50, "t5": 10}


def test_each_change_is_undone_by_its_opposite(tmp_path: Path, stack: ExitStack, ports: dict[str, int]) -> None:
    nlb = stack.enter_context(daemon(tmp_path, config(ports, "t1", "t2")))
    nlb.has_health(t1="healthy", t2="healthy")
    done(nlb, "drain", "t1")
    done(nlb, "weight", "t1", "7")
    done(nlb, "target", "remove", "t2")
    done(nlb, "target", "add", "web", f"t3=127.0.0.1:{ports['t3']}", "--weight", "2")
    assert wishes(nlb) == {"t1 admin": "drain", "t1 weight": 7, "t2 removed": None, "t3 added": 2}
    done(nlb, "ready", "t1")
    done(nlb, "weight", "t1", "1")
    done(nlb, "target", "add", "web", f"t2=127.0.0.1:{ports['t2']}")
    done(nlb, "target", "remove", "t3")
    assert wishes(nlb) == {}
    until(lambda: list(nlb.targets()) == ["t1", "t2"], PATIENCE)
    nlb.has_health(t1="healthy", t2="healthy")
    assert answers(nlb, 10) == {"t1": 5, "t2": 5}


def test_changes_for_a_time_undo_themselves(tmp_path: Path, stack: ExitStack, ports: dict[str, int]) -> None:
    nlb = stack.enter_context(daemon(tmp_path, config(ports, "t1", "t2", "t3", "t4")))

    def facts() -> dict[str, tuple[str, int, bool]]:
        there = nlb.targets().items()
        return {name: (target["admin"]["state"], target["weight"], target["leaving"]) for name, target in there}

    before = facts()
    done(nlb, "drain", "t1", "--for", "1s")
    done(nlb, "maint", "t2", "--for", "1s")
    done(nlb, "weight", "t3", "9", "--for", "1s")
    done(nlb, "target", "remove", "t4", "--for", "1s")
    done(nlb, "target", "add", "web", "t9=127.0.0.9:9", "--for", "1s")
    until(lambda: facts() == before and not wishes(nlb), PATIENCE)
    ended = [event["text"] for event in nlb.ask("events", limit=1000)["events"]]
    assert sum("has ended by itself" in text for text in ended) == 5


def test_what_ends_while_nlb_is_down_is_over_at_the_start(
    tmp_path: Path, stack: ExitStack, ports: dict[str, int]
) -> None:
    nlb = stack.enter_context(daemon(tmp_path, config(ports, "t1", "t2")))
    done(nlb, "drain", "t1", "--for", "1s")
    end = nlb.ask("overrides")["overrides"][0]["until"]
    nlb.process.kill()
    nlb.process.wait()
    until(lambda: time() > end)
    nlb = stack.enter_context(daemon(tmp_path, config(ports, "t1", "t2")))
    assert nlb.targets()["t1"]["admin"]["state"] == "ready"
    assert wishes(nlb) == {}
    assert said(nlb, "ended while nlb was down")


@pytest.mark.parametrize("how", [reload, restart], ids=lambda how: how.__name__)
def test_a_wish_for_a_server_is_none_for_the_one_that_gets_its_name(
    tmp_path: Path, stack: ExitStack, ports: dict[str, int], how: How
) -> None:
    moved = config(ports | {"t1": ports["t5"]}, "t1", "t2")
    nlb = stack.enter_context(daemon(tmp_path, config(ports, "t1", "t2")))
    done(nlb, "drain", "t1", "--reason", "broken fan")
    nlb.write(moved)
    diff = nlb.ctl("config", "--diff", str(nlb.config))
    assert "these would go:\n  web/t1: the override drain by " in diff.stdout
    nlb = how(nlb, lambda: stack.enter_context(daemon(tmp_path, moved)))
    old, new = f"127.0.0.1:{ports['t1']}", f"127.0.0.1:{ports['t5']}"
    until(lambda: nlb.targets()["t1"]["address"] == new, PATIENCE)
    assert nlb.targets()["t1"]["admin"]["state"] == "ready"
    assert wishes(nlb) == {}
    assert said(nlb, f"(broken fan) is dropped: the target is at {new} now, not at {old}")


def test_the_last_good_file_takes_the_place_of_a_damaged_one(
    tmp_path: Path, stack: ExitStack, ports: dict[str, int]
) -> None:
    nlb = stack.enter_context(daemon(tmp_path, config(ports, "t1", "t2")))
    done(nlb, "drain", "t1")
    done(nlb, "weight", "t2", "3")
    nlb.stop()
    file = tmp_path / "state" / "overrides.json"
    file.write_bytes(file.read_bytes()[:-20])
    nlb = stack.enter_context(daemon(tmp_path, config(ports, "t1", "t2")))
    assert wishes(nlb) == {"t1 admin": "drain"}
    assert nlb.targets()["t1"]["admin"]["state"] == "drain"
    assert said(nlb, f"{file} is damaged: it is not JSON")
    assert said(nlb, "the one before it is used")
    assert [path.name for path in file.parent.glob("*.damaged-*")]


def test_what_the_file_says_by_now_needs_no_override(tmp_path: Path, stack: ExitStack, ports: dict[str, int]) -> None:
    nlb = stack.enter_context(daemon(tmp_path, config(ports, "t1", "t2")))
    done(nlb, "target", "add", "web", f"t3=127.0.0.1:{ports['t3']}")
    done(nlb, "target", "remove", "t2")
    nlb.write(config(ports, "t1", "t3"))
    assert "nothing to do" in done(nlb, "reload")
    assert wishes(nlb) == {}
    assert [name for name, target in nlb.targets().items() if not target["leaving"]] == ["t1", "t3"]
