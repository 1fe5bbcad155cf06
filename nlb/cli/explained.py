"""What `nlb explain` prints: the way of a request, from the listener to the target, step by step."""

from __future__ import annotations

from collections.abc import Iterator

from nlb.admin import phrases
from nlb.admin.phrases import Facts
from nlb.cli.tables import Block, Cell, Table, titled

_BY_FILE = "from the file alone: no health is known, so every target is taken for healthy"
_TONES = {"in": "good", "full": "warn", "out": "bad"}


def explained(data: Facts) -> list[Block]:
    """From the answer to the verb, or what a file gave."""
    listener, request, action = data["listener"], data["request"], data["action"]
    blocks: list[Block] = [] if data["is_live"] else [Cell(_BY_FILE, "warn")]
    port = f", port {listener['port']}" if listener["port"] else ""
    blocks.append(Cell(f"listener {listener['name']} ({listener['protocol']}{port}): {listener['why']}"))
    if request:
        blocks += _request(request)
    elif data["hello"]:
        blocks.append(_hello(data["hello"]))
    elif listener["protocol"] in ("tcp", "tls"):
        what = "without encryption " if listener["protocol"] == "tls" else "as they are "
        blocks.append(
            Cell(f"it hands bytes on {what}and knows no requests" + ("" if data["rules"] else " and no rules"))
        )
    blocks += [Cell(f"the shield {said}", "warn") for said in data["shield"]]
    blocks += [_rule(rule) for rule in data["rules"]]
    blocks.append(Cell(f"{_ACTIONS[action['kind']]} {action['text']}", "bad" if action["kind"] == "refuse" else ""))
    for group in data["groups"]:
        each = "" if len(data["groups"]) == 1 else "requests" if request else "connections"
        blocks += [Cell(""), *_group(group, each)]
    return blocks + [Cell(f"hint: {hint}", "quiet") for hint in data["hints"]]


_ACTIONS = {"forward": "goes", "redirect": "redirected:", "fixed_response": "answered:", "refuse": "refused:"}


def _request(request: Facts) -> Iterator[Cell]:
    client = f", client {request['client']}" if request["client"] else ""
    if request["client"] != request["peer"]:
        client += f" (so says {request['peer']}, a trusted proxy)"
    host = f"host {request['host']}" if request["host"] else "no host"
    yield Cell(f"request {request['method']} {request['target']}, {host}{client}")
    if request["reason"]:
        word = f"{request['class']} ({request['reason']})"
        yield Cell(f"it is {word}; desync mode {request['mode']} {request['verdict']}", "warn")


def _hello(hello: Facts) -> Cell:
    name = f"asks for {hello['name']}" if hello["name"] else "says no name"
    offers = f" and offers {', '.join(hello['alpn'])}" if hello["alpn"] else ""
    return Cell(f"TLS passes through; the client {name}{offers}")


def _rule(rule: Facts) -> Cell:
    if rule["matched"]:
        return Cell(f"yes  rule {rule['rule']}: {rule['why']}", "good")
    return Cell(f"no   rule {rule['rule']}: {rule['why']}", "quiet" if rule["why"] == "not asked" else "")


def _group(group: Facts, each: str) -> Iterator[Block]:
    """`each` is what it gets a share of, where it is one of several."""
    targets = group["targets"]
    share = f", for {group['share'] * 100:.3g} % of the {each}" if each else ""
    by = f" by {'address' if group['hash_key'] == 'source_ip' else 'address and port'}" if group["hash_key"] else ""
    count = sum(target["state"] == "in" for target in targets)
    yield Cell(f"group {group['name']}{share}: {group['policy']}{by}, {count} of {len(targets)} targets in")
    if group["fail_open"]:
        yield Cell(phrases.fail_open(group), "loud")
    if targets:
        yield _targets(targets)
    for note in group["notes"]:
        yield Cell(note)
    choice = group["choice"]
    chosen = f"{choice['target']}, " if choice["target"] else ""
    yield Cell(f"choice: {chosen}{choice['why']}", "good" if choice["target"] else "")


def _targets(targets: list[Facts]) -> Table:
    table = titled("is", "target", "address", "#weight", "#share", "#sessions", "~why")
    for target in targets:
        table.rows.append(
            (
                Cell(target["state"], _TONES[target["state"]]),
                target["name"],
                target["address"],
                str(target["weight"]),
                f"{target['share'] * 100:.3g} %" if target["share"] else "-",
                str(target["sessions"]),
                target["why"],
            )
        )
    return table
