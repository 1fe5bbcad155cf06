"""What one value may be: the types that keys of the config have. Each takes what TOML gave and either returns the
value that the program uses or raises ValueError with a sentence: what is wrong, what would be right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import PlainSerializer, PlainValidator

from nlb.model import limits
from nlb.model.address import Address, DnsName, parse_address
from nlb.model.nearest import did_you_mean
from nlb.model.units import format_duration, parse_duration, parse_size

_NAME = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9._:\[\]/-]*")
_HTTP_PATH = re.compile(r"/[!-~]{0,1023}")
_STATUSES = re.compile(r" *([0-9]{3})(?:-([0-9]{3}))? *")
LOG_STREAMS = ("stderr", "stdout", "journal")

_OWN_POLICY = re.compile(r"python:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%?")

POLICIES = ("round_robin", "least_connections", "random_two", "maglev", "source_ip")

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),  # before numbers: to Python a bool is one
    (int, "a number"),
    (float, "a number with a decimal point"),
    (str, "text"),
    (list, "a list"),
    (dict, "a table"),
)


def kind(value: object) -> str:
    """A value's type in the words of whoever wrote the file."""
    return next((word for one, word in _KINDS if isinstance(value, one)), "a date or time")


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"must be text in quotes; this is {kind(value)}")


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"must be true or false{_unquoted(value)}; this is {kind(value)}")


def name(value: object) -> str:
    """What is safe as the label of a metric, a cell of a table and an argument of a command."""
    word = text(value)
    if not word:
        raise ValueError('a name cannot be empty; write one such as "web"')
    if len(word) > 128:
        raise ValueError(f"a name may have 128 characters, this one has {len(word)}")
    if not _NAME.fullmatch(word):
        raise ValueError(
            f"'{word}' cannot be a name: it begins with a letter, a digit, _ or [ and goes on with those and . - : ] /"
        )
    return word


def name_of(address: Address | DnsName | None) -> str:
    """The name of what has none of its own. Without an address, which is an error already, any will do."""
    try:
        return name(str(address))
    except ValueError:
        raise ValueError(f"{address} cannot serve as a name; write a name of its own") from None


def group_name(value: object) -> str:
    """A name that leaves only one way to take group/target apart."""
    word = name(value)
    if "/" in word or word == "unix:":
        raise ValueError(f"'{word}' cannot be the name of a group: group/target must stay clear; write it without /")
    return word


def target_name(value: object) -> str:
    word = name(value)
    if "/" in word and not word.startswith("unix:/"):
        raise ValueError(f"'{word}' cannot be the name of a target: group/target must stay clear; write it without /")
    return word


def whole(low: int, high: int) -> PlainValidator:
    """A whole number within bounds."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"must be a whole number from {low} to {high}{_unquoted(value)}; this is {kind(value)}")
        if not low <= value <= high:
            raise ValueError(f"{digits(value)} is outside {low}-{high}")
        return value

    return PlainValidator(check)


def duration(low: float, high: float) -> PlainValidator:
    """Seconds within bounds."""

    def check(value: object) -> float:
        seconds = parse_duration(value)
        if not low <= seconds <= high:
            raise ValueError(f"{value} is outside {format_duration(low)} to {format_duration(high)}")
        return seconds

    return PlainValidator(check)


def size(low: int, high: int) -> PlainValidator:
    """Bytes within bounds."""

    def check(value: object) -> int:
        count = parse_size(value)
        if not low <= count <= high:
            raise ValueError(f"{digits(value) if is_whole(value) else value} is outside {low} to {high} bytes")
        return count

    return PlainValidator(check)


def one_or_many(value: object) -> object:
    """For a list that may have been written as its only element."""
    return value if isinstance(value, (list, tuple)) else [value]


def port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"must be a port, a number from 1 to 65535{_unquoted(value)}; this is {kind(value)}")
    if not 1 <= value <= 65535:
        raise ValueError(f"port {digits(value)} is outside 1-65535")
    return value


def percent(value: object) -> float:
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    number = float(match[1]) if match else value
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        raise ValueError('must be a part of the whole in percent, such as 50 or "50%"')
    if not 0 <= number <= 100:
        raise ValueError("must be from 0 to 100 percent")
    return float(number)


def policy(value: object) -> str:
    """A word of ours, or where Python finds the operator's own."""
    wanted = ", ".join(POLICIES) + " or python:mymodule:MyPolicy"
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes: {wanted}; this is {kind(value)}")
    if value in POLICIES:
        return value
    if not value.startswith("python:"):
        raise ValueError(f"'{value}' is not known; write {wanted}{did_you_mean(value, POLICIES)}")
    if not _OWN_POLICY.fullmatch(value) or len(value) > 256:
        raise ValueError(f"'{value}' names no class; write python:mymodule:MyPolicy or python:package.module:MyPolicy")
    return value


