"""Files of authorities that groups name, whom their targets' certificates must be from: `target_tls.ca`, which workers
go by, and `health_check.tls_ca`, which probes read for themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nlb.control import certificates
from nlb.model.config import Config, TargetGroup
from nlb.model.health_check import TLS


class Authorities(NamedTuple):
    """What was in a file; nothing where only probes read it."""

    pem: str


def in_config(config: Config) -> dict[str, Authorities]:
    """All such files, with what they had when they were read."""
    found = {check.tls_ca: Authorities("") for group in config.groups if (check := group.health_check).protocol in TLS}
    found |= {group.target_tls.ca: Authorities(group.authorities) for group in config.groups}
    return {path: content for path, content in found.items() if path}


def with_contents(config: Config, contents: Mapping[str, Authorities]) -> Config:
    """The same, where these files have other contents."""

    def renewed(group: TargetGroup) -> TargetGroup:
        content = contents.get(group.target_tls.ca or "")
        return group.with_authorities(content.pem) if content else group

    groups = tuple(map(renewed, config.groups))
    changed = any(new is not old for new, old in zip(groups, config.groups, strict=True))
    return config.model_copy(update={"groups": groups}) if changed else config


def read(paths: Iterable[str]) -> dict[str, Authorities | str]:
    """What is in each, or what is wrong with it."""
    found: dict[str, Authorities | str] = {}
    for path in paths:
        try:
            found[path] = Authorities(certificates.authorities(path))
        except ValueError as error:
            found[path] = str(error)
    return found
