"""The schema: every key that a config may have, its type, its bounds and its default beside the reason for it.

A field judges its own value and its neighbours'. What only the whole file shows (a name used twice, a group that
nobody defines) is judged in `checks.py`; `parse.py` asks both, so a Config is made by `parse` and nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_serializer
from pydantic import SerializerFunctionWrapHandler as Inner
from pydantic import ValidationInfo as Info

from nlb.model import http, limits, protocols, values
from nlb.model.address import Address, DnsName, parse_server
from nlb.model.health_check import TLS
from nlb.model.health_check import HealthCheck as HealthCheck  # for those who look for it here
from nlb.model.listener import Listener as Listener
from nlb.model.protocols import ENCRYPTED, HTTP, Protocol, ProxyProtocol, of_requests, of_tls
from nlb.model.shield import Shield
from nlb.model.table import Table
from nlb.model.tls import TargetTls
from nlb.model.units import format_duration
from nlb.model.values import duration, whole

# Less than 10 ms would only measure our own scheduling.
_LEAST = 0.01
_ONE_OR_MANY = BeforeValidator(values.one_or_many)
_FIVE_MINUTES, _HOUR, _WEEK = 300.0, 3600.0, 604800.0


class Target(Table):
    """A server, or the name of several. `port` is None once it is read: it has gone into the address."""

    port: values.Port | None = Field(default=None, exclude=True, repr=False)
    address: values.Server
    name: values.TargetName = Field(default=None, validate_default=True)  # the address
    weight: Annotated[int, whole(0, 1000)] = 1  # equal shares; 0 is no new work
    backup: values.Flag = False  # whoever is there works
    max_connections: Annotated[int, whole(1, 1_000_000)] | None = None  # nobody but the operator knows it
    srv: values.Flag = False  # most names have addresses, and few have services
    family: Literal["any", "ipv4", "ipv6"] = "any"  # whoever publishes an address serves there
    proxy_protocol: ProxyProtocol | None = None  # the group's

    # The DNS name, of one that stands for an address of it.
    _host: str = PrivateAttr(default="")

    @property
    def server_name(self) -> str:
        """Whom its certificate must be for, where nobody says it."""
        address = self.address
        if isinstance(address, Address) and address.is_unix:
            return "localhost"
        return self._host or address.host.partition("%")[0]

    def at(self, host: str, **changes: Any) -> Target:
        """A copy that stands for one address of this DNS name."""
        copy = self.model_copy(update=changes)
        copy._host = host
        return copy

    @property
    def server(self) -> Address:
        """The address, of a target of which it is known that no name has to be looked up."""
        assert isinstance(self.address, Address)
        return self.address

    @field_validator("address", mode="plain")
    @classmethod
    def _one_server(cls, value: object, info: Info) -> Address | DnsName:
        if isinstance(value, DnsName) and not value.port:
            return value  # read_target leaves the port to `srv`
        port = info.data.get("port", 1)  # after a wrong one, which is an error already, any will do
        address = value if isinstance(value, Address | DnsName) else parse_server(values.text(value), port or 0)
        if "port" in info.data and port:
            raise ValueError(f"{address} and `port` beside it; write the port once")
        if isinstance(address, Address) and address.is_unix:
            return address
        if address.port == 0:
            better = f"{replace(address, port=3000)}, or port = 3000 in its group"
            better += ", or srv = true if SRV records say it" if isinstance(address, DnsName) else ""
            raise ValueError(f"'{value}' has no port to connect to; write {better}")
        if address.host in ("0.0.0.0", "::"):
            raise ValueError(f"{address.host} is no target but all addresses of this box; write 127.0.0.1 or [::1]")
        return address

    @field_validator("name", mode="before")
    @classmethod
    def _called_by_address(cls, value: object, info: Info) -> object:
        return values.name_of(info.data.get("address")) if value is None else value

    @field_validator("srv")
    @classmethod
    def _says_the_rest(cls, value: bool, info: Info) -> bool:
        address = info.data.get("address")
        if not value or address is None:
            return value
        if isinstance(address, Address):
            raise ValueError(f"is for a DNS name; {address} is an address, leave srv out")
        if address.port or info.data.get("port"):
            raise ValueError("SRV records say the port; write none beside srv, or leave srv out")
        if info.data.get("weight", 1) != 1:
            raise ValueError("SRV records say the weights; write none beside srv")
        return value

    @field_validator("family")
    @classmethod
    def _of_a_name(cls, value: str, info: Info) -> str:
        address = info.data.get("address")
        if value != "any" and isinstance(address, Address):
            raise ValueError(f"is for a DNS name; {address} is one address, leave family out")
        return value


def read_target(item: Any, port: int | None) -> Any:
    """One of a group's `targets`, in any of its forms, as a table with an Address or DnsName in it. What cannot be
    read stays as it is, for Target to refuse at its own key. `port` is the group's, for a target without one.
    """
    if isinstance(item, str):
        name, equals, address = item.partition("=")
        item = {"name": name, "address": address} if equals and not item.startswith("unix:") else {"address": item}
    if not isinstance(item, dict) or not isinstance(item.get("address"), str):
        return item
    try:
        return item | {"address": parse_server(item["address"])}
    except ValueError:
        pass  # has no port, or cannot be read at all
    if item.get("srv") is True and (service := _name_alone(item["address"])):
        return item | {"address": service}
    try:
        own = values.port(item.get("port", port))
        rest = {key: value for key, value in item.items() if key != "port"}
        return rest | {"address": parse_server(item["address"], own)}
    except ValueError:
        return item


def _name_alone(text: str) -> DnsName | None:
    try:
        name = parse_server(text, 0)
    except ValueError:
        return None
    return name if isinstance(name, DnsName) else None


class TargetGroup(Table):
    """Where a listener forwards to."""

    name: values.GroupName
    protocol: Protocol = "tcp"  # as its listeners
    target_tls: TargetTls = TargetTls()
    proxy_protocol: ProxyProtocol = "none"  # a server that does not expect it takes it for the client's first words
    policy: values.Policy = "round_robin"  # even shares without a thought
    # maglev: flow (addresses and ports) spreads one busy client too; source_ip keeps a client on its target.
    hash_key: Literal["source_ip", "flow"] = "flow"
    max_load: values.MaxLoad | None = None  # affinity is worth more than even shares to whoever asks for it
    port: values.Port | None = None  # each target has its own
    targets: tuple[Target, ...] = Field(default=(), max_length=limits.TARGETS)  # none is legal: they may come later
    # AWS's: long downloads finish, and a drain ends within one coffee.
    deregistration_delay: Annotated[float, duration(0, _HOUR)] = 300.0
    tries: Annotated[int, whole(1, 10)] = 3  # targets in all; two dead ones at once are rare
    # A target on a LAN answers in milliseconds, after one lost SYN in a second; past this another is tried.
    connect_timeout: Annotated[float, duration(_LEAST, _FIVE_MINUTES)] = 5.0
    queue: Annotated[int, whole(0, 100_000)] = 100  # more than are served in `queue_timeout` would wait in vain
    queue_timeout: Annotated[float, duration(_LEAST, _FIVE_MINUTES)] = 5.0  # people give up after some seconds
    slow_start: Annotated[float, duration(0, _HOUR)] = 0.0  # most servers are as fast at once as they will ever be
    # The kernel's choice. Several addresses of this box multiply the ports: each has some 28,000 to one target.
    source: Annotated[tuple[values.Ip, ...], _ONE_OR_MANY] = Field(default=(), max_length=limits.BINDS)
    transparent: values.Flag = False  # targets see nlb's address; their own clients' would need routing set up
    # Failing connects may take out half of a group, never all: then the fault is likely ours or the network's.
    max_ejected: values.Percent = 50.0
    on_unhealthy: Literal["keep", "drain", "reset"] = "reset"  # as AWS NLB: clients reconnect to a healthy target
    on_remove: Literal["drain", "reset"] = "drain"  # a planned change breaks nothing
    on_drain_timeout: Literal["keep", "reset"] = "reset"  # the operator waits for an end
    health_check: HealthCheck = HealthCheck()
    stickiness: http.Stickiness | None = None  # whose sessions are in a database needs none
    request_headers: http.RequestHeaders = http.RequestHeaders()
    response_headers: http.ResponseHeaders = http.ResponseHeaders()
    response_timeout: Annotated[float, duration(_LEAST, _WEEK)] = 60.0  # AWS ALB's; people have left long before
    tunnel_timeout: Annotated[float, duration(_LEAST, _WEEK)] | None = None  # the listener's
    # Idle connections per target and worker. More would only wait to be closed by the target.
    pool_size: Annotated[int, whole(0, 10_000)] = 64
    pool_timeout: Annotated[float, duration(_LEAST, _HOUR)] = 4.0  # below the 5 s of Node and uvicorn: we close first
    retry_budget: values.Percent = 20.0  # of the requests: an outage is not made worse by asking twice

    # What the file target_tls.ca has, once somebody who may read files has read it.
    _authorities: str = PrivateAttr(default="")

    @property
    def authorities(self) -> str:
        """Who must have signed the targets' certificates, in PEM; empty: whom this box trusts."""
        return self._authorities

    def with_authorities(self, authorities: str) -> TargetGroup:
        """A copy that has these."""
        copy = self.model_copy()
        copy._authorities = authorities
        return copy

    @property
    def speaks_http(self) -> bool:
        return self.protocol in HTTP

    @property
    def is_encrypted(self) -> bool:
        return self.protocol in ENCRYPTED

    def proxy_protocol_of(self, target: Target) -> ProxyProtocol:
        return target.proxy_protocol or self.proxy_protocol

    _needs_requests = field_validator(*http.GROUP_KEYS, mode="before")(of_requests)
    _needs_tls = field_validator("target_tls", mode="before")(of_tls)

    @field_validator("proxy_protocol")
    @classmethod
    def _of_one_client(cls, value: ProxyProtocol, info: Info) -> ProxyProtocol:
        if value != "none" and info.data.get("protocol") in HTTP:
            raise ValueError(protocols.NO_PROXY_HEADER)
        return value

    @field_validator("health_check")
    @classmethod
    def _as_the_traffic(cls, value: HealthCheck, info: Info) -> HealthCheck:
        """Targets must show to a check what they show to the traffic, unless it says otherwise."""
        tls = info.data.get("target_tls")
        if tls is None or value.protocol not in TLS or info.data.get("protocol") not in ENCRYPTED:
            return value
        said = {"tls_verify": tls.verify, "tls_ca": tls.ca, "tls_server_name": tls.server_name}
        given = value.model_fields_set
        if "host" in given:
            del said["tls_server_name"]  # its name is there already
        rest = {key: said[key] for key in said.keys() - given}
        return HealthCheck.model_construct(given, **(value.__dict__ | rest))

    @field_validator("transparent")
    @classmethod
    def _or_a_source(cls, value: bool, info: Info) -> bool:
        if value and info.data.get("protocol") in HTTP:
            raise ValueError(
                "connections to http targets carry requests of many clients, so they come from the address of none; "
                "X-Forwarded-For tells it: leave this out"
            )
        if value and info.data.get("source"):
            raise ValueError("connections come from the client's address or from those of `source`; write one of them")
        return value

    @field_validator("targets", mode="before")
    @classmethod
    def _in_any_form(cls, value: object, info: Info) -> object:
        if not isinstance(value, list):
            return value
        port = info.data.get("port", 1)  # after a wrong one, which is an error already, any will do
        return [read_target(item, port) for item in value]

    @model_serializer(mode="wrap")
    def _what_it_speaks(self, inner: Inner) -> dict[str, Any]:
        """Every key, but not those that a file could not have."""
        data: dict[str, Any] = inner(self)
        alien = {"transparent", "proxy_protocol"} if self.speaks_http else {*http.GROUP_KEYS}
        if not self.is_encrypted:
            alien.add("target_tls")
        return {key: value for key, value in data.items() if key not in alien}


