"""The web pages: status page, /metrics, /healthz, /ready. They only show; nothing here changes anything.

Pages run in threads of their own. All they know is a snapshot, which `ask` fetches from control's loop, so a slow
scrape or a stuck browser delays neither the loop nor a client.
"""

from __future__ import annotations

import gzip
import logging
import socket
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, Protocol

from flask import Flask, Response, render_template, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from waitress import wasyncore
from waitress.server import create_server
from werkzeug.exceptions import HTTPException

from nlb.admin import phrases
from nlb.admin.phrases import Facts
from nlb.errors import OUTCOMES
from nlb.model.protocols import HTTP
from nlb.net.loop import Loop
from nlb.observe.collector import SnapshotCollector
from nlb.shield.words import REASONS

Ask = Callable[[], Facts]

# Seconds that a page waits for the loop. A loop that answers later than this hangs.
PATIENCE = 2.0

EVENTS_SHOWN = 50

# Rules of http listeners, of which there may be thousands; `nlb ctl requests` has them all.
ROUTES_SHOWN = 200
CERTIFICATES_SHOWN = 100  # those that end first

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

# Few and small: whoever asks is a scraper, a health check or an operator, and sends no body.
LIMITS: dict[str, Any] = {
    "threads": 4,
    "connection_limit": 100,
    "channel_timeout": 30,
    "cleanup_interval": 5,
    "max_request_header_size": 16 * 1024,
    "max_request_body_size": 4 * 1024,
    "asyncore_use_poll": True,  # select() cannot see descriptors above 1023, and control has many
    "ident": None,
}


class Desk(Protocol):
    """What `asker` needs of control."""

    @property
    def loop(self) -> Loop: ...

    def snapshot(self) -> Facts: ...


def asker(desk: Desk, patience: float = PATIENCE) -> Ask:
    """A function that any thread may call: a snapshot, taken on the loop. Raises TimeoutError when none comes."""

    def ask() -> Facts:
        answer: Future[Facts] = Future()

        def take() -> None:
            try:
                answer.set_result(desk.snapshot())
            except Exception as error:  # it belongs to who asked; the loop must not see it
                answer.set_exception(error)

        desk.loop.post(take)
        return answer.result(patience)

    return ask


def create_app(ask: Ask) -> Flask:
    """The web application over the snapshots that `ask` brings."""
    app = Flask(__name__)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(size=phrases.size, ago=phrases.ago, at=phrases.at)
    app.jinja_env.filters.update(weight=phrases.weight, overrides=phrases.overrides)
    app.jinja_env.filters.update(groups=phrases.groups, reused=phrases.reused)
    app.jinja_env.filters.update(key=phrases.key, days_left=phrases.days_left)

    @app.before_request
    def only_reading() -> Response | None:
        if request.method in ("GET", "HEAD"):
            return None
        response = plain("only GET and HEAD are answered here", 405)
        response.headers["Allow"] = "GET, HEAD"
        return response

    @app.after_request
    def guarded(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        return plain(error.name.lower(), error.code or 500)

    @app.errorhandler(TimeoutError)
    def stuck(error: TimeoutError) -> Response:
        return plain(f"nlb's control process did not answer within {PATIENCE:g} s", 503)

    @app.get("/")
    def status() -> str:
        snapshot = ask()
        routes = phrases.routes(snapshot["listeners"])
        certificates = sorted(snapshot["certificates"], key=lambda row: float(row["not_after"]))
        return render_template(
            "status.html",
            **snapshot,
            not_ready=phrases.not_ready(snapshot),
            open_groups=[phrases.fail_open(group) for group in snapshot["groups"] if group["fail_open"]],
            http_listeners=[row for row in snapshot["listeners"] if row["protocol"] in HTTP],
            shown_certificates=certificates[:CERTIFICATES_SHOWN],
            more_certificates=len(certificates[CERTIFICATES_SHOWN:]),
            routes=routes[:ROUTES_SHOWN],
            more_routes=len(routes[ROUTES_SHOWN:]),
            codes=phrases.CODES,
            desync=phrases.desync(snapshot["listeners"]),
            outcomes=phrases.outcomes(snapshot["listeners"], OUTCOMES),
            shield=phrases.shield(snapshot["listeners"], REASONS),
            latest=snapshot["events"][: -EVENTS_SHOWN - 1 : -1],
        )

    @app.get("/metrics")
    def metrics() -> Response:
        registry = CollectorRegistry()
        registry.register(SnapshotCollector(ask()))
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        response = Response(encode(registry), content_type=content_type)
        response.headers["Vary"] = "Accept, Accept-Encoding"
        if request.accept_encodings["gzip"]:
            # Level 1: many targets make megabytes, and the time goes into a thread that shares control's core.
            response.set_data(gzip.compress(response.get_data(), compresslevel=1))
            response.headers["Content-Encoding"] = "gzip"
        return response

    @app.get("/healthz")
    def healthz() -> Response:
        ask()
        return plain("ok", 200)

    @app.get("/ready")
    def ready() -> Response:
        why = phrases.not_ready(ask())
        return plain(why or "ready", 503 if why else 200)

    return app


def plain(text: str, status: int) -> Response:
    return Response(f"{text}\n", status, content_type="text/plain; charset=utf-8")


class WebServer:
    """Serves the pages on `sock` (bound, listening), which it owns from now on, in threads of its own."""

    def __init__(self, sock: socket.socket, ask: Ask) -> None:
        # Scrapes that queue for a thread are no news, and waitress would log each.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._channels: Any = {}  # of waitress's loop, by descriptor; its published types do not fit its code
        self._server: Any = create_server(create_app(ask), map=self._channels, sockets=[sock], **LIMITS)
        self._stopping = False
        self._thread = Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Answer no more; returns when the threads have ended. May be called twice, and before `start`."""
        self._stopping = True
        if self._thread.is_alive():
            self._server.pull_trigger()
            self._thread.join()
        else:
            self._let_go()

    def _run(self) -> None:
        while not self._stopping:
            wasyncore.loop(timeout=LIMITS["cleanup_interval"], use_poll=True, map=self._channels, count=1)
        self._let_go()

    def _let_go(self) -> None:
        self._server.task_dispatcher.shutdown(timeout=PATIENCE + 1)
        wasyncore.close_all(self._channels)
