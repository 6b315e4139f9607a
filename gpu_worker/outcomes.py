"""What becomes of an attempt: a closed set, decided by pure functions and applied by the worker."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

from shared.backoff import full_jitter
from shared.cleaning import clean_text
from shared.errors import AlgorithmError, AlgorithmRetry, DeviceMissing, EngineDied, JobCanceled, LeveretError
from shared.jobs import Claim, Ending, Evidence, State

MAX_MESSAGE = 4000


@dataclass(frozen=True, slots=True)
class Finish:
    """The job has ended."""

    ending: Ending


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt, later."""

    evidence: Evidence
    delay_s: float


@dataclass(frozen=True, slots=True)
class Release:
    """Given back unspent: this worker has to go, or its engines go on dying under others."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Discard:
    """Somebody else owns the job: nothing of this attempt counts."""


Outcome = Finish | Retry | Release | Discard


def unstorable(outcome: Finish | Retry | Release, refused: Exception) -> Finish:
    """The end of a job whose result or evidence the store refuses as data: it would refuse it every time."""
    error = {
        "code": LeveretError.code,
        "message": clean_text(f"what the attempt left cannot be stored: {refused}")[:MAX_MESSAGE],
        "type": type(refused).__name__,
        "retryable": False,
    }
    timings = outcome.ending.evidence.timings if isinstance(outcome, Finish) else outcome.evidence.timings
    return Finish(Ending(state=State.FAILED, evidence=Evidence(error=error, timings=timings)))


def outcome_of(error: Exception, claim: Claim, evidence: Evidence, *, retry_on: list[str]) -> Outcome:
    """What an attempt that raised comes to.

    Args:
        error: What ended it. An error outside the tree is a defect of the worker and treated as one that
            another attempt may not meet.
        claim: The attempt.
        evidence: What it leaves behind, less the error.
        retry_on: Exception names for which the model asks another attempt.
    """
    evidence = Evidence(error=describe(error, retry_on), log=evidence.log, timings=evidence.timings)
    if isinstance(error, JobCanceled):
        return Finish(Ending(state=State.CANCELED, evidence=evidence))
    if _never_began(error):
        return Release(evidence)
    if retryable(error, retry_on) and not claim.last_attempt:
        return Retry(evidence, delay_s=_delay_s(error, claim.attempt))
    return Finish(Ending(state=State.FAILED, evidence=evidence))


def _never_began(error: Exception) -> bool:
    """Whether the job itself was not begun: it only stood in line, or there is no device."""
    return isinstance(error, DeviceMissing) or (isinstance(error, EngineDied) and not error.inside)


def retryable(error: Exception, retry_on: list[str]) -> bool:
    """Whether another attempt can help."""
    if isinstance(error, AlgorithmError) and error.exception in retry_on:
        return True
    return error.retryable if isinstance(error, LeveretError) else True


def describe(error: Exception, retry_on: list[str]) -> dict[str, Any]:
    """The error as the attempt keeps it: JSON-ready, and fit for PostgreSQL's."""
    return {
        "code": error.code if isinstance(error, LeveretError) else LeveretError.code,
        "message": clean_text(str(error))[:MAX_MESSAGE],
        "type": error.exception if isinstance(error, AlgorithmError) else _public_name(error),
        "retryable": retryable(error, retry_on),
        "traceback": clean_text(_traceback(error)),
    }


def _public_name(error: Exception) -> str:
    """The nearest class that is no module's private matter."""
    return next(kind.__name__ for kind in type(error).__mro__ if not kind.__name__.startswith("_"))


def _traceback(error: Exception) -> str:
    """Of the algorithm or of a defect of ours; any other error of the tree says all in its message."""
    if isinstance(error, AlgorithmError):
        return error.traceback
    return "" if isinstance(error, LeveretError) else "".join(traceback.format_exception(error))


def _delay_s(error: Exception, attempt: int) -> float:
    if isinstance(error, AlgorithmRetry) and error.after_s is not None:
        return max(0.0, error.after_s)
    return full_jitter(attempt)
