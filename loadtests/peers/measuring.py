"""Rounds that alternate between the candidates of a case, so that drift hits all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from loadtests.peers.bench import Bench, CandidateError
from loadtests.peers.candidates import Candidate, Direct, Nlb
from loadtests.peers.cases import Case, Job
from loadtests.peers.figures import Measured, Result, Sample
from loadtests.peers.loads import HalfPeak, Held, Holding, Load, LoadError, run
from loadtests.peers.starting import Started, UnableError, set_up, started
from loadtests.rig import BALANCER_CORE, LOAD_CORE, MissingError, cpu, memory

WARM_UP = 100  # connections that a balancer has served before idle ones are held
IDLE_ROUNDS = 2  # at most: memory is the same every time, and each round needs a fresh start
SETTLE = 1.5  # seconds until what new connections set off has been done

Tell = Callable[[str], None]


def measure(
    case: Case, candidates: Sequence[Candidate], bench: Bench, rounds: int, seconds: int, tell: Tell
) -> Measured:
    measured = Measured(case.name, case.title, case.unit, case.kind, case.bars, note=case.note)
    if why := not_for_nlb(case, candidates, bench):
        measured.skipped = why
        return measured
    runners = [Runner(candidate, job, case, bench, tell) for candidate, job in jobs(case, candidates)]
    measured.results = [runner.result for runner in runners]
    place_load(case, bench)
    if isinstance(case.load, Held):
        for number in range(min(rounds, IDLE_ROUNDS)):
            for runner in runners:
                runner.hold(case.load, seconds, f"round {number + 1}")
        return measured
    with ExitStack() as stack:
        for runner in runners:
            runner.start(stack)
        load = case.load
        peaks = [peak for runner in runners if (peak := runner.warm_up(load))]
        if isinstance(load, HalfPeak) and peaks:
            load = load.paced(peaks)
            measured.note = f"{load.rate:,.0f} {case.unit}s/s"
        for number in range(rounds):
            for runner in runners:
                runner.sample(load, seconds, f"round {number + 1} of {rounds}")
    return measured


def not_for_nlb(case: Case, candidates: Sequence[Candidate], bench: Bench) -> str:
    """Without nlb there is nothing to compare its peers with. Empty when it can do this, or was not asked for."""
    ours = next((candidate for candidate in candidates if candidate.name == "nlb"), None)
    if ours is None:
        return ""
    try:
        return ours.unable(set_up(ours, case.job, bench))
    except CandidateError as error:
        return str(error)


def jobs(case: Case, candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, Job]]:
    """Who is measured, with what. nlb's other jobs follow it."""
    for candidate in candidates:
        if isinstance(candidate, Direct) and not case.has_limit:
            continue
        yield candidate, case.job
        if candidate.name == "nlb":
            assert isinstance(candidate, Nlb)
            for name, job in case.also:
                yield Nlb(name, candidate.checkout), job


def place_load(case: Case, bench: Bench) -> None:
    """Load, which this process will start, and targets on their core; on both where the balancer has both."""
    cores = {LOAD_CORE} if case.cores == 1 else {BALANCER_CORE, LOAD_CORE}
    os.sched_setaffinity(0, cores)
    target = psutil.Process(bench.pid)
    for process in (target, *target.children()):
        process.cpu_affinity(list(cores))


class Runner:
    """One candidate in one case. What goes wrong with it is noted in its result, and it is left out from then on."""

    def __init__(self, candidate: Candidate, job: Job, case: Case, bench: Bench, tell: Tell) -> None:
        self.result = Result(candidate.name)
        self._candidate = candidate
        self._job = job
        self._case = case
        self._bench = bench
        self._tell = tell
        self._started: Started | None = None

    @property
    def is_out(self) -> bool:
        return bool(self.result.skipped or self.result.failed)

    def start(self, stack: ExitStack) -> None:
        """It stays until the stack's end."""
        self._say("starts")
        with self._noting():
            self._started = stack.enter_context(started(self._candidate, self._job, self._case, self._bench))

    def warm_up(self, load: Load) -> float | None:
        """Units per second, of one that stands between."""
        if self.is_out or self._started is None:
            return None
        self._say("warms up")
        with self._noting():
            done = run(load, self._started.place, 1)
            return done.units / done.seconds if self._started.pid else None
        return None

    def sample(self, load: Load, seconds: int, round_name: str) -> None:
        if self.is_out or self._started is None:
            return
        self._say(round_name)
        with self._noting():
            self.result.samples.append(self._sample(self._started, load, seconds))

    def hold(self, load: Held, seconds: int, round_name: str) -> None:
        """Start it, give it connections that idle, end it."""
        if self.is_out:
            return
        self._say(round_name)
        with self._noting(), ExitStack() as stack:
            one = stack.enter_context(started(self._candidate, self._job, self._case, self._bench))
            first = Holding(Held(WARM_UP), one.place)
            first.close()
            time.sleep(SETTLE)
            before, open_before = sum(map(memory, one.pids)), list(map(_descriptors, one.pids))
            holding = Holding(load, one.place)
            stack.callback(holding.kill)
            time.sleep(SETTLE)
            more = sum(map(memory, one.pids)) - before
            open_now = list(map(_descriptors, one.pids))
            used, began = cpu(one.pids), time.monotonic()
            time.sleep(2 * seconds)
            mine, passed = cpu(one.pids) - used, time.monotonic() - began
            taken = [now - then for now, then in zip(open_now, open_before, strict=True)]
            # Threads share their descriptors, and nobody outside can tell who of them has which connection.
            share = max(taken) / sum(taken) if sum(count > 0 for count in taken) > 1 else None
            done = holding.close()
            if self._case.kind == "share" and share is None:
                raise UnableError("its threads cannot be told apart from outside")
            self.result.samples.append(
                Sample(
                    done.units,
                    passed,
                    mine.user,
                    mine.system,
                    done.errors,
                    memory=more / done.units / 1024,
                    share=share,
                )
            )

    def _sample(self, one: Started, load: Load, seconds: int) -> Sample:
        pids = one.pids
        used, began = cpu(pids), time.monotonic()
        before = {core: _busy(core) for core in (BALANCER_CORE, LOAD_CORE)}
        done = run(load, one.place, seconds)
        mine, passed = cpu(pids) - used, time.monotonic() - began
        busy = {core: (_busy(core) - then) / passed for core, then in before.items()}
        apart = self._case.cores == 1
        return Sample(
            done.units,
            done.seconds,
            mine.user if pids else None,
            mine.system if pids else None,
            done.errors,
            done.p50,
            done.p99,
            load=busy[LOAD_CORE] if apart else None,
            others=max(0.0, busy[BALANCER_CORE] - mine.total / passed) if apart else None,
        )

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except (UnableError, MissingError) as error:
            self.result.skipped = str(error)
        except (CandidateError, LoadError, psutil.NoSuchProcess, FileNotFoundError) as error:
            self.result.failed = str(error)

    def _say(self, what: str) -> None:
        self._tell(f"{self._case.name}: {self._candidate.name}, {what}")


def _busy(core: int) -> float:
    """Seconds that this core was not idle."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
            return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    raise MissingError(f"this box has no core {core}; the benchmark needs two")


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
