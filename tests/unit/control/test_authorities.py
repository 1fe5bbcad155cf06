"""Files of authorities of targets: what a config names, and that another content reaches whoever goes by it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlb.control import authorities, config_file
from nlb.control.authorities import Authorities, in_config, with_contents
from nlb.control.content_watch import AUTHORITIES, EVERY, ContentWatch
from nlb.model.config import Config
from tests.authority import Authority
from tests.fakes import HandLoop
from tests.unit.control.stepped import FakeEvents

LISTENER = '[[listener]]\nbind = "127.0.0.1:80"\ntarget_group = "web"\n'


def group(keys: str, name: str = "web") -> str:
    return f'[[target_group]]\nname = "{name}"\nprotocol = "tls"\ntargets = ["10.0.0.1:443"]\n{keys}\n'


def config_of(folder: Path, *groups: str) -> Config:
    path = folder / "nlb.toml"
    path.write_text(LISTENER + "".join(groups))
    return config_file.read(path)


class Loop(HandLoop):
    def post(self, action: Callable[[], None], owner: Any) -> None:
        action()


class Watched:
    """One group that goes by a file, one by what it was given, and one whose probes alone read a file."""

    def __init__(self, folder: Path) -> None:
        self.file, self.checks = folder / "ca.pem", folder / "checks.pem"
        for file in (self.file, self.checks):
            file.write_text(Authority().pem)
        self.loop, self.events = Loop(), FakeEvents()
        self.config = config_of(
            folder,
            group(f'target_tls = {{ ca = "{self.file}" }}'),
            group("", "plain"),
            group(f'health_check = {{ protocol = "https", tls_ca = "{self.checks}" }}', "checked"),
        )
        self.recomposed = 0
        ContentWatch(self.loop, lambda: self.config, self._recompose, self.events, AUTHORITIES).start()  # type: ignore[arg-type]

    def _recompose(self, config: Config, done: Any) -> None:
        self.recomposed += 1
        self.config = config
        done({"steps": ["changed"]})

    def look(self, times: int = 2) -> list[str]:
        for _ in range(times):
            self.loop.pass_time(EVERY)
            for thread in threading.enumerate():
                if thread.name == "authorities":
                    thread.join()
        said, self.events.said = self.events.said, []
        return [text for _, _, text in said]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    watched = Watched(tmp_path)
    assert watched.look() == []
    return watched


def test_another_content_is_in_the_config_when_the_change_is_over(watched: Watched) -> None:
    new = Authority().pem
    watched.file.write_text(new)
    assert watched.look(1) == []
    assert watched.look(1) == ["changed"]
    assert [group.authorities for group in watched.config.groups] == [new, "", ""]
    assert (watched.look(5), watched.recomposed) == ([], 1)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda file: file.write_text("nonsense"), "holds no certificate that can be read; is the file damaged?"),
        (lambda file: file.unlink(), "is not there; write the absolute path of a file"),
    ],
    ids=["damaged", "gone"],
)
def test_a_bad_file_is_told_and_changes_nothing(watched: Watched, spoil: Callable[[Path], object], why: str) -> None:
    before = watched.config
    spoil(watched.file)
    assert watched.look() == [f"{watched.file} {why}; those that were read before, if any, are believed"]
    assert watched.look() == []
    assert watched.config is before
    new = Authority().pem
    watched.file.write_text(new)
    assert watched.look() == ["changed"]
    assert watched.config.groups[0].authorities == new


def test_a_file_for_probes_alone_is_told_of_when_it_is_bad(watched: Watched) -> None:
    """They read it themselves, so nothing else comes of a change."""
    watched.checks.write_text(Authority().pem)
    assert watched.look() == []
    watched.checks.write_text("nonsense")
    (said,) = watched.look()
    assert said.startswith(f"{watched.checks} holds no certificate")
    assert watched.recomposed == 0


def test_what_a_config_names(tmp_path: Path) -> None:
    pem = Authority().pem
    files = {name: tmp_path / f"{name}.pem" for name in ("one", "two", "off")}
    for file in files.values():
        file.write_text(pem)
    config = config_of(
        tmp_path,
        group(f'target_tls = {{ ca = "{files["one"]}" }}\nhealth_check = {{ protocol = "tls" }}'),
        group(f'health_check = {{ protocol = "tls", tls_ca = "{files["two"]}" }}', "api"),
        group("", "none"),
    )
    assert in_config(config) == {str(files["one"]): Authorities(pem), str(files["two"]): Authorities("")}
    assert with_contents(config, {str(files["two"]): Authorities("x"), "/other": Authorities("x")}) is config
    changed = with_contents(config, {str(files["one"]): Authorities("x")})
    assert [group.authorities for group in changed.groups] == ["x", "", ""]
    assert [group.authorities for group in config.groups] == [pem, "", ""]


def test_what_is_in_files(tmp_path: Path) -> None:
    pem = Authority().pem
    (tmp_path / "good.pem").write_text("with words between\n" + pem)
    found = authorities.read([f"{tmp_path}/good.pem", f"{tmp_path}/none.pem"])
    assert list(found.values()) == [Authorities(pem), "is not there; write the absolute path of a file"]
