"""Policies of the operator's own: `policy = "python:mymodule:MyPolicy"`.

    class MyPolicy:
        needs_key = True                    # shall `choose` get a key? If left out: no, and the key is b""

        def build(self, candidates):        # whenever they or their weights change: the work is done here. There is
            ...                             # at least one; each has a name, address, weight (above 0) and sessions

        def choose(self, key, tried):       # for every session: one of the candidates that is not in `tried`
            ...

Nothing that it does can harm: when it fails or answers nonsense, round robin chooses instead, and somebody is told.
What is wrong with one is found before it is used: see trial.py.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Container, Sequence
from typing import Protocol

from nlb.balance.policy import Means, Policy
from nlb.balance.round_robin import RoundRobin
from nlb.balance.target import Target
from nlb.errors import NlbError
from nlb.model.nearest import did_you_mean

PREFIX = "python:"

_METHODS = {"build": "build(candidates)", "choose": "choose(key, tried)"}


class PolicyError(NlbError):
    """A policy that cannot be used, in one sentence."""


class OwnPolicy(Protocol):
    """What the operator writes. `needs_key` may be left out."""

    def build(self, candidates: tuple[Target, ...]) -> object: ...

    def choose(self, key: bytes, tried: Container[Target]) -> Target | None: ...


def make(policy: str) -> tuple[OwnPolicy, bool]:
    """One of it, with everything that a policy must have, and whether it wants keys. Raises PolicyError."""
    name = title(policy)
    try:
        own = _find(policy)()
        needs_key = getattr(own, "needs_key", False) is True
        methods = [method for method in _METHODS if callable(getattr(own, method, None))]
    except PolicyError:
        raise
    except (Exception, SystemExit) as error:
        raise PolicyError(f"{name}() failed, called without arguments: {said(error)}") from None
    for method, usage in _METHODS.items():
        if method not in methods:
            raise PolicyError(f"{name} has no method {method}; a policy has {usage}")
    return own, needs_key


def _find(policy: str) -> Callable[[], OwnPolicy]:
    """The class, or whatever makes a policy when it is called."""
    module_name, _, name = policy.removeprefix(PREFIX).partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            advice = "install it where nlb is, or put its folder into PYTHONPATH"
            raise PolicyError(f"there is no module {error.name} that Python could import; {advice}") from None
        raise PolicyError(f"module {module_name} cannot be imported: {said(error)}") from None
    found = getattr(module, name, None)
    if found is None:
        public = [key for key in vars(module) if not key.startswith("_")]
        raise PolicyError(f"module {module_name} has no {name}{did_you_mean(name, public)}")
    if not callable(found):
        raise PolicyError(f"{name} in module {module_name} is no class but of type {type(found).__name__}")
    return found  # type: ignore[no-any-return]


class Contained(Policy):
    """An own policy, and round robin for whenever it fails."""

    __slots__ = ("_candidates", "_fallback", "_fault", "_means", "_own", "_title", "_unusable", "needs_key")
    eases = False

    def __init__(self, policy: str, means: Means) -> None:
        """Never fails: a policy that cannot be had at all is one that always fails."""
        self._title = title(policy)
        self._means = means
        self._candidates: dict[int, Target] = {}  # by identity: nothing foreign can pretend to be one
        self._fallback = RoundRobin(means)
        self._own: OwnPolicy | None = None
        self._unusable = ""  # why there is none
        self._fault = ""  # why it cannot choose among the present candidates
        self.needs_key = False
        try:
            self._own, self.needs_key = make(policy)
        except PolicyError as error:
            self._unusable = str(error)

    def build(self, candidates: tuple[Target, ...], weights: Sequence[int], table: bytes | memoryview | None) -> None:
        self._fallback.build(candidates, weights, table)
        self._candidates = {id(target): target for target in candidates}
        self._fault = self._unusable
        if self._own is None or not candidates:
            return
        try:
            self._own.build(candidates)
        except BaseException as error:  # whatever it is, sessions are not to suffer
            self._fault = f"{self._title}.build failed: {said(error)}"

    def choose(self, key: bytes, tried: Container[Target]) -> Target | None:
        if self._fault or not self._candidates:
            return self._instead(self._fault, tried)
        try:
            answer = self._own.choose(key, tried)  # type: ignore[union-attr]
        except BaseException as error:
            return self._instead(f"{self._title}.choose failed: {said(error)}", tried)
        target = self._candidates.get(id(answer))
        if target is None:
            return self._instead(f"{self._title}.choose answered {shown(answer)}, no candidate", tried)
        if tried and target in tried:
            return self._instead(f"{self._title}.choose answered {shown(answer)}, which was tried already", tried)
        return target

    def _instead(self, fault: str, tried: Container[Target]) -> Target | None:
        """Round robin's choice. It is no fault of anybody's when there is none."""
        target = self._fallback.choose(b"", tried)
        if target is not None:
            self._means.failed(fault)
        return target


def title(policy: str) -> str:
    """Its name for people: mymodule.MyPolicy."""
    return policy.removeprefix(PREFIX).replace(":", ".")


def said(error: BaseException) -> str:
    """What an exception says, and the place in the operator's code that it came from, on one line."""
    text = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, SyntaxError):
        return f"{text} ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(".py")]
    theirs = [frame for frame in frames if "/nlb/balance/" not in frame.filename]
    return f"{text} ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else text


def shown(answer: object) -> str:
    """What a policy answered, without calling anything of it that may fail."""
    if isinstance(answer, Target):
        return f"target {answer.name}"
    return "None" if answer is None else f"something of type {type(answer).__name__}"
