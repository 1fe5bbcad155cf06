"""Own policies are tried while a config is checked, and what is wrong is one sentence at its place in the file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nlb.balance.trial import mistakes
from nlb.errors import ConfigError
from nlb.model.parse import parse

HERE = "tests.unit.balance.own_policies"


def told(policy: str, targets: str = '["10.0.0.1:80", "10.0.0.2:80"]') -> str:
    """The only mistake, or nothing."""
    text = f"""
[[listener]]
bind = "0.0.0.0:80"
[[target_group]]
name = "web"
policy = "python:{policy}"
targets = {targets}
"""
    try:
        parse(text, "f", mistakes)
    except ConfigError as error:
        (mistake,) = error.mistakes
        assert (mistake.line, mistake.column, mistake.path) == (6, 10, "target_group.web.policy")
        assert "\n" not in mistake.message
        return mistake.message
    return ""


@pytest.mark.parametrize("name", ["First", "Last", "Keyed", "Quiet"])
def test_there_is_nothing_to_say_of_a_good_one(name: str) -> None:
    assert told(f"{HERE}:{name}") == ""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Frist", f"module {HERE} has no Frist (did you mean First?)"),
        ("NUMBER", f"NUMBER in module {HERE} is no class but of type int"),
        ("NoChoose", f"{HERE}.NoChoose has no method choose; a policy has choose(key, tried)"),
        ("NoBuild", f"{HERE}.NoBuild has no method build; a policy has build(candidates)"),
        ("WantsArguments", f"{HERE}.WantsArguments() failed, called without arguments: TypeError: "),
        ("Exits", f"{HERE}.Exits() failed, called without arguments: SystemExit: 3"),
        ("FailsToBuild", "FailsToBuild.build failed for the targets of this group: ValueError: no idea what to do"),
        ("FailsToChoose", "FailsToChoose.choose failed: KeyError: 'web01' (/"),
        ("TakesNothing", "TakesNothing.choose failed: TypeError: "),
        ("Names", "Names.choose answered something of type str; it must answer one of its candidates"),
        ("Nobody", "Nobody.choose answered None; it must answer one of its candidates"),
    ],
)
def test_what_is_wrong_with_one(name: str, says: str) -> None:
    assert says in told(f"{HERE}:{name}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Python looks for modules, too."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def test_a_module_that_is_not_there() -> None:
    advice = "install it where nlb is, or put its folder into PYTHONPATH"
    assert told("no_such_module:First") == f"there is no module no_such_module that Python could import; {advice}"
    assert told("tests.no_such_module:First").startswith("there is no module tests.no_such_module that")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("divides", "x = 1 / 0\n", "module divides cannot be imported: ZeroDivisionError: division by zero (/"),
        ("garbled", "def f(:\n", "module garbled cannot be imported: SyntaxError: "),
        ("leaves", "raise SystemExit(2)\n", "module leaves cannot be imported: SystemExit: 2"),
        ("needs", "import no_such_thing\n", "module needs cannot be imported: ModuleNotFoundError: No module named"),
    ],
)
def test_a_module_that_cannot_be_imported(folder: Path, name: str, code: str, says: str) -> None:
    (folder / f"{name}.py").write_text(code)
    message = told(f"{name}:First")
    assert says in message
    assert f"{name}.py:1)" in message


def test_a_group_without_targets_is_not_built() -> None:
    assert told(f"{HERE}:FailsToBuild", "[]") == ""
    assert told(f"{HERE}:FailsToBuild", '[{ address = "10.0.0.1:80", weight = 0 }]') == ""


def test_a_config_with_other_mistakes_is_not_tried() -> None:
    text = f'[[target_group]]\nname = "web"\npolicy = "python:{HERE}:FailsToBuild"\ntargets = ["10.0.0.1:80"]\n'
    with pytest.raises(ConfigError) as caught:
        parse(text, "f", mistakes)
    assert [mistake.path for mistake in caught.value.mistakes] == [""]


def test_our_own_policies_need_no_trial() -> None:
    text = '[[listener]]\nbind = "0.0.0.0:80"\n[[target_group]]\nname = "web"\npolicy = "random_two"\n'
    assert parse(text, "f", mistakes).groups[0].policy == "random_two"
