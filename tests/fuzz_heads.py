"""What must hold of any bytes that the parsers are given, with h11 as the judge of what is passed on.

The suite calls these with bytes that hypothesis makes. With atheris installed the same run for as long as wanted:

    python -m tests.fuzz_heads request|response|body [CORPUS_DIRECTORY] [-runs=100000]

The vectors are where it starts: they are written into the directory first.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from types import FunctionType
from typing import Any

import h11

from nlb.http1 import answer, careful, fields, framing, head, lengths, lines, origin
from nlb.http1.desync import CLASS_OF
from nlb.http1.facts import Request, Response
from nlb.http1.framing import CHUNKED, UNTIL_CLOSE, chunk, last_chunk
from nlb.http1.head import parse_request, parse_response
from nlb.http1.write import request_head, response_head
from tests.heads import BODIES, HEADS, RESPONSES
from tests.unit.http1.reading import Ending, dechunked, ending, in_reads

TOO_LARGE = ("head_too_large", "uri_too_long")
STATUSES = {400, 405, 414, 417, 431, 501, 505}
TAKEN_OUT = re.compile(
    rb"^(connection|http2-settings|keep-alive|proxy-connection|te|trailer|transfer[^a-z0-9]encoding|upgrade|via|forwarded"
    rb"|x[^a-z0-9]forwarded[^a-z0-9](for|port|proto)|x[^a-z0-9]request[^a-z0-9]id|traceparent):",
    re.IGNORECASE | re.MULTILINE,
)


def check_request(data: bytes, cuts: list[int]) -> Request | None:
    """Refused with a known word, or passed on as one message that a strict server reads as we did."""
    whole = ending(parse_request, data)
    assert _alike(whole, in_reads(parse_request, data, cuts))
    assert whole == ending(lambda data: careful.parse_request(data, 0), data)
    if whole is None or isinstance(whole, tuple):
        assert whole is None or (whole[0] in STATUSES and whole[1] in CLASS_OF)
        return None
    request = parse_request(data)
    assert request is not None
    assert request.reason in CLASS_OF
    assert not TAKEN_OUT.search(request.fields)
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    extra = b"" if request.authority else b"Host: target\r\n"  # what a client of HTTP/1.0 did not say
    server.receive_data(request_head(request, request.fields, extra))
    seen: Any = server.next_event()
    assert isinstance(seen, h11.Request)
    assert (seen.method, seen.target) == (request.method, request.target)
    assert [value for name, value in seen.headers if name == b"host"] == [request.authority or b"target"]
    assert request.host == request.authority.rpartition(b":")[0].decode().lower() or not _plain(request.authority)
    _same_body(server, request.length)
    return request


def _alike(whole: Ending, in_parts: Ending) -> bool:
    """The same; but a head that is both too large and malformed is refused for what was noticed first."""
    if whole == in_parts:
        return True
    both = (whole, in_parts)
    return all(isinstance(each, tuple) for each in both) and any(each[1] in TOO_LARGE for each in both)


def _plain(authority: bytes) -> bool:
    return re.fullmatch(rb"[a-z.]*[a-z]:[0-9]+", authority) is not None


def check_response(data: bytes, method: bytes, cuts: list[int]) -> Response | None:
    """The same of a response, with h11 as the client that gets what is passed on."""

    def parse(data: bytes, scanned: int = 0) -> Response | None:
        return parse_response(data, method, scanned)

    whole = ending(parse, data)
    assert _alike(whole, in_reads(parse, data, cuts))
    assert whole == ending(lambda data: answer.parse_response(data, method, 0), data)
    if whole is None or isinstance(whole, tuple):
        assert whole is None or (whole[0] == 502 and (whole[1] in CLASS_OF or whole[1] == "bad_status_line"))
        return None
    response = parse_response(data, method)
    assert response is not None
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(
        h11.Request(method=method, target="/", headers=[("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "a")])
    )
    client.send(h11.EndOfMessage())
    client.receive_data(response_head(response, response.fields, b"", 1, False))
    seen: Any = client.next_event()
    assert isinstance(seen, h11.Response | h11.InformationalResponse)
    assert seen.status_code == response.status
    if response.status >= 200:
        _same_body(client, response.length)
    return response


def _same_body(reader: h11.Connection, length: int) -> None:
    """A body of that length is read to its end and no further."""
    if length > 1 << 16:
        return
    body = b"x" * min(length, 100) if length > 0 else b"xyz"
    if length > 0:
        reader.receive_data(b"x" * length + b"next")
    elif length == CHUNKED:
        reader.receive_data(chunk(body) + last_chunk() + b"next")
    elif length == UNTIL_CLOSE:
        reader.receive_data(body)
        reader.receive_data(b"")
    else:
        reader.receive_data(b"next")
    read = b""
    while isinstance(event := reader.next_event(), h11.Data):
        read += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), event
    assert len(read) == (length if length >= 0 else 3)
    assert reader.trailing_data[0] == (b"" if length == UNTIL_CLOSE else b"next")


def check_body(data: bytes, cuts: list[int]) -> None:
    """A chunked body has one end and one payload, in whatever reads it comes; h11 sees the same end."""
    whole = dechunked(data)
    assert whole == dechunked(data, sorted({min(cut, len(data)) for cut in cuts}))
    if whole is None or isinstance(whole, str):
        return
    payload, trailers, rest = whole
    both = [(chunk(payload) + last_chunk(trailers), b"")]
    if not re.search(rb"content-length|transfer-encoding", data, re.IGNORECASE):
        both.append((data, rest))  # of these trailers, which we drop, h11 reads the values
    for sent, behind in both:
        server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        server.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + sent)
        server.next_event()
        read = b""
        while isinstance(event := server.next_event(), h11.Data):
            read += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage), event
        assert (read, server.trailing_data[0]) == (payload, behind)


def one_request(data: bytes) -> None:
    check_request(data, [len(data) // 3, len(data) // 2])


def one_response(data: bytes) -> None:
    for method in (b"GET", b"HEAD"):
        check_response(data, method, [len(data) // 3, len(data) // 2])


def one_body(data: bytes) -> None:
    check_body(data, [len(data) // 3, len(data) // 2])


TARGETS = {"request": one_request, "response": one_response, "body": one_body}


def corpus(kind: str) -> list[bytes]:
    """What is known already."""
    return [known.raw for known in {"request": HEADS, "response": RESPONSES, "body": BODIES}[kind]]


def _functions() -> list[FunctionType]:
    """What coverage is to be found in: a tenth of the time that everything takes to be instrumented."""
    owners = (head, careful, answer, lines, lengths, origin, fields, framing, framing.Dechunker)
    return [each for owner in owners for each in vars(owner).values() if isinstance(each, FunctionType)]


def main(arguments: list[str]) -> None:
    import atheris

    kind, *rest = arguments
    directory = next((each for each in rest if not each.startswith("-")), None) or tempfile.mkdtemp()
    for number, known in enumerate(corpus(kind)):
        (Path(directory) / f"vector-{number}").write_bytes(known)
    for function in _functions():
        atheris.instrument_func(function)
    options = [each for each in rest if each.startswith("-")]
    atheris.Setup([sys.argv[0], directory, *options], TARGETS[kind])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
