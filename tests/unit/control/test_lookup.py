"""What hosts files and records mean. Real questions to a real nameserver are in tests/wire/test_lookup.py."""

from __future__ import annotations

import pytest

from nlb.control.lookup import in_hosts, shares, usable_ip


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([], []),
        ([10, 20], [10, 20]),
        ([0, 0, 0], [1, 1, 1]),
        ([0, 10], [1, 10]),
        ([65535, 32768, 1], [1000, 500, 1]),
        ([1000, 1], [1000, 1]),
    ],
)
def test_srv_weights_within_the_bounds_of_a_target(weights: list[int], expected: list[int]) -> None:
    assert shares(weights) == expected


HOSTS = """\
# 10.9.9.9 app.test
127.0.0.1\tlocalhost.test loop
10.0.0.1  app.test App2.test # behind.test
10.0.0.2 app.test
fd00::1   app.test
10.0.0.3

10.0.0.4 myapp.test
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("app.test", ["10.0.0.1", "10.0.0.2", "fd00::1"]),
        ("APP2.test.", ["10.0.0.1"]),
        ("behind.test", []),
        ("pp.test", []),
        ("10.0.0.3", []),
        ("loop", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1", "::1"]),
        ("web.localhost", ["127.0.0.1", "::1"]),
    ],
)
def test_what_a_hosts_file_says(name: str, expected: list[str]) -> None:
    assert in_hosts(HOSTS, name) == expected


def test_a_hosts_file_may_define_localhost() -> None:
    assert in_hosts("127.0.0.1 localhost\n", "localhost") == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("FD00:0:0::1", "fd00::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("0.0.0.0", ""),
        ("::", ""),
        ("224.0.0.1", ""),
        ("10.0.0", ""),
        ("", ""),
    ],
)
def test_addresses_that_can_be_a_target(text: str, expected: str) -> None:
    assert usable_ip(text) == expected
