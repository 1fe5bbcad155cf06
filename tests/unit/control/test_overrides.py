"""What operators wished, from the wish to its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nlb.control.kept import LONGEST
from nlb.control.overrides import MOST, Override, Overrides, What
from nlb.control.state import VERSION, StateDir
from nlb.errors import AdminError
from nlb.model.address import Address, DnsName
from nlb.model.merge import merge
from nlb.model.parse import parse

WEB01, ELSEWHERE = Address("10.0.0.1", 3000), Address("10.0.0.9", 3000)

FILE = """
[[listener]]
bind = "0.0.0.0:80"
[[target_group]]
name = "web"
targets = [{targets}]
"""


def wish(
    what: What,
    value: str | int | None = None,
    target: str = "web01",
    address: Address | DnsName = WEB01,
    group: str = "web",
    until: float | None = None,
    when: float = 1000.0,
) -> Override:
    return Override(group, target, str(address), what, value, "ada", when, "new kernel", until)


class Told:
    """Collects events; each as `level kind: text`."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, level: str, kind: str, text: str) -> None:
        self.events.append(f"{level} {kind}: {text}")


class Box:
    """A box with a state directory; `start` is a start of nlb on it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "overrides.json"
        self.told = Told()
        self._folder = folder
        self._state: StateDir | None = None

    def start(self) -> Overrides:
        self.stop()
        self.told.events.clear()
        self._state = StateDir(str(self._folder), self.told)
        return Overrides(self._state, self.told)

    def stop(self) -> None:
        if self._state:
            self._state.close()

    def write(self, *entries: object) -> None:
        """An operator edits the file."""
        self._folder.mkdir(exist_ok=True)
        self.file.write_text(json.dumps({"version": VERSION, "data": {"overrides": entries}}))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path / "state")
    yield box
    box.stop()


@pytest.fixture
def overrides() -> Overrides:
    """Without a state directory."""
    return Overrides(None, Told())


def kinds(overrides: Overrides) -> list[What]:
    return [override.what for override in overrides.all()]


# --- they last


@pytest.mark.parametrize(
    "override",
    [
        pytest.param(wish("admin", "drain"), id="drain"),
        pytest.param(wish("admin", "maint", until=5000.25), id="maint for a while"),
        pytest.param(wish("weight", 0), id="weight"),
        pytest.param(wish("added", 1000), id="added"),
        pytest.param(wish("removed"), id="removed"),
        pytest.param(wish("admin", "drain", "app", Address("", 0, "/run/a b.sock")), id="a unix socket"),
        pytest.param(wish("admin", "drain", "[::1]:80", Address("::1", 80)), id="named by its address"),
        pytest.param(wish("admin", "drain", "app@10.0.0.1", WEB01), id="an address of a name"),
        pytest.param(wish("weight", 5, "app@fd00::1", Address("fd00::1", 80)), id="an IPv6 address of a name"),
        pytest.param(wish("weight", 5, "app@[fd00::1]:80", Address("fd00::1", 80)), id="an address of a service"),
        pytest.param(wish("added", 5, "app", DnsName("app.test", 80)), id="a name"),
        pytest.param(wish("removed", None, "app", DnsName("_app._tcp.test", 0)), id="the name of a service"),
        pytest.param(replace(wish("removed"), who="", reason=""), id="nobody said why"),
        pytest.param(
            replace(wish("removed"), who="ü" * LONGEST, reason="\U0001f600" * LONGEST), id="the longest texts"
        ),
    ],
)
def test_a_wish_survives_a_restart_as_it_is(box: Box, override: Override) -> None:
    assert box.start().set(override)
    assert box.start().all() == [override]
    assert not box.told.events


def test_every_change_is_on_disk_at_once(box: Box) -> None:
    def on_disk() -> list[str]:
        return [entry["what"] for entry in json.loads(box.file.read_text())["data"]["overrides"]]

    overrides = box.start()
    overrides.set(wish("admin", "drain", until=2000))
    assert on_disk() == ["admin"]
    overrides.set(wish("weight", 5))
    assert on_disk() == ["admin", "weight"]
    overrides.expire(2000)
    assert on_disk() == ["weight"]
    overrides.clear("web", "web01", WEB01, "weight")
    assert on_disk() == []


def test_what_changes_nothing_is_not_written(box: Box) -> None:
    overrides = box.start()
    overrides.set(wish("admin", "ready"))
    overrides.clear("web", "web01", WEB01, "admin")
    overrides.expire(1e9)
    overrides.drop_void([])
    overrides.drop_moved([("web", "web01", WEB01)])
    assert not box.file.exists()


def test_they_say_whether_they_last(box: Box, overrides: Overrides, tmp_path: Path) -> None:
    assert not overrides.lasting
    assert box.start().lasting
    (tmp_path / "file").touch()
    told = Told()
    nowhere = Overrides(StateDir(f"{tmp_path}/file/state", told), told)
    assert nowhere.set(wish("admin", "drain"))
    assert kinds(nowhere) == ["admin"], "it holds as long as nlb runs"
    assert not nowhere.lasting
    assert len(told.events) == 1


def test_they_are_listed_as_plain_data(overrides: Overrides) -> None:
    overrides.set(wish("admin", "maint", until=5000.0))
    assert overrides.listing() == [
        {
            "group": "web",
            "target": "web01",
            "address": "10.0.0.1:3000",
            "what": "admin",
            "value": "maint",
            "who": "ada",
            "when": 1000.0,
            "reason": "new kernel",
            "until": 5000.0,
        }
    ]


# --- one ends another


@pytest.mark.parametrize(
    ("before", "wished", "stands", "after"),
    [
        pytest.param([], wish("admin", "drain"), True, ["admin"], id="drain"),
        pytest.param([wish("admin", "drain")], wish("admin", "ready"), False, [], id="ready ends drain"),
        pytest.param([wish("admin", "maint")], wish("admin", "ready"), False, [], id="ready ends maint"),
        pytest.param([], wish("admin", "ready"), False, [], id="ready is no override"),
        pytest.param([wish("admin", "drain")], wish("admin", "maint"), True, ["admin"], id="maint replaces drain"),
        pytest.param([], wish("weight", 5), True, ["weight"], id="another weight"),
        pytest.param([wish("weight", 5)], wish("weight", 0), True, ["weight"], id="weight 0"),
        pytest.param([wish("weight", 5)], wish("weight", 3), False, [], id="the configured weight ends it"),
        pytest.param(
            [wish("admin", "drain"), wish("weight", 5)], wish("admin", "ready"), False, ["weight"], id="only its kind"
        ),
        pytest.param([], wish("removed"), True, ["removed"], id="removed"),
        pytest.param([wish("removed")], wish("added", 1), False, [], id="added back"),
        pytest.param([], wish("added", 1), True, ["added"], id="added"),
        pytest.param([wish("added", 1)], wish("removed"), False, [], id="an added one removed"),
        pytest.param(
            [wish("admin", "drain"), wish("weight", 5)],
            wish("removed"),
            True,
            ["removed"],
            id="removed with its wishes",
        ),
        pytest.param(
            [wish("added", 1), wish("admin", "drain"), wish("weight", 5)],
            wish("removed"),
            False,
            [],
            id="an added one removed with its wishes",
        ),
        pytest.param(
            [wish("removed")],
            wish("added", 1, address=ELSEWHERE),
            True,
            ["removed", "added"],
            id="one removed, and its name added elsewhere",
        ),
    ],
)
def test_a_wish_ends_the_older_ones_that_it_answers(
    box: Box, before: list[Override], wished: Override, stands: bool, after: list[What]
) -> None:
    overrides = box.start()
    neighbours = [wish("admin", "drain", "web02"), wish("removed", None, group="api"), wish("weight", 9, "web03")]
    for override in (*neighbours, *before):
        assert overrides.set(override, configured=3)
    assert overrides.set(wished, configured=3) is stands
    assert overrides.all()[:3] == neighbours
    assert kinds(overrides)[3:] == after
    assert (wished in overrides.all()) is stands
    assert box.start().all() == overrides.all()


def test_the_latest_of_a_kind_holds_and_is_the_last_in_the_list(overrides: Overrides) -> None:
    first, other, second = wish("admin", "drain", until=2000), wish("weight", 5), wish("admin", "drain", when=1500)
    for override in (first, other, second):
        overrides.set(override)
    assert overrides.all() == [other, second]
    assert overrides.next_expiry() is None, "the one that would have ended by itself is replaced"


def test_what_holds_for_a_target_is_found_by_its_name_and_address(overrides: Overrides) -> None:
    assert overrides.for_target("web", "web01", WEB01) == {}
    drain, weight, added = wish("admin", "drain"), wish("weight", 5), wish("added", 1, "web04")
    for override in (drain, weight, added, wish("admin", "maint", group="api"), wish("admin", "maint", "web02")):
        overrides.set(override)
    assert overrides.for_target("web", "web01", WEB01) == {"admin": drain, "weight": weight}
    assert overrides.for_target("web", "web04", WEB01) == {"added": added}
    assert overrides.for_target("web", "web01", ELSEWHERE) == {}
    assert overrides.for_target("web", "web05", WEB01) == {}


def test_clearing_says_what_must_be_undone(overrides: Overrides) -> None:
    drain = wish("admin", "drain")
    overrides.set(drain)
    assert overrides.clear("web", "web01", WEB01, "weight") is None
    assert overrides.clear("web", "web01", ELSEWHERE, "admin") is None
    assert overrides.clear("web", "web01", "10.0.0.1:3000", "admin") == drain
    assert overrides.all() == []


# --- they end by themselves


def test_they_end_when_their_time_has_come(overrides: Overrides) -> None:
    late, early, lasting = (
        wish("admin", "drain", until=3000),
        wish("weight", 5, until=2000),
        wish("admin", "maint", "web02"),
    )
    for override in (late, early, lasting):
        overrides.set(override)
    assert (overrides.next_expiry(), overrides.expire(1999.9)) == (2000, [])
    assert (overrides.expire(2000), overrides.next_expiry()) == ([early], 3000)
    assert (overrides.expire(9999), overrides.next_expiry()) == ([late], None)
    assert overrides.all() == [lasting]


def test_what_ended_while_nlb_was_down_is_told_at_the_start(box: Box) -> None:
    drain = wish("admin", "drain", until=2000)
    box.start().set(drain)
    overrides = box.start()
    assert overrides.expire(9999) == [drain]
    assert box.start().all() == []


def test_an_added_target_that_goes_takes_its_wishes_along(overrides: Overrides) -> None:
    added = wish("added", 1, until=2000)
    for override in (added, wish("admin", "drain"), wish("weight", 5), wish("admin", "drain", "web02")):
        overrides.set(override)
    assert overrides.expire(2000) == [added]
    assert [override.target for override in overrides.all()] == ["web02"]


# --- the config overtakes them


def after_reload(overrides: Overrides, *targets: str) -> list[str]:
    """The targets that run, once the file has these and what no longer applies is dropped."""
    config = parse(FILE.format(targets=", ".join(f'"{target}"' for target in targets)), "nlb.toml")
    merged = merge(config, overrides.changes())
    overrides.drop_void(merged.void)
    return [f"{target.name}={target.address} {target.weight}" for target in merged.config.groups[0].targets]


def test_added_and_removed_targets_hold_across_reloads(box: Box) -> None:
    overrides = box.start()
    overrides.set(wish("removed"))
    overrides.set(wish("added", 7, "web04", Address("10.0.0.4", 3000)))
    for _ in range(2):
        assert after_reload(overrides, "web01=10.0.0.1:3000", "web02=10.0.0.2:3000") == [
            "web02=10.0.0.2:3000 1",
            "web04=10.0.0.4:3000 7",
        ]
    assert (len(overrides.all()), box.told.events) == (2, [])


@pytest.mark.parametrize(
    ("override", "file", "event"),
    [
        pytest.param(
            wish("added", 7),
            ["web01=10.0.0.1:3000"],
            "info operator: web/web01: the override added by ada (new kernel) is dropped: "
            "group web has web01 at 10.0.0.1:3000 already",
            id="added, in the file by now",
        ),
        pytest.param(
            wish("added", 7),
            ["web01=10.0.0.9:3000"],
            "warning operator: web/web01: the override added by ada (new kernel) is dropped: "
            "group web has web01 at 10.0.0.9:3000 already",
            id="added, and the file has another of the name",
        ),
        pytest.param(
            wish("removed"),
            ["web01=10.0.0.9:3000"],
            "warning operator: web/web01: the override removed by ada (new kernel) is dropped: "
            "web01 is at 10.0.0.9:3000 now, not at 10.0.0.1:3000",
            id="removed, and its name is another's",
        ),
        pytest.param(
            wish("removed"),
            [],
            "info operator: web/web01: the override removed by ada (new kernel) is dropped: "
            "group web has no target web01 any more",
            id="removed from the file too",
        ),
    ],
)
def test_what_the_file_has_overtaken_is_dropped_with_an_event(
    box: Box, override: Override, file: list[str], event: str
) -> None:
    overrides = box.start()
    overrides.set(override)
    assert after_reload(overrides, *file) == [f"{target} 1" for target in file]
    assert box.told.events == [event]
    assert box.start().all() == []


def test_what_the_file_overtakes_leaves_the_other_wishes(overrides: Overrides) -> None:
    for override in (wish("added", 7), wish("admin", "drain")):
        overrides.set(override)
    after_reload(overrides, "web01=10.0.0.1:3000")
    assert kinds(overrides) == ["admin"], "the target is still there"


@pytest.mark.parametrize(
    ("targets", "left"),
    [
        pytest.param([("web", "web01", WEB01)], ["admin", "weight"], id="where it was"),
        pytest.param([("web", "web01", ELSEWHERE)], [], id="elsewhere"),
        pytest.param([("web", "web01", Address("10.0.0.1", 3001))], [], id="on another port"),
        pytest.param([], ["admin", "weight"], id="not there: it may come back"),
        pytest.param([("web", "web02", ELSEWHERE)], ["admin", "weight"], id="another target"),
        pytest.param([("api", "web01", ELSEWHERE)], ["admin", "weight"], id="another group"),
        pytest.param(
            [("web", "web01", ELSEWHERE), ("web", "web01", WEB01)], ["admin", "weight"], id="at two addresses"
        ),
    ],
)
def test_a_wish_for_a_server_is_none_for_another_with_its_name(
    box: Box, targets: list[tuple[str, str, Address]], left: list[What]
) -> None:
    overrides = box.start()
    overrides.set(wish("admin", "drain"))
    overrides.set(wish("weight", 5))
    moved = overrides.drop_moved(targets)
    assert len(moved) + len(left) == 2
    assert kinds(overrides) == left
    assert len(box.told.events) == len(moved)
    assert kinds(box.start()) == left


def test_the_event_of_a_moved_target_says_where_it_is(box: Box) -> None:
    overrides = box.start()
    overrides.set(wish("weight", 5))
    overrides.drop_moved([("web", "web01", ELSEWHERE)])
    assert box.told.events == [
        "warning operator: web/web01: the override weight 5 by ada (new kernel) is dropped: "
        "the target is at 10.0.0.9:3000 now, not at 10.0.0.1:3000"
    ]


# --- what is refused


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        (wish("weight", 1001), "web/web01: weight: 1001 is outside 0-1000"),
        (wish("added", -1), "web/web01: weight: -1 is outside 0-1000"),
        (wish("admin", "drain", "a b"), "web/a b: name: 'a b' cannot be a name"),
        (replace(wish("removed"), reason="two\nlines"), "web/web01: reason must be text on one line"),
        (
            replace(wish("removed"), reason="x" * (LONGEST + 1)),
            "web/web01: reason must be text on one line, of at most",
        ),
        (replace(wish("removed"), until=float("nan")), "web/web01: until must be unix seconds"),
    ],
)
def test_what_the_next_start_would_not_read_is_refused(
    overrides: Overrides, override: Override, complaint: str
) -> None:
    with pytest.raises(AdminError) as caught:
        overrides.set(override)
    assert str(caught.value).startswith(complaint)
    assert overrides.all() == []


def test_there_is_room_for_so_many(box: Box) -> None:
    many = [wish("admin", "drain", f"t{n}", Address("10.0.0.1", n + 1)) for n in range(MOST)]
    box.write(*(override.data() for override in many))
    overrides = box.start()
    with pytest.raises(AdminError, match="room for 10000 overrides, and it is full"):
        overrides.set(wish("admin", "drain"))
    assert overrides.set(replace(many[0], value="maint")), "one that is there may change"
    assert not overrides.set(replace(many[1], value="ready"))
    assert overrides.set(wish("admin", "drain"))


# --- files that somebody has edited

GOOD = wish("admin", "drain").data()


def edited(**fields: Any) -> dict[str, Any]:
    return {**GOOD, **fields}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        pytest.param(None, "not an object", id="null"),
        pytest.param([GOOD], "not an object", id="a list"),
        pytest.param({}, "group is missing", id="nothing in it"),
        pytest.param(
            {name: value for name, value in GOOD.items() if name != "who"}, "who is missing", id="one missing"
        ),
        pytest.param(edited(untill=5), "untill is unknown", id="one unknown"),
        pytest.param(edited(group=5), "group must be text on one line", id="group a number"),
        pytest.param(edited(group="a/b"), "'a/b' cannot be the name of a group", id="group with a slash"),
        pytest.param(edited(group=["web"]), "group must be text on one line", id="group a list"),
        pytest.param(edited(target=""), "name: a name cannot be empty", id="no name"),
        pytest.param(edited(target={}), "target must be text on one line", id="target an object"),
        pytest.param(edited(address="10.0.0.1"), "address: '10.0.0.1' has no port", id="no port"),
        pytest.param(edited(address="no sense:80"), "address: 'no sense' is neither an IP address", id="no address"),
        pytest.param(edited(target="app@10.0.0.9"), "name: 'app@10.0.0.9' is not the name of", id="another's @"),
        pytest.param(edited(target="a b@10.0.0.1"), "name: 'a b' cannot be a name", id="no name before the @"),
        pytest.param(edited(target="web01@", address="app.test:80"), "name: 'web01@' cannot", id="an @ and a name"),
        pytest.param(edited(address="[0::1]:80"), "address must be written [::1]:80", id="an address spelt otherwise"),
        pytest.param(edited(what="color"), "what must be admin, weight, added, removed", id="an unknown kind"),
        pytest.param(edited(what=["admin"]), "what must be text on one line", id="kind a list"),
        pytest.param(edited(value="ready"), "value must be drain or maint", id="ready"),
        pytest.param(edited(value=["drain"]), "value must be drain or maint", id="admin a list"),
        pytest.param(edited(what="weight"), "value must be a weight, a whole number", id="weight a word"),
        pytest.param(edited(what="weight", value=True), "value must be a weight, a whole number", id="weight true"),
        pytest.param(edited(what="weight", value=1.5), "value must be a weight, a whole number", id="weight 1.5"),
        pytest.param(edited(what="weight", value=10**4000), "weight: a number of many digits", id="weight without end"),
        pytest.param(edited(what="added", value=None), "value must be a weight, a whole number", id="added without"),
        pytest.param(edited(what="removed", value=1), "value must be null", id="removed with a value"),
        pytest.param(edited(who="\x1b[2J"), "who must be text on one line", id="who clears the screen"),
        pytest.param(edited(reason="\ud800"), "reason must be text on one line", id="reason half a character"),
        pytest.param(edited(reason=None), "reason must be text on one line", id="reason null"),
        pytest.param(edited(when="now"), "when must be unix seconds", id="when a word"),
        pytest.param(edited(when=float("nan")), "when must be unix seconds", id="when not a number"),
        pytest.param(edited(when=-1), "when must be unix seconds", id="when before all time"),
        pytest.param(edited(until=float("inf")), "until must be unix seconds", id="until infinity"),
        pytest.param(edited(until=10**4000), "until must be unix seconds", id="until after all time"),
        pytest.param(edited(until=False), "until must be unix seconds", id="until false"),
        pytest.param(GOOD, "this override is there twice", id="twice"),
    ],
)
def test_a_damaged_entry_is_named_and_left_out(box: Box, entry: object, why: str) -> None:
    other = wish("weight", 5, "web02")
    box.write(GOOD, entry, other.data())
    overrides = box.start()
    assert overrides.all() == [wish("admin", "drain"), other]
    (event,) = box.told.events
    head, line = event.split("\n")
    assert head == "error operator: 1 of 3 overrides on disk cannot be used and are dropped"
    assert f": {why}" in line
    assert line.startswith(json.dumps(entry)[:50])
    assert line.isprintable()


def test_many_damaged_entries_are_one_event(box: Box) -> None:
    box.write(*range(1000))
    assert box.start().all() == []
    (event,) = box.told.events
    assert event.splitlines() == [
        "error operator: 1000 of 1000 overrides on disk cannot be used and are dropped",
        *(f"{number}: not an object" for number in range(5)),
        "and 995 more",
    ]


def test_a_document_of_another_shape_gives_way_to_the_one_before(box: Box) -> None:
    overrides = box.start()
    overrides.set(wish("admin", "drain"))
    overrides.set(wish("weight", 5))
    box.file.write_text(json.dumps({"version": VERSION, "data": {"overrides": {"web01": "drain"}}}))
    assert kinds(box.start()) == ["admin"]
    assert "overrides.json is damaged: it has no list of overrides" in box.told.events[0]
