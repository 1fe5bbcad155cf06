"""Who answers when a target does not, row by row; and a target's connection from the choice to the last byte."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable
from typing import Any

import pytest

from nlb.balance.retries import LEAST, WINDOW
from nlb.balance.target import DRAIN
from nlb.observe import counters
from nlb.proxy.body import Body
from nlb.proxy.exchange import _MOST_INTERIM, Exchange
from nlb.proxy.http import HttpSession
from nlb.proxy.pipe import Pipe
from nlb.proxy.streams import Streams
from nlb.proxy.tcp import TcpSession
from tests.fakes import END, Dialled, End
from tests.unit.proxy.http_stage import LAST, REDIRECT, answer, chunk, chunked, get, ok, one_chunk, post, status

Make = Callable[..., Any]

REFUSED = errno.ECONNREFUSED
RESET = "reset"


def leaves(web: Any, end: End, way: bytes | str) -> None:
    """In order, or by a reset."""
    if way == RESET:
        web.resets(end)
    else:
        web.says(end, END)


def served_once(http: Make, *dials: Any, **options: Any) -> tuple[Any, End, End]:
    """A client whose first request was answered, so that the target's connection is a used one."""
    web = http(target := End(), *dials, targets="a", **options)
    client = web.arrives(End(get("/first")))
    web.says(target, ok())
    client.heard(), target.heard()
    return web, client, target


# --- nothing was sent: another target, up to `tries`


@pytest.mark.parametrize("late", [False, True])
def test_a_target_that_refuses_is_passed_over(http: Make, late: bool) -> None:
    web = http(first := Dialled() if late else REFUSED, target := End())
    client = web.arrives(End(get("/a")))
    if late:
        first.answer(REFUSED)
        web.loop.settle()
    web.says(target, ok())
    assert (client.heard(), target.heard()) == (ok(), get("/a"))
    assert (web.dialled, web.failed) == (["a", "b"], [("a", "refused")])
    assert (web.group_word(counters.RETRIES), web.log.lines[0]["tries"]) == (1, 2)


def test_a_body_goes_to_whoever_answers(http: Make) -> None:
    web = http(REFUSED, first := Dialled(), target := Dialled())
    client = web.arrives(End(post(b"hel", length=5)))
    first.answer(REFUSED)
    web.says(client, b"lo")
    target.answer()
    web.loop.settle()
    assert target.heard() == post(b"hello")
    web.says(target, ok())
    assert client.heard() == ok()


@pytest.mark.parametrize(
    ("dials", "code", "cause"),
    [
        ([REFUSED] * 3, 502, "refused"),
        ([errno.EHOSTUNREACH] * 3, 502, "unreachable"),
        ([errno.EADDRNOTAVAIL] * 3, 503, "no_port"),
        ([OSError(errno.EMFILE, "too many")] * 3, 503, "descriptors"),
        ([Dialled(), Dialled(), Dialled()], 504, "timeout"),
    ],
)
def test_when_all_that_are_tried_fail_the_last_failure_is_told(
    http: Make, dials: list[Any], code: int, cause: str
) -> None:
    web = http(*dials, targets="abcd", reason_header=True)
    client = web.arrives(End(get()))
    web.loop.pass_time(15)
    assert (status(client.got), web.exchanges) == (code, {f"connect/{cause}": 1})
    assert f"X-Nlb-Reason: connect/{cause}\r\n".encode() in client.got
    assert web.dialled == ["a", "b", "c"]
    assert len(web.failed) == (0 if cause in ("no_port", "descriptors") else 3)
    assert (client.fate, web.session.exchanges) == ("open", 1), "the client may ask again"
    web.dials.append(target := End())
    web.says(client, get("/again"))
    web.says(target, ok())
    assert client.got.endswith(ok())


def test_a_late_target_costs_its_time_once(http: Make) -> None:
    web = http(Dialled(), target := End())
    client = web.arrives(End(get()))
    web.loop.pass_time(5)
    web.says(target, ok())
    assert (client.heard(), web.failed) == (ok(), [("a", "timeout")])


