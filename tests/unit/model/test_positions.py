"""Every path of a parsed file has a place in its text, and the key or the value begins there.

Documents are made in many styles: tables by header, inline or by dotted keys, all kinds of strings and comments. The
TOML parser is the oracle: what stands at a place must parse to the key or the value that the path has.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tomli
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nlb.model.positions import Positions

VECTORS = sorted((Path(__file__).resolve().parents[3] / "tests/vectors/configs").glob("*/*.toml"))


def is_toml(text):
    try:
        tomli.loads(text)
    except (ValueError, RecursionError):  # a TOMLDecodeError is a ValueError; so is a number that is too long
        return False
    return True


def paths(value, path=()):
    if path:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def begins_with_value(text, value):
    """Whether some beginning of the text is this value in TOML."""
    for match in re.finditer(r"(?<=.)(?=[,\]}# \t\r\n]|\Z)", text, re.DOTALL):
        end = match.start()
        try:
            if repr(tomli.loads(f"x = {text[:end]}")["x"]) == repr(value):
                return True
        except (tomli.TOMLDecodeError, RecursionError):
            continue
    return False


def begins_with_key(text, key):
    for match in re.finditer(r"(?<=.)(?=[.=\] \t]|\Z)", text, re.DOTALL):
        end = match.start()
        try:
            if list(tomli.loads(f"{text[:end]} = 1")) == [key]:
                return True
        except tomli.TOMLDecodeError:
            continue
    return False


def check(text):
    places = Positions(text)
    assert places.repeated is None
    for path, value in paths(tomli.loads(text)):
        spot = places.root
        for part in path:
            spot = spot.inside[part]
        at_key, at_value = text[spot.key :], text[spot.value :]
        if isinstance(path[-1], str):
            assert begins_with_key(at_key, path[-1]), path
        by_header = at_value.startswith("[") and isinstance(value, dict)
        tables_by_header = at_value.startswith("[[") and isinstance(value, list)
        by_name = isinstance(value, dict) and spot.value == spot.key
        assert by_header or tables_by_header or by_name or begins_with_value(at_value, value), path


BARE = st.text("abc-_1", min_size=1, max_size=4)
KEYS = st.one_of(BARE, st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=4))
BLANKS = st.sampled_from(["", " ", "  ", "\t"])
BETWEEN = st.sampled_from(["", " ", "\n", "\r\n", ' # ] } , = "\n', "\n\n  # '''\n\t"])
SCALARS = st.sampled_from(
    [
        "1",
        "0x1f",
        "1_000",
        "6.5e-3",
        "inf",
        "nan",
        "true",
        "false",
        "1979-05-27",
        "1979-05-27 07:32:00Z",
        "07:32:00",
        '""',
        '"# ] } , = \\" \\\\"',
        '"\\u00e9\\t\\x41"',
        "''",
        "'# \\ ] } , \"'",
        '"""\n# ] "" \\" = \\\n   x"""',
        '"""a"""""',
        "'''\r\n] '' } = x'''",
        "'''a'''''",
    ]
)


@st.composite
def written_key(draw, key):
    bare = key != "" and all(char in "abcdefghijklmnopqrstuvwxyz0123456789-_" for char in key)
    styles = ["basic"] + ["bare"] * 2 * bare + ["literal"] * (key.isprintable() and "'" not in key)
    match draw(st.sampled_from(styles)):
        case "bare":
            return key
        case "literal":
            return f"'{key}'"
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in key) + '"'


@st.composite
def inline_values(draw, depth=2):
    kind = draw(st.sampled_from(["scalar"] * 3 + ["array", "table"] * (depth > 0)))
    if kind == "scalar":
        return draw(SCALARS)
    count = draw(st.integers(0, 3))
    if kind == "array":
        items = [draw(BETWEEN) + draw(inline_values(depth - 1)) + draw(BETWEEN) for _ in range(count)]
        return "[" + ",".join(items) + "," * draw(st.booleans()) * bool(items) + draw(BETWEEN) + "]"
    keys = draw(st.lists(KEYS, unique=True, min_size=count, max_size=count))
    items = [" " + draw(assignments(key, depth - 1)) + draw(BLANKS) for key in keys]
    return "{" + ",".join(items) + "}"


