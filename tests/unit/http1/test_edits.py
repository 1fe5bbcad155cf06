"""Header lines that the operator sets and removes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.http1.edits import FRAMING, HeaderEdit

FIELDS = b"Host: x\r\nX-Debug: 1\r\nAccept: */*\r\nx-debug: X-Env: 2\r\nContent-Length: 5\r\nX-Env-Two: 3\r\n"


@pytest.mark.parametrize(
    ("put", "remove", "left"),
    [
        pytest.param({}, [], FIELDS, id="nothing to do"),
        pytest.param(
            {}, ["X-DEBUG"], b"Host: x\r\nAccept: */*\r\nContent-Length: 5\r\nX-Env-Two: 3\r\n", id="all of a name"
        ),
        pytest.param({"X-Env": "prod"}, [], FIELDS + b"X-Env: prod\r\n", id="a new one; a longer name stays"),
        pytest.param(
            {"accept": "text/html"},
            [],
            b"Host: x\r\nX-Debug: 1\r\nx-debug: X-Env: 2\r\nContent-Length: 5\r\nX-Env-Two: 3\r\naccept: text/html\r\n",
            id="in the place of one",
        ),
        pytest.param(
            {"Host": "y"},
            ["x-debug", "accept", "x-env-two"],
            b"Content-Length: 5\r\nHost: y\r\n",
            id="the first and the last line",
        ),
        pytest.param({}, ["debug", "env", "X"], FIELDS, id="parts of names and values are no names"),
        pytest.param(
            {"X-Debug": "on"},
            ["X-Debug"],
            b"Host: x\r\nAccept: */*\r\nContent-Length: 5\r\nX-Env-Two: 3\r\nX-Debug: on\r\n",
            id="set wins over remove",
        ),
        pytest.param({"X-Price": " 5 € "}, [], FIELDS + "X-Price: 5 €\r\n".encode(), id="UTF-8, without outer blanks"),
        pytest.param({}, ["X.Debug", "X-Debu*", "X-Debug|Accept"], FIELDS, id="a name is no pattern"),
    ],
)
def test_lines_are_set_and_removed(put: dict[str, str], remove: list[str], left: bytes) -> None:
    assert HeaderEdit(put, remove).apply(FIELDS) == left


def test_an_edit_that_does_nothing_is_false() -> None:
    assert not HeaderEdit({}, [])
    assert HeaderEdit({"X-Env": ""}, [])
    assert HeaderEdit({}, ["X-Env"])


@pytest.mark.parametrize("name", sorted(FRAMING))
@pytest.mark.parametrize("case", [str.lower, str.title, str.upper])
def test_framing_is_not_for_editing(name: str, case: type[str]) -> None:
    with pytest.raises(ValueError, match="nlb alone writes it"):
        HeaderEdit({case(name): "1"}, [])
    with pytest.raises(ValueError, match="nlb alone writes it"):
        HeaderEdit({}, [case(name)])


@pytest.mark.parametrize("name", ["", "X Env", "X-Env:", "X-Env\r\nY", "Käse", "X-Env\n"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a header name"):
        HeaderEdit({name: "1"}, [])
    with pytest.raises(ValueError, match="is not a header name"):
        HeaderEdit({}, [name])


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", "\0", "\x7f", "\x1b[1m"])
def test_a_value_is_one_line(value: str) -> None:
    with pytest.raises(ValueError, match="one line of text"):
        HeaderEdit({"X-Env": value}, [])


def test_a_name_is_set_once() -> None:
    with pytest.raises(ValueError, match="'x-env' is set twice"):
        HeaderEdit({"X-Env": "1", "x-env": "2"}, [])


names = st.sampled_from(["Host", "HOST", "Accept", "X-A", "x-a", "X-A-B", "A", "Via"])
values = st.sampled_from(["", "1", "X-A: 1", "Host", "via:"])


@given(
    st.lists(st.tuples(names, values), max_size=6),
    st.dictionaries(names, values, max_size=3).filter(lambda put: len({name.lower() for name in put}) == len(put)),
    st.lists(names, max_size=3),
)
def test_an_edit_is_what_a_list_of_pairs_would_say(
    lines: list[tuple[str, str]], put: dict[str, str], remove: list[str]
) -> None:
    block = "".join(f"{name}: {value}\r\n" for name, value in lines).encode()
    gone = {name.lower() for name in (*put, *remove)}
    expected = [(name, value) for name, value in lines if name.lower() not in gone] + list(put.items())
    edited = HeaderEdit(put, remove).apply(block)
    assert edited == "".join(f"{name}: {value}\r\n" for name, value in expected).encode()
    assert HeaderEdit(put, remove).apply(edited) == edited
