"""What a rule may ask of a request, one class for each kind of condition: does it hold, and in words, why or why not?

Everything is compiled once. Whatever a client sends, a match takes time in proportion to the length of what is matched
(regular expressions of the operator's own excepted).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from nlb.http1.facts import Request
from nlb.shield.cidr import Networks
from nlb.shield.patterns import Patterns as Patterns  # for those who look for it here
from nlb.shield.patterns import is_wild

# Values that a sentence names of a long list.
MOST_NAMED = 5

# Why no condition on the source holds where there is none.
NO_ADDRESS = "no address of the client is known"


class Asked:
    """A request as conditions see it. What has to be searched for in it is searched for once, whatever the number of
    rules that ask."""

    __slots__ = ("_headers", "_parameters", "path", "port", "request", "source")

    def __init__(self, request: Request, port: int, source: str) -> None:
        self.request = request
        self.path = request.path or b"/"
        self.port = port
        self.source = source
        self._headers: dict[bytes, list[bytes]] = {}
        self._parameters: dict[bytes, set[bytes]] | None = None

    def header(self, name: bytes) -> list[bytes]:
        """The values of all its lines, in lower case."""
        found = self._headers.get(name)
        if found is None:
            found = self._headers[name] = [value.lower() for value in self.request.get(name)]
        return found

    def parameters(self, key: bytes) -> set[bytes]:
        """The values of all occurrences of a key of the query, in lower case, as forms are decoded."""
        if self._parameters is None:
            self._parameters = parameters(self.request.query)
        return self._parameters.get(key, set())


def parameters(query: bytes) -> dict[bytes, set[bytes]]:
    found: dict[bytes, set[bytes]] = {}
    for part in query.split(b"&"):
        if part:
            key, _, value = part.partition(b"=")
            found.setdefault(_decoded(key), set()).add(_decoded(value))
    return found


def _decoded(part: bytes) -> bytes:
    part = part.replace(b"+", b" ")
    return (unquote_to_bytes(part) if b"%" in part else part).lower()


class Condition:
    """`holds` is asked on the data path; `why` says the same in words."""

    __slots__ = ()

    def holds(self, asked: Asked) -> bool:
        raise NotImplementedError

    def why(self, asked: Asked) -> str:
        raise NotImplementedError


class Host(Condition):
    """Compiled when it is asked first: where routes find a rule by its hosts, it never is."""

    __slots__ = ("_hosts", "_made")

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = hosts
        self._made: Patterns | None = None

    @property
    def _patterns(self) -> Patterns:
        if self._made is None:
            self._made = Patterns([canonical(host) for host in self._hosts])
        return self._made

    def holds(self, asked: Asked) -> bool:
        return self._patterns.match(asked.request.host.encode())

    def why(self, asked: Asked) -> str:
        if not asked.request.host:
            return "the request has no host" if not self.holds(asked) else "the request has no host, as *"
        host = asked.request.host
        return _said(f"host {host}", self._patterns.fitting([host.encode()]), self._patterns.texts)


class Path(Condition):
    """As it stands in the request, undecoded and without the query: `/a%2Fb` is not `/a/b`, `/x;v=1` not `/x`."""

    __slots__ = ("_patterns",)

    def __init__(self, paths: Sequence[str]) -> None:
        self._patterns = Patterns(paths, fold=False)

    def holds(self, asked: Asked) -> bool:
        return self._patterns.match(asked.path)

    def why(self, asked: Asked) -> str:
        return _said(f"path {_shown(asked.path)}", self._patterns.fitting([asked.path]), self._patterns.texts)


class PathRegex(Condition):
    """One of them is found somewhere in the path, unless it says ^ and $."""

    __slots__ = ("_regexps", "_texts")

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = list(texts)
        self._regexps = [re.compile(text.encode()).search for text in texts]

    def holds(self, asked: Asked) -> bool:
        return any(search(asked.path) is not None for search in self._regexps)

    def why(self, asked: Asked) -> str:
        found = self.holds(asked)
        verb = "matches" if found else "matches none of" if len(self._texts) > 1 else "does not match"
        return f"path {_shown(asked.path)} {verb} path_regex {_named(self._texts, ' or ' if found else ', ')}"


class Method(Condition):
    __slots__ = ("_methods", "_texts")

    def __init__(self, methods: Sequence[str]) -> None:
        self._texts = list(methods)
        self._methods = frozenset(method.encode() for method in methods)

    def holds(self, asked: Asked) -> bool:
        return asked.request.method in self._methods

    def why(self, asked: Asked) -> str:
        method = _shown(asked.request.method)
        return _said(f"method {method}", [method] if self.holds(asked) else [], self._texts)


class Port(Condition):
    """The port of nlb's that the client connected to."""

    __slots__ = ("_ports",)

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = frozenset(ports)

    def holds(self, asked: Asked) -> bool:
        return asked.port in self._ports

    def why(self, asked: Asked) -> str:
        port = str(asked.port)
        return _said(f"port {port}", [port] if self.holds(asked) else [], [str(each) for each in sorted(self._ports)])


