"""What workers are told of TLS: secrets of tickets, and certificates that are renewed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nlb.control import config_file
from nlb.control.listening import OpenListener
from nlb.control.supervisor import Supervisor
from nlb.model.config import Config
from nlb.net.tickets import ROTATION, SECRET_BYTES
from nlb.net.tls import ServerContext
from tests.fakes import HandLoop
from tests.pairs import Pairs
from tests.pairs import certificates as listed


class Heard:
    """A worker's end of the channel."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any], fds: Any = ()) -> None:
        self.messages.append(message)

    def new(self, verb: str) -> list[dict[str, Any]]:
        found = [message for message in self.messages if message["verb"] == verb]
        self.messages.clear()
        return found


class Stage:
    def __init__(self) -> None:
        self.loop = HandLoop()
        self.loop.stop = lambda: None  # type: ignore[attr-defined]
        everything: Any = SimpleNamespace(listeners={})
        self.supervisor = Supervisor(
            self.loop,  # type: ignore[arg-type]
            Config.model_construct(log=None),
            1,
            1000,
            everything,
            everything,
            everything,
            None,
            b"key",
        )
        self.worker = Heard()
        self.supervisor.workers[0].channel = self.worker  # type: ignore[assignment]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_another_secret_is_told_after_a_day_and_never_the_same(stage: Stage) -> None:
    secrets = []
    for _ in range(3):
        stage.loop.pass_time(ROTATION)
        (told,) = stage.worker.new("tickets")
        secrets.append(told["secret"])
        assert len(bytes.fromhex(told["secret"])) == SECRET_BYTES
    assert len(set(secrets)) == 3


def test_renewed_certificates_are_told_with_all_that_a_context_needs(stage: Stage, tmp_path: Path) -> None:
    pairs = Pairs(tmp_path)
    path = tmp_path / "nlb.toml"
    head = f'[[listener]]\nbind = "127.0.0.1:443"\nprotocol = "https"\n{listed(pairs.write("a", "a.test"))}\n'
    path.write_text(f'{head}[[target_group]]\nname = "web"\nprotocol = "http"\n')
    settings = config_file.read(path).listeners[0]
    opened = OpenListener(7, settings, {})
    assert opened.show(settings.identity)
    stage.supervisor.certify(opened)
    (told,) = stage.worker.new("certificates")
    assert (told["listener"], told["tls"]["certificates"][0]["names"]) == (7, ["a.test"])
    ServerContext(told["tls"])
    assert not opened.show(settings.identity)  # what was shown already is no news