@pytest.mark.parametrize("request_", [get("/a"), post(b"hel", length=5)])
def test_a_target_that_leaves_before_it_took_a_byte_is_passed_over(http: Make, request_: bytes) -> None:
    web = http(first := End(), target := End())
    first.refuses_more = True
    client = web.arrives(End(request_))
    assert (target.heard(), web.failed) == (request_, [("a", "refused")])
    web.says(target, ok())
    assert status(client.heard()) == 200


def test_a_target_without_any_room_gets_the_request_later(http: Make) -> None:
    web = http(target := End(room=0))
    client = web.arrives(End(get("/a")))
    assert web.session.exchange.phase == "request"
    web.takes(target)
    assert (target.heard(), web.session.exchange.phase) == (get("/a"), "response")
    web.says(target, ok())
    assert client.heard() == ok()


# --- no target, or not yet


def test_there_is_no_target(http: Make) -> None:
    web = http()
    for name in "abc":
        web.mark(name, admin=DRAIN)
    client = web.arrives(End(get()))
    assert (status(client.heard()), client.fate, web.exchanges) == (503, "open", {"pick/no_target": 1})
    web.says(client, post(b"he", length=5))
    assert (status(client.heard()), client.fate) == (503, "ended"), "its body is nobody's"
    web.says(client, b"llo", END)
    assert web.outcomes == {"pick/no_target": 1}


def test_a_group_without_a_healthy_target_fails_open(http: Make) -> None:
    web = http(target := End(), health="unhealthy")
    client = web.arrives(End(get()))
    web.says(target, ok())
    assert (client.heard(), web.group_word(counters.FAIL_OPEN_PICKS)) == (ok(), 1)


@pytest.mark.parametrize("verdict", ["healthy", "none in time"])
def test_requests_wait_for_the_first_verdict(http: Make, verdict: str) -> None:
    web = http(target := End(), health="initial")
    client = web.arrives(End(get()))
    assert (web.dialled, web.session.exchange.phase) == ([], "pick")
    if verdict == "healthy":
        web.mark("b", health="healthy")
    else:
        web.group.stop_waiting()
        web.loop.settle()
    web.says(target, ok())
    assert (client.heard(), web.dialled) == (ok(), ["b" if verdict == "healthy" else "a"])


@pytest.mark.parametrize("way", [END, RESET])
def test_a_client_that_leaves_while_it_waits_for_the_first_verdict(http: Make, way: bytes | str) -> None:
    web = http(health="initial")
    client = web.arrives(End(get()))
    leaves(web, client, way)
    outcome = "pick/client_reset" if way == RESET else "pick/client_closed"
    assert (web.exchanges, web.outcomes) == ({outcome: 1}, {outcome: 1})
    web.mark("a", health="healthy")
    assert web.dialled == []


def test_requests_wait_for_room(http: Make) -> None:
    web = http(target := End(), targets="a", room=1)
    first, second = web.arrives(End(get("/1"))), web.arrives(End(get("/2")))
    assert target.heard() == get("/1")
    web.loop.pass_time(0.5)
    web.says(target, ok(b"1"))
    assert (first.heard(), target.heard()) == (ok(b"1"), get("/2"))
    web.says(target, ok(b"2"))
    assert (second.heard(), web.dialled) == (ok(b"2"), ["a"])
    assert [line["queue"] for line in web.log.lines] == [None, 0.5]


@pytest.mark.parametrize(("size", "cause"), [(0, "queue_full"), (100, "queue_timeout")])
def test_there_is_no_room(http: Make, size: int, cause: str) -> None:
    web = http(target := End(), targets="a", room=1, queue=size)
    web.arrives(End(get()))
    client = web.arrives(End(get()))
    web.loop.pass_time(6)
    assert (status(client.heard()), client.fate, web.exchanges) == (503, "open", {f"pick/{cause}": 1})
    web.says(target, ok())


