"""Where lines go: whole, in order, and without a wait, whatever is at the other end."""

from __future__ import annotations

import errno
import os
import pty
import resource
import select
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from nlb.errors import StartError
from nlb.observe.outlet import Outlet, of_stream, open_outlet

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def pipe(stack: ExitStack) -> tuple[int, int]:
    """Its reading end, which does not block, and its writing end, which does, as stdout may."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    stack.callback(os.close, reader)
    stack.callback(os.close, writer)
    return reader, writer


def everything(fd: int) -> bytes:
    got = b""
    try:
        while data := os.read(fd, 1 << 20):
            got += data
    except BlockingIOError:
        pass
    return got


def opened(stack: ExitStack, outlet: Outlet) -> Outlet:
    stack.callback(outlet.close)
    return outlet


# --- files


def test_a_file_is_made_for_us_and_our_group_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for number in range(2):
        outlet = open_outlet(str(path))
        outlet.put(deque([b"%d\n" % number]))
        outlet.close()
    assert path.read_bytes() == b"0\n1\n"
    assert path.stat().st_mode & 0o027 == 0


def test_lines_of_several_processes_in_a_file_do_not_mix(tmp_path: Path, stack: ExitStack) -> None:
    path = tmp_path / "log"
    outlets = [opened(stack, open_outlet(str(path))) for _ in range(4)]

    def write(outlet: Outlet, letter: bytes) -> None:
        for _ in range(100):
            outlet.put(deque([letter * 200 + b"\n"] * 50))

    threads = [
        threading.Thread(target=write, args=(outlet, letter))
        for outlet, letter in zip(outlets, (b"a", b"b", b"c", b"d"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = path.read_bytes().splitlines()
    assert len(lines) == 4 * 100 * 50
    assert {(len(line), len(set(line))) for line in lines} == {(200, 1)}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """What a disk does that becomes full in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("between", [b"", b"-- of another worker\n"])
def test_a_line_that_a_full_disk_cut_comes_again_whole(between: bytes, tmp_path: Path, stack: ExitStack) -> None:
    path = tmp_path / "log"
    ours, others = (opened(stack, open_outlet(str(path))) for _ in range(2))
    lines = deque(b"%09d\n" % number for number in range(10))
    with largest_file(25), pytest.raises(OSError, match="large"):
        ours.put(lines)
    others.put(deque(filter(None, [between])))
    ours.put(lines)
    assert not lines
    first, second, cut, *rest = path.read_bytes().split(b"\n")
    assert (first, second, cut) == (b"000000000", b"000000001", b"00000" + between.strip())
    assert list(filter(None, rest)) == [b"%09d" % number for number in range(2, 10)]


def test_a_disk_that_is_full_keeps_the_lines(stack: ExitStack) -> None:
    outlet = opened(stack, open_outlet("/dev/full"))
    lines = deque([LINE] * 100)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            outlet.put(lines)
    assert list(lines) == [LINE] * 100


# --- pipes, sockets, terminals


def test_a_stuck_reader_is_not_waited_for(pipe: tuple[int, int], stack: ExitStack) -> None:
    reader, writer = pipe
    outlet = opened(stack, of_stream(writer))
    lines = deque([LINE] * 5000)
    outlet.put(lines)
    assert 0 < len(lines) < 5000
    got = everything(reader)
    outlet.put(lines)
    while more := everything(reader):
        got += more
        outlet.put(lines)
    assert got == LINE * 5000
    assert os.get_blocking(writer), "it is not ours alone"


