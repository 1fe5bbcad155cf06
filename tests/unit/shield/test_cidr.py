"""Which addresses are in a set of networks, and what is said of a network that is written wrong."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nlb.shield.cidr import Networks, canonical, find, numbered, parse

OFFICE = Networks(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "10.1.0.0/16", "::ffff:198.51.100.0/120"])


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.0", "10.0.0.0/8"),
        ("10.255.255.255", "10.0.0.0/8"),
        ("11.0.0.0", None),
        ("9.255.255.255", None),
        ("10.1.2.3", "10.1.0.0/16"),  # the most specific of two
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.8", None),
        ("2001:db8::1", "2001:db8::/32"),
        ("2001:0DB8:0:0::1", "2001:db8::/32"),
        ("2001:db9::1", None),
        ("::ffff:10.2.3.4", "10.0.0.0/8"),  # what a v6 socket says of a v4 client
        ("::ffff:0a02:0304", "10.0.0.0/8"),
        ("198.51.100.9", "198.51.100.0/24"),
        ("2001:db8::1%eth0", "2001:db8::/32"),
        # The same 32 bits, of the other kind.
        ("::a00:1", None),
        ("::10.0.0.1", None),
        ("32.1.13.184", None),
        # No addresses.
        ("", None),
        ("unknown", None),
        ("unix:", None),
        ("10.0.0.0/8", None),
        ("10.0.0", None),
        ("10.0.0.1 ", None),
        ("010.0.0.1", None),
        ("10.0.0.\u0661", None),
        ("10.0.0.1\n", None),
        ("[2001:db8::1]", None),
    ],
)
def test_an_address_is_in_the_most_specific_network_that_has_it(address: str, network: str | None) -> None:
    assert OFFICE.find(address) == network
    assert (address in OFFICE) is (network is not None)
    assert OFFICE.has(*numbered(address)) is (network is not None)
    assert Networks.unpacked(OFFICE.packed()).find(address) == network
    assert find(OFFICE.parts(), address) == network


def test_a_set_knows_how_many_networks_it_has() -> None:
    assert len(OFFICE) == 5
    assert OFFICE
    assert len(Networks(["10.0.0.0/8", "10.0.0.0/8", "::ffff:10.0.0.0/104"])) == 1
    assert not Networks([])
    assert len(Networks([])) == 0
    assert "10.0.0.1" not in Networks([])


@pytest.mark.parametrize(
    ("everything", "inside", "outside"),
    [("0.0.0.0/0", "203.0.113.1", "2001:db8::1"), ("::/0", "2001:db8::1", "203.0.113.1"), ("::/0", "::", "0.0.0.0")],
)
def test_everything_of_one_version_is_nothing_of_the_other(everything: str, inside: str, outside: str) -> None:
    assert Networks([everything]).find(inside) == everything
    assert outside not in Networks([everything])


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("10.0.0.0/08", "10.0.0.0/8"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::/0", "::/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
    ],
)
def test_a_network_has_one_spelling(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("10.0.0.1/8", "10.0.0.1/8 has host bits; write 10.0.0.0/8"),
        ("2001:db8::1/32", "2001:db8::1/32 has host bits; write 2001:db8::/32"),
        ("::ffff:10.0.0.1/104", "::ffff:10.0.0.1/104 has host bits; write 10.0.0.0/8"),
        ("10.0.0.0/33", "'10.0.0.0/33' has the prefix length '33'; that of IPv4 is 0 to 32"),
        ("10.0.0.0/", "'10.0.0.0/' has the prefix length ''; that of IPv4 is 0 to 32"),
        ("10.0.0.0/-1", "'10.0.0.0/-1' has the prefix length '-1'; that of IPv4 is 0 to 32"),
        ("10.0.0.0/8/8", "'10.0.0.0/8/8' has the prefix length '8/8'; that of IPv4 is 0 to 32"),
        ("10.0.0.0/\u0668", "'10.0.0.0/\u0668' has the prefix length '\u0668'; that of IPv4 is 0 to 32"),
        ("2001:db8::/129", "'2001:db8::/129' has the prefix length '129'; that of IPv6 is 0 to 128"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/255.0.0.0 has a netmask; write 10.0.0.0/8"),
        ("10.0.0.0/255.0.255.0", "'10.0.0.0/255.0.255.0' has the prefix length '255.0.255.0'; that of IPv4 is 0 to 32"),
        ("10/8", "'10/8' is not a whole address; write all four numbers, such as 10.0.0.0/8"),
        ("[2001:db8::]/32", "'[2001:db8::]/32' has brackets; write 2001:db8::/32"),
        ("fe80::%eth0/64", "'fe80::%eth0/64' names a network interface; write fe80::/64"),
        ("", "a network is missing; write 10.0.0.0/8, 2001:db8::/32 or a single address"),
        ("/8", "a network is missing; write 10.0.0.0/8, 2001:db8::/32 or a single address"),
        ("office", "'office' is not a network; write 10.0.0.0/8, 2001:db8::/32 or a single address"),
        (" 10.0.0.0/8", "' 10.0.0.0/8' is not a network; write 10.0.0.0/8, 2001:db8::/32 or a single address"),
        ("010.0.0.0/8", "'010.0.0.0/8' is not a network; write 10.0.0.0/8, 2001:db8::/32 or a single address"),
    ],
)
def test_a_network_written_wrong_is_told_what_would_be_right(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence) + r"\Z"):
        parse(text)
    with pytest.raises(ValueError, match=re.escape(sentence) + r"\Z"):
        Networks(["10.0.0.0/8", text])


@pytest.mark.parametrize(
    ("address", "spelling"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::01", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("::192.0.2.1", "::c000:201"),
        ("fe80::1%eth0", ""),
        ("192.0.2.0/24", ""),
        ("::/0", ""),
        ("192.0.2.01", ""),
        ("192.0.2", ""),
        ("c0000201", ""),
        ("", ""),
    ],
)
def test_an_address_has_one_spelling(address: str, spelling: str) -> None:
    assert canonical(address) == spelling


@pytest.mark.parametrize(
    ("address", "version", "number"),
    [
        ("192.0.2.1", 4, 0xC0000201),
        ("255.255.255.255", 4, 0xFFFFFFFF),
        ("::ffff:192.0.2.1", 4, 0xC0000201),
        ("::1", 6, 1),
        ("fe80::1%eth0", 6, 0xFE80 << 112 | 1),
        ("192.0.2.0/24", 0, 0),
        ("unknown", 0, 0),
        ("", 0, 0),
    ],
)
def test_an_address_is_a_number(address: str, version: int, number: int) -> None:
    assert numbered(address) == (version, number)


@st.composite
def networks(draw: st.DrawFn) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Few distinct leading bits, so that networks and addresses meet."""
    version = draw(st.sampled_from([4, 6]))
    bits = 32 if version == 4 else 128
    length = draw(st.integers(0, bits))
    number = draw(st.integers(0, 3)) << bits - 2 | draw(st.integers(0, 3))
    number = number >> bits - length << bits - length
    return ipaddress.IPv4Network((number, length)) if version == 4 else ipaddress.IPv6Network((number, length))


