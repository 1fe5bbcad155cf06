"""Who counts as one source."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.shield.sources import NOBODY, key_of, network_of, source_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("255.255.255.255", "255.255.255.255/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("ffff:ffff:ffff:ffff::", "ffff:ffff:ffff:ffff::/64"),
    ],
)
def test_a_source_is_an_ipv4_address_or_an_ipv6_64(address: str, network: str) -> None:
    assert str(network_of(key_of(source_of(address)))) == network


@pytest.mark.parametrize("address", ["", "unknown", "unix:", "10.0.0.0/8"])
def test_what_has_no_address_is_nobody(address: str) -> None:
    assert source_of(address) == NOBODY
    assert key_of(NOBODY) == 0


@given(st.ip_addresses(), st.ip_addresses())
def test_sources_have_one_key_if_they_are_in_one_network(
    one: ipaddress.IPv4Address | ipaddress.IPv6Address, other: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    keys = [key_of(source_of(str(each))) for each in (one, other)]
    networks = [network_of(key) for key in keys]
    assert (keys[0] == keys[1]) == (networks[0] == networks[1])
    assert getattr(one, "ipv4_mapped", None) or one in networks[0]
