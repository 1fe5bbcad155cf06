"""`python -m loadtests.slow`: the command line, and a run."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from loadtests.peers import room
from loadtests.peers.bench import ROOT, Bench, CandidateError, bench, box
from loadtests.peers.candidates import Candidate, HAProxy, Nlb
from loadtests.peers.cases import Case, Job
from loadtests.peers.loads import Kept, Place
from loadtests.peers.starting import Started, started
from loadtests.reload import ask
from loadtests.rig import BALANCER_CORE, LOAD_CORE, MissingError, need
from loadtests.slow import sentinel, visitors
from loadtests.slow.attacks import ATTACKS, PAGE, PAGE_SIZE, Attack, attacked
from loadtests.slow.held import carriers, connections, looking
from loadtests.slow.sentinel import Standstill
from loadtests.slow.verdict import Figures, figures, grown
from loadtests.slow.visitors import CLIENTS, EACH, KEPT, NEW, NEWCOMERS, Visit

CANDIDATES = ("haproxy", "nlb")
PROTOCOLS = ("http", "https")
PATH, SIZE = "/1k", 1024

# Seconds for the connections of an attack to go, and for whoever cares to see it.
PATIENCE = 30.0

DESCRIPTION = f"""\
Lets slowhttptest attack nlb, and HAProxy for comparison, each with its config of loadtests/peers, beside normal
clients: {CLIENTS} that keep their connections and ask {CLIENTS * EACH:g} times a second in all, and
{NEWCOMERS:g} newcomers a second. Times of the former are judged: p99 under attack may be twice what it is before and
after it, or 10 ms. No client may see an error. The balancer has one core; attackers, clients and targets have the
other; as root all but the attackers go before what else the box does. Visits while a core stood still are left out.
Ends with 1 when nlb was not good, with 2 when nothing can be measured."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m loadtests.slow", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--attack", action="append", choices=list(ATTACKS), help="only this one; may be repeated")
    made.add_argument("--protocol", action="append", choices=PROTOCOLS, help="of the listener; only this one")
    made.add_argument("--candidate", action="append", choices=CANDIDATES, help="only this one")
    made.add_argument("--connections", type=int, default=1000, help="of the attacker, default 1000")
    made.add_argument("--seconds", type=float, help="of an attack, default 30; calm before and after, a third of it")
    made.add_argument("--nlb", type=Path, metavar="FOLDER", default=ROOT, help="attack the nlb of this checkout")
    made.add_argument("--quick", action="store_true", help="attacks of 6 seconds: within 4 minutes")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    console = Console(width=max(150, Console().width))
    try:
        for program in ("nginx", "openssl", "slowhttptest", "chrt", "taskset"):
            need(program)
        if not {BALANCER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
            raise MissingError(f"this process may not use cores {BALANCER_CORE} and {LOAD_CORE}; it needs both")
        return run(options, console)
    except MissingError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run(options: argparse.Namespace, console: Console) -> int:
    seconds = options.seconds or (6 if options.quick else 30)
    wanted = [ATTACKS[name] for name in options.attack or ATTACKS]
    good = True
    go_first()
    with bench(room.enter(), ROOT, None) as ground:
        with (ground.folder / PAGE).open("wb") as page:
            page.truncate(PAGE_SIZE)
        os.sched_setaffinity(0, {LOAD_CORE})
        facts = ", ".join(box().values())
        console.print(f"{facts}: {options.connections} connections, {seconds:g} s", highlight=False)
        for candidate in (HAProxy(), Nlb("nlb", options.nlb.resolve())):
            if options.candidate and candidate.name not in options.candidate:
                continue
            for protocol in options.protocol or PROTOCOLS:
                try:
                    measured = dict(measure(candidate, protocol, wanted, ground, options.connections, seconds))
                except (CandidateError, MissingError) as error:
                    console.print(f"{candidate.name}: {error}", markup=False)
                    good = good and candidate.name != "nlb"
                    continue
                console.print(table(f"{candidate.name} {candidate.version()}, {protocol}", measured))
                good = good and (candidate.name != "nlb" or not any(each.trouble for each in measured.values()))
    return 0 if good else 1


def go_first() -> None:
    """Before what else the box does, with all that we start: it shall not be in the figures. As root only."""
    with suppress(OSError):
        os.nice(-20)
        Path("/proc/self/autogroup").write_text("-20")  # of the session, see sched(7); else nice counts within it only


def measure(
    candidate: Candidate, protocol: Any, wanted: Sequence[Attack], ground: Bench, count: int, seconds: float
) -> Iterator[tuple[Attack, Figures]]:
    case = Case("slow", "", "request", "p99", Job(protocol), Kept(PATH, SIZE))
    with started(candidate, case.job, case, ground) as one, visited(one.place) as seen:
        for attack in wanted:
            yield attack, under_attack(attack, one, seen, count, seconds)


@dataclass
class Seen:
    """What the normal clients have seen up to now, and what a sentinel on each core."""

    _visits: IO[str]
    _cores: list[IO[str]]

    def visits(self) -> list[Visit]:
        return [visitors.read(line) for line in _lines(self._visits)]

    def standstills(self) -> list[Standstill]:
        return [sentinel.read(line) for file in self._cores for line in _lines(file)]


def _lines(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    return (line for line in file if line.endswith("\n"))


@contextmanager
def visited(at: Place) -> Iterator[Seen]:
    """Beside normal clients."""
    visits = ["visitors", at.host, str(at.port), "tls" if at.tls else "plain", PATH, str(SIZE)]
    with ExitStack() as stack:
        cores = [stack.enter_context(_aside(["sentinel"], core)) for core in (BALANCER_CORE, LOAD_CORE)]
        yield Seen(stack.enter_context(_aside(visits, LOAD_CORE)), cores)


@contextmanager
def _aside(command: list[str], core: int) -> Iterator[IO[str]]:
    """A module of ours in a process of its own, and what it says."""
    command = ["taskset", "-c", str(core), sys.executable, "-m", f"loadtests.slow.{command[0]}", *command[1:]]
    with tempfile.NamedTemporaryFile("r") as said:
        with open(said.name, "a") as output:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, cwd=ROOT)
        assert process.stdin
        try:
            yield said.file
        finally:
            process.stdin.close()
            process.wait()


def under_attack(attack: Attack, one: Started, seen: Seen, count: int, seconds: float) -> Figures:
    """Calm, attack, calm."""
    pids = carriers(one)
    time.sleep(1)  # of the first visits, or of what the attack before has left
    with looking(one.place.port, pids) as calmly:
        before = _span(seconds / 3)
    counted, ours = _counters(one), connections(one.place.port)
    with looking(one.place.port, pids) as look, attacked(attack, one.place, count, _said(one)):
        under = _span(seconds)
    _until_gone(one.place.port, ours)
    outcomes = grown(counted, _counters(one))
    after = _span(seconds / 3)
    found = figures(seen.visits(), [before, after], under, seen.standstills())
    found.wanted = count if attack.stays else 0
    found.held = max(0, look.held - ours)
    found.cpu = look.cpu.total / (under[1] - under[0])
    found.calm_cpu = calmly.cpu.total / (before[1] - before[0])
    found.memory = (look.memory - look.first) / (1 << 20)
    found.outcomes = outcomes
    return found


def _span(seconds: float) -> tuple[float, float]:
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def _said(one: Started) -> Path:
    assert one.folder
    return one.folder / "slowhttptest"


def _until_gone(port: int, ours: int) -> None:
    until = time.monotonic() + PATIENCE
    while connections(port) > ours + 1 and time.monotonic() < until:  # a newcomer may be there
        time.sleep(0.2)


def _counters(one: Started) -> dict[str, dict[str, int]]:
    """How sessions and requests of the listener ended, as nlb tells."""
    assert one.folder
    admin = one.folder / "nlb.sock"
    if not admin.exists():
        return {}
    listener = ask(str(admin), "listeners")["listeners"][0]
    return {"sessions": listener["outcomes"], "requests": listener["exchanges"]}


def table(title: str, measured: dict[Attack, Figures]) -> Table:
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column("attack", no_wrap=True)
    for name in ("held", "p50 ms", "p99 ms", "newcomers' p99", "left out", "errors", "CPU %", "MiB more"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("verdict", no_wrap=True)
    made.add_column("what it counted")
    for attack, each in measured.items():
        outcomes = ", ".join(f"{name} {count:,}" for name, count in each.outcomes.items())
        kept, new = _both(each, KEPT), _both(each, NEW)
        cpu = _arrow(f"{each.calm_cpu:.1%}", f"{each.cpu:.1%}").replace("%", "")
        cells = [
            attack.title,
            f"{each.held:,}",
            *kept,
            new[1],
            str(each.left_out),
            str(each.errors.total()),
            cpu,
            f"{each.memory:.1f}",
        ]
        made.add_row(*cells, each.trouble or "good", outcomes)
    return made


def _both(each: Figures, kind: str) -> list[str]:
    """p50 and p99, calm and under attack."""
    calm, under = each.calm[kind], each.under[kind]
    if calm is None or under is None:
        return ["-", "-"]
    return [_arrow(f"{calm.p50:.2f}", f"{under.p50:.2f}"), _arrow(f"{calm.p99:.2f}", f"{under.p99:.2f}")]


def _arrow(calm: str, under: str) -> str:
    return f"{calm} → {under}"


if __name__ == "__main__":
    sys.exit(main())
