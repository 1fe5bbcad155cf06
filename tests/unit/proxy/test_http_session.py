"""The client's side of HTTP: heads as they come, one request after the other, and how a connection ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from nlb.observe import counters
from nlb.observe.counters import DESYNC_WORD
from nlb.proxy.http import IN_A_ROW, LINGER, MOST_AHEAD
from nlb.shield.cidr import Networks
from tests.fakes import END, NOTHING, Dialled, End
from tests.heads import BAD, Head
from tests.unit.proxy.http_stage import HERE, IDLE, answer, closing, get, ok, post, status

Make = Callable[..., Any]

# Answered by ourselves, at once.
RULES = [{"label": "here", "number": 1, "path": ["/here*"], "fixed_response": HERE}]
HERE_SAYS = answer("200 OK", "Content-Type: text/plain", "Content-Length: 4") + b"here"


# --- one after the other


def test_question_and_answer(http: Make) -> None:
    web = http(target := Dialled())
    client = web.arrives(End(get("/a")))
    assert (web.session.exchange.phase, client.fate) == ("connect", "open")
    target.answer()
    web.loop.settle()
    assert (web.session.exchange.phase, target.heard()) == ("response", get("/a"))
    assert web.active == {"front": 1, "a": 1}
    web.says(target, ok(b"hello"))
    assert client.heard() == ok(b"hello")
    assert (client.fate, target.fate, web.pooled, web.active) == ("open", "open", 1, {"front": 1})
    web.says(client, END)
    assert (client.fate, web.outcomes, web.exchanges) == ("closed", {"data/done": 1}, {"data/done": 1})


def test_a_connection_on_either_side_serves_many_requests(http: Make) -> None:
    web = http(target := End(), targets="a")
    client = web.arrives()
    for path in ("/1", "/2", "/3"):
        web.says(client, get(path))
        assert target.heard() == get(path)
        web.says(target, ok(path.encode()))
        assert client.heard() == ok(path.encode())
    assert (web.dialled, web.exchanges, web.outcomes) == (["a"], {"data/done": 3}, {})
    assert (web.group_word(counters.POOL_HITS), web.group_word(counters.POOL_MISSES)) == (2, 1)
    assert web.target_words(counters.CONNECTIONS) == {"a": 1}


def test_the_same_request_again_is_the_same_whatever_comes_in_between(http: Make) -> None:
    web = http(target := End(), targets="a")
    client = web.arrives()
    for asked in (get("/1"), get("/1"), get("/2"), get("/1"), post(b"body"), get("/1"), get("/1", method="HEAD")):
        web.says(client, asked)
        assert target.heard() == asked
        said = ok(b"", length=3) if asked.startswith(b"HEAD") else ok(asked[:3])
        web.says(target, said)
        assert client.heard() == said
    assert web.exchanges == {"data/done": 7}


@pytest.mark.parametrize("size", [1, 7])
def test_the_same_request_again_may_come_in_pieces(http: Make, size: int) -> None:
    web = http(target := End(), targets="a")
    client = web.arrives()
    for _ in range(3):
        for at in range(0, len(get("/a")), size):
            web.says(client, get("/a")[at : at + size])
        assert target.heard() == get("/a")
        web.says(target, ok(b"hello"))
        assert client.heard() == ok(b"hello")
    assert (web.exchanges, web.session.scanned) == ({"data/done": 3}, 0)


def test_the_same_head_with_another_body(http: Make) -> None:
    web = http(target := End(), targets="a")
    client = web.arrives()
    for body in (b"one", b"two", b"one"):
        web.says(client, post(body))
        assert target.heard() == post(body)
        web.says(target, ok(body))
        assert client.heard() == ok(body)


def test_a_head_that_a_target_said_before_may_be_the_beginning_of_less(http: Make) -> None:
    """The same response head to HEAD, to which no body belongs, and with a body that comes in pieces, or with more
    than was announced."""
    web = http(target := End(), targets="a")
    client = web.arrives()
    for method, said in (("GET", ok(b"abc")), ("HEAD", ok(length=3)), ("GET", ok(b"xyz")), ("HEAD", ok(length=3))):
        web.says(client, get(method=method))
        web.says(target, said)
        assert client.heard() == said
    web.says(client, get())
    web.says(target, ok(b"a", length=3))
    web.says(target, b"bc")
    assert (client.heard(), web.pooled) == (ok(b"abc"), 1)
    web.says(client, get())
    web.says(target, ok(b"abc") + b"more")
    assert (client.heard(), web.pooled, target.closed) == (ok(b"abc"), 0, True)


def test_each_request_is_balanced(http: Make) -> None:
    web = http(End(), End(), End())
    client = web.arrives()
    for number in range(3):
        web.says(client, get(f"/{number}"))
        web.says(web.joined[-1], ok())
    assert web.dialled == ["a", "b", "c"]


def test_what_is_counted_and_written_down(http: Make) -> None:
    web = http(target := Dialled(), room=9)
    client = web.arrives(End(get("/a?b", "User-Agent: curl")))
    web.loop.pass_time(0.02)
    target.answer()
    web.loop.settle()
    web.loop.pass_time(0.3)
    target.say(ok(b"hello"))
    web.loop.settle()
    web.says(client, END)
    (line,) = web.log.lines
    told = {
        "outcome": "data/done",
        "method": "GET",
        "uri": "/a?b",
        "version": "HTTP/1.1",
        "host": "a",
        "rule": "default",
        "group": "web",
        "target": "a",
        "status": 200,
        "target_status": 200,
        "received": len(get("/a?b", "User-Agent: curl")),
        "sent": len(ok(b"hello")),
        "queue": None,
        "connect": 0.02,
        "first_byte": 0.3,
        "duration": 0.32,
        "tries": 1,
        "user_agent": "curl",
    }
    assert {name: line[name] for name in told} == told
    assert (web.words[counters.RECEIVED], web.words[counters.SENT]) == (told["received"], told["sent"])
    assert web.statuses() == {"2xx": 1}


def test_bytes_of_a_session_that_lives_are_counted_by_the_sweep(http: Make) -> None:
    web = http(target := End())
    web.arrives(End(get()))
    web.sweep()
    assert (web.words[counters.RECEIVED], web.words[counters.SENT]) == (len(get()), 0)
    web.says(target, ok(b"12", length=4))
    web.sweep()
    assert web.words[counters.SENT] == len(ok(b"12", length=4))
    assert web.target_words(counters.TARGET_SENT) == {"a": len(ok(b"12", length=4))}
    web.says(target, b"34")
    web.sweep()
    assert web.words[counters.SENT] == len(ok(b"1234"))
    assert web.target_words(counters.TARGET_SENT) == {"a": len(ok(b"1234"))}


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_head_may_come_in_pieces(http: Make, size: int) -> None:
    web = http(target := End())
    client = web.arrives()
    head = get("/a", "Accept: */*")
    for at in range(0, len(head), size):
        assert target.got == b""
        web.says(client, head[at : at + size])
    assert target.heard() == head


def test_being_woken_for_nothing_is_harmless(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(NOTHING))
    web.says(client, get()[:5], NOTHING, get()[5:], NOTHING)
    web.says(target, NOTHING, ok(b"hello")[:9], NOTHING, ok(b"hello")[9:])
    assert client.heard() == ok(b"hello")


# --- pipelining


def test_requests_that_come_together_are_answered_in_order(http: Make) -> None:
    web = http(target := End(), targets="a")
    client = web.arrives(End(get("/1") + post(b"body", path="/2") + get("/3")))
    for request in (get("/1"), post(b"body", path="/2"), get("/3")):
        assert target.heard() == request, "the next is sent once the one before is answered"
        web.says(target, ok(request[:6]))
        assert client.heard() == ok(request[:6])
    assert web.exchanges == {"data/done": 3}


def test_what_comes_while_a_request_is_under_way_waits(http: Make) -> None:
    web = http(target := End(), targets="a")
    client = web.arrives(End(get("/1")))
    web.says(client, get("/2")[:7])
    web.says(client, get("/2")[7:])
    assert target.heard() == get("/1")
    web.says(target, ok())
    assert target.heard() == get("/2")


def test_a_client_that_is_far_ahead_is_not_read_until_it_was_answered(http: Make) -> None:
    web = http(target := End(), targets="a", rules=RULES)
    client = web.arrives(End(get("/1")))
    ahead = get("/here") * (4 * MOST_AHEAD // len(get("/here")))
    web.says(client, ahead)
    assert client.taken <= len(get("/1")) + 2 * MOST_AHEAD
    web.says(target, ok())
    assert client.heard() == ok() + HERE_SAYS * (len(ahead) // len(get("/here")))


@pytest.mark.parametrize("many", [1, IN_A_ROW - 1, IN_A_ROW, IN_A_ROW + 1, 2 * IN_A_ROW, 2000])
def test_many_requests_at_once_are_all_answered_and_do_not_grow_the_stack(http: Make, many: int) -> None:
    assert sys.getrecursionlimit() < 2000
    web = http(rules=RULES)
    client = web.arrives(End(get("/here") * many))
    assert client.heard() == HERE_SAYS * many
    assert (web.exchanges, web.bugs) == ({"request/fixed_response": many}, [])
    web.says(client, get("/here"))
    assert client.heard() == HERE_SAYS


def test_many_requests_at_once_to_targets_do_not_grow_the_stack(http: Make) -> None:
    web = http(*[1] * 3000, targets="a", tries=1)  # EPERM: refused by the network at once
    client = web.arrives(End(get() * 1500))
    assert client.got.count(b"HTTP/1.1 502 ") == 1500
    assert web.exchanges == {"connect/unreachable": 1500}


def test_who_sends_many_requests_at_once_leaves_turns_to_others(http: Make) -> None:
    web = http(rules=RULES)
    greedy, modest = web.arrives(), web.arrives()
    greedy.say(get("/here") * 100)
    modest.say(get("/here"))
    web.loop.turn()
    assert modest.heard() == HERE_SAYS
    assert greedy.heard() == HERE_SAYS * IN_A_ROW
    web.loop.settle()
    assert greedy.heard() == HERE_SAYS * (100 - IN_A_ROW)


def test_a_client_may_speak_or_leave_while_others_have_their_turn(http: Make) -> None:
    web = http(target := End(), rules=RULES)
    client = web.arrives(End(get("/a") + get("/here") * 40))
    target.say(ok())
    client.say(get("/here"))
    web.loop.settle()
    assert client.heard() == ok() + HERE_SAYS * 41
    client.say(get("/here") * 40)
    web.loop.turn()
    web.resets(client)
    assert web.outcomes == {"request/client_reset": 1}


def test_who_does_not_read_the_answers_to_its_many_requests_waits(http: Make) -> None:
    web = http(rules=RULES)
    client = web.arrives(End(get("/here") * 100, room=10))
    assert web.exchanges == {}
    for _ in range(100):
        web.takes(client, len(HERE_SAYS))
    web.takes(client)
    assert client.heard() == HERE_SAYS * 100


# --- versions and keep-alive


CLOSE, KEEP = "Connection: close", "Connection: keep-alive"


@pytest.mark.parametrize(
    ("asked", "told", "fate"),
    [
        (get(), ok(b"hello"), "open"),
        (get("/", KEEP), ok(b"hello"), "open"),
        (get("/", CLOSE), closing(ok(b"hello")), "closed"),
        (get(version="1.0"), closing(ok(b"hello")), "closed"),
        (get("/", KEEP, version="1.0"), closing(ok(b"hello"), "keep-alive"), "open"),
        (get("/", CLOSE, version="1.0"), closing(ok(b"hello")), "closed"),
    ],
)
def test_how_long_a_connection_is_kept(http: Make, asked: bytes, told: bytes, fate: str) -> None:
    web = http(target := End())
    client = web.arrives(End(asked))
    assert target.heard() == get("/"), "the target's connection is another one"
    web.says(target, ok(b"hello"))
    assert client.heard() == told
    assert (client.fate, target.fate, web.pooled) == (fate, "open", 1)


def test_what_comes_behind_the_last_request_is_nobodys(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get("/1", CLOSE) + get("/2")))
    web.says(target, ok())
    assert (status(client.heard()), client.fate) == (200, "ended"), "the client may still be sending: no reset yet"
    assert target.heard() == get("/1")
    web.says(client, get("/3"), END)
    assert (client.fate, web.outcomes, web.exchanges) == ("closed", {"data/done": 1}, {"data/done": 1})


# --- heads that are late, wrong or too large


def test_a_head_that_is_late_is_answered_and_its_client_left(http: Make) -> None:
    web = http()
    client = web.arrives(End(b"G"))
    for byte in get("/a").replace(b"\r\n\r\n", b"\r\n")[1:]:
        web.sweep(0.9)
        if client.got:
            break
        web.says(client, bytes((byte,)))
    assert status(client.heard()) == 408
    assert web.loop.now == pytest.approx(1000 + 10, abs=1), "counted from the first byte, not from the last"
    assert (client.fate, web.exchanges) == ("ended", {"request/timeout": 1})
    web.says(client, END)
    assert (client.fate, web.outcomes) == ("closed", {"request/timeout": 1})
    (line,) = web.log.lines
    assert (line["status"], line["method"], line["uri"], line["target"]) == (408, None, None, None)
    assert web.words[DESYNC_WORD[""]] == 0, "what never came is of no class"


def test_the_time_for_a_head_begins_anew_with_each_request(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get("/1")))
    web.says(client, get("/2")[:9])
    web.sweep(20)
    web.says(target, ok())
    assert client.heard() == ok()
    web.sweep(9)
    assert client.heard() == b""
    web.sweep(2)
    assert (status(client.heard()), client.fate) == (408, "ended")


def test_an_empty_line_behind_a_body_begins_no_head(http: Make) -> None:
    web = http(target := End(), targets="a", pool_timeout=1000.0)
    client = web.arrives(End(post(b"hello") + b"\r\n"))
    web.says(target, ok())
    assert client.heard() == ok()
    web.sweep(30)
    assert (client.fate, client.heard()) == ("open", b"")
    web.says(client, get()[:5])
    web.sweep(8)
    web.says(client, get()[5:] + b"\r\n")
    web.says(target, ok())
    assert (client.heard(), web.log.lines[1]["duration"]) == (ok(), 8.0)
    web.sweep(IDLE + 1)
    assert (client.fate, client.heard(), web.outcomes) == ("closed", b"", {"request/idle": 1})


@pytest.mark.parametrize("way", ["the client leaves", "the listener leaves"])
def test_an_empty_line_keeps_nobody(http: Make, way: str) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"hello") + b"\r\n"))
    web.says(target, ok())
    if way == "the client leaves":
        web.says(client, END)
    else:
        web.sweep(2)
        web.listener.close()
        web.loop.settle()
    assert (client.fate, web.outcomes) == ("closed", {"data/done": 1})


@pytest.mark.parametrize("head", BAD, ids=str)
def test_what_is_no_request_is_answered_counted_and_not_passed_on(http: Make, head: Head) -> None:
    web = http(reason_header=True)
    client = web.arrives(End(head.raw))
    assert (status(client.got), web.dialled) == (head.status, [])
    assert b"\r\nConnection: close\r\n" in client.got
    assert web.words[DESYNC_WORD[head.reason]] == 1
    cause = "too_large" if head.status in (414, 431) else "bad_head"
    assert web.exchanges == {f"request/{cause}": 1}
    assert f"\r\nX-Nlb-Reason: request/{cause}\r\n".encode() in client.got
    assert client.fate == "ended"
    web.says(client, b"whatever it has to say", END)
    assert (client.fate, web.outcomes) == ("closed", {f"request/{cause}": 1})
    (line,) = web.log.lines
    assert (line["status"], line["desync_reason"]) == (head.status, head.reason)


def test_what_is_wrong_behind_a_good_request_is_answered_after_it(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get() + b"GET / HTTP/1.1\r\n\r\n" + get("/never")))
    web.says(target, ok(b"hello"))
    assert client.got.startswith(ok(b"hello") + b"HTTP/1.1 400 Bad Request\r\n")
    assert (target.heard(), web.exchanges) == (get(), {"data/done": 1, "request/bad_head": 1})


def test_the_answer_to_what_is_no_request_is_in_html_only_for_who_can_be_asked(http: Make) -> None:
    web = http()
    client = web.arrives(End(b"\0\r\n\r\n"))
    assert b"Content-Type: text/plain" in client.got


# --- who goes on sending is given time to read our last answer


def test_a_client_that_never_stops_is_closed_after_a_while(http: Make) -> None:
    web = http()
    client = web.arrives(End(b"\0"))
    for _ in range(int(LINGER)):
        web.says(client, b"x" * 100000)
        assert (len(client.says), client.fate) == (0, "ended"), "all is read, and nothing is kept"
        web.sweep()
    assert (client.fate, web.outcomes) == ("closed", {"request/bad_head": 1})


@pytest.mark.parametrize("way", ["reset", "end", "broken at once"])
def test_a_client_that_leaves_while_it_has_time_to_read(http: Make, way: str) -> None:
    web = http()
    client = web.queues(End(b"\0"))
    if way == "broken at once":
        client.reset()
    web.loop.settle()
    if way == "reset":
        web.resets(client)
    elif way == "end":
        web.says(client, b"more", END)
    assert client.closed
    assert sum(web.outcomes.values()) == 1


class Odd(End):
    """A connection that cannot be shut down, because it has just broken."""

    def shutdown(self, how: int) -> None:
        raise OSError("not connected")


def test_a_client_that_is_gone_needs_no_time_to_read(http: Make) -> None:
    web = http()
    client = web.arrives(Odd(b"\0"))
    assert (client.closed, web.outcomes) == (True, {"request/bad_head": 1})


def test_being_woken_for_nothing_is_no_end(http: Make) -> None:
    web = http()
    client = web.arrives(End(b"\0"))
    web.says(client, NOTHING)
    assert client.fate == "ended"


def test_who_has_time_to_read_has_it_when_nlb_stops_too(http: Make) -> None:
    web = http()
    client = web.arrives(End(b"\0"))
    web.listener.close()
    web.loop.settle()
    assert client.fate == "ended"
    web.sweep(3)
    assert client.fate == "closed"


# --- clients that leave


def test_a_client_that_says_nothing(http: Make) -> None:
    web = http()
    web.arrives(End(END))
    assert (web.outcomes, web.exchanges) == ({"request/client_closed": 1}, {})


@pytest.mark.parametrize(("said", "outcome"), [(b"", "client_reset"), (b"GET / HT", "client_reset")])
def test_a_client_that_resets_before_its_request_is_complete(http: Make, said: bytes, outcome: str) -> None:
    web = http()
    client = web.arrives(End(*[said] if said else []))
    web.resets(client)
    assert (web.outcomes, web.exchanges) == ({f"request/{outcome}": 1}, {})


def test_a_client_that_leaves_in_the_middle_of_a_head(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get()))
    web.says(target, ok())
    web.says(client, b"GET / HT", END)
    assert web.outcomes == {"request/client_closed": 1}


def test_a_client_that_leaves_between_two_requests_is_done(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get()))
    web.says(target, ok())
    web.resets(client)
    assert web.outcomes == {"request/client_reset": 1}


@pytest.mark.parametrize("talks", [False, True])
def test_a_client_that_is_idle_is_closed_in_order(http: Make, talks: bool) -> None:
    web = http(target := End())
    client = web.arrives()
    if talks:
        web.says(client, get())
        web.says(target, ok())
    web.sweep(IDLE - 2)
    assert client.fate == "open"
    web.sweep(3)
    assert (client.fate, web.outcomes) == ("closed", {"request/idle": 1})


def test_idle_is_who_has_no_request_under_way(http: Make) -> None:
    web = http(target := End(), response_timeout=1000.0)
    client = web.arrives(End(get()))
    web.sweep(IDLE + 10)
    web.says(target, ok())
    web.sweep(IDLE - 2)
    assert (client.fate, client.heard()) == ("open", ok())


# --- the listener takes no more


def test_a_listener_that_leaves_closes_who_is_between_two_requests(http: Make) -> None:
    web = http(target := End())
    fresh, served = web.arrives(), web.arrives(End(get()))
    web.says(target, ok())
    web.sweep(2)
    web.listener.close()
    web.loop.settle()
    assert (fresh.fate, served.fate) == ("closed", "closed")
    assert web.outcomes == {"request/shutdown": 1, "data/done": 1}


def test_a_listener_that_leaves_answers_who_may_just_be_asking(http: Make) -> None:
    web = http(target := End(), targets="a")
    fresh, served, silent = web.arrives(), web.arrives(End(get())), web.arrives()
    web.says(target, ok())
    assert served.heard() == ok()
    web.listener.close()
    web.loop.settle()
    for client in (fresh, served):
        web.says(client, get())
        web.says(target, ok())
        assert (client.heard(), client.fate) == (closing(ok()), "closed")
    web.sweep(2)
    assert (silent.fate, web.outcomes) == ("closed", {"request/shutdown": 1, "data/done": 2})


def test_a_listener_that_leaves_finishes_what_is_under_way(http: Make) -> None:
    web = http(target := End(), targets="a")
    client = web.arrives(End(get()))
    half = web.arrives(End(get()[:5]))
    web.listener.close()
    web.loop.settle()
    web.says(target, ok(b"hello"))
    assert client.heard() == closing(ok(b"hello"))
    assert (client.fate, half.fate, web.pooled) == ("closed", "open", 1)
    web.says(half, get()[5:])
    web.says(target, ok(b"hello"))
    assert half.heard() == closing(ok(b"hello"))
    assert web.outcomes == {"data/done": 2}


@pytest.mark.parametrize("path", ["/here", "/nobody"])
def test_a_listener_that_leaves_says_so_in_answers_of_its_own(http: Make, path: str) -> None:
    web = http(rules=RULES, targets="")
    client = web.arrives(End(get(path)[:5]))
    web.listener.close()
    web.says(client, get(path)[5:])
    assert b"\r\nConnection: close\r\n" in client.got
    assert client.fate == "closed"


def test_who_was_told_nothing_of_the_listeners_leave_is_closed_soon_after_its_answer(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(get()))
    web.says(target, ok(b"hel", length=5))
    web.listener.close()
    web.says(target, b"lo")
    web.sweep(2)
    assert (client.heard(), client.fate, web.outcomes) == (ok(b"hello"), "closed", {"data/done": 1})


# --- the listener is told anew


def test_a_session_lives_by_what_its_listener_was_told_last(http: Make) -> None:
    web = http(target := End(), api="d")
    client = web.arrives(End(get("/1")))
    web.change(rules=RULES, default={"label": "default", "number": 5, "forward": [[1, 1, 5]]}, via=True)
    web.says(target, ok(b"1"))
    assert client.heard() == ok(b"1"), "what is under way goes on as it began"
    web.says(client, get("/here"))
    assert client.heard() == HERE_SAYS
    web.dials.append(other := End())
    web.says(client, get("/2"))
    assert other.heard() == get("/2", "Via: 1.1 nlb")


# --- clients behind a proxy, and of a unix socket


def test_who_is_believed(http: Make) -> None:
    web = http(target := End(), trusted_proxies=["192.0.2.0/24"], x_forwarded="append")
    web.arrives(End(get("/", "X-Forwarded-For: 198.51.100.9")))
    assert b"X-Forwarded-For: 198.51.100.9, 192.0.2.7\r\n" in target.got
    web.says(target, ok())
    (line,) = web.log.lines
    assert (line["client"], line["peer"]) == ("198.51.100.9", "192.0.2.7:40000")


def test_a_client_of_a_unix_socket(http: Make) -> None:
    web = http(target := End(), policy="source_ip")
    client = web.arrives(End(get(), unix=True), address="")
    web.says(target, ok())
    assert client.heard() == ok()
    assert web.session.client_name == "unix:"
    client.hang_up()
    web.loop.settle()
    assert web.outcomes == {"data/done": 1}


# --- bugs


class BrokenLog:
    def write(self, *anything: Any) -> None:
        raise RuntimeError("a bug")


def test_a_bug_at_the_end_of_an_exchange_ends_the_session_and_nothing_else(http: Make) -> None:
    web = http(target := End(), rules=RULES)
    client, other = web.arrives(End(get("/a"))), web.arrives()
    web.is_buggy = True
    web.listener.access_log = BrokenLog()
    web.says(target, ok())
    web.listener.access_log = web.log
    assert (client.closed, web.outcomes) == (True, {"request/bug": 1})
    web.says(other, get("/here"))
    assert other.heard() == HERE_SAYS
    web.log.lines.append({})  # the one that was not written


def greets_with_a_proxy_header(web: Any) -> bytes:
    """What a client says behind it is read in the same turn, by no handler of the loop's."""
    web.listener.proxies = Networks(["192.0.2.0/24"])
    web.listener.proxy_header_timeout = 3.0
    return b"PROXY TCP4 203.0.113.9 192.0.2.1 41000 80\r\n"


