"""Networks and files of them: what `deny` and `allow` may have, and what may stand in a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.model import http, limits, network_list
from nlb.model.network_list import NetworkFile, networks_of, read_list
from tests.networks import content


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.113.7", "203.0.113.7/32"),
        ({"file": "/etc/nlb/deny.txt"}, NetworkFile("/etc/nlb/deny.txt")),
        (NetworkFile("/a"), NetworkFile("/a")),
    ],
)
def test_a_network_or_a_file_of_them(written, read):
    assert networks_of(written) == read


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("203.0.113.1/24", "write 203.0.113.0/24"),
        (5, "must be text in quotes"),
        ({}, 'is empty; write { file = "/etc/nlb/deny.txt" }'),
        ({"flie": "/a"}, "has the key flie; write .* \\(did you mean file\\?\\)"),
        ({"file": "/a", "url": "http://x"}, "has the key url; write"),
        ({"file": "deny.txt"}, "'deny.txt' must be the absolute path of a file"),
        ({"file": 5}, "must be text in quotes; this is a number"),
    ],
)
def test_anything_else_is_told_with_what_would_be_right(written, complaint):
    with pytest.raises(ValueError, match=complaint):
        networks_of(written)


def test_a_file_has_a_network_on_each_line():
    content = """# from the abuse desk
192.0.2.0/24
203.0.113.7\t# a scanner
198.51.100.0/24 ; SBL1234
  2001:DB8::/32

192.0.2.0/24
"""
    found = ("192.0.2.0/24", "203.0.113.7/32", "198.51.100.0/24", "2001:db8::/32")
    assert read_list(content) == read_list(content.replace("\n", "\r\n")) == found


def test_a_file_may_be_empty():
    assert read_list("") == read_list("# nobody yet\n") == ()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("192.0.2.0/24\n192.0.2.1/24\n", "line 2: '192.0.2.1/24' has bits behind its length; write 192.0.2.0/24"),
        ("192.0.2.0/24, 192.0.3.0/24\n", "line 1: /24, 192.0.3.0/24 is not the length of an IPv4 network"),
        ("example.com", "line 1: 'example.com' is not a network"),
        ("192.0.2.0/33", "line 1: /33 is not the length of an IPv4 network"),
        ("\n\n<html>" + "x" * 200, "line 3: is longer than any network; is this a list of networks?"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(content, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        read_list(content)


def test_there_is_room_for_so_many(monkeypatch):
    monkeypatch.setattr(limits, "LISTED", 3)
    assert len(read_list("10.0.0.1\n10.0.0.2\n10.0.0.3\n10.0.0.3\n")) == 3
    with pytest.raises(ValueError, match="line 4: there is room for 3 networks, and this has more"):
        read_list("10.0.0.1\n10.0.0.2\n10.0.0.3\n10.0.0.4\n")


@given(st.ip_addresses(), st.none() | st.integers(0, 128))
def test_a_line_means_what_it_would_in_the_config(ip, length):
    said = str(ip) if length is None else f"{ip}/{length}"

    def outcome(read):
        try:
            return read(said)
        except ValueError as error:
            return str(error)

    assert outcome(network_list._listed) == outcome(http.network)


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.sampled_from(["192.0.2.%d/32", "2001:db8:%d::/64"]))
def test_what_one_list_has_beyond_another(mine, others, spelling):
    one, other = (content("10.0.0.0/8", *(spelling % number for number in numbers)) for numbers in (mine, others))
    assert (one.beyond(other), other.beyond(one)) == (len(mine - others), len(others - mine))
    assert (len(one), one == other) == (1 + len(mine), mine == others)
    assert one.beyond(content()) == len(one)


@pytest.mark.parametrize(
    ("networks", "everybody"),
    [((), ""), (("10.0.0.0/8", "::/1"), ""), (("10.0.0.0/8", "0.0.0.0/0"), "0.0.0.0/0"), (("::/0",), "::/0")],
)
def test_everybody_is_in_a_list(networks, everybody):
    assert content(*networks).everybody == everybody