@pytest.mark.parametrize("way", [END, RESET])
def test_a_client_that_leaves_the_queue(http: Make, way: bytes | str) -> None:
    web = http(target := End(), targets="a", room=1)
    web.arrives(End(get()))
    client, last = web.arrives(End(get("/2"))), web.arrives(End(get("/3")))
    leaves(web, client, way)
    assert web.exchanges == {"pick/client_reset" if way == RESET else "pick/client_closed": 1}
    web.says(target, ok())
    web.says(target, ok())
    assert last.heard() == ok()


def test_a_request_that_failed_at_a_target_may_wait_for_another(http: Make) -> None:
    web = http(busy := End(), REFUSED, targets="ab", room=1)
    web.arrives(End(get("/1")))
    client = web.arrives(End(post(b"hello", path="/2")))
    assert web.session_of(client).exchange.phase == "pick"
    web.says(busy, ok())
    assert busy.got.endswith(post(b"hello", path="/2"))
    web.says(busy, ok())
    assert client.heard() == ok()


# --- sent on a connection that was used before, and no byte came back


@pytest.mark.parametrize("way", [END, RESET])
@pytest.mark.parametrize(
    ("request_", "again"),
    [
        (get("/a"), True),
        (get("/a", method="HEAD"), True),
        (get("/a", method="OPTIONS"), True),
        (get("/a", method="DELETE"), True),
        (post(b"hello", method="PUT"), True),
        (chunked(b"hello").replace(b"POST", b"PUT") + LAST, True),
        (post(b"hello"), False),
        (post(b"hello", method="PATCH"), False),
        (post(b"hello", method="LOCK"), False),
    ],
)
def test_a_request_that_may_be_repeated_is_sent_once_more(
    http: Make, request_: bytes, again: bool, way: bytes | str
) -> None:
    web, client, target = served_once(http, fresh := End())
    web.says(client, request_)
    assert target.heard() == request_
    leaves(web, target, way)
    assert web.group_word(counters.HTTP_RETRIES) == again
    assert fresh.heard() == (request_ if again else b"")
    if again:
        web.says(fresh, ok() if b"HEAD" not in request_ else ok(length=9))
        assert status(client.heard()) == 200
    else:
        cause = "target_reset" if way == RESET else "target_closed"
        assert (status(client.heard()), web.dialled) == (502, ["a"])
        assert web.exchanges == {"data/done": 1, f"response/{cause}": 1}
    assert client.fate == "open"


@pytest.mark.parametrize("way", [END, RESET])
@pytest.mark.parametrize("request_", [get(), post(b"hello", method="PUT"), post(b"hello")])
def test_on_a_fresh_connection_nothing_is_sent_again(http: Make, request_: bytes, way: bytes | str) -> None:
    web = http(target := End())
    client = web.arrives(End(request_))
    leaves(web, target, way)
    assert (status(client.heard()), client.fate) == (502, "open")
    cause = "target_reset" if way == RESET else "target_closed"
    assert (web.exchanges, web.dialled) == ({f"response/{cause}": 1}, ["a"])


@pytest.mark.parametrize("way", [END, RESET])
def test_nothing_is_sent_a_third_time(http: Make, way: bytes | str) -> None:
    web, client, target = served_once(http, fresh := End())
    web.says(client, get())
    leaves(web, target, way)
    leaves(web, fresh, way)
    assert (status(client.heard()), len(web.dialled)) == (502, 2)


@pytest.mark.parametrize("said", [b"H", answer("100 Continue"), ok()[:-1]])
def test_one_byte_of_an_answer_and_nothing_is_sent_again(http: Make, said: bytes) -> None:
    web, client, target = served_once(http)
    web.says(client, get())
    web.says(target, said, END)
    assert (status(client.heard().removeprefix(answer("100 Continue"))), web.dialled) == (502, ["a"])
    assert web.exchanges == {"data/done": 1, "response/target_closed": 1}


