"""Who is blocked while connected: its sessions end in every phase with phase/blocked, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nlb.errors import OUTCOMES
from nlb.proxy.cutting import Cutting
from nlb.shield.cidr import Networks
from tests.fakes import Dialled, End
from tests.unit.proxy.http_stage import answer, get, ok, post
from tests.unit.proxy.stage import Play

Make = Callable[..., Any]

GOOD, BAD = ("192.0.2.7", 40000), ("203.0.113.66", 40000)
BLOCKED = "203.0.113.0/24"


def block(web: Play, network: str = BLOCKED, until: float | None = None) -> Cutting:
    """As a worker does: told of a block, it makes its round."""
    cutting = Cutting()
    cutting.add([(network, until)])
    cutting.cut(web.sessions, web.loop.now)
    web.loop.settle()
    return cutting


def test_every_phase_has_the_outcome() -> None:
    assert {outcome for outcome in OUTCOMES if outcome.endswith("/blocked")} == {
        f"{phase}/blocked" for phase in ("accept", "preface", "request", "pick", "connect", "response", "data")
    }


@pytest.mark.parametrize(
    ("outcome", "options", "dials"),
    [
        ("pick/blocked", {"health": "initial"}, []),
        ("connect/blocked", {}, [Dialled()]),
        ("data/blocked", {}, [End()]),
    ],
)
def test_a_tcp_session_is_reset_on_both_sides(play: Make, outcome: str, options: Any, dials: list[End]) -> None:
    web = play(*dials, **options)
    client = web.arrives(address=BAD)
    block(web)
    assert (client.fate, web.outcomes, web.active) == ("reset", {outcome: 1}, {})
    assert [end.fate for end in dials] == ["reset"] * len(dials)


def test_others_stay(play: Make) -> None:
    web = play(*[End() for _ in range(4)])
    clients = {who: web.arrives(address=who) for who in (GOOD, BAD, ("::ffff:203.0.113.9", 1, 0, 0), "")}
    block(web)
    assert [client.fate for client in clients.values()] == ["open", "reset", "reset", "open"]


@pytest.mark.parametrize(
    ("session", "exchange", "client_says", "target_says"),
    [
        ("request/blocked", None, b"", b""),
        ("request/blocked", None, b"GET / HT", b""),
        ("request/blocked", "data/done", get(), ok(b"all")),
        ("request/blocked", "request/blocked", post(b"half", length=9), b""),
        ("response/blocked", "response/blocked", get(), b""),
        ("data/blocked", "data/blocked", get(), ok(b"half", length=9)),
        ("data/blocked", "data/blocked", get("/", "Connection: upgrade", "Upgrade: chat"), b"upgrade"),
    ],
)
def test_an_http_session_is_reset_between_requests_and_in_one(
    http: Make, session: str, exchange: str | None, client_says: bytes, target_says: bytes
) -> None:
    web = http(target := End())
    client = web.arrives(address=BAD)
    if client_says:
        web.says(client, client_says)
    if target_says == b"upgrade":
        target_says = answer("101 Switching Protocols", "Connection: upgrade", "Upgrade: chat")
    if target_says:
        web.says(target, target_says)
    block(web)
    assert client.fate == "reset"
    assert web.outcomes == {session: 1}
    assert web.exchanges == ({exchange: 1} if exchange else {})


def test_a_connection_to_a_target_that_idles_is_not_the_clients(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get()), BAD)
    web.says(target, ok(b"all"))
    block(web)
    assert (client.fate, target.fate, web.pooled) == ("reset", "open", 1)


def test_who_has_the_last_answer_and_has_not_left(http: Make) -> None:
    """It lingers: its requests all ended in order, and so they are told."""
    web = http(target := End())
    client = web.arrives(End(get("/", "Connection: close") + b"more"), BAD)
    web.says(target, ok(b"all"))
    assert client.fate == "ended"
    block(web)
    assert (client.fate, web.outcomes) == ("reset", {"data/done": 1})


def test_a_proxy_takes_its_clients_with_it(play: Make) -> None:
    """Where a PROXY header told of the client, both ends of that can be blocked."""
    web = play(*[End() for _ in range(3)])
    web.listener.proxies = Networks(["203.0.113.0/24"])
    for client in ("192.0.2.7", "192.0.2.8"):
        web.arrives(End(f"PROXY TCP4 {client} 192.0.2.1 40000 80\r\n".encode()), BAD)
    silent = web.arrives(address=BAD)
    block(web, "192.0.2.8")
    assert [session.client_name for session in web.sessions] == ["192.0.2.7:40000", "203.0.113.66:40000"]
    assert web.outcomes == {"data/blocked": 1}
    block(web)
    assert silent.fate == "reset"
    assert web.outcomes == {"data/blocked": 2, "preface/blocked": 1}


def test_it_is_done_once_and_not_at_all_for_who_is_blocked_no_more(play: Make) -> None:
    web = play(End(), End())
    cutting = block(web)
    client = web.arrives(address=BAD)
    cutting.cut(web.sessions, web.loop.now)
    assert client.fate == "open"
    cutting.add([(BLOCKED, None)])
    cutting.spare([BLOCKED])
    cutting.cut(web.sessions, web.loop.now)
    block(web, until=web.loop.now)
    assert client.fate == "open"


def test_an_error_in_one_session_spares_no_other(play: Make) -> None:
    web = play(End(), End())
    first, second = web.arrives(address=BAD), web.arrives(address=BAD)
    next(iter(web.sessions)).client_address = ("nowhere", 1)
    block(web)
    assert (first.fate, second.fate) == ("reset", "reset")
    assert web.outcomes == {"data/bug": 1, "data/blocked": 1}
    assert len(web.bugs) == 1
