"""The README's exercise in a real browser: a web server, an nlb before it, a DNS name, and the server stopped."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nlb.admin.client import Client
from nlb.errors import NlbError
from tests.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Without a screen, and without asking the network for anything but the page.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

CONFIG = """\
workers = 1
shutdown_timeout = 1

[admin]
socket = "{folder}/nlb.sock"
state_dir = "{folder}"
web = false

[[listener]]
bind = "127.0.0.1:0"

[[target_group]]
name = "web"
targets = ["web01=127.0.0.1:{port}"]
"""

# Seconds; a browser's first start on a busy box takes some.
PATIENCE = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, since the path of a socket must be. A browser may still write into it while it is removed."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:
        yield Path(path)


@contextmanager
def running(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, *arguments], text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)
        if process.stdout:
            process.stdout.close()


@contextmanager
def web_server(pages: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`python3 -m http.server` on a free port."""
    arguments = ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(pages)]
    with running(*arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        port = re.search(r"port (\d+)", said)
        assert port is not None, said
        yield process, int(port[1])


def ask(folder: Path, verb: str) -> dict[str, Any]:
    """What nlb answers; nothing while it starts."""
    try:
        with Client(f"{folder}/nlb.sock") as client:
            answer: dict[str, Any] = client.ask(verb, {})
            return answer
    except (OSError, NlbError):
        return {}


def health(folder: Path) -> list[tuple[str, str]]:
    """State and reason of each target."""
    facts = [target["health"] for target in ask(folder, "targets").get("targets", [])]
    return [(fact["state"], fact["reason"]) for fact in facts]


def open_in_browser(url: str, folder: Path) -> str:
    """The page as the browser has it in the end."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}/profile", "--dump-dom", url]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert seen.returncode == 0, seen.stderr
    return seen.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_exercise(folder: Path) -> None:
    pages = folder / "web01"
    pages.mkdir()
    (pages / "index.html").write_text("<!doctype html><title>web01</title><h1>Hello from web01</h1>")
    config = folder / "nlb.toml"
    with web_server(pages) as (server, port):
        config.write_text(CONFIG.format(folder=folder, port=port))
        with running("-m", "nlb", "serve", "-c", str(config), stderr=subprocess.DEVNULL):
            until(lambda: ask(folder, "status").get("state") == "running", PATIENCE)
            assert health(folder) == [("healthy", "connected")]
            (bind,) = ask(folder, "listeners")["listeners"][0]["binds"]
            url = f"http://sample-elb.localhost:{bind.rpartition(':')[2]}/"

            assert "<h1>Hello from web01</h1>" in open_in_browser(url, folder)

            server.terminate()
            until(lambda: health(folder)[0][0] == "unhealthy", PATIENCE)
            assert "connection refused" in health(folder)[0][1]
            assert "Hello from web01" not in open_in_browser(url, folder)
