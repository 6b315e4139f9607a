"""How long a job waits within its worker, by a clock of the test's own."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from gpu_worker import turn as turn_module
from gpu_worker.turn import Turn


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turn_module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def came_back(clock: Clock, *, before: float, within: float) -> Turn:
    turn = Turn()
    turn.wait()
    clock.spend(before)
    turn.begin()
    clock.spend(within)
    turn.end()
    return turn


def test_the_stages_and_the_turn_are_the_whole_time_in_the_engine(clock: Clock) -> None:
    turn = came_back(clock, before=135.0, within=47.0)
    stages = {"load_s": 1.0, "prepare_s": 0.5, "infer_s": 43.0, "finish_s": 0.5}
    assert turn.beside(stages) + sum(stages.values()) == pytest.approx(182.0)


def test_of_a_run_that_failed_it_is_the_time_until_it_began_first(clock: Clock) -> None:
    turn = Turn()
    turn.wait()
    clock.spend(135.0)
    turn.begin()
    clock.spend(20.0)
    turn.begin()  # in another process, say
    clock.spend(5.0)
    assert turn.end() == 135.0


def test_one_that_never_began_has_waited_all_the_time(clock: Clock) -> None:
    turn = Turn()
    turn.wait()
    clock.spend(7.0)
    assert turn.end() == 7.0


@pytest.mark.parametrize("forged", [math.nan, math.inf, -math.inf, 1e300, -5.0])
def test_forged_stages_make_no_turn_that_is_longer_than_the_run(clock: Clock, forged: float) -> None:
    turn = came_back(clock, before=1.0, within=2.0)
    assert 0.0 <= turn.beside({"infer_s": forged, "turn_s": 99.0}) <= 3.0
