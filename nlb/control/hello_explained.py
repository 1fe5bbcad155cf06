"""Which rule of a listener that passes TLS on would take a client, by what the client says before it encrypts: for
`nlb explain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from nlb.control.inquiry import Inquiry
from nlb.http1.routes import NOT_ASKED
from nlb.model.rule import Rule
from nlb.net.client_hello import Hello
from nlb.proxy.preface import HelloRule
from nlb.shield.patterns import Patterns

Data = dict[str, Any]

# What browsers and curl offer with https.
_OF_HTTPS = ("h2", "http/1.1")

# Names that a reason names.
_NAMED = 5


def hello_of(inquiry: Inquiry) -> Hello | None:
    """None where no TLS is spoken. An address is no name: clients leave it out."""
    url = inquiry.url
    if url.scheme not in ("tls", "https"):
        return None
    offered = inquiry.alpn or (_OF_HTTPS if url.scheme == "https" else ())
    return Hello("" if _is_address(url.host) else url.host, tuple(name.encode() for name in offered))


def facts(hello: Hello) -> Data:
    return {"name": hello.name, "alpn": [name.decode() for name in hello.alpn]}


def ask(rules: Sequence[Rule], hello: Hello | None) -> tuple[Rule | None, list[Data]]:
    """The rule that takes the client, None for the default; and of each, whether it does and why."""
    taken, told = None, []
    for rule in rules:
        fits, why = (False, NOT_ASKED) if taken else _fits(rule, hello)
        told.append({"rule": rule.name, "matched": fits, "why": why})
        taken = rule if fits else taken
    return taken, told


def _fits(rule: Rule, hello: Hello | None) -> tuple[bool, str]:
    """What is asked is the code that asks in workers, one condition at a time."""
    if hello is None:
        return False, "the client speaks no TLS"
    whys = []
    if rule.sni:
        what = f"name {hello.name}" if hello.name else "no name"
        if not HelloRule(list(rule.sni), [], []).matches(hello):
            return False, f"{what}, and it wants {_listed(rule.sni)}"
        fitting = Patterns(rule.sni).fitting([hello.name.encode()])
        whys.append(what if hello.name in fitting else f"{what} matches {_listed(fitting)}")
    if rule.alpn:
        if not HelloRule([], list(rule.alpn), []).matches(hello):
            return False, f"the client does not offer {_listed(rule.alpn)}"
        whys.append(f"offers {_listed([name for name in rule.alpn if name.encode() in hello.alpn])}")
    return True, ", ".join(whys) or "it has no conditions"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _NAMED
    return " or ".join(texts[:_NAMED]) + (f" or {more} more" if more > 0 else "")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
