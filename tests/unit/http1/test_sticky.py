"""Clients come back to their target with a cookie that nobody else can write."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.balance.target import Target
from nlb.http1.head import Request, Response, parse_response
from nlb.http1.sticky import Sticky
from tests.unit.balance.box import make
from tests.unit.http1.asking import ask

KEY = b"a key of 32 bytes, or any other."
NOW, DAY = 1_700_000_000.5, 86400.0
A, B = TARGETS = make([1, 1])


def sticky(
    type: str = "lb_cookie",
    name: str | None = None,
    duration: float = DAY,
    key: bytes = KEY,
    group: str = "web",
    targets: Sequence[Target] = TARGETS,
) -> Sticky:
    return Sticky(type, name, duration, key, group, {f"{target.name} {target.address}": target for target in targets})


def answer(*lines: str) -> Response:
    found = parse_response("\r\n".join(["HTTP/1.1 200 OK", *lines, "Content-Length: 0", "", ""]).encode(), b"GET")
    assert found is not None
    return found


def asked(*cookies: str) -> Request:
    return ask("http://a/", "GET", *(f"Cookie: {cookie}" for cookie in cookies))


def cookie(line: bytes) -> str:
    """`name=value` of a Set-Cookie line."""
    match = re.match(r"Set-Cookie: ([^;\r\n]*);", line.decode())
    assert match
    return match[1]


def issued(target: Target = A, by: Sticky | None = None, now: float = NOW) -> str:
    return cookie((by or sticky()).set(asked(), answer(), target, now))


def test_a_first_response_brings_the_cookie() -> None:
    line = sticky().set(asked(), answer(), A, NOW)
    assert re.fullmatch(
        rb"Set-Cookie: nlb-web=[A-Za-z0-9_-]{40}; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax\r\n", line
    )


def test_over_https_the_cookie_is_for_https_alone() -> None:
    assert sticky().set(asked(), answer(), A, NOW, secure=True).endswith(b"; SameSite=Lax; Secure\r\n")


@pytest.mark.parametrize(
    ("group", "name", "cookie"),
    [
        ("web", None, b"nlb-web"),
        ("web", "", b"nlb-web"),
        ("web", "NLB", b"NLB"),
        ("a/b:[c]", None, b"nlb-a-b-c-"),
        ("web", "x;y=z", b"x-y-z"),
        ("a.b+c", None, b"nlb-a.b+c"),
    ],
)
def test_the_name_of_the_cookie(group: str, name: str | None, cookie: bytes) -> None:
    made = sticky(group=group, name=name)
    assert made.cookie == cookie
    assert made.find(asked(issued(B, made)), NOW) is B


@pytest.mark.parametrize(
    "cookies",
    [
        pytest.param(["{}"], id="alone"),
        pytest.param(["a=b; {}; c=d"], id="among others"),
        pytest.param(["a=b;{}"], id="without a space"),
        pytest.param(["a=b", "c=d; {}"], id="in the second line"),
        pytest.param(["nlb-web=" + "A" * 40 + "; {}"], id="behind a forged one"),
        pytest.param(["nlb-web=; nlb-web=short", "{}"], id="behind broken ones"),
        pytest.param(["{}  ;a=b"], id="blanks behind it"),
    ],
)
def test_the_cookie_is_found(cookies: list[str]) -> None:
    for target in TARGETS:
        assert sticky().find(asked(*(text.format(issued(target)) for text in cookies)), NOW) is target


def test_without_the_cookie_there_is_no_target() -> None:
    assert sticky().find(asked(), NOW) is None
    assert sticky().find(asked("a=b; other=" + issued().partition("=")[2]), NOW) is None


@pytest.mark.parametrize(("later", "target"), [(0.0, A), (86399.0, A), (86400.0, None), (1e9, None), (-10.0, A)])
def test_the_cookie_holds_for_its_duration(later: float, target: Target | None) -> None:
    assert sticky().find(asked(issued()), NOW + later) is target


def test_the_cookie_survives_a_restart_another_id_and_another_order() -> None:
    text = issued(B)
    _, _, new_b = (Target(number, "cab"[number], "web", B.address, 1) for number in range(3))
    again = Sticky("lb_cookie", None, DAY, KEY, "web", {"x y": A, f"b {B.address}": new_b})
    assert again.find(asked(text), NOW) is new_b


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(sticky(key=b"another key"), id="another key"),
        pytest.param(sticky(group="api", name="nlb-web"), id="another group"),
        pytest.param(sticky(targets=[B]), id="the target is gone"),
        pytest.param(
            Sticky("lb_cookie", None, DAY, KEY, "web", {"a 10.0.0.9:3000": A}), id="the target has another address"
        ),
    ],
)
def test_a_cookie_of_others_means_nothing(other: Sticky) -> None:
    assert other.find(asked(issued(A)), NOW) is None


def test_a_cookie_tells_nothing_of_its_target() -> None:
    values = {target: urlsafe_b64decode(issued(target).partition("=")[2]) for target in TARGETS}
    assert len(values[A]) == 30
    assert values[A][:9] != values[B][:9]
    assert values[A][:9] != urlsafe_b64decode(issued(A, sticky(group="api")).partition("=")[2])[:9]
    assert {value[9:14] for value in values.values()} == {int(NOW + DAY).to_bytes(5, "big")}


def test_the_signature_is_half_an_hmac_sha256() -> None:
    value = urlsafe_b64decode(issued(A).partition("=")[2])
    key = hmac.digest(KEY, b"nlb sticky value web", "sha256")
    assert value[14:] == hmac.digest(key, value[:14], "sha256")[:16]


@pytest.mark.parametrize("bit", range(240))
def test_no_bit_of_a_cookie_can_be_changed(bit: int) -> None:
    name, _, text = issued(A).partition("=")
    number = int.from_bytes(urlsafe_b64decode(text), "big") ^ 1 << bit
    forged = urlsafe_b64encode(number.to_bytes(30, "big")).decode()
    assert sticky().find(asked(f"{name}={forged}"), NOW) is None


@given(st.binary(max_size=80), st.binary(max_size=10), st.booleans())
def test_any_bytes_are_no_cookie_and_no_error(value: bytes, around: bytes, is_app: bool) -> None:
    request = asked()
    request.fields = around + b"Cookie: SESSION=1; nlb-web=" + value + around
    made = sticky("app_cookie", "SESSION") if is_app else sticky()
    assert made.find(request, NOW) is None
    response = answer()
    response.fields = around + b"Set-Cookie: SESSION=" + value + around
    assert re.fullmatch(rb"(Set-Cookie: nlb-web=[ -~]*\r\n)?", made.set(request, response, A, NOW))


@given(st.text("ABCDEFGHabcdefgh0123456789-_", min_size=38, max_size=42))
def test_no_guess_is_a_cookie(text: str) -> None:
    assert sticky().find(asked(f"nlb-web={text}"), NOW) is None


def test_no_more_than_8_cookies_of_the_name_are_looked_at() -> None:
    forged = "nlb-web=" + "A" * 40
    assert sticky().find(asked("; ".join([forged] * 7 + [issued()])), NOW) is A
    assert sticky().find(asked("; ".join([forged] * 8 + [issued()])), NOW) is None


@pytest.mark.parametrize(
    ("carried", "target", "later", "is_set"),
    [
        pytest.param("", A, 0, True, id="none"),
        pytest.param(issued(A), A, 0, False, id="valid"),
        pytest.param(issued(A), A, 43199, False, id="before half of its life"),
        pytest.param(issued(A), A, 43201, True, id="past half of its life"),
        pytest.param(issued(A), A, 86401, True, id="expired"),
        pytest.param(issued(A), B, 0, True, id="another target answered"),
        pytest.param("nlb-web=" + "A" * 40, A, 0, True, id="forged"),
        pytest.param(issued(A, sticky(duration=7 * DAY)), A, 0, True, id="made when the duration was longer"),
        pytest.param(issued(A, now=NOW + 600), A, 0, False, id="made by a box whose clock is ahead"),
    ],
)
def test_a_cookie_is_set_when_the_client_needs_one(carried: str, target: Target, later: float, is_set: bool) -> None:
    line = sticky().set(asked(carried), answer(), target, NOW + later)
    assert bool(line) is is_set
    if is_set:
        assert sticky().find(asked(cookie(line)), NOW + later) is target


def test_a_target_that_the_config_does_not_have_gets_no_cookie() -> None:
    assert sticky(targets=[B]).set(asked(), answer(), A, NOW) == b""


def test_the_end_of_time_fits() -> None:
    assert sticky().find(asked(issued(A, now=2e12)), NOW) is A


# --- by the application's cookie

APP = sticky("app_cookie", "SESSION")
OURS = cookie(APP.set(asked("SESSION=1"), answer(), A, NOW))


@pytest.mark.parametrize(
    ("carried", "said", "target", "is_set"),
    [
        pytest.param("", [], A, False, id="the application has no session"),
        pytest.param("other=1", ["Set-Cookie: other=2"], A, False, id="other cookies do not matter"),
        pytest.param("", ["Set-Cookie: XSESSION=2"], A, False, id="nor do longer names"),
        pytest.param("", ["X-Note: Set-Cookie: SESSION=2"], A, False, id="nor other headers"),
        pytest.param("", ["Set-Cookie: session=2"], A, False, id="the case of a cookie's name matters"),
        pytest.param("", ["Set-Cookie: SESSION=2; Path=/app"], A, True, id="a session begins"),
        pytest.param("", ["set-cookie: other=1", "set-cookie:SESSION=2"], A, True, id="in another line"),
        pytest.param("SESSION=1", [], A, True, id="a session from before"),
        pytest.param(f"SESSION=1; {OURS}", [], A, False, id="both are there"),
        pytest.param(f"SESSION=1; {OURS}", [], B, True, id="both are there, and another target answered"),
        pytest.param(f"SESSION=1; {OURS}", ["Set-Cookie: SESSION=2"], A, False, id="a new session at the same target"),
        pytest.param(f"{OURS}", [], A, False, id="ours without a session"),
        pytest.param("", ["Set-Cookie: SESSION=2; Max-Age=60"], A, True, id="a lasting session"),
        pytest.param("", ["Set-Cookie: SESSION=; Max-Age=0"], A, False, id="an end of what never was"),
        pytest.param(
            "", ["Set-Cookie: SESSION=; Max-Age=0", "Set-Cookie: SESSION=2"], A, True, id="the last word counts"
        ),
    ],
)
def test_ours_follows_the_application_s_cookie(carried: str, said: list[str], target: Target, is_set: bool) -> None:
    line = APP.set(asked(carried), answer(*said), target, NOW)
    assert bool(line) is is_set
    if is_set:
        assert line.endswith(b"; Path=/; HttpOnly; SameSite=Lax\r\n")
        assert b"Max-Age" not in line  # it goes when the browser's session goes
        assert APP.find(asked(f"SESSION=2; {cookie(line)}"), NOW) is target


@pytest.mark.parametrize(
    "carried",
    [f"SESSION=1; {OURS}", f"{OURS}; SESSION=", f"a=b;SESSION=1;{OURS}", f"XSESSION=2; SESSION=1; {OURS}"],
)
def test_ours_counts_beside_the_application_s(carried: str) -> None:
    assert APP.find(asked(carried), NOW) is A


@pytest.mark.parametrize("carried", [OURS, f"XSESSION=1; {OURS}", f"session=1; {OURS}", f"SESSION; {OURS}"])
def test_ours_alone_is_nothing(carried: str) -> None:
    assert APP.find(asked(carried), NOW) is None
    request = ask("http://a/", "GET", f"Cookie: {carried}", "X-Cookie: SESSION=1")
    assert APP.find(request, NOW) is None


@pytest.mark.parametrize(
    ("attributes", "ends"),
    [
        ("; Max-Age=0", True),
        ("; max-age=-1", True),
        ("; MAX-AGE=000; Path=/", True),
        ("; Max-Age=1", False),
        ("; Max-Age=99999999999999999999999999", False),
        ("; Max-Age=0; Max-Age=5", False),
        ("; Max-Age=0x", False),
        ("; Max-Age=", False),
        ("; Expires=Thu, 01 Jan 1970 00:00:00 GMT", True),
        ("; expires=Thu, 01-Jan-1970 00:00:01 GMT; Path=/", True),
        ("; expires=Thursday, 01-Jan-70 00:00:00 GMT", True),
        ("; expires=Tue, 14 Nov 2023 22:13:20 GMT", True),  # half a second ago
        ("; expires=Tue, 14 Nov 2023 22:13:21 GMT", False),
        ("; expires=Wed, 01-Jan-69 00:00:00 GMT", False),  # 2069
        ("; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60", False),
        ("; expires=Fri, 31 Dec 9999 23:59:59 GMT; Max-Age=0", True),
        ("; expires=Thu, 99 Jan 1970 00:00:00 GMT", False),
        ("; expires=Thu, 01 Foo 1970 00:00:00 GMT", False),
        ("; expires=Thu, 01 Jan 0000 00:00:00 GMT", False),
        ("; expires=0", False),
        ("; Path=/; HttpOnly", False),
        ("", False),
    ],
)
def test_ours_ends_with_the_application_s(attributes: str, ends: bool) -> None:
    line = APP.set(asked(f"SESSION=1; {OURS}"), answer(f"Set-Cookie: SESSION=gone{attributes}"), A, NOW)
    over = b"Set-Cookie: nlb-web=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax\r\n"
    assert line == (over if ends else b"")


def test_the_application_s_name_is_no_pattern() -> None:
    dotted = sticky("app_cookie", "A.B")
    assert dotted.set(asked("AxB=1"), answer("Set-Cookie: AxB=1"), A, NOW) == b""
    assert dotted.set(asked(), answer("Set-Cookie: A.B=1"), A, NOW)