def test_a_body_that_is_not_here_as_a_whole_cannot_be_sent_again(http: Make) -> None:
    web, client, target = served_once(http)
    web.says(client, post(b"hel", method="PUT", length=5))
    web.says(target, END)
    assert (status(client.heard()), client.fate) == (502, "ended")
    assert web.exchanges == {"data/done": 1, "request/target_closed": 1}
    web.says(client, b"lo", END)


@pytest.mark.parametrize("request_", [get("/again", "X: " + "y" * 50), post(b"z" * 80, method="PUT")])
def test_what_is_sent_again_is_sent_from_its_beginning(http: Make, request_: bytes) -> None:
    web, client, target = served_once(http, fresh := End(at_most=7))
    target.room = 20
    web.says(client, request_)
    assert target.heard() == request_[:20]
    web.says(target, END)
    assert fresh.heard() == request_
    web.says(fresh, ok(b"hello"))
    assert (client.heard(), client.fate, fresh.fate) == (ok(b"hello"), "open", "open")


def test_what_is_sent_again_may_find_its_target_refusing(http: Make) -> None:
    web = http(target := End(), REFUSED, REFUSED, REFUSED, targets="ab")
    client = web.arrives(End(get("/first")))
    web.says(target, ok())
    web.mark("b", admin=DRAIN)
    web.says(client, get())
    web.mark("b", admin="ready")
    leaves(web, target, END)
    assert (status(client.got[len(ok()) :]), web.dialled) == (502, ["a", "a", "b"])
    assert web.exchanges == {"data/done": 1, "connect/refused": 1}


def test_what_is_sent_again_may_go_to_another_target_at_last(http: Make) -> None:
    web = http(target := End(), late := Dialled(), other := End(), targets="ab")
    client = web.arrives(End(get("/first")))
    web.says(target, ok())
    web.mark("b", admin=DRAIN)
    web.says(client, get())
    web.mark("b", admin="ready")
    leaves(web, target, END)
    assert web.session.exchange.phase == "connect"
    web.sweep(3)
    late.answer(REFUSED)
    web.loop.settle()
    web.says(other, ok(b"hello"))
    assert client.got == ok() + ok(b"hello")


def test_a_client_that_leaves_while_its_request_is_sent_again(http: Make) -> None:
    web, client, target = served_once(http, Dialled())
    web.says(client, get())
    leaves(web, target, END)
    web.says(client, END)
    assert web.exchanges == {"data/done": 1, "connect/client_closed": 1}


# --- a used connection that was closed before anything was sent


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (get(), b""),
        (post(b"hello", method="PUT"), b""),
        (post(b"hello"), b""),
        (post(b"hel", method="PUT", length=5), b"lo"),
        (chunked(b"hel", method="PUT"), chunk(b"lo") + LAST),
        (chunked(method="PUT") + b"5\r\nhel", b"lo\r\n" + LAST),
    ],
)
def test_a_connection_that_broke_before_it_took_a_byte_loses_nothing(http: Make, first: bytes, rest: bytes) -> None:
    web, client, target = served_once(http, fresh := Dialled())
    client.say(first)  # of both events the client's comes first
    target.reset()
    web.loop.settle()
    assert web.session.exchange.phase == "connect"
    web.says(client, *[rest] if rest else [])
    fresh.answer()
    web.loop.settle()
    assert (target.heard(), one_chunk(fresh.heard())) == (b"", one_chunk(first + rest))
    web.says(fresh, ok())
    assert (client.heard(), client.fate, fresh.fate) == (ok(), "open", "open")
    assert (web.dialled, web.group_word(counters.HTTP_RETRIES), web.failed) == (["a", "a"], 0, [])


def test_a_post_is_not_sent_where_the_target_has_left_already(http: Make) -> None:
    web, client, target = served_once(http, fresh := End())
    client.say(post(b"hello"))
    target.say(END)
    web.loop.settle()
    assert (target.heard(), fresh.heard()) == (b"", post(b"hello"))
    web.says(fresh, ok())
    assert client.heard() == ok()


# --- the budget