@st.composite
def assignments(draw, key, depth=2):
    parts = [draw(written_key(key)), *[draw(written_key(draw(KEYS))) for _ in range(draw(st.integers(0, 1)))]]
    dotted = (draw(BLANKS) + "." + draw(BLANKS)).join(parts)
    return f"{dotted}{draw(BLANKS)}={draw(BLANKS)}{draw(inline_values(depth))}"


@st.composite
def documents(draw):
    lines, names = [], draw(st.lists(KEYS, unique=True, min_size=1, max_size=4))
    end = st.sampled_from(["\n", "\r\n", " # it's \"\n", "\n\n"])

    def body():
        keys = draw(st.lists(KEYS, unique=True, max_size=3))
        lines.extend(draw(BLANKS) + draw(assignments(key)) + draw(end) for key in keys)

    body()
    for _ in range(draw(st.integers(0, 5))):
        parts = [draw(written_key(name)) for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))]
        opening, closing = draw(st.sampled_from([("[", "]"), ("[[", "]]")]))
        dotted = (draw(BLANKS) + "." + draw(BLANKS)).join(parts)
        lines.append(f"{draw(BLANKS)}{opening}{draw(BLANKS)}{dotted}{draw(BLANKS)}{closing}{draw(end)}")
        body()
    return "".join(lines)


@settings(max_examples=60, deadline=None)
@given(documents())
@example("a.b = 1\na.c = 2\n[d.e]\n[d]\nx = 1\n")
@example("[[a]]\n[a.b]\nx = 1\n[[a.c]]\n[[a]]\n[a.b]\n")
@example('a = [[1, [2,],], {b.c = [3]},\n# ]\n{"d" = 1, },]\n')
def test_whatever_the_parser_takes_has_its_places(text):
    assume(is_toml(text))
    check(text)


@pytest.mark.parametrize("file", VECTORS, ids=lambda file: file.name)
def test_the_vectors_have_their_places(file):
    text = file.read_bytes().decode()
    if is_toml(text):
        check(text)
    else:
        Positions(text)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("[]{}\"'=.,#\n\r\t \\ab1-"), max_size=40))
def test_no_text_makes_it_raise(text):
    places = Positions(text)
    assert places.line_column(places.value(("a", 0, "b")))
    if is_toml(text):
        check(text)


@pytest.mark.parametrize(
    ("path", "at_key", "at_value"),
    [
        (("workers",), (1, 1), (1, 11)),
        (("listener",), (3, 3), (3, 1)),
        (("listener", 1), (6, 1), (6, 1)),
        (("listener", 1, "bind"), (7, 3), (7, 10)),
        (("listener", 1, "bind", 1), (8, 5), (8, 5)),
        (("listener", 1, "bind", 1, "deeper"), (8, 5), (8, 5)),
        (("listener", 1, "absent"), (6, 1), (6, 1)),
        (("group", "check"), (11, 8), (11, 1)),
        (("absent",), (1, 1), (1, 1)),
    ],
)
def test_lines_and_columns_count_from_1_and_what_is_absent_is_where_it_would_be(path, at_key, at_value):
    places = Positions(
        'workers = "ä"\n\n[[listener]]\nbind = "a"\n\n'
        '[[listener]]\n  bind = ["a",\n    "b"]\n\n[group]\n[group.check]\n'
    )
    assert places.line_column(places.key(path)) == at_key
    assert places.line_column(places.value(path)) == at_value


