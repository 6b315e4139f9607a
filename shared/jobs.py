"""A job's states and records. Pure: imports nothing but the standard library and shared.errors.

The transitions live here, once. Every guarded UPDATE of the store repeats its arrow as ``WHERE state = …``;
a property test drives both against each other.

            ┌────────── due: run_at came ──────────┐
            |                                      v
         waiting <── retry with backoff ──┐     queued ──claim──> running ──> succeeded
            |  ^                          └─────────|────────────  |  ├────> failed
            |  └── model unknown here ──────────────┤    released ──┤  └────> canceled
            └──> canceled | expired                 └──> canceled | expired | failed (model unknown)
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from shared.errors import LeveretError

MAX_PRIORITY = 10
DEFAULT_PRIORITY = 5
PRIORITY_CLASSES: Mapping[str, int] = {"high": 8, "normal": 4, "low": 0}
"""The classes of priorities that share a wait objective, with the lowest priority of each, highest first."""
DEFAULT_MAX_ATTEMPTS = 3
MAX_RELEASES = 20
"""Releases by draining workers that give the attempt back; later ones spend it."""
MAX_MISSES = 10
"""How often a job may meet workers that do not know its model before it fails."""


def class_of(priority: int) -> str:
    """The class of a priority, 0 to 10."""
    return next(name for name, lowest in PRIORITY_CLASSES.items() if priority >= lowest)


class State(enum.StrEnum):
    """Where a job is; the last four are terminal."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether the job has ended for good."""
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.QUEUED, State.CANCELED, State.EXPIRED}),
    State.QUEUED: frozenset({State.RUNNING, State.WAITING, State.FAILED, State.CANCELED, State.EXPIRED}),
    State.RUNNING: frozenset(
        {State.SUCCEEDED, State.FAILED, State.CANCELED, State.QUEUED, State.WAITING},
    ),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELED: frozenset(),
    State.EXPIRED: frozenset(),
}


class IllegalTransition(LeveretError):
    """The table has no such arrow: a defect of the code, never of the caller."""

    code = "illegal_transition"


def check_transition(old: State, new: State) -> None:
    """Raise IllegalTransition unless a job may go from `old` to `new`."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"a job cannot go from {old} to {new}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A validated submission, as the store inserts it."""

    id: UUID
    tenant: str
    model: str
    model_version: str
    queue: str
    priority: int
    max_attempts: int
    timeout_s: float
    inputs: Mapping[str, Any]
    """Per input name ``{"uri": "s3://…"}`` or ``{"json": value}``; raw bytes are in S3 by now."""
    params: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    destinations: Mapping[str, str] = field(default_factory=dict)
    """Per output name the ``s3://`` URI it is to be written to, where the caller named one."""
    idempotency_key: str | None = None
    body_digest: bytes = b""
    """SHA-256 of the canonical request, to tell a repeat from a conflict."""
    delay_s: float = 0.0
    """Seconds from now until it may start; above 0 the job begins in `waiting`."""
    start_timeout_s: float | None = None
    retry_of: UUID | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A running attempt that this worker owns, until its fence moves on."""

    id: UUID
    tenant: str
    model: str
    model_version: str
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    fence: int
    seq: int
    timeout_s: float
    inputs: Mapping[str, Any]
    params: Mapping[str, Any]
    metadata: Mapping[str, Any]
    destinations: Mapping[str, str]
    retry_of: UUID | None
    traceparent: str | None
    created_at: datetime
    queued_at: datetime
    started_at: datetime
    alone: bool = False
    """An earlier attempt died with its worker, unexplained: this one must share no engine."""

    @property
    def last_attempt(self) -> bool:
        """Whether a failure of this attempt ends the job."""
        return self.attempt >= self.max_attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an attempt leaves behind, whatever became of it."""

    error: Mapping[str, Any] | None = None
    """``{"code", "message", "type", "traceback", "retryable"}`` or None."""
    log: str = ""
    """The last 64 KiB the engine wrote during the attempt."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds per stage: ``queue_s`` until the claim, ``fetch_s``, ``turn_s`` (in line within the worker),
    ``load_s`` (where it had to load its model), ``prepare_s``, ``infer_s``, ``finish_s``, ``store_s``.
    """

    @property
    def public_error(self) -> dict[str, Any] | None:
        """The error for everybody who may see the job; its traceback stays with the attempt."""
        return {key: value for key, value in self.error.items() if key != "traceback"} if self.error else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The terminal state of a job, with everything its last event tells."""

    state: State
    evidence: Evidence
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as its row tells it: what the API shows, less the addresses the gateway adds."""

    id: UUID
    tenant: str
    model: str
    model_version: str
    queue: str
    state: State
    seq: int
    priority: int
    attempt: int
    max_attempts: int
    cancel_requested: bool
    progress: float
    inputs: Mapping[str, Any]
    params: Mapping[str, Any]
    metadata: Mapping[str, Any]
    outputs: Mapping[str, Mapping[str, Any]]
    error: Mapping[str, Any] | None
    timings: Mapping[str, float]
    retry_of: UUID | None
    created_at: datetime
    run_at: datetime | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    queue_position: int | None = None
    queue_reason: str | None = None
    receipt: Mapping[str, Any] | None = None
    """What its attempts have used and cost; None before the first one ended."""
    traceparent: str | None = None


def ended_job(
    claim: Claim,
    ending: Ending,
    *,
    seq: int,
    finished_at: datetime,
    receipt: Mapping[str, Any] | None = None,
) -> Job:
    """The job as its row will tell it, without asking: what a worker pushes right after its commit."""
    return Job(
        id=claim.id,
        tenant=claim.tenant,
        model=claim.model,
        model_version=claim.model_version,
        queue=claim.queue,
        state=ending.state,
        seq=seq,
        priority=claim.priority,
        attempt=claim.attempt,
        max_attempts=claim.max_attempts,
        cancel_requested=ending.state is State.CANCELED,
        progress=1.0 if ending.state is State.SUCCEEDED else 0.0,
        inputs=claim.inputs,
        params=claim.params,
        metadata=claim.metadata,
        outputs=ending.outputs,
        error=ending.evidence.public_error,
        timings=ending.evidence.timings,
        retry_of=claim.retry_of,
        created_at=claim.created_at,
        run_at=None,
        queued_at=claim.queued_at,
        started_at=claim.started_at,
        finished_at=finished_at,
        receipt=receipt,
        traceparent=claim.traceparent,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a job, ended: what ``GET /v1/jobs/{id}/logs`` shows."""

    attempt: int
    fence: int
    worker: str
    outcome: str
    started_at: datetime
    finished_at: datetime
    error: Mapping[str, Any] | None
    log: str
    timings: Mapping[str, float]
    device: str | None = None
    machine_s: float | None = None
    """Its share of the machine's time; as the next two, None where it is not known."""
    gpu_s: float | None = None
    cost: Decimal | None = None
