"""From targets that are given by a DNS name to targets with addresses: the config that runs has no names in it.

Pure: what is known of each name comes in, the targets that stand for it come out, each named after both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from nlb.control.names import Found, Question
from nlb.model import limits
from nlb.model.address import Address, DnsName
from nlb.model.config import Config, Target, TargetGroup

# Between the name of a target and its address. In a config no name may have it, so no two targets get one name.
MARK = "@"


@dataclass(frozen=True, slots=True)
class NamedTarget:
    """A target that is given by a name, and its group."""

    group: str
    target: Target
    place: DnsName

    @property
    def question(self) -> Question:
        return Question(self.place.host, self.target.srv, self.target.family)

    @property
    def label(self) -> str:
        return f"{self.group}/{self.target.name}"

    def places(self, found: Iterable[Found]) -> Iterator[tuple[str, Address]]:
        """Names and addresses of the targets that stand for it: web@10.0.0.11, or with SRV, where one host may have
        several ports, web@10.0.0.11:3000. Nothing in a v4 one has to be quoted in a shell."""
        for item in found:
            yield f"{self.target.name}{MARK}{item}", Address(item.ip, item.port or self.place.port)

    def targets(self, found: Sequence[Found]) -> Iterator[Target]:
        """The same as targets of a config."""
        for item, (name, address) in zip(found, self.places(found), strict=True):
            weight = item.weight if self.target.srv else self.target.weight
            # Another srv or family changes who stands for a name, and nothing about those who stay.
            own = {"name": name, "address": address, "weight": weight, "srv": False, "family": "any"}
            # Certificates are for names of hosts, and _https._tcp.example.com is none.
            yield self.target.at(item.host if self.target.srv else self.place.host, **own)


@dataclass(frozen=True, slots=True)
class Expanded:
    """A config as it was asked for, and without names, by what was found for each. There was no room for `left_out`
    more addresses."""

    asked: Config
    names: tuple[NamedTarget, ...]
    found: Mapping[Question, tuple[Found, ...]]
    config: Config
    left_out: int


def name_behind(target: str) -> str:
    """The name that a target of this name stands for; empty, if for none."""
    name, mark, _ = target.partition(MARK)
    return name if mark else ""


def named_targets(config: Config) -> Iterator[NamedTarget]:
    """In the order of the config."""
    for group in config.groups:
        for target in group.targets:
            if isinstance(target.address, DnsName):
                yield NamedTarget(group.name, target, target.address)


def expand(config: Config, found: Mapping[Question, tuple[Found, ...]]) -> Expanded:
    """Groups without names stay the same objects. A name of which nothing is known stands for no target."""
    names = tuple(named_targets(config))
    if not names:
        return Expanded(config, names, found, config, 0)
    room = limits.TARGETS - config.target_count + len(names)
    left_out = 0
    standing: dict[tuple[str, str], tuple[Target, ...]] = {}
    for name in names:
        known = found.get(name.question, ())
        used = known[:room]
        standing[name.group, name.target.name] = tuple(name.targets(used))
        room -= len(used)
        left_out += len(known) - len(used)
    touched = {name.group for name in names}
    groups = tuple(_expanded(group, standing) if group.name in touched else group for group in config.groups)
    return Expanded(config, names, found, config.model_copy(update={"groups": groups}), left_out)


def _expanded(group: TargetGroup, standing: Mapping[tuple[str, str], tuple[Target, ...]]) -> TargetGroup:
    targets = (standing.get((group.name, target.name), (target,)) for target in group.targets)
    return group.model_copy(update={"targets": tuple(chain.from_iterable(targets))})
