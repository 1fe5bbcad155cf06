"""Upgrades: a request and its 101, and then bytes both ways, as on a tcp listener."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nlb.balance.target import DRAIN
from nlb.observe import counters
from tests.fakes import END, Dialled, End
from tests.unit.proxy.http_stage import answer, closing, get, ok, status

Make = Callable[..., Any]

ASKED = get("/chat", "Connection: Upgrade", "Upgrade: websocket")
PASSED_ON = get("/chat", "Connection: upgrade", "Upgrade: websocket")
YES = answer("101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket")


def tunnel(http: Make, **options: Any) -> tuple[Any, End, End]:
    web = http(target := End(), **options)
    client = web.arrives(End(ASKED))
    web.says(target, YES)
    assert (target.heard(), client.heard()) == (PASSED_ON, YES)
    return web, client, target


def test_bytes_flow_both_ways_until_both_have_ended(http: Make) -> None:
    web, client, target = tunnel(http)
    assert web.active == {"front": 1, "a": 1}
    web.says(client, b"ping")
    web.says(target, b"pong")
    assert (target.heard(), client.heard()) == (b"ping", b"pong")
    web.says(client, get("/no/request"))
    assert target.heard() == get("/no/request")
    web.says(client, END)
    assert (target.fate, client.fate) == ("ended", "open")
    web.says(target, b"bye", END)
    assert (client.heard(), client.fate, target.fate) == (b"bye", "closed", "closed")
    assert (web.exchanges, web.outcomes, web.active, web.pooled) == ({"data/done": 1}, {"data/done": 1}, {}, 0)


def test_what_is_counted_and_written_down(http: Make) -> None:
    web, client, target = tunnel(http)
    web.says(client, b"ping")
    web.sweep()
    web.says(target, b"pong!")
    assert web.log.lines == [], "it has not ended"
    web.says(client, END)
    web.says(target, END)
    (line,) = web.log.lines
    assert (line["status"], line["target_status"], line["target"]) == (101, 101, "a")
    assert (line["received"], line["sent"]) == (len(ASKED) + 4, len(YES) + 5)
    assert (web.words[counters.RECEIVED], web.words[counters.SENT]) == (len(ASKED) + 4, len(YES) + 5)
    assert web.target_words(counters.TARGET_SENT) == {"a": len(YES) + 5}
    assert web.statuses() == {"1xx": 1}


@pytest.mark.parametrize("at_most", [1, 1 << 30])
def test_bytes_that_came_along_are_owed_both_ways(http: Make, at_most: int) -> None:
    web = http(target := End(at_most=at_most))
    client = web.arrives(End(ASKED + b"pi", at_most=at_most))
    web.says(client, b"ng")
    assert target.heard() == PASSED_ON
    web.says(target, YES + b"po")
    web.says(target, b"ng")
    assert (client.heard(), target.heard()) == (YES + b"pong", b"ping")
    web.says(client, b"more")
    assert target.heard() == b"more"


def test_who_has_no_room_gets_it_later(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(ASKED + b"ping", room=10))
    target.room = 0
    web.says(target, YES + b"pong")
    web.takes(target)
    web.takes(client)
    assert (client.heard(), target.heard()) == (YES + b"pong", PASSED_ON + b"ping")


def test_a_target_that_agrees_before_it_took_the_whole_request(http: Make) -> None:
    web = http(target := End(room=10))
    client = web.arrives(End(ASKED + b"ping"))
    web.says(target, YES + b"pong")
    assert client.heard() == YES + b"pong"
    web.takes(target)
    assert target.heard() == PASSED_ON + b"ping"


def test_an_interim_response_comes_before(http: Make) -> None:
    hints = answer("103 Early Hints", "Link: </a.css>")
    web = http(target := End())
    client = web.arrives(End(ASKED, room=10))
    web.says(target, hints + YES + b"pong")
    web.takes(client)
    assert client.heard() == hints + YES + b"pong"


@pytest.mark.parametrize(
    "said",
    [
        answer("101 Switching Protocols"),
        answer("101 Switching Protocols", "Connection: upgrade", "Upgrade: h2c"),
        answer("101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket, other"),
    ],
)
def test_only_what_was_asked_for_can_be_agreed_to(http: Make, said: bytes) -> None:
    web = http(target := End())
    client = web.arrives(End(ASKED))
    web.says(target, said)
    assert (status(client.heard()), target.closed, web.exchanges) == (502, True, {"response/bad_head": 1})


@pytest.mark.parametrize("said", [ok(b"no"), ok(b"no", status="426 Upgrade Required")])
def test_a_target_that_does_not_agree_answers_as_ever(http: Make, said: bytes) -> None:
    web = http(target := End(), targets="a")
    client = web.arrives(End(ASKED + get("/next")))
    web.says(target, said)
    assert (client.heard(), target.heard()) == (said, PASSED_ON + get("/next"))


@pytest.mark.parametrize("who", ["client", "target"])
def test_a_reset_on_one_side_is_a_reset_on_the_other(http: Make, who: str) -> None:
    web, client, target = tunnel(http)
    web.resets(client if who == "client" else target)
    assert (client.fate, target.fate) == ("reset", "reset")
    assert (web.exchanges, web.outcomes) == ({f"data/{who}_reset": 1}, {f"data/{who}_reset": 1})


def test_a_target_that_agrees_and_leaves(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(ASKED))
    web.says(target, YES, END)
    assert (client.heard(), client.fate) == (YES, "ended")
    web.says(client, END)
    assert web.exchanges == {"data/done": 1}


@pytest.mark.parametrize(("listeners", "groups", "after"), [(100.0, None, 100), (100.0, 30.0, 30), (100.0, 200.0, 100)])
def test_an_idle_tunnel_is_cut(http: Make, listeners: float, groups: float | None, after: int) -> None:
    web = http(target := End(), tunnel_timeout=listeners)
    if groups is not None:
        web.group.tunnel_timeout = groups
    client = web.arrives(End(ASKED))
    web.says(target, YES)
    web.sweep(after - 2)
    web.says(client, b"ping")
    web.sweep(after - 2)
    assert client.fate == "open"
    web.sweep(4)
    assert (client.fate, target.fate, web.exchanges) == ("reset", "reset", {"data/idle": 1})


@pytest.mark.parametrize("cause", ["drain_timeout", "unhealthy", "removed"])
def test_a_target_that_is_to_be_left(http: Make, cause: str) -> None:
    web, client, target = tunnel(http)
    web.mark("a", admin=DRAIN)
    web.says(client, b"ping")
    assert target.heard() == b"ping", "a tunnel goes on while its target drains"
    web.expel("a", cause)
    assert (client.fate, target.fate, web.exchanges) == ("reset", "reset", {f"data/{cause}": 1})


def test_a_tunnel_goes_on_when_its_listener_leaves_or_is_told_anew(http: Make) -> None:
    web, client, target = tunnel(http)
    web.change(default={"label": "default", "number": 3, "forward": [[0, 1, 3]]})
    web.listener.close()
    web.loop.settle()
    web.sweep(3)
    web.says(client, b"ping")
    assert target.heard() == b"ping"
    web.session.close("shutdown")
    web.loop.settle()
    assert (client.fate, web.exchanges) == ("reset", {"data/shutdown": 1})


def test_a_bug_in_a_tunnel(http: Make) -> None:
    web, client, target = tunnel(http)
    web.is_buggy = True
    client.say(RuntimeError("a bug"))
    web.loop.settle()
    assert (client.fate, target.fate, web.exchanges, web.outcomes) == (
        "reset",
        "reset",
        {"data/bug": 1},
        {"data/bug": 1},
    )


def test_http_1_0_is_not_upgraded(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get("/", "Connection: Upgrade", "Upgrade: websocket", version="1.0")))
    assert target.heard() == get("/")
    web.says(target, ok())
    assert client.heard() == closing(ok())


def test_an_upgrade_waits_for_its_target_as_any_request(http: Make) -> None:
    web = http(target := Dialled())
    client = web.arrives(End(ASKED + b"ping"))
    target.answer()
    web.loop.settle()
    web.says(target, YES)
    assert (client.heard(), target.heard()) == (YES, PASSED_ON + b"ping")