def test_a_request_right_behind_a_greeting(http: Make) -> None:
    web = http(rules=RULES)
    client = web.queues(End(greets_with_a_proxy_header(web) + get("/here")))
    web.loop.turn()  # accepted
    web.loop.turn()  # both
    assert client.heard() == HERE_SAYS
    assert web.log.lines[0]["client"] == "203.0.113.9"


def test_a_bug_right_behind_a_greeting_ends_the_session(http: Make) -> None:
    web = http(rules=RULES)
    web.is_buggy = True
    web.listener.access_log = BrokenLog()
    client = web.arrives(End(greets_with_a_proxy_header(web) + get("/here")))
    web.listener.access_log = web.log
    assert (client.closed, web.outcomes) == (True, {"request/bug": 1})
    web.log.lines.append({})  # the one that was not written


def test_what_the_operator_is_shown_of_a_session(http: Make) -> None:
    web = http(target := End())
    client = web.arrives()
    now = web.loop.now
    assert web.session.describe(now + 2) == {
        "target": None, "group": "web", "phase": "request", "age": 2, "idle": 2, "received": 0, "sent": 0,
    }  # fmt: skip
    web.says(client, get())
    shown = web.session.describe(now + 3)
    assert (shown["target"], shown["phase"], shown["received"]) == ("a", "response", len(get()))
    web.says(target, ok())
    assert web.session.describe(now)["sent"] == len(ok())
