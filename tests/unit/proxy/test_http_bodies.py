"""Bodies on their way through a session: where they end, what becomes of their framing, how fast they must be, and
that nobody holds more than one read of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nlb.observe import counters
from nlb.observe.counters import DESYNC_WORD
from nlb.proxy.pipe import COPY
from tests.fakes import END, End
from tests.heads import BODIES
from tests.unit.proxy.http_stage import IDLE, LAST, answer, chunk, chunked, closing, get, ok, one_chunk, post, status

Make = Callable[..., Any]

CHUNKED = "Transfer-Encoding: chunked"
CLOSE, KEEP = "Connection: close", "Connection: keep-alive"

CHUNKS = answer("200 OK", CHUNKED)
HELLO = chunk(b"hello") + LAST
ODD = b'005;a="b;c"\r\nhello\r\n0;x\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n'
OLD = get("/", KEEP, version="1.0")
SUM = chunk(b"hello") + b"0\r\nX-Sum: 7\r\n\r\n"

# Reads and sends: as they come, byte by byte, or with every send cut short.
WAYS = {
    "at once": (1 << 30, 1 << 30),
    "read byte by byte": (1, 1 << 30),
    "sent byte by byte": (1 << 30, 1),
    "both": (3, 2),
}


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# --- responses


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("asked", "said", "told", "kept"),
    [
        # (request, response and perhaps the target's end, what the client is told, who is kept)
        (get(), [ok(b"hello")], ok(b"hello"), "both"),
        (get(), [ok()], ok(), "both"),
        (get(), [ok(b"hello", CLOSE)], ok(b"hello"), "client"),
        (get(), [ok(b"hello").replace(b"1.1", b"1.0")], ok(b"hello"), "client"),
        (get(), [ok(b"hello", KEEP).replace(b"1.1", b"1.0")], ok(b"hello"), "both"),
        (get(), [CHUNKS + HELLO], CHUNKS + HELLO, "both"),
        (get(), [CHUNKS + LAST], CHUNKS + LAST, "both"),
        (get(), [CHUNKS + ODD], CHUNKS + SUM, "both"),
        (get(), [answer("200 OK") + b"hello", END], CHUNKS + HELLO, "client"),
        (get(), [answer("200 OK"), END], CHUNKS + LAST, "client"),
        (get(), [answer("200 OK", version="1.0") + b"hello", END], CHUNKS + HELLO, "client"),
        (get(method="HEAD"), [ok(length=5)], ok(length=5), "both"),
        (get(method="HEAD"), [CHUNKS], answer("200 OK"), "both"),
        (get(method="HEAD"), [answer("200 OK")], answer("200 OK"), "both"),
        (get(), [answer("204 No Content")], answer("204 No Content"), "both"),
        (get(), [ok(length=5, status="304 Not Modified")], ok(length=5, status="304 Not Modified"), "both"),
        (get(), [answer("304 Not Modified")], answer("304 Not Modified"), "both"),
        (get(), [ok(status="999 Odd")], ok(status="999 Odd"), "both"),
        # HTTP/1.0 knows no chunks and, unless it asks, no second request.
        (get(version="1.0"), [ok(b"hello")], closing(ok(b"hello")), "target"),
        (OLD, [CHUNKS + HELLO], closing(answer("200 OK")) + b"hello", "target"),
        (OLD, [answer("200 OK") + b"hello", END], closing(answer("200 OK")) + b"hello", "none"),
    ],
)
def test_how_a_response_ends(http: Make, asked: bytes, said: list[bytes], told: bytes, kept: str, way: str) -> None:
    size, at_most = WAYS[way]
    web = http(target := End(at_most=at_most))
    client = web.arrives(End(asked, at_most=at_most))
    for piece in said:
        for part in pieces(piece, size) or [piece]:
            web.says(target, part)
    assert one_chunk(client.heard()) == told
    assert client.fate == ("open" if kept in ("both", "client") else "closed")
    assert target.fate == ("open" if kept in ("both", "target") else "closed")
    assert web.exchanges == {"data/done": 1}
    assert web.log.lines[0]["status"] == int(told[9:12])


def test_more_than_was_announced_is_not_passed_on_and_its_target_not_used_again(http: Make) -> None:
    for said in ([ok(b"hello") + b"more"], [ok(b"he", length=5), b"llomore"], [ok(length=0) + b"more"]):
        web = http(target := End())
        client = web.arrives(End(get()))
        web.says(target, *said)
        assert client.heard() == (ok(b"hello") if b"llo" in b"".join(said) else ok())
        assert (client.fate, target.closed, web.pooled) == ("open", True, 0)


def test_a_target_that_says_more_later_is_not_used_again(http: Make) -> None:
    web = http(target := End(), other := End(), targets="a")
    client = web.arrives(End(get()))
    web.says(target, ok())
    web.says(target, ok(b"evil"))
    assert target.closed
    web.says(client, get("/2"))
    web.says(other, ok(b"good"))
    assert client.heard() == ok() + ok(b"good")


def test_the_status_of_a_response_is_its_own_whatever_it_is(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get()))
    web.says(target, ok(status="503 Busy"))
    assert (client.heard(), web.exchanges, web.statuses()) == (ok(status="503 Busy"), {"data/done": 1}, {"5xx": 1})


def test_headers_are_changed_as_the_group_says(http: Make) -> None:
    web = http(
        target := End(),
        request_headers={"set": {"X-Env": "prod"}, "remove": ["X-Debug"]},
        response_headers={"set": {"X-Frame": "deny"}, "remove": ["Server"]},
    )
    client = web.arrives(End(get("/", "X-Debug: 1")))
    assert target.heard() == get("/", "X-Env: prod")
    web.says(target, answer("200 OK", "Server: x", "Content-Length: 0"))
    assert client.heard() == answer("200 OK", "Content-Length: 0", "X-Frame: deny")


# --- requests


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("said", "told"),
    [
        (post(b"hello"), post(b"hello")),
        (post(), post()),
        (chunked(b"hel", b"lo") + LAST, chunked(b"hello") + LAST),
        (chunked() + LAST, chunked() + LAST),
        (
            chunked() + b"3;ext=1\r\nhel\r\n002\r\nlo\r\n0\r\nX-Sum: 7\r\nHost: b\r\n\r\n",
            chunked(b"hello") + b"0\r\nX-Sum: 7\r\n\r\n",
        ),
        (get(method="DELETE"), get(method="DELETE")),
    ],
)
def test_how_a_request_ends(http: Make, said: bytes, told: bytes, way: str) -> None:
    size, at_most = WAYS[way]
    web = http(target := End(at_most=at_most), targets="a")
    client = web.arrives(End(at_most=at_most))
    for part in pieces(said + said, size):
        web.says(client, part)
    assert one_chunk(target.heard()) == told
    web.says(target, ok())
    assert one_chunk(target.heard()) == told
    web.says(target, ok())
    assert client.heard() == ok() + ok()
    assert (client.fate, target.fate, web.exchanges) == ("open", "open", {"data/done": 2})


@pytest.mark.parametrize("step", [7, 999, 40_000])
@pytest.mark.parametrize("body", [b"hello", b"x" * (COPY + 7)])
def test_a_request_to_a_slow_target_leaves_the_next_in_its_place(http: Make, body: bytes, step: int) -> None:
    web = http(target := End(room=10), targets="a")
    client = web.arrives(End(post(body) + get("/2") + get("/3")))
    web.says(client, get("/4"))
    target.take(max(0, len(post(body)) - 1000))
    while len(target.got) < len(post(body)):
        web.takes(target, step)
    assert target.heard() == post(body)
    target.room = 1 << 30
    for path in ("/2", "/3", "/4"):
        web.says(target, ok())
        assert target.heard() == get(path)
    web.says(target, ok())
    assert client.heard() == ok() * 4


@pytest.mark.parametrize("body", [body for body in BODIES if body.error and len(body.raw) < 60000], ids=str)
@pytest.mark.parametrize("when", ["at once", "later", "after the response began"])
def test_a_body_that_is_not_chunked_as_it_said(http: Make, body: Any, when: str) -> None:
    web = http(target := End())
    client = web.arrives(End(chunked() + (body.raw if when == "at once" else b"")))
    if when == "after the response began":
        web.says(target, ok(b"hel", length=5))
    if when != "at once":
        web.says(client, body.raw)
    assert (web.exchanges, web.words[DESYNC_WORD["bad_chunk"]]) == ({"request/bad_chunk": 1}, 1)
    assert target.closed
    if when == "after the response began":
        assert (client.heard(), client.fate) == (closing(ok(b"hel", length=5)), "reset")
    else:
        assert (status(client.heard()), client.fate) == (400, "ended")


def test_the_refusal_of_a_bad_body_may_have_to_wait_for_its_client(http: Make) -> None:
    web = http(End())
    client = web.arrives(End(chunked() + b"xyz\r\n", room=10))
    web.takes(client)
    assert (status(client.heard()), web.exchanges) == (400, {"request/bad_chunk": 1})


# --- max_body


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("framing", ["length", "one chunk", "chunks", "chunks, later"])
def test_a_body_that_is_too_large(http: Make, framing: str, more: int) -> None:
    web = http(target := End(), max_body=10)
    body = b"x" * (10 + more)
    if framing == "length":
        client = web.arrives(End(post(body)))
    elif framing == "one chunk":
        client = web.arrives(End(chunked(body) + LAST))
    elif framing == "chunks":
        client = web.arrives(End(chunked(*pieces(body, 1)) + LAST))
    else:
        client = web.arrives(End(chunked(body[:6])))
        web.says(client, chunk(body[6:]))
        web.says(client, LAST)
    if more:
        assert (status(client.heard()), client.fate, web.exchanges) == (413, "ended", {"request/too_large": 1})
        assert (len(target.got) < len(chunked(body)), web.words[DESYNC_WORD["bad_chunk"]]) == (True, 0)
    else:
        web.says(target, ok())
        assert client.heard() == ok()


def test_a_body_that_becomes_too_large_after_the_response_began(http: Make) -> None:
    web = http(target := End(), max_body=10)
    client = web.arrives(End(chunked(b"x" * 6)))
    web.says(target, ok(b"hel", length=5))
    web.says(client, chunk(b"x" * 6))
    assert (client.fate, target.closed, web.exchanges) == ("reset", True, {"request/too_large": 1})


def test_no_body_at_all_may_be_allowed(http: Make) -> None:
    web = http(target := End(), max_body=0)
    client = web.arrives(End(post() + post(b"x")))
    web.says(target, ok())
    assert client.heard().startswith(ok() + b"HTTP/1.1 413 ")


# --- Expect, and interim responses


EXPECT = "Expect: 100-continue"
GO_ON = answer("100 Continue")


def test_who_waits_for_a_word_of_the_target_gets_it(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"", EXPECT, length=5)))
    assert (target.heard(), client.heard()) == (post(b"", EXPECT, length=5), b"")
    web.says(target, GO_ON)
    assert client.heard() == GO_ON
    web.says(client, b"hello")
    assert target.heard() == b"hello"
    web.sweep()
    web.says(target, ok())
    assert (client.heard(), client.fate, web.pooled) == (ok(), "open", 1)


def test_who_waits_for_a_word_of_the_target_may_get_its_last(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"", EXPECT, length=5)))
    web.says(target, ok(status="417 No"))
    assert client.heard() == closing(ok(status="417 No"))
    assert (client.fate, target.closed, web.pooled) == ("ended", True, 0)
    web.says(client, b"hello", END)
    assert (client.fate, web.exchanges) == ("closed", {"data/done": 1})


def test_a_client_is_not_blamed_for_a_target_that_says_nothing(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"", EXPECT, length=5)))
    web.sweep(58)
    assert client.heard() == b""
    web.sweep(4)
    assert (status(client.heard()), web.exchanges) == (504, {"response/timeout": 1})
    web = http(target := End())
    client = web.arrives(End(post(b"", EXPECT, length=5)))
    web.says(target, GO_ON)
    web.sweep(42)
    assert (status(client.heard()[len(GO_ON) :]), web.exchanges) == (408, {"request/slow_body": 1})


@pytest.mark.parametrize("at_most", [1, 1000])
def test_interim_responses_are_passed_on_in_order(http: Make, at_most: int) -> None:
    hints = answer("103 Early Hints", "Link: </a.css>")
    web = http(target := End(at_most=at_most))
    client = web.arrives(End(get(), at_most=at_most))
    web.says(target, hints + GO_ON + hints[:20])
    web.says(target, hints[20:] + ok(b"hel", length=5))
    web.says(target, b"lo")
    assert client.heard() == hints + GO_ON + hints + ok(b"hello")
    assert (web.exchanges, web.pooled) == ({"data/done": 1}, 1)


def test_http_1_0_knows_no_interim_responses(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get(version="1.0")))
    web.says(target, GO_ON, ok())
    assert status(client.heard()) == 200


@pytest.mark.parametrize("last", [ok(b"hello"), CHUNKS + chunk(b"hello") + LAST])
@pytest.mark.parametrize("together", [True, False])
def test_interim_responses_wait_for_a_client_without_room(http: Make, last: bytes, together: bool) -> None:
    web = http(target := End())
    client = web.arrives(End(get(), room=10))
    if together:
        web.says(target, GO_ON + GO_ON + last)
    else:
        for piece in (GO_ON, GO_ON, last[:20], last[20:]):
            web.says(target, piece)
        assert target.taken <= len(GO_ON), "nothing is read while the client has no room"
    web.takes(client, 20)
    web.takes(client)
    assert (one_chunk(client.heard().removeprefix(GO_ON * 2)), client.fate, web.pooled) == (last, "open", 1)


def test_an_interim_response_that_waits_is_followed_by_our_own_when_the_target_fails(http: Make) -> None:
    for said in ([GO_ON, END], [GO_ON, b"nonsense\r\n\r\n"], [GO_ON + CHUNKS + b"xyz\r\n"], [GO_ON + CHUNKS[:9], END]):
        for room in (0, 10):
            web = http(target := End())
            client = web.arrives(End(get(), room=room))
            web.says(target, *said)
            web.takes(client)
            heard = client.heard()
            assert (heard[: len(GO_ON)], status(heard[len(GO_ON) :])) == (GO_ON, 502)


def test_an_interim_response_before_the_request_was_sent_makes_no_time_negative(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"", EXPECT, length=5)))
    web.says(target, GO_ON + b"HTTP/1.1 2")
    web.loop.pass_time(1)
    web.says(client, b"hello")
    web.says(target, ok()[10:])
    assert client.heard() == GO_ON + ok()
    assert web.exchanges == {"data/done": 1}


# --- a response that comes early


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_response_that_comes_before_the_request_is_complete_is_the_last(http: Make, framing: str) -> None:
    web = http(target := End(), targets="a")
    client = web.arrives(End(post(b"hel", length=5) if framing == "length" else chunked(b"hel")))
    web.says(target, ok(b"no"))
    assert client.heard() == closing(ok(b"no"))
    assert (client.fate, target.closed, web.pooled) == ("ended", True, 0)
    web.says(client, b"lo" if framing == "length" else chunk(b"lo") + LAST)
    web.says(client, get("/never"), END)
    assert (client.fate, web.exchanges, web.outcomes) == ("closed", {"data/done": 1}, {"data/done": 1})


def test_a_response_that_comes_early_and_ends_late_needs_no_patience(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"hel", length=5)))
    web.says(target, ok(b"n", length=2))
    web.says(client, b"lo")
    assert target.got.endswith(b"hello")
    web.says(target, b"o")
    assert client.heard() == closing(ok(b"no"))
    assert (client.fate, web.pooled, web.exchanges) == ("closed", 1, {"data/done": 1})
    (line,) = web.log.lines
    assert line["first_byte"] is None


def test_both_bodies_may_go_on_at_once(http: Make) -> None:
    web = http(target := End(at_most=2))
    client = web.arrives(End(chunked(b"one"), at_most=3))
    web.says(target, CHUNKS + chunk(b"ONE"))
    for word in (b"two", b"three"):
        web.says(client, chunk(word))
        web.says(target, chunk(word.upper()))
    web.says(client, LAST)
    web.says(target, LAST)
    assert one_chunk(target.heard()) == chunked(b"onetwothree") + LAST
    assert one_chunk(client.heard()) == answer("200 OK", CHUNKED, CLOSE) + chunk(b"ONETWOTHREE") + LAST
    assert client.fate == "closed"


NO = answer("413 Too Large", "Content-Length: 2", CLOSE) + b"no"


@pytest.mark.parametrize("way", ["closes", "resets", "resets unseen"])
@pytest.mark.parametrize("room", [100, 1 << 30])
def test_a_target_that_says_no_and_leaves_is_heard(http: Make, way: str, room: int) -> None:
    web = http(target := End(room=room))
    client = web.arrives(End(post(b"x" * 1000, length=10_000_000)))
    target.say(NO)
    if way == "closes":
        target.say(END)
    else:
        target.reset()
    if way == "resets unseen":
        client.say(b"x" * 1000)  # of both events the client's comes first
    web.loop.settle()
    assert client.heard() == NO
    assert (client.fate, target.closed, web.exchanges) == ("ended", True, {"data/done": 1})
    web.says(client, b"x" * 100_000)
    web.says(client, END)
    assert (client.fate, web.outcomes) == ("closed", {"data/done": 1})


@pytest.mark.parametrize("room", [100, 1 << 30])
def test_a_target_that_leaves_without_a_word_while_it_is_sent_a_body(http: Make, room: int) -> None:
    web = http(target := End(room=room))
    client = web.arrives(End(post(b"x" * 1000, length=10_000_000)))
    target.reset()
    client.say(b"x" * 1000)
    web.loop.settle()
    assert (status(client.heard()), client.fate, web.exchanges) == (502, "ended", {"request/target_reset": 1})


def test_a_target_that_hears_no_more_but_answers_later(http: Make) -> None:
    web = http(target := End(unix=True))
    client = web.arrives(End(post(b"x" * 1000, length=10_000_000)))
    target.refuses_more = True
    web.says(client, b"x" * 1000)
    assert client.heard() == b""
    web.says(target, ok(b"hello"))
    assert client.heard() == closing(ok(b"hello"))
    assert (target.closed, web.pooled) == (True, 0)


def test_a_target_that_hears_no_more_in_the_middle_of_its_answer(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"x" * 1000, length=10_000_000)))
    web.says(target, ok(b"hel", length=5))
    target.refuses_more = True
    web.says(client, b"x" * 1000)
    web.says(target, b"lo")
    assert client.heard() == closing(ok(b"hello"))
    assert (client.fate, target.closed, web.pooled) == ("ended", True, 0)


def test_a_target_that_leaves_after_its_answer_while_the_client_reads_slowly(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get(), room=10))
    web.says(target, ok(b"hello"))
    web.resets(target)
    web.takes(client)
    assert (client.heard(), client.fate, target.closed) == (ok(b"hello"), "open", True)


# --- backpressure


def most_held(web: Any, source: End, sink: End, overhead: int) -> int:
    return source.taken - len(sink.got) - overhead


@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
def test_a_slow_client_stops_the_reading_from_its_target(http: Make, framing: str) -> None:
    body = b"x" * (30 * COPY)
    web = http(target := End())
    client = web.arrives(End(get(), room=10))
    if framing == "length":
        web.says(target, ok(body))
    elif framing == "chunked":
        web.says(target, CHUNKS + b"".join(map(chunk, pieces(body, 100_000))) + LAST)
    else:
        web.says(target, answer("200 OK") + body, END)
    assert target.taken <= COPY
    for _ in range(30):
        web.takes(client, COPY // 2)
        assert target.taken - len(client.got) <= COPY + 100
    web.takes(client)
    assert client.heard().count(b"x") == len(body)
    assert web.exchanges == {"data/done": 1}


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_slow_target_stops_the_reading_from_its_client(http: Make, framing: str) -> None:
    body = b"x" * (30 * COPY)
    web = http(target := End(room=10))
    client = web.arrives(End(post(body) if framing == "length" else chunked(*pieces(body, 100_000)) + LAST))
    assert client.taken <= COPY
    for _ in range(30):
        web.takes(target, COPY // 2)
        assert client.taken - len(target.got) <= COPY + 100
    web.takes(target)
    assert target.got.count(b"x") == len(body)
    web.says(target, ok())
    assert client.heard() == ok()


def test_one_slow_direction_does_not_stop_the_other(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(chunked(b"one"), room=10))
    web.says(target, CHUNKS + chunk(b"x" * COPY))
    web.says(client, chunk(b"two"))
    assert target.got.endswith(chunk(b"two"))
    target.room = 0
    web.says(client, chunk(b"three"), LAST)
    web.takes(client)
    web.says(target, chunk(b"y") + LAST)
    assert client.got.count(b"x") == COPY
    assert client.got.endswith(LAST)


def test_a_client_that_resets_while_its_body_waits_for_the_target(http: Make) -> None:
    web = http(target := End(room=10))
    client = web.arrives(End(post(b"x" * 1000, length=10_000)))
    web.resets(client)
    assert (target.closed, web.exchanges) == (True, {"request/client_reset": 1})


def test_a_client_that_is_gone_in_order_while_its_body_waits_for_the_target(http: Make) -> None:
    web = http(target := End(room=10))
    client = web.arrives(End(post(b"x" * 1000, length=10_000), unix=True), address="")
    client.hang_up()
    web.loop.settle()
    web.takes(target)
    assert (target.closed, web.exchanges) == (True, {"request/client_closed": 1})


def test_a_target_that_resets_while_its_body_waits_for_the_client(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get(), room=10))
    web.says(target, ok(b"x" * 1000, length=10_000))
    web.resets(target)
    assert (client.fate, web.exchanges) == ("reset", {"data/target_reset": 1})


# --- pace


def test_a_body_that_comes_too_slowly(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"x" * 10_000, length=1_000_000)))
    for _ in range(45):
        web.says(client, b"x" * 200)
        web.sweep()
        if client.got:
            break
    assert web.loop.now - 1000 == pytest.approx(40, abs=2), "a quick beginning earns it one span"
    assert (status(client.heard()), client.fate, web.exchanges) == (408, "ended", {"request/slow_body": 1})
    assert target.closed


@pytest.mark.parametrize("way", ["steadily", "in bursts"])
def test_a_slow_body_that_keeps_its_rate_is_never_cut(http: Make, way: str) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"", length=250 * 600)))
    for second in range(600):
        if way == "steadily":
            web.says(client, b"x" * 250)
        elif second % 20 == 0:
            web.says(client, b"x" * 250 * 20)
        web.sweep()
    web.says(target, ok())
    assert client.heard() == ok()


def test_the_time_that_the_target_takes_is_not_the_clients(http: Make) -> None:
    web = http(target := End(room=100), response_timeout=1000.0)
    client = web.arrives(End(post(b"x" * 3000, length=100_000)))
    web.sweep(50)
    web.takes(target, 1000)
    web.sweep(50)
    web.takes(target)
    for _ in range(100):
        web.says(client, b"x" * 250)
        web.sweep()
    assert client.heard() == b""
    web.sweep(42)
    assert status(client.heard()) == 408


def test_where_any_rate_will_do_a_client_may_still_not_stop(http: Make) -> None:
    web = http(End(), min_body_rate=0)
    client = web.arrives(End(post(b"", length=100)))
    for _ in range(5):
        web.sweep(IDLE - 5)
        web.says(client, b"x")
    assert client.heard() == b""
    web.sweep(IDLE + 2)
    assert (status(client.heard()), web.exchanges) == (408, {"request/slow_body": 1})


def test_the_pace_of_a_body_is_nothing_to_a_response_that_has_begun(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"", length=100)))
    web.says(target, ok(b"", length=100))
    for _ in range(10):
        web.sweep(40)
        web.says(target, b"y")
    assert client.fate == "open"


# --- what is counted


def test_bytes_of_bodies_are_counted_once_on_either_side(http: Make) -> None:
    up = chunked(b"hello", b"world") + b"0\r\nX-Sum: 7\r\n\r\n"
    down = CHUNKS + chunk(b"hello") + chunk(b"world") + LAST
    web = http(target := End(at_most=3), targets="a")
    client = web.arrives(End(at_most=3))
    for part in pieces(up, 7):
        web.says(client, part)
    web.sweep()
    for part in pieces(down, 5):
        web.says(target, part)
        web.sweep()
    web.says(client, post(b"x" * 100))
    web.says(target, ok(b"y" * 100))
    web.sweep()
    assert web.words[counters.RECEIVED] == len(up) + len(post(b"x" * 100))
    assert web.target_words(counters.TARGET_SENT) == {"a": len(down) + len(ok(b"y" * 100))}
    assert [line["received"] for line in web.log.lines] == [len(up), len(post(b"x" * 100))]
