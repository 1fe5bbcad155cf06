"""The admin socket against clients of every kind: in pieces, in a hurry, silent, deaf, wrong and too many."""

from __future__ import annotations

import errno
import getpass
import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nlb.admin.server import LONGEST_REQUEST, MAX_CLIENTS, AdminServer
from nlb.model.address import Address
from nlb.net.loop import Loop
from nlb.net.sockets import listen
from tests.unit.admin.canned import SESSION, Daemon, FakeController

STATUS = b'{"verb": "status"}\n'


class Caller:
    """A client of the admin socket that does what the test says, byte by byte."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(path)
        self._lines = self.sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def ask(self, data: bytes) -> dict[str, Any]:
        self.send(data)
        return self.answer()

    def at_end(self) -> bool:
        """Whether the server has closed, with nothing more to read."""
        try:
            return self._lines.readline() == b""
        except ConnectionResetError:
            return True

    def wait_until_dropped(self) -> None:
        """Without reading anything."""
        poll = select.poll()
        poll.register(self.sock, 0)
        assert poll.poll(10_000), "the server keeps the connection"

    def close(self) -> None:
        self._lines.close()
        self.sock.close()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def caller(daemon: Daemon) -> Iterator[Caller]:
    with Caller(daemon.path) as caller:
        yield caller


def test_a_request_is_answered_with_the_version_and_data(caller: Caller) -> None:
    answer = caller.ask(STATUS)
    assert answer["ok"] is True
    assert answer["version"] == "0.1.0"
    assert answer["data"]["state"] == "running"


def test_a_request_may_come_in_pieces(caller: Caller) -> None:
    for letter in STATUS:
        caller.send(bytes([letter]))
    assert caller.answer()["ok"]


def test_several_requests_at_once_are_answered_in_order(caller: Caller) -> None:
    caller.send(b'{"verb": "status"}\n{"verb": "no"}\n{"verb": "listeners"}\n')
    first, second, third = caller.answer(), caller.answer(), caller.answer()
    assert "workers" in first["data"]
    assert second["error"].startswith("unknown command 'no'")
    assert list(third["data"]) == ["now", "listeners"]


def test_a_request_waits_for_the_late_answer_to_the_one_before(daemon: Daemon, caller: Caller) -> None:
    daemon.controller.session_rows = None
    caller.send(b'{"verb": "sessions"}\n{"verb": "listeners"}\n')
    with Caller(daemon.path) as other:
        assert other.ask(STATUS)["ok"]
    daemon.do(lambda: daemon.controller.held[0]([SESSION]))
    assert caller.answer()["data"]["sessions"] == [SESSION]
    assert "listeners" in caller.answer()["data"]


def test_an_answer_that_is_given_twice_is_sent_once(daemon: Daemon, caller: Caller) -> None:
    daemon.controller.session_rows = None
    caller.send(b'{"verb": "sessions"}\n')
    with Caller(daemon.path) as other:
        other.ask(STATUS)
    daemon.do(lambda: [daemon.controller.held[0]([SESSION]) for _ in range(2)])
    assert caller.answer()["data"]["sessions"] == [SESSION]
    assert "state" in caller.ask(STATUS)["data"]


def test_an_answer_for_a_client_that_has_gone_is_dropped(daemon: Daemon) -> None:
    daemon.controller.session_rows = None
    with Caller(daemon.path) as caller, Caller(daemon.path) as other:
        caller.send(b'{"verb": "sessions"}\n')
        other.ask(STATUS)
        caller.close()
        other.ask(STATUS)
        daemon.do(lambda: daemon.controller.held[0]([SESSION]))
        assert other.ask(STATUS)["ok"]


def test_a_last_line_without_its_end_is_answered(caller: Caller) -> None:
    caller.send(STATUS.rstrip())
    caller.sock.shutdown(socket.SHUT_WR)
    assert caller.answer()["ok"]
    assert caller.at_end()


def test_a_change_carries_the_name_of_the_user_behind_the_socket(daemon: Daemon, caller: Caller) -> None:
    answer = caller.ask(b'{"verb": "drain", "args": {"target": "web01", "timeout": "5m", "reason": "deploy"}}\n')
    assert answer["data"]["targets"][0]["admin"]["state"] == "drain"
    assert daemon.controller.calls == [("set_admin", "web01", "drain", "deploy", 300.0, getpass.getuser())]


NOT_JSON = 'a request is one line of JSON, like {"verb": "status", "args": {}}'
NOT_AN_OBJECT = 'a request is a JSON object, like {"verb": "status", "args": {}}'


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"\n", NOT_JSON),
        (b"status\n", NOT_JSON),
        (b"GET / HTTP/1.1\r\n", NOT_JSON),
        (b"\x16\x03\x01\x02\x00\xff\xfe\n", NOT_JSON),
        (b"[" * 60_000 + b"\n", NOT_JSON),
        (b"9" * 5_000 + b"\n", NOT_JSON),
        (b"[]\n", NOT_AN_OBJECT),
        (b"null\n", NOT_AN_OBJECT),
        (b"{}\n", "unknown command 'None'; there are: status, targets"),
        (b'{"verb": "targts"}\n', "unknown command 'targts' (did you mean targets"),
        (b'{"verb": "status", "args": null}\n', "the arguments of status must be an object"),
        (b'{"verb": "drain", "args": {"target": "wep01"}}\n', "no target is called 'wep01' (did you mean web01"),
    ],
)
def test_a_bad_line_is_answered_in_words_and_the_next_one_served(caller: Caller, line: bytes, error: str) -> None:
    answer = caller.ask(line)
    assert answer["ok"] is False
    assert answer["error"].startswith(error)
    assert caller.ask(STATUS)["ok"]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_an_endless_request_is_refused_and_the_client_reads_why(caller: Caller, end: bytes) -> None:
    caller.send(b'{"verb": "' + b"x" * (20 * LONGEST_REQUEST) + end)
    assert caller.answer()["error"] == "the request is longer than 65536 bytes"
    caller.sock.shutdown(socket.SHUT_WR)
    assert caller.at_end()


def test_an_error_inside_is_kept_from_the_operator_and_logged(
    daemon: Daemon, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("the secret of line 12")

    daemon.controller.on_snapshot = fail
    answer = caller.ask(STATUS)
    assert answer == {"version": "0.1.0", "ok": False, "error": "internal error in 'status', see the log of nlb"}
    assert "the secret of line 12" in caplog.text
    daemon.controller.on_snapshot = lambda: None
    assert caller.ask(STATUS)["ok"]


def test_an_answer_that_is_not_json_is_an_error_inside(
    daemon: Daemon, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.controller.facts["config"]["loaded"] = {1, 2}
    assert caller.ask(STATUS)["error"] == "internal error, see the log of nlb"
    assert "not JSON" in caplog.text


def test_a_client_that_never_reads_costs_one_answer_and_delays_nobody(daemon: Daemon, caller: Caller) -> None:
    looks: list[None] = []
    daemon.controller.on_snapshot = lambda: looks.append(None)
    daemon.controller.facts["config"]["file"] = "x" * (8 << 20)
    caller.send(STATUS * 50)
    with Caller(daemon.path) as other:
        assert other.ask(b'{"verb": "listeners"}\n')["ok"]
    assert len(looks) <= 2


def test_a_big_answer_arrives_whole(daemon: Daemon, caller: Caller) -> None:
    daemon.controller.facts["config"]["file"] = "x" * (8 << 20)
    assert caller.ask(STATUS)["data"]["config"]["file"] == "x" * (8 << 20)
    assert caller.ask(b'{"verb": "listeners"}\n')["ok"]


def test_one_client_too_many_is_told_so(daemon: Daemon) -> None:
    callers = [Caller(daemon.path) for _ in range(MAX_CLIENTS)]
    try:
        for caller in callers:
            assert caller.ask(STATUS)["ok"]
        with Caller(daemon.path) as late:
            assert late.answer()["error"] == "64 admin clients are connected already"
            assert late.at_end()
        callers.pop().close()
        callers[0].ask(STATUS)  # by now the server has seen that one is gone
        with Caller(daemon.path) as next_one:
            assert next_one.ask(STATUS)["ok"]
    finally:
        for caller in callers:
            caller.close()


def test_closing_the_server_ends_its_clients(daemon: Daemon, caller: Caller) -> None:
    caller.ask(STATUS)
    daemon.do(daemon.server.close)
    assert caller.at_end()


class Patient:
    """A server whose patience is short, its loop turned by the test."""

    def __init__(self, sock: socket.socket, controller: FakeController) -> None:
        self.loop = Loop()
        self.server = AdminServer(self.loop, sock, controller, patience=0.05)

    def turn_until(self, clients: int) -> None:
        """Turn until it has so many clients."""
        for _ in range(200):
            if len(self.server.clients) == clients:
                return
            self.loop.turn(0.1)
        raise AssertionError(f"it has {len(self.server.clients)} clients, not {clients}")

    def close(self) -> None:
        self.server.close()
        self.loop.turn(0)
        self.loop.close()


def listening(folder: Path) -> tuple[str, socket.socket]:
    path = str(folder / "nlb.sock")
    return path, listen(Address("", 0, path), 1)[0]


@pytest.mark.parametrize(
    ("sent", "answer"),
    [(b"", "none"), (b'{"verb": "sta', "none"), (STATUS, "small"), (STATUS * 9, "big"), (b"x" * 200_000, "small")],
    ids=["silent", "half a request", "answered", "never reads", "refused, goes on sending"],
)
def test_a_client_that_is_still_for_too_long_is_dropped(tmp_path: Path, sent: bytes, answer: str) -> None:
    controller = FakeController()
    if answer == "big":
        controller.facts["config"]["file"] = "x" * (8 << 20)
    path, sock = listening(tmp_path)
    patient = Patient(sock, controller)
    try:
        with Caller(path) as caller:
            patient.loop.turn(5)
            caller.sock.setblocking(False)
            caller.sock.send(sent)
            patient.turn_until(clients=0)
            patient.loop.turn(0)
            caller.wait_until_dropped()
    finally:
        patient.close()


class Exhausted(socket.socket):
    """A listening socket for which no descriptor is left at first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refusals = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if not self.refusals:
            self.refusals += 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


def test_without_a_descriptor_accepting_pauses_and_goes_on(tmp_path: Path) -> None:
    path = str(tmp_path / "nlb.sock")
    sock = Exhausted(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    sock.listen()
    patient = Patient(sock, FakeController())
    try:
        with Caller(path):
            patient.loop.turn(5)
            assert (sock.refusals, len(patient.server.clients)) == (1, 0)
            patient.loop.turn(0)
            assert not patient.server.clients, "it must not ask again at once"
            patient.turn_until(clients=1)
    finally:
        patient.close()
