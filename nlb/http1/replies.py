"""Replies that no target gave: errors, redirects, fixed responses. An error says to the client what happened in a
sentence, and nothing of what stands behind the balancer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

HTML = "text/html; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"

REASONS: dict[int, bytes] = {
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    204: b"No Content",
    301: b"Moved Permanently",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    406: b"Not Acceptable",
    407: b"Proxy Authentication Required",
    408: b"Request Timeout",
    409: b"Conflict",
    410: b"Gone",
    411: b"Length Required",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
    423: b"Locked",
    424: b"Failed Dependency",
    425: b"Too Early",
    426: b"Upgrade Required",
    428: b"Precondition Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    451: b"Unavailable For Legal Reasons",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    506: b"Variant Also Negotiates",
    507: b"Insufficient Storage",
    508: b"Loop Detected",
    511: b"Network Authentication Required",
}

# What the client is told: of 4xx what was wrong with the request, of 5xx whether trying again makes sense.
_SENTENCES = {
    400: "The request could not be understood, so it was not passed on.",
    403: "This address may not be opened from where you are.",
    404: "There is nothing at this address.",
    405: "This method is not allowed here.",
    408: "The request took too long to arrive.",
    413: "The request is larger than is accepted here.",
    414: "The address of the request is longer than is accepted here.",
    417: "What the request expects of the server cannot be met.",
    421: "The request was sent to a server that does not answer for this host.",
    429: "There were too many requests in a short time. Please wait a moment and try again.",
    431: "The header of the request is larger than is accepted here.",
    500: "Something went wrong here while the request was handled.",
    501: "The request uses something that is not supported here.",
    502: "The server behind this address did not give a usable answer. Please try again in a moment.",
    503: "The service cannot take the request just now. Please try again in a moment.",
    504: "The server behind this address did not answer in time. Please try again in a moment.",
    505: "This version of HTTP is not supported here.",
}

# Dark where the client likes it, readable on a telephone, and nothing to fetch.
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1.5rem}}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{sentence}</p>
</main>
</body>
</html>
"""

_MOVED = b"The page has another address, which is in the Location header of this response.\n"

_WANTS_HTML = re.compile(rb"^accept:[^\r\n]*\btext/html\b", re.IGNORECASE | re.MULTILINE)


class ErrorPages:
    """The bodies of a listener's errors, made on load: ours, or the operator's HTML where `own` has a page."""

    __slots__ = ("_html", "_own", "_plain")

    def __init__(self, own: Mapping[int, bytes]) -> None:
        self._own = dict(own)
        self._html: dict[int, bytes] = {}
        self._plain: dict[int, bytes] = {}
        for status, sentence in _SENTENCES.items():
            title = f"{status} {phrase(status).decode()}"
            self._html[status] = _PAGE.format(title=escape(title), sentence=escape(sentence)).encode()
            self._plain[status] = f"{title}\n{sentence}\n".encode()

    def page(self, status: int, wants_html: bool) -> tuple[bytes, str]:
        """Body and content type. A page of the operator is sent to everybody: it is what they want to be seen."""
        own = self._own.get(status)
        if own is not None:
            return own, HTML
        pages, content_type = (self._html, HTML) if wants_html else (self._plain, PLAIN)
        if status not in pages:
            return b"%d %b\n" % (status, phrase(status)), PLAIN
        return pages[status], content_type


def wants_html(fields: bytes) -> bool:
    """Does a client with these header lines name HTML among what it accepts? Browsers do, programs do not."""
    return _WANTS_HTML.search(fields) is not None


def phrase(status: int) -> bytes:
    """The words behind the status in a status line; empty, as RFC 9112 section 4 allows, if nobody gave it any."""
    return REASONS.get(status, b"")


def reply(
    status: int,
    body: bytes,
    content_type: str,
    extra: bytes = b"",
    close: bool = False,
    head_only: bool = False,
) -> bytes:
    """A whole response. `extra` are whole lines. `head_only`: the answer to HEAD, which says the length of what it
    does not send. 204 and 304 have no body, whatever is given."""
    parts = [b"HTTP/1.1 %d %b\r\n" % (status, phrase(status))]
    bodiless = status in (204, 304)
    if not bodiless:
        if body:
            parts.append(b"Content-Type: %b\r\n" % content_type.encode("latin-1"))
        parts.append(b"Content-Length: %d\r\n" % len(body))
    parts.append(extra)
    parts.append(b"Connection: close\r\n\r\n" if close else b"\r\n")
    if not (head_only or bodiless):
        parts.append(body)
    return b"".join(parts)


def redirect(
    status: int,
    location: bytes,
    extra: bytes = b"",
    close: bool = False,
    head_only: bool = False,
) -> bytes:
    """The reply that sends the client to `location`, which must be a URL as it stands on the wire: ASCII, no spaces."""
    return reply(status, _MOVED, PLAIN, b"Location: %b\r\n%b" % (location, extra), close, head_only)
