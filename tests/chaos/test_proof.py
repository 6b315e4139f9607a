"""A sabotage that nobody notices, or a control that is not clean, fails the proof."""

from __future__ import annotations

import pytest

from tests.chaos import proof
from tests.chaos.checker import Verdict
from tests.chaos.proof import Trial, table
from tests.chaos.scenarios import NOTICED_BY, SCENARIOS

COUNTS = {"accepted": 300, "unknown": 0}
CLEAN = Verdict(COUNTS, dict.fromkeys(NOTICED_BY.values(), ()))


def without(column: str) -> Verdict:
    return Verdict(COUNTS, {**CLEAN.bold, column: ["job-1", "job-2"]})


@pytest.mark.parametrize("promise", SCENARIOS)
def test_what_shows_in_its_own_column_is_noticed(promise: str) -> None:
    trial = Trial(promise, without(NOTICED_BY[promise]), CLEAN, [], 60.0)
    assert (trial.noticed, trial.passed) == (2, True)
    assert table([trial])[-1].split() == [promise, "300", *NOTICED_BY[promise].split(), "2", "all", "zero"]


def test_what_shows_in_another_column_is_not() -> None:
    trial = Trial("fence", without("lost"), CLEAN, [], 60.0)
    assert not trial.passed
    assert "NOT NOTICED" in table([trial])[-1]


def test_a_control_that_is_not_clean_fails() -> None:
    trial = Trial("relay", without("lost"), without("lost"), ["lost: 2"], 60.0)
    assert not trial.passed
    assert "NOT ZERO" in "\n".join(table([trial]))


def test_an_unknown_promise_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert proof.main(["fences"]) == 2
    assert "no such promise: fences" in capsys.readouterr().out