class Source(Condition):
    """The address that is believed to be the client's."""

    __slots__ = ("_networks", "_texts")

    def __init__(self, networks: Sequence[str]) -> None:
        self._texts = list(networks)
        self._networks = Networks(networks)

    def holds(self, asked: Asked) -> bool:
        return asked.source != "" and asked.source in self._networks

    def why(self, asked: Asked) -> str:
        if not asked.source:
            return NO_ADDRESS
        if self.holds(asked):
            return f"source {asked.source} is in {self._networks.find(asked.source)}"
        none = "none of " if len(self._texts) > 1 else ""
        return f"source {asked.source} is {'in none of' if none else 'not in'} {_named(self._texts)}"


class Header(Condition):
    """One of the lines of this name has one of the values."""

    __slots__ = ("_key", "_name", "_patterns")

    def __init__(self, name: str, values: Sequence[str]) -> None:
        self._name = name
        self._key = name.lower().encode()
        self._patterns = Patterns(values)

    def holds(self, asked: Asked) -> bool:
        return self._patterns.any(asked.header(self._key))

    def why(self, asked: Asked) -> str:
        sent = asked.request.get(self._key)
        if not sent:
            return f"there is no header {self._name}"
        what = f"header {self._name}: {_named([_shown(value) for value in sent], ' and ')}"
        return _said(what, self._patterns.fitting(asked.header(self._key)), self._patterns.texts)


class Query(Condition):
    """One of the occurrences of this key has one of the values. `a` alone is `a=`."""

    __slots__ = ("_key", "_name", "_patterns")

    def __init__(self, name: str, values: Sequence[str]) -> None:
        self._name = name
        self._key = name.encode().lower()
        self._patterns = Patterns(values)

    def holds(self, asked: Asked) -> bool:
        return self._patterns.any(asked.parameters(self._key))

    def why(self, asked: Asked) -> str:
        sent = asked.parameters(self._key)
        if not sent:
            return f"the query has no {self._name}"
        what = " and ".join(f"{self._name}={_shown(value)}" for value in sorted(sent)[:MOST_NAMED])
        return _said(f"query {what}", self._patterns.fitting(sent), self._patterns.texts)


# In the order in which they are asked: what is told apart fast, first.
_KINDS: dict[str, Callable[[Any], Condition]] = {
    "host": Host,
    "port": Port,
    "method": Method,
    "path": Path,
    "path_regex": PathRegex,
    "source": Source,
}
_NAMED_KINDS: dict[str, Callable[[str, Any], Condition]] = {"header": Header, "query": Query}


def compiled(spec: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Those of a rule, which must all hold; one of `host`, if there is any, comes first."""
    found = [make(spec[key]) for key, make in _KINDS.items() if spec.get(key)]
    for key, make_named in _NAMED_KINDS.items():
        found += [make_named(name, values) for name, values in (spec.get(key) or {}).items()]
    return tuple(found)


def hold(conditions: Sequence[Condition], asked: Asked) -> bool:
    for condition in conditions:  # noqa: SIM110  (a generator costs as much as a condition)
        if not condition.holds(asked):
            return False
    return True


def canonical(host: str) -> str:
    """The one spelling of a host, or of a pattern of hosts: `example.com.` is example.com."""
    host = host.lower()
    return host[:-1] if host.endswith(".") else host


def _said(what: str, fitting: Sequence[str], texts: Sequence[str]) -> str:
    """`fitting` are those of the texts that match; what is literally there needs no further word."""
    if fitting:
        return f"{what} matches {_named(fitting, ' or ')}" if all(map(is_wild, fitting)) else what
    is_any_wild = any(map(is_wild, texts))
    if len(texts) == 1:
        return f"{what} does not match {texts[0]}" if is_any_wild else f"{what} is not {texts[0]}"
    return f"{what} {'matches' if is_any_wild else 'is'} none of {_named(texts)}"


def _named(texts: Sequence[str], comma: str = ", ") -> str:
    shown = comma.join(texts[:MOST_NAMED])
    more = len(texts) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _shown(value: bytes) -> str:
    """What a client sent, without anything that would move a terminal's cursor."""
    text = value.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
