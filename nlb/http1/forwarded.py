"""What a target learns about the client, and what is believed of what the client says about itself: X-Forwarded-*,
Forwarded (RFC 7239), Via, X-Request-Id and traceparent (W3C Trace Context).

Everybody can write these fields. What a peer says of clients behind it is believed where the operator trusts the peer,
and nowhere else; what is not believed may still be passed on, to the left of what we know.
"""

from __future__ import annotations

import re

from nlb.http1.facts import Request
from nlb.shield.cidr import Networks, canonical

APPEND, REPLACE, PRESERVE, REMOVE = MODES = ("append", "replace", "preserve", "remove")

UNKNOWN = "unknown"  # RFC 7239 section 6.2; what a client of a unix socket is

# More proxies in a row than anybody has; each one looked at costs a look-up.
_MOST_ENTRIES = 30

_HEX = b"[0-9a-f]"
_TRACE = rb"(?!0{32})%b{32}-(?!0{16})%b{16}-%b{2}" % (_HEX, _HEX, _HEX)
# Of versions to come only this much is known, and that more may follow.
_TRACEPARENT = re.compile(rb"00-%b|(?!00|ff)%b{2}-%b(?:-[!-~]*)?" % (_TRACE, _HEX, _TRACE))
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=-]{1,128}")

_TOKEN = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]++"
_HOST_TOKEN = re.compile(_TOKEN)
_HOST_QUOTED = re.compile(rb"[!#-\[\]-~]+")  # visible, and neither " nor \ in it
_PAIR = rb'%b=(?:%b|"(?>(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)")' % (_TOKEN, _TOKEN)
_ELEMENT = rb"%b(?>(?:[ \t]*+;[ \t]*+(?>(?:%b)?))*)" % (_PAIR, _PAIR)
_FORWARDED = re.compile(rb"[ \t]*+%b(?>(?:[ \t]*+,[ \t]*+(?>(?:%b)?))*)[ \t]*+" % (_ELEMENT, _ELEMENT))

# An address that does not stand alone: 1.2.3.4:567, [v6] or [v6]:567.
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")


class Forwarding:
    """What a listener does with these fields. Modes say what becomes of X-Forwarded-For, -Proto and -Port, and of
    Forwarded:

    append    what we know is added to the right of what came; -Proto and -Port stay as a trusted peer said them
    replace   what we know stands in its place
    preserve  it is passed on as it came, and nothing is added
    remove    it is taken out, and nothing is added

    Where `via`, `request_id` or `traceparent` is false, that field is passed on as it came.
    """

    __slots__ = ("_templates", "forwarded_mode", "mode", "proto", "request_id", "traceparent", "trusted", "via")

    def __init__(
        self,
        mode: str,
        forwarded_mode: str,
        trusted: Networks,
        proto: str,
        via: bool,
        request_id: bool,
        traceparent: bool,
    ) -> None:
        self.mode = mode
        self.forwarded_mode = forwarded_mode
        self.trusted = trusted
        self.proto = proto.encode()
        self.via = via
        self.request_id = request_id
        self.traceparent = traceparent
        self._templates: dict[int, bytes] = {}

    def peer(self, peer: str, port: int) -> Peer:
        """Who is at the other end of a connection: an IP address as the kernel writes it, or anything else for a unix
        socket. `port` is the one that was connected to, 0 where there is none."""
        template = self._templates.get(port)
        if template is None:
            template = self._templates[port] = self._template(port)
        return Peer(self, peer, port, template)

    def _template(self, port: int) -> bytes:
        """The lines for a request of HTTP/1.1 that has none of these fields, with slots for the peer's address, the id,
        the id again and its lower half. `%.0b` takes a value and writes nothing of it."""
        if self.forwarded_mode in (APPEND, REPLACE):
            return b""  # names the host, another one in each request
        lines = b"%.0b"
        if self.mode in (APPEND, REPLACE):
            lines = b"X-Forwarded-For: %%b\r\nX-Forwarded-Proto: %b\r\n" % self.proto
            if port:
                lines += b"X-Forwarded-Port: %d\r\n" % port
        if self.via:
            lines += b"Via: 1.1 nlb\r\n"
        lines += b"X-Request-Id: %b\r\n" if self.request_id else b"%.0b"
        return lines + (b"traceparent: 00-%b-%b-00\r\n" if self.traceparent else b"%.0b%.0b")


