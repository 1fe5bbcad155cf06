"""Connections to targets between two exchanges: kept while they are of use, closed as soon as they are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nlb.balance.target import DRAIN, READY, Target
from nlb.model.address import Address
from nlb.net.loop import READ
from nlb.observe import counters
from nlb.proxy.upstream import Pool, Upstream
from tests.fakes import END, NOTHING, End, HandLoop
from tests.unit.proxy.http_stage import chunked, closing, get, ok, post, status
from tests.unit.proxy.stage import two_rows

Make = Callable[..., Any]


class Stage:
    """A pool for targets 0 and 1."""

    def __init__(self) -> None:
        self.loop = HandLoop()
        row, _ = two_rows()
        self.targets = tuple(Target(n, f"t{n}", "web", Address("192.0.2.1", n)) for n in range(2))
        for target in self.targets:
            target.words = row.target(target.id)
        self.pool = Pool(self.loop, self)  # type: ignore[arg-type]
        self.pool.size, self.pool.timeout = 2, 4.0
        self.pool.keep_only(self.targets)

    def crashed(self, error: Exception) -> None:
        raise error

    def lent(self, number: int = 0) -> tuple[Upstream, End]:
        end = End()
        self.loop.know(end)
        watch = self.loop.watch(end.fileno(), READ, lambda mask: None, self)
        return self.pool.adopt(self.targets[number], end, watch), end  # type: ignore[arg-type]

    def idle(self, number: int = 0) -> End:
        upstream, end = self.lent(number)
        self.pool.give_back(upstream)
        return end

    def taken(self, number: int = 0, verify: bool = False) -> End | None:
        upstream = self.pool.take(self.targets[number], verify)
        return upstream.sock if upstream else None  # type: ignore[return-value]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_the_latest_is_taken_first(stage: Stage) -> None:
    ends = [stage.idle(), stage.idle()]
    assert [stage.taken(), stage.taken(), stage.taken()] == [ends[1], ends[0], None]


def test_each_target_has_its_own(stage: Stage) -> None:
    zero, one = stage.idle(0), stage.idle(1)
    assert (stage.taken(1), stage.taken(1), stage.taken(0)) == (one, None, zero)


def test_no_more_are_kept_than_were_wanted(stage: Stage) -> None:
    ends = [stage.idle() for _ in range(3)]
    stage.loop.settle()
    assert ([end.closed for end in ends], len(stage.pool)) == ([False, False, True], 2)


def test_none_are_kept_where_none_are_wanted(stage: Stage) -> None:
    stage.pool.size = 0
    end = stage.idle()
    stage.loop.settle()
    assert (end.closed, stage.taken()) == (True, None)


def test_none_idles_longer_than_it_may(stage: Stage) -> None:
    old = stage.idle()
    stage.loop.pass_time(3)
    young = stage.idle()
    stage.pool.sweep(stage.loop.now)
    stage.loop.pass_time(1)
    stage.pool.sweep(stage.loop.now)
    stage.loop.settle()
    assert (old.closed, young.closed) == (True, False)
    stage.loop.pass_time(10)
    stage.pool.sweep(stage.loop.now)
    stage.loop.settle()
    assert (young.closed, len(stage.pool)) == (True, 0)


@pytest.mark.parametrize("what", ["end", "reset", "unasked bytes", "unix hang-up"])
def test_one_that_its_target_gives_up_removes_itself(stage: Stage, what: str) -> None:
    end = stage.idle()
    end.unix = what == "unix hang-up"
    if what == "reset":
        end.reset()
    elif what == "unix hang-up":
        end.hang_up()
    else:
        end.say(END if what == "end" else b"HTTP/1.1 408 \r\n\r\n")
    stage.loop.settle()
    assert (end.closed, stage.taken(), stage.loop.watches) == (True, None, {})


@pytest.mark.parametrize("said", [END, b"unasked", ConnectionResetError()])
def test_who_asks_is_not_given_one_that_has_ended_unseen(stage: Stage, said: Any) -> None:
    good, bad = stage.idle(), stage.idle()
    bad.say(said)
    assert stage.taken(verify=True) is good
    stage.loop.settle()
    assert (bad.closed, good.closed) == (True, False)


def test_being_woken_for_nothing_is_no_reason_to_close(stage: Stage) -> None:
    end = stage.idle()
    end.say(NOTHING)
    assert stage.taken(verify=True) is end


def test_a_target_that_may_not_be_chosen_loses_its_idle_ones_at_once_and_the_lent_when_they_come_back(
    stage: Stage,
) -> None:
    idle, (lent, end), other = stage.idle(), stage.lent(), stage.idle(1)
    stage.pool.keep_only(stage.targets[1:])
    stage.loop.settle()
    assert (idle.closed, end.closed, other.closed) == (True, False, False)
    stage.pool.give_back(lent)
    stage.loop.settle()
    assert (end.closed, stage.taken(0)) == (True, None)
    stage.pool.keep_only(stage.targets)
    assert stage.idle(0) is stage.taken(0)


def test_what_moved_is_told_in_rounds_and_in_the_end(stage: Stage) -> None:
    upstream, _ = stage.lent()
    words = stage.targets[0].words
    assert words is not None
    for round_ in range(3):
        upstream.received, upstream.sent = 3, 4
        if round_ < 2:
            stage.pool.sweep(stage.loop.now)
        else:
            stage.pool.lost(upstream)
        assert (words[counters.TARGET_RECEIVED], words[counters.TARGET_SENT]) == (3 * round_ + 3, 4 * round_ + 4)


# --- with sessions


def test_a_target_that_drains_gets_no_new_request_and_finishes_the_old(http: Make) -> None:
    web = http(busy := End(), idle := End(), other := End(), targets="ab")
    web.mark("b", admin=DRAIN)
    client, second = web.arrives(End(get("/1"))), web.arrives(End(get("/2")))
    web.says(idle, ok())
    web.mark("b", admin=READY)
    assert (idle.fate, busy.fate, web.pooled) == ("open", "open", 1)
    web.mark("a", admin=DRAIN)
    assert (idle.fate, busy.fate, web.pooled) == ("closed", "open", 0)
    web.says(second, get("/3"))
    assert (other.heard(), web.dialled) == (get("/3"), ["a", "a", "b"])
    web.says(busy, ok(b"he", length=5))
    web.says(busy, b"llo")
    assert (client.heard(), client.fate, busy.fate) == (ok(b"hello"), "open", "closed")


def test_an_upload_to_a_target_that_drains_goes_on(http: Make) -> None:
    web = http(target := End())
    client = web.arrives(End(post(b"hel", length=5)))
    web.mark("a", admin=DRAIN)
    web.says(client, b"lo")
    web.says(target, ok())
    assert (client.heard(), target.fate) == (ok(), "closed")


def test_all_idle_ones_stand_ready_for_whoever_comes(http: Make) -> None:
    web = http(targets="a", pool_size=2)
    web.dials = [End() for _ in range(3)]
    clients = [web.arrives(End(get(f"/{number}"))) for number in range(3)]
    for end in list(web.joined):
        web.says(end, ok())
    assert [client.heard() for client in clients] == [ok()] * 3
    assert (web.pooled, [end.closed for end in web.joined]) == (2, [False, False, True])
    web.says(clients[0], get("/again"))
    assert (web.joined[1].got.endswith(get("/again")), len(web.dialled)) == (True, 3)
    web.says(web.joined[1], ok())


def test_an_idle_connection_is_closed_before_its_target_would(http: Make) -> None:
    web = http(target := End(), other := End(), targets="a")
    client = web.arrives(End(get("/1")))
    web.says(target, ok())
    web.sweep(3)
    assert target.fate == "open"
    web.sweep(2)
    assert (target.fate, web.pooled) == ("closed", 0)
    web.says(client, get("/2"))
    web.says(other, ok())
    assert client.heard() == ok() + ok()


def test_two_clients_never_share_a_connection_at_the_same_time(http: Make) -> None:
    web = http(one := End(), two := End(), targets="a")
    first, second = web.arrives(End(get("/1"))), web.arrives(End(get("/2")))
    assert (one.heard(), two.heard()) == (get("/1"), get("/2"))
    web.says(two, ok(b"2"))
    web.says(one, ok(b"1"))
    assert (first.heard(), second.heard()) == (ok(b"1"), ok(b"2"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (get(), closing(ok())),
        (get(), ok() + b"more"),
        (get(), b"nonsense\r\n\r\n"),
        (post(b"hel", length=5), ok()),
        (chunked(b"hel"), ok()),
    ],
)
def test_a_connection_is_not_used_again_when_anything_is_left_to_say(http: Make, asked: bytes, said: bytes) -> None:
    web = http(target := End())
    client = web.arrives(End(asked))
    web.says(target, said)
    assert (target.closed, web.pooled) == (True, 0)
    assert status(client.heard()) in (200, 502)
