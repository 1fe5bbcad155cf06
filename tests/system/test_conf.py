"""The files in conf/ that are set up as AWS's load balancers: run with free ports and real targets, and used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from nlb.model.parse import parse
from tests.daemon import Daemon, answer, call, daemon
from tests.targets import Target, echo, say
from tests.webclients import Client, get
from tests.webtargets import WebTarget, reply

Served = TypeVar("Served", bound=Target)

CONF = Path(__file__).resolve().parents[2] / "conf"


def run(stack: ExitStack, folder: Path, name: str, places: Mapping[str, str]) -> Daemon:
    """nlb with this file, in which other addresses or ports stand in the places of some."""
    text = (CONF / name).read_text()
    parse(text, name)
    for place, other in places.items():
        assert text.count(place) == 1, f"{place} stands there more than once, or not at all"
        text = text.replace(place, other)
    return stack.enter_context(daemon(folder, text, workers=2))


def twins(stack: ExitStack, make: Callable[[str, str, int], Served]) -> list[Served]:
    """The same on two hosts, on one port."""
    while True:
        first = make("i-01", "127.0.0.11", 0)
        try:
            pair = [first, make("i-02", "127.0.0.12", first.port)]
        except OSError:  # somebody has that port there
            first.stop()
            continue
        return [stack.enter_context(target) for target in pair]  # type: ignore[misc]


def test_network(tmp_path: Path, stack: ExitStack) -> None:
    """Bytes pass as they are, by the hash of the flow; clients of the broker stay by their address."""
    webs = [stack.enter_context(Target(echo)) for _ in range(2)]
    brokers = [stack.enter_context(Target(say(name))) for name in (b"broker01", b"broker02")]
    places = {"0.0.0.0:8443": "127.0.0.1:0", "0.0.0.0:1883": "127.0.0.1:0"}
    places |= {f"127.0.0.1:{3001 + n}": f"127.0.0.1:{target.port}" for n, target in enumerate(webs + brokers)}
    nlb = run(stack, tmp_path, "network.toml", places)
    nlb.has_health(web01="healthy", web02="healthy", broker01="healthy", broker02="healthy")
    before = [web.accepted for web in webs]
    for number in range(40):
        with call(nlb.ports["tls"]) as sock:
            sock.sendall(b"\x16\x03\x01 %d" % number)
            assert sock.recv(100) == b"\x16\x03\x01 %d" % number
    assert all(web.accepted > count for web, count in zip(webs, before, strict=True)), "each had some"
    assert len({answer(nlb.ports["mqtt"]) for _ in range(20)}) == 1


def test_application(tmp_path: Path, stack: ExitStack) -> None:
    webs = [stack.enter_context(WebTarget(name)) for name in ("web01", "web02", "api01", "api02")]
    places = {"0.0.0.0:8000": "127.0.0.1:0", "0.0.0.0:8080": "127.0.0.1:0"}
    places |= {f"127.0.0.1:{3001 + n}": f"127.0.0.1:{target.port}" for n, target in enumerate(webs)}
    nlb = run(stack, tmp_path, "application.toml", places)
    nlb.has_health(web01="healthy", web02="healthy", api01="healthy", api02="healthy")
    http, edge = nlb.ports["to-https"], nlb.ports["edge"]

    moved = get(http, "/a?b=c", host="www.example.com")
    assert (moved.status, moved.get("Location")) == (301, "https://www.example.com/a?b=c")

    with Client(edge) as client:
        assert {client.ask().body for _ in range(8)} == {b"web01", b"web02"}
        first = client.ask()
        (cookie,) = first.all("Set-Cookie")
        again = [client.ask(headers=[("Cookie", cookie.split(";")[0])]).body for _ in range(8)]
        assert again == [first.body] * 8

        canaries = Counter(client.ask("/v1/x", host="api.example.com").body for _ in range(400))
        assert 5 < canaries[b"api02"] < 100, "one of ten"
        assert canaries[b"api01"] + canaries[b"api02"] == 400
        chosen = client.ask("/v1/x", host="api.localhost", headers=[("X-Canary", "1")])
        assert chosen.body == b"api02"
        assert client.ask("/v2/x", host="api.example.com").body.startswith(b"web0")

        moved = client.ask("/old/page", host="www.example.com")
        assert (moved.status, moved.get("Location")) == (301, f"http://www.example.com:{edge}/new/old/page")
        closed = client.ask("/admin/users")
        assert (closed.status, closed.body, closed.get("Content-Type")) == (403, b"<h1>Not from here</h1>", "text/html")
    assert webs[0].seen[-1].get("X-Forwarded-For") == "127.0.0.1"


def test_classic(tmp_path: Path, stack: ExitStack) -> None:
    """The same instances behind two listeners, each of which leads to another port of theirs."""
    mails = twins(stack, lambda name, host, port: Target(say(b"220 " + name.encode()), host=host, port=port))
    webs = twins(stack, lambda name, host, port: WebTarget(name, host=host, port=port))
    places = {
        '"0.0.0.0:8080"': '"127.0.0.1:0"',
        '"0.0.0.0:8025"': '"127.0.0.1:0"',
        "port = 3000": f"port = {webs[0].port}",
        "port = 3025": f"port = {mails[0].port}",
    }
    nlb = run(stack, tmp_path, "classic.toml", places)
    nlb.has_health(**{"i-01": "healthy", "i-02": "healthy"})
    assert {answer(nlb.ports["smtp"]) for _ in range(12)} == {b"220 i-01", b"220 i-02"}
    with Client(nlb.ports["http"]) as client:
        assert {client.ask().body for _ in range(8)} == {b"i-01", b"i-02"}
        for web in webs:
            web.respond = lambda seen, web=web: reply(web.name.encode(), "Set-Cookie: SESSIONID=1")
        first = client.ask("/login")
        cookies = "; ".join(said.split(";")[0] for said in first.all("Set-Cookie"))
        assert {client.ask(headers=[("Cookie", cookies)]).body for _ in range(8)} == {first.body}
