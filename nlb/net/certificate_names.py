"""Which certificate is for which name: of several that could be, one of each kind of key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nlb.net.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Served:
    """Which certificate is for which name: `spec` has the keys `certificates` and `default` of a ServerContext's."""

    certificates: tuple[Certificate, ...]
    names: tuple[tuple[str, ...], ...]  # of each, those that it is served for
    default: tuple[int, ...]
    ignored: tuple[str, ...]  # sentences about certificates that no client will see

    @property
    def spec(self) -> dict[str, Any]:
        pairs = zip(self.certificates, self.names, strict=True)
        return {
            "certificates": [{"names": list(names), "pem": one.pem.decode("latin-1")} for one, names in pairs],
            "default": list(self.default),
        }


def serve(certificates: Sequence[Certificate], now: float) -> Served:
    """Of several for one name with keys of one kind, one that is valid now, then the one that ends last, so that a new
    one beside the old is used at once. The default is for the first certificate's first name. At least one is needed.
    """
    best: dict[tuple[str, str], Certificate] = {}
    for one in certificates:
        for name in one.names:
            other = best.get((name, one.kind))
            if other is None or (one.is_valid(now), one.not_after) > (other.is_valid(now), other.not_after):
                best[name, one.kind] = one
    first = certificates[0]
    default = {one.fingerprint for (name, _), one in best.items() if name in first.names[:1]} or {first.fingerprint}
    seen = default | {one.fingerprint for one in best.values()}
    used = [one for one in certificates if one.fingerprint in seen]
    names = tuple(tuple(name for name in one.names if best[name, one.kind] is one) for one in used)
    numbers = tuple(number for number, one in enumerate(used) if one.fingerprint in default)
    return Served(
        tuple(used), names, numbers, tuple(_why_not(one, best) for one in certificates if one.fingerprint not in seen)
    )


def _why_not(one: Certificate, best: dict[tuple[str, str], Certificate]) -> str:
    if not one.names:
        return f"{one.file}: not served: it is for no name, and not the first"
    better = best[one.names[0], one.kind]
    return f"{one.file}: not served: {better.file} is for {one.names[0]} too, and ends later"
