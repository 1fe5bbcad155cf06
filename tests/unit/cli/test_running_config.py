"""`nlb ctl config`: what is printed is a config file again, and a file is compared as a reload would take it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from nlb.cli.running_config import as_toml, difference, sentences, with_every_key
from nlb.model.config import Config
from nlb.model.parse import parse
from tests.unit.admin.canned import CONFIG, NOW, override

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted([*ROOT.glob("tests/vectors/configs/good/*.toml"), *ROOT.glob("conf/*.toml")])

ABOUT = {"file": "/etc/nlb/nlb.toml", "hash": "3fa1c2d4", "generation": 3, "loaded": NOW}

Facts = dict[str, Any]


def answer(config: Facts = CONFIG, *overrides: Facts) -> Facts:
    return {"now": NOW, "config": config, "about": ABOUT, "overrides": list(overrides)}


def dumped(config: Config) -> Facts:
    """As the daemon gives it."""
    return config.model_dump(mode="json", by_alias=True, exclude_unset=True)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_is_printed_is_the_same_config_again(path: Path) -> None:
    config = parse(path.read_text(), path.name)
    assert parse(as_toml(answer(dumped(config))), "printed") == config
    assert parse(as_toml(with_every_key(answer(dumped(config)))), "printed") == config


def test_a_status_page_that_is_off_stays_off() -> None:
    text = '[admin]\nweb = false\n[[listener]]\nbind = "127.0.0.1:80"\n[[target_group]]\nname = "web"\n'
    config = parse(text, "nlb.toml")
    assert "web = false" in as_toml(answer(dumped(config)))
    assert parse(as_toml(with_every_key(answer(dumped(config)))), "printed").admin.web is None


def test_every_key_means_every_default() -> None:
    text = as_toml(with_every_key(answer()))
    assert "idle_timeout = 350.0" in text
    assert '[target_group.health_check]\nprotocol = "tcp"' in text
    assert "idle_timeout" not in as_toml(answer())


def test_the_head_says_where_it_is_from_and_what_operators_did() -> None:
    assert as_toml(answer()).startswith(
        "# The running config: generation 3, hash 3fa1c2d4, of /etc/nlb/nlb.toml, loaded 20"
    )
    assert "operators" not in as_toml(answer())
    text = as_toml(
        answer(
            CONFIG,
            override("web/web02", "added", 1, reason="load"),
            override("web/web01", "weight", 5, until=NOW + 60),
        )
    )
    assert "# Not as in that file, by operators:\n#   web/web02 (10.0.0.1:3000): added by ann: load\n" in text
    assert "# Held beside it, by operators:\n#   web/web01 (10.0.0.1:3000): weight 5 by ann, until 20" in text


def file(**changes: Any) -> Config:
    """The file that CONFIG is from; changed in its group."""
    data = copy.deepcopy(CONFIG)
    data["target_group"][0] |= changes
    return Config.model_validate(data)


WEB01 = {"name": "web01", "address": "10.0.0.1:3000"}
WEB02 = {"name": "web02", "address": "10.0.0.2:3000"}


def test_the_same_file_makes_no_difference() -> None:
    found = difference(answer(), file())
    assert (found.steps, found.kept, found.dropped) == ([], [], [])
    assert list(sentences(found, "nlb.toml")) == ["a reload of nlb.toml would change nothing"]


def test_differences_are_said_as_a_reload_says_them() -> None:
    found = difference(answer(), file(tries=5, targets=[WEB01]))
    assert found.steps == [
        "group web: tries 3 -> 5",
        "group web: remove target web02 (10.0.0.2:3000): drain its sessions",
    ]


def test_what_operators_changed_is_no_difference_but_is_told() -> None:
    added = override("web/web02", "added", 1, address="10.0.0.2:3000")
    drained = override("web/web01", "admin", "drain", reason="disk")
    found = difference(answer(CONFIG, added, drained), file(targets=[WEB01]))
    assert found.steps == []
    assert list(sentences(found, "x.toml")) == [
        "a reload of x.toml would change nothing",
        "these overrides would stay:",
        "  web/web02 (10.0.0.2:3000): added by ann",
        "  web/web01 (10.0.0.1:3000): drain by ann: disk",
    ]


def test_a_target_that_was_removed_stays_away() -> None:
    removed = override("web/web02", "removed", address="10.0.0.2:3000")
    running = copy.deepcopy(CONFIG)
    running["target_group"][0]["targets"] = [WEB01]
    found = difference(answer(running, removed), file())
    assert (found.steps, len(found.kept)) == ([], 1)


@pytest.mark.parametrize(
    ("wish", "targets", "why"),
    [
        (
            override("web/web02", "added", 1, address="10.0.0.2:3000"),
            [WEB01, WEB02],
            "group web has web02 at 10.0.0.2:3000 already",
        ),
        (
            override("web/web01", "weight", 5),
            [{**WEB01, "address": "10.0.0.9:3000"}, WEB02],
            "the target is at 10.0.0.9:3000 now, not at 10.0.0.1:3000",
        ),
    ],
    ids=["added in the file too", "moved"],
)
def test_what_a_reload_would_drop_is_told_with_the_reason(wish: Facts, targets: list[Facts], why: str) -> None:
    found = difference(answer(CONFIG, wish), file(targets=targets))
    assert found.kept == []
    (dropped,) = found.dropped
    assert dropped.endswith(f"is dropped: {why}")


def test_control_characters_of_a_file_are_not_obeyed() -> None:
    found = difference(answer(), file(health_check={"send": "PING\x1b[2J", "expect": "x"}))
    assert not any("\x1b" in line for line in sentences(found, "nlb.toml"))
