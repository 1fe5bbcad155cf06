"""From results to verdicts."""

from __future__ import annotations

import pytest

from nlb.balance.health import Health, may_eject
from nlb.balance.target import Target
from nlb.model.address import Address

STATES = {"?": "initial", "+": "healthy", "-": "unhealthy"}


def after(seen: str, rise: int = 2, fall: int = 3) -> Health:
    """The health after results: + passed, - failed, ! failed in traffic and may not eject."""
    health = Health(rise, fall)
    for second, result in enumerate(seen):
        health.observe(result == "+", float(second), may_eject=result != "!")
    return health


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        ("", "?"),
        ("+", "+"),
        ("-", "-"),
        ("+-", "+"),
        ("+--", "+"),
        ("+---", "-"),
        ("+--+-", "+"),
        ("+--+--", "+"),
        ("+--+---", "-"),
        ("-+", "-"),
        ("-++", "+"),
        ("-+-+", "-"),
        ("-+-++", "+"),
        ("-++-", "+"),
        ("+---+", "-"),
        ("+---++", "+"),
        ("+---++---", "-"),
    ],
)
def test_two_passes_bring_a_target_in_and_three_failures_take_it_out(seen: str, state: str) -> None:
    assert after(seen).state == STATES[state]


@pytest.mark.parametrize(
    ("rise", "fall", "seen", "state"),
    [
        (1, 1, "+-", "-"),
        (1, 1, "-+", "+"),
        (5, 1, "-++++", "-"),
        (5, 1, "-+++++", "+"),
        (1, 4, "+---", "+"),
        (1, 4, "+----", "-"),
    ],
)
def test_other_thresholds(rise: int, fall: int, seen: str, state: str) -> None:
    assert after(seen, rise, fall).state == STATES[state]


@pytest.mark.parametrize(
    ("seen", "flips"),
    [("+", "y"), ("-", "y"), ("++", "yn"), ("+---", "ynny"), ("+----", "ynnyn"), ("+---++", "ynnyny")],
)
def test_observe_tells_of_each_flip_once(seen: str, flips: str) -> None:
    health = Health(2, 3)
    assert "".join("y" if health.observe(result == "+", 0) else "n" for result in seen) == flips


@pytest.mark.parametrize(
    ("seen", "changing"),
    [
        ("", False),
        ("+", False),
        ("++", False),
        ("+-", True),
        ("+--", True),
        ("+---", False),
        ("+--+", False),
        ("-", False),
        ("--", False),
        ("-+", True),
        ("-++", False),
        ("-+-", False),
    ],
)
def test_changing_is_when_the_latest_results_speak_against_the_state(seen: str, changing: bool) -> None:
    assert after(seen).changing is changing


@pytest.mark.parametrize(
    ("seen", "passes", "failures"), [("", 0, 0), ("+++", 3, 0), ("++--", 0, 2), ("--+", 1, 0), ("+!-", 0, 2)]
)
def test_results_in_a_row_are_counted(seen: str, passes: int, failures: int) -> None:
    health = after(seen)
    assert (health.passes, health.failures) == (passes, failures)


def test_it_remembers_when_the_state_began() -> None:
    assert after("+---").since == 3.0
    assert after("+-----").since == 3.0


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        pytest.param("+!!!!", "+", id="traffic alone does not take it out"),
        pytest.param("+!!-", "-", id="but counts, and the probe decides"),
        pytest.param("+!!!!!-", "-", id="however many there were"),
        pytest.param("+!!+--", "+", id="a pass wipes them out"),
        pytest.param("!", "?", id="no first verdict by traffic"),
        pytest.param("!-", "-", id="a probe gives it"),
        pytest.param("-+!+", "-", id="a failure breaks the run of passes"),
    ],
)
def test_failures_that_may_not_eject(seen: str, state: str) -> None:
    assert after(seen).state == STATES[state]


def group(health: str) -> list[Target]:
    """Targets by their health; D is healthy and in drain."""
    targets = []
    for number, mark in enumerate(health):
        target = Target(number, f"web{number}", "web", Address("10.0.0.1", 3000 + number))
        target.set_health(STATES.get(mark, "healthy"), "", 0)
        target.set_admin("drain" if mark == "D" else "ready", "", 0)
        targets.append(target)
    return targets


@pytest.mark.parametrize(
    ("health", "max_ejected", "allowed"),
    [
        pytest.param("+", 100, False, id="the only one"),
        pytest.param("++", 50, True, id="half of two"),
        pytest.param("+-", 100, False, id="the last healthy one"),
        pytest.param("+D", 100, False, id="the last usable one, though another is healthy"),
        pytest.param("+?", 100, False, id="nobody knows about the other"),
        pytest.param("+++", 50, True, id="the first of three"),
        pytest.param("+-+", 50, False, id="the second of three would be two thirds"),
        pytest.param("++--", 50, False, id="what probes took out counts"),
        pytest.param("++++", 25, True, id="exactly the limit"),
        pytest.param("++++", 24.9, False, id="just above it"),
        pytest.param("++++", 0, False, id="never"),
    ],
)
def test_traffic_may_eject_the_first_target(health: str, max_ejected: float, allowed: bool) -> None:
    targets = group(health)
    assert may_eject(targets, targets[0], max_ejected) is allowed


