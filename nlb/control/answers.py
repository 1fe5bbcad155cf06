"""What a health check says to a target, and whether what comes back is the answer that is wanted. Bytes and texts in
and out; nothing here reads a socket or runs a program.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nlb import __version__
from nlb.balance.target import Target
from nlb.model.address import Address

if TYPE_CHECKING:
    from nlb.model.health_check import HealthCheck
    from nlb.model.values import Matcher

Verdict = tuple[bool, str]  # passed? and why

# Bytes in which a status line, or the text that is expected, must come.
LONGEST_HEAD = 8192

# Characters of an answer that are quoted.
_QUOTED = 60
_LINE = 160

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\n]*)?\r?\n")
_BEGINNING = b"HTTP/1."
_PLACEHOLDER = re.compile(r"\{(\w+)\}")

# All that a program finds in its environment, beside what is said of the target.
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def asked(target: Address, settings: HealthCheck) -> Address:
    """Where to ask: the target's own port, or the one for health checks."""
    return target if settings.port is None or target.is_unix else Address(target.host, settings.port)


def request(address: Address, settings: HealthCheck) -> bytes:
    """The question, for an HTTP server at `address`."""
    # What follows % in a v6 address is our name for a link; the server has its own.
    host = "localhost" if address.is_unix else str(Address(address.host.partition("%")[0], address.port))
    lines = {"User-Agent": f"nlb/{__version__} (health check)", "Accept": "*/*"}
    for name, value in settings.headers:
        lines = {line: lines[line] for line in lines if line.lower() != name.lower()} | {name: value}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    line = f"{settings.method} {settings.path} HTTP/1.1\r\nHost: {settings.host or host}\r\n"
    return f"{line}{head}Connection: close\r\n\r\n".encode()


def judge_http(received: bytes, ended: bool, matcher: Matcher) -> Verdict | None:
    """None: more must come first. `ended`: nothing will."""
    if match := _STATUS_LINE.match(received):
        status = int(match[1])
        if matcher.matches(status):
            return True, f"status {status}"
        return False, f"status {status}, wanted {matcher}"
    if ended and not received:
        return False, "closed without an answer"
    hopeful = received[: len(_BEGINNING)] == _BEGINNING[: len(received)]
    if hopeful and not ended and b"\n" not in received and len(received) < LONGEST_HEAD:
        return None
    return False, "not an HTTP answer"


def judge_text(received: bytes, ended: bool, expect: str) -> Verdict | None:
    """Has `expect` come? None: it still may."""
    if expect.encode("latin-1") in received[:LONGEST_HEAD]:
        return True, f"answered {_quoted(expect)}"
    if not ended and len(received) < LONGEST_HEAD:
        return None
    return False, unlike(received, expect) if received else "closed without an answer"


def unlike(received: bytes, expect: str) -> str:
    """What came instead of what was expected."""
    return f"answered {_quoted(received.decode('latin-1'))}, wanted {_quoted(expect)}"


def arguments(command: tuple[str, ...], target: Target, address: Address) -> list[str]:
    """A program and its arguments, with the target in the place of the {words}."""
    facts = facts_of(target, address)
    return [command[0], *(_PLACEHOLDER.sub(lambda match: facts[match[1]], item) for item in command[1:])]


def environment(target: Target, address: Address) -> dict[str, str]:
    """Minimal: what is secret in ours is no program's business."""
    return _ENVIRONMENT | {f"NLB_TARGET_{name.upper()}": value for name, value in facts_of(target, address).items()}


def facts_of(target: Target, address: Address) -> dict[str, str]:
    """The target, as programs are told. A unix socket has its path for a host, and no port."""
    return {
        "host": address.path or address.host,
        "port": "" if address.is_unix else str(address.port),
        "address": str(address),
        "name": target.name,
        "group": target.group,
    }


def first_line(output: bytes) -> str:
    """The first line that says something, without anything that a terminal would obey."""
    for line in output.decode(errors="replace").splitlines():
        if text := _printable(line.strip()):
            return text if len(text) <= _LINE else text[: _LINE - 3] + "..."
    return ""


def _quoted(text: str) -> str:
    """Its first line, in quotes. Line ends at the end go without saying."""
    line = _printable(text.strip("\r\n").partition("\n")[0].rstrip("\r"))
    return f"'{line[:_QUOTED]}...'" if len(line) > _QUOTED else f"'{line}'"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
