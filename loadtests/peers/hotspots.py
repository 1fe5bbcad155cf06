"""Where the time of a case goes, of nlb alone: undisturbed, then by functions (cProfile), then by symbols (perf)."""

from __future__ import annotations

import pstats
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from loadtests.peers.bench import Bench, CandidateError
from loadtests.peers.candidates import Nlb
from loadtests.peers.cases import Case
from loadtests.peers.loads import Done, HalfPeak, Held, LoadError, run
from loadtests.peers.measuring import place_load
from loadtests.peers.starting import Started, UnableError, started
from loadtests.rig import MissingError, cpu, need

FUNCTIONS = 25  # told
SYMBOLS = 30
FREQUENCY = 1999  # samples a second; a prime, so as not to keep step with anything

PROFILED = Path(__file__).parent / "profiled.py"
WAITING = "<method 'poll' of 'select.epoll' objects>"


def tell(case: Case, bench: Bench, seconds: int) -> int:
    """The exit code."""
    if isinstance(case.load, Held):
        print(f"{case.name} is about connections that do nothing; there is no time to look for", file=sys.stderr)
        return 2
    if isinstance(case.load, HalfPeak):
        case = replace(case, load=case.load.peak)
    place_load(case, bench)
    print(f"{case.name}: {case.title}\n")
    try:
        _plain(case, bench, seconds)
        _by_function(case, bench, seconds)
        _by_symbol(case, bench, seconds)
    except UnableError as error:
        print(f"skipped: {error}")
    except (CandidateError, LoadError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


def _plain(case: Case, bench: Bench, seconds: int) -> None:
    with _ours(case, bench) as one:
        run(case.load, one.place, 1)
        pids = one.pids
        before = {pid: cpu([pid]) for pid in pids}
        done = run(case.load, one.place, seconds)
        print(f"Undisturbed: {done.units / done.seconds:,.0f} {case.unit}/s, us of CPU for each")
        for pid in pids:
            used = cpu([pid]) - before[pid]
            what = "control" if pid == one.pid else "worker"
            total, user, system = (1e6 * part / done.units for part in (used.total, used.user, used.system))
            print(f"{total:9.2f}  {what} {pid}: {user:.2f} user, {system:.2f} system")
    print()


def _by_function(case: Case, bench: Bench, seconds: int) -> None:
    folder = bench.folder / f"profile-{time.monotonic_ns()}"
    folder.mkdir()
    with _ours(case, bench, (sys.executable, str(PROFILED), str(folder))) as one:
        done = run(case.load, one.place, seconds)
    print(
        f"By function, under cProfile: {done.units / done.seconds:,.0f} {case.unit}/s. A function looks dearer\n"
        "than it is by some 0.1 us a call. Times are of the wall clock: what others took of the core is in them.\n"
        "Waiting for events is left out.\n"
    )
    print(f"{'calls':>9}{'us own':>9}{'us all':>9}  for each {case.unit}")
    for line in _functions(sorted(folder.glob("*.prof")), done):
        print(line)
    print()


def _functions(files: list[Path], done: Done) -> Iterator[str]:
    if not files:
        yield "no worker left its figures"
        return
    stats = pstats.Stats(str(files[0]))
    for file in files[1:]:
        stats.add(str(file))
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])  # type: ignore[attr-defined]
    rows = [row for row in rows if row[0][2] != WAITING]
    for (file, line, name), (_, calls, own, everything, _) in rows[:FUNCTIONS]:
        place = name if file == "~" else f"{'/'.join(Path(file).parts[-2:])}:{line} {name}"
        units = done.units
        yield f"{calls / units:9.3f}{own / units * 1e6:9.3f}{everything / units * 1e6:9.3f}  {place}"


def _by_symbol(case: Case, bench: Bench, seconds: int) -> None:
    try:
        perf = need("perf", "apt-get install linux-perf")
    except MissingError as error:
        print(f"By symbol: skipped: {error}")
        return
    data = str(bench.folder / "perf.data")
    with _ours(case, bench) as one:
        run(case.load, one.place, 1)
        pids = ",".join(map(str, one.pids))
        # By the clock: virtual machines often have no counters of cycles.
        record = [perf, "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-p", pids, "-o", data]
        process = subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        done = run(case.load, one.place, seconds)
        process.terminate()
        said = process.communicate()[1].decode().strip()
    print(f"By symbol, under perf: {done.units / done.seconds:,.0f} {case.unit}/s\n")
    for sort, lines in (("dso", 8), ("dso,symbol", SYMBOLS)):
        report = [perf, "report", "-i", data, "--stdio", "--no-children", "-q", "--sort", sort]
        told = subprocess.run(report, capture_output=True, text=True, check=False).stdout
        found = [line.rstrip(" -") for line in told.splitlines() if line.strip()]
        print("\n".join(found[:lines]) or f"nothing was recorded: {said}", end="\n\n")


@contextmanager
def _ours(case: Case, bench: Bench, python: tuple[str, ...] = (sys.executable,)) -> Iterator[Started]:
    with started(Nlb("nlb", bench.checkout, python), case.job, case, bench) as one:
        yield one
        # A profile is written when a worker ends, and that is after control has been told to.
        workers = psutil.Process(one.pid).children(recursive=True)
    psutil.wait_procs(workers, 5)
