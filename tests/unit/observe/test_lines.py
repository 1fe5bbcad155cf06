"""How records look: the same words in every form, and nothing that a stranger sends can look like a record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.observe.lines import (
    NUMBER,
    SECONDS,
    TEXT,
    WORD,
    Layout,
    event,
    optional,
    plain_or_quoted,
    printable,
    quoted,
    timestamp,
)

# 10:04:30 and a bit, so that rounding to milliseconds shows.
NOW = 1795428270.1239
TIME = "2026-11-23T10:04:30.123Z"

VISIT = Layout(
    "visit",
    {
        "outcome": WORD,
        "agent": TEXT,
        "target": optional(WORD),
        "said": optional(TEXT),
        "took": SECONDS,
        "waited": optional(SECONDS),
        "bytes": NUMBER,
        "tries": optional(NUMBER),
    },
)
FULL: list[Any] = ["data/done", "curl/8", "web01", "hello", 0.25, 0.0015, 1 << 40, 2]
EMPTY: list[Any] = ["pick/no_target", "", None, None, 0.0, None, 0, None]


def fields(datagram: bytes) -> dict[str, str]:
    """What the journal would read: NAME=value, or NAME, the length as 8 bytes, and a value of several lines."""
    found = {}
    while datagram:
        head, _, rest = datagram.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if equals:
            datagram = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            value, end, datagram = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n"
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1.9999, "1970-01-01T00:00:01.999Z"),
        (951782400.5, "2000-02-29T00:00:00.500Z"),
        (NOW, TIME),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            FULL,
            "outcome=data/done agent=curl/8 target=web01 said=hello took=0.250000 waited=0.001500 "
            "bytes=1099511627776 tries=2",
        ),
        (EMPTY, 'outcome=pick/no_target agent="" target=- said=- took=0.000000 waited=- bytes=0 tries=-'),
    ],
)
def test_a_record_as_text(values: list[Any], text: str) -> None:
    assert VISIT.line("text", NOW, list(values)) == f"{TIME} info visit {text}\n".encode()


@pytest.mark.parametrize("values", [FULL, EMPTY])
def test_a_record_as_json(values: list[Any]) -> None:
    line = VISIT.line("json", NOW, list(values))
    assert line.endswith(b"}\n")
    names = ["outcome", "agent", "target", "said", "took", "waited", "bytes", "tries"]
    record = json.loads(line)
    assert record == {"time": TIME, "level": "info", "kind": "visit", **dict(zip(names, values, strict=True))}
    assert list(record) == ["time", "level", "kind", *names]
    assert isinstance(record["bytes"], int)


def test_a_record_in_the_journal() -> None:
    found = fields(VISIT.line("journal", NOW, list(FULL)))
    assert found.pop("MESSAGE") == VISIT.line("text", NOW, list(FULL)).decode().split(" ", 2)[2].rstrip("\n")
    assert found == {
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "nlb",
        "NLB_TIME": TIME,
        "NLB_KIND": "visit",
        "NLB_OUTCOME": "data/done",
        "NLB_AGENT": "curl/8",
        "NLB_TARGET": "web01",
        "NLB_SAID": "hello",
        "NLB_TOOK": "0.250000",
        "NLB_WAITED": "0.001500",
        "NLB_BYTES": "1099511627776",
        "NLB_TRIES": "2",
    }


ODD = [
    "two words",
    'a "quote"',
    "back\\slash",
    "x\n2026-11-23T10:04:30.123Z info visit outcome=data/done",
    'x"} \n{"kind":"forged"}',
    "bell\x07 escape\x1b[2J",
    "\x85\u2028\u2029 other ends of lines",
    "a=b",
    "%s %d",
    "-",
    "",
    "\ud800 half a character",
    "\udcff no UTF-8",
    "caf\xe9 \U0001f600",
    "\x00",
]


@pytest.mark.parametrize("sent", ODD)
@pytest.mark.parametrize("form", ["text", "json", "journal"])
def test_what_a_stranger_sends_stays_in_its_place(form: str, sent: str) -> None:
    """All the rest of the line is as it would be without it."""
    values = list(FULL)
    values[1] = sent
    line = VISIT.line(form, NOW, list(values))
    plain = VISIT.line(form, NOW, list(FULL))
    assert line.count(b"\n") == plain.count(b"\n")
    assert line.isascii()
    assert not any(byte < 32 for byte in line.replace(b"\n", b""))
    if form == "text":
        assert line.replace(plain_or_quoted(sent).encode(), b"curl/8", 1) == plain
    elif form == "json":
        assert {**json.loads(line), "agent": "curl/8"} == json.loads(plain)
    else:
        assert fields(line).keys() == fields(plain).keys()


@given(st.text())
def test_any_text_is_told_apart_from_what_stands_beside_it(text: str) -> None:
    """A reader that knows spaces, = and quotes gets back what was sent."""
    written = plain_or_quoted(text)
    if written.startswith('"'):
        assert json.loads(written) == text
    else:
        assert written == text
        assert not set(text) & set(' "=\\')
    assert json.loads(quoted(text)) == text


@given(st.text(alphabet=st.characters(categories=["Cs", "Ll", "Zs", "Cc"])))
def test_json_is_never_broken(text: str) -> None:
    """Half a surrogate pair is legal in no encoding: strict readers refuse the whole line."""
    json.loads(quoted(text)).encode()


@pytest.mark.parametrize("form", ["text", "json", "journal"])
def test_an_event_in_every_form(form: str) -> None:
    line = event(form, NOW, "warning", "target", "web/a is unhealthy: \x1b[2Jrefused", {"group": "web", "seen": 3})
    said = "web/a is unhealthy: \\x1b[2Jrefused"
    if form == "text":
        assert line.decode() == f"{TIME} warning target {said}\n"
    elif form == "json":
        assert json.loads(line) == {
            "time": TIME,
            "level": "warning",
            "kind": "target",
            "text": said,
            "group": "web",
            "seen": 3,
        }
    else:
        assert fields(line) == {
            "NLB_TIME": TIME,
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "nlb",
            "NLB_KIND": "target",
            "NLB_GROUP": "web",
            "NLB_SEEN": "3",
            "MESSAGE": said,
        }


def test_an_event_of_several_lines() -> None:
    text = "bug in control\nTraceback\n  File x\n"
    assert event("text", NOW, "error", "nlb", text, {}).decode().splitlines() == [
        f"{TIME} error nlb bug in control",
        f"{TIME} error nlb Traceback",
        f"{TIME} error nlb   File x",
    ]
    assert event("json", NOW, "error", "nlb", text, {}).count(b"\n") == 1
    assert json.loads(event("json", NOW, "error", "nlb", text, {}))["text"] == text.rstrip("\n")
    found = fields(event("journal", NOW, "error", "nlb", text, {}))
    assert (found["MESSAGE"], found["PRIORITY"]) == (text.rstrip("\n"), "3")


@pytest.mark.parametrize("sent", ODD)
@pytest.mark.parametrize("form", ["text", "json", "journal"])
def test_an_event_that_quotes_a_stranger(form: str, sent: str) -> None:
    line = event(form, NOW, "info", "nlb", f"a probe saw {sent}!", {"seen": sent})
    if form == "text":
        assert all(one.startswith(f"{TIME} info nlb ") for one in line.decode().rstrip("\n").split("\n"))
    elif form == "json":
        assert line.count(b"\n") == 1
        assert list(json.loads(line)) == ["time", "level", "kind", "text", "seen"]
    else:
        assert fields(line).keys() == fields(event(form, NOW, "info", "nlb", "x", {"seen": 1})).keys()


def test_printable_leaves_what_people_can_read() -> None:
    assert printable("caf\xe9 is \u65e5\u672c") == "caf\xe9 is \u65e5\u672c"
    assert printable("tab\tand \u202eright to left") == "tab\\tand \\u202eright to left"
