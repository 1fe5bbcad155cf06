"""Certificates that are renewed while nlb runs: when files are read, what workers are told, what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from nlb.control import config_file
from nlb.control.listening import OpenListener
from nlb.control.renewal import AGAIN, EVERY, Renewal
from tests.names import PostedTo
from tests.pairs import Pairs
from tests.pairs import certificates as listed

GROUP = '[[target_group]]\nname = "web"\nprotocol = "http"\ntargets = ["10.0.0.1:80"]\n'


@dataclass
class Told:
    """What events there were."""

    lines: list[str] = field(default_factory=list)

    def say(self, level: str, kind: str, text: str, **facts: str) -> None:
        self.lines.append(f"{level} {text}")

    def bug(self, error: Exception, where: str) -> None:
        raise error

    def new(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


class Stage:
    """Listeners that show certificates of one folder, and whoever renews them."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.loop = PostedTo()
        self.events = Told()
        self.certified: list[str] = []
        self.later = 0.0  # seconds that the clock of the wall is ahead
        self.listeners: dict[str, OpenListener] = {}
        self.renewal = Renewal(
            self.loop,  # type: ignore[arg-type]
            SimpleNamespace(listeners=self.listeners),  # type: ignore[arg-type]
            lambda opened: self.certified.append(opened.name),
            self.events,  # type: ignore[arg-type]
            lambda: time() + self.later,
        )

    def load(self, **keys: str) -> None:
        """A config that is read at the start, or by a reload."""
        path = self.pairs.folder / "nlb.toml"
        tables = [
            f'[[listener]]\nname = "{name}"\nbind = "127.0.0.1:{number}"\nprotocol = "https"\n{said}\n'
            for number, (name, said) in enumerate(keys.items(), 1)
        ]
        path.write_text("".join(tables) + GROUP)
        for number, settings in enumerate(config_file.read(path).listeners):
            opened = self.listeners.setdefault(settings.name, OpenListener(number, settings, {}))
            opened.settings = settings
            opened.show(settings.identity)

    def look(self, times: int = 1) -> list[str]:
        """So many looks; what was said of them."""
        for _ in range(times):
            self.loop.pass_time(EVERY)
            self.loop.hear()
        return [line.replace(f"{self.pairs.folder}/", "") for line in self.events.new()]

    def shown(self, listener: str = "a") -> Any:
        return self.listeners[listener].identity


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(Pairs(tmp_path))


@pytest.fixture
def started(stage: Stage) -> Stage:
    stage.load(a=listed(stage.pairs.write("a", "a.test", days=90)))
    stage.renewal.start()
    return stage


def test_while_nothing_changes_nothing_is_said_or_done(started: Stage) -> None:
    before = started.shown()
    assert started.look(5) == []
    assert started.shown() is before
    assert started.certified == []


def test_a_renewed_pair_is_read_a_look_after_it_was_seen(started: Stage) -> None:
    before = started.shown().fingerprints
    started.pairs.write("a", "a.test", "b.test", days=200)
    assert started.look() == []
    (said,) = started.look()
    assert said.startswith("info listener a: new certificate for a.test, b.test, valid until 20")
    assert said.endswith(", from a.pem")
    assert started.certified == ["a"]
    assert started.shown().fingerprints.isdisjoint(before)
    assert started.look(3) == []


def test_a_certificate_whose_key_comes_a_look_later_is_not_read_before(started: Stage) -> None:
    issued = started.pairs.authority.issue_cert("a.test")
    old_key = (started.pairs.folder / "a.key").read_bytes()
    started.pairs.put("a", issued)
    new_key = (started.pairs.folder / "a.key").read_bytes()
    (started.pairs.folder / "a.key").write_bytes(old_key)
    assert started.look() == []
    (started.pairs.folder / "a.key").write_bytes(new_key)
    assert started.look() == []
    assert started.look()[0].startswith("info listener a: new certificate")


def test_a_bad_pair_is_said_once_and_leaves_the_old_one(started: Stage) -> None:
    before = started.shown().fingerprints
    issue = started.pairs.authority.issue_cert
    started.pairs.put("a", issue("a.test"), key=issue("a.test"))
    (said,) = started.look(5)
    assert said.startswith(
        "error listener a: bad certificate a.pem: the key in a.key is not this certificate's; "
        "the old one goes on, valid until 20"
    )
    assert started.certified == []
    assert started.shown().fingerprints == before
    started.pairs.write("a", "a.test", days=200)
    assert started.look(2)[0].startswith("info listener a: new certificate")


def test_authorities_of_clients_are_renewed_likewise(stage: Stage) -> None:
    keys = listed(stage.pairs.write("a", "a.test", days=90))
    stage.load(a=f'{keys}\ntls = {{ client_ca = "{stage.pairs.ca}" }}')
    stage.renewal.start()
    before = stage.shown().client_ca
    stage.pairs.ca.write_text("nonsense")
    (said,) = stage.look(4)
    assert said == (
        "error listener a: ca.pem holds no certificate that can be read; is the file damaged?; "
        "those that were there before are believed"
    )
    assert (stage.shown().client_ca, stage.certified) == (before, [])
    other = trustme.CA().cert_pem.bytes().decode()
    stage.pairs.ca.write_text(other)
    assert stage.look(2) == ["info listener a: other authorities of clients are believed, from ca.pem"]
    assert (stage.shown().client_ca, stage.certified) == (other, ["a"])


