"""`nlb explain` says what the real processes then do."""

from __future__ import annotations

import http.client as http_client
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.daemon import PATIENCE, Daemon, daemon
from tests.targets import Target, http, say

RULES = """
[[listener]]
name = "edge"
bind = "127.0.0.1:0"
protocol = "http"
target_group = "web"

  [[listener.rule]]
  path = "/old/*"
  redirect = { status = 301, path = "/new/#{path}", host = "new.#{host}" }

  [[listener.rule]]
  host = ["api.example.com", "*.api.example.com"]
  method = "GET"
  forward = "api"

  [[listener.rule]]
  path = "*.php"
  fixed_response = { status = 403, body = "no" }

  [[listener.rule]]
  query = { version = "2" }
  source = "127.0.0.0/8"
  header = { X-Canary = "y*" }
  forward = "canary"

[[listener]]
name = "flows"
bind = "127.0.0.1:0"
target_group = "flows"

[[listener]]
name = "hellos"
bind = "127.0.0.1:0"
target_group = "C"

  [[listener.rule]]
  sni = "b.example.com"
  forward = "B"

  [[listener.rule]]
  sni = "*.example.com"
  alpn = "h2"
  forward = "A"
"""

REQUESTS = [
    ("GET", "/", "www.example.com", {}),
    ("GET", "/", "api.example.com", {}),
    ("GET", "/x/y.php", "eu.API.example.com:80", {}),
    ("POST", "/x/y.php", "api.example.com", {"Content-Length": "0"}),
    ("GET", "/old/x?y=%20z", "www.example.com", {}),
    ("GET", "/old", "www.example.com", {}),
    ("GET", "/?a&version=%32", "www.example.com", {"X-Canary": "Yes"}),
    ("GET", "/?a&version=1", "www.example.com", {"X-Canary": "Yes"}),
    ("GET", "/", "www.example.com", {"Content_Length": "7"}),
    ("GET", "/a b", "www.example.com", {}),
]


@pytest.fixture(scope="module")
def nlb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Rules before groups of one target each, and a group that chooses by the client's address and port."""
    with ExitStack() as stack:
        groups = ""
        for group in ("web", "api", "canary"):
            target = stack.enter_context(Target(http(group.encode())))
            groups += f'[[target_group]]\nname = "{group}"\nprotocol = "http"\ntargets = ["127.0.0.1:{target.port}"]\n'
        for group in "ABC":
            target = stack.enter_context(Target(say(group.encode())))
            groups += f'[[target_group]]\nname = "{group}"\ntargets = ["127.0.0.1:{target.port}"]\n'
        flows = [stack.enter_context(Target(say(name.encode()))) for name in "abc"]
        targets = ", ".join(f'"{name}=127.0.0.1:{target.port}"' for name, target in zip("abc", flows, strict=True))
        groups += f'[[target_group]]\nname = "flows"\npolicy = "maglev"\ntargets = [{targets}]\n'
        yield stack.enter_context(daemon(tmp_path_factory.mktemp("nlb"), RULES + groups, workers=2))


def explained(nlb: Daemon, url: str, *args: str) -> Any:
    command = [sys.executable, "-m", "nlb", "explain", url, "--json", "--socket", nlb.socket, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(("method", "path", "host", "headers"), REQUESTS, ids=lambda part: str(part)[:20])
def test_a_request_gets_what_was_said(nlb: Daemon, method: str, path: str, host: str, headers: dict[str, str]) -> None:
    port = nlb.ports["edge"]
    lines = [f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    args = [word for line in lines for word in ("--header", line)]
    said = explained(nlb, f"http://127.0.0.1:{port}{path}", "--method", method, "--source", "127.0.0.1", *args)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "Connection: close", "", ""]).encode())
        answer = http_client.HTTPResponse(client)
        answer.begin()
        body = answer.read().decode()
    action = said["action"]
    if action["kind"] == "forward":
        assert (answer.status, body) == (200, said["groups"][0]["name"])
    else:
        assert answer.status == action["status"]
    if action["kind"] == "redirect":
        assert answer.headers["Location"] == action["location"]
    if action["kind"] == "fixed_response":
        assert body == action["body"]


def test_all_kinds_of_ends_are_met(nlb: Daemon) -> None:
    port = nlb.ports["edge"]
    met = set()
    for method, path, host, headers in REQUESTS:
        args = ["--header", f"Host: {host}", *(f"--header={name}: {value}" for name, value in headers.items())]
        said = explained(nlb, f"http://a:{port}{path}", "--method", method, "--source", "127.0.0.1", *args)
        met.add((said["action"]["kind"], *(group["name"] for group in said["groups"])))
    assert met == {
        ("forward", "web"),
        ("forward", "api"),
        ("forward", "canary"),
        ("redirect",),
        ("fixed_response",),
        ("refuse",),
    }


@pytest.mark.parametrize("name", ["b.example.com", "c.example.com", "x.c.example.com", None])
@pytest.mark.parametrize("alpn", [[], ["h2"], ["x", "h2"]], ids=str)
def test_a_hello_leads_where_it_was_said(nlb: Daemon, name: str | None, alpn: list[str]) -> None:
    port = nlb.ports["hellos"]
    offered = [word for protocol in alpn for word in ("--alpn", protocol)]
    said = explained(nlb, f"tls://{name or '127.0.0.1'}:{port}", *offered)
    context, out = ssl.create_default_context(), ssl.MemoryBIO()
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(alpn)
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        sock.sendall(out.read())
        assert sock.recv(10).decode() == said["groups"][0]["name"]


def test_a_flow_meets_the_target_that_was_said(nlb: Daemon) -> None:
    port = nlb.ports["flows"]
    met = set()
    for _ in range(6):
        with socket.socket() as client:
            client.settimeout(PATIENCE)
            client.bind(("127.0.0.1", 0))
            host, own_port = client.getsockname()
            said = explained(nlb, f"tcp://127.0.0.1:{port}", "--source", f"{host}:{own_port}")
            client.connect(("127.0.0.1", port))
            name = client.recv(10).decode()
        assert said["groups"][0]["choice"]["target"] == name
        met.add(name)
    assert met <= set("abc")
