"""A real worker process, with control's side of its channel in the test's hands, and real peers on both sides.

The test's thread turns control's loop while it waits (`rig.until`), and uses plain blocking sockets with a deadline.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import resource
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from nlb.balance.target import Target
from nlb.control.registration import ManagedGroup, Registration
from nlb.control.shielding import shield_spec
from nlb.model.address import Address, parse_address
from nlb.model.config import TargetGroup
from nlb.model.shield import Shield
from nlb.net.channel import Channel, pair
from nlb.net.loop import Loop
from nlb.net.sockets import listen, reset_on_close, sockaddr
from nlb.observe import counters
from nlb.observe.counters import ACTIVE, OUTCOME_WORD, Row
from nlb.shield import table
from tests.waiting import PATIENCE, until

KINDS = {"v4": "127.0.0.1:0", "v6": "[::1]:0"}


class Origin:
    """A server behind the balancer, played by the test."""

    def __init__(self, address: Address, backlog: int, wait: Callable[[Callable[[], object]], None]) -> None:
        """`wait(condition)` returns once it holds."""
        self._wait = wait
        kind = socket.AF_UNIX if address.is_unix else socket.AF_INET6 if address.is_v6 else socket.AF_INET
        self._sock = socket.socket(kind)
        self._sock.bind(sockaddr(address))
        self._sock.settimeout(PATIENCE)
        self._sock.listen(backlog)
        name = self._sock.getsockname()
        self.address = address if address.is_unix else Address(*name[:2])

    def accept(self) -> socket.socket:
        self._wait(lambda: select.select([self._sock], [], [], 0)[0])
        sock, _ = self._sock.accept()
        sock.settimeout(PATIENCE)
        return sock

    def close(self) -> None:
        self._sock.close()


class Rig:
    """Control's side. Everything that was opened through it is closed with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = Loop()
        self.stack = ExitStack()
        self.messages: list[dict[str, Any]] = []
        self.closed = 0
        self.expects_bugs = False
        self._workers = 2
        self._memory_fd = os.memfd_create("counters")
        os.ftruncate(self._memory_fd, counters.size(self._workers))
        memory = memoryview(mmap.mmap(self._memory_fd, 0))
        self._shield_fd = os.memfd_create("shield")
        os.ftruncate(self._shield_fd, table.size(self._workers))
        table.prepare(memoryview(mmap.mmap(self._shield_fd, 0)), bytes(range(16)))
        self.rows = [Row(memory, index) for index in range(self._workers)]
        self.row = self.rows[0]
        self._registered: dict[int, Registration] = {}
        self._groups = 0
        self._listeners = 0
        self._targets = 0
        self.process: subprocess.Popen[bytes]
        self.channel: Channel

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()
        if hasattr(self, "channel"):
            self.channel.close()
        if hasattr(self, "process"):
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait(PATIENCE)
            if self.process.stdout:
                self.process.stdout.close()
        self.loop.close()
        os.close(self._memory_fd)
        os.close(self._shield_fd)

    # --- the worker

    def start(self, hello: bool = True, stdout: int | None = None) -> Rig:
        """Start the worker, or the one that replaces it: then what was loaded before must be loaded again."""
        ours, theirs = pair()
        command = [sys.executable, "-m", "nlb.proxy.worker", str(theirs.fileno())]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, pass_fds=[theirs.fileno()])
        theirs.close()
        self._groups = self._listeners = self._targets = 0
        self.channel = Channel(self.loop, ours, self._heard, self._gone, self._crashed)
        if hello:
            self.send({"verb": "hello", "worker": 0, "workers": self._workers}, [self._memory_fd, self._shield_fd])
            self.send({"verb": "log", "form": "text", "place": "stdout"})
        return self

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        self.channel.send(message, fds)

    def group(
        self,
        *targets: Origin | Address,
        health: str = "healthy",
        wait: float = 1.0,
        number: int | None = None,
        ids: Sequence[int] | None = None,
        odd: dict[str, Any] | None = None,
        **settings: Any,
    ) -> int:
        """Load a group, in the words of control; its number is returned. Targets are named t0, t1, ... and numbered
        through all groups.

        With `number` a known group is loaded anew; `ids` say which of its targets are which. `odd` is said instead
        of what is right.
        """
        if number is None:
            number = self._groups
            self._groups += 1
        if ids is None:
            ids = range(self._targets, self._targets + len(targets))
        self._targets = max(self._targets, *(id_ + 1 for id_ in ids), 0)
        group = ManagedGroup(number, TargetGroup(name=f"group{number}", **settings))
        for id_, of in zip(ids, targets, strict=True):
            target = Target(id_, f"t{id_}", group.name, of.address if isinstance(of, Origin) else of)
            target.health.state = health
            target.proxy_protocol = settings.get("proxy_protocol", "")
            self._registered[id_] = group.members[target.name, target.address] = Registration(target, group)
        self.send({"verb": "load", "groups": [group.spec() | (odd or {})], "wait": wait})
        return number

    def listen(
        self,
        group: int,
        kind: str | Address = "v4",
        idle_timeout: Any = 350.0,
        max_connections: int = 1000,
        access_log: bool = False,
        binds: int = 1,
        send_buffer: int = 0,
        **also: Any,
    ) -> Address:
        """Open a listener. Returns its (first) address. Its clients' sockets have this send buffer, where one is said.
        `also` is said of it as it is."""
        address = kind if isinstance(kind, Address) else self.address(kind)
        sockets = [sock for _ in range(binds) for sock in listen(address, 1)]
        for sock in sockets:
            if send_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        spec = {
            "number": self._listeners,
            "name": f"listener{self._listeners}",
            "binds": [f"bind{number}" for number in range(binds)],
            "group": group,
            "idle_timeout": idle_timeout,
            "max_connections": max_connections,
            "access_log": access_log,
            "http": None,
            "shield": shield_spec(Shield(), self._listeners, False) | {"deny": None, "allow": None},
            **also,
        }
        self._listeners += 1
        self.opened = spec
        self.send({"verb": "open", "listener": spec}, [sock.fileno() for sock in sockets])
        self.bound = [sock.getsockname() for sock in sockets]
        for sock in sockets:
            sock.close()
        return address if address.is_unix else Address(*self.bound[0][:2])

    def amend(self, **what: Any) -> None:
        """Tell the listener that was opened last anew; its sockets stay."""
        self.send({"verb": "open", "listener": self.opened | {"binds": []} | what})
        self.settle()

    def mark(self, *targets: int, admin: str = "ready", health: str = "healthy", weight: int = 1) -> None:
        """Facts about these targets changed."""
        told = [self._registered[number] for number in targets]
        for registration in told:
            target = registration.target
            target.admin.state, target.health.state, target.weight = admin, health, weight
        self.send({"verb": "mark", "targets": [registration.facts() for registration in told], "tables": []})

    def sessions(
        self, target: int | None = None, listener: str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """What the worker says of its sessions."""
        self.send({"verb": "sessions", "ask": 1, "limit": limit, "target": target, "listener": listener})
        self.until(lambda: self.said("sessions"))
        answer = next(message for message in self.messages if message["verb"] == "sessions")
        self.messages.remove(answer)
        return answer["sessions"]  # type: ignore[no-any-return]

    def settle(self) -> None:
        """Everything that was sent has been done."""
        self.send({"verb": "settle", "ask": 0})
        self.until(lambda: self.said("settled"))
        self.messages = [message for message in self.messages if message["verb"] != "settled"]

    def said(self, verb: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["verb"] == verb]

    def until(self, condition: Callable[[], object], within: float = PATIENCE) -> None:
        until(condition, within, between=self._turn)

    def _turn(self) -> None:
        self.loop.turn(0.002)
        self.check()

    def check(self) -> None:
        """No test may pass, or wait in vain, while the worker tells of an error of ours."""
        for event in self.said("event"):
            assert self.expects_bugs or not event["text"].startswith("bug in"), event["text"]

    def exit_code(self) -> int:
        """Wait for the worker's end."""
        self.until(lambda: self.process.poll() is not None)
        return self.process.wait()

    # --- peers

    def address(self, kind: str) -> Address:
        """A fresh address: v4, v6 or unix."""
        if kind == "unix":
            return Address("", 0, str(self.folder / f"socket{next(_numbers)}"))
        return parse_address(KINDS[kind])

    def origin(self, kind: str = "v4", backlog: int = 128) -> Origin:
        origin = Origin(self.address(kind), backlog, self.until)
        self.stack.callback(origin.close)
        return origin

    def swallow(self, origin: Origin) -> None:
        """Fill the queue of a server with backlog 0, so that the kernel drops whoever comes next."""
        for _ in range(3):
            sock = self.stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex((origin.address.host, origin.address.port))

    def connect(self, address: Address, receive_buffer: int = 0) -> socket.socket:
        """A client."""
        kind = socket.AF_UNIX if address.is_unix else socket.AF_INET6 if address.is_v6 else socket.AF_INET
        sock = self.stack.enter_context(socket.socket(kind))
        sock.settimeout(PATIENCE)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(sockaddr(address))
        return sock

    def turned_away(self, address: Address) -> bool:
        """Is a client reset that comes now? It may hear of it while it connects still."""
        try:
            return fate(self.connect(address)) == "reset"
        except ConnectionResetError:
            return True

    def through(self, address: Address, origin: Origin, **options: Any) -> tuple[socket.socket, socket.socket]:
        """A client and the target it was joined to."""
        client = self.connect(address, **options)
        return client, self.stack.enter_context(origin.accept())

    # --- what can be seen from outside

    @property
    def outcomes(self) -> dict[str, int]:
        """How sessions ended, over all listeners."""
        found: dict[str, int] = {}
        for number in range(self._listeners):
            words = self.row.listener(number)
            for outcome, word in OUTCOME_WORD.items():
                if words[word]:
                    found[outcome] = found.get(outcome, 0) + words[word]
        return found

    @property
    def active(self) -> int:
        """Sessions open, over all listeners."""
        return sum(self.row.listener(number)[ACTIVE] for number in range(self._listeners))

    @property
    def gauges(self) -> list[int]:
        """Every gauge of the row."""
        listeners = [self.row.listener(number)[ACTIVE] for number in range(self._listeners)]
        return listeners + [self.row.target(number)[ACTIVE] for number in range(self._targets)]

    @property
    def kernel_pipes(self) -> int:
        """How many pipes the worker has open, for splicing and waking up."""
        return len({link for link in self._descriptors() if link.startswith("pipe:")})

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def memory(self) -> int:
        """Bytes of memory of its own that the worker has."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_"))

    def leave_descriptors(self, count: int) -> None:
        """Let the worker open so many more."""
        used = {int(name) for name in os.listdir(f"/proc/{self.process.pid}/fd")}
        limit = 0
        while limit - len([number for number in used if number < limit]) < count or limit in used:
            limit += 1
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (limit, 4096))

    def turns_of_a_sweep(self) -> int:
        """How many turns the worker's loop makes from one sweep to the next."""
        words = self.row.worker
        first = words[counters.TURNS]
        self.until(lambda: words[counters.TURNS] != first)
        second = words[counters.TURNS]
        self.until(lambda: words[counters.TURNS] != second)
        return words[counters.TURNS] - second

    def _descriptors(self) -> list[str]:
        folder = f"/proc/{self.process.pid}/fd"
        links = []
        for name in os.listdir(folder):
            try:
                links.append(os.readlink(f"{folder}/{name}"))
            except FileNotFoundError:
                pass  # closed meanwhile
        return links

    def _heard(self, message: dict[str, Any], fds: list[int]) -> None:
        self.messages.append(message)

    def _gone(self) -> None:
        self.closed += 1

    def _crashed(self, error: Exception) -> None:
        raise error


_numbers = iter(range(1_000_000))


class Talk(threading.Thread):
    """Sends random bytes in pieces of random sizes, and then ends its direction. Knows the digest of what it sent."""

    def __init__(self, sock: socket.socket, sizes: Sequence[int], seed: int) -> None:
        super().__init__()
        self._sock = sock
        self._sizes = sizes
        self._random = random.Random(seed)
        self._hash = hashlib.sha256()
        self.start()

    def run(self) -> None:
        for size in self._sizes:
            data = self._random.randbytes(size)
            self._hash.update(data)
            self._sock.sendall(data)
        self._sock.shutdown(socket.SHUT_WR)

    def digest(self) -> str:
        self.join()
        return self._hash.hexdigest()


class Hear(threading.Thread):
    """Reads to the end. Knows the digest of what came."""

    def __init__(self, sock: socket.socket, most: int = 1 << 16) -> None:
        super().__init__()
        self._sock = sock
        self._most = most
        self._hash = hashlib.sha256()
        self.size = 0
        self.start()

    def run(self) -> None:
        while data := self._sock.recv(self._most):
            self._hash.update(data)
            self.size += len(data)

    def digest(self) -> str:
        self.join()
        return self._hash.hexdigest()


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    reset_on_close(sock)
    sock.close()


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, or what came before the end."""
    got = bytearray()
    while len(got) < size and (data := sock.recv(min(size - len(got), 1 << 18))):
        got += data
    return bytes(got)


def carry(sender: socket.socket, receiver: socket.socket, data: bytes) -> bytes:
    """Send it all, whatever the buffers, and return as much of what came."""
    thread = threading.Thread(target=sender.sendall, args=(data,))
    thread.start()
    got = receive(receiver, len(data))
    thread.join()
    return got


def stuff(sock: socket.socket) -> bytes:
    """Send until nothing more is taken, here and on the way. Returns what was taken."""
    sent = bytearray()
    sock.setblocking(False)
    stuck = 0
    while stuck < 50:  # looks in a row that found no room
        piece = random.randbytes(1 << 16)
        try:
            sent += piece[: sock.send(piece)]
            stuck = 0
        except BlockingIOError:
            stuck += 1
            select.select([], [sock], [], 0.002)
    sock.settimeout(PATIENCE)
    return bytes(sent)


def fate(sock: socket.socket) -> str:
    """How the connection ends for this side: `end` or `reset`. What still comes is read."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"
