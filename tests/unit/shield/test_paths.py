"""What a target takes a path for: every reading of it, and which of them are refused."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nlb.shield.paths import ODDITIES, DeniedPaths, normalise, read
from nlb.shield.words import BAD_PATH, DENIED_PATH


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        # Read alike by all.
        ("/", "/"),
        ("/index.html", "/index.html"),
        ("/a/b/", "/a/b/"),
        ("/.well-known/acme-challenge/x", "/.well-known/acme-challenge/x"),
        ("/a..b/...", "/a..b/..."),
        ("/~user/a,b:c@d!e$f&g'h(i)*+=", "/~user/a,b:c@d!e$f&g'h(i)*+="),
        ("*", "*"),
        ("", ""),
        # Escapes.
        ("/%61%62c", "/abc"),
        ("/a%20b", "/a b"),
        ("/%7Euser", "/~user"),
        ("/caf%c3%a9", "/caf\u00e9"),
        ("/a%3fb%23c", "/a?b#c"),
        ("/100%25", "/100%25"),
        ("/%2561", "/%2561"),  # once is enough
        ("/%0d%0aX: y", "/%0D%0AX: y"),
        ("/%7f", "/%7F"),
        ("/50%", "/50%25"),
        ("/%zz%4", "/%25zz%254"),
        ("/%u002e%u002e/", "/%25u002e%25u002e/"),
        # Dot segments.
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/.", "/"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/%2E./b/.%2e/c", "/c"),
        ("/a%2f..%2fb", "/b"),
        # Slashes.
        ("//a///b//", "/a/b/"),
        ("//", "/"),
        ("/a%2Fb", "/a/b"),
        ("/a\\b", "/a/b"),
        ("/a%5cb", "/a/b"),
        ("/a\\..\\b", "/b"),
        # Parameters.
        ("/a;v=1/b;jsessionid=x", "/a/b"),
        ("/a;", "/a"),
        ("/a/..;/b", "/b"),
        ("/a/..%3bx/b", "/b"),
        ("/;/a", "/a"),
        ("/a/;x", "/a/"),
        # Out of the root.
        ("/..", None),
        ("/../a", None),
        ("/a/../../b", None),
        ("/%2e%2e/etc/passwd", None),
        ("/a/..%2f..%2fetc", None),
        ("/..\\a", None),
        ("/..;/manager/html", None),
        ("/.//..//../x", None),
        ("/a;/b/../../..", None),
    ],
)
def test_what_is_shown_of_a_path(path: str, shown: str | None) -> None:
    assert normalise(path.encode()) == (None if shown is None else shown.encode())


@pytest.mark.parametrize(
    ("path", "readings"),
    [
        ("/a/b", ["/a/b"]),
        ("/%61/../b", ["/b"]),
        ("/admin/x%2f..%2f..%2fpublic", ["/public", "/admin/x%2F..%2F..%2Fpublic"]),
        ("/a;x/b", ["/a/b", "/a;x/b"]),
        ("/a/..;/b", ["/b", "/a/..;/b"]),
        ("/a\\b", ["/a/b", "/a\\b"]),
        ("/a//../b", ["/b", "/a/b"]),
        ("/a//b", ["/a/b"]),
        ("/x/a///../..//b", ["/b", "/x/a/b"]),
        ("/a;x\\b", ["/a/b", "/a", "/a;x/b", "/a;x\\b"]),
        ("/a/;x/../b", ["/b", "/a/b"]),
    ],
)
def test_an_odd_path_has_several_readings(path: str, readings: list[str]) -> None:
    paths, climbs, _ = read(path.encode())
    assert not climbs
    assert paths[0].decode() == readings[0]
    assert {each.decode() for each in paths} == set(readings)


@pytest.mark.parametrize(
    ("path", "odd"),
    [
        ("/a/b", ""),
        ("/a%20b/..%2f", ""),
        ("/caf%c3%a9/%e2%82%ac/%f0%9f%98%80", ""),
        ("/a%00.png", "zero_byte"),
        ("/%252e%252e/", "double_encoding"),
        ("/100%25", ""),
        ("/%2", "bad_escape"),
        ("/%u0041", "bad_escape"),
        ("/%0a", "control_character"),
        ("/%c0%ae%c0%ae/", "overlong_utf8"),
        ("/%e0%80%af", "overlong_utf8"),
        ("/a%2fb\\c;d//" * 100, "too_many_readings"),
    ],
)
def test_what_targets_do_not_agree_about_is_told(path: str, odd: str) -> None:
    assert odd in ("", *ODDITIES)
    assert read(path.encode()).odd == odd


def test_a_long_path_that_is_not_odd_is_read() -> None:
    assert normalise(b"/%61" * 4000) == b"/a" * 4000
    assert normalise(b"/%2e%2e" * 4000) is None


DENIED = DeniedPaths(
    ["*/.git/*", "/.env", "*/wp-admin/*", "/a%20b/*", "/100%25*", "/star%2a", "/v?/x"], normalises=True
)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/", ""),
        ("/index.html", ""),
        ("/x/.git/config", DENIED_PATH),
        ("/.git/", DENIED_PATH),
        ("/.GIT/config", DENIED_PATH),
        ("/.git", ""),
        ("/.gitignore", ""),
        ("/.env", DENIED_PATH),
        ("/.%65nv", DENIED_PATH),
        ("/./.env", DENIED_PATH),
        ("//.env", DENIED_PATH),
        ("/x/../.env", DENIED_PATH),
        ("/x%2f.git%2fconfig", DENIED_PATH),
        ("/.git;x=1/config", DENIED_PATH),
        ("/.git\\config", DENIED_PATH),
        ("/blog/wp-admin/x%2f..%2f..%2fpublic", DENIED_PATH),  # public for one target, wp-admin for the next
        ("/blog/wp-admin//../x", DENIED_PATH),
        ("/a b/c", DENIED_PATH),
        ("/a%20b/c", DENIED_PATH),
        ("/100%25/x", DENIED_PATH),
        ("/star*", DENIED_PATH),
        ("/starfish", ""),
        ("/v1/x", DENIED_PATH),
        ("/v12/x", ""),
        ("/..", BAD_PATH),
        ("/%2e%2e%2f.env", BAD_PATH),
        ("/.env%00.png", BAD_PATH),
        ("/%2f;\\" * 200, BAD_PATH),
        ("/%252e%252e/x", ""),  # odd, and its readings are harmless
        ("*", ""),
    ],
)
def test_what_no_target_shall_see(path: str, word: str) -> None:
    assert DENIED.judge(path.encode()) == word


@pytest.mark.parametrize(
    ("path", "word"),
    [("/.env", DENIED_PATH), ("/x/../.env", ""), ("/../x", ""), ("/%2e%2e", ""), ("/A%20B", DENIED_PATH)],
)
def test_paths_that_are_not_normalised_are_matched_as_they_stand(path: str, word: str) -> None:
    assert DeniedPaths(["/.env", "/a%20b"], normalises=False).judge(path.encode()) == word


def test_is_there_anything_to_ask() -> None:
    assert not DeniedPaths([], normalises=False)
    assert DeniedPaths([], normalises=True)
    assert DeniedPaths(["/x"], normalises=False)
    assert DeniedPaths([], normalises=True).judge(b"/x") == ""
    assert DeniedPaths([], normalises=True).judge(b"/x/../..") == BAD_PATH


ODD = ["/", "//", ".", "..", "%2e", "%2E%2e", "%2f", "%5C", "\\", ";", "%3b", ";v=1", "%25", "%", "%4", "%00", "%c0%af"]
PLAIN = ["a", "b", "%61", "\u00e9", "%C3%A9", "*", " "]
PIECES = st.sampled_from(ODD) | st.sampled_from(PLAIN)
PATHS = st.lists(PIECES, max_size=12).map(lambda pieces: ("/" + "".join(pieces)).encode())


@given(PATHS)
@example(b"/a/%252e%252e/b")
@example(b"/%2525")
def test_normalising_twice_is_normalising_once(path: bytes) -> None:
    once = normalise(path)
    assert once is None or normalise(once) == once


@given(PATHS)
def test_no_reading_has_a_dot_segment(path: bytes) -> None:
    for reading in read(path).paths:
        assert reading.startswith(b"/")
        assert not {b".", b".."} & set(reading.split(b"/"))


@given(PATHS)
def test_what_is_shown_has_nothing_that_could_be_read_otherwise(path: bytes) -> None:
    shown = normalise(path)
    assert shown is None or not any(odd in shown for odd in (b"//", b"\\", b";", b"%2F", b"%5C", b"%2E"))


@given(st.lists(st.sampled_from(["a", "b", "c.d", "..", ".", "", "..x"]), max_size=8))
def test_plain_paths_are_what_posixpath_says(segments: list[str]) -> None:
    path = "/a/b/c/d/e/f/g/h/" + "/".join(segments)  # deep enough not to climb out
    shown = normalise(path.encode())
    expected = posixpath.normpath(path)
    if "//" in path and ".." in segments:
        assert read(path.encode()).paths[0].decode().rstrip("/") == expected.rstrip("/")
        return
    assert shown is not None
    assert (shown.decode().rstrip("/") or "/") == expected
    assert shown.endswith(b"/") == (segments[-1:] in ([], [""], ["."], [".."]))


@given(PATHS, st.sampled_from(["/b", "/a/b", "*/b/*", "/b*"]))
def test_a_path_is_refused_for_any_reading_that_is_denied(path: bytes, pattern: str) -> None:
    denied = DeniedPaths([pattern], normalises=True)
    if denied.judge(path) == "":
        assert all(denied.judge(reading) != DENIED_PATH for reading in read(path).paths if b"%" not in reading)
