"""A client's certificate in words that can stand in a header."""

from __future__ import annotations

import re
import string

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from nlb.net.peer_certificate import distinguished_name


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([[("commonName", "alice")]], "CN=alice"),
        (
            [[("countryName", "DE")], [("organizationName", "Shop & Co")], [("commonName", "a")]],
            "CN=a,O=Shop & Co,C=DE",
        ),
        ([[("domainComponent", "example")], [("domainComponent", "shop")]], "DC=shop,DC=example"),
        ([[("userId", "u1"), ("commonName", "a")]], "UID=u1+CN=a"),
        ([[("emailAddress", "a@b.example")]], "emailAddress=a@b.example"),
        ([[("commonName", 'a,b+c"d\\e<f>g;h')]], 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h'),
        ([[("commonName", " a b ")]], "CN=\\ a b\\ "),
        ([[("commonName", " ")]], "CN=\\ "),
        ([[("commonName", "#1")]], "CN=\\#1"),
        ([[("commonName", "a#1")]], "CN=a#1"),
        ([[("commonName", "zoë")]], "CN=zo\\C3\\AB"),
        ([[("commonName", "a\r\nX-Admin: 1\0")]], "CN=a\\0D\\0AX-Admin: 1\\00"),
        ([[("commonName", "")]], "CN="),
        ([], ""),
    ],
)
def test_names_of_rfc_4514(parts: list[list[tuple[str, str]]], text: str) -> None:
    assert distinguished_name(tuple(map(tuple, parts))) == text


@settings(deadline=None)
@given(st.text(max_size=20))
def test_nothing_but_printable_ascii_and_no_part_more(value: str) -> None:
    text = distinguished_name(((("commonName", value),),))
    assert set(text) <= set(string.printable) - set("\t\n\r\x0b\x0c")
    assert re.fullmatch(r"CN=(?:\\.|[^,+\\])*", text)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_others_read_what_was_meant(value: str) -> None:
    text = distinguished_name(((("commonName", value),),))
    (part,) = x509.Name.from_rfc4514_string(text).get_attributes_for_oid(NameOID.COMMON_NAME)
    assert part.value == value
