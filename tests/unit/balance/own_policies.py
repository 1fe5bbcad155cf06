"""Policies as an operator might write them: good ones, and every kind of bad one."""

from __future__ import annotations

from typing import Any, NoReturn

NUMBER = 7


class First:
    """The first in the list."""

    def build(self, candidates: Any) -> None:
        self.candidates = candidates

    def choose(self, key: bytes, tried: Any) -> Any:
        return next((target for target in self.candidates if target not in tried), None)


class Last(First):
    def build(self, candidates: Any) -> None:
        self.candidates = candidates[::-1]


class Keyed(First):
    """By the last byte of its key."""

    needs_key = True

    def choose(self, key: bytes, tried: Any) -> Any:
        left = [target for target in self.candidates if target not in tried]
        return left[key[-1] % len(left)] if key and left else super().choose(key, tried)


class Quiet(First):
    """To whoever has the fewest sessions."""

    def choose(self, key: bytes, tried: Any) -> Any:
        left = [target for target in self.candidates if target not in tried]
        return min(left, key=lambda target: target.sessions, default=None)


class Says:
    """Answers whatever it is told to."""

    answer: Any = None
    error: BaseException | None = None
    build_error: BaseException | None = None

    def build(self, candidates: Any) -> None:
        self.candidates = candidates
        if self.build_error:
            raise self.build_error

    def choose(self, key: bytes, tried: Any) -> Any:
        if self.error:
            raise self.error
        return self.answer


class NoChoose:
    def build(self, candidates: Any) -> None: ...


class NoBuild:
    build = 5

    def choose(self, key: bytes, tried: Any) -> Any: ...


class WantsArguments(First):
    def __init__(self, folder: str) -> None: ...


class FailsToBuild(First):
    def build(self, candidates: Any) -> NoReturn:
        raise ValueError("no idea what to do with these")


class FailsToChoose(First):
    def choose(self, key: bytes, tried: Any) -> NoReturn:
        raise KeyError("web01")


class Names(First):
    def choose(self, key: bytes, tried: Any) -> Any:
        return self.candidates[0].name


class Nobody(First):
    def choose(self, key: bytes, tried: Any) -> Any:
        return None


class Exits(First):
    def __init__(self) -> None:
        raise SystemExit(3)


class TakesNothing(First):
    def choose(self) -> Any:  # type: ignore[override]
        return None
