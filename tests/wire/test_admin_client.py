"""The client side of the admin socket: whatever is at the other end, an answer or one sentence."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nlb import __version__
from nlb.admin.client import Client, NoDaemonError, find
from nlb.errors import AdminError
from tests.unit.admin.canned import Daemon

UID = os.getuid()


class Impostor:
    """Listens at a path and answers the first request with the bytes that the test gives; None: never."""

    def __init__(self, folder: Path, answer: bytes | None) -> None:
        self.path = str(folder / "other.sock")
        self._answer = answer
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.bind(self.path)
        self._sock.listen()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        client, _ = self._sock.accept()
        with client:
            client.recv(4096)
            if self._answer is None:
                self._done.wait(10)
            else:
                client.sendall(self._answer)

    def close(self) -> None:
        self._done.set()
        self._thread.join()
        self._sock.close()


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[Callable[[bytes | None], Impostor]]:
    made: list[Impostor] = []

    def make(answer: bytes | None) -> Impostor:
        made.append(Impostor(tmp_path, answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_one_connection_asks_many_questions(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, Client(daemon.path) as client:
        assert client.ask("status", {"events": 0})["events"] == []
        assert client.ask("targets", {"group": "api"})["targets"][0]["name"] == "node"
        assert client.version == __version__


def test_a_refusal_is_the_daemons_own_words(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, Client(daemon.path) as client:
        with pytest.raises(AdminError, match=r"^no target is called 'wbe01' \(did you mean web01\?\)"):
            client.ask("drain", {"target": "wbe01"})
        assert client.ask("listeners", {})["listeners"][0]["name"] == "web"


def test_an_answer_of_many_megabytes(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, Client(daemon.path) as client:
        daemon.controller.facts["config"]["file"] = "é" * (3 << 20)
        assert client.ask("status", {})["config"]["file"] == "é" * (3 << 20)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak as nlb does"),
        (b"\xff\xfe\x00\x01\n", "does not speak as nlb does"),
        (b"[1, 2]\n", "does not speak as nlb does"),
        (b'{"ok": true}\n', "does not speak as nlb does"),
        (b'{"ok": false, "version": "0.1.0"}\n', "does not speak as nlb does"),
        (b"[" * 100_000 + b"\n", "does not speak as nlb does"),
        (b"", "went away before it had answered"),
        (b'{"ok": tr', "went away before it had answered"),
    ],
)
def test_whatever_answers_else_is_named_in_one_line(
    impostor: Callable[[bytes | None], Impostor], answer: bytes, told: str
) -> None:
    other = impostor(answer)
    with Client(other.path) as client, pytest.raises(NoDaemonError) as error:
        client.ask("status", {})
    assert told in str(error.value)
    assert other.path in str(error.value)
    assert "\n" not in str(error.value)


def test_a_daemon_that_does_not_answer_is_given_up(impostor: Callable[[bytes | None], Impostor]) -> None:
    other = impostor(None)
    with (
        Client(other.path, patience=0.05) as client,
        pytest.raises(NoDaemonError, match=r"did not answer within 0\.05 s"),
    ):
        client.ask("status", {})


def test_a_refusal_by_another_version_says_so(impostor: Callable[[bytes | None], Impostor]) -> None:
    other = impostor(b'{"ok": false, "version": "9.0", "error": "unknown command \'errors\'"}\n')
    with Client(other.path) as client, pytest.raises(AdminError) as error:
        client.ask("errors", {})
    assert str(error.value) == f"unknown command 'errors' (the daemon is nlb 9.0, this is nlb {__version__})"


def test_the_daemon_is_looked_for_where_it_would_be(tmp_path: Path) -> None:
    env = {"RUNTIME_DIRECTORY": str(tmp_path)}
    with Daemon(tmp_path) as daemon, find(None, env, UID, str(tmp_path)) as client:
        assert client.path == daemon.path


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_named_socket_is_the_only_one_tried(tmp_path: Path, way: str) -> None:
    missing = str(tmp_path / "missing.sock")
    env = {"RUNTIME_DIRECTORY": str(tmp_path), "NLB_SOCKET": missing if way == "environment" else "/other"}
    with Daemon(tmp_path), pytest.raises(NoDaemonError) as error:
        find(missing if way == "option" else None, env, UID, str(tmp_path))
    assert str(error.value) == f"no nlb daemon answers, tried {missing} (not there)"


def test_every_place_that_was_tried_is_named_in_one_line(tmp_path: Path) -> None:
    dead = tmp_path / "nlb.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(dead))
    with pytest.raises(NoDaemonError) as error:
        find(None, {"RUNTIME_DIRECTORY": str(tmp_path), "XDG_RUNTIME_DIR": "/nowhere"}, 4711, str(tmp_path))
    told = str(error.value)
    assert told.startswith(f"no nlb daemon answers, tried {dead} (nobody listens), /nowhere/nlb/nlb.sock (not there), ")
    assert "is it running?" in told
    assert "\n" not in told


def test_a_path_that_no_socket_can_have_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(NoDaemonError, match="path too long"):
        find("/" + "x" * 200, {}, UID, str(tmp_path))
    with pytest.raises(NoDaemonError, match=r"tried /etc/hostname \("):
        find("/etc/hostname", {}, UID, str(tmp_path))


@pytest.mark.skipif(UID != 0, reason="needs root, to give a folder to somebody else")
def test_a_socket_in_somebody_elses_folder_is_not_trusted(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    folder = tmp_path / "nlb-4711"
    folder.mkdir()
    os.chown(folder, 4712, 4712)
    with Daemon(folder), pytest.raises(NoDaemonError, match=r"nlb-4711/nlb.sock \(its folder belongs to 4712\)"):
        find(None, {}, 4711, str(tmp_path))


@pytest.fixture
def nobody() -> Iterator[None]:
    """This process without root's rights, until the test ends."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    yield
    os.seteuid(0)
    os.setegid(0)
    os.setgroups(groups)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; those of pytest are closed."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(UID != 0, reason="needs root, to become another user")
def test_a_forbidden_socket_says_whose_it_is_and_what_to_do(open_folder: Path, request: pytest.FixtureRequest) -> None:
    with Daemon(open_folder) as daemon:
        Path(daemon.path).chmod(0o660)
        request.getfixturevalue("nobody")
        with pytest.raises(AdminError) as error:
            find(daemon.path, {}, 65534, "/tmp")
    assert str(error.value) == (
        f"no right to use {daemon.path} (root:root, mode 0660): "
        "run this as that user, as a member of that group, or with sudo"
    )
