"""A file becomes a config, or every mistake in it is told at once, where it is and with what would be right.

The vectors are files with what is to be said about them beside them: bad/*.errors and good/*.warnings.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlb.errors import ConfigError
from nlb.model.actions import FixedResponse, Forward, Redirect
from nlb.model.config import Admin, Config, Dns, HealthCheck, Listener, Log, Target, TargetGroup
from nlb.model.doubts import warnings
from nlb.model.http import RequestHeaders, ResponseHeaders
from nlb.model.parse import parse
from nlb.model.rule import Rule
from nlb.model.shield import Block, RequestRate, Shield, ShieldHttp
from nlb.model.tls import Certificate, ListenerTls, TargetTls

ROOT = Path(__file__).resolve().parents[3]
BAD = sorted((ROOT / "tests/vectors/configs/bad").glob("*.toml"))
GOOD = sorted((ROOT / "tests/vectors/configs/good").glob("*.toml"))
SHIPPED = (ROOT / "conf/nlb.toml").read_text()
# The shipped file with every key in force: "#key = value" is a default that is shown, "#[table]" an example.
WHOLE = re.sub(r"(?m)^( *)#(?=[a-z_]+ = |\{ |\[)", r"\1", SHIPPED)

LISTENER = '[[listener]]\nbind = "0.0.0.0:80"\n'
GROUP = '[[target_group]]\nname = "web"\ntargets = ["10.0.0.11:3000"]\n'


def text_of(file):
    return file.read_bytes().decode()


def read(text):
    """The config or None, and the mistakes."""
    try:
        return parse(text, "x.toml"), []
    except ConfigError as error:
        return None, error.mistakes


def told(text):
    """The mistakes in a text, a line each."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.toml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_file_is_refused_with_every_mistake(file):
    expected = [f"x.toml:{line}" for line in file.with_suffix(".errors").read_text().splitlines()]
    assert expected
    assert told(text_of(file)) == expected


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_a_good_file_is_read_with_its_warnings(file):
    assert warnings(parse(text_of(file), "x.toml")) == file.with_suffix(".warnings").read_text().splitlines()


@pytest.mark.parametrize("file", sorted((ROOT / "conf").glob("*.toml")), ids=lambda file: file.name)
def test_the_shipped_files_are_good_without_a_doubt(file):
    assert warnings(parse(file.read_text(), file.name)) == []


def test_the_shipped_file_has_every_key_and_shows_the_defaults():
    config = parse(WHOLE, "nlb.toml")
    shown = {
        Config: [config],
        Admin: [config.admin],
        Log: [config.log],
        Dns: [config.dns],
        Shield: [config.shield],
        ShieldHttp: [config.shield.http],
        RequestRate: config.shield.request_rate,
        Block: [config.shield.block],
        Certificate: config.listeners[2].certificates,
        ListenerTls: [config.listeners[2].tls],
        TargetTls: [config.groups[3].target_tls],
        TargetGroup: config.groups,
        Listener: config.listeners,
        HealthCheck: [config.groups[0].health_check],
        Target: config.groups[0].targets,
        RequestHeaders: [config.groups[1].request_headers],
        ResponseHeaders: [config.groups[1].response_headers],
        Rule: [rule for listener in config.listeners for rule in listener.rules],
        Forward: config.listeners[1].rules[0].forward,
        Redirect: [config.listeners[1].rules[1].redirect],
        FixedResponse: [config.listeners[1].rules[2].fixed_response],
    }
    for model, values in shown.items():
        keys = set().union(*(value.model_fields_set for value in values))
        assert keys | ({"port"} if model is Target else set()) == set(model.model_fields), model
    own = {"bind", "name", "max_connections", "target_group", "port", "targets", "path", "socket", "state_dir"}
    own |= {"max_load", "protocol", "max_body", "error_pages", "rules", "stickiness", "tunnel_timeout"}
    own |= {"request_headers", "response_headers"}
    own |= {"host", "headers", "send", "expect", "tls_server_name", "tls_ca", "tls_verify", "command", "dns"}
    own |= {"shield", "certificates", "tls", "target_tls"}
    small = parse(LISTENER + GROUP + 'health_check = { protocol = "http" }\n', "small.toml")
    http = parse(LISTENER + 'protocol = "http"\n' + GROUP + 'protocol = "http"\n', "small.toml")
    of_tcp, of_http = small.listeners[0], http.listeners[0]
    pairs = [(config, small), *zip(config.listeners, (of_tcp, of_http, of_http, of_tcp), strict=True)]
    pairs += zip(config.groups, (small.groups[0], http.groups[0]), strict=False)
    pairs += [
        (config.shield.block, Block()),
        (config.listeners[2].tls, ListenerTls(client_ca="/ca.pem", alpn="http/1.1")),
    ]
    pairs += [(config.groups[3].target_tls, TargetTls(ca="/ca.pem", server_name="a.test", alpn="http/1.1"))]
    for value, default in pairs:
        tables = {"binds", "listeners", "groups", "admin", "log", "health_check", "client_ca", "ca", "server_name"}
        for key in value.model_fields_set - own - tables:
            assert getattr(value, key) == getattr(default, key), key
    for key in set(HealthCheck.model_fields) - own:
        assert getattr(config.groups[0].health_check, key) == getattr(small.groups[0].health_check, key), key
    assert config.listeners[1].tunnel_timeout == http.listeners[0].tunnel_timeout
    assert config.listeners[1].rules[1].redirect.status == Redirect.model_fields["status"].default
    assert [rule.priority for rule in config.listeners[1].rules] == [10, 20, 30]
    assert config.admin.web == small.admin.web
    assert config.log == small.log
    assert config.dns.model_copy(update={"nameservers": ()}) == small.dns


