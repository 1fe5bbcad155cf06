"""Is this address in one of those networks? However many they are, a look-up costs one set per distinct prefix length.

IPv4 in the disguise of IPv6 (`::ffff:192.0.2.1`) is IPv4 everywhere: a client is the same one whichever socket it met.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# By version and bits behind the prefix, the longest prefixes first: the prefixes in order, of 4 or of 16 bytes each.
Parts = tuple[tuple[int, int, bytes], ...]

# What most lists are made of, and most clients have: read here, at a third of ipaddress's cost or less.
_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_V4 = re.compile(r"\.".join([_OCTET] * 4) + r"(?:/(3[0-2]|[12]?[0-9]))?", re.ASCII)

_BITS = {4: 32, 6: 128}
_HEAD = struct.Struct("=BBI")  # packed: version, shift, bytes that follow
_MAPPED = 0xFFFF  # the first 96 bits of ::ffff:192.0.2.1


class Networks:
    """A set of networks, written as `parse` reads them. What is asked for is an address as the kernel writes it;
    anything else, such as the "unknown" of a unix socket, is in none of them."""

    __slots__ = ("_sets",)

    def __init__(self, texts: Iterable[str]) -> None:
        found: dict[tuple[int, int], set[int]] = {}
        for text in texts:
            version, length, prefix = _read(text)
            found.setdefault((version, length), set()).add(prefix)
        # By version, the longest prefixes first: how far an address is shifted, and what is then looked for.
        self._sets: dict[int, list[tuple[int, set[int]]]] = {4: [], 6: []}
        for version, length in sorted(found, reverse=True):
            self._sets[version].append((_BITS[version] - length, found[version, length]))

    def __contains__(self, address: str) -> bool:
        return bool(self) and self.has(*numbered(address))

    def has(self, version: int, number: int) -> bool:
        """As `in`, for an address that was read already."""
        for shift, prefixes in self._sets.get(version, ()):  # noqa: SIM110  any() would cost a generator
            if number >> shift in prefixes:
                return True
        return False

    def find(self, address: str) -> str | None:
        """The most specific network that has it."""
        version, number = numbered(address)
        for shift, prefixes in self._sets.get(version, ()):
            if number >> shift in prefixes:
                return str(_network(version, _BITS[version] - shift, number >> shift))
        return None

    def parts(self) -> Parts:
        """All of it as numbers, for this box: 100,000 networks are there in 10 ms, where reading texts takes 200."""
        return tuple(
            (version, shift, _bodies(version, sorted(prefixes)))
            for version, sets in self._sets.items()
            for shift, prefixes in sets
        )

    def packed(self) -> bytes:
        """For `unpacked`."""
        return packed(self.parts())

    @staticmethod
    def unpacked(data: bytes | memoryview) -> Networks:
        """Also of several, one behind the other: all that is in any of them."""
        found: dict[tuple[int, int], set[int]] = {}
        at = 0
        while at < len(data):
            version, shift, size = _HEAD.unpack_from(data, at)
            at += _HEAD.size + size
            body = data[at - size : at]
            if version == 4:
                numbers = array("I")
                numbers.frombytes(body)
                prefixes = set(numbers)
            else:
                prefixes = {int.from_bytes(body[place : place + 16]) for place in range(0, size, 16)}
            found[version, shift] = found[version, shift] | prefixes if (version, shift) in found else prefixes
        networks = Networks(())
        for version, shift in sorted(found):  # the longest prefixes first
            networks._sets[version].append((shift, found[version, shift]))
        return networks

    def __len__(self) -> int:
        return sum(len(prefixes) for sets in self._sets.values() for _, prefixes in sets)

    def __bool__(self) -> bool:
        return any(self._sets.values())


def packed(parts: Parts) -> bytes:
    """For `unpacked`."""
    return b"".join([_HEAD.pack(version, shift, len(body)) + body for version, shift, body in parts])


def find(parts: Parts, address: str) -> str | None:
    """The most specific network that has it, without making a set of them."""
    version, number = numbered(address)
    for part, shift, body in parts:
        if part == version and _is_there(version, body, number >> shift):
            return str(_network(version, _BITS[version] - shift, number >> shift))
    return None


def parse(text: str) -> Network:
    """Read `10.0.0.0/8`, `2001:db8::/32` or a single address, which is the network of it alone.

    Raises ValueError with a sentence that says what is wrong and what would be right.
    """
    return _network(*_read(text))


def canonical(address: str) -> str:
    """The one spelling of an address: compressed, and IPv4 without its disguise. Empty for what is no address, and for
    one with the name of an interface, which says something to this box alone."""
    if "/" in address or "%" in address:
        return ""
    if _V4.fullmatch(address):
        return address
    try:
        ip = ipaddress.IPv6Address(address)
    except ValueError:
        return ""
    return str(ip.ipv4_mapped or ip)


def numbered(text: str) -> tuple[int, int]:
    """Version and number of an address; version 0 for what is none."""
    match = _V4.fullmatch(text)
    if match and not match[5]:
        a, b, c, d, _ = match.groups()
        return 4, int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)
    try:
        number = int(ipaddress.IPv6Address(text.partition("%")[0]))
    except ValueError:
        return 0, 0
    return (4, number & 0xFFFFFFFF) if number >> 32 == _MAPPED else (6, number)


def _bodies(version: int, prefixes: list[int]) -> bytes:
    return array("I", prefixes).tobytes() if version == 4 else b"".join(map(_sixteen, prefixes))


def _is_there(version: int, body: bytes, prefix: int) -> bool:
    if version == 4:
        numbers = memoryview(body).cast("I")
        at = bisect_left(numbers, prefix)
        return at < len(numbers) and numbers[at] == prefix
    wanted, places = _sixteen(prefix), range(0, len(body), 16)
    at = bisect_left(places, wanted, key=lambda place: body[place : place + 16])
    return at < len(places) and body[places[at] : places[at] + 16] == wanted


def _sixteen(number: int) -> bytes:
    return number.to_bytes(16)


def _network(version: int, length: int, prefix: int) -> Network:
    number = prefix << _BITS[version] - length
    return ipaddress.IPv4Network((number, length)) if version == 4 else ipaddress.IPv6Network((number, length))


def _read(text: str) -> tuple[int, int, int]:
    """Version, prefix length and the bits of the prefix. No network of ipaddress is made: they are dear."""
    match = _V4.fullmatch(text)
    if match:
        a, b, c, d, size = match.groups()
        version, length = 4, int(size) if size else 32
        number = int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)
    else:
        version, length, number = _read_otherwise(text)
    rest = _BITS[version] - length
    prefix = number >> rest
    if prefix << rest != number:
        raise ValueError(f"{text} has host bits; write {_network(*_plain(version, length, prefix))}")
    return _plain(version, length, prefix)


def _read_otherwise(text: str) -> tuple[int, int, int]:
    address, slash, size = text.partition("/")
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(_not_an_address(text, address)) from None
    if "%" in address:
        raise ValueError(f"'{text}' names a network interface; write {address.partition('%')[0]}{slash}{size}")
    if not slash:
        return ip.version, ip.max_prefixlen, int(ip)
    if not (size.isascii() and size.isdigit() and len(size) <= 3 and int(size) <= ip.max_prefixlen):
        raise ValueError(_not_a_length(text, ip, size))
    return ip.version, int(size), int(ip)


def _plain(version: int, length: int, prefix: int) -> tuple[int, int, int]:
    """The same, without the disguise that IPv4 may have."""
    if version == 6 and length >= 96 and prefix >> length - 96 == _MAPPED:
        return 4, length - 96, prefix & (1 << length - 96) - 1
    return version, length, prefix


def _not_an_address(text: str, address: str) -> str:
    if not address:
        return "a network is missing; write 10.0.0.0/8, 2001:db8::/32 or a single address"
    if address.startswith("["):
        return f"'{text}' has brackets; write {text.replace('[', '').replace(']', '')}"
    if re.fullmatch(r"[0-9]+(\.[0-9]+){0,2}", address, re.ASCII):
        return f"'{text}' is not a whole address; write all four numbers, such as 10.0.0.0/8"
    return f"'{text}' is not a network; write 10.0.0.0/8, 2001:db8::/32 or a single address"


def _not_a_length(text: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address, length: str) -> str:
    if "." in length and ip.version == 4:
        try:
            return f"{text} has a netmask; write {ipaddress.ip_network(f'{ip}/{length}', strict=False)}"
        except ValueError:
            pass
    return f"'{text}' has the prefix length '{length}'; that of IPv{ip.version} is 0 to {_BITS[ip.version]}"
