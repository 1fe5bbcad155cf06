"""The rules of a listener, as workers and `nlb explain` are told them: what http1/routes.py compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nlb.model.config import Listener
from nlb.model.rule import CONDITIONS, DEFAULT, Rule

Data = dict[str, Any]

# What workers are told of a listener as the config has it.
_TOLD = (
    *("desync", "trusted_proxies", "x_forwarded", "forwarded", "via", "request_id", "traceparent", "reason_header"),
    *("header_timeout", "tunnel_timeout", "min_body_rate", "min_body_rate_after", "access_log_except"),
)


def site_spec(listener: Listener, group_key: Callable[[str], int], numbers: Callable[[str, str], int]) -> Data:
    """Everything that a worker needs to know of an http listener; see `rule_specs`."""
    told: Data = {name: getattr(listener, name) for name in _TOLD}
    told["max_body"] = largest_body(listener)
    # JSON has no bytes: each stands for the character of its number.
    told["error_pages"] = {status: page.decode("latin-1") for status, page in listener.pages.items()}
    return told | rule_specs(listener, group_key, numbers)


def largest_body(listener: Listener) -> int | None:
    """The listener's own bound or the shield's, whichever is smaller. In monitor mode the shield's is not held; workers
    count what is beyond it."""
    shield = listener.shield
    bounds = listener.max_body, shield.http.max_body if shield.mode == "enforce" else None
    return min((bound for bound in bounds if bound is not None), default=None)


def routes(listener: Listener) -> list[tuple[str, str]]:
    """Its rules with each group that they forward to, or with "": what is counted apart."""
    ways = [(rule.name, item.target_group) for rule in listener.rules for item in rule.forward]
    ways += [(rule.name, "") for rule in listener.rules if not rule.forward]
    return list(dict.fromkeys([*ways, (DEFAULT, listener.target_group)]))


def rule_specs(listener: Listener, group_key: Callable[[str], int | str], numbers: Callable[[str, str], int]) -> Data:
    """JSON data. `group_key` is what stands for the group of a name; `numbers` gives the row in shared counters of a
    rule and one of the groups that it forwards to, or "" where it forwards to none."""

    def forward(label: str, groups: list[tuple[str, int]]) -> Data:
        told = [[group_key(group), weight, numbers(label, group)] for group, weight in groups]
        return {"label": label, "forward": told, "number": told[0][2]}

    def spec(rule: Rule) -> Data:
        if rule.forward:
            told = forward(rule.name, [(item.target_group, item.weight) for item in rule.forward])
        else:
            told = {"label": rule.name, "number": numbers(rule.name, "")}
            action = "redirect" if rule.redirect else "fixed_response"
            told[action] = getattr(rule, action).model_dump(mode="json")
        return told | {key: _plain(asked) for key in CONDITIONS if (asked := getattr(rule, key))}

    return {
        "rules": [spec(rule) for rule in listener.rules],
        "default": forward(DEFAULT, [(listener.target_group, 1)]),
    }


def hello_specs(listener: Listener, group_key: Callable[[str], int]) -> list[Data]:
    """The rules of a tcp listener, which ask what clients say before they encrypt."""
    return [
        {
            "sni": list(rule.sni),
            "alpn": list(rule.alpn),
            "forward": [[group_key(item.target_group), item.weight] for item in rule.forward],
        }
        for rule in listener.rules
    ]


def _plain(asked: Any) -> Any:
    """A condition's values as lists."""
    if isinstance(asked, dict):
        return {name: list(wanted) for name, wanted in asked.items()}
    return list(asked)