def repeats(web: Any, client: End, times: int) -> int:
    """So many requests whose connection, a used one, closes under them. Returns how many were answered."""
    answered = 0
    for _ in range(times):
        web.says(client, get())
        target = web.joined[-1]
        web.dials.append(fresh := End())
        web.says(target, END)
        web.dials.clear()
        if fresh.got:
            web.says(fresh, ok())
            answered += 1
        else:
            web.dials.append(another := End())
            web.says(client, get())
            web.says(another, ok())
    return answered


def test_few_requests_may_be_repeated_a_few_times(http: Make) -> None:
    web, client, _ = served_once(http)
    assert repeats(web, client, LEAST + 2) == LEAST
    assert web.exchanges["response/target_closed"] == 2
    web.loop.pass_time(WINDOW)
    assert repeats(web, client, LEAST + 2) == LEAST
    assert web.group_word(counters.HTTP_RETRIES) == 2 * LEAST


def test_of_many_requests_a_fifth_may_be_repeated(http: Make) -> None:
    web, client, _ = served_once(http)
    for _ in range(98):
        web.says(client, get())
        web.says(web.joined[-1], ok())
    assert repeats(web, client, 30) == 20


def test_nothing_is_repeated_where_the_operator_wants_it_so(http: Make) -> None:
    web, client, _ = served_once(http, retry_budget=0)
    assert repeats(web, client, 1) == 0


# --- the response has begun: both are cut, and the client sees it


@pytest.mark.parametrize("way", [END, RESET])
@pytest.mark.parametrize(
    "begun",
    [
        ok(b"hel", length=5),
        ok(length=5),
        answer("200 OK", "Transfer-Encoding: chunked") + b"3\r\nhel\r\n",
        answer("200 OK", "Transfer-Encoding: chunked") + b"3\r\nhe",
        answer("200 OK", "Transfer-Encoding: chunked") + b"3\r\nhel\r\n0\r\n",
    ],
)
def test_a_response_that_breaks_off_is_cut_off_at_the_client(http: Make, begun: bytes, way: bytes | str) -> None:
    web = http(target := End())
    client = web.arrives(End(get() + get("/next")))
    web.says(target, begun)
    assert client.got.startswith(b"HTTP/1.1 200 OK")
    leaves(web, target, way)
    outcome = "data/target_reset" if way == RESET else "data/target_closed"
    assert (client.fate, web.exchanges, web.outcomes) == ("reset", {outcome: 1}, {outcome: 1})
    assert not client.got.endswith(LAST)


def test_a_response_until_close_that_is_reset_is_cut_off_at_the_client(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get()))
    web.says(target, answer("200 OK") + b"hel")
    web.resets(target)
    assert (client.fate, web.exchanges) == ("reset", {"data/target_reset": 1})


def test_a_response_of_bad_chunks_is_cut_off_at_the_client(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get()))
    web.says(target, answer("200 OK", "Transfer-Encoding: chunked") + chunk(b"hel"))
    web.says(target, b"xyz\r\n")
    assert client.got.endswith(chunk(b"hel"))
    assert (client.fate, target.closed, web.exchanges) == ("reset", True, {"data/bad_chunk": 1})


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"\0",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 33000,
        answer("200 OK", "Content-Length: 5", "Transfer-Encoding: chunked"),
        answer("200 OK", "Content-Length: 5", "Content-Length: 6"),
        answer("200 OK", "Transfer-Encoding: chunked") + b"xyz\r\n",
        answer("101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"),
        answer("100 Continue") * (_MOST_INTERIM + 1),
    ],
    ids=range(8),
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_no_response_is_not_passed_on(http: Make, said: bytes, whole: bool) -> None:
    web = http(target := End())
    client = web.arrives(End(get() if whole else post(b"hel", length=5)))
    web.says(target, said)
    heard = client.heard().replace(answer("100 Continue"), b"")
    assert (status(heard), web.exchanges) == (502, {"response/bad_head": 1})
    assert (client.fate, target.closed) == ("open" if whole else "ended", True)
    assert [line["target_status"] for line in web.log.lines] == [None]


