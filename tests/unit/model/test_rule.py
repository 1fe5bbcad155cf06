"""Rules beside each other: their order, their names, and the words for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlb.model.config import Config
from nlb.model.rule import Rule, in_order

WEB = {"forward": "web"}


def ordered(*rules):
    return [(rule.name, rule.priority) for rule in in_order(Rule.model_validate(WEB | rule) for rule in rules)]


@pytest.mark.parametrize(
    ("rules", "order"),
    [
        ([{}, {}], [("1", 10), ("2", 20)]),
        ([{"name": "a"}, {}, {"name": "c"}], [("a", 10), ("2", 20), ("c", 30)]),
        ([{"name": "a", "priority": 30}, {"name": "b"}], [("b", 20), ("a", 30)]),
        ([{"name": "a"}, {"name": "b"}, {"name": "c", "priority": 15}], [("a", 10), ("c", 15), ("b", 20)]),
        ([{"priority": 2}, {"priority": 1, "name": "first"}], [("first", 1), ("2", 2)]),
    ],
)
def test_a_rule_without_a_priority_has_ten_times_its_place(rules, order):
    assert ordered(*rules) == order


@pytest.mark.parametrize(
    ("forward", "read"),
    [
        ("web", [("web", 1)]),
        (["web", "api"], [("web", 1), ("api", 1)]),
        ({"target_group": "web"}, [("web", 1)]),
        ([{"target_group": "web", "weight": 9}, "api"], [("web", 9), ("api", 1)]),
        ([{"target_group": "web", "weight": 0}, {"target_group": "api", "weight": 999}], [("web", 0), ("api", 999)]),
    ],
)
def test_a_rule_forwards_to_one_group_or_several(forward, read):
    rule = Rule(forward=forward)
    assert [(item.target_group, item.weight) for item in rule.forward] == read
    assert rule.groups == tuple(name for name, _ in read)


@pytest.mark.parametrize(
    ("rule", "when", "then"),
    [
        (WEB, "always", "group web"),
        (WEB | {"host": "A.test", "path": ["/a", "/b*"]}, "host a.test, path /a or /b*", "group web"),
        (WEB | {"port": [80, 81]}, "port 80 or 81", "group web"),
        (
            {"header": {"X-A": ["1", "2"]}, "query": {"v": "3"}, "forward": ["web", "api", "old"]},
            "header X-A: 1 or 2, query v: 3",
            "groups web (33.3 %), api (33.3 %), old (33.3 %)",
        ),
        (
            {"method": list("ABCDEFG"), "redirect": {"protocol": "https"}},
            "method A or B or C or D or E or 2 more",
            "redirect 302 to https://#{host}/#{path}",
        ),
        (
            {"source": "10.0.0.0/8", "fixed_response": {"status": 403, "body": "no"}},
            "source 10.0.0.0/8",
            "answer 403, 2 bytes of text/plain; charset=utf-8",
        ),
    ],
)
def test_a_rule_in_words(rule, when, then):
    read = Rule.model_validate(rule)
    assert (read.when, read.then) == (when, then)
    assert read.is_always == (when == "always")


RULES = st.lists(
    st.fixed_dictionaries(
        {"forward": st.just("web")},
        optional={"priority": st.integers(1, 200), "host": st.sampled_from(["a.test", "b.test"])},
    ),
    max_size=12,
)


@given(RULES)
def test_a_listener_that_is_dumped_and_read_again_has_the_same_rules(rules):
    listener = {"bind": "0.0.0.0:80", "protocol": "http", "rule": rules}
    config = Config.model_validate({"listener": [listener], "target_group": [{"name": "web", "protocol": "http"}]})
    for unset in (True, False):
        dumped = config.model_dump(mode="json", by_alias=True, exclude_unset=unset)
        assert Config.model_validate(dumped).listeners == config.listeners
