"""`python -m loadtests.peers`: the command line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from loadtests.peers import hotspots, page, report, room
from loadtests.peers.bench import ROOT, bench, box
from loadtests.peers.candidates import Candidate, candidates
from loadtests.peers.cases import CASES, NAMED, Case
from loadtests.peers.figures import Measured
from loadtests.peers.measuring import measure
from loadtests.rig import BALANCER_CORE, LOAD_CORE, MissingError, need

PEERS = ("haproxy", "nginx", "caddy", "nlb", "direct")

DESCRIPTION = """\
Measures nlb beside HAProxy, nginx and Caddy, each with a tuned config for the same job, and tells ratios to HAProxy.
The balancer has one core, load and targets have the other; rounds alternate, medians are told. As root all of it runs
in a network of its own. A peer that is not installed is skipped. Ends with 1 when a candidate failed or any answer was
wrong, with 2 when nothing can be measured."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m loadtests.peers", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--list", action="store_true", help="name the cases and end")
    made.add_argument(
        "--case",
        action="append",
        metavar="NAME",
        type=_case,
        help="only this case; may be repeated; tcp is all of tcp-*",
    )
    made.add_argument(
        "--candidate", action="append", metavar="NAME", choices=PEERS, help=f"only this one: {', '.join(PEERS)}"
    )
    made.add_argument("--quick", action="store_true", help="the main cases, 3 rounds of 1 s: within 3 minutes")
    made.add_argument("--rounds", type=_count, help="rounds, default 5")
    made.add_argument("--seconds", type=_count, help="seconds of load in a round, default 2")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    made.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts there")
    made.add_argument("--baseline", type=Path, metavar="FILE", help="compare ratios with this earlier --json")
    made.add_argument(
        "--nlb", type=_checkout, metavar="FOLDER", default=ROOT, help="measure the nlb of this checkout, default ours"
    )
    made.add_argument(
        "--before", type=_checkout, metavar="FOLDER", help="measure the nlb of this checkout too, as nlb-before"
    )
    made.add_argument(
        "--profile", metavar="NAME", choices=sorted(NAMED), help="tell where nlb's time goes in this case, and end"
    )
    return made


def _case(text: str) -> list[Case]:
    found = [NAMED[text]] if text in NAMED else [case for case in CASES if case.name.startswith(f"{text}-")]
    if not found:
        raise argparse.ArgumentTypeError(f"no case is called {text!r}; see --list")
    return found


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _checkout(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / "nlb" / "__main__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text} has no nlb/__main__.py")
    return path


def chosen(options: argparse.Namespace) -> list[Case]:
    wanted = {case.name for cases in options.case or [] for case in cases}
    return [case for case in CASES if case.name in wanted or (not wanted and (case.quick or not options.quick))]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    console = Console(width=max(110, Console().width)) if not sys.stdout.isatty() else Console()
    if options.list:
        for case in CASES:
            print(f"{case.name:26}{case.title}")
        return 0
    try:
        baseline = report.read_baseline(options.baseline) if options.baseline else None
        for program in ("nginx", "wrk", "openssl", "taskset"):
            need(program, "apt-get install util-linux" if program == "taskset" else "")
        if not {BALANCER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
            raise MissingError(f"this process may not use cores {BALANCER_CORE} and {LOAD_CORE}; it needs both")
        return run(options, console, baseline)
    except (MissingError, report.BaselineError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run(options: argparse.Namespace, console: Console, baseline: dict[str, Any] | None) -> int:
    rounds = options.rounds or (3 if options.quick else 5)
    seconds = options.seconds or (1 if options.quick else 2)
    began = time.time()
    with bench(room.enter(), options.nlb, options.before) as ground:
        if options.profile:
            return hotspots.tell(NAMED[options.profile], ground, max(seconds, 3))
        wanted = [one for one in candidates(ground) if _is_wanted(one, options.candidate)]
        facts = _facts(options, wanted, rounds, seconds)
        console.print(_opening(facts), highlight=False, markup=False)
        measured: list[Measured] = []
        for case in chosen(options):
            with console.status("") as status:
                measured.append(measure(case, wanted, ground, rounds, seconds, status.update))
            report.tell(console, measured[-1])
    facts["took"] = round(time.time() - began)
    report.tell_summary(console, measured)
    if baseline:
        report.tell_changes(console, measured, baseline)
    _write(options.json, json.dumps(report.plain(measured, facts), indent=1) + "\n")
    _write(options.html, page.page(measured, facts))
    bad = [case.name for case in measured if case.is_bad]
    if bad:
        console.print(f"Not to be relied on, for failures or errors: {', '.join(bad)}", style="bold red")
    console.print(f"{facts['took']} s in all", highlight=False)
    return 1 if bad else 0


def _is_wanted(candidate: Candidate, names: list[str] | None) -> bool:
    return not names or candidate.name in names or (candidate.name == "nlb-before" and "nlb" in names)


def _facts(options: argparse.Namespace, wanted: Sequence[Candidate], rounds: int, seconds: int) -> dict[str, Any]:
    versions, missing = {}, []
    for candidate in wanted:
        try:
            versions[candidate.name] = candidate.version()
        except MissingError as error:
            missing.append(str(error))
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": shlex.join(["python", "-m", "loadtests.peers", *sys.argv[1:]]),
        "rounds": rounds,
        "seconds": seconds,
        "versions": {name: text for name, text in versions.items() if text},
        "missing": missing,
        "python": platform.python_version(),
        **box(),
    }


def _opening(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {text}" for name, text in facts["versions"].items())
    rounds = f"{facts['rounds']} round{'s' * (facts['rounds'] > 1)} of {facts['seconds']} s"
    return (
        f"{facts['date']}: {rounds}; {versions}\n"
        f"{facts['cores']}, Linux {facts['kernel']}, Python {facts['python']}\n"
        "us: of the balancer's CPU. CPU: cores that it used. load: how busy the core of load and targets was.\n"
        + "".join(f"{why}\n" for why in facts["missing"])
    )


def _write(path: Path | None, text: str) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