def test_one_file_of_two_listeners_is_said_once(stage: Stage) -> None:
    keys = listed(stage.pairs.write("a", "a.test", days=90))
    stage.load(a=keys, b=keys)
    stage.renewal.start()
    stage.pairs.write("a", "a.test", days=200)
    (said,) = stage.look(2)
    assert said.startswith("info listeners a, b: new certificate for a.test")
    assert stage.certified == ["a", "b"]


def folder_of(stage: Stage) -> tuple[Pairs, str]:
    folder = stage.pairs.folder / "certs"
    folder.mkdir()
    inner = Pairs(folder)
    inner.ca.unlink()
    return inner, f'certificates = [{{ directory = "{folder}" }}]'


def test_what_is_put_into_a_folder_and_taken_out_is_noticed(stage: Stage) -> None:
    inner, keys = folder_of(stage)
    inner.write("a", "a.test", days=90)
    stage.load(a=keys)
    stage.renewal.start()
    inner.write("b", "b.test", days=90)
    assert [line.partition(",")[0] for line in stage.look(2)] == ["info listener a: new certificate for b.test"]
    for name in ("b.pem", "b.key"):
        (inner.folder / name).unlink()
    said = "info listener a: the certificate for b.test is no longer shown: certs/b.pem is not there"
    assert stage.look(2) == [said]
    assert stage.certified == ["a", "a"]


def test_a_renewal_as_certbot_makes_it_is_noticed(stage: Stage) -> None:
    folder = stage.pairs.folder / "live" / "a.test"
    folder.mkdir(parents=True)

    def issue(days: float) -> None:
        inner = Pairs(folder)
        inner.write("fullchain", "a.test", days=days)
        (folder / "fullchain.key").rename(folder / "privkey.pem")

    issue(90)
    stage.load(a=f'certificates = [{{ directory = "{stage.pairs.folder}/live" }}]')
    stage.renewal.start()
    issue(200)
    (said,) = stage.look(2)
    assert said.startswith("info listener a: new certificate for a.test")
    assert said.endswith("from live/a.test/fullchain.pem")
    assert stage.certified == ["a"]


def test_an_empty_folder_takes_nothing_away(stage: Stage) -> None:
    inner, keys = folder_of(stage)
    inner.write("a", "a.test", days=90)
    stage.load(a=keys)
    stage.renewal.start()
    for name in ("a.pem", "a.key"):
        (inner.folder / name).unlink()
    stage.look(3)
    assert [one.names for one in stage.shown().certificates] == [("a.test",)]
    assert stage.certified == []


def test_a_reload_that_reads_a_renewed_pair_first_is_told_of_likewise(started: Stage) -> None:
    started.pairs.write("a", "a.test", days=200)
    started.load(a=listed(f"{started.pairs.folder}/a"))
    assert started.look()[0].startswith("info listener a: new certificate for a.test")
    assert started.look(3) == []


def test_a_reload_in_the_middle_of_reading_wins(started: Stage) -> None:
    started.pairs.write("a", "a.test", days=200)
    started.look()
    started.loop.pass_time(EVERY)  # now it is read
    started.pairs.write("a", "a.test", days=300)
    started.load(a=listed(f"{started.pairs.folder}/a"))
    after = started.shown()
    started.loop.hear()
    assert started.shown() is after


@pytest.mark.parametrize(
    ("begins", "days", "said"),
    [(-1, 20.5, "warning listener a: certificate a.pem: it ends on 20"), (1, 90, "warning listener a: certificate")],
    ids=["soon over", "not yet"],
)
def test_at_the_start_time_is_warned_of(stage: Stage, begins: float, days: float, said: str) -> None:
    stage.load(a=listed(stage.pairs.write("a", "a.test", begins=begins, days=days)))
    stage.renewal.start()
    (line,) = stage.look()
    assert line.startswith(said)
    assert stage.look(5) == []


@pytest.mark.parametrize(("days", "said"), [(20.5, "warning listener a: certificate"), (0.01, "it ended on 20")])
def test_what_ends_soon_is_warned_of_every_day(stage: Stage, days: float, said: str) -> None:
    stage.load(a=listed(stage.pairs.write("a", "a.test", days=days)))
    if days < 1:
        stage.later = 3600.0
    stage.renewal.start()
    for _ in range(47):
        stage.later += 3600.0
        stage.renewal.review()
    lines = stage.events.new()
    assert len(lines) in (2, 3)
    assert all(said in line for line in lines)


def test_after_an_hour_all_is_read_again(started: Stage) -> None:
    before = started.shown()
    for _ in range(int(AGAIN / EVERY) + 2):
        started.look()
    assert started.shown() is not before
    assert started.certified == []


def test_a_listener_that_is_gone_is_forgotten(started: Stage) -> None:
    started.pairs.write("a", "a.test", days=200)
    started.look()
    started.loop.pass_time(EVERY)
    started.listeners.clear()
    started.loop.hear()
    assert started.certified == []


def test_keys_are_in_no_event(stage: Stage) -> None:
    stage.load(a=listed(stage.pairs.write("a", "a.test", days=20)))
    stage.renewal.start()
    keys = [*stage.pairs.secrets()]
    said = stage.look()
    stage.pairs.write("a", "a.test", days=20)
    keys += stage.pairs.secrets()
    said += stage.look(3)
    issue = stage.pairs.authority.issue_cert
    stage.pairs.put("a", issue("a.test"), key=issue("a.test"))
    keys += stage.pairs.secrets()
    said += stage.look(3)
    assert len(said) >= 3
    assert not any(key in line for key in keys for line in said)
