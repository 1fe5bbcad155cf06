"""The web pages over real HTTP: right words, strict headers, and nobody waits for a stuck one."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from nlb.admin.web import CERTIFICATES_SHOWN, ROUTES_SHOWN, WebServer, asker
from nlb.model.address import Address
from nlb.net.loop import Loop
from nlb.net.sockets import listen
from tests.unit.admin.canned import (
    NOW,
    FakeController,
    Site,
    certificate,
    fact,
    group,
    http_listener,
    http_snapshot,
    override,
    snapshot,
    target,
    worker,
)

Facts = dict[str, Any]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.stop()


def test_healthz_is_ok_while_control_answers(site: Site) -> None:
    assert site.text("/healthz") == (200, "ok\n")
    site.error = TimeoutError()
    assert site.text("/healthz") == (503, "nlb's control process did not answer within 2 s\n")


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({}, 200, "ready\n"),
        ({"ready": False, "state": "starting"}, 503, "starting: waiting for first verdicts\n"),
        ({"ready": False, "groups": [group("web", candidates=0)]}, 503, "no usable target in group web\n"),
        ({"state": "stopping"}, 503, "stopping: no new connection is taken\n"),
    ],
)
def test_ready_says_why_not(site: Site, changes: Facts, status: int, text: str) -> None:
    site.facts = snapshot(**changes)
    assert site.text("/ready") == (status, text)


def test_metrics_in_the_format_that_is_asked_for(site: Site) -> None:
    _, headers, body = site.get("/metrics")
    assert headers["content-type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"nlb_ready", "nlb_sessions_ended", "nlb_target_up"} <= names
    _, headers, body = site.get("/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "nlb_ready" in {family.name for family in openmetrics_families(body.decode())}


def test_metrics_are_compressed_for_who_wants_it(site: Site) -> None:
    _, headers, body = site.get("/metrics", {"Accept-Encoding": "gzip"})
    assert headers["content-encoding"] == "gzip"
    assert b"nlb_build_info" in gzip.decompress(body)
    assert "content-encoding" not in site.get("/metrics", {"Accept-Encoding": "gzip;q=0"})[1]


def test_the_status_page_shows_what_operators_changed_and_who_leaves(site: Site) -> None:
    web01, _, node = site.facts["groups"][0]["targets"]
    web01["overrides"] = [override("web/web01", "weight", 5, until=NOW + 600)]
    node["leaving"] = True
    page = site.text("/")[1]
    assert "<small>weight 5 by ann, 10m left</small>" in page
    assert '<span class="pill warn">leaving</span>' in page


def test_the_status_page_says_why_a_reload_was_refused(site: Site) -> None:
    assert "refused, nothing" not in site.text("/")[1]
    site.facts["config"] |= {"reload_ok": False, "refused": "nlb.toml:3:1: port: <no>"}
    assert "nothing was changed:<pre>nlb.toml:3:1: port: &lt;no&gt;</pre>" in site.text("/")[1]


def test_the_status_page_shows_everything(site: Site) -> None:
    status, page = site.text("/")
    assert status == 200
    for part in (
        "<title>ready · nlb</title>",
        "FAIL-OPEN: no target of &#39;api&#39; is healthy; all are used",
        "10.0.0.2:3000",
        "connection refused",
        "4m 30s left",
        "killed by SIGKILL",
        "every target tried refused the connection",
        "web/web02 drain by ann: deploy",
        "0.0.0.0:80",
    ):
        assert part in page, part


def test_the_status_page_shows_requests(site: Site) -> None:
    assert "HTTP" not in site.text("/")[1]
    site.facts = http_snapshot()
    page = " ".join(re.sub(r"<[^>]+>", " ", site.text("/")[1]).split())
    for part in (
        "900 requests, 97.8 % on open connections, 3 sent again",
        "edge 0.0.0.0:443 http pages and 1 more 5 of 4000",
        "HTTP edge: 1000 requests, 42.5 per second Listener Rule Group Requests 1xx 2xx 3xx 4xx 5xx none",
        "edge api api-v1 318 0 300 0 0 18 0 edge default pages 600 2 590 0 7 0 1",
        "edge ambiguous suspicious_header 5",
        "how sessions and requests ended",
        "data/done 270 900 web, edge both sides closed in order",
    ):
        assert part in page, part


def test_the_status_page_shows_certificates_those_that_end_first(site: Site) -> None:
    assert "Certificates" not in site.text("/")[1]
    late = certificate("edge", "b.test", kind="rsa", bits=2048)
    soon = certificate("edge", "a.test", "*.a.test", not_after=NOW + 5 * 86400, state="ends_soon", default=True)
    site.facts = snapshot(certificates=[*[late] * CERTIFICATES_SHOWN, soon])
    page = " ".join(re.sub(r"<[^>]+>", " ", site.text("/")[1]).split())
    assert "Days left File edge default a.test, *.a.test ECDSA 256" in page
    assert "and 1 more: nlb ctl certs" in page


def test_the_status_page_shows_some_of_many_rules(site: Site) -> None:
    route = {"rule": "r", "group": "pages", "statuses": {"2xx": 1}}
    site.facts = http_snapshot(listeners=[http_listener("edge", "pages", routes=[route] * (ROUTES_SHOWN + 3))])
    assert "and 3 more: nlb ctl requests" in site.text("/")[1]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"ready": False, "state": "starting"}, "<title>NOT READY · nlb</title>"),
        ({"ready": False, "state": "starting"}, "starting: waiting for first verdicts"),
        ({"groups": [group("empty")]}, "no targets"),
        ({"groups": [group("web", target(0, "a", health=fact("initial"), probe=None))]}, "initial"),
        ({"listeners": []}, "no session has ended yet"),
        ({"events": []}, "nothing has happened yet"),
        ({"workers": [worker(1, state="backing_off", pid=None, retry_in=7.2)]}, "next try in 7s"),
    ],
)
def test_the_status_page_in_other_states(site: Site, changes: Facts, part: str) -> None:
    site.facts = snapshot(**changes)
    status, page = site.text("/")
    assert status == 200
    assert part in page


def test_names_cannot_become_markup(site: Site) -> None:
    site.facts["groups"][0]["name"] = "<script>alert(1)</script>"
    site.facts["events"][0]["text"] = "<img src=x onerror=alert(1)>"
    page = site.text("/")[1]
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_the_page_needs_nothing_from_elsewhere(site: Site) -> None:
    page = site.text("/")[1]
    assert "//" not in page.partition("<main>")[0]
    for path, kind in (
        ("/static/status.css", "text/css"),
        ("/static/status.js", "text/javascript"),
        ("/static/icon.svg", "image/svg+xml"),
    ):
        assert path in page
        status, headers, body = site.get(path)
        assert (status, headers["content-type"].split(";")[0]) == (200, kind)
        assert body
        assert b"http" not in body.replace(b"http://www.w3.org/2000/svg", b"")


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/ready", "/static/status.css", "/nowhere"])
def test_every_answer_has_strict_headers(site: Site, path: str) -> None:
    headers = site.get(path)[1]
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/nowhere", "/static/", "/static/../web.py", "/static/%2e%2e/web.py", "/ready/"])
def test_an_unknown_path_is_a_plain_404(site: Site, path: str) -> None:
    status, headers, body = site.get(path)
    assert (status, headers["content-type"], body) == (404, "text/plain; charset=utf-8", b"not found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/static/status.css", "/nowhere"])
def test_only_reading_is_allowed(site: Site, method: str, path: str) -> None:
    status, headers, _ = site.get(path, method=method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/ready", "/static/status.css"])
def test_head_answers_like_get_without_a_body(site: Site, path: str) -> None:
    status, headers, body = site.get(path, method="HEAD")
    assert (status, body) == (200, b"")
    assert headers["content-type"] == site.get(path)[1]["content-type"]


def test_an_error_inside_is_logged_and_not_shown(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.error = ZeroDivisionError("the secret of line 12")
    assert site.text("/metrics") == (500, "internal server error\n")
    assert "the secret of line 12" in caplog.text


def test_a_stuck_control_process_blocks_no_page_for_ever(site: Site) -> None:
    site.error = TimeoutError()
    for path in ("/", "/metrics", "/ready"):
        assert site.get(path)[0] == 503


def test_garbage_and_big_requests_do_not_stop_the_server(site: Site) -> None:
    for sent in (b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000, b"GET / HT"):
        with socket.create_connection(("127.0.0.1", site.port), 10) as sock:
            sock.sendall(sent)
    assert site.text("/healthz") == (200, "ok\n")


def test_stopping_frees_the_port_and_ends_the_threads() -> None:
    site = Site()
    site.text("/")
    ours = [thread for thread in threading.enumerate() if thread.name.startswith(("web", "waitress"))]
    assert len(ours) == 5
    site.server.stop()
    site.server.stop()
    for thread in ours:
        thread.join(10)
        assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        site.get("/")


def test_stopping_a_server_that_never_started() -> None:
    server = WebServer(listen(Address("127.0.0.1", 0), 1)[0], snapshot)
    server.stop()


class Desk(FakeController):
    """A controller with a loop that the test turns, or not."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.loop.close()


def on_another_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_the_snapshot_is_taken_on_the_loop(desk: Desk) -> None:
    takers: list[int] = []
    desk.on_snapshot = lambda: takers.append(threading.get_ident())
    thread, results = on_another_thread(asker(desk, patience=10))
    while thread.is_alive():
        desk.loop.turn(0.01)
    thread.join()
    assert results == [desk.facts]
    assert takers == [threading.get_ident()]


def test_a_loop_that_does_not_turn_is_a_timeout(desk: Desk) -> None:
    thread, results = on_another_thread(asker(desk, patience=0.01))
    thread.join()
    assert isinstance(results[0], TimeoutError)
    desk.loop.turn(0)  # the late answer harms nobody


def test_an_error_of_the_snapshot_belongs_to_who_asked(desk: Desk) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    desk.on_snapshot = fail
    thread, results = on_another_thread(asker(desk, patience=10))
    while thread.is_alive():
        desk.loop.turn(0.01)
    thread.join()
    assert isinstance(results[0], ZeroDivisionError)
