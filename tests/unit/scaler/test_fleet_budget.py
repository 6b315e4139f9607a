"""How much may be changed: windows that slide, and an alarm when they are full."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scaler.fleet.budget import HOUR_S, MINUTE_S, Budget
from tests.fakes.clock import FakeClock


def test_the_rest_is_refused_and_told() -> None:
    clock = FakeClock()
    budget = Budget("launches", {MINUTE_S: 3, HOUR_S: 5}, clock)

    assert budget.take(2) == 2
    assert budget.alarm is None
    assert budget.take(2) == 1
    assert budget.alarm == "more launches were asked for than are allowed (3 in 60 s, 5 in 3600 s)"

    clock.advance(61)
    assert budget.take(1) == 1
    assert budget.alarm is None
    clock.advance(61)
    assert budget.take(9) == 1
    clock.advance(HOUR_S)
    assert budget.take(3) == 3


def test_what_did_not_happen_is_given_back() -> None:
    budget = Budget("launches", {MINUTE_S: 3}, FakeClock())

    budget.give_back(budget.reserve(3), 2)

    assert budget.take(3) == 2


def test_what_one_queue_gives_back_is_not_what_another_was_granted_meanwhile() -> None:
    clock = FakeClock()
    budget = Budget("launches", {MINUTE_S: 3}, clock)
    slow = budget.reserve(2)
    clock.advance(50)
    assert budget.take(1) == 1

    budget.give_back(slow, 2)
    clock.advance(15)

    assert budget.take(3) == 2


def test_a_restart_is_no_new_budget() -> None:
    clock = FakeClock()
    budget = Budget("launches", {MINUTE_S: 10, HOUR_S: 5}, clock)

    budget.recall([30.0, 3000.0, 3700.0, 4000.0])
    assert budget.take(9) == 3
    clock.advance(601)
    assert budget.take(9) == 1


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10)), max_size=40))
def test_no_minute_ever_has_more(steps: list[tuple[float, int]]) -> None:
    clock = FakeClock()
    budget = Budget("launches", {MINUTE_S: 7, HOUR_S: 20}, clock)
    done: list[float] = []
    for passed_s, wanted in steps:
        clock.advance(passed_s)
        done += [clock.now()] * budget.take(wanted)
        for within_s, most in ((MINUTE_S, 7), (HOUR_S, 20)):
            assert sum(clock.now() - at < within_s for at in done) <= most
