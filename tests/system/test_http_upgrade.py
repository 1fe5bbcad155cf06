"""WebSockets, and whatever else a request turns into: bytes both ways, through reloads, until a drain or silence."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.daemon import PATIENCE, Daemon, daemon
from tests.sites import UNASKED, edge, group, rule
from tests.targets import Target
from tests.waiting import until
from tests.webclients import Client, read_to
from tests.webtargets import WebTarget


class WebSockets:
    """A target that echoes, by the websockets package. It is told apart by its name, which it sends first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._server = serve(self._echo, "127.0.0.1", 0)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> WebSockets:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()

    def _echo(self, connection: ServerConnection) -> None:
        connection.send(self.name)
        for message in connection:
            connection.send(message)


@pytest.fixture
def targets(stack: ExitStack) -> dict[str, WebSockets]:
    return {name: stack.enter_context(WebSockets(name)) for name in ("t1", "t2")}


def tunnel(stack: ExitStack, nlb: Daemon, **options: object) -> ClientConnection:
    return stack.enter_context(connect(f"ws://127.0.0.1:{nlb.port}/chat", open_timeout=PATIENCE, **options))  # type: ignore[arg-type]


def talks(connection: ClientConnection, word: str | bytes) -> None:
    connection.send(word)
    assert connection.recv(PATIENCE) == word


def test_tunnels_survive_reloads_and_end_with_a_drain(
    tmp_path: Path, stack: ExitStack, targets: dict[str, WebSockets]
) -> None:
    groups = group(targets)
    nlb = stack.enter_context(daemon(tmp_path, edge() + groups, workers=2))
    tunnels = [tunnel(stack, nlb) for _ in range(20)]
    homes = [str(connection.recv(PATIENCE)) for connection in tunnels]
    assert homes.count("t1") in range(8, 13)
    talks(tunnels[0], "héllo")
    talks(tunnels[0], b"\0" * 500_000)
    for turn in range(3):
        rules = rule("closed", 'path = "/chat"\nfixed_response = { status = 503 }') if turn % 2 else ""
        nlb.write(edge(more=f"idle_timeout = {60 + turn}\n{rules}") + groups)
        nlb.ask("reload")
        for number, connection in enumerate(tunnels):
            talks(connection, f"word {number} of turn {turn}")
    nlb.write(edge(group="other") + group({"u1": targets["t1"]}, name="other"))
    assert nlb.ctl("reload").returncode == 0  # the group that they are in is gone: they drain
    for connection in tunnels:
        talks(connection, "still here")
    nlb.write(edge() + groups)
    nlb.ask("reload")
    assert sum(target["sessions"] for target in nlb.targets().values()) <= 20
    again = tunnel(stack, nlb)
    home = again.recv(PATIENCE)
    assert nlb.ctl("drain", str(home), "--timeout", "300ms", "--wait").returncode == 3
    with pytest.raises(ConnectionClosed):
        again.recv(PATIENCE)
    other = tunnel(stack, nlb)
    assert other.recv(PATIENCE) != home
    talks(other, "elsewhere")
    outcomes = nlb.listener("edge")["outcomes"]
    assert outcomes.get("data/drain_timeout", 0) >= 1
    assert not [name for name in outcomes if name.endswith("/bug")]


def test_a_tunnel_is_counted_and_logged_as_one_request(
    tmp_path: Path, stack: ExitStack, targets: dict[str, WebSockets]
) -> None:
    nlb = stack.enter_context(daemon(tmp_path, edge(more="access_log = true") + group({"t1": targets["t1"]})))
    with connect(f"ws://127.0.0.1:{nlb.port}/chat?room=1") as connection:
        assert connection.recv(PATIENCE) == "t1"
        (row,) = nlb.ask("sessions")["sessions"]
        assert (row["phase"], row["target"]) == ("data", "t1")
        assert nlb.targets()["t1"]["sessions"] == 1
    until(lambda: nlb.targets()["t1"]["sessions"] == 0, PATIENCE)
    assert nlb.listener("edge")["exchanges"] == {"data/done": 1}
    assert nlb.stop() == 0
    (line,) = [line for line in nlb.output().splitlines() if " request " in line]
    assert 'uri="/chat?room=1"' in line
    assert " status=101 target_status=101 " in line
    assert " session " not in nlb.output()


def test_a_silent_tunnel_ends(tmp_path: Path, stack: ExitStack, targets: dict[str, WebSockets]) -> None:
    nlb = stack.enter_context(
        daemon(tmp_path, edge(more="tunnel_timeout = 0.2\nidle_timeout = 600") + group({"t1": targets["t1"]}))
    )
    connection = tunnel(stack, nlb, ping_interval=None)
    assert connection.recv(PATIENCE) == "t1"
    with pytest.raises(ConnectionClosed):
        connection.recv(PATIENCE)
    until(lambda: nlb.listener("edge")["outcomes"].get("data/idle") == 1, PATIENCE)


def test_a_target_that_refuses_to_upgrade_answers_as_ever(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(WebTarget("no"))
    nlb = stack.enter_context(daemon(tmp_path, edge() + group([target])))
    client = stack.enter_context(Client(nlb.port))
    asks = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    for _ in range(2):
        client.sock.sendall(
            b"GET / HTTP/1.1\r\nHost: a\r\n"
            + b"".join(f"{name}: {value}\r\n".encode() for name, value in asks)
            + b"\r\n"
        )
        assert read_to(client.sock, b"no").startswith(b"HTTP/1.1 200 OK\r\n")
    seen = target.seen[-1]
    assert (seen.get("Connection").lower(), seen.get("Upgrade")) == ("upgrade", "websocket")
    assert target.accepted == 1


def _chats(sock: socket.socket) -> None:
    """Any other protocol: the first words come with the head, and after the client's end there are last ones."""
    read_to(sock, b"\r\n\r\n")
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello ")
    heard = b""
    while data := sock.recv(65536):
        heard += data
    sock.sendall(b"you said " + heard)


def test_any_protocol_with_first_and_last_words(tmp_path: Path, stack: ExitStack) -> None:
    target = stack.enter_context(Target(_chats))
    nlb = stack.enter_context(daemon(tmp_path, edge() + group([target], UNASKED)))
    with socket.create_connection(("127.0.0.1", nlb.port), PATIENCE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nearly ")
        head = read_to(sock, b"hello ")
        assert b"\r\nConnection: upgrade\r\n" in head
        assert b"\r\nUpgrade: chat\r\n" in head
        sock.sendall(b"and late")
        sock.shutdown(socket.SHUT_WR)
        assert read_to(sock, b"late") == b"you said early and late"
        assert sock.recv(1) == b""
    until(lambda: nlb.listener("edge")["outcomes"] == {"data/done": 1}, PATIENCE)
