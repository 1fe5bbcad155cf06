"""Who gets which request: balancing is per request, whatever connection it comes on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import PATIENCE, Daemon, daemon
from tests.sites import UNASKED, edge, group, rule
from tests.waiting import until
from tests.webclients import Client, get
from tests.webtargets import Seen, WebTarget, reply

# The group behind each listener: how many targets it has, and its other keys.
GROUPS = {
    "even": (3, ""),
    "weighed": (3, ""),
    "least": (2, 'policy = "least_connections"'),
    "kept": (1, ""),
    "crowded": (1, "pool_size = 4"),
    "closing": (1, ""),
    "old": (1, ""),
    "new": (1, ""),
    "hashed": (3, 'policy = "maglev"\nhash_key = "source_ip"'),
}
SHARES = 'forward = [{ target_group = "old", weight = 9 }, { target_group = "new", weight = 1 }]'
MORE = {"old": rule("canary", SHARES), "hashed": 'trusted_proxies = "127.0.0.0/8"'}


class Site:
    """One nlb with a listener for each group, and targets that are called as it and a number."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        text, self._targets = "", dict[str, list[WebTarget]]()
        for name, (count, keys) in GROUPS.items():
            targets = [stack.enter_context(WebTarget(f"{name}{number}")) for number in range(1, count + 1)]
            text += edge(name, MORE.get(name, ""), name) + group(
                {target.name: target for target in targets}, f"{keys}\n{UNASKED}", name
            )
            self._targets[name] = targets
        self.nlb: Daemon = stack.enter_context(daemon(folder, text))
        self.ports = self.nlb.ports

    def targets(self, name: str) -> list[WebTarget]:
        return self._targets[name]

    def client(self, name: str) -> Client:
        return Client(self.ports[name])

    def group(self, name: str) -> Any:
        return next(row for row in self.nlb.ask("status")["groups"] if row["name"] == name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("nlb"), stack)


def bodies(client: Client, count: int) -> list[str]:
    return [client.ask().body.decode() for _ in range(count)]


def test_round_robin_is_exact_on_one_connection(site: Site) -> None:
    with site.client("even") as client:
        seen = bodies(client, 30)
    assert Counter(seen) == {"even1": 10, "even2": 10, "even3": 10}
    assert seen == seen[:3] * 10
    assert site.nlb.listener("even")["accepted"] == 1


def test_weights_are_exact_too(site: Site) -> None:
    for target, weight in (("weighed1", "3"), ("weighed3", "0")):
        assert site.nlb.ctl("weight", target, weight).returncode == 0
    with site.client("weighed") as client:
        assert Counter(bodies(client, 40)) == {"weighed1": 30, "weighed2": 10}


def test_least_connections_counts_outstanding_requests(site: Site, stack: ExitStack) -> None:
    """Idle connections of clients, and those that are kept to targets, weigh nothing."""
    released = threading.Event()
    stack.callback(released.set)
    targets = site.targets("least")

    def slowly(seen: Seen) -> bytes:
        if seen.target == "/slow":
            released.wait()
        return reply()

    idle = [stack.enter_context(site.client("least")) for _ in range(8)]
    assert Counter(client.ask().body for client in idle) == {b"least1": 4, b"least2": 4}
    for target in targets:
        target.respond = slowly
    busy = stack.enter_context(site.client("least"))
    busy.say("/slow")
    until(lambda: any(target.seen[-1].target == "/slow" for target in targets), PATIENCE)
    (slow,) = [target for target in targets if target.seen[-1].target == "/slow"]
    before = len(slow.seen)
    assert [client.ask("/quick").status for client in idle * 3] == [200] * 24
    assert len(slow.seen) == before
    told = site.nlb.targets()
    assert {target.name: told[target.name]["sessions"] for target in targets} == {
        target.name: int(target is slow) for target in targets
    }
    released.set()
    assert busy.hear().status == 200
    assert [idle[0].ask("/quick").status for _ in range(10)] == [200] * 10
    assert len(slow.seen) - before in (5, 6), "even, but for the turn that it missed"


