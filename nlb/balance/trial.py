"""Policies of the operator's own, tried before anything depends on them: while a config is checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nlb.balance.own import PREFIX, PolicyError, make, said, shown, title
from nlb.balance.target import Target
from nlb.model import config as model
from nlb.model.address import Address
from nlb.model.checks import Wrong

# Keys that a policy is asked with.
_KEYS = (b"", b"198.51.100.7 40000", b"2001:db8::7")


def mistakes(config: model.Config) -> Iterator[Wrong]:
    """What is wrong with the own policies of a config, each with its path in the file."""
    for number, group in enumerate(config.groups):
        if not group.policy.startswith(PREFIX):
            continue
        targets = [
            Target(place, target.name, group.name, _address(target), target.weight)
            for place, target in enumerate(group.targets)
        ]
        try:
            check(group.policy, targets)
        except PolicyError as error:
            yield Wrong(("target_group", number, "policy"), str(error))


def _address(target: model.Target) -> Address:
    """A name is one target for now, somewhere: what it stands for is not known while a config is read."""
    return target.address if isinstance(target.address, Address) else Address("192.0.2.1", target.address.port or 80)


def check(policy: str, targets: Sequence[Target]) -> None:
    """Make one and let it choose among these targets. Raises PolicyError."""
    own, needs_key = make(policy)
    name = title(policy)
    candidates = tuple(target for target in targets if target.weight)
    if not candidates:
        return  # it is never asked without
    try:
        own.build(candidates)
    except (Exception, SystemExit) as error:
        raise PolicyError(f"{name}.build failed for the targets of this group: {said(error)}") from None
    for key in _KEYS if needs_key else (b"",):
        try:
            answer = own.choose(key, ())
        except (Exception, SystemExit) as error:
            raise PolicyError(f"{name}.choose failed: {said(error)}") from None
        if not any(answer is candidate for candidate in candidates):
            raise PolicyError(f"{name}.choose answered {shown(answer)}; it must answer one of its candidates")
