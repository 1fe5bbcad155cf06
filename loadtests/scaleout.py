"""Do more targets give more? `locust -f loadtests/` in the root of the repository; `--headless` for no web page.

An nlb of its own stands before targets that serve a fixed number of requests per second each, so that the figures
do not depend on the box. Clients keep all targets busy: each sends its next request as soon as it has its answer, on a
new connection, because layer 4 balances connections. Targets are added under that load by `nlb ctl target add`.
Exit code 1 when the last stage gives less than 0.8 times what its targets should, or when a request failed.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from locust import FastHttpUser, LoadTestShape, constant, events, task
from locust import __version__ as locust_version
from locust.env import Environment
from locust.runners import STATE_RUNNING, LocalRunner, Runner

from loadtests.bed import Bed, BedError
from loadtests.chart import page
from loadtests.stages import Stage, lines, read_stages, title, verdict
from nlb import __version__

# For each target of the largest stage. Enough that none is ever without work: each has a queue before it.
CLIENTS_PER_TARGET = 8

# Users per second that locust starts. It warns above this.
SPAWN_RATE = 100.0

WARM_UP = "warm-up"

log = logging.getLogger("locust.scaleout")


class Visitor(FastHttpUser):
    """Wants its answer, then the next one."""

    host = "http://127.0.0.1"  # and a port, once there is an nlb
    wait_time = constant(0)
    connection_timeout = 10
    network_timeout = 30
    max_retries = 0  # a request that nlb loses must be seen

    @task
    def visit(self) -> None:
        shape = self.environment.shape_class
        shape.gate.wait()
        shape.under_way += 1
        try:
            self.client.get("/", name=shape.label, headers={"Connection": "close"})
        finally:
            shape.under_way -= 1


class ScaleOut(LoadTestShape):
    """The same clients throughout, more targets by stages. Each run has a fresh nlb.

    A stage: targets are added under load; then clients hold back until nothing is under way, because the queue that had
    built up before fewer targets would stay there, and its old requests would be in all times; then the warm-up; then
    what ends in the stage's seconds is counted.
    """

    use_common_options = True  # --users and --spawn-rate are heeded

    def __init__(self) -> None:
        super().__init__()
        self.report = Path()
        self.label = WARM_UP  # under which name locust's own statistics count a request
        self.gate = Event()  # closed while clients hold back
        self.gate.set()
        self.under_way = 0
        self._script: Iterator[tuple[int, float]] | None = None
        self._bed: Bed | None = None
        self._stages: list[Stage] = []
        self._times: list[float] | None = None  # of the requests that end while a stage is measured
        self._failed = 0
        self._summary = ""

    def tick(self) -> tuple[int, float] | None:
        """How many users, at which rate; None at the end. Stages are played within a tick: locust asks only once a
        second, and a stage has its own clock."""
        if self._script is None:
            self._script = self._play()
        return next(self._script, None)

    def _play(self) -> Iterator[tuple[int, float]]:
        environment = self.runner.environment
        options = environment.parsed_options
        environment.process_exit_code = 1  # no verdict is not a good one
        self._stages, self._failed = [], 0
        try:
            stages = read_stages(options.stages)
            if options.num_users < 2 * stages[-1]:
                log.warning("--users %d is too few to keep %d targets busy", options.num_users, stages[-1])
            self._bed = Bed(stages[-1], options.target_rate)
            environment.host = self._bed.url
            yield options.num_users, options.spawn_rate
            while self.runner.state != STATE_RUNNING:
                gevent.sleep(0.1)
            for targets in stages:
                self._stages.append(self._measure(targets, options.warm_up, options.stage_seconds))
                log.info("%s: %.1f requests/s", title(targets), self._stages[-1].throughput)
        except (BedError, ValueError) as error:
            log.error("%s", error)
        else:
            self._conclude(environment)

    def _measure(self, targets: int, warm_up: float, seconds: float) -> Stage:
        present = self._stages[-1].targets if self._stages else 1
        for number in range(present + 1, targets + 1):
            self._bed.add(number)
        self.gate.clear()
        while self.under_way:
            gevent.sleep(0.01)
        self.gate.set()
        gevent.sleep(warm_up)
        self._times = times = []
        self.label = title(targets)
        began = time.perf_counter()
        gevent.sleep(seconds)
        took = time.perf_counter() - began
        self.label, self._times = WARM_UP, None
        failed, self._failed = self._failed, 0
        return Stage(targets, took, times, failed)

    def _conclude(self, environment: Environment) -> None:
        options = environment.parsed_options
        found = verdict(self._stages)
        environment.process_exit_code = 0 if found.good else 1
        self.report.parent.mkdir(parents=True, exist_ok=True)
        self.report.write_text(page(self._stages, found, facts(options)), encoding="utf-8")
        word = "good" if found.good else "NOT GOOD"
        self._summary = f"\n{lines(self._stages)}\n\n{word}: {found.text}\nreport: {self.report}"

    def count(self, response_time: float, exception: BaseException | None, **_: Any) -> None:
        """Called for each request that ends."""
        if exception:
            self._failed += 1
        elif self._times is not None:
            self._times.append(response_time)

    def stop(self, environment: Environment, **_: Any) -> None:
        """Called when the users have been stopped, at the end or before it."""
        self._script = None
        self.label, self._times = WARM_UP, None
        self.gate.set()
        if self._bed:
            self._bed.close()
            self._bed = None
        if not environment.parsed_options.headless:
            self.tell()

    def tell(self, **_: Any) -> None:
        """Called last of all. With a web page nobody wants to wait that long, and `stop` calls it."""
        if self._summary:
            print(self._summary, flush=True)
            self._summary = ""


def facts(options: Namespace) -> list[tuple[str, str]]:
    """What a reader of the report must know to judge the figures, or to measure them again."""
    service = 1000 / options.target_rate
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, locust {locust_version}"
    return [
        ("targets", f"{options.target_rate:g} requests/s each: one at a time, {service:g} ms of sleep over each"),
        ("clients", f"{options.num_users}; each sends its next request when it has its answer, on a new connection"),
        ("stages", "targets are added under load by nlb ctl target add; load goes on once all answers are there"),
        ("measured", f"{options.stage_seconds:g} s of each, after a warm-up of {options.warm_up:g} s that is left out"),
        ("nlb", f"{__version__}, 2 workers, round_robin"),
        ("box", f"{os.cpu_count()} cores, {system}"),
        ("date", time.strftime("%Y-%m-%d %H:%M:%S %z")),
    ]


def checked(read: Callable[[str], object]) -> Callable[[str], str]:
    """For an option that is checked but stays text, which the web page of locust can edit."""

    def check(text: str) -> str:
        try:
            read(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None
        return text

    return check


def positive(text: str) -> float:
    if (number := float(text)) <= 0:
        raise ArgumentTypeError(f"{text} is not above 0")
    return number


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    parser.add_argument(
        "--stages", type=checked(read_stages), default="1,2,4", help="Targets in each stage. Default: 1,2,4"
    )
    parser.add_argument(
        "--stage-seconds",
        type=positive,
        default=10.0,
        env_var="NLB_STAGE_SECONDS",
        help="How long each stage is measured. Default: 10",
    )
    parser.add_argument(
        "--warm-up", type=positive, default=2.0, help="Seconds before each stage that are left out. Default: 2"
    )
    parser.add_argument(
        "--target-rate", type=positive, default=50.0, help="Requests per second that a target serves. Default: 50"
    )
    parser.add_argument(
        "--scale-report",
        default="build/scale-out.html",
        include_in_web_ui=False,
        help="Where the report is written. Default: build/scale-out.html",
    )


@events.init.add_listener
def prepare(environment: Environment, runner: Runner, **_: Any) -> None:
    if not isinstance(runner, LocalRunner):
        raise SystemExit("the scale-out check runs in one process: leave out --processes, --master and --worker")
    options = environment.parsed_options
    needed = CLIENTS_PER_TARGET * read_stages(options.stages)[-1]
    options.num_users = options.num_users or needed
    options.spawn_rate = options.spawn_rate or SPAWN_RATE
    if options.run_time:
        log.warning("--run-time is ignored: the run ends after its stages, see --stage-seconds")
    # The table of the stages is what matters; every two seconds one of locust would bury it.
    options.only_summary = not options.print_stats
    shape = environment.shape_class
    # Taken once: the web page may be open to others, who shall not choose which file is written.
    shape.report = Path(options.scale_report).resolve()
    environment.events.request.add_listener(shape.count)
    environment.events.test_stop.add_listener(shape.stop)
    environment.events.quit.add_listener(shape.tell)
