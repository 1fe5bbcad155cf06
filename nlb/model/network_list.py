"""Networks and files of them, as `deny` and `allow` of the shield have them. What is in a file comes here as text, and
goes on as numbers: 100,000 texts would take control a while whenever they are handed on or compared.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator

from nlb.model import limits, values
from nlb.model.http import network
from nlb.model.nearest import did_you_mean
from nlb.model.values import text

# Bytes of a file of networks: 500,000 of the longest lines that there are, with a comment each.
LARGEST_LIST = 32 << 20

# What most lines of most lists are: read at a fifth of the cost.
_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(r"\.".join([_OCTET] * 4) + r"(?:/(3[0-2]|[12]?[0-9]))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A file with a network on each line."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class NetworkList:
    """The networks in a file, each once. By version and the bits behind the prefix, the longest prefixes first: the
    prefixes in order, of 4 or of 16 bytes each (shield/cidr.py). So two that are equal have the same networks."""

    parts: tuple[tuple[int, int, bytes], ...] = ()

    def __len__(self) -> int:
        return sum(len(prefixes) // _BYTES[version] for version, _, prefixes in self.parts)

    def beyond(self, other: NetworkList) -> int:
        """How many of these it has not."""
        theirs = {(version, shift): prefixes for version, shift, prefixes in other.parts}
        return sum(
            len({*_items(version, prefixes)}.difference(_items(version, theirs.get((version, shift), b""))))
            for version, shift, prefixes in self.parts
            if prefixes != theirs.get((version, shift))
        )

    @property
    def everybody(self) -> str:
        """The network that is everybody, if it is there."""
        versions = [version for version, shift, _ in self.parts if shift == 8 * _BYTES[version]]
        return {4: "0.0.0.0/0", 6: "::/0"}[versions[0]] if versions else ""


_BYTES = {4: 4, 6: 16}


def _items(version: int, prefixes: bytes) -> Collection[object]:
    if version == 4:
        return array("I", prefixes)
    return [prefixes[at : at + 16] for at in range(0, len(prefixes), 16)]


def networks_of(value: object) -> str | NetworkFile:
    """One of the things that `deny` and `allow` may have: a network, or { file = "/etc/nlb/deny.txt" }."""
    if isinstance(value, NetworkFile):
        return value
    if not isinstance(value, dict):
        return network(value)
    unknown = value.keys() - {"file"}
    if unknown or not value:
        name = min(unknown, default="")
        wrong = f"has the key {name}" if unknown else "is empty"
        raise ValueError(f'{wrong}; write {{ file = "/etc/nlb/deny.txt" }}{did_you_mean(name, ["file"])}')
    path = text(value["file"])
    if not path.startswith("/") or not path.isprintable() or len(path) > 1024:
        raise ValueError(f"'{path}' must be the absolute path of a file, such as /etc/nlb/deny.txt")
    return NetworkFile(path)


def read_list(content: str) -> tuple[str, ...]:
    """The networks in a file: one on each line, with what it likes behind `#` or `;`. Raises ValueError with the line
    of the first mistake."""
    found: dict[str, None] = {}
    for number, line in enumerate(content.splitlines(), 1):
        said = line.partition("#")[0].partition(";")[0].strip()
        if not said:
            continue
        try:
            found[_listed(said)] = None
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if len(found) > limits.LISTED:
            raise ValueError(f"line {number}: there is room for {limits.LISTED} networks, and this has more")
    return tuple(found)


def _listed(said: str) -> str:
    if match := _IPV4.fullmatch(said):
        a, b, c, d, length = match.groups("32")
        number = int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)
        if not number & (1 << 32 - int(length)) - 1:
            return said if match[5] else f"{said}/32"
    if len(said) > 100:
        raise ValueError("is longer than any network; is this a list of networks?")
    return network(said)


def _plain(value: str | NetworkFile) -> str | dict[str, str]:
    return {"file": value.path} if isinstance(value, NetworkFile) else value


Networks = Annotated[
    tuple[Annotated[str | NetworkFile, PlainValidator(networks_of), PlainSerializer(_plain)], ...],
    BeforeValidator(values.one_or_many),
    Field(max_length=limits.NETWORKS),
]