@given(st.lists(networks(), max_size=8), networks())
def test_a_set_agrees_with_ipaddress(
    held: list[ipaddress.IPv4Network | ipaddress.IPv6Network], other: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> None:
    found = Networks(map(str, held))
    again = Networks.unpacked(found.packed())
    assert (len(again), again.packed()) == (len(found), found.packed())
    for address in (other[0], other[-1]):
        asked = getattr(address, "ipv4_mapped", None) or address
        having = [network for network in held if asked.version == network.version and asked in network]
        most_specific = max(having, key=lambda network: network.prefixlen, default=None)
        assert found.find(str(address)) == (str(most_specific) if most_specific else None)
        assert again.find(str(address)) == find(found.parts(), str(address)) == found.find(str(address))


@given(st.text())
@example("0.0.0.0/00000000000000000000")
@example("1.2.3.4/032")
def test_any_text_is_a_network_or_a_mistake(text: str) -> None:
    assert text not in Networks([])
    try:
        network = parse(text)
    except ValueError:
        return
    assert Networks([text]).find(str(network[0])) == str(network)


def test_100_000_networks() -> None:
    many = Networks(f"{number >> 16}.{number >> 8 & 255}.{number & 255}.0/24" for number in range(100_000))
    assert len(many) == 100_000
    assert many.find("1.134.159.255") == "1.134.159.0/24"
    assert "1.134.160.0" not in many
