"""What a health check may ask: the defaults, every form of a key, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from nlb.errors import ConfigError
from nlb.model.config import Config
from nlb.model.doubts import warnings
from nlb.model.health_check import HealthCheck
from nlb.model.parse import parse

BEGINNING = """
[[listener]]
bind = "0.0.0.0:80"
[[target_group]]
name = "web"
targets = ["10.0.0.1:80"]
[target_group.health_check]
"""


def check(text: str) -> HealthCheck:
    return parse(BEGINNING + text, "test.toml").groups[0].health_check


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check(text)
    (mistake,) = caught.value.mistakes
    return f"{mistake.path.rpartition('.')[2]}: {mistake.message}"


def doubts(text: str) -> list[str]:
    told = warnings(parse(BEGINNING + text, "test.toml"))
    return [line.removeprefix("target_group.web.health_check.") for line in told]


def test_the_defaults() -> None:
    plain = HealthCheck()
    assert (plain.method, plain.host, plain.headers, plain.send, plain.expect) == ("GET", None, (), None, None)
    assert (plain.tls_server_name, plain.tls_ca, plain.tls_verify, plain.command) == (None, None, False, None)
    assert (plain.flap_limit, plain.flap_window) == (5, 300)


@pytest.mark.parametrize(
    ("keys", "name", "verify"),
    [
        ({}, None, False),
        ({"host": "shop.example"}, "shop.example", True),
        ({"host": "shop.example:8443"}, "shop.example", True),
        ({"host": "[::1]:8443"}, "::1", True),
        ({"host": "shop.example", "tls_server_name": "internal.example"}, "internal.example", True),
        ({"tls_server_name": "10.0.0.1"}, "10.0.0.1", True),
        ({"tls_ca": "/etc/ca.pem"}, None, True),
        ({"tls_server_name": "shop.example", "tls_verify": False}, "shop.example", False),
        ({"tls_verify": True}, None, True),
    ],
)
def test_a_certificate_is_checked_once_it_is_known_what_for(
    keys: dict[str, Any], name: str | None, verify: bool
) -> None:
    made = HealthCheck(protocol="https", **keys)
    assert (made.tls_server_name, made.tls_verify) == (name, verify)


def test_headers_keep_their_order_and_their_case() -> None:
    made = check('headers = { X-B = "1", authorization = "Bearer x=" }\n')
    assert made.headers == (("X-B", "1"), ("authorization", "Bearer x="))


def test_headers_may_be_a_table_of_their_own() -> None:
    assert check('protocol = "http"\n[target_group.health_check.headers]\nX-A = "1"\n').headers == (("X-A", "1"),)


def test_a_byte_is_a_character() -> None:
    made = check('send = "PING\\r\\n\\u0000\\u00ff"\nexpect = "+"\n')
    assert made.send is not None
    assert made.send.encode("latin-1") == b"PING\r\n\x00\xff"


CASES = {
    "a sentence for a program": (
        'protocol = "exec"\ncommand = "/bin/check {host}"',
        "command: must be a list, the program and its arguments; no shell reads it; write "
        '["/usr/lib/nlb/check-pg", "{host}", "{port}"]; this is text',
    ),
    "no program": ('protocol = "exec"\ncommand = []', "command: must be a list, the program and its arguments"),
    "a program without a path": (
        'command = ["check-pg"]',
        "command: 'check-pg' must be the absolute path of a program, such as /usr/lib/nlb/check-pg",
    ),
    "a number among the arguments": (
        'command = ["/bin/check", 5]',
        "command: must be text in quotes; this is a number",
    ),
    "a zero byte": ('command = ["/bin/check", "\\u0000"]', "command: an argument has no zero byte"),
    "a long argument": (
        f'command = ["/bin/check", "{"x" * 4097}"]',
        "command: an argument has no zero byte and at most",
    ),
    "many arguments": (f"command = {['/bin/check'] * 65}", "command: 65 arguments are too many; there is room for 64"),
    "a placeholder that is none": (
        'command = ["/bin/check", "{hots}"]',
        "command: {hots} stands for nothing (did you mean host?); there are {host}, {port}, {address}, {name}, {group}",
    ),
    "exec without a program": (
        'protocol = "exec"',
        "health_check: protocol is exec, and no command is there; write command = [",
    ),
    "headers as a list": (
        'headers = ["X-A: 1"]',
        'headers: must be a table such as { X-Probe = "nlb" }; this is a list',
    ),
    "a name that is none": ('headers = { "X A" = "1" }', "headers: 'X A' is not the name of a header"),
    "a number for a header": (
        "headers = { X-A = 1 }",
        "headers: the value of X-A must be text in quotes; this is a number",
    ),
    "a line end in a header": (
        'headers = { X-A = "1\\r\\nX-B: 2" }',
        "headers: the value of X-A has a character that no",
    ),
    "Host among the headers": ('headers = { Host = "a" }', "headers: Host is not for you to set: write host beside it"),
    "a body": ('headers = { Content-Length = "5" }', "headers: Content-Length is not for you to set: a check sends no"),
    "one header twice": (
        'headers = { X-A = "1", x-a = "2" }',
        "headers: x-a is given twice; the case of letters does not",
    ),
    "long headers": (
        f'headers = {{ X-A = "{"x" * 8192}" }}',
        "headers: 8195 characters are too many; there is room for",
    ),
    "a URL for a host": ('host = "http://shop.example"', "host: 'http://shop.example' is not a host to ask for"),
    "a host with an empty part": ('host = "shop..example"', "host: 'shop..example' is not a host to ask for"),
    "a host with a long part": (f'host = "{"x" * 64}.example"', "host: '"),
    "a line end in a host": ('host = "a\\r\\nX: b"', "host: "),
    "another method": ('method = "get"', "method: 'get' is not known; write GET, HEAD or OPTIONS (did you mean GET?)"),
    "nothing to send": ('send = ""', "send: must have 1-1024 characters; this has 0"),
    "much to expect": (f'expect = "{"x" * 1025}"', "expect: must have 1-1024 characters; this has 1025"),
    "no byte": ('expect = "€"', "expect: '€' is no single byte; write bytes as \\u0000 to \\u00ff"),
    "a name of no server": (
        'tls_server_name = "a b"',
        "tls_server_name: 'a b' is neither a host name nor an IP address",
    ),
    "a dot in front": ('tls_server_name = ".example"', "tls_server_name: '.example' is neither a host name"),
    "a relative file": ('tls_ca = "ca.pem"', "tls_ca: 'ca.pem' must be the absolute path of a file"),
    "a word for yes": ('tls_verify = "yes"', "tls_verify: must be true or false without quotes; this is text"),
    "many flips": ("flap_limit = 101", "flap_limit: 101 is outside 0-100"),
    "a short window": ('flap_window = "500ms"', "flap_window: 500ms is outside 1s to 1d"),
}


@pytest.mark.parametrize(("text", "said"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_told_at_its_key(text: str, said: str) -> None:
    assert complaint(text).startswith(said)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'protocol = "http"\nsend = "x"\n',
            ['send: is not used, because protocol is http; write protocol = "tcp" to ask for it'],
        ),
        (
            'tls_ca = "/x"\nhost = "a"\n',
            [
                'host: is not used, because protocol is tcp; write protocol = "http" to ask for it',
                'tls_ca: is not used, because protocol is tcp; write protocol = "https" to ask for it',
            ],
        ),
        (
            'command = ["/bin/true"]\n',
            ['command: is not used, because protocol is tcp; write protocol = "exec" to ask for it'],
        ),
        (
            'protocol = "https"\n',
            [
                "tls_verify: is false, because nothing says whose certificate it must be; write tls_server_name, "
                "or tls_verify = false to leave it so"
            ],
        ),
        ('protocol = "https"\ntls_verify = false\n', []),
        ('protocol = "https"\nhost = "shop.example"\n', []),
        ('protocol = "tls"\ntls_server_name = "shop.example"\n', []),
        (
            'protocol = "tls"\ntls_ca = "/x"\ntls_verify = false\n',
            ["tls_ca: is not used, because tls_verify is false"],
        ),
        ('send = "PING"\nexpect = "+"\n', []),
        ('protocol = "exec"\ncommand = ["/bin/true"]\nport = 8008\n', []),
    ],
)
def test_doubts(text: str, told: list[str]) -> None:
    assert doubts(text) == told


@pytest.mark.parametrize(
    ("keys", "question"),
    [
        ({}, "tcp connect"),
        ({"port": 81}, "tcp connect on port 81"),
        ({"protocol": "tls"}, "tls connect"),
        ({"send": "PING\r\n", "expect": "+PONG"}, "tcp connect, send 'PING\\r\\n', expect '+PONG'"),
        ({"expect": "220 "}, "tcp connect, expect '220 '"),
        ({"protocol": "http", "path": "/up", "port": 81}, "http /up for 200-399 on port 81"),
        ({"protocol": "https", "method": "HEAD"}, "https HEAD / for 200-399"),
        ({"protocol": "exec", "command": ["/bin/check", "{host}"]}, "exec /bin/check {host}"),
        ({"protocol": "none"}, "nothing"),
    ],
)
def test_a_question_is_told_in_words(keys: dict[str, Any], question: str) -> None:
    assert HealthCheck(**keys).question == question


def test_all_of_it_can_be_dumped_and_read_again() -> None:
    text = BEGINNING + (
        'protocol = "exec"\ncommand = ["/bin/check", "{host}"]\nheaders = { X-A = "1" }\nsend = "\\u00ff\\r\\n"\n'
        'host = "shop.example:80"\ntls_ca = "/etc/ca.pem"\nmethod = "HEAD"\n'
    )
    config = parse(text, "test.toml")
    for unset in (True, False):
        dumped = config.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=unset)
        assert Config.model_validate(dumped) == config
