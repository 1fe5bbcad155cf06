"""Each distinct list of networks is packed once, and kept as long as some shield has it."""

from __future__ import annotations

import os

import pytest

from nlb.control.packed_lists import Listed, PackedLists
from nlb.model.shield import Shield
from nlb.net.channel import mapped
from nlb.shield.cidr import Networks
from tests.networks import content


def shield(contents=None, **keys):
    made = Shield.model_validate(keys)
    return made.with_lists(contents) if contents else made


def networks(listed: Listed | None) -> Networks:
    assert listed is not None
    return Networks.unpacked(mapped(os.dup(listed.fd)))


MANY = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(6000)]
FILE = {"/deny": content(*MANY)}


def test_nothing_is_no_list():
    lists = PackedLists()
    assert (lists.deny(shield()), lists.allow(shield())) == (None, None)


def test_networks_and_files_are_one_list_however_long():
    lists = PackedLists()
    both = shield(FILE, deny=["192.0.2.0/24", "2001:db8::/32", {"file": "/deny"}])
    assert len(list(lists.prepare(both))) == 1, "files come packed"
    listed = lists.deny(both)
    assert list(lists.prepare(both)) == []
    found = networks(listed)
    assert len(found) == 6002
    assert all(address in found for address in ("192.0.2.9", "2001:db8::1", "10.0.0.1", "10.23.111.9"))
    assert "10.23.112.0" not in found
    assert found.find("10.0.0.1") == "10.0.0.0/24"


def test_many_that_the_config_itself_has_are_packed_in_steps():
    lists = PackedLists()
    written = shield(deny=MANY)
    assert len(list(lists.prepare(written))) == 3
    assert list(lists.prepare(written)) == []
    assert (
        networks(lists.deny(written)).packed()
        == networks(PackedLists().deny(shield(FILE, deny={"file": "/deny"}))).packed()
    )


def test_the_same_networks_are_the_same_list():
    lists = PackedLists()
    one = lists.deny(shield(deny=["192.0.2.0/24"]))
    assert lists.allow(shield(allow=["192.0.2.0/24"])) is one
    other = lists.deny(shield({"/a": content("192.0.2.1/32", "192.0.3.0/24")}, deny={"file": "/a"}))
    assert lists.deny(shield({"/b": content("192.0.3.0/24", "192.0.2.1/32")}, deny={"file": "/b"})) is other
    assert lists.deny(shield({"/a": content("192.0.3.0/24")}, deny={"file": "/a"})) not in (one, other)


def test_a_list_that_nobody_has_is_let_go():
    lists = PackedLists()
    kept, gone = shield(deny=["192.0.2.0/24"]), shield({"/a": content("192.0.3.0/24")}, allow={"file": "/a"})
    one, other = lists.deny(kept), lists.allow(gone)
    lists.keep([kept])
    assert lists.deny(kept) is one
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(other.fd)
    again = lists.allow(gone)
    assert again.number != other.number


def test_an_empty_file_allows_nobody():
    lists = PackedLists()
    assert os.fstat(lists.allow(shield({"/a": content()}, allow={"file": "/a"})).fd).st_size == 0
