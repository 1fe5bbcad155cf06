"""`locust -f loadtests/`, the scale-out check, with short stages. Its targets are slow by design, so that what it finds
depends on how nlb spreads connections, not on the box. And `python -m loadtests.slow`: its sums, and one short run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from loadtests.chart import page, round_step
from loadtests.slow.sentinel import Standstill
from loadtests.slow.verdict import Figures, figures, grown
from loadtests.slow.visitors import KEPT, NEW, Visit, read
from loadtests.stages import Stage, Verdict, lines, read_stages, verdict
from tests.endings import all_end

ROOT = Path(__file__).parents[2]
LOCUST = [sys.executable, "-m", "locust", "-f", "loadtests/"]

# Seconds. Far beyond what anything here takes.
PATIENCE = 60.0


def locust(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LOCUST, *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_four_targets_give_four_times_what_one_gives(tmp_path: Path) -> None:
    report = tmp_path / "made" / "report.html"
    done = locust("--headless", "--warm-up", "0.3", "--scale-report", str(report), NLB_STAGE_SECONDS="0.8")
    assert done.returncode == 0, done.stderr
    table = done.stdout.strip().splitlines()
    assert table[0].split()[:3] == ["targets", "requests/s", "ratio"]
    assert [row.split()[0] for row in table[1:4]] == ["1", "2", "4"]
    assert "good: 4 targets give" in done.stdout
    assert f"report: {report}" in done.stdout
    assert "4 targets give" in report.read_text()


def test_one_client_keeps_only_one_target_busy_and_that_is_found_too_weak(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    options = ("--stages", "1,4", "--users", "1", "--stage-seconds", "0.5", "--warm-up", "0.2")
    done = locust("--headless", *options, "--scale-report", str(report))
    assert done.returncode == 1, done.stderr
    assert "NOT GOOD: 4 targets give" in done.stdout
    assert "at least 3.2 was wanted" in report.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_running_when_it_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    with under_load(tmp_path) as process:
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 4, "the targets, nlb's control, two workers"
        process.send_signal(number)
        assert process.wait(PATIENCE), "no verdict is not a good one"
        assert all_end([child.pid for child in started], PATIENCE)


@contextmanager
def under_load(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in its first stage."""
    options = ["--headless", "--scale-report", str(folder / "report.html")]
    with subprocess.Popen([*LOCUST, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            assert any("All users spawned" in line for line in process.stderr)
            yield process
        finally:
            process.kill()


def test_the_folder_has_one_kind_of_user_and_all_modules_import_without_effect() -> None:
    done = locust("--list")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n    ")[1:] == ["Visitor\n"]


def measured(targets: int, throughput: float, failed: int = 0) -> Stage:
    return Stage(targets, 10.0, [5.0] * round(throughput * 10), failed)


@pytest.mark.parametrize(
    ("name", "stages", "good"),
    [
        ("in proportion", [measured(1, 50), measured(2, 100), measured(4, 200)], True),
        ("just enough", [measured(1, 50), measured(4, 160)], True),
        ("just too little", [measured(1, 50), measured(4, 159.9)], False),
        ("two targets: 1.6 times would do", [measured(1, 50), measured(2, 80)], True),
        ("no gain", [measured(1, 50), measured(2, 50), measured(4, 50)], False),
        ("nothing at all", [measured(1, 0), measured(4, 0)], False),
        ("one lost request", [measured(1, 50), measured(2, 100, failed=1), measured(4, 200)], False),
    ],
)
def test_the_verdict(name: str, stages: list[Stage], good: bool) -> None:
    assert verdict(stages).good == good, name


def test_percentiles_are_times_that_somebody_waited() -> None:
    stage = Stage(1, 1.0, range(100, 0, -1))
    assert (stage.p50, stage.p99) == (50, 99)
    assert Stage(1, 1.0, [7.0]).p99 == 7.0


def test_the_table_has_each_figure_and_its_ratio_to_the_first_stage() -> None:
    stages = [Stage(1, 2.0, [40.0] * 100), Stage(4, 2.0, [10.0] * 399 + [20.0] * 1)]
    assert [line.split() for line in lines(stages).splitlines()[1:]] == [
        ["1", "50.0", "1.00", "40", "1.00", "40", "1.00", "0"],
        ["4", "200.0", "4.00", "10", "0.25", "10", "0.25", "0"],
    ]


@pytest.mark.parametrize("text", ["", "1", "4,2,1", "2,4", "1,two", "1,,2", "0,1"])
def test_stages_that_make_no_sense(text: str) -> None:
    with pytest.raises(ValueError, match="like 1,2,4"):
        read_stages(text)


def test_the_report_is_one_file_with_a_bar_for_each_figure() -> None:
    text = page([measured(1, 50), measured(4, 0)], Verdict(False, "<not good>"), [("box", "2 & more")])
    assert "&lt;not good&gt;" in text
    assert "2 &amp; more" in text
    assert not any(word in text for word in ("http:", "https:", "src=", "@import", "url("))
    drawings = [ElementTree.fromstring(part.split("</svg>")[0] + "</svg>") for part in split_keeping(text, "<svg")]
    assert [len(drawing.findall("rect")) for drawing in drawings] == [2, 4]


def split_keeping(text: str, start: str) -> list[str]:
    return [start + part for part in text.split(start)[1:]]


@pytest.mark.parametrize(("highest", "step"), [(200, 50), (250, 50), (251, 100), (0.7, 0.2), (1, 0.2), (0, 1)])
def test_the_steps_of_a_grid_are_round(highest: float, step: float) -> None:
    assert round_step(highest) == pytest.approx(step)


# --- slow attacks


def visits(*times: tuple[float, float], kind: str = KEPT, wrong: str = "") -> list[Visit]:
    """When each ended, and how many ms it took."""
    return [Visit(at, kind, milliseconds / 1000, wrong) for at, milliseconds in times]


CALM, UNDER = [(0.0, 10.0), (30.0, 40.0)], (10.0, 20.0)


@pytest.mark.parametrize(
    ("name", "seen", "trouble"),
    [
        ("as calm as before", visits((1, 2.0), (11, 2.0), (31, 2.0)), ""),
        ("10 ms are enough for anybody", visits((1, 2.0), (11, 10.0)), ""),
        ("more is not", visits((1, 2.0), (11, 10.1)), "p99 is over 10.0 ms"),
        ("but twice as much as when it was calm", visits((1, 6.0), (11, 12.0)), ""),
        ("the calm after counts too", visits((1, 2.0), (11, 12.0), (31, 6.0)), ""),
        ("what comes between is not judged", visits((1, 2.0), (11, 2.0), (25, 900.0)), ""),
        ("nor how long newcomers wait", visits((1, 2.0), (11, 2.0)) + visits((12, 900.0), kind=NEW), ""),
        (
            "an error is one too many, also between",
            visits((1, 2.0), (11, 2.0)) + visits((25, 1.0), kind=NEW, wrong="reset"),
            "1 errors: reset",
        ),
        ("nobody was there", visits((1, 2.0)), "too few visits to judge"),
    ],
)
def test_what_normal_clients_may_notice_of_an_attack(name: str, seen: list[Visit], trouble: str) -> None:
    assert figures(seen, CALM, UNDER).trouble == trouble, name


def test_visits_while_the_box_stood_still_are_left_out() -> None:
    seen = visits((1, 2.0), (11, 2.0), (12, 900.0), (13, 2.0))
    found = figures(seen, CALM, UNDER, [Standstill(11.9, 0.5), Standstill(14.0, 0.1)])
    assert (found.trouble, found.left_out) == ("", 1)
    assert figures(seen, CALM, UNDER, [Standstill(14.0, 0.1)]).trouble == "p99 is over 10.0 ms"


def test_without_attackers_nothing_is_good() -> None:
    found: Figures = figures(visits((1, 2.0), (11, 2.0)), CALM, UNDER)
    found.wanted, found.held = 1000, 899
    assert found.trouble == "too few attackers came in to judge"
    found.held = 900
    assert found.trouble == ""


def test_a_visit_is_one_line_and_outcomes_are_what_grew() -> None:
    (visit,) = visits((1.5, 2.25), wrong="HTTP/1.1 503 Service Unavailable")
    assert read(visit.line()) == visit
    assert grown({"sessions": {"a": 1, "b": 2}}, {"sessions": {"a": 1, "b": 3}, "requests": {"a": 4}}) == {
        "requests a": 4,
        "sessions b": 1,
    }


@pytest.mark.skipif(not shutil.which("slowhttptest"), reason="needs slowhttptest from Debian")
def test_one_short_attack() -> None:
    """Whether times are good is for a quiet box: here it is only that it attacks, and that nobody sees an error."""
    command = ["loadtests.slow", "--seconds", "2", "--connections", "20", "--candidate", "nlb", "--attack", "headers"]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    rows = [line.split("  ") for line in done.stdout.splitlines() if line.startswith("slow headers (-H)")]
    assert len(rows) == 2, f"http and https: {done.stdout}"
    for row in rows:
        cells = [cell.strip() for cell in row if cell.strip()]
        assert int(cells[1]) >= 18, "connections held"
        assert cells[6] == "0", "errors"