def test_a_mistake_is_told_in_the_order_of_the_file():
    lines = told(text_of(next(file for file in BAD if file.stem == "everything-at-once")))
    assert [int(line.split(":")[1]) for line in lines] == sorted(int(line.split(":")[1]) for line in lines)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\ud800 = 1", "x.toml:1:1: this is not a character of a text file"),
        ("a = '\x07'", "x.toml:1:6: Found invalid character '\\x07'"),
        (LISTENER + GROUP + "[" * 3000, "x.toml:6:3: a key is expected here: letters, digits, _ and -"),
        ("a = 1\na.b = 2\n", "x.toml:2:8: this is given above in another form; write each key and table once"),
        (
            "listener = 3\n" + GROUP,
            "x.toml:1:12: listener: must be tables, one per listener; write [[listener]] with two brackets; "
            "this is a number",
        ),
    ],
    ids=["half a character", "a control character", "brackets", "another form", "no tables"],
)
def test_odd_texts_are_refused_as_clearly(text, line):
    assert told(text)[0] == line


def test_what_quotes_the_file_stays_on_one_short_line():
    policy, key = "x" * 10_000, "k\\u001b" * 5_000
    lines = told(LISTENER + GROUP + f'policy = "{policy}"\n"{key}" = 1\n')
    assert len(lines) == 2
    assert all(line.isprintable() and len(line) < 800 for line in lines)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "".join(f'[[listener]]\nbind = "10.0.{n // 250}.{n % 250}:80"\n' for n in range(1025)) + GROUP,
            "room for 1024",
        ),
        (LISTENER + "".join(f'[[target_group]]\nname = "g{n}"\n' for n in range(4097)), "room for 4096"),
        (LISTENER.replace('"0.0.0.0:80"', str(["127.0.0.1:0"] * 65)) + GROUP, "room for 64"),
        (LISTENER + GROUP.replace('"10.0.0.11:3000"', '"10.0.0.1:1",' * 32769), "room for 32768"),
    ],
    ids=["listeners", "groups", "binds", "targets of a group"],
)
def test_there_is_room_for_so_many(text, complaint):
    assert any(complaint in line for line in told(text))


PIECES = [
    *(
        '"',
        "'",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        "#",
        "\n",
        "[[",
        "]]",
        '""',
        '"""',
        "'''",
        "\\",
        "\0",
        "\r",
        "é",
        "\u202e",
    ),
    *("true", "-1", "1e999", "nan", "1979-05-27", "12:30:00", "0x" + "f" * 50, "9" * 5000, '"\\u001b"', "[1,[2]]"),
    *("{a=1}", '"unix:/x"', '"0.0.0.0:80"', '"web"', "[admin]", "[[listener]]", "[[target_group]]", 'name = "web"\n'),
]


def damaged(text, rng):
    """The text with one piece deleted, inserted or replaced, or a line doubled, dropped or given another value."""
    at = rng.randrange(len(text) + 1)
    lines = text.split("\n")
    line = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            return text[:at] + text[at + rng.randrange(1, 4) :]
        case 1:
            return text[:at] + rng.choice(PIECES) + text[at:]
        case 2:
            return text[:at] + chr(rng.randrange(1, 300)) + text[at + 1 :]
        case 3:
            lines.insert(line, rng.choice(lines))
        case 4:
            del lines[line]
        case 5:
            lines[line] = f"{lines[line].partition('=')[0]}= {rng.choice(PIECES)}"
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_file_is_good_or_refused_with_places_in_it(seed):
    rng = random.Random(seed)
    for _ in range(100):
        text = WHOLE
        for _ in range(rng.choice([1, 1, 2, 4, 8])):
            text = damaged(text, rng)
        config, mistakes = read(text)
        assert bool(config) != bool(mistakes)
        lines = text.split("\n")
        for mistake in mistakes:
            assert mistake.message.isprintable()
            assert mistake.path.isprintable()
            assert 1 <= mistake.line <= len(lines)
            assert 1 <= mistake.column <= len(lines[mistake.line - 1]) + 1
        if config:
            assert all(listener.target_group for listener in config.listeners)
            assert all(doubt.isprintable() for doubt in warnings(config))


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_is_a_config_or_a_config_error(text):
    with pytest.raises(ConfigError):
        parse(text, "x.toml")


VALUES = st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(), st.none())
NESTED = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner))


def toml(value):
    """A value in TOML; None has none and is left out by the caller."""
    if isinstance(value, dict):
        pairs = [f"{toml(str(key))} = {toml(inner)}" for key, inner in value.items() if inner is not None]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value if inner is not None) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08x}" for char in value if not "\ud800" <= char <= "\udfff") + '"'
    return str(value)


# Not those that others refer to: a new name is missed elsewhere, a short interval is below the timeout.
LINES = [
    number for number, line in enumerate(WHOLE.split("\n")) if re.match(r" *(?!name|interval)[a-z_]+ = [^\[]+$", line)
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(LINES), NESTED.filter(lambda value: value is not None))
def test_any_value_of_any_key_is_taken_or_refused_on_its_line(number, value):
    lines = WHOLE.split("\n")
    lines[number] = f"{lines[number].partition('=')[0]}= {toml(value)}"
    config, mistakes = read("\n".join(lines))
    assert config or number + 1 in [mistake.line for mistake in mistakes]