def test_a_target_that_is_out_anyway_does_not_count() -> None:
    """Of two that the operator wants used, one may be out, however many are in maint."""
    targets = group("++DDDD")
    assert may_eject(targets, targets[0], 50)
    targets = group("++-DDD")
    assert not may_eject(targets, targets[0], 50)


@pytest.mark.parametrize(
    ("seen", "failures", "falls"),
    [("", 1, True), ("+", 2, False), ("+", 3, True), ("+-", 1, False), ("+--", 1, True), ("+---", 9, False)],
)
def test_how_many_failures_would_take_it_out(seen: str, failures: int, falls: bool) -> None:
    assert after(seen).falls_after(failures) is falls


# --- flaps


class Flapping:
    """A target under its clock: `down` and `up` are results enough for a flip, after some seconds."""

    def __init__(self, limit: int = 5, window: float = 300.0) -> None:
        self.health = Health(2, 3, limit, window)
        self.now = 1000.0
        self.health.observe(True, self.now)

    def down(self, after: float = 1.0) -> None:
        self.now += after
        for _ in range(3):
            self.health.observe(False, self.now)
        assert self.health.state == "unhealthy"

    def up(self, after: float = 1.0) -> bool:
        """Whether it is healthy again."""
        self.now += after
        for _ in range(2):
            self.health.observe(True, self.now)
        return self.health.state == "healthy"

    def flap(self, times: int, length: float = 1.0) -> None:
        for _ in range(times):
            self.down(length)
            assert self.up(length)


def test_two_failures_within_the_window_are_forgiven() -> None:
    it = Flapping()
    it.flap(2)
    assert it.health.flips(it.now) == 4
    assert not it.health.held_until


def test_the_third_begins_a_hold_of_a_tenth_of_the_window() -> None:
    it = Flapping()
    it.flap(2)
    it.down()
    assert it.health.hold == 30
    assert not it.up(29.9)
    assert it.up(0.1)


def test_a_hold_needs_a_pass_after_it_and_counts_those_before() -> None:
    it = Flapping()
    it.flap(2)
    it.down()
    assert not it.up()
    it.now += 60
    assert it.health.state == "unhealthy"
    assert it.health.observe(True, it.now)


def test_a_failure_at_the_end_of_a_hold_is_as_any_other() -> None:
    it = Flapping()
    it.flap(2)
    it.down()
    it.now += 60
    it.health.observe(False, it.now)
    assert not it.health.held_until
    assert it.up()


def test_while_it_is_held_there_is_no_hurry() -> None:
    it = Flapping()
    it.flap(2)
    it.down()
    it.up()
    assert not it.health.changing
    it.health.release()
    assert it.health.changing


def test_each_further_failure_holds_it_twice_as_long_up_to_the_window() -> None:
    it = Flapping()
    it.flap(2)
    holds = []
    for _ in range(7):
        it.down()
        holds.append(it.health.hold)
        assert not it.up(it.health.hold - 0.1)
        assert it.up(0.2)
    assert holds == [30, 60, 120, 240, 300, 300, 300]


def test_a_whole_window_in_health_ends_the_suspicion() -> None:
    it = Flapping()
    it.flap(2)
    it.down()
    assert it.up(30)
    it.down(299)
    assert it.health.hold == 60  # one failure was enough
    assert it.up(60)
    it.down(300)
    assert not it.health.held_until
    assert it.up()


def test_slow_flips_are_none_of_our_business() -> None:
    it = Flapping()
    it.flap(20, length=76.0)  # four flips take 304 s
    assert not it.health.held_until


@pytest.mark.parametrize(("limit", "held"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (7, 4)])
def test_the_limit_says_which_failure_begins_a_hold(limit: int, held: int) -> None:
    """A hold begins with the first failure that is flip number `limit` or later; 0 never holds."""
    it = Flapping(limit)
    for failure in range(1, 8):
        it.down()
        if it.health.held_until:
            assert failure == held
            return
        it.up()
    assert held == 0


def test_a_released_one_comes_back_with_the_next_pass_and_stays_suspect() -> None:
    it = Flapping()
    it.flap(2)
    it.down()
    it.up()
    it.health.release()
    assert it.health.observe(True, it.now)
    it.down()
    assert it.health.hold == 60


def test_the_first_verdict_is_no_flip() -> None:
    health = Health(2, 3, 1, 300.0)
    health.observe(False, 1000.0)
    assert (health.state, health.held_until, health.flips(1000.0)) == ("unhealthy", 0, 0)


def test_only_flips_of_the_last_window_count() -> None:
    it = Flapping()
    it.flap(2, length=10)
    assert [it.health.flips(it.now + later) for later in (0, 265, 275, 285, 295, 305)] == [4, 4, 3, 2, 1, 0]
