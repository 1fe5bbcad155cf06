"""`python -m loadtests.peers` and `python -m loadtests.micro`: their arguments, configs, clients and sums, and one run
as short as can be. What they measure is nobody's business here.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from loadtests import micro
from loadtests.peers import __main__ as command
from loadtests.peers import report
from loadtests.peers.bench import ROOT, Bench, CandidateError, Certificate
from loadtests.peers.candidates import Nlb, candidates
from loadtests.peers.cases import CASES, HTTP, HTTPS, NAMED, TCP, Job
from loadtests.peers.figures import KINDS, Bar, Measured, Result, Sample, changes, ratio
from loadtests.peers.loads import Bulk, Fresh, Held, Holding, Kept, Load, LoadError, Paced, Place, done, run
from loadtests.peers.page import page
from loadtests.peers.starting import set_up
from nlb.errors import ConfigError
from nlb.model.parse import parse

# Seconds. Far beyond what anything here takes.
PATIENCE = 120.0


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


# --- arguments


@pytest.mark.parametrize("module", ["loadtests.peers", "loadtests.micro"])
def test_help_and_list_measure_nothing(module: str) -> None:
    helped = python(module, "--help")
    assert helped.returncode == 0
    assert f"usage: python -m {module}" in helped.stdout
    assert "--profile" in helped.stdout
    listed = python(module, "--list")
    assert (listed.returncode, listed.stderr) == (0, "")
    names = [case.name for case in CASES] if module == "loadtests.peers" else list(micro.PARTS)
    assert [
        line for line, name in zip(listed.stdout.splitlines(), names, strict=True) if not line.startswith(name)
    ] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--case", "tcp-mesages"], "no case is called 'tcp-mesages'; see --list"),
        (["--rounds", "0"], "'0' is not a whole number above 0"),
        (["--seconds", "1.5"], "'1.5' is not a whole number above 0"),
        (["--candidate", "envoy"], "invalid choice: 'envoy'"),
        (["--nlb", "/"], "/ has no nlb/__main__.py"),
        (["--profile", "tcp"], "invalid choice: 'tcp'"),
        (["--baseline", "/nowhere.json"], "/nowhere.json: No such file or directory"),
        (["tcp-messages"], "unrecognized arguments: tcp-messages"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(arguments: list[str], said: str) -> None:
    ended = python("loadtests.peers", *arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--case", "tcp-bulk"], {"tcp-bulk"}),
        (["--case", "tcp-bulk", "--case", "https-bulk"], {"tcp-bulk", "https-bulk"}),
        (["--case", "http-hosts"], {"http-hosts-1", "http-hosts-100", "http-hosts-10000"}),
        (["--case", "https"], {case.name for case in CASES if case.job.protocol == "https"}),
        (["--quick"], {case.name for case in CASES if case.quick}),
        (["--quick", "--case", "tcp-bulk-4"], {"tcp-bulk-4"}),
        ([], set(NAMED)),
    ],
)
def test_which_cases_are_chosen(arguments: list[str], names: set[str]) -> None:
    options = command.parser().parse_args(arguments)
    assert {case.name for case in command.chosen(options)} == names


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cases": 1}', '{"cases": [], "format": 0}'])
def test_a_baseline_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "old.json"
    file.write_text(text)
    with pytest.raises(report.BaselineError, match=r"old\.json"):
        report.read_baseline(file)


def test_micro_refuses_what_it_does_not_know() -> None:
    ended = python("loadtests.micro", "pick", "route66")
    assert ended.returncode == 2
    assert "no part is called 'route66'; see --list" in ended.stderr


# --- cases and configs


def test_cases_are_told_apart_and_about_a_known_figure() -> None:
    assert len(NAMED) == len(CASES)
    assert {case.kind for case in CASES} | {bar.kind for case in CASES for bar in case.bars} <= set(KINDS)
    others = {name for case in CASES for name, _ in case.also}
    assert {bar.to for case in CASES for bar in case.bars} <= {"", "haproxy", "caddy"} | others


@pytest.fixture
def ground(tmp_path: Path) -> Bench:
    certificates = {
        key: Certificate(*(str(tmp_path / f"{key}.{end}") for end in ("cert", "key", "pem"))) for key in ("ec", "rsa")
    }
    return Bench(tmp_path, 7001, 7002, True, certificates, os.getpid())


JOBS = [TCP, HTTP, HTTPS, replace(TCP, workers=2, targets=10_000), replace(HTTP, workers=2), replace(HTTP, hosts=101)]


@pytest.mark.parametrize("job", JOBS, ids=str)
@pytest.mark.parametrize("name", ["haproxy", "nginx", "caddy", "nlb"])
def test_every_candidate_has_a_config_for_every_job(ground: Bench, name: str, job: Job) -> None:
    candidate = next(one for one in candidates(ground) if one.name == name)
    if name == "caddy" and job.protocol == "tcp":
        assert candidate.files(job) == []
        return
    setup = set_up(candidate, job, ground)
    text = "".join(path.read_text() for path in setup.folder.iterdir())
    assert str(setup.port) in text
    targets = ground.targets(job.targets)
    assert [target for target in targets if target not in text] == []
    hosts = [f"h{number}.bench.test" for number in range(job.hosts)]
    # Caddy's first group is the default, which needs no hosts.
    assert [host for host in hosts[1::2] if host not in text] == []
    assert ("health_check" in text or " check " in text) == (
        (job.checks and name == "haproxy") or (not job.checks and name == "nlb")
    )


CHECKS = {"haproxy": ["haproxy", "-c", "-f", "haproxy.cfg"], "nginx": ["nginx", "-t", "-q", "-c", "nginx.conf"]}


@pytest.mark.parametrize("job", [job for job in JOBS if job.protocol != "https"], ids=str)
@pytest.mark.parametrize("name", CHECKS)
def test_peers_accept_their_configs(ground: Bench, name: str, job: Job) -> None:
    program, *arguments = CHECKS[name]
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    candidate = next(one for one in candidates(ground) if one.name == name)
    setup = set_up(candidate, job, ground)
    if why := candidate.unable(setup):
        pytest.skip(why)
    arguments[-1] = str(setup.folder / arguments[-1])
    checked = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_nlb_accepts_its_config_for_layer_4(ground: Bench) -> None:
    setup = set_up(Nlb("nlb", ROOT), replace(TCP, targets=10_000), ground)
    config = parse((setup.folder / "nlb.toml").read_text(), "nlb.toml")
    assert config.target_count == 10_000
    assert config.admin.web is not None, "metrics stay on"


def test_a_config_that_nlb_refuses_is_a_reason_to_skip(ground: Bench) -> None:
    nlb = Nlb("nlb", ROOT)
    setup = set_up(nlb, TCP, ground)
    assert nlb.unable(setup) == ""
    file = setup.folder / "nlb.toml"
    file.write_text(file.read_text().replace("[[listener]]\n", '[[listener]]\nprotocol = "gopher"\n'))
    with pytest.raises(ConfigError):
        parse(file.read_text(), "nlb.toml")
    assert "listener.in.protocol" in nlb.unable(setup)


def test_many_targets_need_a_network_of_our_own(ground: Bench) -> None:
    assert ground.targets(2) == ["127.0.0.1:7001", "127.0.0.2:7001"]
    assert len(set(ground.targets(10_000))) == 10_000
    ground.own_network = False
    with pytest.raises(CandidateError, match="10000 targets need root"):
        ground.targets(10_000)


# --- loads


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = {"/1k": 1024, "/bulk": 1_000_000, "/short": 1023}.get(self.path)
        self.send_response(200 if size else 404)
        self.send_header("Content-Length", str(size or 0))
        self.end_headers()
        self.wfile.write(b"x" * (size or 0))
        if self.path == "/short":
            self.close_connection = True  # or our clients would wait for the rest

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield Place("127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


LOADS = [Fresh(clients=4), Paced(50, clients=4), Bulk(2, size=1_000_000)]


@pytest.mark.parametrize("load", LOADS, ids=lambda load: type(load).__name__)
def test_our_clients_count_what_they_get(place: Place, load: Load) -> None:
    found = run(load, place, 1)
    assert found.units > 0
    assert found.errors == 0
    assert found.seconds > 0
    if not isinstance(load, Bulk):
        assert found.p50
        assert found.p99
        assert found.p50 <= found.p99


def test_a_rate_is_kept(place: Place) -> None:
    # Requests that were due in the second, whether it was a good one or not.
    assert run(Paced(40, clients=4), place, 1).units in range(38, 43)


@pytest.mark.parametrize("path", ["/short", "/missing"])
@pytest.mark.parametrize("load", [Fresh(clients=1), Paced(20, clients=1)], ids=lambda load: type(load).__name__)
def test_a_wrong_answer_is_none(place: Place, load: Fresh | Paced, path: str) -> None:
    with pytest.raises(LoadError, match="not one answer"):
        run(replace(load, path=path), place, 1)


def test_connections_are_held_until_they_were_asked_again(place: Place) -> None:
    holding = Holding(Held(5), place)
    found = holding.close()
    assert (found.units, found.errors) == (5, 0)
    holding.kill()


def test_nobody_there() -> None:
    place = Place("127.0.0.1", 1)
    with pytest.raises(LoadError, match=r"127\.0\.0\.1:1: Connection refused"):
        run(Fresh(), place, 1)
    with pytest.raises(LoadError, match=r"127\.0\.0\.1:1: Connection refused"):
        Holding(Held(1), place)


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_wrk_tells_its_figures(place: Place) -> None:
    found = run(Kept(clients=4, hosts=3), place, 1)
    assert found.units > 0
    assert found.errors == 0
    assert found.p50
    with pytest.raises(LoadError, match="not one answer"):
        run(Kept("/missing", clients=1), place, 1)


def test_fewer_bytes_than_answers_need_are_an_error() -> None:
    with pytest.raises(LoadError, match="10 bytes for 3 answers of 4"):
        done('{"units": 3, "seconds": 1, "errors": 0, "bytes": 10}', 4)


# --- sums


def result(name: str, *cpu: float, units: float = 1e6) -> Result:
    """CPU in microseconds for each unit."""
    return Result(name, [Sample(units, 1.0, each / 4, each * 3 / 4, p99=each) for each in cpu])


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    found = ratio(result("nlb", 2, 30, 5), result("haproxy", 1, 10, 5), "cpu")
    assert found is not None
    assert (found.value, found.least, found.most) == (2, 1, 3)


def test_no_ratio_to_what_is_not_there() -> None:
    direct = Result("direct", [Sample(1e6, 1.0)])
    assert direct.median("cpu") is None
    assert direct.median("throughput") == 1e6
    assert ratio(direct, result("haproxy", 1), "cpu") is None
    assert ratio(None, direct, "cpu") is None


def test_user_and_system_are_parts_of_the_whole() -> None:
    one = result("nlb", 8, 8, 100)
    parts = one.median("user"), one.median("system"), one.median("cpu"), one.median("utilisation")
    assert parts == pytest.approx((2, 6, 8, 8))


@pytest.mark.parametrize(
    ("bar", "mine", "word"),
    [
        (Bar("cpu", 1.25, 1.0), 9, "aim reached"),
        (Bar("cpu", 1.25, 1.0), 10.04, "aim reached"),
        (Bar("cpu", 1.25, 1.0), 12.5, "good enough"),
        (Bar("cpu", 1.25, 1.0), 12.6, "MISSED"),
        (Bar("throughput", 1.0, 1.1), 9, "MISSED"),
        (Bar("p99", 30, 20, to=""), 25, "good enough"),
        (Bar("cpu", 1, 1, to="caddy"), 1, None),
    ],
)
def test_bars(bar: Bar, mine: float, word: str | None) -> None:
    ours = result("nlb", mine)
    if bar.kind == "throughput":
        ours = result("nlb", 1, units=1e5 * mine)
    verdict = bar.judge([ours, result("haproxy", 10)])
    assert (verdict and verdict.word) == word


def measured(name: str = "tcp-messages", nlb: float = 12, **more: Any) -> Measured:
    results = [
        result("haproxy", 10),
        result("nlb", nlb),
        Result("caddy", skipped="<no> layer 4"),
        Result("direct", [Sample(2e6, 1)]),
    ]
    return Measured(name, "TCP & messages", "message", "cpu", [Bar("cpu", 1.25, 1.0)], results, **more)


def test_a_failure_or_an_error_spoils_a_case() -> None:
    assert not measured().is_bad
    assert Measured("a", "", "", "cpu", results=[Result("nlb", failed="crashed")]).is_bad
    assert Measured("a", "", "", "cpu", results=[Result("nlb", [Sample(1, 1, errors=1)])]).is_bad


def test_an_earlier_run_is_compared_by_ratios(tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text(json.dumps(report.plain([measured(nlb=10), measured("gone")], {"date": "then"})))
    found = changes([measured(nlb=15), measured("new")], report.read_baseline(file))
    assert [(change.case, change.candidate, change.then, change.now) for change in found] == [
        ("tcp-messages", "nlb", 1.0, 1.5)
    ]
    assert found[0].by == pytest.approx(0.5)


def test_the_summary_has_a_row_per_case() -> None:
    skipped = Measured("https-full", "", "handshake", "cpu", skipped="not yet")
    head, row = report.summary([measured(), skipped])
    assert head == ["case", "figure", "haproxy", "caddy", "nlb", "bars"]
    assert row == ["tcp-messages", "CPU per message, us", "10.00", "-", "1.20", "good enough"]


def test_json_has_no_infinities_and_every_sample() -> None:
    plain = report.plain([measured()], {})
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    nlb = plain["cases"][0]["candidates"][1]
    assert nlb["ratio"]["value"] == pytest.approx(1.2)
    assert nlb["samples"] == [{"units": 1e6, "seconds": 1.0, "user": 3.0, "system": 9.0, "errors": 0, "p99": 12}]


def test_the_page_is_one_file_with_a_bar_for_each_candidate() -> None:
    skipped = Measured("https-full", "", "handshake", "cpu", skipped="<not> yet")
    text = page([measured(), measured("b", note="1 & 2"), skipped], {"versions": {"nlb": "0.1"}, "command": "a <b>"})
    assert "&lt;not&gt; yet" in text
    assert "&lt;no&gt; layer 4" in text
    assert "1 &amp; 2" in text
    assert not any(word in text for word in ("http:", "https:", "src=", "@import", "url("))
    drawings = [ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>") for part in text.split("<svg")[1:]]
    # User and system of haproxy and nlb; direct uses no CPU.
    assert [len(drawing.findall("rect")) for drawing in drawings] == [4, 4]


# --- for real


def test_a_run_as_short_as_can_be(tmp_path: Path) -> None:
    missing = [
        program
        for program in ("haproxy", "nginx", "wrk", "openssl")
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    ]
    if missing or len(os.sched_getaffinity(0)) < 2:
        pytest.skip(f"needs two cores, and {', '.join(missing) or 'has all programs'}")
    figures, drawn = tmp_path / "made" / "peers.json", tmp_path / "peers.html"
    names = ["--candidate", "haproxy", "--candidate", "nlb", "--candidate", "direct"]
    cases = ["--case", "tcp-messages", "--case", "tcp-connections", "--rounds", "1", "--seconds", "1"]
    ended = python("loadtests.peers", *names, *cases, "--json", str(figures), "--html", str(drawn))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run = json.loads(figures.read_text())
    assert [case["name"] for case in run["cases"]] == ["tcp-messages", "tcp-connections"]
    for case in run["cases"]:
        haproxy, nlb, direct = case["candidates"]
        assert [one["errors"] for one in (haproxy, nlb, direct)] == [0, 0, 0]
        assert 0.1 < nlb["ratio"]["value"] < 10
        assert math.isclose(nlb["user"] + nlb["system"], nlb["cpu"])
        assert "cpu" not in direct
        assert f"{case['name']}: " in ended.stdout
    assert drawn.read_text().startswith("<!DOCTYPE html>")
    again = report.read_baseline(figures)
    assert again["rounds"] == 1


def test_micro_measures_and_profiles_a_part() -> None:
    ended = python("loadtests.micro", "count", "flow key")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [line.split()[-1] for line in ended.stdout.splitlines()] == ["ns"] * 3
    ended = python("loadtests.micro", "--profile", "pick round_robin")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "balance/round_robin.py" in ended.stdout


def test_micro_names_and_skips_what_is_not_there_yet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> micro.Work:
        raise ImportError("No module named 'nlb.quantum'")

    monkeypatch.setitem(micro.PARTS, "quantum leap", missing)
    assert micro.main(["quantum"]) == 0
    assert "skipped: No module named 'nlb.quantum'" in capsys.readouterr().out
