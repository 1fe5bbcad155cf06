"""Lists of networks as workers take them: each distinct one once, in memory that they read (cidr.py, `packed`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nlb.model.network_list import NetworkFile
from nlb.model.shield import Shield
from nlb.net.channel import memfd
from nlb.shield.cidr import Networks

_Items = tuple[str | NetworkFile, ...]  # of a key of the config
_Texts = tuple[str, ...]

# Networks that are packed at once: 5 ms.
_STEP = 2500


@dataclass(frozen=True, slots=True)
class Listed:
    """`number` says which one it is, as long as it is kept."""

    number: int
    fd: int


class PackedLists:
    """Those of all listeners. Packing takes time (0.2 s for 100,000 networks), so a list is known by what is in it, and
    the contents of a file, which all listeners share, by their being the same object."""

    def __init__(self) -> None:
        self._by_content: dict[_Texts, Listed] = {}
        self._by_key: dict[tuple[_Items, tuple[int, ...]], tuple[_Texts, list[_Texts]]] = {}
        self._last = 0

    def deny(self, shield: Shield) -> Listed | None:
        """None denies nobody."""
        return self._listed(shield.deny, shield.lists) if shield.deny else None

    def allow(self, shield: Shield) -> Listed | None:
        """None allows everybody."""
        return self._listed(shield.allow, shield.lists) if shield.allow else None

    def prepare(self, shield: Shield) -> Iterator[None]:
        """Pack what `deny` and `allow` will ask for, some of it per step."""
        for items in (shield.deny, shield.allow):
            if items:
                yield from self._pack(self._content(items, shield.lists))

    def keep(self, shields: Iterable[Shield]) -> None:
        """Only those of these: all others are of no listener any more."""
        used = {_key(items, shield.lists)[0] for shield in shields for items in (shield.deny, shield.allow)}
        self._by_key = {key: known for key, known in self._by_key.items() if key in used}
        content = {texts for texts, _ in self._by_key.values()}
        for texts in [texts for texts in self._by_content if texts not in content]:
            os.close(self._by_content.pop(texts).fd)

    def _listed(self, items: _Items, lists: Mapping[str, _Texts]) -> Listed:
        texts = self._content(items, lists)
        for _ in self._pack(texts):
            pass
        return self._by_content[texts]

    def _content(self, items: _Items, lists: Mapping[str, _Texts]) -> _Texts:
        key, files = _key(items, lists)
        if key not in self._by_key:
            self._by_key[key] = _texts(items, lists), files
        return self._by_key[key][0]

    def _pack(self, texts: _Texts) -> Iterator[None]:
        if texts in self._by_content:
            return
        packed = bytearray()
        for start in range(0, len(texts), _STEP):
            packed += Networks(texts[start : start + _STEP]).packed()
            yield
        self._last += 1
        self._by_content[texts] = Listed(self._last, memfd("nlb-networks", packed))


def _key(items: _Items, lists: Mapping[str, _Texts]) -> tuple[tuple[_Items, tuple[int, ...]], list[_Texts]]:
    files = [lists.get(item.path, ()) for item in items if isinstance(item, NetworkFile)]
    return (items, tuple(map(id, files))), files


def _texts(items: _Items, lists: Mapping[str, _Texts]) -> _Texts:
    found: dict[str, None] = {}
    for item in items:
        found.update(dict.fromkeys(lists.get(item.path, ()) if isinstance(item, NetworkFile) else (item,)))
    return tuple(found)
