"""The shield in the running product: who is reset at accept, which requests are answered by it, who is blocked."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.request import urlopen

import pytest

from tests.daemon import PATIENCE, Daemon, daemon
from tests.sites import edge, group
from tests.waiting import until
from tests.webclients import Answer, Client, everything
from tests.webtargets import WebTarget

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
KEPT = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GOOD, BAD, OTHER = "127.0.0.1", "127.0.0.66", "127.0.0.77"


class Site:
    """An nlb with one web server behind it. `shield` are lines of [shield], `own` of the listener's."""

    def __init__(
        self, folder: Path, stack: ExitStack, shield: str, own: str = "", workers: int = 1, **options: Any
    ) -> None:
        self._stack = stack
        self.web = stack.enter_context(WebTarget("t1"))
        self.nlb: Daemon = stack.enter_context(daemon(folder, self.config(shield, own), workers, **options))
        self.port = self.nlb.port

    def config(self, shield: str, own: str = "") -> str:
        return f"[shield]\n{shield}\n" + edge(more=own) + group([self.web])

    def connect(self, source: str) -> socket.socket:
        sock = self._stack.enter_context(socket.socket())
        sock.settimeout(PATIENCE)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", self.port))
        return sock

    def is_let_in(self, source: str) -> bool:
        """Is a request of this source answered?"""
        try:
            return b" 200 " in everything(self.port, GET, source)
        except ConnectionError:  # reset while it connected
            return False

    def holds(self, source: str) -> socket.socket | None:
        """A connection that is kept open, if it is let in."""
        try:
            sock = self.connect(source)
            sock.sendall(KEPT)
            return sock if sock.recv(65536) else None
        except ConnectionError:
            return None

    def ask(self, target: str = "/", source: str = GOOD, **options: Any) -> Answer:
        with Client(self.port, source) as client:
            return client.ask(target, **options)

    @property
    def row(self) -> dict[str, Any]:
        return self.nlb.listener("edge")  # type: ignore[no-any-return]


Make = Callable[..., Site]


@pytest.fixture
def site(tmp_path: Path, stack: ExitStack) -> Make:
    return partial(Site, tmp_path, stack)


# --- networks


DENIED: list[tuple[str, str, list[str]]] = [
    (f'deny = ["{BAD}"]', "", [GOOD, OTHER]),
    ('allow = ["127.0.0.64/28"]', "", [BAD, OTHER]),
    (f'allow = ["127.0.0.64/28"]\ndeny = "{BAD}"', "", [OTHER]),
    (f'deny = ["{BAD}"]', f'shield.deny = ["{OTHER}"]', [GOOD, BAD]),
    (f'deny = ["{BAD}"]', "shield.deny = []", [GOOD, BAD, OTHER]),
    (f'deny = ["{BAD}"]\nmode = "monitor"', "", [GOOD, BAD, OTHER]),
]


def test_who_is_denied(site: Make) -> None:
    """From one reload to the next."""
    web = site(*DENIED[0][:2])
    refused = monitored = 0
    for shield, own, let_in in DENIED:
        web.nlb.write(web.config(shield, own))
        web.nlb.ask("reload")
        assert [source for source in (GOOD, BAD, OTHER) if web.is_let_in(source)] == let_in, (shield, own)
        refused += 3 - len(let_in)
        monitored += "monitor" in shield
        assert web.row["outcomes"].get("accept/denied", 0) == refused
        assert web.row["refused"].get("denied", 0) == refused
        assert web.row["monitored"].get("denied", 0) == monitored


def test_a_file_of_networks_is_watched_and_a_bad_one_changes_nothing(site: Make, tmp_path: Path) -> None:
    deny = tmp_path / "deny.txt"
    deny.write_text(f"{BAD} # a scanner\n")
    web = site(f'deny = {{ file = "{deny}" }}', workers=2)
    assert not web.is_let_in(BAD)
    deny.write_text("nonsense\n")
    until(lambda: "line 1: 'nonsense' is not a network" in web.nlb.output(), PATIENCE)
    assert not web.is_let_in(BAD)
    renamed = tmp_path / "new"
    renamed.write_text(f"{OTHER}\n")
    renamed.rename(deny)
    until(lambda: web.is_let_in(BAD), PATIENCE)
    assert not web.is_let_in(OTHER)
    web.nlb.ask("reload")
    assert web.is_let_in(BAD)


