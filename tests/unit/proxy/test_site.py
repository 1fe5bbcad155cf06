"""What an http listener decides by itself: rules and what they answer, refusals, desync, stickiness, weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nlb.balance.target import DRAIN, READY
from nlb.observe.counters import DESYNC_WORD
from tests.fakes import END, End
from tests.unit.proxy.http_stage import HERE, REDIRECT, answer, closing, get, ok, post, status

Make = Callable[..., Any]

MOVED = b"The page has another address, which is in the Location header of this response.\n"
TO = REDIRECT | {"path": "/new/#{path}", "query": "#{query}"}
RULES: list[dict[str, Any]] = [
    {"label": "moved", "number": 1, "path": ["/old*"], "redirect": TO},
    {"label": "here", "number": 2, "path": ["/here"], "fixed_response": HERE},
    {"label": "nothing", "number": 3, "path": ["/nothing"], "fixed_response": HERE | {"status": 204, "body": ""}},
]


def moved(to: str) -> bytes:
    lines = ("Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(MOVED)}", f"Location: {to}")
    return answer("301 Moved Permanently", *lines) + MOVED


HERE_SAYS = answer("200 OK", "Content-Type: text/plain", "Content-Length: 4") + b"here"


# --- answers of rules


@pytest.mark.parametrize(
    ("asked", "told", "fate"),
    [
        (get("/here"), HERE_SAYS, "open"),
        (get("/here", method="HEAD"), HERE_SAYS.removesuffix(b"here"), "open"),
        (get("/here", "Connection: close"), closing(HERE_SAYS), "closed"),
        (get("/here", version="1.0"), closing(HERE_SAYS), "closed"),
        (get("/here", "Connection: keep-alive", version="1.0"), closing(HERE_SAYS), "closed"),
        (get("/nothing"), answer("204 No Content"), "open"),
        (get("/old/a?b=c"), moved("http://a:80/new/old/a?b=c"), "open"),
        (get("/old/a?b=c", method="HEAD"), moved("http://a:80/new/old/a?b=c").removesuffix(MOVED), "open"),
        (post(b"hello", path="/here"), closing(HERE_SAYS), "ended"),
    ],
)
def test_rules_may_answer_by_themselves(http: Make, asked: bytes, told: bytes, fate: str) -> None:
    web = http(rules=RULES)
    client = web.arrives(End(asked))
    assert (client.heard().replace(b":80/", b"/"), client.fate) == (told.replace(b":80/", b"/"), fate)
    outcome = "request/redirect" if told.startswith(b"HTTP/1.1 301") else "request/fixed_response"
    assert (web.exchanges, web.dialled) == ({outcome: 1}, [])
    (line,) = web.log.lines
    number = 1 if "redirect" in outcome else 3 if told.startswith(b"HTTP/1.1 204") else 2
    assert line["rule"] == RULES[number - 1]["label"]
    assert (line["group"], line["target"], line["target_status"]) == (None, None, None)
    assert web.statuses(number) == {f"{told[9:10].decode()}xx": 1}
    web.says(client, END)
    assert web.outcomes == {"data/done": 1}


def test_the_body_that_comes_with_a_request_we_answer_is_read_and_dropped(http: Make) -> None:
    web = http(rules=RULES)
    client = web.arrives(End(post(b"x" * 10, path="/here", length=1_000_000)))
    assert client.heard() == closing(HERE_SAYS)
    web.says(client, b"x" * 200_000)
    assert client.fate == "ended"
    web.says(client, END)
    assert (client.fate, web.exchanges) == ("closed", {"request/fixed_response": 1})


def test_an_answer_of_ours_may_have_to_wait_for_its_client(http: Make) -> None:
    web = http(rules=RULES)
    client = web.arrives(End(get("/here") + get("/old/a"), at_most=3, room=9))
    web.takes(client, 9)
    assert web.exchanges == {}
    web.takes(client)
    assert client.got.startswith(HERE_SAYS + b"HTTP/1.1 301 ")


def test_a_client_that_has_ended_still_gets_an_answer_of_ours(http: Make) -> None:
    web = http(rules=RULES)
    client = web.arrives(End(get("/here"), room=9))
    web.says(client, END)
    web.takes(client)
    assert (client.heard(), client.fate, web.exchanges) == (HERE_SAYS, "closed", {"request/fixed_response": 1})


# --- refusals


def test_error_pages(http: Make) -> None:
    web = http(targets="", error_pages={"503": "<p>Back at noon</p>"}, reason_header=True)
    client = web.arrives(End(get("/", "Accept: text/html") + get("/", method="HEAD")))
    lines = ("Content-Type: text/html; charset=utf-8", "Content-Length: 19", "X-Nlb-Reason: pick/no_target")
    head = answer("503 Service Unavailable", *lines)
    assert client.heard() == head + b"<p>Back at noon</p>" + head


def test_errors_are_html_for_who_wants_it_and_tell_nothing_of_what_is_behind(http: Make) -> None:
    web = http(targets="")
    client = web.arrives(End(get("/", "Accept: text/html,*/*")))
    heard = client.heard()
    assert b"Content-Type: text/html; charset=utf-8\r\n" in heard
    assert (b"<h1>503 Service Unavailable</h1>" in heard, b"X-Nlb-Reason" in heard) == (True, False)


def test_a_refusal_by_http_1_0_ends_the_connection(http: Make) -> None:
    web = http(targets="")
    client = web.arrives(End(get("/", "Connection: keep-alive", version="1.0")))
    assert (status(client.got), client.fate) == (503, "closed")
    assert b"\r\nConnection: close\r\n" in client.got


def test_what_is_not_logged(http: Make) -> None:
    web = http(rules=RULES, access_log_except=["/here"])
    web.arrives(End(get("/here") + get("/nothing")))
    assert [line["uri"] for line in web.log.lines] == ["/nothing"]
    web.log.lines.append({})  # the one that was not written


# --- desync

ACCEPTABLE = get("/", "Content-Length: 0")
AMBIGUOUS = get("/", "Content-Length: 5", "Content-Length: 5", method="POST") + b"hello"


@pytest.mark.parametrize(
    ("mode", "asked", "reason", "answered", "kept"),
    [
        ("monitor", ACCEPTABLE, "get_head_zero_content_length", 200, True),
        ("defensive", ACCEPTABLE, "get_head_zero_content_length", 200, True),
        ("strictest", ACCEPTABLE, "get_head_zero_content_length", 400, False),
        ("monitor", AMBIGUOUS, "duplicate_content_length", 200, True),
        ("defensive", AMBIGUOUS, "duplicate_content_length", 200, False),
        ("strictest", AMBIGUOUS, "duplicate_content_length", 400, False),
        ("strictest", get(), "", 200, True),
    ],
)
def test_what_could_be_read_in_two_ways(
    http: Make, mode: str, asked: bytes, reason: str, answered: int, kept: bool
) -> None:
    web = http(target := End(), desync=mode)
    client = web.arrives(End(asked))
    if answered == 200:
        web.says(target, ok())
        assert web.pooled == kept
    assert (status(client.heard()), client.fate == "open") == (answered, kept)
    assert web.exchanges == {"data/done" if answered == 200 else "request/desync": 1}
    assert (target.closed, web.dialled) == (answered == 200 and not kept, ["a"] if answered == 200 else [])
    if reason:
        assert web.words[DESYNC_WORD[reason]] == 1
    assert web.log.lines[0]["desync_reason"] == (reason or None)


# --- weights


@pytest.mark.parametrize(("weights", "dialled"), [((1, 0), "aba"), ((0, 1), "dea"), ((0, 0), "aba")])
def test_requests_are_shared_among_groups_by_weight(http: Make, weights: tuple[int, int], dialled: str) -> None:
    forward = [[0, weights[0], 4], [1, weights[1], 5]]
    rule = {"label": "canary", "number": 4, "path": ["/api*"], "forward": forward}
    web = http(End(), End(), End(), targets="abc"[: 2 if dialled == "aba" else 3], api="de", rules=[rule])
    client = web.arrives()
    for _ in range(2):
        web.says(client, get("/api"))
        web.says(web.joined[-1], ok())
    web.says(client, get("/else"))
    if len(web.joined) == 3:
        web.says(web.joined[-1], ok())
    else:
        web.says(web.joined[0], ok())
    assert "".join(web.dialled) == dialled[: len(web.dialled)]
    assert (web.statuses(4), web.statuses(5)) == (({"2xx": 2}, {}) if dialled == "aba" else ({}, {"2xx": 2}))
    assert [line["group"] for line in web.log.lines] == ["web" if dialled == "aba" else "api"] * 2 + ["web"]


# --- stickiness


STICKY = {"type": "lb_cookie", "name": None, "cookie": None, "duration": 86400.0}


def cookie_of(heard: bytes) -> str:
    (line,) = [line for line in heard.split(b"\r\n") if line.startswith(b"Set-Cookie: ")]
    return line.removeprefix(b"Set-Cookie: ").partition(b";")[0].decode()


def test_a_client_comes_back_to_its_target(http: Make) -> None:
    web = http(first := End(), stickiness=STICKY)
    client = web.arrives(End(get("/1")))
    web.says(first, ok())
    cookie = cookie_of(client.heard())
    for _ in range(3):
        web.says(client, get("/2", f"Cookie: {cookie}"))
        web.says(first, ok())
        assert client.heard() == ok(), "it has its cookie already"
    assert web.dialled == ["a"]


@pytest.mark.parametrize("facts", [{"admin": DRAIN}, {"health": "unhealthy"}, {"weight": 0}])
def test_a_client_leaves_a_target_that_cannot_be_used_and_stays_at_the_next(http: Make, facts: dict[str, Any]) -> None:
    web = http(first := End(), second := End(), stickiness=STICKY)
    client = web.arrives(End(get("/1")))
    web.says(first, ok())
    cookie = cookie_of(client.heard())
    web.mark("a", **facts)
    web.says(client, get("/2", f"Cookie: {cookie}"))
    web.says(second, ok())
    another = cookie_of(client.heard())
    assert (web.dialled[0], another != cookie) == ("a", True)
    web.mark("a", admin=READY, health="healthy", weight=1)
    web.says(client, get("/3", f"Cookie: {another}"))
    web.says(second, ok())
    assert (client.heard(), len(web.dialled)) == (ok(), 2)


def test_a_client_whose_target_refuses_is_sent_to_another(http: Make) -> None:
    web = http(first := End(), 111, other := End(), stickiness=STICKY)
    client = web.arrives(End(get("/1")))
    web.says(first, ok())
    cookie = cookie_of(client.heard())
    web.says(first, END)
    web.says(client, get("/2", f"Cookie: {cookie}"))
    web.says(other, ok())
    assert web.dialled[:2] == ["a", "a"]
    assert cookie_of(client.heard()) != cookie


def test_a_forged_cookie_is_no_cookie(http: Make) -> None:
    web = http(first := End(), second := End(), stickiness=STICKY)
    client = web.arrives(End(get("/1")))
    web.says(first, ok())
    cookie = cookie_of(client.heard())
    web.says(client, get("/2", f"Cookie: {cookie[:-2]}xx"))
    web.says(second, ok())
    assert (web.dialled[1], cookie_of(client.heard()) != cookie) == ("b", True)


def test_a_client_waits_no_longer_for_its_target_than_for_any(http: Make) -> None:
    web = http(first := End(), second := End(), targets="ab", room=1, stickiness=STICKY)
    client, other = web.arrives(End(get("/1"))), web.arrives()
    web.says(first, ok())
    cookie = cookie_of(client.heard())
    web.says(client, get("/2", f"Cookie: {cookie}"))
    web.says(other, get("/3", f"Cookie: {cookie}"))
    web.says(second, ok())
    assert (status(other.heard()), web.dialled) == (200, ["a", "b"])
    web.says(first, ok())
