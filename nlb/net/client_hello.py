"""What a TLS client says first, in the clear: the name it wants, the protocols it speaks. Nothing is decrypted or kept.

A ClientHello may lie in several records, and come in several reads: give all that was read so far. What two readers
might read differently, a name said twice for one, is refused: we would route by the one, the target serve the other.
"""

from __future__ import annotations

from typing import NamedTuple

# Bytes that are waited for at most. Browsers send 0.6 to 1.9 KiB, with keys for post-quantum exchange.
LIMIT = 16 * 1024

# Records that it may be cut into. Some clients cut it in two or three; one byte each would be an attack: every read
# begins anew.
MOST_RECORDS = 64

# Word of NotTls -> what it means.
REASONS = {
    "plain_http": "the client spoke plain HTTP",
    "not_tls": "what the client sent is not TLS",
    "too_large": "the client's first message is over its limit of 16 KiB, or in more than 64 parts",
    "bad_hello": "the client's first message breaks the rules of TLS",
}

_HANDSHAKE = 22
_RECORD = b"\x16\x03"  # a handshake's, of any version since SSL 3
_CLIENT_HELLO = 1
_RECORD_LIMIT = 16384  # of what a record holds
_SERVER_NAME = 0
_ALPN = 16
_HOST_NAME = 0
_TEXT = frozenset(range(33, 127))  # of a name; no blanks, no control characters


class NotTls(Exception):  # noqa: N818  it is what the bytes are
    """These bytes are no ClientHello. Carries nothing of them."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


class Hello(NamedTuple):
    """`name` is in small letters, empty where the client says none. `alpn` in the client's order."""

    name: str
    alpn: tuple[bytes, ...]


def parse(data: bytes) -> Hello | None:
    """The ClientHello that `data` begins with; None: there is more to come, LIMIT and a little in all. 5 us. Raises
    NotTls."""
    message = _message(data)
    if message is None:
        return None
    try:
        return _read(message)
    except IndexError:  # a length leads out of it
        raise NotTls("bad_hello") from None


def _message(data: bytes) -> bytes | None:
    """The first handshake message, out of its records, without its header; None: not all of it is here."""
    if data and data[0] != _HANDSHAKE:
        raise NotTls(_what_else(data))
    at = 0
    message = b""
    for _ in range(MOST_RECORDS):
        header = data[at : at + 5]
        if not _RECORD.startswith(header[:2]):
            raise NotTls("bad_hello" if at else "not_tls")
        if len(header) < 5:
            return None
        size = header[3] << 8 | header[4]
        if not 0 < size <= _RECORD_LIMIT:
            raise NotTls("bad_hello" if at else "not_tls")
        part = data[at + 5 : at + 5 + size]
        message += part
        if message and message[0] != _CLIENT_HELLO:
            raise NotTls("bad_hello")
        if len(message) >= 4:
            end = 4 + int.from_bytes(message[1:4], "big")
            if end > LIMIT:
                raise NotTls("too_large")
            if len(message) >= end:
                return message[4:end]
        if len(part) < size:
            return None
        at += 5 + size
    raise NotTls("too_large")


def _what_else(data: bytes) -> str:
    """A method, as far as can be seen: not all of a request line may be here."""
    method = data[:8].partition(b" ")[0]
    is_one = len(method) > 2 and method.isalpha() and method.isupper() and method != b"PROXY"
    return "plain_http" if is_one else "not_tls"


def _read(message: bytes) -> Hello:
    """RFC 8446, section 4.1.2. Raises IndexError as well as NotTls."""
    at = 34  # version and random
    at += 1 + message[at]  # session id
    at += 2 + _two(message, at)  # cipher suites
    at += 1 + message[at]  # compression methods
    if at == len(message):
        return Hello("", ())
    end = at + 2 + _two(message, at)
    if end != len(message):
        raise NotTls("bad_hello")
    at += 2
    found: dict[int, bytes] = {}
    while at < end:
        kind, size = _two(message, at), _two(message, at + 2)
        at += 4
        if at + size > end or kind in found:
            raise NotTls("bad_hello")
        found[kind] = message[at : at + size]
        at += size
    name, alpn = found.get(_SERVER_NAME), found.get(_ALPN)
    return Hello("" if name is None else _name(name), () if alpn is None else _protocols(alpn))


def _name(body: bytes) -> str:
    """RFC 6066, section 3. One name, of the one kind that there is, as OpenSSL has it too."""
    size = _two(body, 3)
    text = body[5:]
    if _two(body, 0) != len(body) - 2 or body[2] != _HOST_NAME or not 0 < size == len(text) < 256:
        raise NotTls("bad_hello")
    if not _TEXT.issuperset(text):
        raise NotTls("bad_hello")
    return text.decode().lower().rstrip(".")


def _protocols(body: bytes) -> tuple[bytes, ...]:
    """RFC 7301, section 3.1."""
    if _two(body, 0) != len(body) - 2 or len(body) < 4:
        raise NotTls("bad_hello")
    found = []
    at = 2
    while at < len(body):
        end = at + 1 + body[at]
        if end == at + 1 or end > len(body):
            raise NotTls("bad_hello")
        found.append(body[at + 1 : end])
        at = end
    return tuple(found)


def _two(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]