def test_a_reload_changes_the_shield_and_touches_no_connection(site: Make) -> None:
    web = site("max_connections_per_source = 1", workers=2)
    kept = web.holds(BAD)
    assert kept is not None
    web.nlb.write(web.config(f'deny = "{BAD}"'))
    steps = web.nlb.ask("reload")["steps"]
    assert f"shield.deny none -> {BAD}/32" in steps
    assert not web.is_let_in(BAD)
    kept.sendall(GET)
    assert b" 200 " in kept.recv(65536)


# --- limits


def test_connections_of_a_source_are_counted_over_workers_and_forgotten_with_a_dead_one(site: Make) -> None:
    web = site("max_connections_per_source = 4", workers=2)
    held = [web.holds(BAD) for _ in range(6)]
    kept = [sock for sock in held if sock]
    assert len(kept) == 4
    assert web.row["refused"] == {"source_limit": 2}
    assert web.is_let_in(GOOD)
    kept.pop().close()
    until(lambda: web.holds(BAD) is not None, PATIENCE)
    assert web.holds(BAD) is None
    for worker in web.nlb.workers():
        os.kill(worker["pid"], signal.SIGKILL)
        until(lambda: all(each["state"] == "running" for each in web.nlb.workers()), PATIENCE)
    until(lambda: web.holds(BAD) is not None, PATIENCE)


def test_connections_of_a_listener(site: Make) -> None:
    web = site("max_connections = 2")
    assert [web.holds(GOOD) is not None for _ in range(3)] == [True, True, False]
    assert web.row["refused"] == {"limit": 1}
    assert web.row["max_connections"] == 2


def test_a_rate_is_that_of_all_workers_together(site: Make) -> None:
    """After the burst there is a token every so often, whichever worker is asked; how many is a matter of time alone,
    and that is bounded from both sides."""
    rate, burst = 50, 10
    web = site(f'connection_rate_per_source = "{rate}/s burst {burst}"', workers=2)
    began, let_in = monotonic(), 0
    until(lambda: web.row["sessions"] == 0, PATIENCE)
    while monotonic() - began < 2.0:
        let_in += web.is_let_in(BAD)
    seconds = monotonic() - began
    assert let_in <= 1.1 * (rate * seconds + burst) + 1
    refused = web.row["refused"]["rate"]
    assert web.row["outcomes"]["accept/rate"] == refused
    assert web.is_let_in(OTHER)


# --- requests

HTTP = """
request_rate = [{ path = "/login", rate = "1/h burst 2" }, { path = "/later", rate = "1/h", status = 503 }]
[shield.http]
methods = ["GET", "POST"]
deny_path = ["*/.git/*"]
max_body = 10
"""


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("/", {}, 200, "data/done"),
    ("/", {"method": "PUT"}, 405, "request/method"),
    ("/x/.git/config", {}, 403, "request/denied_path"),
    ("/x/%2egit/config", {}, 403, "request/denied_path"),
    ("/a/%2e%2e/%2e%2e/b", {}, 400, "request/bad_path"),
    ("/", {"method": "POST", "body": b"0123456789"}, 200, "data/done"),
    ("/", {"method": "POST", "body": b"01234567890"}, 413, "request/too_large"),
]


def test_requests_that_are_refused(site: Make) -> None:
    web = site(HTTP)
    outcomes: Counter[str] = Counter()
    for target, options, status, outcome in REFUSED:
        answer = web.ask(target, **options)
        assert answer.status == status, target
        if status == 405:
            assert answer.get("Allow") == "GET, POST"
        outcomes[outcome] += 1
        until(lambda: web.row["exchanges"] == outcomes, PATIENCE)


