"""Lists of jobs: what is asked for, and a job as a list shows it. Pure: the standard library and shared.jobs.

A list goes by id. Ids are UUIDv7, so that is by the time of submitting, to the millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from shared.jobs import State

FAILED = frozenset({State.FAILED, State.EXPIRED})
"""What counts as a failure: the job ended, nobody asked for it, and there is no result."""
LIVE = frozenset({State.WAITING, State.QUEUED, State.RUNNING})
_RANDOM_BITS = 80
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs; what is None or empty leaves out nothing.

    Attributes:
        tenant: Whose; None: everybody's.
        error: The code of how they failed.
        fingerprint: Of how they failed.
        retried: Whether there is a job that is their retry.
        ids: These and no others.
        newest: No later id than this.
        oldest: No earlier one.
        ended_before: They have ended, and no later than this.
        ended_after: They have ended, and no earlier.
    """

    tenant: str | None
    states: frozenset[State] = frozenset()
    model: str | None = None
    queue: str | None = None
    worker: str | None = None
    error: str | None = None
    fingerprint: str | None = None
    priority: int | None = None
    retried: bool | None = None
    ids: tuple[UUID, ...] = ()
    newest: UUID | None = None
    oldest: UUID | None = None
    ended_before: datetime | None = None
    ended_after: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A job in a list: nothing of what it carries.

    Attributes:
        error_code: Why it failed, or why its last attempt did.
        message: The same in words, its beginning.
    """

    id: UUID
    tenant: str
    model: str
    model_version: str
    queue: str
    state: State
    priority: int
    attempt: int
    max_attempts: int
    worker: str | None
    error_code: str | None
    message: str | None
    fingerprint: str | None
    queue_reason: str | None
    cancel_requested: bool
    progress: float
    created_at: datetime
    run_at: datetime | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    retry_of: UUID | None
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a list, newest first.

    Attributes:
        at: The database's clock.
        cursor: Where the next page begins: only lower ids; None: there is none.
        searched_to: Set where the look ended before the page was full: how far it came.
    """

    rows: tuple[Row, ...]
    at: datetime
    cursor: UUID | None = None
    searched_to: UUID | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """How many, at least.

    Attributes:
        more: Counting ended at its limit.
    """

    n: int
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureFilter:
    """Which failures; None leaves out nothing.

    Attributes:
        tenant: Whose; None: everybody's.
        since_s: No older ones, seconds.
        error: Their code.
    """

    tenant: str | None
    since_s: float
    model: str | None = None
    queue: str | None = None
    worker: str | None = None
    fingerprint: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failures with one fingerprint.

    Attributes:
        sample_job: The newest, whose words these are.
        retried: Of `count`, those that have a retry; the others are open.
        open_job: The newest that has none.
        first_at: The first of them ever.
        points: Failures by the number of their bucket.
        names: Of ``models``, ``queues``, ``workers``, those with most of them: ``name`` and ``count``.
    """

    fingerprint: str
    code: str
    type: str
    message: str
    sample_job: UUID
    count: int
    retried: int
    open_job: UUID | None
    first_at: datetime
    last_at: datetime
    points: Mapping[str, int]
    names: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLook:
    """What failed in a window.

    Attributes:
        groups: The latest first.
        more: There are more failures or groups than were looked at.
    """

    now: datetime
    since: datetime
    bucket_s: float
    groups: tuple[FailureGroup, ...]
    more: bool


def first_id(moment: datetime) -> UUID:
    """The lowest id of a moment."""
    return UUID(int=_milliseconds(moment) << _RANDOM_BITS)


def last_id(moment: datetime) -> UUID:
    """The highest one."""
    return UUID(int=(_milliseconds(moment) + 1 << _RANDOM_BITS) - 1)


def moment_of(job_id: UUID) -> datetime:
    """When an id was made."""
    return _EPOCH + min(job_id.int >> _RANDOM_BITS, _LAST) * _MILLISECOND


def _milliseconds(moment: datetime) -> int:
    """Exact: seconds as a float lose one a thousand years from now."""
    return max(0, (moment - _EPOCH) // _MILLISECOND)


def spans(row: Row, now: datetime) -> dict[str, Any]:
    """Seconds since it was submitted, in the queue before the latest start, and of the latest run so far."""
    ran = row.started_at is not None and (row.queued_at is None or row.started_at >= row.queued_at)
    start = row.started_at if ran else None
    left = start or row.finished_at or now
    end = row.finished_at or (now if row.state is State.RUNNING else None)
    return {
        "age_s": _seconds(row.created_at, now),
        "wait_s": _seconds(row.queued_at, left),
        "run_s": _seconds(start, end),
    }


def _seconds(begin: datetime | None, end: datetime | None) -> float | None:
    return round(max(0.0, (end - begin).total_seconds()), 3) if begin and end else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkAction:
    """An action on many jobs, which ones being settled when it was made.

    Attributes:
        tenant: Of who made it.
        action: ``retry``, ``cancel`` or ``prioritise``.
        filter: As it was said.
        count: Jobs.
        left_out: Jobs that fit but have a retry, where those were not asked for.
        state: ``draft``, ``running``, ``done``, ``aborted`` or ``failed``.
        step: The part that comes next.
        skipped: Jobs that had changed meanwhile.
        failed: Jobs for which it was refused.
        error: What it failed by, where it is ``failed``.
    """

    id: UUID
    tenant: str
    action: str
    filter: Mapping[str, Any]
    priority: int | None
    count: int
    left_out: int
    state: str
    step: int
    done: int
    skipped: int
    failed: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the jobs of a step."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
