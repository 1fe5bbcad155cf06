"""Which rule of a listener does a request meet? The first by priority whose conditions all hold; else the default.

Rules for exact hosts, and for all hosts under a domain, stand in dicts, so their number costs nothing; only the others
are asked one by one. Everything is compiled when a listener changes.

    listener spec   {"rules": [rule, ...], "default": rule}      rules in the order of their priority
    rule            {"label", "number", conditions..., and one of "forward", "redirect", "fixed_response"}
    forward         [[group, weight], ...] or [[group, weight, number], ...]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import accumulate
from math import inf
from operator import itemgetter
from typing import Any

from nlb.http1.conditions import Asked, Condition, canonical, compiled, hold
from nlb.http1.facts import Request
from nlb.http1.redirect import Redirect
from nlb.shield.patterns import is_wild

FORWARD, REDIRECT, FIXED_RESPONSE = range(3)

# A rule that was not needed any more, in a trace.
NOT_ASKED = "not asked"


class Rule:
    """What a rule does. Groups are the caller's own words for them, and mean nothing here; nor do the numbers, of
    which a rule has one, and may have another one for each of its groups: see `numbers`."""

    __slots__ = (
        "_shares",
        "body",
        "content_type",
        "forward",
        "groups",
        "kind",
        "label",
        "number",
        "numbers",
        "place",
        "redirect",
        "status",
    )

    def __init__(self, spec: Mapping[str, Any], place: int) -> None:
        self.label: str = spec["label"]
        self.number: Any = spec["number"]
        self.place = place  # among the listener's rules, from 0
        forward = spec.get("forward") or ()
        self.forward: list[tuple[Any, int]] = [(group, weight) for group, weight, *_ in forward]
        self.numbers: dict[Any, Any] = {group: (*rest, self.number)[0] for group, _, *rest in forward}
        self.redirect: Redirect | None = None
        self.status, self.content_type, self.body = 0, "", b""
        if redirect := spec.get("redirect"):
            self.kind = REDIRECT
            self.redirect = Redirect(redirect)
            self.status = self.redirect.status
        elif fixed := spec.get("fixed_response"):
            self.kind = FIXED_RESPONSE
            self.status, self.content_type = int(fixed["status"]), fixed["content_type"]
            self.body = fixed["body"].encode()
        else:
            self.kind = FORWARD
        # Those that can get something. Where all weights are 0, that is the first.
        weighted = [(group, weight) for group, weight in self.forward if weight] or self.forward[:1]
        self.groups = tuple([group for group, _ in weighted])
        whole = sum(weight for _, weight in weighted)
        ends = accumulate(weight for _, weight in weighted[:-1])
        self._shares = tuple([(group, end / whole) for group, end in zip(self.groups, ends, strict=False)])

    def group(self, random: Callable[[], float]) -> Any:
        """The group that gets this request, by weight; `random` gives numbers from 0 to below 1."""
        if not self._shares:
            return self.groups[0]
        drawn = random()
        for group, end in self._shares:
            if drawn < end:
                return group
        return self.groups[-1]

    def location(self, request: Request, protocol: str, host: str, port: int) -> bytes:
        """Of a redirect; see Redirect."""
        assert self.redirect is not None
        return self.redirect.location(request, protocol, host, port)


# A rule, its place, and which of its conditions are open once it is found where it stands.
Entry = tuple[float, tuple[Condition, ...], Rule]

_place = itemgetter(0)


class Routes:
    """The rules of one listener."""

    __slots__ = ("_deepest", "_domains", "_hosts", "_others", "_rules", "_settled", "default")

    def __init__(self, rules: Sequence[Mapping[str, Any]], default: Mapping[str, Any]) -> None:
        self.default = Rule(default, len(rules))
        self._rules: list[tuple[Rule, tuple[Condition, ...]]] = []
        self._hosts: dict[str, list[Entry]] = {}  # api.example.com
        self._domains: dict[str, list[Entry]] = {}  # .example.com
        self._others: list[Entry] = []
        for number, spec in enumerate(rules):
            self._add(Rule(spec, number), compiled(spec), spec.get("host") or ())
        self._deepest = max((domain.count(".") for domain in self._domains), default=0)
        self._settled: dict[str, Rule] = {}  # hosts of which nothing more needs to be known
        for host in self._hosts:
            place, open_ones, rule = next(iter(self._of(host)))
            if not open_ones and (not self._others or place < self._others[0][0]):
                self._settled[host] = rule

    def _add(self, rule: Rule, conditions: tuple[Condition, ...], hosts: Iterable[str]) -> None:
        self._rules.append((rule, conditions))
        open_ones = conditions[1:] if hosts else conditions
        is_by_host = bool(hosts)
        for host in dict.fromkeys(map(canonical, hosts)):
            if not is_wild(host):
                self._hosts.setdefault(host, []).append((rule.place, open_ones, rule))
            elif host.startswith("*.") and not is_wild(host[2:]):
                self._domains.setdefault(host[1:], []).append((rule.place, open_ones, rule))
            else:
                is_by_host = False
        if not is_by_host:
            self._others.append((rule.place, conditions, rule))

    def find(self, request: Request, port: int, source: str, trace: list[tuple[str, bool, str]] | None = None) -> Rule:
        """`port` is the one of ours that the client connected to, `source` the address that is believed to be the
        client's ("" where it has none). `trace` is given (label, did it match, why or why not) of every rule."""
        if not self._rules:
            return self.default
        rule = self._settled.get(request.host)
        if rule is None:
            rule = self._first(self._of(request.host), Asked(request, port, source))
        if trace is not None:
            trace += self._told(rule, Asked(request, port, source))
        return rule

    def _of(self, host: str) -> Iterable[Entry]:
        """Rules for this host by its name or its domain, by priority."""
        by_name = self._hosts.get(host, ())
        if not self._domains:
            return by_name
        found = [by_name] if by_name else []
        at = len(host)
        # From the right, and no deeper than the rules go, however many dots a client sends.
        for _ in range(self._deepest):
            at = host.rfind(".", 0, at)
            if at < 0:
                break
            if by_domain := self._domains.get(host[at:]):
                found.append(by_domain)
        return merge(*found, key=_place) if len(found) > 1 else found[0] if found else ()

    def _first(self, entries: Iterable[Entry], asked: Asked) -> Rule:
        """Both lists are by priority, and so is the order in which they are asked."""
        others = iter(self._others)
        end: Entry = (inf, (), self.default)
        other = next(others, end)
        for entry in entries:
            while other[0] < entry[0]:
                if hold(other[1], asked):
                    return other[2]
                other = next(others, end)
            if hold(entry[1], asked):
                return entry[2]
        while not hold(other[1], asked):
            other = next(others, end)
        return other[2]

    def _told(self, found: Rule, asked: Asked) -> Iterator[tuple[str, bool, str]]:
        for rule, conditions in self._rules:
            if rule.place > found.place:
                yield rule.label, False, NOT_ASKED
            elif rule is found:
                yield rule.label, True, ", ".join([each.why(asked) for each in conditions]) or "it has no conditions"
            else:
                yield rule.label, False, next(each.why(asked) for each in conditions if not each.holds(asked))
