"""Each hot function alone, in nanoseconds: `python -m loadtests.micro [PART ...]`; some twenty seconds.

A PART is one of --list, or the word that several begin with: `pick`, `parse`, `pipe`. `--profile PART` tells which
functions it calls and what each takes. Times are of this thread's CPU, the median of many batches, and have the call
from the loop around it in them, some 20 ns. Parts of nlb that are not there yet are named and skipped.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import socket
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import random
from typing import Any

BATCHES = 15
BATCH_SECONDS = 0.02
PROFILED = 20_000  # operations
FUNCTIONS = 15  # told
MESSAGE = 1024
BULK = 65536

# What does one operation, many times: seconds for so many.
Work = Callable[[int], float]

SHORT = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
ORDINARY = (
    b"GET /articles/2026/index.html?page=2 HTTP/1.1\r\nHost: www.example.org\r\nConnection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://www.example.org/\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: text/html\r\n"
    b"Content-Length: 1024\r\nLast-Modified: Mon, 23 Nov 2026 09:00:00 GMT\r\nConnection: keep-alive\r\n"
    b'ETag: "65f1a2b3-400"\r\nAccept-Ranges: bytes\r\n\r\n'
)


def repeat(action: Callable[[], object]) -> Work:
    def work(count: int) -> float:
        began = time.thread_time()
        for _ in range(count):
            action()
        return time.thread_time() - began

    return work


# --- the parts, each set up when it is wanted


def pick(policy: str) -> Callable[[], Work]:
    def made() -> Work:
        from loadtests.picks import Bench, Case
        from nlb.observe.counters import ACTIVE

        group = Bench(Case(policy, 0), 10).group
        key = b"198.51.100.7:40000"
        if not group.attentive:
            choose = group.pick
            return repeat(lambda: choose(key, ()))
        # Who is chosen depends on who is busy, so sessions come and go; the one that leaves is part of the time.
        sessions: deque[Any] = deque()

        def come_and_go() -> None:
            target: Any = group.pick(key, ())
            target.words[ACTIVE] += 1
            sessions.append(target)
            if len(sessions) > 100:
                oldest = sessions.popleft()
                oldest.words[ACTIVE] -= 1
                group.left(oldest)

        return repeat(come_and_go)

    return made


def key_of_a_flow() -> Work:
    from nlb.balance.affinity import flow_key

    return repeat(lambda: flow_key("198.51.100.7", 40000, "flow"))


def counter() -> Work:
    from nlb.observe.counters import ACCEPTED

    words = _row().listener(0)

    def count() -> None:
        words[ACCEPTED] += 1

    return repeat(count)


def histogram() -> Work:
    from nlb.observe.counters import CONNECT_TIMES, LATENCY, observe

    words = _row().group(0)
    return repeat(lambda: observe(words, CONNECT_TIMES, LATENCY, 0.0031))


def _row() -> Any:
    from nlb.observe.counters import Row, size

    return Row(memoryview(bytearray(size(1))), 0)


def turn_of_the_loop(ready: int) -> Callable[[], Work]:
    """One operation is the handing out of one event: the more are ready at once, the less a turn adds to each."""

    def made() -> Work:
        from nlb.net.loop import READ, Loop

        loop = Loop()
        pairs = [socket.socketpair() for _ in range(ready)]
        for source, sink in pairs:
            source.send(b"x")
            loop.watch(sink.fileno(), READ, lambda mask: None, _Owner())

        def work(count: int) -> float:
            assert pairs  # and they stay open
            began = time.thread_time()
            for _ in range(-(-count // ready)):
                loop.turn(0)
            return (time.thread_time() - began) * count / (-(-count // ready) * ready)

        return work

    return made


class _Owner:
    """Nobody to speak of: stands behind handlers and pipes here."""

    def crashed(self, error: Exception) -> None:
        raise error

    def rewire(self) -> None:
        pass

    def over(self) -> bool:
        return False

    def source_broke(self, pipe: object) -> None:
        raise RuntimeError("the source broke")

    def sink_broke(self, pipe: object) -> None:
        raise RuntimeError("the sink broke")


def pipe_copies() -> Work:
    """Messages of 1 KiB wait in the source, so that only the pump is timed."""
    from nlb.net.loop import READ

    source, sink, pipe = _pipe(socket.SOCK_SEQPACKET)
    message = b"x" * MESSAGE

    def work(count: int) -> float:
        pump, seconds = pipe.pump, 0.0
        while count > 0:
            some = min(count, 40)
            for _ in range(some):
                source.send(message)
            began = time.thread_time()
            for _ in range(some):
                pump(READ)
            seconds += time.thread_time() - began
            for _ in range(some):
                sink.recv(MESSAGE)
            count -= some
        return seconds

    return work


def pipe_splices() -> Work:
    """64 KiB at a time, once it has seen that the stream is bulky."""
    from nlb.net.loop import READ

    source, sink, pipe = _pipe(socket.SOCK_STREAM)
    bulk = b"x" * BULK

    def move() -> float:
        source.sendall(bulk)
        began = time.thread_time()
        pipe.pump(READ)
        took = time.thread_time() - began
        left = BULK
        while left:
            left -= len(sink.recv(BULK))
        return took

    while pipe.pump != pipe.splice:
        move()
    return lambda count: sum(move() for _ in range(count))


def _pipe(kind: int) -> tuple[socket.socket, socket.socket, Any]:
    """(where to send, where it arrives, the pipe between them)"""
    from nlb.proxy.pipe import KernelPipes, Pipe

    ends = [socket.socketpair(socket.AF_UNIX, kind) for _ in range(2)]
    for sock in (*ends[0], *ends[1]):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    for sock in (ends[0][1], ends[1][0]):
        sock.setblocking(False)
    pipe: Any = Pipe(_Owner(), ends[0][1], ends[1][0], KernelPipes())
    return ends[0][0], ends[1][1], pipe


def parse_request(head: bytes) -> Callable[[], Work]:
    def made() -> Work:
        from nlb.http1.head import parse_request

        return repeat(lambda: parse_request(head))

    return made


def parse_response() -> Work:
    from nlb.http1.head import parse_response

    return repeat(lambda: parse_response(RESPONSE, b"GET"))


def route(hosts: int) -> Callable[[], Work]:
    def made() -> Work:
        from nlb.http1.head import parse_request
        from nlb.http1.routes import Routes

        rules = [
            {"label": f"rule{number}", "host": [f"h{number}.example.org"], "number": number, "forward": [["web", 1]]}
            for number in range(hosts)
        ]
        routes = Routes(rules, {"label": "default", "number": hosts, "forward": [["web", 1]]})
        request: Any = parse_request(ORDINARY.replace(b"www.example", b"h%d.example" % (hosts // 2)))

        return repeat(lambda: routes.find(request, 80, "198.51.100.7").group(random))

    return made


def write_request() -> Work:
    from nlb.http1.head import parse_request
    from nlb.http1.write import request_head

    request: Any = parse_request(ORDINARY)
    extra = b"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: http\r\n"
    return repeat(lambda: request_head(request, request.fields, extra))


def write_response() -> Work:
    from nlb.http1.head import parse_response
    from nlb.http1.write import response_head

    response: Any = parse_response(RESPONSE, b"GET")
    return repeat(lambda: response_head(response, response.fields, b"", 1, False))


def forwarded_lines() -> Work:
    from nlb.http1.forwarded import Forwarding
    from nlb.http1.head import parse_request
    from nlb.shield.cidr import Networks

    peer = Forwarding("append", "remove", Networks([]), "http", True, True, True).peer("198.51.100.7", 80)
    request: Any = parse_request(ORDINARY)
    return repeat(lambda: peer.lines(request, 0x0123456789ABCDEF0123456789ABCDEF))


PARTS: dict[str, Callable[[], Work]] = {
    "pick round_robin": pick("round_robin"),
    "pick least_connections": pick("least_connections"),
    "pick random_two": pick("random_two"),
    "pick maglev": pick("maglev"),
    "pick source_ip": pick("source_ip"),
    "flow key": key_of_a_flow,
    "count one": counter,
    "count duration": histogram,
    "loop, 1 ready": turn_of_the_loop(1),
    "loop, 64 ready": turn_of_the_loop(64),
    "pipe copies 1 KiB": pipe_copies,
    "pipe splices 64 KiB": pipe_splices,
    "parse request, short": parse_request(SHORT),
    "parse request, 8 fields": parse_request(ORDINARY),
    "parse response": parse_response,
    "route, no rules": route(0),
    "route, 1 host": route(1),
    "route, 10000 hosts": route(10_000),
    "write request": write_request,
    "write response": write_response,
    "write X-Forwarded": forwarded_lines,
}


def measure(work: Work) -> float:
    """Nanoseconds of one operation."""
    count = 1
    while work(count) < BATCH_SECONDS:
        count *= 2
    return statistics.median(work(count) / count for _ in range(BATCHES)) * 1e9


def profile(work: Work) -> Iterator[str]:
    profiler = cProfile.Profile()
    work(PROFILED // 10)
    profiler.runcall(work, PROFILED)
    stats = pstats.Stats(profiler)
    yield f"{'calls':>9}{'ns own':>9}{'ns all':>9}  for each, under cProfile, which adds some 50 ns to a call"
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])  # type: ignore[attr-defined]
    for (file, line, name), (_, calls, own, everything, _) in rows[:FUNCTIONS]:
        place = name if file == "~" else f"{'/'.join(file.split('/')[-2:])}:{line} {name}"
        yield f"{calls / PROFILED:9.2f}{own / PROFILED * 1e9:9.0f}{everything / PROFILED * 1e9:9.0f}  {place}"


@contextmanager
def _like_a_worker() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def chosen(names: Sequence[str]) -> list[str]:
    """The parts that begin with one of these; all if there is none. ValueError where one is nobody's beginning."""
    for name in names:
        if not any(part.startswith(name) for part in PARTS):
            raise ValueError(f"no part is called {name!r}; see --list")
    return [part for part in PARTS if not names or part.startswith(tuple(names))]


def main(arguments: Sequence[str] | None = None) -> int:
    description, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(prog="python -m loadtests.micro", description=f"{description}\n\n{more}")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("parts", nargs="*", metavar="PART", help="only these; default all")
    parser.add_argument("--list", action="store_true", help="name the parts and end")
    parser.add_argument("--profile", metavar="PART", help="tell what these call, instead")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(PARTS))
        return 0
    try:
        parts = chosen([options.profile] if options.profile else options.parts)
    except ValueError as error:
        parser.error(str(error))
    failed = 0
    with _like_a_worker():
        for part in parts:
            try:
                work = PARTS[part]()
                if options.profile:
                    print(part, *profile(work), "", sep="\n", flush=True)
                else:
                    print(f"{part:28}{measure(work):10,.0f} ns", flush=True)
            except ImportError as error:
                print(f"{part:28}{'skipped:':>13} {error}", flush=True)
            except Exception as error:
                failed += 1
                print(f"{part:28}{'FAILED:':>13} {type(error).__name__}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
