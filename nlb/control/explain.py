"""`nlb explain`: what becomes of a request, or of a connection, step by step: which listener, which rule, which group,
which target, and why. It asks the same code that carries traffic; nothing is sent, counted or changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nlb.control import hello_explained
from nlb.control.inquiry import PORTS, Inquiry
from nlb.control.prospect import Client, View, prospect, written
from nlb.control.routing import largest_body, rule_specs
from nlb.control.shield_explained import Said, of_client, of_request
from nlb.errors import AdminError
from nlb.http1 import desync
from nlb.http1.conditions import NO_ADDRESS
from nlb.http1.facts import BadHead, Request
from nlb.http1.forwarded import Forwarding, Peer
from nlb.http1.head import parse_request
from nlb.http1.routes import FIXED_RESPONSE, FORWARD, NOT_ASKED, Routes, Rule
from nlb.model.config import Config, Listener
from nlb.model.nearest import did_you_mean
from nlb.model.rule import DEFAULT
from nlb.shield.cidr import Networks

Data = dict[str, Any]
Weights = Sequence[tuple[str, int]]  # groups of a rule

_VERDICTS = {
    desync.PASS: "passes it",
    desync.PASS_AND_CLOSE: "passes it, and closes both connections after it",
    desync.REFUSE: "refuses it: answered 400",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A listener, and where it listens: its binds as they came out."""

    settings: Listener
    binds: list[str]

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def ports(self) -> list[int]:
        return [int(bind.rpartition(":")[2]) for bind in self.binds if not bind.startswith("unix:")]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.binds)})"


def of_file(config: Config, inquiry: Inquiry) -> Data:
    """What a daemon with this config would do, as far as a file can tell."""
    groups = {group.name: group for group in config.groups}
    places = [Place(listener, [str(bind) for bind in listener.binds]) for listener in config.listeners]
    return explain(inquiry, places, lambda name: written(groups[name])) | {"is_live": False}


def explain(
    inquiry: Inquiry,
    places: Sequence[Place],
    view: Callable[[str], View],
    blocked: Callable[[str], str | None] = lambda address: None,
) -> Data:
    """JSON data: `listener`, `hello` (None but for TLS that is passed on by rules), `request` (None for tcp), what its
    `shield` says that is only counted, `rules` in order, `action`, and each of the `groups` that may get it. `blocked`
    tells the network of a client that is. Raises AdminError where no listener is meant."""
    place, port, chosen = _choose(inquiry, places)
    settings = place.settings
    facts: Data = {
        "is_live": True,
        "listener": {
            "name": place.name,
            "protocol": settings.protocol,
            "binds": place.binds,
            "port": port,
            "why": chosen,
        },
        "hello": None,
        "request": None,
        "shield": [],
        "rules": [],
        "groups": [],
    }
    said = of_client(settings.shield, inquiry.source.host, blocked) if inquiry.source else None
    if said and said.refuses:
        return facts | _turned_away(said) | {"hints": []}
    facts["shield"] = [_watched(said)] if said else []
    if not settings.speaks_http:
        facts |= _connection(inquiry, settings, view)
        return facts | {"hints": _hints(inquiry, [], facts["groups"])}
    if inquiry.url.scheme != settings.protocol:
        without = "" if settings.is_encrypted else " without TLS"
        asked = f"{settings.protocol}://{inquiry.url.authority}/"
        raise AdminError(f"listener {place} speaks {settings.protocol}{without}; ask for {asked}")
    facts |= _exchange(inquiry, settings, port, view, facts["shield"])
    return facts | {"hints": _hints(inquiry, facts["rules"], facts["groups"])}


def _hints(inquiry: Inquiry, rules: Sequence[Data], groups: Sequence[Data]) -> list[str]:
    """What more would have to be known."""
    source = inquiry.source
    keys = {group["hash_key"] for group in groups if group["choice"]["target"] is None} - {None}
    if source is None and (keys or any(rule["why"] == NO_ADDRESS for rule in rules)):
        what = "IP:PORT" if "flow" in keys else "IP"
        return [f"--source {what} says who the client is, which this depends on"]
    if source is not None and not source.port and "flow" in keys:
        return [f"--source {source.host}:PORT says the client's port too, which this depends on"]
    return []


