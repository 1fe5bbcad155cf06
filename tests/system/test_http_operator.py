"""What operators see of requests: access lines, metrics, `nlb ctl`, and `nlb explain`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.daemon import PATIENCE, Daemon, daemon
from tests.sites import UNASKED, edge, group, rule
from tests.waiting import until
from tests.webclients import Client, everything, get
from tests.webtargets import WebTarget, reply

LOGGED = 'access_log = true\naccess_log_except = ["/healthz", "/static/*"]\ntrusted_proxies = "127.0.0.0/8"\n'
RULES = (
    rule("api-v1", 'host = "api.test"\npath = "/v1/*"\nmethod = "GET"\nforward = "api"')
    + rule("old", 'path = "/old"\nredirect = { status = 301, path = "/" }')
    + rule("away", 'path = "/away"\nforward = "away"')
)


class Site:
    """One nlb with rules, a target for each group, and none behind `away`."""

    def __init__(self, folder: Path, stack: ExitStack, log: str = "") -> None:
        self.web, self.api = (stack.enter_context(WebTarget(name)) for name in ("t1", "t2"))
        gone = WebTarget()
        gone.stop()
        text = (
            (f"[log]\n{log}\n" if log else "")
            + edge(more=LOGGED + RULES)
            + group([self.web])
            + group({"a1": self.api}, name="api")
            + group({"gone": gone}, UNASKED, "away")
        )
        self.nlb: Daemon = stack.enter_context(daemon(folder, text, web=True))
        self.port = self.nlb.port

    def traffic(self) -> None:
        """A request of each kind, and a client who leaves."""
        with Client(self.port) as client:
            client.ask("/page?a=b", headers=[("X-Forwarded-For", "203.0.113.7"), ("X-Request-Id", "id-1")])
            client.ask("/v1/x", host="API.test", headers=[("User-Agent", 'a "quoted"\tagent')])
            client.ask("/v1/x", host="api.test", method="POST", body=b"12345")
            client.ask("/old")
            client.ask("/away")
            for path in ("/healthz", "/static/app.js"):
                client.ask(path)
        everything(self.port, b"GET /twice HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n")
        everything(self.port, b"GET /bad HTTP/1.1\r\nHost : a\r\n\r\n")


EXPECTED = [
    # uri, status, rule, group, target, outcome, desync
    ("/page?a=b", 200, "default", "web", "t1", "data/done", "compliant"),
    ("/v1/x", 200, "api-v1", "api", "a1", "data/done", "compliant"),
    ("/v1/x", 200, "default", "web", "t1", "data/done", "compliant"),
    ("/old", 301, "old", None, None, "request/redirect", "compliant"),
    ("/away", 502, "away", "away", "gone", "connect/refused", "compliant"),
    ("/twice", 200, "default", "web", "t1", "data/done", "ambiguous"),
    (None, 400, None, None, None, "request/bad_head", "severe"),
]


def test_access_lines_in_json(tmp_path: Path, stack: ExitStack) -> None:
    site = Site(tmp_path, stack, 'format = "json"')
    site.traffic()
    assert site.nlb.stop() == 0
    records: list[dict[str, Any]] = [json.loads(line) for line in site.nlb.output().splitlines()]
    lines = [record for record in records if record["kind"] == "request"]
    told = ("uri", "status", "rule", "group", "target", "outcome", "desync")
    assert [tuple(line[name] for name in told) for line in lines] == EXPECTED
    first, api, post, moved, away, twice, bad = lines
    assert (first["client"], first["request_id"]) == ("203.0.113.7", "id-1")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", first["peer"])
    assert (first["method"], first["version"], first["host"]) == ("GET", "HTTP/1.1", "nlb.test")
    assert (api["host"], api["user_agent"]) == ("api.test", 'a "quoted"\tagent')
    assert post["received"] > 5
    assert (moved["target_status"], moved["tries"]) == (None, 0)
    assert (away["target_status"], away["status"]) == (None, 502)
    assert twice["desync_reason"] == "duplicate_content_length"
    assert (bad["method"], bad["desync_reason"]) == (None, "bad_header")
    for line in (first, api, post):
        assert line["duration"] >= line["first_byte"] >= 0
        assert line["sent"] > 0


def test_access_lines_in_text(tmp_path: Path, stack: ExitStack) -> None:
    site = Site(tmp_path, stack)
    site.traffic()
    assert site.nlb.stop() == 0
    lines = [line for line in site.nlb.output().splitlines() if " info request " in line]
    assert len(lines) == len(EXPECTED)
    pattern = (
        r"\S+ info request outcome=data/done listener=edge client=203\.0\.113\.7 peer=127\.0\.0\.1:\d+ method=GET "
        r'uri="/page\?a=b" version=HTTP/1\.1 host=nlb\.test rule=default group=web target=t1 status=200 '
        r"target_status=200 received=\d+ sent=\d+ queue=- connect=\d\.\d{6} first_byte=\d\.\d{6} duration=\d\.\d{6} "
        r"tries=1 desync=compliant desync_reason=- request_id=id-1 user_agent=-"
    )
    assert re.fullmatch(pattern, lines[0]), lines[0]
    assert r'user_agent="a \"quoted\"\tagent"' in lines[1]
    assert "healthz" not in site.nlb.output()


def metrics(nlb: Daemon) -> dict[str, float]:
    """Series and their values."""
    page = urlopen(f"{nlb.web}metrics", timeout=PATIENCE).read().decode()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in page.splitlines() if line[0] != "#"}


def test_requests_are_counted(tmp_path: Path, stack: ExitStack) -> None:
    site = Site(tmp_path, stack)
    site.traffic()
    idle = stack.enter_context(Client(site.port))
    assert idle.ask("/healthz").status == 200
    found = metrics(site.nlb)
    for name, count in {
        'nlb_http_requests_total{code="2xx",group="web",listener="edge",rule="default"}': 6,
        'nlb_http_requests_total{code="2xx",group="api",listener="edge",rule="api-v1"}': 1,
        'nlb_http_requests_total{code="3xx",group="",listener="edge",rule="old"}': 1,
        'nlb_http_requests_total{code="5xx",group="away",listener="edge",rule="away"}': 1,
        'nlb_http_exchanges_ended_total{cause="done",listener="edge",phase="data"}': 7,
        'nlb_http_exchanges_ended_total{cause="bad_head",listener="edge",phase="request"}': 1,
        'nlb_http_exchanges_ended_total{cause="refused",listener="edge",phase="connect"}': 1,
        'nlb_http_desync_total{class="ambiguous",listener="edge",reason="duplicate_content_length"}': 1,
        'nlb_http_desync_total{class="severe",listener="edge",reason="bad_header"}': 1,
        'nlb_http_request_duration_seconds_count{group="web"}': 6,
        'nlb_first_byte_duration_seconds_count{group="web"}': 6,
        'nlb_connect_duration_seconds_count{group="api"}': 1,
        'nlb_listener_connections_total{listener="edge"}': 4,
        'nlb_listener_sessions{listener="edge"}': 1,
        'nlb_http_retries_total{group="web"}': 0,
    }.items():
        assert found.get(name) == count, (name, [series for series in found if series.startswith(name[:20])])
    # The connection behind the ambiguous request was closed, so one more was made.
    assert found['nlb_http_pool_misses_total{group="web"}'] == 2
    assert found['nlb_http_pool_hits_total{group="web"}'] == 4

    requests = site.nlb.ctl("requests").stdout
    assert re.search(r"edge +api-v1 +api +1 ", requests)
    assert re.search(r"edge +default +web +6 ", requests)
    assert re.search(r"edge +ambiguous +duplicate_content_length +1", requests)
    errors = site.nlb.ctl("errors").stdout
    assert re.search(r"connect/refused +0 +1 +edge ", errors)
    (session,) = site.nlb.ask("sessions")["sessions"]
    assert (session["phase"], session["target"], session["listener"]) == ("request", None, "edge")
    assert session["received"] > 0
    assert "127.0.0.1:" in site.nlb.ctl("sessions").stdout
    listeners = site.nlb.ctl("listeners").stdout
    assert re.search(r"edge +127\.0\.0\.1:\d+ +http +web and 2 more +1 of \d+ +4 +10 ", listeners)


def explain(nlb: Daemon, *arguments: str, asks: bool = True) -> str:
    """`nlb explain` of the running daemon, or of its file."""
    where = ["--socket", nlb.socket] if asks else ["-c", str(nlb.config)]
    command = [sys.executable, "-m", "nlb", "explain", *where, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    return done.stdout


def test_a_request_is_explained_as_it_is_served(tmp_path: Path, stack: ExitStack) -> None:
    """What it says is what happens; the daemon knows of the drain, the file does not."""
    site = Site(tmp_path, stack)
    second = stack.enter_context(WebTarget("t3"))
    assert site.nlb.ctl("target", "add", "api", f"a2=127.0.0.1:{second.port}").returncode == 0
    assert site.nlb.ctl("drain", "a1", "--reason", "disk").returncode == 0
    address = f"http://api.test:{site.port}/v1/x"
    said = explain(site.nlb, address)
    assert "listener edge (http, port" in said
    assert re.search(r"yes +rule api-v1: ", said)
    assert "choice: a2, " in said
    assert re.search(r"out +a1 .*drain", said)
    assert get(site.port, "/v1/x", host="api.test").body == b"t3"
    posted = explain(site.nlb, address, "--method", "POST")
    assert re.search(r"no +rule api-v1: .*POST", posted)
    assert "group web" in posted
    assert "redirected:" in explain(site.nlb, f"http://any.test:{site.port}/old")
    file = explain(site.nlb, address.replace(f":{site.port}", ""), asks=False)
    assert "from the file alone" in file
    assert re.search(r"in +a1 ", file)
    data = json.loads(explain(site.nlb, address, "--json"))
    assert (data["is_live"], data["groups"][0]["choice"]["target"]) == (True, "a2")


def test_a_request_under_way_is_seen(tmp_path: Path, stack: ExitStack) -> None:
    site = Site(tmp_path, stack)
    site.web.respond = lambda _: [reply(b"12345")[:-3]]  # the rest does not come
    client = stack.enter_context(Client(site.port))
    client.say("/page")
    until(lambda: [row["phase"] for row in site.nlb.ask("sessions")["sessions"]] == ["data"], PATIENCE)
    (row,) = site.nlb.ask("sessions", target="t1")["sessions"]
    assert (row["target"], row["group"]) == ("t1", "web")
    assert site.nlb.targets()["t1"]["sessions"] == 1
