"""The types of keys, each by what it takes and what it says to the rest."""

from __future__ import annotations

import re
from datetime import date

import pytest

from nlb.model import values
from nlb.model.address import Address


@pytest.mark.parametrize("name", ["web", "web-01.eu_1", "_x", "9", "0.0.0.0:80", "[::1]:80", "unix:/run/a", "w" * 128])
def test_a_name_is_safe_in_labels_tables_and_arguments(name):
    assert values.name(name) == name


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a\n", "-x", ".x", "/x", "a\x1b", "größe", "a%b", "a,b", 'a"b', "a{b}", "w" * 129, 3, None]
)
def test_what_could_break_them_is_no_name(name):
    with pytest.raises(ValueError, match=r"name|text in quotes"):
        values.name(name)


@pytest.mark.parametrize("name", ["a/b", "unix:/run/a", "unix:"])
def test_a_group_has_a_name_that_group_and_target_can_be_told_apart_by(name):
    with pytest.raises(ValueError, match="group/target must stay clear"):
        values.group_name(name)


def test_a_target_has_a_slash_in_its_name_only_when_that_is_a_unix_socket():
    assert values.target_name("unix:/run/a.sock") == "unix:/run/a.sock"
    with pytest.raises(ValueError, match="group/target must stay clear"):
        values.target_name("a/b")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (0, "0 is outside 1-9"),
        (10, "10 is outside 1-9"),
        (True, "must be a whole number from 1 to 9; this is true or false"),
        (3.0, "must be a whole number from 1 to 9; this is a number with a decimal point"),
        ("3", "must be a whole number from 1 to 9 without quotes; this is text"),
        ([3], "this is a list"),
        ({}, "this is a table"),
        (date(2024, 1, 1), "this is a date or time"),
    ],
)
def test_a_whole_number_has_bounds_that_are_told(value, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        values.whole(1, 9).func(value)


def test_a_duration_has_bounds_that_are_told():
    assert values.duration(0.01, 300).func("30s") == 30.0
    with pytest.raises(ValueError, match="400 is outside 10ms to 5m"):
        values.duration(0.01, 300).func(400)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (0, "port 0 is outside 1-65535"),
        (65536, "port 65536 is outside 1-65535"),
        ("80", "a number from 1 to 65535 without quotes; this is text"),
        (True, "this is true or false"),
    ],
)
def test_a_port_is_a_number_up_to_65535(value, complaint):
    with pytest.raises(ValueError, match=complaint):
        values.port(value)


@pytest.mark.parametrize(
    ("value", "percent"), [(50, 50.0), ("50%", 50.0), ("50", 50.0), ("12.5%", 12.5), (0, 0.0), (100, 100.0), (0.5, 0.5)]
)
def test_a_percentage_may_have_its_sign(value, percent):
    assert values.percent(value) == percent


@pytest.mark.parametrize("value", [101, -1, "101%", "half", "50 %", True, None, float("nan"), float("inf")])
def test_what_is_no_percentage_is_refused(value):
    with pytest.raises(ValueError, match="percent"):
        values.percent(value)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("127.0.0.1:9191", Address("127.0.0.1", 9191)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        (False, None),
        ("off", None),
    ],
)
def test_the_status_page_has_an_address_or_is_off(value, address):
    assert values.web(value) == address


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (True, "or false for none"),
        ("unix:/run/web", "must be host:port"),
        (9191, "text in quotes"),
        ("9191", "host:port"),
    ],
)
def test_the_status_page_is_nowhere_else(value, complaint):
    with pytest.raises(ValueError, match=complaint):
        values.web(value)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("unix:/run/nlb.sock", "write its path alone: /run/nlb.sock"),
        ("nlb.sock", "must be an absolute path"),
        ("/" + "x" * 107, "may have 107 bytes"),
        ("/run/\x07", "control character"),
        (None, "text in quotes"),
    ],
)
def test_the_admin_socket_is_a_path(value, complaint):
    with pytest.raises(ValueError, match=complaint):
        values.socket_path(value)


@pytest.mark.parametrize("value", ["state", "/a\nb", "/" + "x" * 1024, "", 3])
def test_a_folder_is_an_absolute_path(value):
    with pytest.raises(ValueError, match=r"absolute path|text in quotes"):
        values.folder(value)


@pytest.mark.parametrize("value", [0, -1, 257, True, "many", 2.0, None])
def test_there_is_a_sensible_number_of_processes(value):
    with pytest.raises(ValueError, match="processes"):
        values.processes(value)


@pytest.mark.parametrize("value", ["healthz", "", "/a b", "/a\r\nHost: b", "/ä", "/" + "x" * 1024, 3])
def test_a_probe_asks_for_a_path_that_cannot_break_its_request(value):
    with pytest.raises(ValueError, match=r"path to ask for|text in quotes"):
        values.http_path(value)


@pytest.mark.parametrize(
    ("written", "yes", "no"),
    [
        ("200-399", [200, 204, 301, 399], [199, 400, 503]),
        ("200", [200], [201, 100]),
        (204, [204], [200]),
        ("200,301-302", [200, 301, 302], [201, 300, 303]),
        ("200, 404", [200, 404], [201]),
        ("100-599", [100, 599], [99, 600]),
    ],
)
def test_a_matcher_says_which_statuses_are_healthy(written, yes, no):
    matcher = values.matcher(written)
    assert [matcher.matches(status) for status in yes + no] == [True] * len(yes) + [False] * len(no)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("399-200", "the range 399-200 is empty; write 200-399"),
        ("99-200", "'99-200' is neither a status nor a range"),
        ("099", "099 is outside the statuses of HTTP, 100-599"),
        ("200-600", "200-600 is outside the statuses of HTTP, 100-599"),
        ("2xx", "'2xx' is neither a status nor a range"),
        ("", "'' is neither"),
        ("200,", "'' is neither"),
        (True, "this is true or false"),
        ([200], "this is a list"),
    ],
)
def test_what_is_no_matcher_is_refused_with_a_sentence(written, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        values.matcher(written)


@pytest.mark.parametrize(
    "validate", [values.whole(1, 9).func, values.port, values.percent, values.processes, values.matcher]
)
def test_a_number_too_long_to_be_written_is_refused_in_few_words(validate):
    with pytest.raises(ValueError, match=r"\A.{20,150}\Z"):
        validate(10**5000)


def test_a_matcher_is_shown_as_it_was_written():
    assert str(values.matcher("200, 301-302")) == "200,301-302"
