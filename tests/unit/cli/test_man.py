"""The manual page: everything is in it, and no formatter finds fault with it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from nlb.admin.commands import APART, COMMANDS
from nlb.cli import COMMANDS as TOP
from nlb.cli import EXIT_CODES
from nlb.cli.man import page

PAGE = "\n".join(page()) + "\n"


def formatted() -> str:
    if shutil.which("groff") is None:
        pytest.skip("there is no groff here")
    command = ["groff", "-man", "-Tascii", "-P-c", "-P-bou", "-rLL=200n", "-ww"]
    done = subprocess.run(command, input=PAGE, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_groff_finds_no_fault() -> None:
    assert "load balancer for Linux" in formatted()


def test_man_shows_it() -> None:
    if shutil.which("man") is None:
        pytest.skip("there is no man here")
    done = subprocess.run(["man", "--warnings", "-l", "-"], input=PAGE, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_every_command_and_option_is_told() -> None:
    text = formatted()
    for name in TOP:
        assert f"   nlb {name} " in text
    for verb, command in COMMANDS.items():
        section = text.partition(f"\n   nlb ctl {verb} ")[2].partition("\n   nlb ")[0]
        assert command.help in section
        for param in command.params:
            assert (param.metavar if param.argument else f"--{param.name} {param.metavar}") in section
            assert param.help.replace("`", "") in section


def test_what_all_commands_of_nlb_ctl_have_in_common_is_told_once() -> None:
    sections = re.split(r"\n   (?=nlb )", formatted())
    assert sum(section.count("--socket PATH") for section in sections if section.startswith("nlb ctl ")) == 1


def test_explain_is_told_with_its_examples() -> None:
    section = formatted().partition("\n   nlb explain ")[2].partition("\n   nlb ctl ")[0]
    assert "   nlb explain tcp://db.example.com:5432 --source 192.0.2.7:40000\n" in section
    for param in APART["explain"].params[1:]:
        assert f"--{param.name} {param.metavar}" in section


def test_every_exit_code_is_told() -> None:
    section = formatted().partition("EXIT STATUS")[2].partition("ENVIRONMENT")[0].lower()
    for code, meaning in EXIT_CODES.items():
        assert f"{code}      {meaning}" in section


def test_what_is_typed_can_be_copied() -> None:
    """A bare hyphen in roff is a dash, and no option begins with that."""
    for line in PAGE.splitlines():
        text = line if not line.startswith(".") else ""
        assert "-" not in text.replace("\\-", "")
