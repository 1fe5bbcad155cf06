"""Clients with cookies come back to their target: across restarts, and not when it may not be used."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.daemon import daemon
from tests.sites import UNASKED, edge, group
from tests.webclients import Answer, get
from tests.webtargets import WebTarget, reply

OURS = f'stickiness = {{ type = "lb_cookie", duration = 3600 }}\n{UNASKED}'
OF_APPLICATION = f'stickiness = {{ type = "app_cookie", name = "SESSIONID" }}\n{UNASKED}'


@pytest.fixture
def targets(stack: ExitStack) -> list[WebTarget]:
    return [stack.enter_context(WebTarget(name)) for name in ("t1", "t2", "t3")]


def cookie(answer: Answer) -> str:
    """What the client shows from now on: the cookie that was set, without its attributes."""
    (said,) = answer.all("Set-Cookie")
    return said.split(";")[0]


def met(port: int, cookies: str, times: int = 6) -> Counter[str]:
    """Which targets a client with these cookies meets."""
    return Counter(get(port, headers=[("Cookie", cookies)]).body.decode() for _ in range(times))


def test_a_client_stays_also_after_a_restart_and_leaves_a_drained_target(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    text = edge() + group(targets, OURS)
    with daemon(tmp_path, text) as nlb:
        first = get(nlb.port)
        mine, home = cookie(first), first.body.decode()
        assert first.get("Set-Cookie").startswith("nlb-web=")
        assert "HttpOnly" in first.get("Set-Cookie")
        assert "Max-Age=3600" in first.get("Set-Cookie")
        assert met(nlb.port, f"a=b; {mine}; c=d") == {home: 6}
        again = get(nlb.port, headers=[("Cookie", mine)])
        assert not again.all("Set-Cookie"), "it holds for long"
        # One that was not made here counts for nothing, and is replaced.
        forged = mine[:-1] + ("A" if mine[-1] != "A" else "B")
        assert len(met(nlb.port, forged)) == 3
        assert cookie(get(nlb.port, headers=[("Cookie", forged)])).startswith("nlb-web=")
    # The key is in the state directory, and nobody else may read it.
    (key,) = [path for path in (tmp_path / "state").iterdir() if path.name.startswith("secret")]
    assert key.stat().st_mode & 0o077 == 0
    with daemon(tmp_path, text, workers=2) as nlb:
        assert met(nlb.port, mine) == {home: 6}
        assert nlb.ctl("drain", home).returncode == 0
        other = get(nlb.port, headers=[("Cookie", mine)])
        assert other.body.decode() != home
        moved = cookie(other)
        assert met(nlb.port, moved) == {other.body.decode(): 6}
        assert nlb.ctl("ready", home).returncode == 0
        assert met(nlb.port, moved) == {other.body.decode(): 6}, "who moved, stays"
        # A group that has another key of its own: this cookie is worth nothing there.
    with daemon(tmp_path, edge(group="shop") + group(targets, OURS, name="shop")) as nlb:
        assert len(met(nlb.port, mine.replace("nlb-web", "nlb-shop"))) == 3


def test_a_client_stays_as_long_as_it_has_the_cookie_of_the_application(
    tmp_path: Path, stack: ExitStack, targets: list[WebTarget]
) -> None:
    for target in targets:
        name = target.name.encode()
        target.respond = lambda seen, name=name: {
            "/login": reply(name, "Set-Cookie: SESSIONID=42; Path=/"),
            "/logout": reply(name, "Set-Cookie: SESSIONID=; Max-Age=0"),
        }.get(seen.target, reply(name))
    nlb = stack.enter_context(daemon(tmp_path, edge() + group(targets, OF_APPLICATION)))
    assert not get(nlb.port).all("Set-Cookie")
    login = get(nlb.port, "/login")
    home, ours = login.body.decode(), login.all("Set-Cookie")[1].split(";")[0]
    assert met(nlb.port, f"SESSIONID=42; {ours}") == {home: 6}
    assert len(met(nlb.port, ours)) == 3, "not without the other"
    logout = get(nlb.port, "/logout", headers=[("Cookie", f"SESSIONID=42; {ours}")])
    assert logout.body.decode() == home
    assert "Max-Age=0" in logout.all("Set-Cookie")[1]
