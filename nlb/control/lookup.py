"""One question about a name, asked to its end in a thread of its own: every function here may block.

A name is looked for in /etc/hosts first, as the system does; then DNS is asked, with the nameservers, search list and
options of /etc/resolv.conf. Both files are read anew for every look-up. `localhost` needs neither.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from os import path
from time import monotonic
from typing import Any

import dns.exception
import dns.name
import dns.nameserver
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from nlb.control.names import MOST, Answer, Failure, Found, Question, Settings, listed
from nlb.model.address import Address
from nlb.model.units import format_duration

# Seconds for one look-up of a service, whose hosts are asked for one by one.
LONGEST = 30.0

# The bound of a target's weight; an SRV record's goes to 65,535.
LARGEST_WEIGHT = 1000

_RECORD = {4: "A", 6: "AAAA"}
_VERSIONS = {"any": (4, 6), "ipv4": (4,), "ipv6": (6,)}


def look_up(question: Question, settings: Settings) -> Answer:
    """Ask once, and wait for the answer. Raises nothing that the network or a nameserver could cause."""
    asker = _LookUp(question, settings)
    if question.srv:
        asker.service(question.host)
    else:
        asker.addresses(question.host)
    return Answer(tuple(asker.found), tuple(asker.failures), asker.ttl)


class _LookUp:
    """One question to its end: what was found, what failed, how long it holds."""

    def __init__(self, question: Question, settings: Settings) -> None:
        self.found: list[Found] = []
        self.failures: list[Failure] = []
        self.ttl = math.inf
        self._versions = _VERSIONS[question.family]
        self._settings = settings
        self._end = monotonic() + LONGEST
        self._hosts = _text(path.join(settings.etc, "hosts"))

    def addresses(self, host: str) -> None:
        self.found += [Found(host, ip) for ip in self._ips(host)]

    def service(self, name: str) -> None:
        """Targets of the SRV records with the lowest priority number; the others are for when these are gone."""
        try:
            answer = self._ask(name, "SRV", monotonic() + self._settings.timeout)
        except (dns.exception.DNSException, OSError) as error:
            self.failures.append(Failure(self._words(error, "SRV")))
            return
        # A target of "." says that there is no such service (RFC 2782), and nobody connects to port 0.
        records = [record for record in answer if record.port and record.target != dns.name.root]
        first = min((record.priority for record in records), default=0)
        records = sorted(record for record in records if record.priority == first)[: MOST + 1]
        ports: dict[dns.name.Name, list[tuple[int, int]]] = {}
        for record, weight in zip(records, shares([record.weight for record in records]), strict=True):
            ports.setdefault(record.target, []).append((record.port, weight))
        for target, uses in ports.items():
            if len(self.found) > MOST:
                return  # that is said, and the others would not be used
            host = target.to_text(omit_final_dot=True).lower()
            for ip in self._ips(host, target, answer.response, f"{host}: "):
                self.found += [Found(host, ip, port, weight) for port, weight in uses]

    def _ips(self, host: str, name: dns.name.Name | None = None, response: Any = None, prefix: str = "") -> list[str]:
        """The addresses of one host. `response` may have told them already, beside its own answer."""
        if ips := self._usable(in_hosts(self._hosts, host)):
            self.ttl = 0.0  # a file has none, and is cheap to read again
            return ips
        failed: list[Failure] = []
        nothing: list[str] = []
        asked: dns.name.Name | str = name or host
        until = min(monotonic() + self._settings.timeout, self._end)
        for version in self._versions:
            kind = _RECORD[version]
            try:
                records = self._beside(response, asked, kind)
                if records is None:
                    records = self._ask(asked, kind, until)
                    asked = records.qname  # where the search list found it; not elsewhere for the other kind
                ips += self._usable(record.address for record in records)
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
                nothing.append(prefix + self._words(error, kind))  # for one kind that is an answer
            except (dns.exception.DNSException, OSError) as error:
                failed.append(Failure(prefix + self._words(error, kind), host, version))
        if ips:
            self.failures += failed
        else:
            reasons = [*(failure.reason for failure in failed), *nothing] or [f"{prefix}no usable address"]
            self.failures.append(Failure(listed(reasons, "; "), host))
        return ips

    def _usable(self, ips: Iterable[str]) -> list[str]:
        return [ip for ip in map(usable_ip, ips) if ip and (6 if ":" in ip else 4) in self._versions]

    def _beside(self, response: Any, name: dns.name.Name | str, kind: str) -> Any:
        if response is None:
            return None
        rdtype = dns.rdatatype.from_text(kind)
        records = response.get_rrset(response.additional, name, dns.rdataclass.IN, rdtype)
        if records is not None:
            self.ttl = min(self.ttl, records.ttl)
        return records

    def _ask(self, name: dns.name.Name | str, kind: str, until: float) -> dns.resolver.Answer:
        answer = self._resolver.resolve(name, kind, lifetime=until - monotonic(), search=True)
        self.ttl = min(self.ttl, answer.chaining_result.minimum_ttl)
        return answer

    @cached_property
    def _resolver(self) -> dns.resolver.Resolver:
        resolv_conf, servers = path.join(self._settings.etc, "resolv.conf"), self._settings.nameservers
        resolver = dns.resolver.Resolver(configure=False)
        try:
            resolver.read_resolv_conf(resolv_conf)
        except dns.resolver.NoResolverConfiguration:
            if not servers:
                raise OSError(f"{resolv_conf} names no nameserver, or cannot be read") from None
        except ValueError as error:  # not UTF-8, or a nameserver that is no address
            raise OSError(f"{resolv_conf} cannot be used: {error}") from None
        if servers:
            resolver.nameservers = [dns.nameserver.Do53Nameserver(server.host, server.port) for server in servers]
        return resolver

    def _words(self, error: Exception, kind: str) -> str:
        """What went wrong, for people."""
        if isinstance(error, dns.resolver.NXDOMAIN):
            return "no such name (NXDOMAIN)"
        if isinstance(error, dns.resolver.NoAnswer):
            return f"no {kind} record"
        if isinstance(error, dns.exception.Timeout):
            return f"no answer within {format_duration(self._settings.timeout)}"
        if isinstance(error, dns.resolver.NoNameservers):
            # (nameserver as Do53:address@port, by TCP?, port, what it said, the message)
            said = [
                f"{Address(server.removeprefix('Do53:').partition('@')[0], port)} answered {what}"
                for server, _, port, what, _ in error.kwargs["errors"]
            ]
            return listed(said)
        return str(error)


def _text(filename: str) -> str:
    try:
        with open(filename, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # a box without one has no such names


# --- pure: what hosts files and records mean


def in_hosts(text: str, name: str) -> list[str]:
    """The addresses of a name in the text of a hosts file."""
    name = name.rstrip(".").lower()
    ips = []
    for line in text.splitlines():
        if name in line.lower():  # such files may have 100,000 lines
            ip, *names = line.partition("#")[0].lower().split() or [""]
            if name in names:
                ips.append(ip)
    if not ips and (name == "localhost" or name.endswith(".localhost")):  # RFC 6761, section 6.3
        return ["127.0.0.1", "::1"]
    return ips


def usable_ip(text: str) -> str:
    """The one spelling of an address that can be a target, else nothing."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return ""
    if ip.version == 6 and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return "" if ip.is_unspecified or ip.is_multicast else ip.compressed


def shares(weights: Sequence[int]) -> list[int]:
    """Weights of SRV records as weights of targets. 0 is the smallest share there and none here, so it becomes 1."""
    scale = min(1.0, LARGEST_WEIGHT / max(weights, default=0)) if any(weights) else 1.0
    return [max(1, round(weight * scale)) for weight in weights]