class Peer:
    """One client connection. `address` is the peer's; "unknown", which is in no network, for a unix socket."""

    __slots__ = ("_address", "_template", "address", "forwarding", "is_trusted", "port")

    def __init__(self, forwarding: Forwarding, peer: str, port: int, template: bytes) -> None:
        # The zone of a link-local address is this box's own name for a link.
        self.address = canonical(peer.partition("%")[0]) or UNKNOWN
        self.forwarding = forwarding
        self.is_trusted = self.address in forwarding.trusted
        self.port = port
        self._address = self.address.encode()
        self._template = template

    def client(self, request: Request) -> str:
        """The address that is believed to be the client's."""
        special = request.special
        if special is None or not self.is_trusted:
            return self.address
        client = self.address
        trusted = self.forwarding.trusted
        came = special.get(b"x-forwarded-for", b"").decode("latin-1")
        # Each proxy wrote down who connected to it: an entry is as true as the one to its right is trusted.
        for entry in reversed(came.rsplit(",", _MOST_ENTRIES)[-_MOST_ENTRIES:]):
            address = _entry(entry)
            if not address:
                break
            client = address
            if address not in trusted:
                break
        return client

    def lines(self, request: Request, id: int) -> bytes:
        """What is added to the head of the request as it goes to the target: whole lines, in place of everything that
        is in `request.special`. `id` is 128 random bits of which the lower 64 are not all 0."""
        if request.special is None and self._template and request.minor:
            text = b"%032x" % id
            return self._template % (self._address, text, text, text[16:])
        return self._compose(request, request.special or {}, b"%032x" % id)

    def request_id(self, request: Request, id: int) -> str:
        """Under which id the request is known to the target; "" if it has none."""
        came = (request.special or {}).get(b"x-request-id", b"")
        if _REQUEST_ID.fullmatch(came):
            return came.decode()
        return f"{id:032x}" if self.forwarding.request_id else ""

    def _compose(self, request: Request, came: dict[bytes, bytes], id: bytes) -> bytes:
        forwarding = self.forwarding
        fields = self._x_forwarded(came)
        fields[b"Forwarded"] = self._forwarded(request, came.get(b"forwarded"))
        fields[b"Via"] = _via(request.minor, came.get(b"via")) if forwarding.via else came.get(b"via")
        fields[b"X-Request-Id"] = request_id = came.get(b"x-request-id")
        if forwarding.request_id and not _REQUEST_ID.fullmatch(request_id or b""):
            fields[b"X-Request-Id"] = id
        fields[b"traceparent"] = traceparent = came.get(b"traceparent")
        if forwarding.traceparent and not _TRACEPARENT.fullmatch(traceparent or b""):
            fields[b"traceparent"] = b"00-%b-%b-00" % (id, id[16:])
        return b"".join([b"%b: %b\r\n" % (name, value) for name, value in fields.items() if value is not None])

    def _x_forwarded(self, came: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
        mode = self.forwarding.mode
        if mode == REMOVE:
            return {}
        client = came.get(b"x-forwarded-for")
        proto, port = came.get(b"x-forwarded-proto"), came.get(b"x-forwarded-port")
        if mode != PRESERVE:
            client = b"%b, %b" % (client, self._address) if client and mode == APPEND else self._address
            if not (mode == APPEND and self.is_trusted):
                proto = port = None
            if proto is None:
                proto = self.forwarding.proto
                port = port or (b"%d" % self.port if self.port else None)
            # else our port would not go with the proto of the proxy: https to it, and to us port 80
        return {b"X-Forwarded-For": client, b"X-Forwarded-Proto": proto, b"X-Forwarded-Port": port}

    def _forwarded(self, request: Request, came: bytes | None) -> bytes | None:
        mode = self.forwarding.forwarded_mode
        if mode == REMOVE:
            return None
        if mode == PRESERVE:
            return came
        node = b'"[%b]"' % self._address if b":" in self._address else self._address
        ours = b"for=%b;proto=%b" % (node, self.forwarding.proto)
        if _HOST_TOKEN.fullmatch(request.authority):
            ours += b";host=%b" % request.authority
        elif _HOST_QUOTED.fullmatch(request.authority):
            ours += b';host="%b"' % request.authority
        # Behind an open quote, what we add would be a part of what the client says.
        if mode == APPEND and came and _FORWARDED.fullmatch(came):
            return b"%b, %b" % (came, ours)
        return ours


def _via(minor: int, came: bytes | None) -> bytes:
    ours = b"1.%d nlb" % minor
    return b"%b, %b" % (came, ours) if came else ours


def _entry(text: str) -> str:
    """The address in an entry of X-Forwarded-For; empty if it is none."""
    text = text.strip(" \t")
    address = canonical(text)
    if not address and (match := _WITH_PORT.fullmatch(text)):
        address = canonical(match[1] or match[2])
    return address
