"""A controller whose world is played by hand: targets are unix sockets that are there or not, so that probes answer
at once; the plane is a list of what it was told; time passes when the test says so.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from nlb.control.controller import Controller
from nlb.control.registration import ManagedGroup, Registration
from nlb.model.parse import parse
from nlb.model.plan import plan
from nlb.net.loop import WRITE, Handler, Owner
from nlb.observe.counters import ACTIVE, Row, size
from tests.fakes import HandLoop, HandWatch


class Answer:
    """A connection that was made, or that is never answered."""

    def __init__(self, loop: SteppedLoop) -> None:
        self._loop = loop

    @property
    def mask(self) -> int:
        return 0 if self._loop.silent else WRITE


class SteppedLoop(HandLoop):
    """Every connection is there at once, unless all are `silent`."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = False

    def watch(self, fd: int, events: int, handler: Handler, owner: Owner) -> HandWatch:
        self._kernel[fd] = Answer(self)  # type: ignore[assignment]
        return super().watch(fd, events, handler, owner)


class Steady(Random):
    """No jitter: all targets are asked in step."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class FakeEvents:
    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []
        self.ring: list[Any] = []

    def say(self, level: str, kind: str, text: str, **facts: Any) -> None:
        self.said.append((level, kind, text))

    def bug(self, error: Exception, where: str) -> None:
        raise error

    def texts(self, kind: str) -> list[str]:
        return [text for _, about, text in self.said if about == kind]


class FakePlane:
    """Has one worker. `told` are the verbs that it got."""

    def __init__(self) -> None:
        self.rows = [Row(memoryview(bytearray(size(1))), 0)]
        self.up = True
        self.told: list[tuple[Any, ...]] = []

    def load(self, groups: list[ManagedGroup]) -> None:
        self.told.append(("load", [group.name for group in groups]))

    def unload(self, groups: list[ManagedGroup]) -> None:
        self.told.append(("unload", [group.name for group in groups]))

    def mark(self, targets: list[list[Any]], tables: list[tuple[int, bytes]]) -> None:
        self.told.append(("mark", targets, [number for number, _ in tables]))

    def reset(self, target: int, cause: str) -> None:
        self.told.append(("reset", target, cause))

    def sessions(
        self, done: Callable[[list[dict[str, Any]]], None], limit: int, target: int | None, listener: str | None
    ) -> None:
        self.told.append(("sessions", limit, target, listener))
        done([])

    def stop(self, timeout: float) -> None:
        self.told.append(("stop", timeout))

    def verbs(self, verb: str) -> list[tuple[Any, ...]]:
        return [told[1:] for told in self.told if told[0] == verb]


class Play:
    """Groups as `{name: [target, ...]}`; `keys` go into every group and `check` into its health check."""

    def __init__(self, folder: Path, groups: dict[str, list[str]], keys: str = "", check: str = "") -> None:
        self._folder = folder
        self._groups = groups
        self._listeners: dict[str, socket.socket] = {}
        self.loop = SteppedLoop()
        self.plane = FakePlane()
        self.events = FakeEvents()
        config = parse(self._text(keys, check), "test.toml")
        self.controller = Controller(self.loop, config, self.plane, self.events, Steady())  # type: ignore[arg-type]

    def _text(self, keys: str, check: str) -> str:
        text = ""
        for number, (group, names) in enumerate(self._groups.items()):
            targets = [f"{name}=unix:{self._path(group, name)}" for name in names]
            text += f'[[listener]]\nname = "{group}"\nbind = "127.0.0.1:{8000 + number}"\ntarget_group = "{group}"\n'
            text += f'[[target_group]]\nname = "{group}"\ntargets = {targets}\n{keys}\n'
            text += f"[target_group.health_check]\n{check}\n"
        return text

    def _path(self, group: str, name: str) -> Path:
        return self._folder / f"{group}-{name}"

    def reload(self, keys: str = "", check: str = "") -> None:
        """The file says these keys now."""
        config = parse(self._text(keys, check), "test.toml")
        planned = plan(self.controller.config, config)
        for steps in (self.controller.add_groups(planned), self.controller.remove_groups(planned)):
            for _ in steps:
                pass

    def up(self, *names: str, group: str = "web") -> None:
        """These targets listen."""
        for name in names:
            path = str(self._path(group, name))
            sock = self._listeners[path] = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            sock.listen(4096)

    def down(self, *names: str, group: str = "web") -> None:
        for name in names:
            path = self._path(group, name)
            self._listeners.pop(str(path)).close()
            path.unlink()

    def start(self, *up: str) -> None:
        """With these targets up, until the first verdicts are there."""
        self.up(*up)
        self.controller.start()
        self.pass_time(0.01)

    def pass_time(self, seconds: float) -> None:
        self.loop.pass_time(seconds)

    def outage(self, *names: str) -> None:
        """Down for as long as it takes to be found out, and up again."""
        self.down(*names)
        self.pass_time(3.5)  # up to an interval, and two fast ones
        self.up(*names)

    def of(self, name: str) -> Registration:
        return self.controller.find(name)

    def health(self, *names: str) -> list[str]:
        return [self.of(name).target.health.state for name in names]

    def reason(self, name: str) -> str:
        return self.of(name).target.health.reason

    def candidates(self, group: str = "web") -> list[str]:
        return [target.name for target in self.controller.groups[group].balance.candidates]

    def fails_open(self, group: str = "web") -> bool:
        return self.controller.groups[group].balance.fail_open

    def has_sessions(self, name: str, count: int) -> None:
        self.plane.rows[0].target(self.of(name).target.id)[ACTIVE] = count

    def marked(self, name: str) -> list[list[Any]]:
        """What the plane was told of a target: admin, health, resolve, weight; each time."""
        number = self.of(name).target.id
        return [facts[1:5] for targets, _ in self.plane.verbs("mark") for facts in targets if facts[0] == number]

    def close(self) -> None:
        self.controller.stop()
        self.loop.settle()
        for sock in self._listeners.values():
            sock.close()
