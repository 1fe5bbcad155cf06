"""How a parser ends on some bytes: as plain data, so that two ways of reading can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nlb.http1.facts import BadHead, Request, Response
from nlb.http1.framing import BadChunk, Dechunker

Ending = dict[str, Any] | tuple[int, str] | None


def facts(head: Request | Response) -> dict[str, Any]:
    """Every attribute. One that was not set is an AttributeError here and not in production."""
    return {name: getattr(head, name) for name in type(head).__slots__}


def ending(parse: Callable[..., Request | Response | None], data: bytes, *rest: Any) -> Ending:
    """The facts; (status, reason) of a refusal; None for more."""
    try:
        head = parse(data, *rest)
    except BadHead as bad:
        return bad.status, bad.reason
    return None if head is None else facts(head)


def in_reads(parse: Callable[[bytes, int], Request | Response | None], data: bytes, cuts: Iterable[int]) -> Ending:
    """The same for bytes that come in reads, cut at these places."""
    scanned = 0
    for cut in (*cuts, len(data)):
        if cut > scanned or cut == len(data):
            end = ending(parse, data[:cut], scanned)
            if end is not None:
                return end
            scanned = cut
    return None


def dechunked(data: bytes, cuts: Iterable[int] = ()) -> tuple[bytes, bytes, bytes] | str | None:
    """Payload, trailers and rest of a body that comes in reads; the reason of a BadChunk; None if it has no end."""
    dechunker = Dechunker()
    payload = b""
    start = 0
    for cut in (*cuts, len(data)):
        try:
            payload += dechunker.feed(data[start:cut])
        except BadChunk as bad:
            return bad.reason
        if dechunker.done:
            return payload, dechunker.trailers, dechunker.rest + data[cut:]
        start = cut
    return None
