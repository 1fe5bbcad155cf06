"""The status page in a real browser: what it shows, with scripts and without, and that it keeps itself up to date."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.admin.canned import Facts, Site, snapshot

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
)


class Changing(Site):
    """A site whose first page is `facts`; whoever asks again gets `later`, or an error."""

    def __init__(self) -> None:
        self.later: Facts | Exception | None = None
        self.asked_again = threading.Event()
        super().__init__()

    def ask(self) -> Facts:
        if self.asked:
            self.asked_again.set()
        if self.asked and self.later is not None:
            if isinstance(self.later, Exception):
                raise self.later
            return self.later
        return super().ask()


@pytest.fixture
def site() -> Iterator[Changing]:
    site = Changing()
    yield site
    site.server.stop()


@pytest.fixture
def see(site: Changing, tmp_path: Path) -> Callable[..., str]:
    """What the page has become in the browser, as HTML; fails when the browser complained."""

    def see(*options: str) -> str:
        command = [str(CHROMIUM), *QUIET, f"--user-data-dir={tmp_path}/profile", *options]
        url = f"http://127.0.0.1:{site.port}/"
        done = subprocess.run([*command, "--dump-dom", url], capture_output=True, text=True, timeout=120, check=True)
        complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "Failed to load" not in line]
        assert complaints == []
        return done.stdout

    return see


def words(page: str) -> str:
    """The page's text, as a reader sees it."""
    body = page.partition("<main>")[2]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


# Time in the browser, in milliseconds: it runs as fast as the page has nothing to wait for.
SIX_SECONDS = "--virtual-time-budget=6000"


def test_it_shows_what_an_operator_looks_for(see: Callable[..., str]) -> None:
    text = words(see())
    for part in (
        "ready version 0.1.0, pid 4000, running for 1h",
        "FAIL-OPEN: no target of 'api' is healthy; all are used",
        "web02 10.0.0.2:3000 1 drain 30s deploy healthy 1m connected ok 1m 2 4m 30s left 120 0",
        "unhealthy 1m connection refused",
        "web 0.0.0.0:80 , [::]:80 tcp web 5 of 4000 245 8.0 KiB 10.0 MiB",
        "connect/refused 4 web every target tried refused the connection",
        "2 4002 running 1h 3 1 killed by SIGKILL",
        "operator web/web02 drain by ann: deploy",
    ):
        assert part in text, part


def test_it_brings_itself_up_to_date(site: Changing, see: Callable[..., str]) -> None:
    site.later = snapshot(ready=False, state="starting")
    page = see(SIX_SECONDS)
    assert "starting: waiting for first verdicts" in words(page)
    assert "<title>NOT READY · nlb</title>" in page
    assert re.search(r'<div id="stale"[^>]* hidden', page)


def test_it_says_so_when_nlb_does_not_answer(site: Changing, see: Callable[..., str]) -> None:
    site.later = TimeoutError()
    page = see(SIX_SECONDS)
    assert re.search(r'<div id="stale"[^>]*>nlb has not answered for \d+ s; what you see is that old', page)
    assert "web01" in words(page)


def test_without_scripts_it_loads_itself_again(site: Changing, tmp_path: Path) -> None:
    # The browser's own --dump-dom is a script, so here it just runs until the page was asked for twice.
    options = (
        "--blink-settings=scriptEnabled=false",
        "--remote-debugging-port=0",
        f"--user-data-dir={tmp_path}/profile",
    )
    command = [str(CHROMIUM), *QUIET, *options, f"http://127.0.0.1:{site.port}/"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            assert site.asked_again.wait(60)
        finally:
            browser.terminate()


def test_names_are_text_whatever_is_in_them(site: Changing, see: Callable[..., str]) -> None:
    site.facts["groups"][0]["targets"][0]["name"] = "<script>document.title = 'taken'</script>"
    page = see(SIX_SECONDS)
    assert "<title>ready · nlb</title>" in page
    assert "&lt;script&gt;document.title" in page