# --- who leaves, and when


PHASES = ["connect", "request", "response", "answering", "data", "data, early"]


def brought_to(web: Any, phase: str) -> End:
    """A client whose request has come so far."""
    target = web.dials[0]
    client = web.arrives(End(post(b"hel", length=5)))
    if phase == "connect":
        return client
    target.answer()
    web.loop.settle()
    if phase == "data, early":
        web.says(target, ok(b"hel", length=5))
    elif phase != "request":
        web.says(client, b"lo")
        if phase == "answering":
            web.says(target, b"HTTP/1.1 200")
        elif phase == "data":
            web.says(target, ok(b"hel", length=5))
    assert web.session.exchange.phase == phase.partition(",")[0].replace("answering", "response")
    return client


@pytest.mark.parametrize("way", [END, RESET])
@pytest.mark.parametrize("phase", PHASES)
def test_a_client_that_leaves(http: Make, phase: str, way: bytes | str) -> None:
    web = http(target := Dialled())
    client = brought_to(web, phase)
    leaves(web, client, way)
    if phase == "data" and way == END:
        # It said all that it had to, and may still wait for what is under way.
        web.says(target, b"lo")
        assert (client.heard(), client.fate, web.exchanges) == (ok(b"hello"), "closed", {"data/done": 1})
        return
    begun = {"answering": "response", "data, early": "data" if way == RESET else "request"}.get(phase, phase)
    outcome = f"{begun}/client_{'reset' if way == RESET else 'closed'}"
    assert (web.exchanges, web.outcomes) == ({outcome: 1}, {outcome: 1})
    assert (client.fate, target.closed, web.pooled) == ("reset", True, 0)


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        ([ok(b"hello")], "data"),
        ([ok(b"hel", length=5)], "data"),
        ([answer("100 Continue")], "response"),
        ([b"nonsense\r\n\r\n"], "response"),
    ],
)
def test_a_client_that_has_left_when_it_is_sent_to(http: Make, said: list[bytes], phase: str) -> None:
    web = http(target := End())
    client = web.arrives(End(get()))
    client.refuses_more = True
    web.says(target, *said)
    assert (client.fate, target.closed, web.exchanges) == ("reset", True, {f"{phase}/client_reset": 1})


def test_a_client_that_leaves_before_it_was_sent_the_rest(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get(), room=10))
    web.says(target, ok(b"hello"))
    client.refuses_more = True
    web.takes(client)
    assert (client.fate, web.exchanges) == ("reset", {"data/client_reset": 1})


@pytest.mark.parametrize("phase", ["connect", "response"])
def test_a_client_that_was_far_ahead_and_resets(http: Make, phase: str) -> None:
    web = http(target := Dialled())
    client = web.arrives(End(get()))
    if phase == "response":
        target.answer()
    web.says(client, b"x" * 200_000)
    client.says.clear()  # the kernel drops what was not read
    web.resets(client)
    assert (client.fate, web.exchanges) == ("reset", {f"{phase}/client_reset": 1})


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_body_under_way_is_not_begun_on_a_connection_that_was_just_closed(http: Make, method: str) -> None:
    web = http(old := End(), fresh := End(), targets="a")
    client = web.arrives()
    web.says(client, get())
    web.says(old, ok())
    asked = post(b"12", method=method, length=4)
    client.say(asked)
    old.say(END)
    web.loop.settle()
    assert fresh.heard() == asked
    web.says(client, b"34")
    web.says(fresh, ok(b"thanks"))
    assert (fresh.heard(), client.heard(), web.exchanges) == (b"34", ok() + ok(b"thanks"), {"data/done": 2})


