"""What an attempt that raised comes to."""

from __future__ import annotations

import msgspec
import pytest

from gpu_worker.outcomes import MAX_MESSAGE, Finish, Outcome, Release, Retry, outcome_of
from shared.errors import (
    AlgorithmError,
    AlgorithmRetry,
    BadInput,
    DeviceError,
    DeviceMissing,
    EngineDied,
    InputUnavailable,
    InvalidOutput,
    JobCanceled,
    JobTimedOut,
    ModelUnavailable,
    StoreError,
)
from shared.jobs import Evidence, State
from tests.unit.gpu_worker.claims import claim

ONCE_MORE = [StoreError("x"), DeviceError("x"), EngineDied("x"), ModelUnavailable("x"), OSError("a defect")]
AT_ONCE = [
    BadInput("x"),
    InputUnavailable("x"),
    AlgorithmError("x", exception="ValueError"),
    InvalidOutput("x"),
    JobTimedOut("x"),
]


def decided(error: Exception, *, attempt: int = 1, retry_on: list[str] | None = None) -> Outcome:
    return outcome_of(error, claim(attempt=attempt), Evidence(log="printed"), retry_on=retry_on or [])


@pytest.mark.parametrize("error", ONCE_MORE, ids=repr)
def test_what_may_pass_is_tried_again_until_the_attempts_are_spent(error: Exception) -> None:
    early, last = decided(error, attempt=1), decided(error, attempt=3)

    assert isinstance(early, Retry)
    assert 0 <= early.delay_s <= 300
    assert isinstance(last, Finish)
    assert last.ending.state is State.FAILED


@pytest.mark.parametrize("error", AT_ONCE, ids=repr)
def test_what_would_fail_again_fails_at_once(error: Exception) -> None:
    outcome = decided(error)

    assert isinstance(outcome, Finish)
    assert outcome.ending.state is State.FAILED


@pytest.mark.parametrize("attempt", [1, 3])
@pytest.mark.parametrize("error", [EngineDied("x", inside=False), DeviceMissing("x")], ids=repr)
def test_who_only_stood_in_line_or_met_no_device_pays_nothing(attempt: int, error: Exception) -> None:
    assert isinstance(decided(error, attempt=attempt), Release)


def test_an_algorithm_may_ask_for_another_try_and_say_when() -> None:
    outcome = decided(AlgorithmRetry("warming up", after_s=7.5))

    assert isinstance(outcome, Retry)
    assert outcome.delay_s == 7.5


def test_a_model_names_the_exceptions_that_deserve_another_try() -> None:
    error = AlgorithmError("slow disk", exception="TimeoutError")

    assert isinstance(decided(error, retry_on=["TimeoutError"]), Retry)
    assert isinstance(decided(error, retry_on=["OSError"]), Finish)


def test_a_canceled_run_ends_canceled_whatever_the_attempts() -> None:
    outcome = decided(JobCanceled("x"), attempt=3)

    assert isinstance(outcome, Finish)
    assert outcome.ending.state is State.CANCELED


def test_the_evidence_is_json_that_postgresql_takes() -> None:
    error = AlgorithmError("bad\0byte" + "x" * 9000, exception="ValueError", traceback="File\0…")

    outcome = decided(error)

    assert isinstance(outcome, Finish)
    evidence = outcome.ending.evidence
    assert evidence.log == "printed"
    assert evidence.error is not None
    assert "\0" not in msgspec.json.encode(evidence.error).decode()
    assert len(evidence.error["message"]) == MAX_MESSAGE
    assert evidence.error["type"] == "ValueError"
    assert evidence.error["traceback"] == "File\N{REPLACEMENT CHARACTER}…"


def test_a_message_no_utf8_can_hold_is_still_told() -> None:
    outcome = decided(AlgorithmError("caf\udce9", exception="ValueError"))

    assert isinstance(outcome, Finish)
    assert outcome.ending.evidence.error is not None
    assert outcome.ending.evidence.error["message"] == "caf?"


def test_a_private_class_is_told_as_the_public_one_that_it_is() -> None:
    class _AbsentError(InputUnavailable): ...

    outcome = decided(_AbsentError("s3://bucket/x does not exist"))

    assert isinstance(outcome, Finish)
    assert outcome.ending.evidence.error is not None
    assert outcome.ending.evidence.error["type"] == "InputUnavailable"


def test_a_defect_of_ours_shows_where_it_is() -> None:
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError as error:
        outcome = decided(error, attempt=3)

    assert isinstance(outcome, Finish)
    evidence = outcome.ending.evidence.error
    assert evidence is not None
    assert (evidence["code"], evidence["type"]) == ("internal_error", "ZeroDivisionError")
    assert "test_outcomes" in evidence["traceback"]
