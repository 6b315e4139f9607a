"""Why a run fails although no column says so: too little work, what stayed unknown, what processes logged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.chaos.checker import Verdict
from tests.chaos.complaints import complaints
from tests.chaos.plan import Appointment, Plan, plan_for
from tests.chaos.report import shortcomings
from tests.chaos.scenarios import NOTICED_BY, SCENARIOS
from tests.chaos.strikes import Tally

PLAN = Plan(seconds=180, appointments=tuple(Appointment(float(at), "cut") for at in range(3)), floor=5000)
VERDICT = Verdict({"accepted": 5000, "unknown": 0}, {"lost": []})
FAULTS = {"cut": Tally(times=3, idle=0, jobs=9, hits=9, recovery_s=1.0)}


def failures(
    plan: Plan = PLAN, *, overlap: float = 0.9, idle: int = 0, times: int = 3, logged: tuple[str, ...] = (),
    **counts: int,
) -> list[str]:  # fmt: skip
    verdict = Verdict({**VERDICT.counts, **counts}, VERDICT.bold)
    tally = replace(FAULTS["cut"], idle=idle, times=times)
    return list(shortcomings(plan, verdict, {"cut": tally}, overlap, logged))


def test_a_run_with_nothing_wrong_passes() -> None:
    assert failures() == []


def test_too_few_accepted_jobs_fail_a_run() -> None:
    assert failures(accepted=4999) == ["only 4999 jobs were accepted, not 5000"]


def test_what_stays_unknown_fails_a_run() -> None:
    assert failures(unknown=1) == ["1 clients still do not know whether they have a job"]


def test_what_a_process_logged_fails_a_run() -> None:
    assert failures(logged=("worker-1: Traceback",)) == ["logged: worker-1: Traceback"]


def test_a_fault_without_jobs_in_flight_fails_a_run() -> None:
    assert failures(idle=1) == ["cut struck jobs in flight 2 times, not 3", "cut found no victim 1 times"]


def test_too_few_jobs_under_a_fault_fail_a_run() -> None:
    assert failures(overlap=0.1) == ["only 10% of the jobs met a fault"]


def test_a_column_that_is_not_zero_fails_a_run() -> None:
    verdict = Verdict(VERDICT.counts, {"lost": ["job-1"]})
    assert list(shortcomings(PLAN, verdict, FAULTS, 0.9, ())) == ["lost: 1"]


def test_the_floor_of_a_whole_run_is_the_published_one_and_of_a_short_one_low() -> None:
    assert plan_for("seed", 3).floor == 5000
    assert plan_for("seed", 6).floor == 10_000
    assert plan_for("seed", 1).floor == 500
    assert all(plan.floor for plan in SCENARIOS.values())


def test_every_scenario_has_its_column() -> None:
    assert set(SCENARIOS) == set(NOTICED_BY)


def line(event: str, *, level: str = "error", exception: str = "Traceback …\nValueError: no") -> str:
    return json.dumps({"event": event, "level": level, "exception": exception})


@pytest.mark.parametrize(
    "logged",
    [
        line("Exception in callback EngineProcess._flush"),
        line("it ended", level="critical"),
        line("Task exception was never retrieved\nfuture: <Task coro=<Relay.run() at /srv/relay.py:9>>"),
        line(
            "Task exception was never retrieved\nfuture: <Task coro=<Feed.run() at /srv/gateway/feed.py:9>>",
            exception='Traceback …\n  File "/lib/asyncpg/connection.py", line 1',
        ),
        "Traceback (most recent call last):",
        '{"event": "cut off", "exception"',
    ],
)  # fmt: skip
def test_a_defect_in_a_log_is_found(logged: str) -> None:
    assert list(complaints(['{"event": "fine", "level": "info"}', logged])) == [logged]


@pytest.mark.parametrize(
    "logged",
    [
        line("job.retried", level="info"),
        line("relay.failed", level="warning"),
        line(
            "Task exception was never retrieved\n"
            "future: <Task finished coro=<Connection._cancel() at /lib/asyncpg/connection.py:1678>>"
        ),
    ],
)
def test_what_is_known_to_be_harmless_is_forgiven(logged: str) -> None:
    assert list(complaints([logged])) == []
