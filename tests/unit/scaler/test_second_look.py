"""Nobody is ended for what one look says."""

from __future__ import annotations

import pytest

from scaler.second_look import SecondLook
from scaler.snapshot import UNKNOWN, Decision, Worker, WorkerState

OVER = Decision(want=1, have=1, terminate=("a",), reason="over")
HELD = Decision(want=None, have=1, reason="hold")


def ended(given: SecondLook, now: float) -> tuple[str, ...]:
    return given.confirm(OVER, (), now).terminate


def test_a_machine_is_ended_when_it_was_over_for_three_heartbeats() -> None:
    given = SecondLook(stale_s=90)

    early = given.confirm(OVER, (), 0)
    assert (early.terminate, early.reason) == ((), "over; not ended before another look: a")
    assert ended(given, 29) == ()
    assert given.confirm(OVER, (), 30) == OVER


def test_a_goodbye_needs_no_proof() -> None:
    left = Worker(id="a", state=WorkerState.GONE, since_s=40)

    assert SecondLook(stale_s=90).confirm(OVER, (left,), 0) == OVER


@pytest.mark.parametrize("between", [HELD, Decision(want=1, have=1, reason="")])
def test_whoever_was_not_over_in_between_is_looked_at_anew(between: Decision) -> None:
    given = SecondLook(stale_s=90)
    ended(given, 0)
    given.confirm(between, UNKNOWN, 20)

    assert ended(given, 40) == ()
    assert ended(given, 70) == ("a",)


def test_what_was_seen_before_a_gap_proves_nothing() -> None:
    given = SecondLook(stale_s=90)
    ended(given, 0)

    assert ended(given, 7200) == ()  # it stood by, or the database was away
    assert ended(given, 7230) == ("a",)


def test_looks_that_are_far_apart_by_the_settings_are_no_gap() -> None:
    given = SecondLook(stale_s=900)
    ended(given, 0)

    assert ended(given, 300) == ("a",)