# --- which listener


def _choose(inquiry: Inquiry, places: Sequence[Place]) -> tuple[Place, int, str]:
    """The listener, the port of it that is connected to, and why that one."""
    url = inquiry.url
    port = url.port or PORTS[url.scheme]
    if inquiry.listener is not None:
        place = next((each for each in places if each.name == inquiry.listener), None)
        if place is None:
            hint = did_you_mean(inquiry.listener, [each.name for each in places])
            raise AdminError(f"no listener is called '{inquiry.listener}'{hint or f'; there are: {_listed(places)}'}")
        return place, port if port in place.ports else _first_port(place), "as asked"
    on_port = [each for each in places if port in each.ports]
    on_host = [each for each in on_port if {f"{url.host}:{port}", f"[{url.host}]:{port}"} & set(each.binds)]
    found = on_host if len(on_host) == 1 else on_port
    if len(found) == 1:
        return found[0], port, f"it listens on port {port}"
    if len(found) > 1:
        raise AdminError(f"several listen on port {port}, say which by --listener: {_listed(found)}")
    if len(places) == 1:
        return places[0], _first_port(places[0]), "it is the only one"
    speaking = [each for each in places if each.settings.protocol == url.scheme]
    if len(speaking) == 1 and not url.port:
        return speaking[0], _first_port(speaking[0]), f"it is the only one that speaks {url.scheme}"
    asked = f"on port {port}" if port else "meant by that URL"
    raise AdminError(f"no listener is {asked}; say which by --listener: {_listed(places) or 'there is none'}")


def _first_port(place: Place) -> int:
    return place.ports[0] if place.ports else 0


def _listed(places: Sequence[Place]) -> str:
    return ", ".join(map(str, places))


# --- a connection


def _connection(inquiry: Inquiry, settings: Listener, view: Callable[[str], View]) -> Data:
    hello = hello_explained.hello_of(inquiry) if settings.rules else None
    rule, rules = hello_explained.ask(settings.rules, hello)
    if rules:
        why = "no rule before it matches" if rule is None else NOT_ASKED
        rules.append({"rule": DEFAULT, "matched": rule is None, "why": why})
    forward = [(item.target_group, item.weight) for item in rule.forward] if rule else [(settings.target_group, 1)]
    client = Client(inquiry.source.host, inquiry.source.port) if inquiry.source else None
    return {
        "hello": hello_explained.facts(hello) if hello else None,
        "rules": rules,
        "action": _forwarded(forward, "connection"),
        "groups": [prospect(view(name), share, client) for name, share in _shares(forward) if share],
    }


# --- a request


def _exchange(
    inquiry: Inquiry, settings: Listener, port: int, view: Callable[[str], View], shield: Sequence[str]
) -> Data:
    try:
        request = parse_request(inquiry.head)
    except BadHead as error:
        return _refused(error.status, error.reason, "whatever the desync mode")
    if request is None:
        return _refused(400, "bad_header", "its head has no end")
    peer = _peer(inquiry, settings, port)
    source = peer.client(request) if inquiry.source else ""
    facts: Data = {"request": _request_facts(inquiry, settings, request, source)}
    if desync.verdict(settings.desync, request.reason) == desync.REFUSE:
        return facts | _refused(400, request.reason, f"desync mode {settings.desync}", "desync")
    most = largest_body(settings)
    if most is not None and request.length > most:
        return facts | _refused(413, "", f"its body is longer than max_body, {most} bytes")
    if said := of_request(settings.shield, request):
        if said.refuses:
            return facts | _turned_away(said)
        facts["shield"] = [*shield, _watched(said)]
    spec = rule_specs(settings, str, lambda label, group: 0)
    routes = Routes(spec["rules"], spec["default"])
    trace: list[tuple[str, bool, str]] = []
    rule = routes.find(request, port, source, trace)
    rules = [{"rule": label, "matched": matched, "why": reason} for label, matched, reason in trace]
    is_default = rule is routes.default
    why_default = "no rule before it matches" if rules else "there are no rules"
    rules.append({"rule": DEFAULT, "matched": is_default, "why": why_default if is_default else NOT_ASKED})
    facts |= {"rules": rules, "action": _action(rule, request, port)}
    if rule.kind != FORWARD:
        return facts
    client = Client(source, inquiry.source.port) if inquiry.source else None
    shares = _shares(rule.forward)
    return facts | {"groups": [prospect(view(name), share, client, request) for name, share in shares if share]}


