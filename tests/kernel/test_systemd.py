"""nlb as a service of a real systemd, by the units as they are shipped."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.realsystemd import PATIENCE, RealSystemd, missing
from tests.targets import Target, echo
from tests.traffic import Traffic
from tests.waiting import until

if why := missing():
    pytest.skip(f"a real systemd: {why}", allow_module_level=True)

# One listener on the sockets of nlb.socket, one that nlb opens itself.
CONFIG = """
workers = 2
shutdown_timeout = 5
[[listener]]
name = "given"
bind = ["0.0.0.0:80", "[::]:80"]
[[listener]]
name = "own"
bind = "0.0.0.0:81"
[[target_group]]
name = "out"
targets = ["t1=127.0.0.1:{port}"]
health_check = {{ fast_interval = 0.1 }}
"""


class Service:
    """nlb.service in there, and a target for it."""

    def __init__(self, systemd: RealSystemd, target: Target) -> None:
        self.systemd = systemd
        self._config = CONFIG.format(port=target.port)
        self.write("")

    def write(self, more: str) -> None:
        self.systemd.path("/etc/nlb/nlb.toml").write_text(self._config + more)

    def systemctl(self, *arguments: str) -> None:
        done = self.systemd.systemctl(*arguments)
        assert done.returncode == 0, done.stderr + self.said

    @property
    def main(self) -> str:
        """The process id of control."""
        return self.systemd.show("nlb.service", "MainPID")

    @property
    def said(self) -> str:
        return self.systemd.journal("nlb.service")

    def says(self, text: str, times: int = 1) -> None:
        until(lambda: self.said.count(text) >= times, PATIENCE, between=lambda: None)

    def is_restarted(self, old: str) -> None:
        def restarted() -> bool:
            return self.main not in ("0", old) and self.systemd.show("nlb.service", "ActiveState") == "active"

        until(restarted, PATIENCE, between=lambda: None)

    def traffic(self, port: int, callers: int = 4, talkers: int = 4) -> Traffic:
        def call() -> socket.socket:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)

        return Traffic(call, callers, talkers, self.systemd.enter_network)


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSystemd]:
    folder: Path = tmp_path_factory.mktemp("systemd") / "box"
    folder.mkdir()
    with RealSystemd(folder) as systemd:
        yield systemd


@pytest.fixture
def service(systemd: RealSystemd) -> Iterator[Service]:
    with ExitStack() as stack:
        service = Service(systemd, stack.enter_context(systemd.inside(lambda: Target(echo))))
        stack.callback(systemd.systemctl, "reset-failed", "nlb.service", "nlb.socket")
        stack.callback(systemd.systemctl, "stop", "nlb.socket", "nlb.service")
        service.systemctl("start", "nlb.socket", "nlb.service")
        yield service


def test_it_runs_as_a_user_of_its_own_with_its_folders(service: Service) -> None:
    systemd = service.systemd
    assert systemd.show("nlb.service", "StatusText") == "1 of 1 targets usable"
    uids = {process.uids().real for process in systemd.processes("nlb.service")}
    assert len(uids) == 1
    assert 0 not in uids
    for process in systemd.processes("nlb.service"):
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert len(set(re.findall(r"^Max open files +(\d+) +(\d+)", limits, re.MULTILINE)[0])) == 1
    for folder in ("/run/nlb", "/var/lib/nlb"):
        assert systemd.path(folder).stat().st_uid in uids
    status = systemd.run("/opt/nlb/.venv/bin/nlb", "ctl", "targets")
    assert status.returncode == 0, status
    assert "healthy" in status.stdout


def test_a_restart_under_load_refuses_no_connection(service: Service) -> None:
    with service.traffic(80, talkers=0) as traffic:
        traffic.goes_on(100)
        old = service.main
        service.systemctl("restart", "nlb.service")
        assert service.main != old
        traffic.goes_on(200)
    assert traffic.errors == []
    assert traffic.calls >= 300


def test_control_is_killed_under_load(service: Service) -> None:
    """Neither who has a session nor who connects notices, on systemd's sockets and on our own."""
    systemd = service.systemd
    with service.traffic(80) as given, service.traffic(81) as own:
        given.goes_on()
        own.goes_on()
        old, workers = service.main, systemd.processes("nlb.service")
        relieved = service.said.count("is relieved")
        service.systemctl("kill", "--signal=KILL", "--kill-who=main", "nlb.service")
        service.is_restarted(old)
        service.says("is relieved", relieved + 2)
        given.goes_on(100)
        own.goes_on(100)
        given.stop_talking()
        own.stop_talking()
        until(lambda: not any(process.is_running() for process in workers), PATIENCE)
        given.goes_on()
        own.goes_on()
    assert given.errors + own.errors == []
    service.systemctl("stop", "nlb.socket", "nlb.service")
    assert systemd.show("nlb.service", "Result") == "success"


def test_a_stop_leaves_nothing(service: Service) -> None:
    """Not even what a killed control left, with a session open."""
    systemd = service.systemd
    with service.traffic(81, callers=0) as traffic:
        traffic.goes_on(0)
        old, relieved = service.main, service.said.count("is relieved")
        service.systemctl("kill", "--signal=KILL", "--kill-who=main", "nlb.service")
        service.is_restarted(old)
        service.says("is relieved", relieved + 2)
        processes = systemd.processes("nlb.service")
        assert len(processes) == 5
        traffic.stop_talking()
        service.systemctl("stop", "nlb.socket", "nlb.service")
    assert not any(process.is_running() for process in processes)
    assert not systemd.path("/run/nlb").exists()
    assert traffic.errors == []


def test_whoever_connects_starts_it(service: Service) -> None:
    service.systemctl("stop", "nlb.service")
    with service.traffic(80, talkers=0) as traffic:
        traffic.goes_on()
    assert traffic.errors == []
    until(lambda: service.systemd.show("nlb.service", "ActiveState") == "active", PATIENCE)


def test_a_reload_takes_in_a_good_config_and_refuses_a_bad_one(service: Service) -> None:
    old = service.main
    with service.traffic(80) as traffic:
        traffic.goes_on()
        service.write("wrokers = 3")
        refused = service.systemd.systemctl("reload", "nlb.service")
        assert refused.returncode == 1
        assert "wrokers: unknown key" in service.said
        service.write('[[listener]]\nname = "more"\nbind = "0.0.0.0:82"\ntarget_group = "out"')
        service.systemctl("reload", "nlb.service")
        with service.traffic(82) as more:
            more.goes_on()
        traffic.goes_on()
    assert traffic.errors + more.errors == []
    assert service.main == old


def test_systemd_ends_a_control_that_stands_still_and_nobody_notices(service: Service) -> None:
    systemd = service.systemd
    folder = systemd.path("/run/systemd/system/nlb.service.d")
    folder.mkdir(parents=True)
    (folder / "watchdog.conf").write_text("[Service]\nWatchdogSec=2\nTimeoutAbortSec=200ms\n")
    service.systemctl("daemon-reload")
    service.systemctl("restart", "nlb.service")
    with service.traffic(80) as given, service.traffic(81) as own:
        given.goes_on()
        own.goes_on()
        old = service.main
        control = next(item for item in systemd.processes("nlb.service") if "serve" in item.cmdline())
        control.send_signal(signal.SIGSTOP)
        service.is_restarted(old)
        given.goes_on(100)
        own.goes_on(100)
    assert given.errors + own.errors == []
    assert "Watchdog timeout" in service.said
    (folder / "watchdog.conf").unlink()
    folder.rmdir()
    service.systemctl("daemon-reload")
