"""What can be read of a config in which anything may be wrong. Whatever is not of the right type is passed over in
silence: the schema tells it. So the checks of the whole file need not wait until every key is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, get_args

from nlb.model import values
from nlb.model.address import Address, DnsName
from nlb.model.config import Admin, read_target
from nlb.model.protocols import Protocol
from nlb.model.rule import STEP, read_forward

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A mistake, the path in the data that it is about, and the path of what it collides with."""

    path: Path
    message: str
    other: Path | None = None
    at_key: bool = False  # the key is the mistake, not its value


@dataclass(frozen=True, slots=True)
class Name:
    """A name, given or the default, and the path of what gives it."""

    text: str
    path: Path
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """An address and the path of what names it."""

    address: Address
    path: Path


@dataclass(frozen=True, slots=True)
class Word:
    """A word that is asked for, such as the name of a group, and the path of what says so."""

    text: str
    path: Path


@dataclass(frozen=True, slots=True)
class RuleSketch:
    """`keys` are those that are written, whatever they say."""

    path: Path
    keys: frozenset[str]
    name: Name | None
    priority: int | None  # as it is written, or what the place in the file makes of it; None when it cannot be read
    groups: list[Word]
    ports: list[tuple[int, Path]]


@dataclass(frozen=True, slots=True)
class ListenerSketch:
    """`protocol` is None where it is no word of ours; so it is in a group. `shield` are the keys of its table."""

    path: Path
    name: Name | None
    binds: list[Place]
    group: str | None  # as asked for; None when it is left out
    is_group_given: bool
    protocol: str | None
    rules: list[RuleSketch]
    alpn: list[Word]
    shield: frozenset[str]


@dataclass(frozen=True, slots=True)
class TargetSketch:
    path: Path
    name: Name
    address: Address | DnsName
    has_proxy_header: bool


@dataclass(frozen=True, slots=True)
class GroupSketch:
    path: Path
    name: Name | None
    targets: list[TargetSketch]
    protocol: str | None
    alpn: list[Word]


@dataclass(frozen=True, slots=True)
class Sketch:
    """Lists are in the order of the file."""

    listeners: list[ListenerSketch]
    groups: list[GroupSketch]
    web: Place | None
    socket: Place | None


def sketch(data: dict[str, Any]) -> Sketch:
    admin = data.get("admin", {})
    web, socket = (_web(admin), _socket(admin)) if isinstance(admin, dict) else (None, None)
    return Sketch(
        [_listener(path, table) for path, table in _tables(data, "listener")],
        [_group(path, table) for path, table in _tables(data, "target_group")],
        web,
        socket,
    )


def asked_by(listener: ListenerSketch) -> Iterator[Word]:
    """The groups that a listener names."""
    if listener.group is not None:
        yield Word(listener.group, (*listener.path, "target_group"))
    for rule in listener.rules:
        yield from rule.groups


def in_front(listener: ListenerSketch, seen: Sketch) -> Iterator[Word]:
    """The groups that it forwards to: also the only one there is, where it names none."""
    if not listener.is_group_given and len(seen.groups) == 1 and (only := seen.groups[0].name):
        yield Word(only.text, listener.path)
    yield from asked_by(listener)


def _tables(data: dict[str, Any], key: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    items = data.get(key)
    for number, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, dict):
            yield (key, number), item


def _listener(path: Path, table: dict[str, Any]) -> ListenerSketch:
    binds = list(_binds((*path, "bind"), table.get("bind")))
    name = _name(path, table)
    if "name" not in table and binds:
        name = Name(str(binds[0].address), binds[0].path, is_default=True)
    asked = table.get("target_group")
    group = asked if isinstance(asked, str) else None
    rules = list(_rules(path, table))
    shield = table.get("shield")
    keys = frozenset(shield) if isinstance(shield, dict) else frozenset[str]()
    alpn = list(_alpn((*path, "tls", "alpn"), table.get("tls")))
    return ListenerSketch(path, name, binds, group, "target_group" in table, _protocol(table), rules, alpn, keys)


def _group(path: Path, table: dict[str, Any]) -> GroupSketch:
    alpn = list(_alpn((*path, "target_tls", "alpn"), table.get("target_tls")))
    return GroupSketch(path, _name(path, table), list(_targets(path, table)), _protocol(table), alpn)


def _protocol(table: dict[str, Any]) -> str | None:
    given = table.get("protocol", "tcp")
    return given if given in get_args(Protocol) else None


def _alpn(path: Path, table: object) -> Iterator[Word]:
    given = table.get("alpn", []) if isinstance(table, dict) else []
    for number, name in enumerate(given if isinstance(given, list) else [given]):
        if isinstance(name, str):
            yield Word(name, (*path, number))


def _rules(path: Path, listener: dict[str, Any]) -> Iterator[RuleSketch]:
    """In the order of their priority, which gives a rule without a name its number."""
    tables = [((*path, *where), table) for where, table in _tables(listener, "rule")]
    placed = sorted(
        ((_priority(table, place), place, where, table) for place, (where, table) in enumerate(tables, 1)),
        key=itemgetter(0),
    )
    for number, (priority, _, where, table) in enumerate(placed, 1):
        name = _name(where, table)
        if "name" not in table:
            name = Name(str(number), where, is_default=True)
        groups, ports = list(_forwards((*where, "forward"), table)), list(_ports(where, table))
        yield RuleSketch(where, frozenset(table), name, priority or None, groups, ports)


def _priority(rule: dict[str, Any], place: int) -> int:
    """0 for what is no priority."""
    given = rule.get("priority", STEP * place)
    return given if values.is_whole(given) else 0


def _forwards(path: Path, rule: dict[str, Any]) -> Iterator[Word]:
    items = read_forward(rule["forward"]) if "forward" in rule else []
    for number, item in enumerate(items):
        if isinstance(item, dict) and isinstance(group := item.get("target_group"), str):
            yield Word(group, (*path, number, "target_group"))


def _ports(path: Path, rule: dict[str, Any]) -> Iterator[tuple[int, Path]]:
    given = rule.get("port", [])
    for number, port in enumerate(given if isinstance(given, list) else [given]):
        if values.is_whole(port):
            yield port, (*path, "port", number)


def _name(path: Path, table: dict[str, Any]) -> Name | None:
    name = table.get("name")
    return Name(name, (*path, "name")) if isinstance(name, str) else None


def _binds(path: Path, given: object) -> Iterator[Place]:
    if not isinstance(given, list):
        given = [given]
    for number, text in enumerate(given):
        try:
            yield Place(values.bind(text), (*path, number))
        except ValueError:
            pass


def _targets(path: Path, group: dict[str, Any]) -> Iterator[TargetSketch]:
    items = group.get("targets")
    try:
        port = values.port(group["port"])
    except (KeyError, ValueError):
        port = None
    for number, item in enumerate(items if isinstance(items, list) else []):
        table = read_target(item, port)
        if not isinstance(table, dict) or not isinstance(address := table.get("address"), Address | DnsName):
            continue
        where = (*path, "targets", number)
        name = _name(where, table) or Name(str(address), where, is_default=True)
        yield TargetSketch(where, name, address, table.get("proxy_protocol") in ("v1", "v2"))


def _web(admin: dict[str, Any]) -> Place | None:
    try:
        address = values.web(admin["web"]) if "web" in admin else Admin().web
    except ValueError:
        return None
    return Place(address, ("admin", "web")) if address else None


def _socket(admin: dict[str, Any]) -> Place | None:
    try:
        return Place(Address("", 0, values.socket_path(admin["socket"])), ("admin", "socket"))
    except (KeyError, ValueError):
        return None
