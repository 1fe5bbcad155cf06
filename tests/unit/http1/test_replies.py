"""What clients get when no target answers."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import h11
import pytest

from nlb.http1.replies import HTML, PLAIN, REASONS, ErrorPages, redirect, reply, wants_html

OURS = ErrorPages({})
ANSWERED = (400, 403, 404, 405, 408, 413, 414, 417, 421, 429, 431, 500, 501, 502, 503, 504, 505)


def read(data: bytes, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, header and body, as a strict client sees them; nothing may be left over."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    head = connection.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert connection.trailing_data[0] == b""
    return head.status_code, dict(head.headers), body


class Outline(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("status", ANSWERED)
def test_every_error_has_a_sentence_as_html_and_as_text(status: int) -> None:
    html, html_type = OURS.page(status, True)
    plain, plain_type = OURS.page(status, False)
    assert (html_type, plain_type) == (HTML, PLAIN)
    title = f"{status} {REASONS[status].decode()}"
    assert plain.decode().startswith(f"{title}\n")
    sentence = plain.decode().split("\n", 1)[1].strip()
    assert re.fullmatch(r"[A-Z][^<>&:/]+\.", sentence)
    assert f"<h1>{title}</h1>\n<p>{sentence}</p>" in html.decode()
    assert len(html) < 1000


@pytest.mark.parametrize("status", ANSWERED)
def test_a_page_can_be_read_by_everybody_and_fetches_nothing(status: int) -> None:
    page = OURS.page(status, True)[0].decode()
    assert page.startswith("<!doctype html>")
    outline = Outline(page)
    assert not outline.open
    assert {"html", "title", "main", "h1", "p"} <= set(outline.tags)
    assert outline.attributes["lang"] == "en"
    assert not {"src", "href", "http-equiv"} & set(outline.attributes)
    assert "url(" not in page


def test_a_page_of_the_operator_is_for_everybody() -> None:
    pages = ErrorPages({502: b"<p>back at noon"})
    assert pages.page(502, True) == pages.page(502, False) == (b"<p>back at noon", HTML)
    assert pages.page(503, False) == OURS.page(503, False)


@pytest.mark.parametrize(("status", "body"), [(418, b"418 \n"), (410, b"410 Gone\n")])
def test_an_error_without_a_sentence_has_its_number(status: int, body: bytes) -> None:
    assert OURS.page(status, True) == (body, PLAIN)


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("Accept: text/html,application/xhtml+xml;q=0.9\r\n", True),
        ("accept: application/json, text/HTML\r\n", True),
        ("Accept: */*\r\n", False),
        ("Accept: application/json\r\n", False),
        ("X-Accept: text/html\r\n", False),
        ("Accept-Language: text/html\r\n", False),
        ("Accept: text/htmlx\r\n", False),
        ("", False),
    ],
)
def test_browsers_get_html(accept: str, html: bool) -> None:
    assert wants_html(f"Host: x\r\n{accept}X-Z: 1\r\n".encode()) is html


def test_a_reply_on_the_wire() -> None:
    assert reply(503, b"noon\n", PLAIN, b"X-Nlb-Reason: pick/no_target\r\n", close=True) == (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n"
        b"X-Nlb-Reason: pick/no_target\r\nConnection: close\r\n\r\nnoon\n"
    )


@pytest.mark.parametrize("status", sorted(REASONS))
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_strict_client_reads_every_reply(status: int, method: str) -> None:
    data = reply(status, b"body", PLAIN, close=False, head_only=method == "HEAD")
    seen, header, body = read(data, method)
    bodiless = status in (204, 304)
    assert seen == status
    assert header.get(b"content-length") == (None if bodiless else b"4")
    assert body == (b"" if bodiless or method == "HEAD" else b"body")
    assert b"connection" not in header


def test_an_empty_body_has_no_type_and_a_length() -> None:
    assert reply(200, b"", PLAIN) == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_a_status_that_nobody_knows_has_no_phrase() -> None:
    assert reply(599, b"", PLAIN).startswith(b"HTTP/1.1 599 \r\n")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_where_and_that_it_did(status: int) -> None:
    seen, header, body = read(redirect(status, b"https://a.example/x?y=1", b"X-Ours: 1\r\n", close=True))
    assert seen == status
    assert header[b"location"] == b"https://a.example/x?y=1"
    assert (header[b"x-ours"], header[b"connection"]) == (b"1", b"close")
    assert body
    assert b"a.example" not in body  # a client's words are not for a page of ours


def test_a_redirect_of_head_has_no_body() -> None:
    _, header, body = read(redirect(301, b"/x", head_only=True), "HEAD")
    assert body == b""
    assert int(header[b"content-length"]) > 0
