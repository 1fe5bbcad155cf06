"""Files of networks: they are read once, and what is wrong with them is told at the keys that name them."""

from __future__ import annotations

import os

import pytest

from nlb.control import lists
from nlb.control.lists import Lists
from nlb.model.shield import Shield
from tests.networks import content, listing


@pytest.fixture
def deny(tmp_path):
    path = tmp_path / "deny.txt"
    path.write_text("192.0.2.0/24 # a scanner\n")
    return path


def told(shield, where=("shield",)):
    return [(wrong.path, wrong.message) for wrong in Lists().mistakes(where, shield)]


def test_the_networks_of_a_file_go_along(deny):
    shield = Shield.model_validate({"deny": ["10.0.0.0/8", {"file": str(deny)}], "allow": {"file": str(deny)}})
    found = Lists()
    assert list(found.mistakes(("shield",), shield)) == []
    deny.write_text("not read again")
    assert list(found.mistakes(("listener", 0, "shield"), shield)) == []
    full = found.into(shield)
    assert full.denied == listing("10.0.0.0/8", files=(content("192.0.2.0/24"),))
    assert full.allowed == listing(files=(content("192.0.2.0/24"),))


def test_a_shield_without_files_stays_the_same_object():
    shield = Shield.model_validate({"deny": "10.0.0.0/8"})
    assert Lists().into(shield) is shield


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda path: None, "is not there; write the absolute path of a file"),
        (lambda path: path.mkdir(), "is not a file; write the absolute path of one"),
        (os.mkfifo, "is not a file; write the absolute path of one"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b"192.0.2.1\n\xff\n"), "has a byte at 10 that is not UTF-8"),
        (lambda path: path.write_text("192.0.2.1\nexample.com\n"), "line 2: 'example.com' is not a network"),
        (lambda path: path.touch() or os.truncate(path, 1 << 30), "is larger than 32768 KiB; is this the right file?"),
    ],
    ids=["missing", "a folder", "a pipe", "a circle", "not UTF-8", "no network", "too large"],
)
def test_a_list_that_cannot_be_read_is_a_mistake_where_it_is_named(tmp_path, make, complaint):
    path = tmp_path / "deny.txt"
    make(path)
    shield = Shield.model_validate({"deny": ["10.0.0.0/8", {"file": str(path)}], "allow": {"file": str(path)}})
    (deny, first), (allow, second) = told(shield)
    assert (deny, allow) == (("shield", "deny", 1, "file"), ("shield", "allow", 0, "file"))
    assert first == second
    assert first.startswith(f"{path} {complaint}")


def test_what_a_listener_has_from_all_is_told_of_once():
    base = Shield.model_validate({"deny": {"file": "/absent"}})
    held = Shield.model_validate({"allow": {"file": "/absent"}}).over(base)
    where = ("listener", 0, "shield")
    assert [path for path, _ in told(held, where)] == [(*where, "allow", 0, "file")]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every file")
def test_a_list_that_may_not_be_read_is_told(deny):
    deny.chmod(0)
    with pytest.raises(ValueError, match="may not be read by this user"):
        lists.read(str(deny))
