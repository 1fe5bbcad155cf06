"""Whose an inherited socket is: the address decides, then the name; what was meant for another process is not ours."""

from __future__ import annotations

import pytest

from nlb.control.inherited import Given, Left, announced, left_at, match
from nlb.model.address import parse_address

PID = 812


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {}),
        ({"LISTEN_PID": "812", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:api"}, {3: "web", 4: "api"}),
        ({"LISTEN_PID": "812", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web"}, {3: "web", 4: ""}),
        ({"LISTEN_PID": "812", "LISTEN_FDS": "1"}, {3: ""}),
        ({"LISTEN_PID": "812", "LISTEN_FDS": "0"}, {}),
        ({"LISTEN_PID": "813", "LISTEN_FDS": "1"}, {}),
        ({"LISTEN_FDS": "1"}, {}),
        ({"LISTEN_PID": "812"}, {}),
        ({"LISTEN_PID": "812", "LISTEN_FDS": "-1"}, {}),
        ({"LISTEN_PID": "812", "LISTEN_FDS": "many"}, {}),
        ({"LISTEN_PID": "812", "LISTEN_FDS": "\u00b2"}, {}),
    ],
)
def test_what_is_announced_to_us(environment: dict[str, str], expected: dict[int, str]) -> None:
    assert announced(environment, PID) == expected


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        pytest.param("web 0.0.0.0:80", "0.0.0.0:80 nlb.socket", "0", id="by address"),
        pytest.param("web [::]:80, web 0.0.0.0:80", "0.0.0.0:80 web, [::]:80 web", "1 0", id="in any order"),
        pytest.param("web unix:/run/in.sock", "unix:/run/in.sock x", "0", id="a unix path"),
        pytest.param("web 0.0.0.0:80", "0.0.0.0:81 nlb.socket", "-", id="another port"),
        pytest.param("web 0.0.0.0:80", "[::]:80 web", "0", id="by name"),
        pytest.param("web 0.0.0.0:80, web 0.0.0.0:81", "[::]:80 web, 0.0.0.0:80 web", "1 0", id="address before name"),
        pytest.param("api 0.0.0.0:81, web 0.0.0.0:80", "0.0.0.0:80 api", "- 0", id="address before another's name"),
        pytest.param("web 0.0.0.0:80, web 0.0.0.0:81", "[::]:80 web", "0 -", id="each socket once"),
        pytest.param("web 127.0.0.1:0", "127.0.0.1:4711 web", "0", id="any port, by name"),
        pytest.param("web 127.0.0.1:0", "127.0.0.1:4711 api", "-", id="any port is nobody's"),
        pytest.param("web 0.0.0.0:80", "", "-", id="nothing given"),
    ],
)
def test_who_gets_which(wanted: str, given: str, expected: str) -> None:
    """`expected` is, for each that is wanted, the number of the socket, or - for none."""
    places = [(name, parse_address(bind)) for name, bind in pairs(wanted)]
    sockets = [Given(parse_address(address), name, number) for number, (address, name) in enumerate(pairs(given))]
    matched = match(places, sockets)
    assert " ".join(str(matched[place].sock) if place in matched else "-" for place in places) == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        pytest.param("web 0.0.0.0:80", "b a", id="of every worker, in their order"),
        pytest.param("renamed 0.0.0.0:80", "b a", id="the listener has another name now"),
        pytest.param("web 127.0.0.1:0", "c", id="a port that was chosen"),
        pytest.param("renamed 127.0.0.1:0", "", id="which only its own listener may have"),
        pytest.param("web unix:/run/in.sock", "d", id="a unix path"),
        pytest.param("renamed unix:/run/in.sock", "d", id="a unix path of another name"),
        pytest.param("web 0.0.0.0:81", "", id="nobody's"),
    ],
)
def test_what_workers_left(place: str, expected: str) -> None:
    left = [
        Left("web", parse_address("0.0.0.0:80"), 1, "a"),
        Left("web", parse_address("0.0.0.0:80"), 0, "b"),
        Left("web", parse_address("127.0.0.1:0"), 0, "c"),
        Left("web", parse_address("unix:/run/in.sock"), 0, "d"),
    ]
    name, bind = place.split()
    assert " ".join(item.sock for item in left_at((name, parse_address(bind)), left)) == expected


def pairs(text: str) -> list[list[str]]:
    return [pair.split() for pair in text.split(", ") if pair]