def test_connections_to_targets_are_kept_and_shared(site: Site, stack: ExitStack) -> None:
    (target,) = site.targets("kept")
    for _ in range(20):
        assert get(site.ports["kept"]).body == b"kept1"
    clients = [stack.enter_context(site.client("kept")) for _ in range(20)]
    for client in clients:
        assert client.ask().body == b"kept1"
    assert (len(target.seen), target.accepted) == (40, 1)
    facts = site.group("kept")
    assert (facts["pool_hits"], facts["pool_misses"], facts["requests"]) == (39, 1, 40)


def test_as_many_connections_are_made_as_requests_are_under_way(site: Site, stack: ExitStack) -> None:
    together = threading.Barrier(6, timeout=PATIENCE)
    (target,) = site.targets("crowded")

    def all_at_once(seen: Seen) -> bytes:
        together.wait()
        return reply()

    target.respond = all_at_once
    clients = [stack.enter_context(site.client("crowded")) for _ in range(6)]
    for made in (6, 8):  # of six, four were kept
        for client in clients:
            client.say()
        assert [client.hear().status for client in clients] == [200] * 6
        assert target.accepted == made


def test_a_target_that_closes_each_connection_is_dialled_for_each_request(site: Site) -> None:
    (target,) = site.targets("closing")
    target.respond = lambda _: reply(b"bye", "Connection: close")
    with site.client("closing") as client:
        assert bodies(client, 10) == ["bye"] * 10
    assert target.accepted == 10


def test_weighted_groups_share_nine_to_one(site: Site) -> None:
    with site.client("old") as client:
        seen = Counter(bodies(client, 1000))
    assert 40 < seen["new1"] < 160, seen  # six standard deviations around 100
    assert seen["old1"] + seen["new1"] == 1000
    routes = site.nlb.ask("requests", listener="old")["routes"]
    assert {row["group"]: row["statuses"]["2xx"] for row in routes} == {"old": seen["old1"], "new": seen["new1"]}


def test_a_hash_of_the_address_is_of_the_one_that_is_believed(site: Site) -> None:
    """Not of that of the proxy: its clients are spread, and each stays."""
    with site.client("hashed") as client:
        seen = {
            address: {client.ask(headers=[("X-Forwarded-For", address)]).body for _ in range(4)}
            for address in (f"192.0.2.{number}" for number in range(20))
        }
    assert all(len(names) == 1 for names in seen.values())
    assert len(set().union(*seen.values())) == 3


def test_the_queue_holds_requests_while_every_target_is_full(tmp_path: Path, stack: ExitStack) -> None:
    gate = threading.Semaphore(0)

    def when_let(seen: Seen) -> bytes:
        gate.acquire()
        return reply(seen.target.encode())

    target = stack.enter_context(WebTarget(respond=when_let))
    place = f'{{ name = "t1", address = "127.0.0.1:{target.port}", max_connections = 1 }}'
    text = edge() + f'[[target_group]]\nname = "web"\nprotocol = "http"\ntargets = [{place}]\nqueue = 2\n{UNASKED}\n'
    nlb = stack.enter_context(daemon(tmp_path, text))
    clients = [stack.enter_context(Client(nlb.port)) for _ in range(4)]
    clients[0].say("/0")
    until(lambda: target.seen, PATIENCE)
    for number in (1, 2):
        clients[number].say(f"/{number}")
        until(lambda number=number: nlb.ask("status")["groups"][0]["queued"] == number, PATIENCE)
    assert clients[3].ask("/3").status == 503
    for number in range(3):
        gate.release()
        assert clients[number].hear().body == b"/%d" % number
    assert [seen.target for seen in target.seen] == ["/0", "/1", "/2"]
