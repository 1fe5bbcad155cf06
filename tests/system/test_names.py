"""Targets that are given by DNS names, in a real nlb that asks a nameserver on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import PATIENCE, Daemon, answer, call, daemon
from tests.dnsserver import Nameserver
from tests.targets import Target, echo, say
from tests.traffic import speak
from tests.waiting import until

ONE, TWO, THREE = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.fixture
def dns() -> Iterator[Nameserver]:
    server = Nameserver()
    yield server
    server.close()


def group(targets: str, more: str = "") -> str:
    head = '[[listener]]\nname = "in"\nbind = "127.0.0.1:0"\ntarget_group = "web"\n'
    return head + f'[[target_group]]\nname = "web"\ntargets = [{targets}]\n{more}\n'


def asking(dns: Nameserver, timeout: str = "5s") -> str:
    """Again and again, so that a test need not wait."""
    return f'[dns]\nnameservers = ["{dns.address}"]\nmin_ttl = "100ms"\nmax_ttl = "100ms"\ntimeout = "{timeout}"\n'


class Servers:
    """One server on each of some loopback addresses, all on one port; each says its address, or echoes."""

    def __init__(self, stack: ExitStack, *hosts: str, echoing: bool = False) -> None:
        self.port = 0
        for host in hosts:
            serve = echo if echoing else say(host.encode())
            self.port = stack.enter_context(Target(serve, host, self.port)).port


def met(nlb: Daemon) -> str:
    """The address of the server that a client meets."""
    return answer(nlb.port).decode()


def name(nlb: Daemon, called: str = "app") -> Any:
    [group] = nlb.ask("targets")["groups"]
    return next(item for item in group["names"] if item["name"] == called)


def has_targets(nlb: Daemon, *names: str) -> None:
    """Wait until these are the targets, and healthy; those that are leaving do not count."""

    def holds() -> bool:
        there = [target for target in nlb.targets().values() if not target["leaving"]]
        return sorted(target["name"] for target in there if target["usable"]) == sorted(names) and len(there) == len(
            names
        )

    until(holds, PATIENCE)


def test_each_address_is_a_target(tmp_path: Path, stack: ExitStack, dns: Nameserver) -> None:
    port = Servers(stack, ONE, TWO, THREE).port
    dns.has("app.test", ("A", 0, ONE, TWO))
    nlb = stack.enter_context(daemon(tmp_path, group(f'"app=app.test:{port}"'), top=asking(dns)))
    has_targets(nlb, f"app@{ONE}", f"app@{TWO}")
    assert {met(nlb) for _ in range(4)} == {ONE, TWO}
    dns.has("app.test", ("A", 0, ONE, TWO, THREE))
    has_targets(nlb, f"app@{ONE}", f"app@{TWO}", f"app@{THREE}")
    assert {met(nlb) for _ in range(6)} == {ONE, TWO, THREE}
    assert f"app.test: {THREE} added" in nlb.output()
    config = nlb.ask("config")["config"]
    assert [target["address"] for target in config["target_group"][0]["targets"]] == [f"app.test:{port}"]


def test_a_vanished_address_is_drained_and_never_reset(tmp_path: Path, stack: ExitStack, dns: Nameserver) -> None:
    port = Servers(stack, ONE, TWO, echoing=True).port
    dns.has("app.test", ("A", 0, ONE))
    text = group(f'"app=app.test:{port}"', 'on_remove = "reset"')
    nlb = stack.enter_context(daemon(tmp_path, text, top=asking(dns)))
    has_targets(nlb, f"app@{ONE}")
    sock = stack.enter_context(call(nlb.port))
    speak(sock, b"before")
    dns.has("app.test", ("A", 0, TWO))
    has_targets(nlb, f"app@{TWO}")
    leaving = nlb.targets()[f"app@{ONE}"]
    assert (leaving["leaving"], leaving["admin"]["reason"]) == (True, "no longer in DNS")
    assert leaving["drain"]["deadline"] - leaving["drain"]["started"] == pytest.approx(300)
    speak(sock, b"after")
    for _ in range(4):
        speak(stack.enter_context(call(nlb.port)), b"new")
    assert nlb.targets()[f"app@{TWO}"]["sessions"] == 4
    sock.close()
    until(lambda: f"app@{ONE}" not in nlb.targets(), PATIENCE)
    assert nlb.ask("status")["config"]["generation"] == 1
    assert "reload" not in nlb.output()


def test_a_failure_of_dns_keeps_the_last_good_answer(tmp_path: Path, stack: ExitStack, dns: Nameserver) -> None:
    port = Servers(stack, ONE, TWO).port
    dns.has("app.test", ("A", 0, ONE))
    nlb = stack.enter_context(daemon(tmp_path, group(f'"app=app.test:{port}"'), top=asking(dns)))
    has_targets(nlb, f"app@{ONE}")
    dns.fails("app.test", "A")
    dns.fails("app.test", "AAAA")
    until(lambda: nlb.targets()[f"app@{ONE}"]["resolve"]["state"] == "stale", PATIENCE)
    assert met(nlb) == ONE
    shown = nlb.ctl("targets").stdout
    reason = f"{dns.address} answered SERVFAIL"
    assert f"STALE: web/app (app.test:{port}) keeps the addresses of its last answer: {reason}" in shown
    assert (name(nlb)["state"], name(nlb)["addresses"]) == ("stale", [ONE])
    nlb.ask("reload")
    assert nlb.targets()[f"app@{ONE}"]["resolve"]["state"] == "stale"
    dns.forget("app.test")
    dns.has("app.test", ("A", 0, ONE, TWO))
    has_targets(nlb, f"app@{ONE}", f"app@{TWO}")
    assert {target["resolve"]["state"] for target in nlb.targets().values()} == {"ok"}


def test_a_name_that_is_not_there_at_the_start_may_come_later(
    tmp_path: Path, stack: ExitStack, dns: Nameserver
) -> None:
    port = Servers(stack, ONE).port
    nlb = stack.enter_context(daemon(tmp_path, group(f'"app=app.test:{port}"'), top=asking(dns)))
    assert nlb.targets() == {}
    assert (name(nlb)["state"], name(nlb)["reason"]) == ("none", "no such name (NXDOMAIN)")
    assert f"NO ADDRESS: web/app (app.test:{port}): no such name (NXDOMAIN)" in nlb.ctl("targets").stdout
    assert nlb.ask("status")["not_ready"] == "no usable target in group web"
    with pytest.raises(ConnectionResetError), call(nlb.port) as sock:  # perhaps while it is still being made
        sock.recv(1)
    until(lambda: nlb.listener()["outcomes"] == {"pick/no_target": 1}, PATIENCE)
    dns.has("app.test", ("A", 0, ONE))
    has_targets(nlb, f"app@{ONE}")
    assert met(nlb) == ONE
    assert nlb.ask("status")["ready"]


def test_a_nameserver_that_says_nothing_does_not_hold_up_the_start(
    tmp_path: Path, stack: ExitStack, dns: Nameserver
) -> None:
    port = Servers(stack, ONE).port
    dns.says("app.test", "A", b"")
    dns.says("app.test", "AAAA", b"")
    targets = f'"app=app.test:{port}", "one={ONE}:{port}"'
    nlb = stack.enter_context(daemon(tmp_path, group(targets), top=asking(dns, "30s")))
    has_targets(nlb, "one")
    assert met(nlb) == ONE
    assert (name(nlb)["state"], name(nlb)["reason"]) == ("none", "not looked up yet")


def test_srv_records_say_ports_and_weights(tmp_path: Path, stack: ExitStack, dns: Nameserver) -> None:
    first, second = Servers(stack, ONE).port, Servers(stack, TWO).port
    dns.has("_app._tcp.test", ("SRV", 0, f"0 3 {first} a.test.", f"0 1 {second} b.test.", f"9 1 {second} gone.test."))
    dns.has("a.test", ("A", 0, ONE))
    dns.has("b.test", ("A", 0, TWO))
    text = group('{ name = "app", address = "_app._tcp.test", srv = true, family = "ipv4" }')
    nlb = stack.enter_context(daemon(tmp_path, text, top=asking(dns)))
    has_targets(nlb, f"app@{ONE}:{first}", f"app@{TWO}:{second}")
    assert {target["name"]: target["weight"] for target in nlb.targets().values()} == {
        f"app@{ONE}:{first}": 3,
        f"app@{TWO}:{second}": 1,
    }
    answers = [met(nlb) for _ in range(8)]
    assert (answers.count(ONE), answers.count(TWO)) == (6, 2)
    dns.has("_app._tcp.test", ("SRV", 0, f"0 1 {first} a.test.", f"0 1 {second} b.test."))
    until(lambda: nlb.targets()[f"app@{ONE}:{first}"]["weight"] == 1, PATIENCE)


def test_a_reload_leaves_what_names_stand_for(tmp_path: Path, stack: ExitStack, dns: Nameserver) -> None:
    port = Servers(stack, ONE, TWO, echoing=True).port
    dns.has("app.test", ("A", 0, ONE))
    dns.has("new.test", ("A", 0, TWO))
    text = group(f'"app=app.test:{port}"')
    nlb = stack.enter_context(daemon(tmp_path, text, top=asking(dns)))
    has_targets(nlb, f"app@{ONE}")
    since = nlb.targets()[f"app@{ONE}"]["health"]["since"]
    sock = stack.enter_context(call(nlb.port))
    speak(sock, b"before")
    for _ in range(3):
        assert "nothing to do" in nlb.ctl("reload").stdout
    nlb.write(group(f'"app=app.test:{port}", "new=new.test:{port}"', "tries = 2"))
    done = nlb.ctl("reload").stdout
    assert f"add target new@{TWO} ({TWO}:{port}), weight 1" in done, "a new name is looked up before it is used"
    assert "0 of 1 sessions affected" in done
    has_targets(nlb, f"app@{ONE}", f"new@{TWO}")
    assert nlb.targets()[f"app@{ONE}"]["health"]["since"] == since
    speak(sock, b"after")
    nlb.write(group(f'"new=new.test:{port}"'))
    assert "1 of 1 sessions affected" in nlb.ctl("reload").stdout
    speak(sock, b"it drains")


def test_names_that_keep_changing_are_in_the_way_of_no_reload(
    tmp_path: Path, stack: ExitStack, dns: Nameserver
) -> None:
    port = Servers(stack, ONE, TWO).port
    names = [f"app{number}" for number in range(20)]
    text = group(", ".join(f'"{one}={one}.test:{port}"' for one in names))

    def change(turn: int) -> None:
        for number, one in enumerate(names):
            dns.has(f"{one}.test", ("A", 0, ONE if (turn + number) % 2 else TWO))

    change(0)
    nlb = stack.enter_context(daemon(tmp_path, text, top=asking(dns)))
    for turn in range(1, 21):
        change(turn)
        assert "refused" not in nlb.ask("reload")
    assert nlb.ask("status")["config"]["generation"] == 21
    has_targets(nlb, *(f"{one}@{TWO if number % 2 else ONE}" for number, one in enumerate(names, 21)))


def test_a_refused_reload_forgets_its_names(tmp_path: Path, stack: ExitStack, dns: Nameserver) -> None:
    port = Servers(stack, ONE).port
    dns.has("app.test", ("A", 0, ONE))
    text = group(f'"app=app.test:{port}"')
    nlb = stack.enter_context(daemon(tmp_path, text, top=asking(dns)))
    taken = f'[[listener]]\nname = "taken"\nbind = "{ONE}:{port}"\ntarget_group = "web"\n'
    nlb.write(group(f'"app=app.test:{port}", "other=other.test:{port}"') + taken)
    assert nlb.ctl("reload").returncode == 1
    assert ("other.test", "A") in dns.asked
    asked = len(dns.asked)
    until(lambda: dns.asked[asked:].count(("app.test", "A")) > 3, PATIENCE)
    assert ("other.test", "A") not in dns.asked[asked + 2 :]
    has_targets(nlb, f"app@{ONE}")


def test_what_the_operator_wishes_for_an_address_lasts(tmp_path: Path, stack: ExitStack, dns: Nameserver) -> None:
    port = Servers(stack, ONE, TWO).port
    dns.has("app.test", ("A", 0, ONE, TWO))
    text = group(f'"app=app.test:{port}"')
    with daemon(tmp_path, text, top=asking(dns)) as nlb:
        has_targets(nlb, f"app@{ONE}", f"app@{TWO}")
        assert nlb.ctl("drain", f"app@{ONE}", "--reason", "disk").returncode == 0
        assert nlb.ctl("weight", f"web/app@{TWO}", "5").returncode == 0
        wished = {f"app@{ONE}": ("drain", 1), f"app@{TWO}": ("ready", 5)}
        dns.has("app.test", ("A", 0, TWO))
        until(lambda: f"app@{ONE}" not in nlb.targets(), PATIENCE)
        dns.has("app.test", ("A", 0, ONE, TWO))
        until(lambda: f"app@{ONE}" in nlb.targets(), PATIENCE)
        assert wishes(nlb) == wished
    nlb = stack.enter_context(daemon(tmp_path, text, top=asking(dns)))
    assert wishes(nlb) == wished


def wishes(nlb: Daemon) -> dict[str, tuple[str, int]]:
    return {target["name"]: (target["admin"]["state"], target["weight"]) for target in nlb.targets().values()}


def test_a_name_is_added_and_removed_at_run_time(tmp_path: Path, stack: ExitStack, dns: Nameserver) -> None:
    port = Servers(stack, ONE, TWO).port
    dns.has("app.test", ("A", 0, ONE))
    dns.has("new.test", ("A", 0, TWO))
    text = group(f'"app=app.test:{port}"')
    nlb = stack.enter_context(daemon(tmp_path, text, top=asking(dns)))
    has_targets(nlb, f"app@{ONE}")
    assert nlb.ctl("target", "add", "web", f"new=new.test:{port}").returncode == 0
    has_targets(nlb, f"app@{ONE}", f"new@{TWO}")
    refused = nlb.ctl("target", "remove", f"app@{ONE}")
    assert refused.returncode == 1
    assert "DNS says so: drain or maint takes it out, and removing app all like it" in refused.stderr
    assert nlb.ctl("target", "remove", "app").returncode == 0
    has_targets(nlb, f"new@{TWO}")
    assert nlb.ctl("target", "add", "web", f"app=app.test:{port}").returncode == 0
    assert nlb.ctl("target", "remove", "web/new").returncode == 0
    has_targets(nlb, f"app@{ONE}")
    assert nlb.ask("overrides")["overrides"] == []
