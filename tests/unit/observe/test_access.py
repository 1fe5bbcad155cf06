"""The line of a request: what a client may send in its place, whatever it is, and nothing of it anywhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.observe.access import REQUEST
from nlb.observe.lines import plain_or_quoted
from tests.unit.observe.test_lines import ODD, fields

NOW = 1795428270.1239
TIME = "2026-11-23T10:04:30.123Z"

SERVED: dict[str, Any] = {
    "outcome": "data/done",
    "listener": "edge",
    "client": "203.0.113.9",
    "peer": "10.0.0.7:51234",
    "method": b"GET",
    "uri": b"/v1/items",
    "version": "HTTP/1.1",
    "host": "api.example.com",
    "rule": "api-v1",
    "group": "api",
    "target": "api01",
    "status": 200,
    "target_status": 200,
    "received": 312,
    "sent": 5120,
    "queue": None,
    "connect": 0.00042,
    "first_byte": 0.0031,
    "duration": 0.0042,
    "tries": 1,
    "desync": "compliant",
    "desync_reason": None,
    "request_id": "5f0c9a53",
    "user_agent": b"curl/8.5.0",
}
# No head that could be read: all that is known is who sent it and what it was answered.
UNREAD: dict[str, Any] = {
    **dict.fromkeys(SERVED),
    "outcome": "request/bad_head",
    "listener": "edge",
    "client": "203.0.113.9",
    "peer": "203.0.113.9:40000",
    "status": 400,
    "received": 20,
    "sent": 180,
    "duration": 0.0001,
    "tries": 0,
    "desync": "severe",
    "desync_reason": "bad_header",
}

STRANGERS = ("client", "peer", "method", "uri", "host", "request_id", "user_agent")

# Also what is no text at all.
SENT = [*(text.encode(errors="surrogatepass") for text in ODD), b"\xff\xfe", b"caf\xe9", b"\xed\xb3\xbf"]


def line(form: str, facts: dict[str, Any]) -> bytes:
    return REQUEST.line(form, NOW, list(facts.values()))


def with_strangers(sent: bytes, *names: str) -> dict[str, Any]:
    text = sent.decode(errors="surrogateescape")
    return SERVED | {name: sent if isinstance(SERVED[name], bytes) else text for name in names}


def texts(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in facts.items()}


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (
            SERVED,
            "outcome=data/done listener=edge client=203.0.113.9 peer=10.0.0.7:51234 method=GET uri=/v1/items "
            "version=HTTP/1.1 host=api.example.com rule=api-v1 group=api target=api01 status=200 target_status=200 "
            "received=312 sent=5120 queue=- connect=0.000420 first_byte=0.003100 duration=0.004200 tries=1 "
            "desync=compliant desync_reason=- request_id=5f0c9a53 user_agent=curl/8.5.0",
        ),
        (
            UNREAD,
            "outcome=request/bad_head listener=edge client=203.0.113.9 peer=203.0.113.9:40000 method=- uri=- "
            "version=- host=- rule=- group=- target=- status=400 target_status=- "
            "received=20 sent=180 queue=- connect=- first_byte=- duration=0.000100 tries=0 "
            "desync=severe desync_reason=bad_header request_id=- user_agent=-",
        ),
    ],
    ids=["served", "unread"],
)
def test_the_line_of_a_request(facts: dict[str, Any], text: str) -> None:
    assert line("text", facts) == f"{TIME} info request {text}\n".encode()


@pytest.mark.parametrize("facts", [SERVED, UNREAD], ids=["served", "unread"])
def test_the_same_for_programs(facts: dict[str, Any]) -> None:
    record = json.loads(line("json", facts))
    assert record == {"time": TIME, "level": "info", "kind": "request", **texts(facts)}
    assert list(record)[3:] == list(SERVED)


@pytest.mark.parametrize("facts", [SERVED, UNREAD], ids=["served", "unread"])
def test_the_same_in_the_journal(facts: dict[str, Any]) -> None:
    found = fields(line("journal", facts))
    assert found["MESSAGE"] == line("text", facts).decode().split(" ", 2)[2].rstrip("\n")
    assert [name.removeprefix("NLB_").lower() for name in found][-len(SERVED) :] == list(SERVED)
    assert found["NLB_STATUS"] == str(facts["status"])


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize("form", ["text", "json", "journal"])
def test_a_request_cannot_forge_or_split_a_line(form: str, sent: bytes, name: str) -> None:
    _stays_in_its_place(form, with_strangers(sent, name), (name,))


@given(st.binary())
def test_not_with_anything_anywhere(sent: bytes) -> None:
    for form in ("text", "json", "journal"):
        _stays_in_its_place(form, with_strangers(sent, *STRANGERS), STRANGERS)


def _stays_in_its_place(form: str, facts: dict[str, Any], names: tuple[str, ...]) -> None:
    """All the rest of the line is as it is without it, and nothing but ASCII is in it."""
    written, plain = line(form, facts), line(form, SERVED)
    assert written.count(b"\n") == plain.count(b"\n")
    assert written.endswith(b"\n")
    assert not any(byte < 32 or byte > 126 for byte in written.replace(b"\n", b""))
    if form == "text":
        for name in names:
            sent, normal = (f" {name}={_as_text(value[name])}" for value in (facts, SERVED))
            assert written.count(sent.encode()) == 1
            written = written.replace(sent.encode(), normal.encode())
        assert written == plain
    elif form == "json":
        assert json.loads(written) | dict.fromkeys(names) == json.loads(plain) | dict.fromkeys(names)
    else:
        ours, theirs = fields(plain), fields(written)
        assert ours.keys() == theirs.keys()
        touched = {"MESSAGE", *(f"NLB_{name.upper()}" for name in names)}
        assert all(ours[name] == theirs[name] for name in ours.keys() - touched)


def _as_text(value: str | bytes) -> str:
    return plain_or_quoted(value.decode(errors="surrogateescape") if isinstance(value, bytes) else value)
