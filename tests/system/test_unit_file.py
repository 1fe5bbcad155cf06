"""The systemd unit: understood by systemd to the last line, and hardened. systemd itself need not be running."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nlb.model.config import Config

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "systemd/nlb.service"

# Out of 10, less is better; 9.6 is a unit without hardening.
WORST_SCORE = 2.0

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def runnable_here(folder: Path, text: str) -> Path:
    """The unit with a program that exists on every box: `verify` looks whether it is there."""
    unit = folder / "nlb.service"
    unit.write_text(re.sub(r"^(Exec\w+)=\S+", r"\1=/bin/true", text, flags=re.MULTILINE))
    return unit


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    sockets = Path(shutil.copy(ROOT / "systemd/nlb.socket", tmp_path))
    said = analyze("verify", "--man=no", runnable_here(tmp_path, UNIT.read_text()), sockets)
    # It exits 0 for a key that it does not know, too: any word of it is an error.
    assert said.stdout + said.stderr == ""
    assert said.returncode == 0


def test_systemd_would_complain_of_a_wrong_key(tmp_path: Path) -> None:
    text = UNIT.read_text().replace("KillMode=", "KilMode=")
    assert "KilMode" in analyze("verify", "--man=no", runnable_here(tmp_path, text)).stderr


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    unit = runnable_here(tmp_path, UNIT.read_text())
    threshold = f"--threshold={round(WORST_SCORE * 10)}"
    said = analyze("security", "--offline=true", "--no-pager", threshold, unit)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize(
    "name", ["memfd_create", "pidfd_open", "pidfd_send_signal", "splice", "epoll_wait", "prlimit64", "execve"]
)
def test_a_system_call_that_nlb_makes_is_allowed(name: str) -> None:
    allowed: set[str] = set()
    for rule in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        calls = {call for group in rule.removeprefix("~").split() for call in members(group)}
        allowed = allowed - calls if rule.startswith("~") else allowed | calls
    assert name in allowed | members("@default")


def members(group: str) -> set[str]:
    """The system calls of a group, and of the groups in it."""
    if not group.startswith("@"):
        return {group}
    lines = analyze("syscall-filter", "--no-pager", group).stdout.splitlines()[1:]
    words = {line.strip() for line in lines if line.strip() and not line.strip().startswith("#")}
    return {call for word in words for call in members(word)}


def test_systemd_waits_longer_than_nlb_needs_to_stop() -> None:
    written = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert written is not None
    assert int(written[1]) == Config().shutdown_timeout + 5
