"""A listener with a shield: who is reset at accept, which requests are refused, and what control hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nlb.control.shielding import shield_spec
from nlb.model.shield import Shield as Settings
from nlb.observe.counters import ACTIVE, MONITORED_WORD, SHIELD_WORD
from nlb.proxy import guard
from nlb.proxy.guard import REPORT_EVERY, Guard, accepted
from nlb.shield.cidr import Networks
from nlb.shield.connections import Connections
from nlb.shield.sources import source_of
from tests.fakes import END, End
from tests.unit.proxy.http_stage import HttpPlay, answer, chunk, chunked, get, ok, post, status
from tests.unit.proxy.stage import Play
from tests.unit.shield.shared import memory

Make = Callable[..., Any]

GOOD, BAD, V6 = ("192.0.2.7", 40000), ("203.0.113.66", 40000), ("2001:db8::1", 40000, 0, 0)


class Worker:
    """What a worker does with the shield of its one listener."""

    def __init__(self, play: Play, **keys: Any) -> None:
        self.play = play
        self.memory = memory(2)
        self.told: list[list[Any]] = []
        self.guard = Guard(self.memory, 2, 0, play.loop, self.told.extend, play)  # type: ignore[arg-type]
        self.change(**keys)

    def change(self, **keys: Any) -> None:
        settings = Settings.model_validate(keys)
        spec = shield_spec(settings, 0, isinstance(self.play, HttpPlay)) | {"deny": None, "allow": None}
        for number, key in enumerate(("deny", "allow"), 1):
            networks = getattr(settings, key)
            if networks:
                self.guard._lists[number] = Networks(networks)  # as `take_in` would
                spec[key] = number
        rows = [self.play.words, self.play.other_row.listener(0)]
        self.shield = self.guard.shield(0, "front", spec, rows, self.play.words)
        self.arm()

    def arm(self) -> None:
        self.play.listener.shield = self.shield if self.shield else None

    def block(self, *networks: str) -> None:
        self.guard.block([[network, None] for network in networks], False)
        self.arm()

    def hears(self) -> list[list[Any]]:
        self.play.loop.pass_time(REPORT_EVERY)
        return self.told

    @property
    def refused(self) -> dict[str, int]:
        return {word: self.play.words[place] for word, place in SHIELD_WORD.items() if self.play.words[place]}

    @property
    def monitored(self) -> dict[str, int]:
        return {word: self.play.words[place] for word, place in MONITORED_WORD.items() if self.play.words[place]}

    def elsewhere(self, address: str) -> Connections:
        """The other worker has a connection of this source."""
        others = Connections(self.memory, 2, 1)
        others.enter(0, source_of(address)[1])
        return others


@pytest.mark.parametrize(
    ("address", "source"),
    [
        (GOOD, (4, 0xC0000207)),
        (("::ffff:192.0.2.7", 1, 0, 0), (4, 0xC0000207)),
        (V6, (6, 0x20010DB8 << 96 | 1)),
        (("fe80::1%eth0", 1, 0, 2), (6, 0xFE80 << 112 | 1)),
        ("", (0, 0)),
    ],
    ids=str,
)
def test_who_connects_is_read_from_what_accept_says(address: Any, source: tuple[int, int]) -> None:
    assert accepted(address) == source


def test_a_listener_without_a_shield_asks_nobody(play: Make) -> None:
    web = play(End())
    worker = Worker(web)
    assert web.listener.shield is None
    worker.block("203.0.113.66")
    assert web.listener.shield is not None
    worker.guard.unblock(["203.0.113.66"])
    worker.arm()
    assert web.listener.shield is None


def test_who_is_denied_is_reset_before_there_is_a_session(play: Make) -> None:
    web = play(End(), End())
    worker = Worker(web, deny="203.0.113.0/24")
    assert (web.arrives(address=BAD).fate, web.arrives(address=GOOD).fate) == ("reset", "open")
    assert web.arrives(address="").fate == "open"
    assert len(web.sessions) == 2
    assert (web.outcomes, worker.refused) == ({"accept/denied": 1}, {"denied": 1})


def test_in_monitor_mode_it_is_counted_and_let_in(play: Make) -> None:
    web = play(End(), End())
    worker = Worker(web, allow="192.0.2.0/24", mode="monitor")
    assert web.arrives(address=BAD).fate == "open"
    assert (web.outcomes, worker.refused, worker.monitored) == ({}, {}, {"denied": 1})
    worker.block("203.0.113.66/32")
    worker.change(mode="monitor")
    assert web.arrives(address=BAD).fate == "reset", "a block is somebody's wish"
    assert worker.refused == {"blocked": 1}


def test_connections_of_a_source_are_counted_until_they_end(play: Make) -> None:
    web = play(*[End() for _ in range(4)])
    worker = Worker(web, max_connections_per_source=2)
    first, _, third = (web.arrives(address=BAD) for _ in range(3))
    assert (first.fate, third.fate) == ("open", "reset")
    assert web.arrives(address=GOOD).fate == "open"
    first.reset()
    web.loop.settle()
    assert web.arrives(address=BAD).fate == "open"
    assert web.arrives(address=BAD).fate == "reset"
    assert worker.refused == {"source_limit": 2}


def test_those_in_another_worker_count_too(play: Make) -> None:
    web = play(End())
    Worker(web, max_connections_per_source=2).elsewhere(BAD[0])
    assert [web.arrives(address=BAD).fate for _ in range(2)] == ["open", "reset"]


def test_a_limit_that_is_gone_forgets_nobody_twice(play: Make) -> None:
    web = play(End(), End(), End())
    worker = Worker(web, max_connections_per_source=1)
    client = web.arrives(address=BAD)
    worker.change()
    assert web.listener.shield is None
    client.reset()
    web.loop.settle()
    worker.change(max_connections_per_source=1)
    assert [web.arrives(address=BAD).fate for _ in range(2)] == ["open", "reset"]


def test_a_session_over_another_limit_is_not_counted_for_its_source(play: Make) -> None:
    web = play(End(), End(), limit=1)
    Worker(web, max_connections_per_source=1)
    client = web.arrives(address=GOOD)
    assert web.arrives(address=BAD).fate == "reset"
    client.reset()
    web.loop.settle()
    assert web.arrives(address=BAD).fate == "open"
    assert web.outcomes["accept/limit"] == 1


def test_the_shields_limit_is_that_of_all_workers(play: Make) -> None:
    web = play(End(), elsewhere=1)
    worker = Worker(web, max_connections=2)
    assert [web.arrives().fate for _ in range(2)] == ["open", "reset"]
    assert (web.outcomes, worker.refused, web.words[ACTIVE]) == ({"accept/limit": 1}, {"limit": 1}, 1)


def test_new_connections_of_a_source_have_a_rate(play: Make) -> None:
    web = play(*[End() for _ in range(6)])
    worker = Worker(web, connection_rate_per_source="1/s burst 2")
    assert [web.arrives(address=V6).fate for _ in range(3)] == ["open", "open", "reset"]
    assert web.arrives(address=("2001:db8::ffff", 1, 0, 0)).fate == "reset", "a /64 is one source"
    assert web.arrives(address=GOOD).fate == "open"
    web.loop.pass_time(1.0)
    assert [web.arrives(address=V6).fate for _ in range(2)] == ["open", "reset"]
    assert worker.refused == {"rate": 3}


def test_behind_a_proxy_the_client_is_judged_after_the_header(play: Make) -> None:
    web = play(End())
    worker = Worker(web, deny="203.0.113.0/24", max_connections_per_source=1)
    session = object()
    assert web.listener.judge_client(session, BAD) == "denied"
    assert web.listener.judge_client(session, GOOD) == ""
    assert web.listener.judge_client(object(), GOOD) == "source_limit"
    worker.change()
    assert web.listener.judge_client(object(), BAD) == ""


# --- requests


def test_a_refused_request_is_answered_and_the_next_one_served(http: Make) -> None:
    web = http(target := End())
    worker = Worker(web, http={"methods": ["GET"], "deny_path": ["/.git/*"]})
    client = web.arrives(End(get("/", method="PUT")))
    heard = client.heard()
    assert status(heard) == 405
    assert b"\r\nAllow: GET\r\n" in heard
    assert b"Connection: close" not in heard
    web.says(client, get("/a/../.git/x"))
    assert status(client.heard()) == 403
    web.says(client, get("/../x"))
    assert status(client.heard()) == 400
    web.says(client, get("/fine"))
    assert target.heard() == get("/fine")
    web.says(target, ok())
    web.says(client, END)
    assert web.exchanges == {"request/method": 1, "request/denied_path": 1, "request/bad_path": 1, "data/done": 1}
    assert worker.refused == {"method": 1, "denied_path": 1, "bad_path": 1}


def test_the_body_of_a_refused_request_is_nobodys(http: Make) -> None:
    web = http()
    Worker(web, http={"methods": ["GET"]})
    client = web.arrives(End(post(b"body")))
    heard = client.heard()
    assert status(heard) == 405
    assert b"Connection: close" in heard
    web.says(client, END)


def test_who_asks_too_often_hears_when_to_come_again(http: Make) -> None:
    web = http(target := End(), later := End())
    Worker(web, request_rate=[{"path": "/login", "rate": "1/m burst 1"}])
    client = web.arrives(End(get("/login")))
    web.says(target, ok())
    client.heard()
    web.says(client, get("/login"))
    heard = client.heard()
    assert status(heard) == 429
    assert b"\r\nRetry-After: 60\r\n" in heard
    web.loop.pass_time(60.0)
    web.says(client, get("/login"))
    web.says(later, ok())
    assert status(client.heard()) == 200
    web.says(client, END)


# --- offences

BLOCK = {"after": 2, "of": ["severe", "path", "rate", "bad_head", "timeout"], "within": 60, "for": 600}
SEVERE = get("/", "Content-Length: +1")


def test_control_hears_of_who_offends_too_often(http: Make) -> None:
    web = http()
    worker = Worker(web, block=BLOCK, http={"deny_path": ["/.git/*"]})
    for what in (SEVERE, get("/.git/x"), get("/.git/x")):
        client = web.arrives(End(what), address=BAD)
        web.says(client, END)
    assert worker.hears() == [["203.0.113.66/32", "front", "path", 600.0, False]]


def test_one_thing_is_one_offence_whatever_it_is_called(http: Make) -> None:
    web = http()
    worker = Worker(web, block=BLOCK)
    web.says(web.arrives(End(SEVERE), address=BAD), END)
    assert worker.hears() == []


@pytest.mark.parametrize("monitors", [False, True])
def test_in_monitor_mode_control_hears_of_it_as_that(http: Make, monitors: bool) -> None:
    web = http()
    worker = Worker(web, block=BLOCK, mode="monitor" if monitors else "enforce")
    for _ in range(2):
        web.says(web.arrives(End(SEVERE), address=BAD), END)
    ((*_, monitored),) = worker.hears()
    assert monitored is monitors


OFFENCE = {"after": 1, "of": ["bad_head"], "within": "1m", "for": "10m"}
LAST = b"0\r\n\r\n"
WITH_LENGTH, IN_CHUNKS = post(b"x" * 11), chunked(b"x" * 6) + chunk(b"x" * 5) + LAST


@pytest.mark.parametrize("asked", [WITH_LENGTH, IN_CHUNKS], ids=["length", "chunks"])
@pytest.mark.parametrize("mode", ["enforce", "monitor"])
def test_a_body_that_is_too_long_is_counted_by_the_shield(http: Make, mode: str, asked: bytes) -> None:
    monitors = mode == "monitor"
    web = http(target := End(), max_body=None if monitors else 10)  # as control says
    worker = Worker(web, http={"max_body": 10}, mode=mode, block=OFFENCE)
    client = web.arrives(End(asked), GOOD)
    if monitors:
        web.says(target, ok())
    assert status(client.heard()) == (200 if monitors else 413)
    assert (worker.refused, worker.monitored) == (({}, {"max_body": 1}) if monitors else ({"max_body": 1}, {}))
    assert worker.hears() == [["192.0.2.7/32", "front", "bad_head", 600.0, monitors]]


@pytest.mark.parametrize("asked", [post(b"x" * 10), chunked(b"x" * 5) + chunk(b"x" * 5) + LAST, get()])
def test_a_body_that_is_just_not_too_long(http: Make, asked: bytes) -> None:
    web = http(target := End())
    worker = Worker(web, http={"max_body": 10}, mode="monitor", block=OFFENCE)
    client = web.arrives(End(asked), GOOD)
    web.says(target, ok())
    assert status(client.heard()) == 200
    assert (worker.monitored, worker.hears()) == ({}, [])


def test_a_body_in_chunks_is_counted_once_and_also_when_it_does_not_end(http: Make) -> None:
    web = http(End())
    worker = Worker(web, http={"max_body": 10}, mode="monitor")
    client = web.arrives(End(chunked(b"x" * 20)), GOOD)
    web.says(client, chunk(b"x" * 20))
    assert worker.monitored == {}  # nobody knows its length yet
    web.resets(client)
    assert worker.monitored == {"max_body": 1}


def test_the_listeners_own_bound_is_no_matter_of_the_shield(http: Make) -> None:
    web = http(End(), max_body=10)
    worker = Worker(web, http={"max_body": 100})
    assert status(web.arrives(End(WITH_LENGTH), GOOD).heard()) == 413
    assert status(web.arrives(End(IN_CHUNKS), GOOD).heard()) == 413
    assert (worker.refused, worker.monitored) == ({}, {})


def test_a_trusted_proxy_is_not_to_blame_and_its_client_is(http: Make) -> None:
    web = http(trusted_proxies=["203.0.113.66"])
    worker = Worker(web, block=BLOCK, http={"deny_path": ["/.git/*"]})
    for _ in range(3):
        web.says(web.arrives(End(SEVERE), address=BAD), END)
        web.says(web.arrives(End(get("/.git/x", "X-Forwarded-For: 198.51.100.7")), address=BAD), END)
    ((network, *_),) = worker.hears()
    assert network == "198.51.100.7/32"


def test_a_head_that_is_late_is_an_offence(http: Make) -> None:
    web = http()
    worker = Worker(web, block=BLOCK)
    for _ in range(2):
        client = web.arrives(End(b"GET / HT"), address=BAD)
        web.sweep(12.0)
        web.says(client, END)
    ((_, _, offence, *_),) = worker.told
    assert offence == "timeout"


def test_who_was_blocked_meanwhile_is_refused_for_the_last_time(http: Make) -> None:
    web = http()
    worker = Worker(web, http={"deny_path": ["/.git/*"]})
    client = web.arrives(End(get("/.git/x")), address=BAD)
    client.heard()
    worker.block("203.0.113.66")
    web.says(client, get("/.git/x"))
    assert b"Connection: close" in client.heard()
    web.says(client, END)


def test_what_control_hears_is_bounded(http: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_MOST", 3)
    web = http()
    worker = Worker(web, block=BLOCK | {"after": 1})
    for number in range(5):
        web.says(web.arrives(End(SEVERE), address=(f"203.0.113.{number}", 1)), END)
    assert len(worker.hears()) == 3


def test_a_tunnel_is_counted_for_its_source_until_it_ends(http: Make) -> None:
    web = http(target := End(), End())
    Worker(web, max_connections_per_source=1)
    client = web.arrives(End(get("/chat", "Connection: Upgrade", "Upgrade: websocket")), address=BAD)
    web.says(target, answer("101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"))
    assert web.arrives(address=BAD).fate == "reset"
    web.says(client, END)
    web.says(target, END)
    last = web.arrives(End(END), address=BAD)
    assert last.fate == "closed"