class Admin(Table):
    """The operator's door."""

    socket: values.SocketPath | None = None  # the first of places.admin_sockets
    state_dir: values.Folder | None = None  # places.state_dir
    web: values.Web = Address("127.0.0.1", 9191)  # this box only: it asks nobody for a password


class Log(Table):
    """Where events and access lines go, and how they are written. The journal has fields of its own for them."""

    format: Literal["text", "json"] = "text"  # people read it before programs do
    file: values.LogFile = "stderr"  # what a terminal, systemd and a container all keep
    access_file: values.LogFile = Field(default=None, validate_default=True)  # with the events, in order

    @field_validator("access_file", mode="before")
    @classmethod
    def _with_the_events(cls, value: object, info: Info) -> object:
        return info.data.get("file", "stderr") if value is None else value


class Dns(Table):
    """Whom to ask for the addresses of targets that are given by a name, and how often."""

    nameservers: tuple[values.Nameserver, ...] = Field(default=(), max_length=limits.NAMESERVERS)  # of resolv.conf
    min_ttl: Annotated[float, duration(0.1, _HOUR)] = 5.0  # a TTL of 0 shall not become a question per second
    # 60 s: a TTL of a day shall not send a day's clients to a server that has moved.
    max_ttl: Annotated[float, duration(0.1, _WEEK)] = Field(default=None, validate_default=True)
    timeout: Annotated[float, duration(0.1, 30)] = 5.0  # as the system's resolver; enough for two tries

    @field_validator("max_ttl", mode="before")
    @classmethod
    def _a_minute(cls, value: object, info: Info) -> object:
        return max(60.0, info.data.get("min_ttl", 0.0)) if value is None else value

    @field_validator("max_ttl")
    @classmethod
    def _not_below_min_ttl(cls, value: float, info: Info) -> float:
        least = info.data.get("min_ttl", value)
        if value < least:
            raise ValueError(f"{format_duration(value)} is below the min_ttl of {format_duration(least)}")
        return value


