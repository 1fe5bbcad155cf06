"""Asking a program whether a target works. No shell starts it, it never outlives its time, and nothing here waits
for it.

    waiting for its turn ──> running ──> its end, told by its pidfd ──────────────────────> answer
                                └──────> late: killed, with all that it started ──> answer, and later its end
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from io import FileIO
from time import monotonic
from typing import TYPE_CHECKING

from nlb.balance.target import Target
from nlb.control.answers import arguments, asked, environment, first_line
from nlb.net.loop import READ, Loop, Owner

if TYPE_CHECKING:
    from nlb.control.questions import Asker
    from nlb.model.health_check import HealthCheck
    from nlb.observe.log import Events

# Programs at one time. Each may be an interpreter with its 20 MiB, and all of them may hang.
AT_ONCE = 32

# Seconds from one start to the next, and at least so many times what it took: on a busy box the new process waits for a
# processor before it lets go of us, and starts shall never take more than a fifth of the loop's time.
STEP = 0.005
PAUSE = 5

# Bytes of output of which the first line is looked for, and that are read at all; who writes more gets SIGPIPE.
_KEPT = 4096
_LONGEST_OUTPUT = 1 << 20

# What Python ignores, or a terminal may have made us ignore; a program expects the default.
_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Programs:
    """Whose turn it is."""

    def __init__(self, loop: Loop, events: Events, clock: Callable[[], float] = monotonic) -> None:
        self.strange = inheritable()
        self._loop = loop
        self._events = events
        self._clock = clock
        self._waiting: dict[Program, None] = {}
        self._running = 0
        self._planned = False
        self._next = 0.0

    def enqueue(self, program: Program) -> None:
        self._waiting[program] = None
        self._plan()

    def leave(self, program: Program) -> bool:
        """Returns whether it was waiting."""
        if program not in self._waiting:
            return False
        del self._waiting[program]
        return True

    def ended(self) -> None:
        self._running -= 1
        self._plan()

    def crashed(self, error: Exception) -> None:
        self._events.bug(error, "exec probes")
        self._plan()

    def _plan(self) -> None:
        if self._waiting and not self._planned and self._running < AT_ONCE:
            self._planned = True
            self._loop.call_at(max(self._next, self._loop.now), self._start_one, self)

    def _start_one(self) -> None:
        self._planned = False
        if not self._waiting:
            return
        program = next(iter(self._waiting))
        del self._waiting[program]
        began = self._clock()
        self._running += program.start()
        self._next = self._loop.now + max(STEP, PAUSE * (self._clock() - began))
        self._plan()


class Program:
    """A Question to a target, asked by a program."""

    def __init__(self, loop: Loop, target: Target, settings: HealthCheck, asker: Asker, programs: Programs) -> None:
        self._loop = loop
        self._target = target
        self._settings = settings
        self._asker = asker
        self._programs = programs
        self._run: Run | None = None
        self._heeded = False  # does somebody wait for the answer?

    def ask(self) -> None:
        if self._run:
            self._asker.unable(f"{self._path} was killed and has not ended yet")
        else:
            self._programs.enqueue(self)

    def start(self) -> bool:
        """Its turn has come. Returns whether it runs."""
        settings, target = self._settings, self._target
        address = asked(target.address, settings)
        words = arguments(settings.command or (), target, address)
        try:
            pid, output = spawn(words, environment(target, address), self._programs.strange)
            self._run = Run(self._loop, pid, output, self.ended, self._asker)
        except OSError as trouble:
            self._asker.unable(f"cannot run {self._path}: {os.strerror(trouble.errno or 0).lower()}")
            return False
        self._heeded = True
        self._asker.begun()
        return True

    def ended(self, run: Run) -> None:
        self._run = None
        self._programs.ended()
        if self._heeded:
            self._answer(run.verdict == "exit 0", run)

    def late(self) -> None:
        time = f"in {self._settings.timeout:g} s"
        if self._programs.leave(self):
            self._asker.unable(f"{self._path} had no turn {time}: {AT_ONCE} programs run at once, not more")
        elif self._run:
            self._run.verdict = f"no answer {time}, killed"
            self._run.abandon()
            self._answer(False, self._run)

    def drop(self) -> None:
        self._programs.leave(self)
        self._heeded = False
        if self._run:
            self._run.abandon()

    def _answer(self, ok: bool, run: Run) -> None:
        self._heeded = False
        line = first_line(run.said)
        verdict = "" if ok and line else run.verdict
        self._asker.answered(ok, ": ".join(part for part in (verdict, line) if part))

    @property
    def _path(self) -> str:
        return (self._settings.command or ("",))[0]


class Run:
    """One process and what it starts, until it has ended."""

    def __init__(self, loop: Loop, pid: int, output: int, on_end: Callable[[Run], None], owner: Owner) -> None:
        """Takes over what `spawn` started. Raises OSError when it cannot be watched; then it has ended."""
        self.said = b""
        self.verdict = ""
        self._on_end = on_end
        self._allowance = _LONGEST_OUTPUT
        self._pid = pid
        self._output = FileIO(output)
        with ExitStack() as undo:
            undo.callback(self._output.close)
            undo.callback(self._end_now)
            self._pidfd = os.pidfd_open(pid)
            undo.callback(os.close, self._pidfd)
            self._end_watch = loop.watch(self._pidfd, READ, self.ending, owner)
            undo.callback(self._end_watch.forget)
            self._output_watch = loop.watch(output, READ, self.hearing, owner)
            undo.pop_all()

    def kill(self) -> None:
        """End it, and all that it started and that did not leave its process group."""
        # Until it is waited for, nobody else can get its number. A set-uid program may be beyond our reach.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)

    def abandon(self) -> None:
        """Its answer is of no more interest; its end is."""
        self.kill()
        self._hear_no_more()

    def hearing(self, mask: int) -> None:
        data = self._output.read(65536)
        if data is None:
            return
        self.said = (self.said + data)[:_KEPT]
        self._allowance -= len(data)
        if not data or self._allowance <= 0:
            self._hear_no_more()

    def ending(self, mask: int) -> None:
        self.kill()  # what it left behind
        if not self._output.closed:
            self.hearing(mask)  # its last words
            self._hear_no_more()
        self._end_watch.forget()
        status = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)
        assert status is not None
        self.verdict = self.verdict or verdict_of(status.si_code, status.si_status)
        self._on_end(self)

    def _end_now(self) -> None:
        """It cannot be watched, so it is waited for: a millisecond, it has just begun."""
        self.kill()
        os.waitpid(self._pid, 0)

    def _hear_no_more(self) -> None:
        self._output_watch.forget()
        self._output.close()


def spawn(words: list[str], environment: dict[str, str], strange: Iterable[int]) -> tuple[int, int]:
    """Start a program in a session of its own. Returns its process id, and where to read what it prints.

    posix_spawn shares our memory until the exec, so it takes 0.1 ms in a big process as in a small one. `strange`
    descriptors are closed in it.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(ours, False)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, theirs, 1),
        (os.POSIX_SPAWN_DUP2, theirs, 2),
        *((os.POSIX_SPAWN_CLOSE, fd) for fd in strange),
    ]
    try:
        pid = os.posix_spawn(
            words[0], words, environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_SIGNALS
        )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return pid, ours


def inheritable() -> list[int]:
    """Descriptors that were handed to us and that a program would get from us. What Python opens is never among
    them, so there will not be more."""
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # that of the list
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
    return found


def verdict_of(code: int, status: int) -> str:
    """How a process ended, for people."""
    if code == os.CLD_EXITED:
        return f"exit {status}"
    try:
        return f"killed by {signal.Signals(status).name}"
    except ValueError:
        return f"killed by signal {status}"
