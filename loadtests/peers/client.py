"""Clients of our own, for what wrk cannot measure: `python -m loadtests.peers.client ORDER`, run by `loads`.

ORDER is JSON: what, host, port, tls, seconds, path, size, and what the kind of load needs besides. The last line of
the output is JSON as well: units done, seconds, errors, p50 and p99 in milliseconds. An error is an answer that is not
status 200 with a body of `size` bytes, or none.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import socket
import ssl
import sys
import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

# Connecting blocks: on loopback the kernel shakes hands at once, whoever listens and however busy it is.
PATIENCE = 10.0  # seconds

_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


def percentile(times: list[float], share: float) -> float:
    """Milliseconds that somebody waited, of sorted seconds."""
    return times[min(len(times) - 1, int(share * len(times)))] * 1000


def report(units: float, seconds: float, errors: int, times: list[float] | None = None) -> None:
    said: dict[str, Any] = {"units": units, "seconds": seconds, "errors": errors}
    if times:
        times.sort()
        said |= {"p50": percentile(times, 0.50), "p99": percentile(times, 0.99)}
    print(json.dumps(said), flush=True)


def request(order: dict[str, Any], keep: bool) -> bytes:
    connection = "keep-alive" if keep else "close"
    return f"GET {order['path']} HTTP/1.1\r\nHost: bench.test\r\nConnection: {connection}\r\n\r\n".encode()


def is_good(answer: bytes, size: int) -> bool:
    """A whole answer: 200 and a body of so many bytes."""
    head = answer.find(b"\r\n\r\n")
    return answer.startswith(b"HTTP/1.1 200") and head >= 0 and len(answer) - head - 4 == size


def connect(order: dict[str, Any]) -> socket.socket:
    sock = socket.create_connection((order["host"], order["port"]), PATIENCE)
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def whole_answer(sock: socket.socket, size: int) -> bool:
    """Read one answer on a connection that is kept."""
    data = b""
    while not is_good(data, size):
        try:
            more = sock.recv(65536)
        except OSError:
            return False
        if not more or len(data) > size + 65536:
            return False
        data += more
    return True


# --- kinds of load


def fresh(order: dict[str, Any]) -> None:
    """A connection per request, so many at a time."""
    epoll, ask, size = select.epoll(), request(order, keep=False), order["size"]
    address = (order["host"], order["port"])
    under_way: dict[int, tuple[socket.socket, float, list[bytes]]] = {}
    times: list[float] = []
    errors = 0

    def begin() -> None:
        since = perf_counter()
        sock = socket.socket()
        sock.connect(address)
        sock.send(ask)
        under_way[sock.fileno()] = sock, since, []
        epoll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)

    began = perf_counter()
    until = began + order["seconds"]
    for _ in range(order["clients"]):
        begin()
    while under_way:
        events = epoll.poll(PATIENCE)
        if not events:  # whoever is still there waits in vain
            errors += len(under_way)
            break
        for fd, mask in events:
            sock, since, parts = under_way[fd]
            try:
                data = sock.recv(65536)
                parts.append(data)
                while data and mask & _ENDED:
                    data = sock.recv(65536)
                    parts.append(data)
            except OSError:
                data = b""
            if data:
                continue
            now = perf_counter()
            sock.close()
            del under_way[fd]
            if is_good(b"".join(parts), size):
                times.append(now - since)
            else:
                errors += 1
            if now < until and not errors > 1000:
                begin()
    report(len(times), perf_counter() - began, errors, times)


def paced(order: dict[str, Any]) -> None:
    """At a fixed rate, whether answers come or not: a time begins when its request was due, so that a slow moment
    counts for all who would have come in it."""
    epoll, ask, size = select.epoll(), request(order, keep=True), order["size"]
    idle = [connect(order) for _ in range(order["clients"])]
    socks = {sock.fileno(): sock for sock in idle}
    for sock in idle:
        epoll.register(sock, select.EPOLLIN)
    since: dict[int, float] = {}
    parts: dict[int, bytes] = {}
    waiting: deque[float] = deque()  # due, and no connection is idle
    times: list[float] = []
    errors = 0
    step = 1 / order["rate"]
    # The first half second is not counted: connections and caches are new.
    began = perf_counter()
    counted = began + 0.5
    until = counted + order["seconds"]
    due = began

    while True:
        now = perf_counter()
        while due <= now and due < until:
            waiting.append(due)
            due += step
        while waiting and idle:
            sock = idle.pop()
            since[sock.fileno()] = waiting.popleft()
            sock.send(ask)
        if now >= until and not since and not waiting:
            break
        if now > until + PATIENCE or not socks:
            errors += len(since) + len(waiting)
            break
        # epoll waits for whole milliseconds, select for microseconds.
        select.select([epoll], [], [], max(0.0, due - perf_counter()) if due < until else 0.01)
        for fd, _ in epoll.poll(0):
            more = socks[fd].recv(65536)
            if not more:  # closed, and so of no use any more
                errors += since.pop(fd, None) is not None
                sock = socks.pop(fd)
                if sock in idle:
                    idle.remove(sock)
                sock.close()
                continue
            data = parts.pop(fd, b"") + more
            if not is_good(data, size):
                if data.startswith(b"HTTP/1.1 200") and len(data) < size + 4096:
                    parts[fd] = data
                    continue
                errors += 1
            elif since[fd] >= counted:
                times.append(perf_counter() - since[fd])
            del since[fd]
            idle.append(socks[fd])
    report(len(times), order["seconds"], errors, times)


def bulk(order: dict[str, Any]) -> None:
    """One thread per stream: receiving lets go of the interpreter's lock."""
    ask, size = request(order, keep=False), order["size"]
    context = _context() if order["tls"] else None
    brought, errors = [0] * order["streams"], [0] * order["streams"]
    began = perf_counter()
    until = began + order["seconds"]

    def stream(number: int) -> None:
        buffer = bytearray(1 << 20)
        while perf_counter() < until:
            sock = connect(order)
            if context:
                sock = context.wrap_socket(sock, server_hostname="bench.test")
            with sock:
                sock.sendall(ask)
                count = sock.recv_into(buffer)
                good = bytes(buffer[:12]) == b"HTTP/1.1 200"
                got = count
                while count:
                    count = sock.recv_into(buffer)
                    got += count
                brought[number] += got
                errors[number] += not (good and size < got < size + 65536)

    threads = [threading.Thread(target=stream, args=(number,)) for number in range(order["streams"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report(sum(brought) / 1e6, perf_counter() - began, sum(errors))


def handshakes(order: dict[str, Any]) -> None:
    context, ask, size, resume = _context(), request(order, keep=False), order["size"], order["resume"]
    ticket: ssl.SSLSession | None = None
    times: list[float] = []
    errors = 0
    began = perf_counter()
    until = began + order["seconds"]
    first = resume  # the one that only gets a ticket is not counted
    while perf_counter() < until:
        since = perf_counter()
        sock = context.wrap_socket(connect(order), server_hostname="bench.test", session=ticket)
        reused = sock.session_reused
        sock.sendall(ask)
        parts = [sock.recv(65536)]
        while parts[-1]:
            parts.append(sock.recv(65536))
        now = perf_counter()
        if resume:
            ticket = sock.session
        sock.close()
        if first:
            first = False
        elif is_good(b"".join(parts), size) and reused == resume:
            times.append(now - since)
        else:
            errors += 1
    report(len(times), perf_counter() - began, errors, times)


def held(order: dict[str, Any]) -> None:
    """Each asks once; then says so on stdout, and waits for the end of stdin; then each asks once more."""
    ask, size = request(order, keep=True), order["size"]
    began = perf_counter()
    socks: list[socket.socket] = []
    for _ in range(order["count"]):
        sock = connect(order)
        sock.settimeout(PATIENCE)
        sock.sendall(ask)
        if not whole_answer(sock, size):
            sys.exit(f"connection {len(socks) + 1} of {order['count']} got no answer")
        socks.append(sock)
    print("ready", flush=True)
    sys.stdin.read()
    errors = 0
    for sock in socks:
        try:
            sock.sendall(ask)
            errors += not whole_answer(sock, size)
        except OSError:
            errors += 1
    report(len(socks), perf_counter() - began, errors)


def _context() -> ssl.SSLContext:
    """Whose certificate it is does not matter here: it was made a moment ago."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


KINDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "fresh": fresh,
    "paced": paced,
    "bulk": bulk,
    "handshakes": handshakes,
    "held": held,
}


def main() -> None:
    order = json.loads(sys.argv[1])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.disable()  # a pause of ours would be taken for one of the balancer
    try:
        KINDS[order["what"]](order)
    except OSError as error:
        sys.exit(f"{order['host']}:{order['port']}: {os.strerror(error.errno) if error.errno else error}")


if __name__ == "__main__":
    main()
