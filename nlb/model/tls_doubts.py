"""What is legal but probably not meant, of TLS and the PROXY protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nlb.model.address import Address
from nlb.model.config import Listener, TargetGroup
from nlb.model.rule import OF_HELLO


def of_listener(listener: Listener, groups: Mapping[str, TargetGroup]) -> Iterator[str]:
    if "client_ca" in listener.tls.model_fields_set and listener.tls.client_auth == "off":
        yield ".tls.client_ca: is not used, because client_auth is off"
    if "proxy_header_timeout" in listener.model_fields_set and listener.proxy_protocol == "none":
        yield ".proxy_header_timeout: is not used, because proxy_protocol is none"
    for rule in listener.rules:
        again = next((name for name in rule.groups if name in groups and groups[name].protocol == "tls"), None)
        if again and any(getattr(rule, key) for key in OF_HELLO):
            yield f".rule.{rule.name}: what it passes on is encrypted already, and the group {again} encrypts it again"


def of_group(group: TargetGroup) -> Iterator[str]:
    if not group.is_encrypted:
        return
    tls, check = group.target_tls, group.health_check
    if not tls.verify:
        yield "target_tls.verify: is false, so whoever answers at the address of a target is believed"
        if tls.ca:
            yield "target_tls.ca: is not used, because verify is false"
    elif not tls.server_name and any(isinstance(target.address, Address) for target in group.targets):
        yield "target_tls.server_name: is missing, so certificates must be for the bare addresses of targets; few are"
    if check.protocol == "http" and check.port is None:
        yield f"health_check.protocol: is http, and the targets speak {group.protocol}; write https"