@pytest.mark.parametrize(
    "text",
    [
        """[shield]
deny = [{ file = "/a" }, { file = "/b" }]
[shield.http]
methods = ["GET", "PUT"]
[[listener]]
certificates = [{ cert = "/c" }, { cert = "/d" }]
[listener.tls]
policy = "modern"
[listener.shield]
request_rate = [{ rate = "1/s" }, { rate = "2/s" }]
[listener.shield.http]
methods = ["GET", "HEAD"]
""",
        """shield.deny = [{ file = "/a" }, { file = "/b" }]
shield.http.methods = ["GET", "PUT"]
[[listener]]
tls = { policy = "modern" }
shield.http.methods = ["GET", "HEAD"]
[[listener.certificates]]
cert = "/c"
[[listener.certificates]]
cert = "/d"
[[listener.shield.request_rate]]
rate = "1/s"
[[listener.shield.request_rate]]
rate = "2/s"
""",
    ],
    ids=["tables", "keys"],
)
def test_what_is_in_the_shield_and_in_tls_is_found(text):
    places = Positions(text)
    for path, written in {
        ("shield", "deny", 1, "file"): '"/b"',
        ("shield", "http", "methods", 1): '"PUT"',
        ("listener", 0, "certificates", 1, "cert"): '"/d"',
        ("listener", 0, "tls", "policy"): '"modern"',
        ("listener", 0, "shield", "request_rate", 1, "rate"): '"2/s"',
        ("listener", 0, "shield", "http", "methods", 1): '"HEAD"',
    }.items():
        assert text[places.value(path) :].startswith(written), path
    check(text)


NESTED = {
    "tables": """[[listener]]
[[listener.rule]]
path = "/a"
[[listener.rule]]
[listener.rule.redirect]
path = "/b"
[[listener]]
[[listener.rule]]
[listener.rule.redirect]
status = 301
path = "/c"
[listener.rule.header]
X-A = ["1", "2"]
""",
    "inline tables": """[[listener]]
rule = [{ path = "/a" }, { redirect = { path = "/b" } }]
[[listener]]
rule = [{ redirect = { status = 301,
  path = "/c" }, header = { X-A = ["1", "2"] } }]
""".replace("301,\n ", "301,"),
    "dotted keys": """[[listener]]
[[listener.rule]]
path = "/a"
[[listener.rule]]
redirect.path = "/b"
[[listener]]
[[listener.rule]]
redirect.status = 301
redirect . path = "/c"
header."X-A" = ["1", "2"]
""",
}


@pytest.mark.parametrize("text", NESTED.values(), ids=NESTED.keys())
def test_what_is_in_the_tables_of_a_table_is_found(text):
    data = tomli.loads(text)
    places = Positions(text)
    for path, written in {
        ("listener", 0, "rule", 0, "path"): '"/a"',
        ("listener", 0, "rule", 1, "redirect", "path"): '"/b"',
        ("listener", 1, "rule", 0, "redirect", "status"): "301",
        ("listener", 1, "rule", 0, "redirect", "path"): '"/c"',
        ("listener", 1, "rule", 0, "header", "X-A", 1): '"2"',
    }.items():
        value = data
        for part in path:
            value = value[part]
        assert str(value) == written.strip('"')
        assert text[places.value(path) :].startswith(written), path
    check(text)


@pytest.mark.parametrize(
    ("text", "name", "line", "before"),
    [
        ("a = 1\nb = 2\na = 3\n", "a", 3, 1),
        ("[a]\nb = 1\n[c]\n[a]\n", "a", 4, 1),
        ("[[a]]\nb = 1\n[[a]]\nb = 2\nb = 3\n", "b", 5, 4),
        ("a = { b = 1, 'b' = 2 }\n", "b", 1, 1),
    ],
)
def test_the_first_key_that_is_given_twice_is_known(text, name, line, before):
    places = Positions(text)
    assert places.repeated is not None
    found = places.repeated
    assert (found.name, places.line_column(found.offset)[0], places.line_column(found.before)[0]) == (
        name,
        line,
        before,
    )


def test_the_deepest_place_is_known():
    places = Positions("a = [[1]]\nb = [[[[2]]]]\nc = [3]\n")
    assert places.line_column(places.deepest) == (2, 8)


def steps(text):
    """How many matches the scan makes."""

    class Counting(Positions):
        count = 0

        def _past(self, pattern, at):
            self.count += 1
            return super()._past(pattern, at)

    return Counting(text).count


@pytest.mark.parametrize(
    "piece", ["a = [", "[[a]]\n", "a.", "a = 1\n", "'''", '"""', '"a\\\\', "{a=", "# \n", "[a.b]\n"]
)
def test_twice_the_text_is_twice_the_work(piece):
    small, large = steps(piece * 500), steps(piece * 1000)
    assert large <= 2 * small + 10
