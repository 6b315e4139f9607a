"""Which signs make which sentence, and which comes first."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.overview.health import MAX_FINDINGS, WELL, judge, seconds
from gateway.overview.signs import FailureSigns, QueueSigns, Signs, WorkerSigns


def queue(**more: Any) -> QueueSigns:
    return QueueSigns(**({"queue": "images"} | more))


WAITS = {"waiting": 12, "oldest_s": 42.0}
GOOD = {"rows_s": 0.02, "redis": True, "broker": True, "repaired": 0, "ended": 500}


@pytest.mark.parametrize(
    ("signs", "level", "code", "command"),
    [
        ({}, "ok", "well", None),
        (GOOD | {"failure_ratio": 0.0, "queues": [queue(ready=1, **WAITS)]}, "ok", "well", None),
        ({"broker": False}, "bad", "broker_away", "leveret doctor"),
        (
            {"queues": [queue(**WAITS)]},
            "bad",
            "no_worker",
            "LEVERET_WORKER_QUEUE=images python -m gpu_worker",
        ),
        ({"queues": [queue(scaled=True, **WAITS)]}, "bad", "no_worker", "leveret scaler explain images"),
        (
            {"queues": [queue(fleet_paused_by="ops/ann", scaled=True, **WAITS)]},
            "bad",
            "no_worker",
            "leveret scaler resume images",
        ),
        ({"queues": [queue(starting=1, **WAITS)]}, "ok", "well", None),
        ({"queues": [queue(waiting=0)]}, "ok", "well", None),
        (
            {"queues": [queue(paused_by="ops/ann", **WAITS)]},
            "warn",
            "queue_paused",
            "leveret queues resume images",
        ),
        (
            {"queues": [queue(ready=1, fleet_paused_by="ops/ann", **WAITS)]},
            "warn",
            "scaler_paused",
            "leveret scaler resume images",
        ),
        (
            {"queues": [queue(ready=2, scaled=True, waiting=9, oldest_s=301.0)]},
            "warn",
            "backlog",
            "leveret scaler explain images",
        ),
        ({"queues": [queue(ready=2, waiting=9, oldest_s=301.0)]}, "warn", "backlog", None),
        (
            {"silent": [WorkerSigns(id="w1", silent_s=42.0, jobs=1)]},
            "bad",
            "worker_silent",
            "leveret workers",
        ),
        ({"silent": [WorkerSigns(id="w1", silent_s=42.0)]}, "ok", "well", None),
        ({"redis": False}, "warn", "redis_away", "leveret doctor"),
        ({"repaired": 3}, "warn", "relay_repairing", "leveret workers"),
        (
            {"failure_ratio": 0.2, "failure_ratio_before": 0.01, "ended": 100},
            "warn",
            "failures_growing",
            None,
        ),
        ({"failure_ratio": 0.5, "failure_ratio_before": 0.01, "ended": 100}, "bad", "failures_growing", None),
        ({"failure_ratio": 0.2, "ended": 100}, "warn", "failures_growing", None),
        ({"failure_ratio": 0.2, "failure_ratio_before": 0.15, "ended": 100}, "ok", "well", None),
        ({"failure_ratio": 0.4, "failure_ratio_before": 0.0, "ended": 19}, "ok", "well", None),
        ({"failure_ratio": 0.5, "failure_ratio_before": 0.0, "ended": 5}, "bad", "failures_growing", None),
        ({"failure_ratio": 1.0, "failure_ratio_before": 0.0, "ended": 4}, "ok", "well", None),
        ({"failure_ratio": 1.0, "ended": 5, "window_s": 600.0}, "bad", "failures_growing", None),
        ({"failure_ratio": 0.3, "ended": 20, "window_s": 600.0}, "ok", "well", None),
        ({"retried": 5, "ended": 20}, "warn", "attempts_repeated", None),
        ({"retried": 5, "ended": 21}, "ok", "well", None),
        ({"retried": 4, "ended": 0}, "ok", "well", None),
        ({"failure_ratio": 1.0, "failure_ratio_before": 1.0, "ended": 100}, "bad", "failures_growing", None),
        ({"failure_ratio": 0.04, "failure_ratio_before": 0.0, "ended": 100}, "ok", "well", None),
    ],
)
def test_signs_make_a_sentence(signs: dict[str, Any], level: str, code: str, command: str | None) -> None:
    first = judge(Signs(**signs))[0]
    assert (first.level, first.code, first.command) == (level, code, command)
    assert first.sentence.endswith(".")
    assert first.cause.endswith(".")


def test_growing_failures_are_told_with_what_fails_where_and_the_command_that_lists_them() -> None:
    top = FailureSigns(
        fingerprint="9f86d081884c7d65",
        code="algorithm_error",
        model="slowpoke",
        count=130,
        message="ValueError:\n out of paper",
        command="leveret jobs --state failed --fingerprint 9f86d081884c7d65",
    )
    [finding] = judge(Signs(failure_ratio=0.314, failure_ratio_before=0.0, ended=414, failing=top))
    assert finding.sentence == (
        "31.4 % of the jobs that ended in the last minute failed, 130 by algorithm_error in slowpoke."
    )
    assert finding.cause == "ValueError: out of paper. In the ten minutes before it was 0 %."
    assert (finding.page, finding.subject, finding.command) == ("failures", top.fingerprint, top.command)


def test_failures_of_ten_minutes_are_told_as_such() -> None:
    [finding] = judge(Signs(failure_ratio=1.0, ended=6, window_s=600.0))
    assert finding.sentence == "100 % of the jobs that ended in the last 10 minutes failed."
    assert finding.cause == "6 jobs ended in this time."


def test_attempts_that_are_repeated_are_told_with_what_most_of_them_died_of() -> None:
    [finding] = judge(Signs(retried=12, ended=12, repeating="engine_died in cutout", window_s=60.0))
    assert finding.sentence == "12 of the 24 attempts that ended in the last minute failed and are repeated."
    assert finding.cause.startswith("In the last hour most by engine_died in cutout.")
    assert (finding.level, finding.page) == ("warn", "models")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"fleet_max": 2}, "; 2 workers there cannot keep up, and an operator's order allows 2 at most."),
        ({"fleet_max": 3}, "; 2 workers there cannot keep up."),
        ({}, "; 2 workers there cannot keep up."),
    ],
)
def test_a_long_wait_names_the_order_that_allows_no_more_workers(more: dict[str, int], says: str) -> None:
    [finding] = judge(Signs(queues=[queue(ready=2, scaled=True, waiting=9, oldest_s=301.0, **more)]))
    assert finding.cause.endswith(says)


def test_a_slow_postgresql_is_told_with_how_slow() -> None:
    [finding] = judge(Signs(rows_s=2.5))
    assert (finding.code, finding.sentence) == (
        "postgresql_slow",
        "PostgreSQL took 2.5 s to answer this page.",
    )


def test_the_worst_comes_first_and_what_concerns_most_jobs_before_the_rest() -> None:
    signs = Signs(
        redis=False,
        queues=[
            queue(queue="a", waiting=1),
            queue(queue="b", waiting=70),
            queue(queue="c", waiting=5, paused_by="ops/ann"),
        ],
    )
    assert [(finding.code, finding.subject) for finding in judge(signs)] == [
        ("no_worker", "b"),
        ("no_worker", "a"),
        ("redis_away", None),
        ("queue_paused", "c"),
    ]


def test_there_are_never_more_findings_than_anybody_reads() -> None:
    signs = Signs(queues=[queue(queue=f"q{number}", waiting=1) for number in range(50)])
    assert len(judge(signs)) == MAX_FINDINGS


def test_what_is_not_known_is_no_finding() -> None:
    assert judge(Signs()) == [WELL]


def test_one_job_waits_and_two_wait() -> None:
    for count, words in ((1, "1 job waits in images"), (2, "2 jobs wait in images")):
        assert judge(Signs(queues=[queue(waiting=count)]))[0].sentence.startswith(words)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "—"),
        (0.1234, "0.123 s"),
        (42.0, "42 s"),
        (119.0, "119 s"),
        (420.0, "7 min"),
        (9000.0, "2 h"),
        (200_000.0, "2 d"),
    ],
)
def test_a_duration_has_one_unit(value: float | None, words: str) -> None:
    assert seconds(value) == words
