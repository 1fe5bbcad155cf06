"""The life of a name on a real loop, with a nameserver on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from nlb.control.names import Known, Question, Settings, Verdict
from nlb.control.resolve import Resolver
from nlb.net.loop import Loop
from tests.dnsserver import Nameserver
from tests.waiting import PATIENCE, until

APP = Question("app.test")

# Seconds for a look-up that is to end without an answer.
SHORT = 0.3


class Follower:
    """A resolver on a real loop, and what it told last."""

    def __init__(self, server: Nameserver, etc: Path, timeout: float = PATIENCE) -> None:
        self.loop = Loop()
        self.events: list[str] = []
        self.known = Known()
        self._server = server
        self.resolver = Resolver(self.loop, self._say, self._changed, Random(1))
        self.resolver.follow([APP], Settings(0.01, 0.02, timeout, (server.address,), str(etc)))

    def _say(self, level: str, kind: str, text: str) -> None:
        self.events.append(f"{level}: {text}")

    def _changed(self, question: Question, verdict: Verdict) -> None:
        assert question == APP
        self.known = verdict.known

    def until(self, state: str, *ips: str) -> None:
        until(
            lambda: (self.known.state, [item.ip for item in self.known.found]) == (state, list(ips)),
            between=lambda: self.loop.turn(0.01),
        )

    def look_again(self) -> None:
        """Let the name be asked for some more times."""
        asked = len(self._server.asked)
        until(lambda: len(self._server.asked) > asked + 5, between=lambda: self.loop.turn(0.01))

    def close(self) -> None:
        self.resolver.stop()
        self.loop.close()


@pytest.fixture
def server() -> Iterator[Nameserver]:
    server = Nameserver()
    yield server
    server.close()


def test_a_life_of_a_name(server: Nameserver, tmp_path: Path) -> None:
    server.has("app.test", ("A", 0, "10.0.0.1"))
    follower = Follower(server, tmp_path)
    try:
        follower.until("ok", "10.0.0.1")
        server.has("app.test", ("A", 0, "10.0.0.1", "10.0.0.2"))
        follower.until("ok", "10.0.0.1", "10.0.0.2")
        server.has("app.test", ("A", 0, "10.0.0.2"))
        follower.until("ok", "10.0.0.2")
        server.forget("app.test")
        follower.until("stale", "10.0.0.2")
        follower.look_again()
        assert follower.known.reason == "no such name (NXDOMAIN)"
        server.has("app.test", ("A", 0, "10.0.0.2"))
        follower.until("ok", "10.0.0.2")
        follower.look_again()
    finally:
        follower.close()
    assert follower.events == [
        "info: app.test: 10.0.0.1 added",
        "info: app.test: 10.0.0.2 added",
        "info: app.test: 10.0.0.1 removed",
        "warning: app.test cannot be looked up, so addresses of the last answer stay in use (1 in all): "
        "no such name (NXDOMAIN)",
        "info: app.test is looked up without trouble again",
    ]


def test_a_name_that_is_not_there_yet_comes_later(server: Nameserver, tmp_path: Path) -> None:
    server.fails("app.test", "A")
    server.fails("app.test", "AAAA")
    follower = Follower(server, tmp_path)
    try:
        until(lambda: follower.events, between=lambda: follower.loop.turn(0.01))
        follower.until("none")
        follower.look_again()
        del server.zone["app.test", "AAAA"]
        server.has("app.test", ("A", 0, "10.0.0.1"))
        follower.until("ok", "10.0.0.1")
    finally:
        follower.close()
    assert [event.split(":")[0] for event in follower.events] == ["warning", "info", "info"]


def test_the_loop_may_be_closed_while_a_look_up_hangs(server: Nameserver, tmp_path: Path) -> None:
    server.says("app.test", "A", b"")
    follower = Follower(server, tmp_path, timeout=SHORT)
    until(lambda: server.asked, between=lambda: follower.loop.turn(0.01))
    follower.close()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("nlb-names")])
    assert follower.known == Known()
