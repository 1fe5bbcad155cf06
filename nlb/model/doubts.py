"""What is legal but probably not meant. A doubt never stops anything; it is one line for whoever starts the daemon
or checks the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nlb.model import shield_doubts, tls_doubts
from nlb.model.actions import Redirect
from nlb.model.address import Address, DnsName
from nlb.model.config import Config, HealthCheck, Listener, Target, TargetGroup
from nlb.model.health_check import TLS, USED_BY
from nlb.model.rule import CONDITIONS, Rule

# Policies with a key and a table.
HASHING = ("maglev", "source_ip")


def warnings(config: Config) -> list[str]:
    """A sentence per doubt, each with the path that it is about."""
    in_front: dict[str, list[Listener]] = {}
    for listener in config.listeners:
        for name in listener.groups:
            in_front.setdefault(name, []).append(listener)
    groups = (doubt for group in config.groups for doubt in _group(group, in_front.get(group.name, [])))
    named = {group.name: group for group in config.groups}
    listeners = (f"listener.{item.name}{doubt}" for item in config.listeners for doubt in _listener(item, named))
    return [*_web(config), *_dns(config), *shield_doubts.warnings(config), *listeners, *groups]


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


def _listener(listener: Listener, groups: Mapping[str, TargetGroup]) -> Iterator[str]:
    given = listener.model_fields_set
    everybody = [network for network in listener.trusted_proxies if network.endswith("/0")]
    if everybody:
        yield f".trusted_proxies: {everybody[0]} is everybody, so any client can say that it is another"
    if listener.speaks_http and not listener.trusted_proxies:
        for key, header in (("x_forwarded", "X-Forwarded-For"), ("forwarded", "Forwarded")):
            if getattr(listener, key) == "preserve":
                yield f".{key}: passes on whatever clients write into {header}; targets must not believe it"
    if "access_log_except" in given and not listener.access_log:
        yield ".access_log_except: is not used, because access_log is false"
    if "min_body_rate_after" in given and not listener.min_body_rate:
        yield ".min_body_rate_after: is not used, because min_body_rate is 0"
    yield from tls_doubts.of_listener(listener, groups)
    yield from _rules(listener)


def _rules(listener: Listener) -> Iterator[str]:
    asked: dict[str, Rule] = {}
    always: Rule | None = None
    for rule in listener.rules:
        path = f".rule.{rule.name}"
        same = asked.setdefault(repr([getattr(rule, key) for key in CONDITIONS]), rule)
        if always:
            yield f"{path}: is never reached, because rule {always.name} comes first and takes every request"
        elif same is not rule:
            yield f"{path}: is never reached, because rule {same.name} comes first and asks the same"
        if rule.is_always:
            always = always or rule
        if rule.redirect and _is_circle(rule, rule.redirect, listener):
            yield f"{path}.redirect: leads to where this rule takes the request again, so clients go in a circle"


def _is_circle(rule: Rule, redirect: Redirect, listener: Listener) -> bool:
    """Whether the next request surely meets this rule again."""
    ports = rule.port or listener.ports
    if redirect.protocol not in ("#{protocol}", listener.protocol) or redirect.host != "#{host}":
        return False
    if rule.query or rule.method:
        return False
    if redirect.port not in ("#{port}", *map(str, ports)):
        return False
    if redirect.path == "/#{path}" or not (rule.path or rule.path_regex):
        return True
    path = redirect.path.replace("#{path}", "x")
    return not rule.path_regex and any(_is_plain(pattern) and _takes(pattern, path) for pattern in rule.path)


def _is_plain(pattern: str) -> bool:
    """No wildcard but a star at its end."""
    return not {*"*?\\"} & {*pattern.removesuffix("*")}


def _takes(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


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
    if "pool_timeout" in given and not group.pool_size:
        yield f"{path}.pool_timeout: is not used, because pool_size is 0"
    if not any(target.max_connections for target in group.targets):
        for key in sorted(given & {"queue", "queue_timeout"}):
            yield f"{path}.{key}: is not used, because no target has max_connections"
    if group.targets and all(target.backup for target in group.targets):
        yield f"{path}: every target is a backup, so all of them work; backup = true is for some beside others"
    yield from (f"{path}.{doubt}" for doubt in tls_doubts.of_group(group))
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
    if check.protocol in TLS and not check.tls_verify and "tls_verify" not in given and not group.is_encrypted:
        yield (
            "tls_verify: is false, because nothing says whose certificate it must be; write tls_server_name, "
            "or tls_verify = false to leave it so"
        )
    if "tls_ca" in given and check.protocol in TLS and not check.tls_verify:
        yield "tls_ca: is not used, because tls_verify is false"
    if check.port is not None and any(_is_unix(target) for target in group.targets):
        yield "port: is not used for unix sockets, which have none"