def test_a_rate_of_requests_is_said_with_when_to_come_again(site: Make) -> None:
    web = site(HTTP, workers=2)
    answers = [web.ask("/login") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert 3500 <= int(answers[-1].get("Retry-After")) <= 3600
    assert [web.ask("/later").status for _ in range(2)] == [200, 503]
    assert web.ask("/login", source=OTHER).status == 200
    assert web.row["refused"] == {"request_rate": 2}


def test_behind_a_trusted_proxy_it_is_the_client_who_is_limited(site: Make) -> None:
    web = site(HTTP, f'trusted_proxies = "{GOOD}"')

    def status(client: str) -> int:
        return web.ask("/login", headers=[("X-Forwarded-For", client)]).status

    assert [status("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert status("192.0.2.2") == 200


def test_in_monitor_mode_requests_pass_and_are_counted(site: Make) -> None:
    web = site('mode = "monitor"' + HTTP)
    assert [web.ask("/login").status for _ in range(3)] == [200] * 3
    assert web.ask("/.git/x").status == 200
    assert web.ask("/", method="POST", body=b"01234567890").status == 200
    assert web.row["monitored"] == {"request_rate": 1, "denied_path": 1, "max_body": 1}
    assert web.row["refused"] == {}


# --- blocks


def test_an_operator_blocks_and_it_survives_a_restart(site: Make, tmp_path: Path, stack: ExitStack) -> None:
    web = site("", web=True)
    assert web.is_let_in(BAD)
    done = web.nlb.ctl("block", BAD, "--for", "1h", "--reason", "scans")
    assert done.returncode == 0, done.stderr
    until(lambda: not web.is_let_in(BAD), PATIENCE)
    assert web.is_let_in(GOOD)
    assert 'nlb_blocks{by="operator"} 1.0' in urlopen(f"{web.nlb.web}metrics").read().decode()
    web.nlb.stop()
    again = stack.enter_context(daemon(tmp_path, web.config("")))
    web.nlb, web.port = again, again.port
    assert not web.is_let_in(BAD)
    assert "scans" in again.ctl("blocked").stdout
    assert again.ctl("unblock", BAD).returncode == 0
    until(lambda: web.is_let_in(BAD), PATIENCE)


def test_who_is_blocked_while_connected_is_cut_off(site: Make) -> None:
    web = site("", workers=2)
    held = [web.holds(BAD) for _ in range(4)]
    mine = web.holds(GOOD)
    kept = web.nlb.ctl("block", BAD, "--keep")
    assert kept.stdout == f"{BAD} is blocked until nlb ctl unblock; what it has open stays\n"
    until(lambda: not web.is_let_in(BAD), PATIENCE)
    for sock in [*held, mine]:
        sock.sendall(KEPT)
        assert b" 200 " in sock.recv(65536)
    assert web.nlb.ctl("block", BAD).returncode == 0
    for sock in held:
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    mine.sendall(KEPT)
    assert b" 200 " in mine.recv(65536)
    assert web.row["outcomes"]["request/blocked"] == 4
    assert "request/blocked" in web.nlb.ctl("errors").stdout


def test_behind_the_proxy_protocol_it_is_the_client_who_is_cut_off(site: Make) -> None:
    web = site("", f'proxy_protocol = "accept"\ntrusted_proxies = "{GOOD}"')
    clients = ("203.0.113.7", "198.51.100.7")
    bad, good = (web.connect(GOOD) for _ in clients)
    for sock, client in zip((bad, good), clients, strict=True):
        sock.sendall(f"PROXY TCP4 {client} 192.0.2.1 40000 80\r\n".encode() + KEPT)
        assert b" 200 " in sock.recv(65536)
    web.nlb.ask("block", network="203.0.113.0/24")
    with pytest.raises(ConnectionResetError):
        bad.recv(1)
    good.sendall(KEPT)
    assert b" 200 " in good.recv(65536)


def test_a_worker_that_is_replaced_knows_of_blocks(site: Make) -> None:
    web = site("")
    web.nlb.ask("block", network=BAD, reason="")
    until(lambda: not web.is_let_in(BAD), PATIENCE)
    (worker,) = web.nlb.workers()
    os.kill(worker["pid"], signal.SIGKILL)
    until(lambda: web.nlb.workers()[0]["restarts"] == 1 and web.is_let_in(GOOD), PATIENCE)
    assert not web.is_let_in(BAD)


OFFENCES = 'block = { after = 3, of = ["severe", "path"], within = "1h", for = "1h" }'


def test_who_offends_is_blocked_whichever_worker_saw_it(site: Make) -> None:
    web = site(f'{OFFENCES}\nhttp.deny_path = ["*/.git/*"]', workers=2)
    held = web.holds(BAD)
    assert web.ask("/.git/x", BAD).status == 403
    for _ in range(2):
        assert b" 400 " in everything(web.port, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", BAD)
    until(lambda: not web.is_let_in(BAD), PATIENCE)
    assert web.is_let_in(GOOD)
    (block,) = web.nlb.ask("blocked", limit=10)["blocks"]
    assert (block["network"], block["by"]) == (BAD, "offences")
    assert held is not None
    with pytest.raises(ConnectionResetError):
        held.recv(1)
    until(lambda: f"{BAD} blocked for 1h: offences at listener edge" in web.nlb.output(), PATIENCE)


def test_in_monitor_mode_nobody_is_blocked_for_offences(site: Make) -> None:
    web = site(f'{OFFENCES}\nmode = "monitor"\nhttp.deny_path = ["*/.git/*"]')
    assert [web.ask("/.git/x", BAD).status for _ in range(3)] == [200] * 3
    until(lambda: f"{BAD} not blocked, because mode is monitor" in web.nlb.output(), PATIENCE)
    assert web.nlb.ask("blocked", limit=10)["blocks"] == []


def test_a_trusted_proxy_is_not_blocked_for_its_clients(site: Make) -> None:
    web = site(OFFENCES.replace("3", "1", 1), f'trusted_proxies = "{BAD}"')
    assert b" 400 " in everything(web.port, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", BAD)
    assert web.is_let_in(BAD)
    assert web.nlb.ask("blocked", limit=10)["blocks"] == []


# --- behind a proxy, and what is said


def test_behind_the_proxy_protocol_it_is_the_client_who_is_judged(site: Make) -> None:
    own = f'proxy_protocol = "accept"\ntrusted_proxies = "{GOOD}"'
    web = site('deny = "203.0.113.0/24"\nmax_connections_per_source = 1', own)

    def comes(client: str) -> socket.socket | None:
        sock = web.connect(GOOD)
        sock.sendall(f"PROXY TCP4 {client} 192.0.2.1 40000 80\r\n".encode() + KEPT)
        try:
            return sock if sock.recv(65536) else None
        except ConnectionError:
            return None

    assert comes("203.0.113.7") is None
    first = comes("198.51.100.7")
    assert first is not None
    assert comes("198.51.100.7") is None
    assert comes("198.51.100.8") is not None
    assert web.row["refused"] == {"denied": 1, "source_limit": 1}
    until(lambda: web.row["outcomes"].get("preface/denied") == 1, PATIENCE)
    assert web.row["outcomes"]["preface/source_limit"] == 1
    first.close()
    until(lambda: comes("198.51.100.7") is not None, PATIENCE)


def test_it_is_told_by_errors_metrics_and_explain(site: Make) -> None:
    web = site(f'deny = "{BAD}"', web=True)
    assert not web.is_let_in(BAD)
    assert "denied" in web.nlb.ctl("errors").stdout
    pages = [urlopen(web.nlb.web + page).read().decode() for page in ("metrics", "")]
    assert 'nlb_shield_refused_total{listener="edge",reason="denied"} 1.0' in pages[0]
    assert "0 blocked" in pages[1]
    web.nlb.ask("block", network=OTHER, reason="")
    for source, why in ((BAD, "is denied, by 127.0.0.66/32 of deny"), (OTHER, "is blocked, by 127.0.0.77/32")):
        action = web.nlb.ask("explain", url=f"http://a:{web.port}/", source=source)["action"]
        assert f"reset at accept, {source} {why}" in action["text"]
