"""How long a model is refused whose load ran out of time. No process."""

from __future__ import annotations

import pytest

from gpu_worker.engine.overdue import BASE_S, CAP_S, Overdue
from shared.errors import LoadOverdue, ModelUnavailable


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused_s(overdue: Overdue, clock: Clock, limit_s: float = 180) -> float:
    """Let the load of a model run out of time: for how long it is refused then."""
    overdue.add("slow@1", limit_s)
    began = clock.now
    while "slow@1" in overdue:
        clock.now += 60
    return clock.now - began


def test_each_failure_in_a_row_doubles_the_wait_up_to_an_hour() -> None:
    clock = Clock()
    overdue = Overdue(clock)
    waits = [refused_s(overdue, clock) for _ in range(6)]
    assert waits == [BASE_S, 2 * BASE_S, 4 * BASE_S, 8 * BASE_S, CAP_S, CAP_S]


def test_no_wait_is_shorter_than_the_load_that_it_spares() -> None:
    clock = Clock()
    assert refused_s(Overdue(clock), clock, limit_s=7200) == 7200


def test_engines_that_tried_at_the_same_time_count_once() -> None:
    clock = Clock()
    overdue = Overdue(clock)
    overdue.add("slow@1", 180)
    assert refused_s(overdue, clock) == BASE_S


def test_a_load_that_ends_well_begins_anew() -> None:
    clock = Clock()
    overdue = Overdue(clock)
    refused_s(overdue, clock)
    overdue.drop("slow@1")
    assert refused_s(overdue, clock) == BASE_S


def test_the_refusal_says_why_since_when_and_until_when() -> None:
    clock = Clock()
    overdue = Overdue(clock)
    overdue.check("slow@1")
    refused_s(overdue, clock)
    overdue.check("slow@1")
    overdue.add("slow@1", 180)
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    why = "slow@1 did not load within 180 s, 2 times in a row"
    said = f"^{why}; it is refused since {moment} and tried again from {moment} on$"
    with pytest.raises(LoadOverdue, match=said) as refusal:
        overdue.check("slow@1")
    overdue.check("other@1")
    assert isinstance(refusal.value, ModelUnavailable)
    assert (refusal.value.code, refusal.value.retryable) == ("model_unavailable", True)
