"""Which module may import which. The order is what keeps the core pure and the data path small: it is checked by
reading the source, so nothing is imported here.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A package imports from itself and from what stands left of it. Packages that stand together are strangers.
ORDER: list[tuple[str, ...]] = [
    ("errors",),
    ("model",),
    ("balance", "shield"),
    ("http1",),
    ("net",),
    ("observe",),
    ("proxy", "kernel"),
    ("control",),
    ("admin",),
    ("cli",),
]
PLACE = {package: place for place, packages in enumerate(ORDER) for package in packages}

# Modules without a socket, a clock, chance or a log inside: `nlb.model` means all of that package.
PURE = (
    "nlb.errors",
    "nlb.model",
    "nlb.balance",
    "nlb.shield",
    "nlb.http1",
    "nlb.net.client_hello",
    "nlb.net.proxy_protocol",
    "nlb.net.tls_policy",
    "nlb.observe.counters",
    "nlb.control.inherited",
    "nlb.observe.access",
    "nlb.observe.lines",
    "nlb.control.names",
    "nlb.control.pace",
    "nlb.control.expand",
)
IMPURE = {"socket", "ssl", "select", "selectors", "time", "os", "threading", "subprocess", "logging", "random"}

# nlb itself holds the version, for everybody; `python -m nlb` is the outermost door.
OUTSIDE_THE_ORDER = ("nlb", "nlb.__main__")


def modules() -> dict[str, Path]:
    """Name -> file, of every module of nlb."""
    found = {}
    for path in sorted(ROOT.glob("nlb/**/*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, source: str, is_package: bool = False) -> set[str]:
    """Dotted names that a module imports anywhere: at its top, inside functions, for type checking only."""
    found = set()
    base = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = base[: len(base) - node.level + 1] if node.level else []
            origin = ".".join(above + ([node.module] if node.module else []))
            # `from nlb import model` imports nlb.model, `from nlb.model import config` nlb.model.config.
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return found


def is_pure(name: str) -> bool:
    return any(name == pure or name.startswith(pure + ".") for pure in PURE)


def complaints(module: str, imported: set[str]) -> list[str]:
    """A sentence for everything that a module imports and should not."""
    return sorted(filter(None, (_complaint(module, name) for name in imported)))


def _complaint(module: str, name: str) -> str:
    top = name.split(".")[0]
    if is_pure(module) and top in IMPURE:
        return f"{module} is pure and may not import {top}: let its caller pass in what it needs"
    if top != "nlb" or name in ("nlb", "nlb.__version__"):
        return ""
    ours, theirs = module.split(".")[1], name.split(".")[1]
    if theirs not in PLACE:
        return f"{module} imports {name}, and nlb.{theirs} has no place in ORDER"
    if ours != theirs and PLACE[theirs] >= PLACE[ours]:
        allowed = ", ".join(package for package in PLACE if PLACE[package] < PLACE[ours])
        return f"{module} imports {name}, but nlb.{ours} may import only from: {allowed or 'nothing'}"
    if is_pure(module) and not is_pure(name):
        return f"{module} is pure and may not import {name}, which is not"
    return ""


@pytest.mark.parametrize("module", [name for name in modules() if name not in OUTSIDE_THE_ORDER])
def test_a_module_imports_only_from_its_left(module: str) -> None:
    path = modules()[module]
    wrong = complaints(module, imports(module, path.read_text(), path.name == "__init__.py"))
    assert not wrong, "\n".join(wrong)


def test_every_package_of_nlb_has_its_place() -> None:
    packages = {name.split(".")[1] for name in modules() if name not in OUTSIDE_THE_ORDER}
    homeless = sorted(packages - set(PLACE))
    assert not homeless, f"say where these stand in ORDER: {', '.join(homeless)}"


def test_the_tour_in_nlb_names_every_package_in_import_order() -> None:
    tour = ast.get_docstring(ast.parse((ROOT / "nlb/__init__.py").read_text())) or ""
    told = [word for word in re.findall(r"^(\w+)  +\S", tour, re.MULTILINE) if word in PLACE]
    packages = {name.split(".")[1] for name in modules() if name not in OUTSIDE_THE_ORDER}
    assert set(told) == packages, f"the docstring of nlb tells of {told}; nlb has {sorted(packages)}"
    assert told == sorted(told, key=lambda package: PLACE[package]), "the docstring of nlb tells them in another order"


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("nlb.net.loop", "import os, nlb.errors", ""),
        ("nlb.model.parse", "from nlb.model import config\nfrom nlb.errors import ConfigError", ""),
        ("nlb.model.parse", "import logging", "nlb.model.parse is pure and may not import logging"),
        ("nlb.balance.group", "def pick():\n    from random import choice", "nlb.balance.group is pure"),
        ("nlb.balance.group", "from nlb import shield", "nlb.balance may import only from: errors, model"),
        ("nlb.errors", "from nlb.model.address import Address", "nlb.errors may import only from: nothing"),
        ("nlb.net.loop", "from nlb.observe import counters", "nlb.net may import only from: errors, model, balance"),
        ("nlb.net.loop", "from ..control import controller", "nlb.net.loop imports nlb.control.controller"),
        ("nlb.observe.counters", "from nlb.net.loop import Loop", "pure and may not import nlb.net.loop.Loop"),
        ("nlb.proxy.tcp", "from nlb.utils import chunks", "nlb.utils has no place in ORDER"),
        ("nlb.admin.web", "from nlb import __version__", ""),
        ("nlb.control.snapshot", "import nlb", ""),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(module: str, source: str, complaint: str) -> None:
    said = complaints(module, imports(module, source))
    if complaint:
        assert [complaint in sentence for sentence in said] == [True], said
    else:
        assert not said
