"""`nlb ctl config`: the running config as TOML, or what a reload of a file would do to it. Nothing here changes
anything, and a file is read by this process, as this user.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click

from nlb.admin import phrases
from nlb.admin.phrases import Facts
from nlb.cli import DONE, FAILED
from nlb.cli.tables import clean
from nlb.cli.talk import Talk

if TYPE_CHECKING:
    from nlb.model.config import Config


@dataclass
class Difference:
    """`steps` are the sentences of a reload; `kept` and `dropped` are overrides, and why."""

    steps: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def show(talk: Talk, answer: Facts, every_key: bool) -> int:
    with talk.understood():
        if every_key:
            answer = with_every_key(answer)
        text = json.dumps(answer) if talk.for_programs else as_toml(answer)
    click.echo(text.rstrip("\n"))
    return DONE


def compare(talk: Talk, answer: Facts, path: str) -> int:
    """Exit code 1 when a reload of the file would change what runs. Raises ConfigError for a file with mistakes."""
    from nlb.control import config_file

    file = config_file.read(path)
    with talk.understood():
        found = difference(answer, file)
    if talk.for_programs:
        click.echo(json.dumps(asdict(found)))
    else:
        click.echo("\n".join(sentences(found, path)))
    return FAILED if found.steps else DONE


def with_every_key(answer: Facts) -> Facts:
    """With every default in its place."""
    return answer | {"config": _running(answer).model_dump(mode="json", by_alias=True)}


def as_toml(answer: Facts) -> str:
    """A config file, with remarks on where it comes from."""
    about = answer["about"]
    remarks = [
        f"The running config: generation {about['generation']}, hash {about['hash']}, of {about['file']}, "
        f"loaded {phrases.at(about['loaded'])}"
    ]
    if members := [one for one in answer["overrides"] if one["what"] in ("added", "removed")]:
        remarks += ["Not as in that file, by operators:", *(f"  {_told(one)}" for one in members)]
    if others := [one for one in answer["overrides"] if one not in members]:
        remarks += ["Held beside it, by operators:", *(f"  {_told(one)}" for one in others)]
    return "\n".join(["".join(f"# {clean(remark)}\n" for remark in remarks), *_tables(_known(answer["config"]))])


def _known(value: Any) -> Any:
    """Without what is None, for which TOML has no word: the daemon finds it out when it starts."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items() if item is not None}
    return [_known(item) for item in value] if isinstance(value, list) else value


def _tables(config: Facts) -> Iterator[str]:
    """A text each: the keys above all tables, the tables, then the lists of tables, which nobody writes on one line."""
    import tomli_w

    plain, lists = dict[str, Any](), dict[str, list[Facts]]()
    for key, value in config.items():
        (lists if isinstance(value, list) else plain)[key] = value
    if text := tomli_w.dumps(plain, indent=2):
        yield text
    for key, tables in lists.items():
        for table in tables:
            head, _, rest = tomli_w.dumps({key: table}, indent=2).partition("\n")
            yield f"[{head}]\n{rest}"


def difference(answer: Facts, file: Config) -> Difference:
    """What a reload would do, were `file` the daemon's, and what would become of the operators' overrides."""
    from nlb.control.overrides import Override, Overrides
    from nlb.model.address import Address
    from nlb.model.merge import merge
    from nlb.model.plan import plan

    found = Difference()
    overrides = Overrides(None, lambda level, kind, text: found.dropped.append(text))
    for data in answer["overrides"]:
        overrides.set(Override(**data))
    merged = merge(file, overrides.changes())
    found.steps += plan(_running(answer), merged.config).sentences
    overrides.drop_void(merged.void)
    # A name that is looked up in DNS may be anywhere.
    placed = [
        (group.name, item.name, item.address)
        for group in merged.config.groups
        for item in group.targets
        if isinstance(item.address, Address)
    ]
    overrides.drop_moved(placed)
    found.kept += [_told(one) for one in overrides.listing()]
    return found


def sentences(found: Difference, path: str) -> Iterator[str]:
    yield from map(clean, found.steps or [f"a reload of {path} would change nothing"])
    for title, overrides in (("these overrides would stay:", found.kept), ("these would go:", found.dropped)):
        if overrides:
            yield title
            yield from (f"  {clean(one)}" for one in overrides)


def _told(override: Facts) -> str:
    """'web/web04 (10.0.0.14:3000): added by ann, until 2026-11-23 12:00:00: more load'"""
    until = "" if override["until"] is None else f", until {phrases.at(override['until'])}"
    reason = f": {override['reason']}" if override["reason"] else ""
    wish = f"{phrases.wish(override)} by {override['who']}{until}{reason}"
    return f"{override['group']}/{override['target']} ({override['address']}): {wish}"


def _running(answer: Facts) -> Config:
    from pydantic import ValidationError

    from nlb.model.config import Config

    try:
        return Config.model_validate(answer["config"])
    except ValidationError:
        raise TypeError("a config of another version") from None