def max_load(value: object) -> float:
    """How many times its fair share."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"must be a number such as 1.25, for at most 25 % above the fair share; this is {kind(value)}")
    if not 1.01 <= value <= 100:
        raise ValueError("is outside 1.01-100; 1.25 is at most 25 % above the fair share")
    return float(value)


def bind(value: object) -> Address:
    """Port 0 stands for any free one."""
    return parse_address(text(value))


def nameserver(value: object) -> Address:
    """Port 53, unless it is written."""
    address = parse_address(text(value), 53)
    if address.is_unix or not address.port:
        raise ValueError(f"'{value}' is no nameserver; write its IP address, such as 10.0.0.2")
    return address


def ip(value: object) -> str:
    """An address of this box, without a port."""
    word = text(value)
    try:
        address = parse_address(word, 1)
    except ValueError as error:
        raise ValueError(str(error)) from None
    if address.is_unix or address != parse_address(address.host, 1):
        raise ValueError(f"'{word}' is not an address alone; write it without a port, such as 10.0.0.5")
    return address.host


def web(value: object) -> Address | None:
    if value is False or value == "off":
        return None
    if value is True:
        raise ValueError('must be an address such as "127.0.0.1:9191", or false for none')
    address = bind(value)
    if address.is_unix:
        raise ValueError('must be host:port, such as "127.0.0.1:9191"; it is not served on a unix socket')
    return address


def socket_path(value: object) -> str:
    path = text(value)
    if path.startswith("unix:"):
        raise ValueError(f"this is always a unix socket; write its path alone: {path.removeprefix('unix:')}")
    if not path.startswith("/"):
        raise ValueError(f"'{path}' must be an absolute path, such as /run/nlb/nlb.sock")
    return parse_address(f"unix:{path}").path


def folder(value: object) -> str:
    path = text(value)
    if not path.startswith("/") or not path.isprintable() or len(path) > 1024:
        raise ValueError(f"'{path}' must be the absolute path of a folder, such as /var/lib/nlb")
    return path


def log_file(value: object) -> str:
    """One of the words for what is no file, or a path."""
    place = text(value)
    if place in LOG_STREAMS:
        return place
    if not place.startswith("/") or not place.isprintable() or len(place) > 1024:
        words = ", ".join(LOG_STREAMS)
        guess = did_you_mean(place, LOG_STREAMS)
        raise ValueError(f"'{place}' must be {words} or an absolute path, such as /var/log/nlb/nlb.log{guess}")
    return place


def processes(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError('must be a number of processes, or "auto" for one per usable core')
    if not 1 <= value <= limits.WORKERS:
        raise ValueError(f"must be 1-{limits.WORKERS} processes; one per core is best")
    return value


def http_path(value: object) -> str:
    """What goes into a probe's request line, so nothing that could end the line."""
    path = text(value)
    if not _HTTP_PATH.fullmatch(path):
        raise ValueError(f"'{path}' is not a path to ask for; write one such as /healthz, with %20 for a space")
    return path


@dataclass(frozen=True, slots=True)
class Matcher:
    """Which HTTP statuses of a probe mean healthy."""

    text: str
    ranges: tuple[tuple[int, int], ...]

    def matches(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.ranges)

    def __str__(self) -> str:
        return self.text


def matcher(value: object) -> Matcher:
    """Read "200", "200-399" or "200,301-302"; the number 200 will do."""
    if not isinstance(value, str):
        if not is_whole(value):
            raise ValueError(f'must be HTTP statuses such as "200-399" or "200,301-302"; this is {kind(value)}')
        value = digits(value)
    ranges = []
    for part in value.split(","):
        match = _STATUSES.fullmatch(part)
        if match is None:
            raise ValueError(f"'{part}' is neither a status nor a range; write 200-399 or 200,301-302")
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high:
            raise ValueError(f"the range {low}-{high} is empty; write {high}-{low}")
        if low < 100 or high > 599:
            raise ValueError(f"{part.strip()} is outside the statuses of HTTP, 100-599")
        ranges.append((low, high))
    return Matcher(value.replace(" ", ""), tuple(ranges))


def _unquoted(value: object) -> str:
    return " without quotes" if isinstance(value, str) else ""


def digits(value: object) -> str:
    """A whole number as text. Python refuses to write numbers of thousands of digits, and nobody wants to read one."""
    return str(value) if isinstance(value, int) and abs(value) < 10**18 else "a number of many digits"


def _shown(value: object) -> str | None:
    return None if value is None else str(value)


def _shown_web(value: object) -> str | bool:
    return False if value is None else str(value)


# The same as types of fields; what is not plain is written as text when a config is dumped.
_AS_TEXT = PlainSerializer(_shown)
Text = Annotated[str, PlainValidator(text)]
Name = Annotated[str, PlainValidator(name)]
GroupName = Annotated[str, PlainValidator(group_name)]
TargetName = Annotated[str, PlainValidator(target_name)]
Flag = Annotated[bool, PlainValidator(flag)]
Port = Annotated[int, PlainValidator(port)]
Percent = Annotated[float, PlainValidator(percent)]
Policy = Annotated[str, PlainValidator(policy)]
MaxLoad = Annotated[float, PlainValidator(max_load)]
Server = Annotated[Address | DnsName, _AS_TEXT]
Nameserver = Annotated[Address, PlainValidator(nameserver), _AS_TEXT]
Ip = Annotated[str, PlainValidator(ip)]
Bind = Annotated[Address, PlainValidator(bind), _AS_TEXT]
Web = Annotated[Address | None, PlainValidator(web), PlainSerializer(_shown_web)]
SocketPath = Annotated[str, PlainValidator(socket_path)]
Folder = Annotated[str, PlainValidator(folder)]
LogFile = Annotated[str, PlainValidator(log_file)]
Processes = Annotated[int | Literal["auto"], PlainValidator(processes)]
HttpPath = Annotated[str, PlainValidator(http_path)]
Statuses = Annotated[Matcher, PlainValidator(matcher), _AS_TEXT]