@pytest.mark.parametrize("way", [END, RESET])
@pytest.mark.parametrize("phase", PHASES)
def test_a_target_that_leaves(http: Make, phase: str, way: bytes | str) -> None:
    web = http(target := Dialled(), tries=1)
    client = brought_to(web, phase)
    if phase == "connect":
        target.answer(REFUSED)
        web.loop.settle()
        outcome = "connect/refused"
    else:
        leaves(web, target, way)
        begun = {"answering": "response", "data, early": "data"}.get(phase, phase)
        outcome = f"{begun}/target_{'reset' if way == RESET else 'closed'}"
    assert web.exchanges == {outcome: 1}
    if phase.startswith("data"):
        assert (client.fate, web.outcomes) == ("reset", {outcome: 1})
    else:
        assert status(client.heard()) == 502
        assert client.fate == ("open" if phase in ("response", "answering") else "ended")
    assert (target.closed, web.pooled) == (True, 0)


@pytest.mark.parametrize("cause", ["drain_timeout", "unhealthy", "removed"])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("others", [True, False])
def test_a_target_that_is_to_be_left(http: Make, phase: str, cause: str, others: bool) -> None:
    web = http(target := Dialled(), other := End(), targets="ab" if others else "a")
    client = brought_to(web, phase)
    web.mark("a", admin=DRAIN)
    web.expel("a", cause)
    phase = phase.partition(",")[0].replace("answering", "response")
    assert target.closed
    if phase == "connect" and others:
        web.says(client, b"lo")
        web.says(other, ok())
        assert (other.heard(), client.heard()) == (post(b"hello"), ok())
        return
    assert web.exchanges == {f"{phase}/{cause}": 1}
    if phase == "data":
        assert client.fate == "reset"
    else:
        assert status(client.heard()) == 502


@pytest.mark.parametrize("phase", [*PHASES, "pick"])
def test_nlb_stops(http: Make, phase: str) -> None:
    web = http(Dialled(), targets="" if phase == "pick" else "abc", health="healthy")
    if phase == "pick":
        web.group.balance.waiting = True
        client = web.arrives(End(get()))
    else:
        client = brought_to(web, phase)
    web.session.close("shutdown")
    web.loop.settle()
    outcome = f"{phase.partition(',')[0]}/shutdown".replace("answering", "response")
    assert (client.fate, web.exchanges, web.outcomes) == ("reset", {outcome: 1}, {outcome: 1})


def test_an_end_is_an_end(http: Make) -> None:
    web = http(End())
    web.arrives(End(get()))
    session, exchange = web.session, web.session.exchange
    for _ in range(2):
        session.close("shutdown")
        exchange.end("done")
    assert (web.exchanges, web.outcomes) == ({"response/shutdown": 1}, {"response/shutdown": 1})


# --- nothing is left for the garbage collector, which comes seldom

KINDS = (HttpSession, Exchange, Streams, Body, TcpSession, Pipe)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (get("/", "Connection: close"), [ok()]),
        (get(version="1.0"), [answer("200 OK"), b"hello", END]),
        (post(b"hel", length=5), [ok()]),
        (chunked(b"hel"), [b"nonsense\r\n\r\n"]),
        (get(), [ok(b"hel", length=5), END]),
        (get("/", "Connection: upgrade", "Upgrade: x"), [answer("101 Go", "Connection: upgrade", "Upgrade: x"), END]),
    ],
)
def test_an_exchange_that_ended_is_gone(http: Make, asked: bytes, said: list[bytes]) -> None:
    gc.disable()
    gc.freeze()  # what is there already is not looked at
    try:
        web = http(target := End())
        client = web.arrives(End(asked))
        web.says(target, *said)
        if not client.closed:
            web.says(client, END)
        assert (client.closed, target.closed or web.pooled == 1) == (True, True)
        assert [thing for thing in gc.get_objects() if isinstance(thing, KINDS)] == []
    finally:
        gc.unfreeze()
        gc.enable()


# --- bugs


def test_a_bug_while_choosing(http: Make) -> None:
    web = http(RuntimeError("a bug"), target := End())
    client, other = web.arrives(End(get())), web.arrives(End(get()))
    web.is_buggy = True
    web.says(target, ok())
    assert (client.fate, other.heard()) == ("reset", ok())
    assert (web.exchanges, web.outcomes) == ({"connect/bug": 1, "data/done": 1}, {"connect/bug": 1})
    assert "in phase connect" in web.bugs[0][1]


