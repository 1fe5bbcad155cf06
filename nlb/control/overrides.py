"""What operators changed at run time: who wished what for which target, why, and until when. It is on disk before the
operator gets an answer; what a wish does to a target is the controller's affair.

A target is known by group, name and address: a wish for one server is none for the server that gets its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nlb.balance.target import DRAIN, MAINT, READY
from nlb.control import kept
from nlb.control.state import Data, Say, StateDir
from nlb.errors import AdminError
from nlb.model.address import Address, DnsName
from nlb.model.merge import Change, Void, named_target
from nlb.model.values import group_name

What = Literal["admin", "weight", "added", "removed"]
Key = tuple[str, str, str, What]

DOCUMENT = "overrides"  # in the state directory

# Each change writes them all, which at this many takes some 30 ms. Who needs more should change the config.
MOST = 10_000

# A wish ends the older ones that it answers. A target that is removed takes what was wished for it along: should it
# come back, then as new.
_ENDS: dict[What, tuple[What, ...]] = {
    "admin": ("admin",),
    "weight": ("weight",),
    "added": ("added", "removed"),
    "removed": ("removed", "added", "admin", "weight"),
}
_OPPOSITE: dict[What, What] = {"added": "removed", "removed": "added"}


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
        return kept.plain(self)


class Overrides:
    """All wishes that hold, in the order in which they were made. Everything is called on the loop's thread.

    Without a state directory they last as long as control runs.
    """

    def __init__(self, state: StateDir | None, say: Say) -> None:
        """Reads what was kept. Some of it may have ended meanwhile, so call `expire` before anything is applied."""
        self._state = state
        self._say = say
        self._all: dict[Key, Override] = {}
        kept.load(state, DOCUMENT, Override, self._take_in, say)

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
        ended = kept.ended(self._all.values(), now)
        self._end(ended)
        return ended

    def next_expiry(self) -> float | None:
        """When the next one ends, in unix seconds."""
        return kept.next_end(self._all.values())

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
        kept.save(self._state, DOCUMENT, self._all.values())

    def _take_in(self, override: Override) -> None:
        _judge(override)
        if override.key in self._all:
            raise ValueError("this override is there twice")
        self._all[override.key] = override


def _change(override: Override) -> Change:
    """An added or removed target, for `merge`."""
    weight = override.value if isinstance(override.value, int) else 1
    target = named_target(override.target, override.address, weight)
    return Change("added" if override.what == "added" else "removed", override.group, target)


def _key(change: Change) -> Key:
    return change.group, change.target.name, str(change.target.address), change.what


def _judge(override: Override) -> None:
    """Are its values of the right type and such as a config may have? Raises ValueError."""
    kept.judge(override, "group", "target", "address", "what", "who", "reason")
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
