"""What operators changed at run time: who wished what for which target, why, and until when. It is on disk before the
operator gets an answer; what a wish does to a target is the controller's affair.

A target is known by group, name and address: a wish for one server is none for the server that gets its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

from nlb.balance.target import DRAIN, MAINT, READY
from nlb.control.state import Data, Say, StateDir
from nlb.errors import AdminError
from nlb.model.address import Address, DnsName
from nlb.model.merge import Change, Void, named_target
from nlb.model.phrases import printable
from nlb.model.values import group_name

What = Literal["admin", "weight", "added", "removed"]
Key = tuple[str, str, str, What]

DOCUMENT = "overrides"

# Each change writes them all, which at this many takes some 30 ms. Who needs more should change the config.
MOST = 10_000

# Characters of any text here; names and reasons are held shorter where they come in.
LONGEST = 256

# A wish ends the older ones that it answers. A target that is removed takes what was wished for it along: should it
# come back, then as new.
_ENDS: dict[What, tuple[What, ...]] = {
    "admin": ("admin",),
    "weight": ("weight",),
    "added": ("added", "removed"),
    "removed": ("removed", "added", "admin", "weight"),
}
_OPPOSITE: dict[What, What] = {"added": "removed", "removed": "added"}

# Unix seconds; past any date that anybody could mean, and no longer than a float is exact.
_END_OF_TIME = 1e12

# Damaged entries that an event shows, and characters of each.
_SHOWN = 5
_SHOWN_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Override:
    """One wish. `value` is drain or maint for admin, the weight for weight and added, None for removed.

    `when` and `until` are unix seconds; without `until` it lasts.
    """

    group: str
    target: str
    address: str
    what: What
    value: str | int | None
    who: str
    when: float
    reason: str = ""
    until: float | None = None

    @property
    def key(self) -> Key:
        return self.group, self.target, self.address, self.what

    @property
    def label(self) -> str:
        return f"{self.group}/{self.target}"

    def __str__(self) -> str:
        """`weight 5 by ada (new disks)`, for the text of an event."""
        wish = {"admin": f"{self.value}", "weight": f"weight {self.value}"}.get(self.what, self.what)
        return f"{wish} by {self.who}" + (f" ({self.reason})" if self.reason else "")

    def data(self) -> Data:
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(field.name for field in fields(Override))


class Overrides:
    """All wishes that hold, in the order in which they were made. Everything is called on the loop's thread.

    Without a state directory they last as long as control runs.
    """

    def __init__(self, state: StateDir | None, say: Say) -> None:
        """Reads what was kept. Some of it may have ended meanwhile, so call `expire` before anything is applied."""
        self._state = state
        self._say = say
        self._all: dict[Key, Override] = {}
        if state and (data := state.load(DOCUMENT, _check)):
            self._read(data["overrides"])

    @property
    def lasting(self) -> bool:
        """Will they be there after a restart?"""
        return self._state is not None and self._state.writable

    def all(self) -> list[Override]:
        return list(self._all.values())

    def listing(self) -> list[Data]:
        """All as plain data, for an operator."""
        return [override.data() for override in self._all.values()]

    def changes(self) -> list[Change]:
        """Targets added and removed, for `merge`."""
        return [_change(override) for override in self._all.values() if override.what in _OPPOSITE]

    def for_target(self, group: str, name: str, address: Address | DnsName) -> dict[What, Override]:
        """What holds for one target."""
        if not self._all:
            return {}
        place = group, name, str(address)
        found = (self._all.get((*place, what)) for what in _ENDS)
        return {override.what: override for override in found if override}

    def set(self, override: Override, configured: int | None = None) -> bool:
        """Keep a wish, in the place of an older one of its kind. Returns whether it stands as an override.

        One for what holds by itself ends the older one and becomes none: admin ready, the weight that is `configured`,
        adding what was removed, removing what was added. Raises AdminError; then nothing was changed.
        """
        place = override.group, override.target, override.address
        if override.what in _OPPOSITE:
            stands = (*place, _OPPOSITE[override.what]) not in self._all
        else:
            stands = override.value != (READY if override.what == "admin" else configured)
        if stands:
            self._admit(override)
        ended = [self._all.pop((*place, what), None) for what in _ENDS[override.what]]
        if stands:
            self._all[override.key] = override
        if stands or any(ended):
            self._save()
        return stands

    def clear(self, group: str, name: str, address: Address | str, what: What) -> Override | None:
        """End an override; it is returned for the caller to undo."""
        override = self._all.get((group, name, str(address), what))
        if override:
            self._end([override])
        return override

    def expire(self, now: float) -> list[Override]:
        """End those whose time has come (`now` in unix seconds); they are returned for the caller to undo."""
        ended = [override for override in self._all.values() if override.until is not None and override.until <= now]
        self._end(ended)
        return ended

    def next_expiry(self) -> float | None:
        """When the next one ends, in unix seconds."""
        return min((override.until for override in self._all.values() if override.until is not None), default=None)

    def drop_void(self, void: Iterable[Void]) -> None:
        """End additions and removals that the config has overtaken, with an event for each."""
        reasons = {override: one for one in void if (override := self._all.get(_key(one.change)))}
        for override, one in reasons.items():
            self._drop(override, one.why, "info" if one.as_wished else "warning")
        if reasons:
            self._save()

    def drop_moved(self, targets: Iterable[tuple[str, str, Address]]) -> list[Override]:
        """End wishes for servers whose names have gone to other addresses, with an event for each.

        `targets` are group, name and address of all that there are. A name that is not among them keeps its
        overrides, because it may come back; a name at several addresses keeps those for each of them.
        """
        wishes = [override for override in self._all.values() if override.what not in _OPPOSITE]
        if not wishes:
            return []
        places: dict[tuple[str, str], list[str]] = {(one.group, one.target): [] for one in wishes}
        for group, name, address in targets:
            if (group, name) in places:
                places[group, name].append(str(address))
        moved = [one for one in wishes if one.address not in (places[one.group, one.target] or [one.address])]
        for one in moved:
            now_at = ", ".join(places[one.group, one.target])
            self._drop(one, f"the target is at {now_at} now, not at {one.address}", "warning")
        if moved:
            self._save()
        return moved

    def _end(self, overrides: list[Override]) -> None:
        for one in overrides:
            for what in _ENDS["removed"] if one.what == "added" else (one.what,):
                self._all.pop((one.group, one.target, one.address, what), None)
        if overrides:
            self._save()

    def _drop(self, override: Override, why: str, level: str) -> None:
        del self._all[override.key]
        self._say(level, "operator", f"{override.label}: the override {override} is dropped: {why}")

    def _admit(self, override: Override) -> None:
        """Nothing is kept that the next start would not read."""
        try:
            _judge(override)
        except ValueError as error:
            raise AdminError(f"{override.label}: {error}") from None
        if len(self._all) >= MOST and override.key not in self._all:
            raise AdminError(f"there is room for {MOST} overrides, and it is full; write some of them into the config")

    def _save(self) -> None:
        if self._state:
            self._state.save(DOCUMENT, {"overrides": self.listing()})

    def _read(self, entries: list[object]) -> None:
        """What is damaged in a document that somebody has edited is named and left out."""
        damaged = []
        for entry in entries:
            try:
                override = _override(entry)
                if override.key in self._all:
                    raise ValueError("this override is there twice")
                self._all[override.key] = override
            except ValueError as error:
                damaged.append(f"{printable(json.dumps(entry), _SHOWN_LENGTH)}: {printable(str(error), _SHOWN_LENGTH)}")
        if damaged:
            more = [f"and {len(damaged) - _SHOWN} more"] if len(damaged) > _SHOWN else []
            head = f"{len(damaged)} of {len(entries)} overrides on disk cannot be used and are dropped"
            self._say("error", "operator", "\n".join([head, *damaged[:_SHOWN], *more]))


def _change(override: Override) -> Change:
    """An added or removed target, for `merge`."""
    weight = override.value if isinstance(override.value, int) else 1
    target = named_target(override.target, override.address, weight)
    return Change("added" if override.what == "added" else "removed", override.group, target)


def _key(change: Change) -> Key:
    return change.group, change.target.name, str(change.target.address), change.what


def _check(data: Data) -> None:
    if not isinstance(data.get("overrides"), list):
        raise ValueError("it has no list of overrides")


def _override(entry: object) -> Override:
    """One entry of the document. Raises ValueError with what is wrong with it."""
    if not isinstance(entry, dict):
        raise ValueError("not an object")
    if missing := [name for name in _FIELDS if name not in entry]:
        raise ValueError(f"{missing[0]} is missing")
    if unknown := [name for name in entry if name not in _FIELDS]:
        raise ValueError(f"{unknown[0]} is unknown")
    override = Override(**entry)
    _judge(override)
    return override


def _judge(override: Override) -> None:
    """Are its values of the right type and such as a config may have? Raises ValueError."""
    for name in ("group", "target", "address", "what", "who", "reason"):
        _text(name, getattr(override, name))
    _time("when", override.when)
    if override.until is not None:
        _time("until", override.until)
    group_name(override.group)
    weight = 1
    match override.what:
        case "admin":
            if override.value not in (DRAIN, MAINT):
                raise ValueError(f"value must be {DRAIN} or {MAINT}")
        case "weight" | "added":
            if not isinstance(override.value, int) or isinstance(override.value, bool):
                raise ValueError("value must be a weight, a whole number")
            weight = override.value
        case "removed":
            if override.value is not None:
                raise ValueError("value must be null")
        case _:
            raise ValueError(f"what must be {', '.join(_ENDS)}")
    target = named_target(override.target, override.address, weight)
    if str(target.address) != override.address:
        raise ValueError(f"address must be written {target.address}")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST:
        raise ValueError(f"{name} must be text on one line, of at most {LONGEST} characters")


def _time(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < _END_OF_TIME:
        raise ValueError(f"{name} must be unix seconds")