def _turned_away(said: Said) -> Data:
    """By the shield."""
    what = f"answered {said.status}" if said.status else "reset at accept"
    outcome = f"{'request' if said.status else 'accept'}/{said.word}"
    action = {"kind": "refuse", "status": said.status, "outcome": outcome, "reason": said.word}
    return {"action": action | {"text": f"{what}, {said.why}"}}


def _watched(said: Said) -> str:
    what = f"answer {said.status}" if said.status else "reset it at accept"
    return f"would {what}, {said.why}; but mode is monitor, so it is only counted"


def _refused(status: int, reason: str, why: str, cause: str = "") -> Data:
    """`reason` is desync's word."""
    cause = cause or ("too_large" if status in (413, 414, 431) else "bad_head")
    said = f"{reason}, which is {desync.CLASS_OF[reason]}: {why}" if reason else why
    action = {"kind": "refuse", "status": status, "outcome": f"request/{cause}", "reason": reason}
    return {"action": action | {"text": f"answered {status}, {said}"}}


def _peer(inquiry: Inquiry, settings: Listener, port: int) -> Peer:
    """Who is believed to be the client, is the business of the same code as in workers."""
    modes = settings.x_forwarded, settings.forwarded
    trusted = Networks(settings.trusted_proxies)
    forwarding = Forwarding(*modes, trusted, "http", settings.via, settings.request_id, settings.traceparent)
    return forwarding.peer(inquiry.source.host if inquiry.source else "", port)


def _request_facts(inquiry: Inquiry, settings: Listener, request: Request, source: str) -> Data:
    reason = request.reason
    verdict = _VERDICTS[desync.verdict(settings.desync, reason)]
    peer = inquiry.source.host if inquiry.source else None
    return {
        "method": request.method.decode("ascii", "replace"),
        "target": request.target.decode("utf-8", "backslashreplace"),
        "host": request.host,
        "peer": peer,
        "client": source or None,
        "class": desync.CLASS_OF[reason],
        "reason": reason,
        "mode": settings.desync,
        "verdict": verdict if reason else "",
    }


# --- what is done


def _action(rule: Rule, request: Request, port: int) -> Data:
    if rule.kind == FORWARD:
        return _forwarded(rule.forward, "request")
    if rule.kind == FIXED_RESPONSE:
        text = f"{rule.status}, {len(rule.body)} bytes of {rule.content_type}"
        facts = {"status": rule.status, "content_type": rule.content_type, "body": rule.body.decode()}
        return {"kind": "fixed_response", "text": text, **facts}
    location = rule.location(request, "http", request.host, port).decode("utf-8", "backslashreplace")
    return {"kind": "redirect", "text": f"{rule.status} to {location}", "status": rule.status, "location": location}


def _forwarded(forward: Weights, each: str) -> Data:
    shares = _shares(forward)
    groups = [{"group": name, "weight": dict(forward)[name], "share": share} for name, share in shares]
    if len(shares) == 1:
        return {"kind": "forward", "text": f"to group {shares[0][0]}", "groups": groups}
    told = ", ".join(f"{name} ({share * 100:.3g} %)" for name, share in shares)
    return {"kind": "forward", "text": f"to one of the groups {told}, drawn for each {each}", "groups": groups}


def _shares(forward: Weights) -> list[tuple[str, float]]:
    whole = sum(weight for _, weight in forward)
    return [(name, weight / whole) for name, weight in forward]