def test_two_who_share_a_stuck_pipe(pipe: tuple[int, int], stack: ExitStack) -> None:
    """Between one's look and its write the other may have taken the room."""
    _, writer = pipe
    outlets = [opened(stack, of_stream(writer)) for _ in range(4)]
    threads = [threading.Thread(target=outlet.put, args=(deque([LINE] * 5000),), daemon=True) for outlet in outlets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_a_descriptor_that_cannot_be_opened_anew(pipe: tuple[int, int]) -> None:
    """As another user's pipe: it blocks, so we look before each write that there is room for it."""
    reader, writer = pipe
    lines = deque([LINE] * 5000)
    outlet = Outlet(writer, select.PIPE_BUF)
    got = b""
    while lines:
        outlet.put(lines)
        more = everything(reader)
        assert more
        got += more
    assert got == LINE * 5000


def test_a_reader_may_be_given_time(pipe: tuple[int, int], stack: ExitStack) -> None:
    reader, writer = pipe
    os.set_blocking(reader, True)
    got = bytearray()

    def read_all() -> None:
        while len(got) < 1_000_000:
            got.extend(os.read(reader, 1 << 20))

    thread = threading.Thread(target=read_all)
    thread.start()
    opened(stack, of_stream(writer)).put(lines := deque([LINE] * 10_000), patience=20)
    thread.join(20)
    assert (len(got), len(lines)) == (1_000_000, 0)


def test_a_reader_that_left(stack: ExitStack) -> None:
    reader, writer = os.pipe()
    stack.callback(os.close, writer)
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        opened(stack, of_stream(writer)).put(deque([LINE]))


def test_writes_are_whole_lines_that_a_pipe_keeps_together(stack: ExitStack) -> None:
    writer, reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps writes apart
    stack.enter_context(writer)
    stack.enter_context(reader)
    outlet = opened(stack, of_stream(writer.fileno()))
    long = b"y" * 9999 + b"\n"
    lines = deque([LINE] * 60 + [long] + [LINE] * 3)
    outlet.put(lines)
    writes = [reader.recv(100_000) for _ in range(4)]
    assert writes == [LINE * 40, LINE * 20, long, LINE * 3]


def test_a_stuck_socket_is_not_waited_for(stack: ExitStack) -> None:
    writer, reader = socket.socketpair()
    stack.enter_context(writer)
    stack.enter_context(reader)
    outlet = opened(stack, of_stream(writer.fileno()))
    lines = deque([LINE] * 50_000)
    outlet.put(lines)
    assert 0 < len(lines) < 50_000
    assert writer.getblocking()
    assert os.get_blocking(writer.fileno())


def test_a_terminal_that_nobody_reads_is_not_waited_for(stack: ExitStack) -> None:
    master, terminal = pty.openpty()
    stack.callback(os.close, master)
    stack.callback(os.close, terminal)
    lines = deque([LINE] * 50_000)
    opened(stack, of_stream(terminal)).put(lines)
    assert 0 < len(lines) < 50_000
    assert os.get_blocking(terminal)


def test_a_file_that_others_write_to_as_well_is_continued(tmp_path: Path, stack: ExitStack) -> None:
    """As in `(date; nlb serve; date) > log`: all of them share one place in the file."""
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    stack.callback(os.close, fd)
    os.write(fd, b"before\n")
    opened(stack, of_stream(fd)).put(deque([LINE]))
    os.write(fd, b"after\n")
    assert (tmp_path / "log").read_bytes() == b"before\n" + LINE + b"after\n"


def test_closing_leaves_others_their_descriptor(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    of_stream(writer).close()
    os.write(writer, LINE)
    assert everything(reader) == LINE


# --- the journal


@pytest.fixture
def journal(tmp_path: Path, stack: ExitStack) -> tuple[socket.socket, str]:
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    sock.setblocking(False)
    path = f"{tmp_path}/journal"
    sock.bind(path)
    return sock, path


def test_the_journal_takes_each_record_as_a_datagram(journal: tuple[socket.socket, str], stack: ExitStack) -> None:
    sock, path = journal
    outlet = opened(stack, open_outlet("journal", path))
    assert outlet.is_journal
    outlet.put(deque([b"MESSAGE=one\n", b"MESSAGE=two\n"]))
    assert [sock.recv(100), sock.recv(100)] == [b"MESSAGE=one\n", b"MESSAGE=two\n"]


def test_a_stuck_journal_is_not_waited_for(journal: tuple[socket.socket, str], stack: ExitStack) -> None:
    outlet = opened(stack, open_outlet("journal", journal[1]))
    lines = deque([LINE] * 10_000)
    outlet.put(lines)
    assert 0 < len(lines) < 10_000


@pytest.mark.parametrize(("is_it", "has_socket"), [(True, True), (True, False), (False, True)])
def test_a_stream_that_is_the_journal(
    is_it: bool,
    has_socket: bool,
    journal: tuple[socket.socket, str],
    pipe: tuple[int, int],
    stack: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """systemd says in the environment which one it is. Without a journal to speak to, the stream will do."""
    about = os.fstat(pipe[1])
    monkeypatch.setenv("JOURNAL_STREAM", f"{about.st_dev}:{about.st_ino if is_it else about.st_ino + 1}")
    outlet = opened(stack, of_stream(pipe[1], journal[1] if has_socket else "/nowhere/journal"))
    assert outlet.is_journal == (is_it and has_socket)


# --- what cannot be opened


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("missing/log", "No such file or directory; make its folder first"),
        ("file/log", "Not a directory; a part of the path is no folder"),
        ("folder", "Is a directory; name a file in that folder"),
        ("fifo", "No such device or address; nobody reads this pipe, or it is a socket"),
        ("socket", "No such device or address; nobody reads this pipe, or it is a socket"),
    ],
)
def test_what_cannot_be_opened_is_told_with_what_to_do(place: str, told: str, tmp_path: Path, stack: ExitStack) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    stack.enter_context(socket.socket(socket.AF_UNIX)).bind(f"{tmp_path}/socket")
    with pytest.raises(StartError) as caught:
        open_outlet(f"{tmp_path}/{place}")
    assert str(caught.value) == f"cannot write the log to {tmp_path}/{place}: {told}"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_file_that_we_may_not_write(tmp_path: Path) -> None:
    (tmp_path / "log").touch(mode=0o400)
    with pytest.raises(StartError, match="Permission denied; this user may not write there"):
        open_outlet(f"{tmp_path}/log")


def test_a_box_without_a_journal(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"journal: {os.strerror(errno.ENOENT)}; does systemd run here"):
        open_outlet("journal", f"{tmp_path}/none")


def test_a_stream_that_was_closed_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may belong to one of our sockets by now."""
    monkeypatch.setattr("sys.stderr", None)
    with pytest.raises(StartError, match="stderr: Bad file descriptor; it was closed before the start"):
        open_outlet("stderr")
