"""Who has room: full targets are found when they are asked, and left alone until somebody leaves."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nlb.balance.room import Room
from nlb.balance.target import Target
from tests.unit.balance.box import make


def limited(*limits: int | None, workers: int = 1) -> tuple[Target, ...]:
    targets = make([1] * len(limits), workers)
    for target, limit in zip(targets, limits, strict=True):
        target.max_connections = limit
    return targets


def take(target: Target, sessions: int = 1, worker: int = 0) -> None:
    target.rows[worker][target.id] += sessions  # type: ignore[index]


def names(found: list[Target]) -> str:
    return "".join(target.name for target in found)


def test_a_target_has_room_up_to_its_limit() -> None:
    (a,) = limited(2)
    room = Room([a])
    for _ in range(2):
        assert room.has(a)
        take(a)
    assert not room.has(a)


def test_sessions_of_all_workers_count() -> None:
    (a,) = limited(2, workers=3)
    take(a, worker=1)
    take(a, worker=2)
    assert not Room([a]).has(a)


def test_without_a_limit_there_is_always_room() -> None:
    (a,) = limited(None)
    take(a, 10**6)
    assert Room([a]).has(a)


def test_a_full_target_has_room_again_when_a_session_leaves_it() -> None:
    (a,) = limited(1)
    room = Room([a])
    take(a)
    assert not room.has(a)
    take(a, -1)
    assert not room.has(a), "nobody said so yet"
    assert room.left(a)
    assert room.has(a)


def test_a_session_too_many_leaves_no_room_when_it_ends() -> None:
    """Two workers took the last place at the same time."""
    (a,) = limited(1)
    room = Room([a])
    take(a, 2)
    assert not room.has(a)
    take(a, -1)
    assert not room.left(a)
    take(a, -1)
    assert room.left(a)


def test_leaving_a_target_that_was_not_full_makes_no_room() -> None:
    a, stranger = limited(2, 2)
    room = Room([a])
    assert not room.left(a)
    assert not room.left(stranger)


def test_a_limit_that_was_taken_away_leaves_room() -> None:
    (a,) = limited(1)
    room = Room([a])
    take(a)
    assert not room.has(a)
    a.max_connections = None
    assert room.look(10) == [a]


def test_any_takes_turns_among_those_with_room() -> None:
    targets = limited(1, None, 1, None)
    a, c = targets[::2]
    room = Room(targets)
    take(a)
    take(c)
    assert names([room.any(()) or a for _ in range(4)]) == "dbdb"


def test_any_passes_over_those_who_were_tried() -> None:
    a, b, c = targets = limited(5, 5, 5)
    room = Room(targets)
    assert room.any((a, b)) is c
    assert room.any(targets) is None


def test_lacking_room_is_another_matter_than_having_been_tried() -> None:
    a, b = targets = limited(1, 1)
    room = Room(targets)
    take(a)
    assert not room.has(a)
    assert room.lacking((b,))
    assert not room.lacking((a, b))


def test_a_look_finds_where_sessions_of_other_workers_left() -> None:
    a, b = targets = limited(1, 1, workers=2)
    room = Room(targets)
    for target in targets:
        take(target, worker=1)
        assert not room.has(target)
    take(b, -1, worker=1)
    assert room.look(10) == [b]
    assert (room.has(a), room.has(b)) == (False, True)


def test_looks_go_round_when_there_are_more_than_one_look_asks() -> None:
    targets = limited(*[1] * 5)
    room = Room(targets)
    for target in targets:
        take(target)
        assert not room.has(target)
    take(targets[4], -1)
    assert [names(room.look(2)) for _ in range(3)] == ["", "", "e"]


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(1, 3)), min_size=1, max_size=6),
    st.lists(
        st.tuples(st.sampled_from(["has", "any", "left", "look"]), st.integers(0, 5), st.integers(0, 5)), max_size=80
    ),
)
def test_it_always_finds_room_if_there_is_some_and_never_gives_too_much(
    limits: list[int | None], steps: list[tuple[str, int, int]]
) -> None:
    targets = limited(*limits)
    room = Room(targets)

    def free(target: Target) -> bool:
        return target.max_connections is None or target.sessions < target.max_connections

    for what, number, other in steps:
        target = targets[number % len(targets)]
        tried = (targets[other % len(targets)],)
        if what == "has" and room.has(target):
            assert free(target)
            take(target)
        elif what == "any":
            found = room.any(tried)
            assert (found is not None) == any(free(target) and target not in tried for target in targets)
            if found:
                assert free(found)
                assert found not in tried
                take(found)
        elif what == "left" and target.sessions:
            take(target, -1)
            room.left(target)
        elif what == "look":
            room.look(2)
