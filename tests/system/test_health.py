"""Health checks of every kind in the real daemon, and what `nlb ctl health` tells of them."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from tests.daemon import Daemon, daemon
from tests.targets import Target, http
from tests.waiting import until

LISTENER = '[[listener]]\nname = "in"\nbind = "127.0.0.1:0"\ntarget_group = "web"\n'
FAST = 'interval = "200ms"\nfast_interval = "50ms"\n'


def config(targets: str, check: str) -> str:
    return (
        f'{LISTENER}[[target_group]]\nname = "web"\ntargets = {targets}\n[target_group.health_check]\n{FAST}{check}\n'
    )


def ping(sock: socket.socket) -> None:
    while sock.recv(100):
        sock.sendall(b"+PONG\r\n")


def test_a_program_decides_and_its_words_are_the_reason(tmp_path: Path) -> None:
    check = tmp_path / "check"
    check.write_text(f'#!/bin/sh\necho "$NLB_TARGET_NAME has $(cat {tmp_path}/$1)"\ntest -s {tmp_path}/$1\n')
    check.chmod(0o755)
    for name in ("web01", "web02"):
        (tmp_path / name).write_text("a leader")
    targets = '["web01=127.0.0.1:1", "web02=127.0.0.1:2"]'
    with daemon(tmp_path, config(targets, f'protocol = "exec"\ncommand = ["{check}", "{{name}}"]')) as nlb:
        nlb.has_health(web01="healthy", web02="healthy")
        assert nlb.targets()["web01"]["health"]["reason"] == "web01 has a leader"
        (tmp_path / "web01").write_text("")
        nlb.has_health(web01="unhealthy", web02="healthy")
        assert nlb.targets()["web01"]["health"]["reason"] == "exit 1: web01 has"


def test_words_are_exchanged(tmp_path: Path) -> None:
    with Target(ping) as good, Target(http(b"hello")) as other:
        targets = f'["good=127.0.0.1:{good.port}", "other=127.0.0.1:{other.port}"]'
        with daemon(tmp_path, config(targets, 'send = "PING\\r\\n"\nexpect = "+PONG"')) as nlb:
            nlb.has_health(good="healthy", other="unhealthy")
            assert nlb.targets()["other"]["health"]["reason"] == "answered 'HTTP/1.1 200 OK', wanted '+PONG'"


def flips(nlb: Daemon) -> list[bool]:
    """The results of web01 with which its health changed."""
    return [result["ok"] for result in nlb.ask("health", target="web01")["results"] if result["changed"]]


def test_ctl_health_shows_every_result_and_the_flips(tmp_path: Path) -> None:
    with Target(http(b"hello")) as web:
        targets = f'["web01=127.0.0.1:{web.port}"]'
        with daemon(tmp_path, config(targets, 'protocol = "http"')) as nlb:
            nlb.has_health(web01="healthy")
            web.stop()
            nlb.has_health(web01="unhealthy")
            assert flips(nlb) == [True, False]
            until(lambda: len(nlb.ask("health", target="web/web01")["results"]) > 6)
            shown = nlb.ctl("health", "web01")
            assert shown.returncode == 0, shown.stderr
            assert shown.stdout.startswith("web/web01 is unhealthy for ")
            assert "asked http / for 200-399; every 200ms, 200ms to answer" in shown.stdout
            assert "status 200" in shown.stdout
            assert "connection refused" in shown.stdout
            told = json.loads(nlb.ctl("health", "web01", "--json").stdout)
            assert {result["by"] for result in told["results"]} == {"probe"}
            assert nlb.ctl("health", "web02").returncode == 1


def test_results_survive_a_reload(tmp_path: Path) -> None:
    with Target(http(b"hello")) as web:
        targets = f'["web01=127.0.0.1:{web.port}"]'
        with daemon(tmp_path, config(targets, 'protocol = "http"')) as nlb:
            nlb.has_health(web01="healthy")
            first = nlb.ask("health", target="web01")["results"][0]
            nlb.write(config(targets, 'protocol = "http"\npath = "/up"'))
            nlb.ask("reload")
            answer = nlb.ask("health", target="web01")
            assert answer["results"][0] == first
            assert answer["check"]["question"] == "http /up for 200-399"
