"""The heads in tests/vectors/heads: requests as clients and attackers send them, with what nlb makes of each. And what
targets send, and chunked bodies.

For whoever wants to read them or to send them through a real nlb:

    for head in HEADS: connection.sendall(head.raw)
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent / "vectors"


@dataclass(frozen=True)
class Head:
    name: str
    raw: bytes  # with the body, and what an attacker put behind it
    status: int  # of the answer if nlb refuses it, or 0
    reason: str
    desync_class: str
    facts: dict[str, Any] = field(default_factory=dict)  # what else is known: attributes of the Request

    def __str__(self) -> str:
        return self.name


def load(kind: str) -> list[Head]:
    """The heads of one file: good, bad or smuggling; responses."""
    table = tomllib.loads((VECTORS / "heads" / f"{kind}.toml").read_text())
    return [_head(kind, entry) for entry in table["head"]]


def pieces(raw: str | list[str | dict[str, Any]]) -> bytes:
    """The bytes that a file writes as text, in pieces, some of them repeated."""
    whole = [raw] if isinstance(raw, str) else raw
    return b"".join(
        piece.encode("latin-1") if isinstance(piece, str) else piece["repeat"].encode("latin-1") * piece["times"]
        for piece in whole
    )


def _head(kind: str, entry: dict[str, Any]) -> Head:
    facts = {key: _bytes(key, value) for key, value in entry.items() if key not in _OF_THE_HEAD}
    return Head(
        name=f"{kind}: {entry['name']}",
        raw=pieces(entry["raw"]),
        status=entry.get("status", 0),
        reason=entry.get("reason", ""),
        desync_class=entry.get("class", "compliant"),
        facts=facts,
    )


_OF_THE_HEAD = ("name", "raw", "status", "reason", "class")


def _bytes(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name.encode(): text.encode("latin-1") for name, text in value.items()}
    return value.encode("latin-1") if isinstance(value, str) and key != "host" else value


@dataclass(frozen=True)
class Body:
    name: str
    raw: bytes
    error: str  # the reason of the BadChunk, or ""
    read: tuple[bytes, bytes, bytes] | None  # payload, trailers and rest, if the body ends

    def __str__(self) -> str:
        return self.name


def load_bodies() -> list[Body]:
    table = tomllib.loads((VECTORS / "bodies.toml").read_text())
    return [_body(entry) for entry in table["body"]]


def _body(entry: dict[str, Any]) -> Body:
    read = tuple(entry.get(key, "").encode("latin-1") for key in ("payload", "trailers", "rest"))
    return Body(entry["name"], pieces(entry["raw"]), entry.get("error", ""), read if "payload" in entry else None)


GOOD, BAD, SMUGGLING = load("good"), load("bad"), load("smuggling")
HEADS = GOOD + BAD + SMUGGLING
RESPONSES = load("responses")
BODIES = load_bodies()
