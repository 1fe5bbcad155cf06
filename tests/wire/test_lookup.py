"""Look-ups against a nameserver on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.rcode
import pytest

from nlb.control.lookup import look_up
from nlb.control.names import MOST, Answer, Known, Question, Settings, judge
from tests.dnsserver import REFUSED, SERVFAIL, Nameserver, Reply
from tests.waiting import PATIENCE

# Seconds for a look-up that is to end without an answer; one that is to have one gets PATIENCE.
SHORT = 0.3


@pytest.fixture
def server() -> Iterator[Nameserver]:
    server = Nameserver()
    yield server
    server.close()


class Box:
    """The folder of `hosts` and `resolv.conf`, and who is asked."""

    def __init__(self, etc: Path, server: Nameserver) -> None:
        self.etc = etc
        self.server = server

    def ask(self, host: str, timeout: float = PATIENCE, srv: bool = False, family: str = "any") -> Answer:
        return look_up(Question(host, srv, family), self.settings(timeout))

    def settings(self, timeout: float = PATIENCE, **more: Any) -> Settings:
        return Settings(timeout=timeout, nameservers=(self.server.address,), etc=str(self.etc), **more)


@pytest.fixture
def box(tmp_path: Path, server: Nameserver) -> Box:
    return Box(tmp_path, server)


def found(answer: Answer) -> list[str]:
    return sorted(map(str, answer.found))


def reasons(answer: Answer) -> list[str]:
    return [failure.reason for failure in answer.failures]


# --- hosts


def test_a_name_has_addresses_of_both_kinds_and_the_shorter_ttl(box: Box) -> None:
    box.server.has("app.test", ("A", 30, "10.0.0.1", "10.0.0.2"), ("AAAA", 20, "fd00::1"))
    answer = box.ask("app.test")
    assert found(answer) == ["10.0.0.1", "10.0.0.2", "fd00::1"]
    assert (answer.failures, answer.ttl) == ((), 20)


@pytest.mark.parametrize(
    ("family", "expected", "asked"),
    [("ipv4", ["10.0.0.1"], [("app.test", "A")]), ("ipv6", ["fd00::1"], [("app.test", "AAAA")])],
)
def test_a_family_that_is_not_wanted_is_not_asked_for(
    box: Box, family: str, expected: list[str], asked: list[tuple[str, str]]
) -> None:
    box.server.has("app.test", ("A", 30, "10.0.0.1"), ("AAAA", 30, "fd00::1"))
    assert found(box.ask("app.test", family=family)) == expected
    assert box.server.asked == asked


def test_one_kind_of_record_is_enough(box: Box) -> None:
    box.server.has("app.test", ("A", 30, "10.0.0.1"))
    answer = box.ask("app.test")
    assert (found(answer), answer.failures, answer.ttl) == (["10.0.0.1"], (), 30)


def test_aliases_are_followed_and_their_ttl_counts(box: Box) -> None:
    box.server.zone["www.test", "CNAME"] = Reply((("CNAME", 7, "app.test."), ("app.test", "A", 300, "10.0.0.1")))
    answer = box.ask("www.test", family="ipv4")
    assert (found(answer), answer.ttl) == (["10.0.0.1"], 7)


def test_an_answer_too_long_for_udp_comes_by_tcp(box: Box) -> None:
    box.server.has("app.test", ("A", 30, *(f"10.0.{number // 250}.{number % 250}" for number in range(1000))))
    assert len(box.ask("app.test", family="ipv4").found) == 1000
    assert box.server.by_tcp == 1


def test_no_such_name(box: Box) -> None:
    answer = box.ask("gone.test")
    assert (answer.found, reasons(answer)) == ((), ["no such name (NXDOMAIN)"])


def test_a_name_without_addresses(box: Box) -> None:
    box.server.has("app.test", ("TXT", 30, '"hello"'))
    assert reasons(box.ask("app.test")) == ["no A record; no AAAA record"]


def test_addresses_that_cannot_be_targets(box: Box) -> None:
    box.server.has("app.test", ("A", 30, "0.0.0.0"), ("AAAA", 30, "::"))
    answer = box.ask("app.test")
    assert (answer.found, reasons(answer)) == ((), ["no usable address"])


@pytest.mark.parametrize(("rcode", "word"), [(SERVFAIL, "SERVFAIL"), (REFUSED, "REFUSED")])
def test_a_nameserver_that_fails_is_named(box: Box, rcode: dns.rcode.Rcode, word: str) -> None:
    box.server.fails("app.test", "A", rcode)
    box.server.fails("app.test", "AAAA", rcode)
    answer = box.ask("app.test")
    assert (answer.found, reasons(answer)) == ((), [f"{box.server.address} answered {word}"])


@pytest.mark.parametrize("garbage", [b"", b"not a message", b"\0" * 12], ids=["silent", "garbage", "another's"])
def test_no_answer(box: Box, garbage: bytes) -> None:
    box.server.says("app.test", "A", garbage)
    box.server.says("app.test", "AAAA", garbage)
    answer = box.ask("app.test", timeout=SHORT)
    assert (answer.found, reasons(answer)) == ((), ["no answer within 300ms"])


def test_one_kind_failing_does_not_spoil_the_other(box: Box) -> None:
    box.server.has("app.test", ("A", 30, "10.0.0.1"))
    box.server.fails("app.test", "AAAA")
    answer = box.ask("app.test")
    assert found(answer) == ["10.0.0.1"]
    [failure] = answer.failures
    assert (failure.host, failure.version) == ("app.test", 6)


def test_a_nameserver_that_knows_no_aaaa_and_says_nxdomain_is_understood(box: Box) -> None:
    box.server.has("app.test", ("A", 30, "10.0.0.1"))
    box.server.fails("app.test", "AAAA", dns.rcode.NXDOMAIN)
    answer = box.ask("app.test")
    assert (found(answer), answer.failures) == (["10.0.0.1"], ())


def test_the_next_nameserver_is_asked_when_one_fails(box: Box, server: Nameserver) -> None:
    server.fails("app.test", "A")
    other = Nameserver()
    try:
        other.has("app.test", ("A", 30, "10.0.0.1"))
        settings = Settings(timeout=PATIENCE, nameservers=(server.address, other.address), etc=str(box.etc))
        assert found(look_up(Question("app.test", family="ipv4"), settings)) == ["10.0.0.1"]
    finally:
        other.close()
    assert server.asked == [("app.test", "A")]


# --- the box's own files


def test_the_hosts_file_comes_first(box: Box) -> None:
    (box.etc / "hosts").write_text("10.0.0.7 app.test # ours\nfd00::7 APP.test\n")
    box.server.has("app.test", ("A", 30, "10.0.0.1"))
    answer = box.ask("app.test")
    assert (found(answer), answer.failures, answer.ttl) == (["10.0.0.7", "fd00::7"], (), 0)
    assert box.server.asked == []


def test_dns_is_asked_for_a_family_that_the_hosts_file_does_not_have(box: Box) -> None:
    (box.etc / "hosts").write_text("10.0.0.7 app.test\n")
    box.server.has("app.test", ("AAAA", 30, "fd00::1"))
    assert found(box.ask("app.test", family="ipv6")) == ["fd00::1"]


def test_localhost_needs_neither_file_nor_nameserver(tmp_path: Path) -> None:
    answer = look_up(Question("localhost"), Settings(etc=str(tmp_path)))
    assert (found(answer), answer.failures) == (["127.0.0.1", "::1"], ())


def test_a_short_name_is_searched_for_and_both_kinds_are_of_the_name_found(box: Box) -> None:
    (box.etc / "resolv.conf").write_text("search one.test two.test\n")
    box.server.has("app.one.test", ("A", 30, "10.0.0.1"))
    box.server.fails("app.one.test", "AAAA", dns.rcode.NXDOMAIN)
    box.server.has("app.two.test", ("AAAA", 30, "fd00::2"))
    assert found(box.ask("app")) == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("resolv_conf", "complaint"),
    [
        (None, "names no nameserver, or cannot be read"),
        (b"search test\n", "names no nameserver, or cannot be read"),
        (b"nameserver everybody\n", "cannot be used: "),
        (b"nameserver \xff\xfe\n", "cannot be used: "),
    ],
    ids=["missing", "none in it", "no address", "not UTF-8"],
)
def test_a_box_without_nameservers_is_told(tmp_path: Path, resolv_conf: bytes | None, complaint: str) -> None:
    if resolv_conf is not None:
        (tmp_path / "resolv.conf").write_bytes(resolv_conf)
    answer = look_up(Question("app.test"), Settings(etc=str(tmp_path)))
    [reason] = reasons(answer)
    assert reason.startswith(f"{tmp_path}/resolv.conf {complaint}")


# --- services

SERVICE = "_http._tcp.test"


def test_a_service_gives_ports_and_weights_of_the_first_priority_only(box: Box) -> None:
    box.server.has(
        SERVICE, ("SRV", 30, "10 5 8001 a.test.", "10 0 8002 b.test.", "20 9 8003 c.test.", "10 7 0 a.test.")
    )
    box.server.has("a.test", ("A", 20, "10.0.0.1"), ("AAAA", 20, "fd00::1"))
    box.server.has("b.test", ("A", 10, "10.0.0.2"))
    box.server.has("c.test", ("A", 10, "10.0.0.3"))
    answer = box.ask(SERVICE, srv=True)
    assert sorted((str(item), item.weight, item.host) for item in answer.found) == [
        ("10.0.0.1:8001", 5, "a.test"),
        ("10.0.0.2:8002", 1, "b.test"),
        ("[fd00::1]:8001", 5, "a.test"),
    ]
    assert (answer.failures, answer.ttl) == ((), 10)


def test_a_host_with_several_ports_is_asked_for_once(box: Box) -> None:
    box.server.has(SERVICE, ("SRV", 30, *(f"0 1 {port} a.test." for port in range(8000, 8050))))
    box.server.has("a.test", ("A", 30, "10.0.0.1"))
    assert len(box.ask(SERVICE, srv=True).found) == 50
    assert box.server.asked == [(SERVICE, "SRV"), (SERVICE, "SRV"), ("a.test", "A"), ("a.test", "AAAA")]  # UDP, TCP


def test_a_service_of_more_addresses_than_can_be_meant_is_not_asked_for_to_the_end(box: Box) -> None:
    box.server.has(SERVICE, ("SRV", 30, *(f"0 1 {port} a.test." for port in range(8000, 8020)), "0 1 9000 b.test."))
    box.server.has("a.test", ("A", 30, *(f"10.0.0.{number}" for number in range(1, 101))))
    answer = box.ask(SERVICE, srv=True)
    assert len(answer.found) > MOST
    assert ("b.test", "A") not in box.server.asked


def test_a_service_of_more_records_than_can_be_meant_is_told(box: Box) -> None:
    box.server.has(SERVICE, ("SRV", 30, *(f"0 1 {port} a.test." for port in range(8000, 8000 + MOST + 9))))
    box.server.has("a.test", ("A", 30, "10.0.0.1"))
    known = judge(Known(), box.ask(SERVICE, srv=True), 0, 0, box.settings()).known
    assert (len(known.found), known.reason) == (MOST, f"more than {MOST} addresses; the others are not used")


def test_addresses_told_beside_the_answer_are_not_asked_for_again(box: Box) -> None:
    beside = (("a.test", "A", 5, "10.0.0.1"), ("b.test", "AAAA", 9, "fd00::1"))
    box.server.has(SERVICE, ("SRV", 30, "0 1 80 a.test.", "0 1 80 b.test."), beside=beside)
    box.server.has("b.test", ("A", 30, "10.0.0.2"))
    answer = box.ask(SERVICE, srv=True)
    assert found(answer) == ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"]
    assert ("a.test", "A") not in box.server.asked
    assert ("b.test", "AAAA") not in box.server.asked
    assert answer.ttl == 5


def test_a_host_of_a_service_that_does_not_exist_does_not_spoil_the_others(box: Box) -> None:
    box.server.has(SERVICE, ("SRV", 30, "0 1 80 a.test.", "0 1 80 gone.test."))
    box.server.has("a.test", ("A", 30, "10.0.0.1"))
    answer = box.ask(SERVICE, srv=True)
    assert found(answer) == ["10.0.0.1:80"]
    assert reasons(answer) == ["gone.test: no such name (NXDOMAIN)"]
    assert answer.failures[0].host == "gone.test"


def test_hosts_of_a_service_may_be_in_the_hosts_file(box: Box) -> None:
    (box.etc / "hosts").write_text("10.0.0.7 a.test\n")
    box.server.has(SERVICE, ("SRV", 30, "0 1 80 a.test."))
    assert found(box.ask(SERVICE, srv=True)) == ["10.0.0.7:80"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [(("SRV", 30, "0 0 0 ."), []), (("TXT", 30, '"hello"'), ["no SRV record"]), (None, ["no such name (NXDOMAIN)"])],
    ids=["decidedly no service", "no SRV record", "no such name"],
)
def test_a_service_that_is_not_there(box: Box, record: Any, reason: list[str]) -> None:
    if record:
        box.server.has(SERVICE, record)
    answer = box.ask(SERVICE, srv=True)
    assert (answer.found, reasons(answer)) == ((), reason)
