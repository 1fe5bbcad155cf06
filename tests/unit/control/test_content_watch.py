"""Files of networks: a change is read when it is over, put into the running config, and a bad one changes nothing."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from nlb.control import lists
from nlb.control.content_watch import EVERY, LISTS, ContentWatch
from nlb.control.lists import Contents, in_config, with_contents
from nlb.errors import AdminError, NlbError
from nlb.model.parse import parse
from tests.fakes import HandLoop
from tests.networks import content
from tests.unit.control.stepped import FakeEvents

CONFIG = """
[shield]
deny = {{ file = "{path}" }}
[[listener]]
bind = "127.0.0.1:80"
[[target_group]]
name = "web"
targets = ["10.0.0.1:80"]
"""


class Loop(HandLoop):
    def post(self, action, owner):
        action()


class Watched:
    def __init__(self, path):
        self.path = str(path)
        self.loop, self.events = Loop(), FakeEvents()
        config = parse(CONFIG.format(path=path), "nlb.toml")
        found = lists.Lists()
        assert list(found.mistakes(("shield",), config.shield)) == []
        shield = found.into(config.shield)
        listeners = tuple(each.with_shield(found.into(each.shield)) for each in config.listeners)
        self.config = config.model_copy(update={"shield": shield, "listeners": listeners})
        self.reads = 0
        self.is_busy = False
        self.watch(self.read)

    def watch(self, read):
        kind = replace(LISTS, read=read)
        ContentWatch(self.loop, lambda: self.config, self.recompose, self.events, kind).start()

    def read(self, paths: list[str]) -> Contents:
        self.reads += 1
        return lists.read_aside(paths)

    def recompose(self, config, done):
        if self.is_busy:
            raise AdminError("busy")
        self.config = config
        done({"steps": ["changed"]})

    def look(self, times=1):
        for _ in range(times):
            self.loop.pass_time(EVERY)
            for thread in threading.enumerate():
                if thread.name == "lists":
                    thread.join()

    @property
    def denied(self):
        (listener,) = self.config.listeners
        assert listener.shield.denied == self.config.shield.denied
        (found,) = listener.shield.denied.files
        return found

    @property
    def said(self):
        return [text for _, _, text in self.events.said]


@pytest.fixture
def deny(tmp_path):
    path = tmp_path / "deny.txt"
    path.write_text("192.0.2.0/24\n")
    return path


def test_a_file_that_stays_as_it_is_is_read_once(deny):
    watched = Watched(deny)
    watched.look(4)
    assert (watched.reads, watched.said, watched.denied) == (1, [], content("192.0.2.0/24"))


def test_a_change_is_taken_in_when_it_is_over(deny):
    watched = Watched(deny)
    watched.look(2)
    deny.write_text("192.0.2.0/24\n198.51.100.7\n")
    watched.look()
    assert watched.denied == content("192.0.2.0/24")
    watched.look()
    assert watched.denied == content("192.0.2.0/24", "198.51.100.7/32")
    assert watched.said == ["changed"]
    watched.look(3)
    assert watched.reads == 2


def test_a_change_between_the_start_and_the_first_look_is_not_missed(deny):
    watched = Watched(deny)
    deny.write_text("198.51.100.7\n")
    watched.look(2)
    assert watched.denied == content("198.51.100.7/32")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: path.write_text("192.0.2.0/24\nnonsense\n"), "line 2: 'nonsense' is not a network"),
        (lambda path: path.unlink(), "is not there"),
    ],
)
def test_a_bad_file_is_told_once_and_changes_nothing(deny, spoil, complaint):
    watched = Watched(deny)
    watched.look(2)
    spoil(deny)
    watched.look(4)
    assert watched.denied == content("192.0.2.0/24")
    (text,) = watched.said
    assert complaint in text
    assert text.endswith("; the list that was read before goes on")
    deny.write_text("198.51.100.7\n")
    watched.look(2)
    assert watched.denied == content("198.51.100.7/32")


def test_while_something_else_is_under_way_it_waits(deny):
    watched = Watched(deny)
    watched.look(2)
    watched.is_busy = True
    deny.write_text("198.51.100.7\n")
    watched.look(3)
    assert watched.denied == content("192.0.2.0/24")
    watched.is_busy = False
    watched.look()
    assert watched.denied == content("198.51.100.7/32")


def test_a_process_that_cannot_read_is_told(deny, monkeypatch):
    watched = Watched(deny)

    def fails(paths):
        raise NlbError("files of networks could not be read: why")

    watched.watch(fails)
    watched.look(2)
    assert any("could not be read" in text for text in watched.said)


def test_files_that_no_shield_names_change_nothing(deny):
    config = Watched(deny).config
    assert with_contents(config, {"/other": content("10.0.0.0/8")}) == config
    assert in_config(config) == {str(deny): content("192.0.2.0/24")}