@pytest.mark.parametrize("phase", [*PHASES])
def test_a_bug_in_any_phase_ends_its_session_alone(http: Make, phase: str) -> None:
    web = http(target := Dialled())
    client = brought_to(web, phase)
    web.is_buggy = True
    (target if phase not in ("request", "data, early") else client).say(RuntimeError("a bug"))  # type: ignore[arg-type]
    target.answer()
    web.loop.settle()
    outcome = f"{phase.partition(',')[0]}/bug".replace("answering", "response").replace("connect", "request")
    assert (client.fate, web.exchanges, web.outcomes) == ("reset", {outcome: 1}, {outcome: 1})
    assert target.closed


# --- time


def test_a_target_that_does_not_answer_in_time(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get()))
    web.sweep(58)
    web.says(target, b"HTTP/1.1 200")  # a beginning is no answer
    assert client.heard() == b""
    web.sweep(3)
    assert (status(client.heard()), client.fate, target.closed) == (504, "open", True)
    assert web.exchanges == {"response/timeout": 1}


def test_the_time_for_an_answer_begins_when_the_request_was_sent(http: Make) -> None:
    web = http(End())
    client = web.arrives(End(post(b"x" * 5000, length=20000)))
    for _ in range(3):
        web.sweep(19)
        web.says(client, b"x" * 5000)
    web.sweep(58)
    assert client.heard() == b""
    web.sweep(3)
    assert (status(client.heard()), client.fate) == (504, "open")
    assert web.exchanges == {"response/timeout": 1}


def test_a_target_that_does_not_take_the_request_in_time(http: Make) -> None:
    web = http(target := End(room=100))
    client = web.arrives(End(post(b"x" * 5000, length=20000)))
    web.sweep(58)
    web.takes(target, 100)
    web.sweep(58)
    assert client.heard() == b""
    web.sweep(3)
    assert (status(client.heard()), client.fate) == (504, "ended")
    assert web.exchanges == {"response/timeout": 1}


def test_a_target_that_falls_silent_in_the_middle_of_its_response(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get()))
    web.says(target, ok(b"he", length=5))
    for byte in (b"l", b"l"):
        web.sweep(58)
        web.says(target, byte)
    web.sweep(58)
    assert client.fate == "open"
    web.sweep(4)
    assert (client.fate, target.closed, web.exchanges) == ("reset", True, {"data/idle": 1})


def test_a_client_that_does_not_read_its_response(http: Make) -> None:
    web = http(target := End(), response_timeout=5.0)
    client = web.arrives(End(get(), room=10))
    web.says(target, ok(b"hello"))
    for _ in range(3):
        web.sweep(58)
        web.takes(client, 1)
    web.sweep(58)
    assert client.fate == "open"
    web.sweep(4)
    assert (client.fate, web.exchanges) == ("reset", {"data/idle": 1})


@pytest.mark.parametrize("dials", [[REFUSED], [End(b"nonsense\r\n\r\n")]])
def test_a_client_that_does_not_read_what_we_say(http: Make, dials: list[Any]) -> None:
    web = http(*dials, tries=1)
    client = web.arrives(End(get(), room=10))
    web.sweep(58)
    assert (client.fate, len(client.got)) == ("open", 10)
    web.sweep(4)
    outcome = "connect/refused" if dials == [REFUSED] else "response/bad_head"
    assert (client.fate, web.exchanges, web.outcomes) == ("reset", {outcome: 1}, {outcome: 1})


def test_a_client_that_does_not_read_its_redirect(http: Make) -> None:
    web = http(rules=[{"label": "all", "number": 1, "redirect": REDIRECT}])
    client = web.arrives(End(get(), room=10))
    web.sweep(62)
    assert (client.fate, web.exchanges) == ("reset", {"request/redirect": 1})