class Config(Table):
    """The whole file."""

    workers: values.Processes = "auto"  # one per usable core
    shutdown_timeout: Annotated[float, duration(0, _HOUR)] = 10.0  # most requests end; a restart is not held up
    admin: Admin = Admin()
    log: Log = Log()
    dns: Dns = Dns()
    shield: Shield = Shield()
    groups: tuple[TargetGroup, ...] = Field(default=(), alias="target_group", max_length=limits.GROUPS)
    listeners: tuple[Listener, ...] = Field(default=(), alias="listener", max_length=limits.LISTENERS)

    @field_validator("listeners")
    @classmethod
    def _to_the_only_group(cls, value: tuple[Listener, ...], info: Info) -> tuple[Listener, ...]:
        groups = info.data.get("groups", ())
        if len(groups) != 1:
            return value
        only = {"target_group": groups[0].name}
        return tuple(item if item.target_group else item.model_copy(update=only) for item in value)

    @field_validator("listeners")
    @classmethod
    def _with_what_is_said_for_all(cls, value: tuple[Listener, ...], info: Info) -> tuple[Listener, ...]:
        shield = info.data.get("shield")
        if shield is None or not shield.model_fields_set:
            return value
        return tuple(item.with_shield(item.shield.over(shield)) for item in value)

    @property
    def target_count(self) -> int:
        return sum(len(group.targets) for group in self.groups)
