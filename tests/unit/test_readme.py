"""The README keeps up with the program: whatever an operator can meet is named there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nlb.admin.commands import COMMANDS
from nlb.errors import OUTCOMES
from nlb.model import config
from nlb.model.actions import FixedResponse, Forward, Redirect
from nlb.model.http import RequestHeaders, ResponseHeaders, Stickiness
from nlb.model.parse import parse
from nlb.model.rule import Rule
from nlb.model.shield import Block, RequestRate, ShieldHttp
from nlb.model.tls import Certificate, ListenerTls

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    return README.partition(f"\n## {title}")[2].partition("\n## ")[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_every_outcome_is_explained() -> None:
    told = set(re.findall(r"`(\w+/\w+)`", section("Troubleshooting, by outcome")))
    assert told == set(OUTCOMES)


TABLES = [cls for cls in vars(config).values() if isinstance(cls, type) and config.Table in cls.__bases__]


@pytest.mark.parametrize("table", TABLES, ids=lambda cls: cls.__name__)
def test_every_key_of_the_config_is_in_the_reference(table: type[config.Table]) -> None:
    keys = {field.alias or name for name, field in table.model_fields.items()}
    # Keys are written `key`, tables `[table]`, `[[table]]` or `[table.table]`.
    parts = section("Config") + section("TLS") + section("The shield")
    told = set(re.findall(r"`(\w+)`|`\[+(?:\w+\.)?(\w+)\]+`", parts))
    assert not keys - {key or name for key, name in told}


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_of_nlb_ctl_is_told(verb: str) -> None:
    assert re.search(rf"^\| `{verb}[ `]", section("nlb ctl"), re.MULTILINE)


def test_every_metric_is_listed_and_no_other() -> None:
    source = (ROOT / "nlb/observe/collector.py").read_text()
    bare = re.compile(r"_(total|info)$")
    made = {bare.sub("", name) for name in re.findall(r'"(nlb_\w+)"', source)}
    told = {bare.sub("", name) for name in re.findall(r"`(nlb_\w+)`", section("Watching it"))}
    assert told == made


@pytest.mark.parametrize("table", [Rule, Forward, Redirect, FixedResponse], ids=lambda cls: cls.__name__)
def test_every_key_of_a_rule_is_told(table: type[config.Table]) -> None:
    assert not set(table.model_fields) - told_words("Rules for HTTP") - told_words("TLS")


@pytest.mark.parametrize("table", [Stickiness, RequestHeaders, ResponseHeaders], ids=lambda cls: cls.__name__)
def test_every_key_of_the_tables_of_a_group_is_told(table: type[config.Table]) -> None:
    assert not set(table.model_fields) - told_words("Config")


@pytest.mark.parametrize("table", [Certificate, ListenerTls], ids=lambda cls: cls.__name__)
def test_every_key_of_the_tables_of_tls_is_told(table: type[config.Table]) -> None:
    assert not set(table.model_fields) - told_words("TLS")


@pytest.mark.parametrize("table", [ShieldHttp, RequestRate, Block], ids=lambda cls: cls.__name__)
def test_every_key_of_the_tables_of_the_shield_is_told(table: type[config.Table]) -> None:
    keys = {field.alias or name for name, field in table.model_fields.items()}
    assert not keys - told_words("The shield")


def told_words(title: str) -> set[str]:
    prose = re.sub(r"^```.*?^```", "", section(title), flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", prose))))


def test_its_config_runs() -> None:
    (group,) = parse(blocks("toml")[0], "README.md").groups
    assert [str(target.address) for target in group.targets] == ["127.0.0.1:3000"]


def test_its_rules_by_name_run() -> None:
    (text,) = [block for block in blocks("toml") if "sni = " in block]
    groups = [f'[[target_group]]\nname = "{name}"\n' for name in ("web-tls", "mail-tls")]
    (listener,) = parse(text + "".join(groups), "README.md").listeners
    assert listener.groups == ("web-tls", "mail-tls")


def test_its_listeners_of_tls_run() -> None:
    (text,) = [block for block in blocks("toml") if "certificates = " in block]
    secure, plain = parse(text, "README.md").listeners
    assert [item.place for item in secure.certificates] == ["/etc/nlb/www.pem", "/etc/nlb/certs"]
    assert plain.rules[0].redirect is not None


def test_its_rules_run() -> None:
    (text,) = [block for block in blocks("toml") if "api-next" in block]
    groups = [f'[[target_group]]\nname = "{name}"\nprotocol = "http"\n' for name in ("web", "api", "api-next")]
    (listener,) = parse(text + "".join(groups), "README.md").listeners
    assert [rule.name for rule in listener.rules] == ["api-v1", "2", "3"]
    assert listener.groups == ("web", "api", "api-next")


def test_ci_runs_the_test_command_word_for_word() -> None:
    command = next(block for block in blocks("sh") if block.rstrip().endswith("pytest"))
    assert command.strip() in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", README))
def test_a_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).is_file()
