"""What is legal but probably not meant. A doubt never stops anything; it is one line for whoever starts the daemon
or checks the file.
"""

from __future__ import annotations

from collections.abc import Iterator

from nlb.model.address import Address, DnsName
from nlb.model.config import Config, HealthCheck, Listener, Target, TargetGroup
from nlb.model.health_check import TLS, USED_BY

# Policies with a key and a table.
HASHING = ("maglev", "source_ip")


def warnings(config: Config) -> list[str]:
    """A sentence per doubt, each with the path that it is about."""
    in_front: dict[str, list[Listener]] = {}
    for listener in config.listeners:
        in_front.setdefault(listener.target_group, []).append(listener)
    groups = (doubt for group in config.groups for doubt in _group(group, in_front.get(group.name, [])))
    return [*_web(config), *_dns(config), *groups]


def _web(config: Config) -> Iterator[str]:
    web = config.admin.web
    if web and not _is_loopback(web):
        yield f"admin.web: {web} shows the state of the balancer to anyone who reaches it: it asks for no password"


def _is_loopback(address: Address) -> bool:
    return address.host.startswith("127.") or address.host == "::1"


def _dns(config: Config) -> Iterator[str]:
    names = any(isinstance(target.address, DnsName) for group in config.groups for target in group.targets)
    if config.dns.model_fields_set and not names:
        yield "dns: is not used, because no target is given by a name"


def _is_unix(target: Target) -> bool:
    return isinstance(target.address, Address) and target.address.is_unix


def _group(group: TargetGroup, listeners: list[Listener]) -> Iterator[str]:
    path = f"target_group.{group.name}"
    given = group.model_fields_set
    if not listeners:
        yield f"{path}: no listener forwards to it"
    if group.transparent:
        yield (
            f"{path}.transparent: needs CAP_NET_ADMIN, the targets' answers routed through this box, and here: "
            "nft add table inet nlb_transparent; nft add chain inet nlb_transparent divert "
            "'{ type filter hook prerouting priority mangle; }'; nft add rule inet nlb_transparent divert "
            "meta l4proto tcp socket transparent 1 meta mark set 1 accept; "
            "ip rule add fwmark 1 lookup 100; ip route add local default dev lo table 100 (and both with ip -6)"
        )
    if not group.targets:
        yield f"{path}: has no targets; every session will end as pick/no_target"
    elif not any(target.weight for target in group.targets):
        yield f"{path}: all weights are 0, so no target gets work; every session will end as pick/no_target"
    for target in group.targets:
        if isinstance(target.address, DnsName) and target.address.host == "localhost" and target.family == "any":
            yield f"{path}: {target.address} may be two targets, 127.0.0.1 and [::1]; write the one that is meant"
    yield from (f"{path}.{doubt}" for doubt in _policy(group, listeners))
    if not any(target.max_connections for target in group.targets):
        for key in sorted(given & {"queue", "queue_timeout"}):
            yield f"{path}.{key}: is not used, because no target has max_connections"
    if group.targets and all(target.backup for target in group.targets):
        yield f"{path}: every target is a backup, so all of them work; backup = true is for some beside others"
    yield from (f"{path}.health_check.{doubt}" for doubt in _health_check(group.health_check, group))


def _policy(group: TargetGroup, listeners: list[Listener]) -> Iterator[str]:
    policy, given = group.policy, group.model_fields_set
    hashes, is_own = policy in HASHING, policy.startswith("python:")
    if "hash_key" in given and policy != "maglev" and not is_own:
        why = "its key is the client's address" if hashes else "it asks for no key"
        yield f"hash_key: is not used, because the policy is {policy}: {why}"
    if group.max_load is not None and not hashes:
        yield f"max_load: is not used, because the policy is {policy}; it is for {' and '.join(HASHING)}"
    if group.slow_start and (hashes or is_own):
        why = "it decides by itself" if is_own else "each step would move clients to another target"
        yield f"slow_start: is not used, because the policy is {policy}: {why}"
    if policy == "source_ip" or (policy == "maglev" and group.hash_key == "source_ip"):
        key = "policy" if policy == "source_ip" else "hash_key"
        if any(bind.is_unix for listener in listeners for bind in listener.binds):
            yield f"{key}: clients of a unix socket have no address, so all of them get one target"


def _health_check(check: HealthCheck, group: TargetGroup) -> Iterator[str]:
    given = check.model_fields_set - {"protocol"}
    if check.protocol == "none":
        for key in sorted(given):
            yield f"{key}: is not used, because protocol is none"
        return
    for key in sorted(given & USED_BY.keys()):
        if check.protocol not in USED_BY[key]:
            other = USED_BY[key][0]
            yield f'{key}: is not used, because protocol is {check.protocol}; write protocol = "{other}" to ask for it'
    if check.protocol in TLS and not check.tls_verify and "tls_verify" not in given:
        yield (
            "tls_verify: is false, because nothing says whose certificate it must be; write tls_server_name, "
            "or tls_verify = false to leave it so"
        )
    if "tls_ca" in given and check.protocol in TLS and not check.tls_verify:
        yield "tls_ca: is not used, because tls_verify is false"
    if check.port is not None and any(_is_unix(target) for target in group.targets):
        yield "port: is not used for unix sockets, which have none"
