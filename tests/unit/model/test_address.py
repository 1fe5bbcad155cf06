"""The text forms of addresses, and sentences for what is none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.model.address import Address, DnsName, parse_address, parse_server


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:80", Address("10.0.0.1", 80)),
        ("10.0.0.1", Address("10.0.0.1", 3000)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("[::1]:80", Address("::1", 80)),
        ("[::1]", Address("::1", 3000)),
        ("2001:DB8:0::1", Address("2001:db8::1", 3000)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
        ("unix:/run/app.sock", Address("", 0, "/run/app.sock")),
    ],
)
def test_every_form_is_read(text, address):
    assert parse_address(text, 3000) == address


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "an address is missing"),
        ("80", "'80' is only a number; write host:port, such as 0.0.0.0:80"),
        (":80", "':80' has no host; write 10.0.0.11:80, or 0.0.0.0:80 or [::]:80"),
        ("*:80", "'*:80' has no host; write 10.0.0.11:80, or 0.0.0.0:80 or [::]:80"),
        ("10.0.0.1", "'10.0.0.1' has no port; write 10.0.0.1:80"),
        ("::1", "'::1' has no port; write [::1]:80"),
        ("10.0.0.1:http", "'http' is not a port"),
        ("10.0.0.1:", "'' is not a port"),
        ("10.0.0.1:²", "'²' is not a port"),
        ("10.0.0.1:65536", "port 65536 is outside 1-65535"),
        ("10.0.0.1:" + "9" * 5000, "is outside 1-65535"),
        ("10.0.0.256:80", "'10.0.0.256' is not an IP address"),
        ("localhost:80", "'localhost' is a name; write 127.0.0.1 or [::1]"),
        ("web01.example.com:80", "names are not looked up here"),
        ("http://10.0.0.1:80/", "is a URL; write only its host and port"),
        ("[::1:80", "is not an address; write [::1]:80"),
        ("[::1]80", "is not an address; write [::1]:80"),
        ("[]:80", "'[]:80' is not an IP address"),
        ("[::ffff:10.0.0.1]:80", "is an IPv4 address in disguise; write 10.0.0.1"),
        ("[fe80::1%e th]:80", "is not the name of a network interface"),
        ("unix:run/app.sock", "needs an absolute path"),
        ("unix:/run/\x1b[2J", "has a control character"),
        ("unix:/" + "x" * 107, "may have 107 bytes, this one has 108"),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(text, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("10.0.0.1:80", Address("10.0.0.1", 80)),
        ("::1", Address("::1", 3000)),
        ("unix:/run/app.sock", Address("", 0, "/run/app.sock")),
        ("app", DnsName("app", 3000)),
        ("localhost:80", DnsName("localhost", 80)),
        ("App-1.Example.COM:80", DnsName("app-1.example.com", 80)),
        ("_app._tcp.example.com.", DnsName("_app._tcp.example.com.", 3000)),
        ("1.2.3.x", DnsName("1.2.3.x", 3000)),
        ("xn--bcher-kva.example:80", DnsName("xn--bcher-kva.example", 80)),
        ("a" * 63 + ".test", DnsName("a" * 63 + ".test", 3000)),
        (".".join(["a" * 49] * 5) + ".tes.", DnsName(".".join(["a" * 49] * 5) + ".tes.", 3000)),
    ],
)
def test_a_server_may_be_given_by_its_name(text, server):
    assert parse_server(text, 3000) == server


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("app", "'app' has no port; write app:80"),
        ("app:", "'' is not a port"),
        ("app:0", "port 0 is outside 1-65535"),
        ("app:65536", "port 65536 is outside 1-65535"),
        ("10.0.0.999:80", "'10.0.0.999' is neither an IP address nor a DNS name"),
        ("app.1:80", "'app.1' is neither"),
        ("-app:80", "'-app' is neither"),
        ("app-:80", "'app-' is neither"),
        ("a..b:80", "'a..b' is neither"),
        ("a b:80", "'a b' is neither"),
        ("a@b:80", "'a@b' is neither"),
        ("*.test:80", "'*.test' is neither"),
        ("a" * 64 + ":80", "is neither"),
        (".".join(["a" * 50] * 5) + ":80", "is neither"),
        ("bücher.example:80", "'bücher.example' is not ASCII; write the xn-- form of the name"),
        ("http://app/", "'http://app/' is a URL"),
        ("[app]:80", "'app' is neither"),
        ("80", "'80' is only a number"),
        (":80", "':80' has no host"),
        ("", "an address is missing"),
    ],
)
def test_what_is_no_server_is_refused_with_a_sentence(text, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse_server(text)


@given(st.text())
def test_any_text_is_a_server_or_a_value_error(text):
    try:
        server = parse_server(text, 1)
    except ValueError:
        return
    assert parse_server(str(server)) == server


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_reads_as_it_is_written(ip, port):
    if getattr(ip, "ipv4_mapped", None):
        return
    address = Address(ip.compressed, port)
    assert parse_address(str(address)) == address
    assert address.is_v6 == (ip.version == 6)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text):
    try:
        address = parse_address(text, 1)
    except ValueError:
        return
    assert parse_address(str(address)) == address
