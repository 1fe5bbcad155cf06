"""Do the parts of a config speak with each other, and does each have only what its protocol has? Of what only several
tables together show; the rest each table says itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from nlb.model.protocols import FORWARDS, HTTP, NO_PROXY_HEADER, needs_http
from nlb.model.rule import ACTIONS, OF_HELLO, OF_REQUEST
from nlb.model.sketch import GroupSketch, ListenerSketch, Sketch, Wrong, in_front

# What https listeners and https targets agree on.
_HTTP_1 = "http/1.1"

# Keys that a rule has not, by what its listener speaks.
_ON_HTTP = dict.fromkeys(OF_HELLO, 'is asked of what tcp passes on encrypted; of requests ask host = "www.test.org"')
_ON_TCP = {
    **dict.fromkeys(OF_REQUEST, 'is asked of requests, and tcp sees none; ask sni or alpn, or write protocol = "http"'),
    **dict.fromkeys(ACTIONS[1:], 'is an answer to a request, and tcp sees none; write forward, or protocol = "http"'),
}


def mistakes(seen: Sketch) -> Iterator[Wrong]:
    groups = {group.name.text: group for group in seen.groups if group.name}
    for listener in seen.listeners:
        if listener.protocol is None:
            continue
        yield from _to_others(listener, seen, groups)
        yield from _rules(listener)
        yield from _other_words_than_http(listener)
        if listener.protocol not in HTTP:
            for key in sorted(listener.shield & {"http", "request_rate"}):
                yield Wrong((*listener.path, "shield", key), needs_http(listener.protocol))
    for group in seen.groups:
        yield from _other_words_than_http(group)
        for target in group.targets if group.protocol in HTTP else ():
            if target.has_proxy_header:
                yield Wrong((*target.path, "proxy_protocol"), NO_PROXY_HEADER)


def _to_others(listener: ListenerSketch, seen: Sketch, groups: dict[str, GroupSketch]) -> Iterator[Wrong]:
    assert listener.protocol
    wanted = FORWARDS[listener.protocol]
    for asked in in_front(listener, seen):
        group = groups.get(asked.text)
        if group is None or group.protocol is None or group.protocol in wanted:
            continue
        better = " or ".join(word for word, goes_to in FORWARDS.items() if group.protocol in goes_to)
        message = f"the group '{asked.text}' speaks {group.protocol} and this listener {listener.protocol}"
        yield Wrong(
            asked.path, f"{message}; write {' or '.join(wanted)} in the group, or {better} in the listener", group.path
        )


def _rules(listener: ListenerSketch) -> Iterator[Wrong]:
    if listener.protocol == "tls" and listener.rules:
        better = 'write protocol = "https" for rules about requests, or tcp to pass TLS on by sni; or leave them out'
        yield Wrong((*listener.path, "rule"), f"tls forwards to one group; {better}")
        return
    not_here = _ON_HTTP if listener.protocol in HTTP else _ON_TCP
    for rule in listener.rules:
        for key, why in not_here.items():
            if key in rule.keys:
                yield Wrong((*rule.path, key), why)


def _other_words_than_http(one: ListenerSketch | GroupSketch) -> Iterator[Wrong]:
    for word in one.alpn if one.protocol == "https" else ():
        if word.text not in ("", _HTTP_1):
            yield Wrong(word.path, f"'{word.text}' is not spoken by https here; write {_HTTP_1}, or leave alpn out")
