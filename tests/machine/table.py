"""The rows in memory, one change at a time, each told to the audit with what it was and what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from shared.events import Event, EventType
from shared.jobs import Attempt, Claim, Evidence, Job, NewJob, State

BEGINNING = datetime(2026, 11, 22, 9, tzinfo=UTC)
UNFLUSHED_S = 0.6
"""What was committed asynchronously less than three times `wal_writer_delay` ago may be lost in a crash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of `jobs`, with the spec it belongs to."""

    spec: NewJob
    created_at: datetime
    state: State
    priority: int
    seq: int = 1
    attempt: int = 0
    fence: int = 0
    releases: int = 0
    misses: int = 0
    cancel_requested: bool = False
    progress: float = 0.0
    worker: str | None = None
    run_at: datetime | None = None
    start_deadline: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lease_until: datetime | None = None
    publish_due: datetime | None = None
    publish_tries: int = 0
    published_at: datetime | None = None
    promoted: bool = False
    entered: bool = False
    alone: bool = False

    @property
    def id(self) -> UUID:
        return self.spec.id

    @property
    def ref(self) -> str:
        return f"{self.spec.model}@{self.spec.model_version}"

    def claim(self) -> Claim:
        spec = self.spec
        assert self.queued_at is not None
        assert self.started_at is not None
        return Claim(
            id=spec.id,
            tenant=spec.tenant,
            model=spec.model,
            model_version=spec.model_version,
            queue=spec.queue,
            priority=self.priority,
            attempt=self.attempt,
            max_attempts=spec.max_attempts,
            fence=self.fence,
            seq=self.seq,
            timeout_s=spec.timeout_s,
            inputs=spec.inputs,
            params=spec.params,
            metadata=spec.metadata,
            destinations=spec.destinations,
            retry_of=spec.retry_of,
            traceparent=spec.traceparent,
            created_at=self.created_at,
            queued_at=self.queued_at,
            started_at=self.started_at,
            alone=self.alone,
        )

    def job(self, ending: dict[str, Any]) -> Job:
        shared = {name: getattr(self, name) for name in Job.__slots__ if name in Row.__slots__}
        spec = {name: getattr(self.spec, name) for name in Job.__slots__ if name in NewJob.__slots__}
        return Job(
            **{**spec, **shared},
            outputs=ending.get("outputs") or {},
            error=ending.get("error"),
            timings=ending.get("timings") or {},
        )


class Listener(Protocol):
    """Hears of every committed change."""

    def changed(self, old: Row | None, new: Row, events: list[Event]) -> None:
        """A row is `new`; `events` is its whole history."""


@dataclass
class Table:
    """What PostgreSQL keeps, and its clock.

    Attributes:
        elapsed: Seconds since the beginning.
        skew_s: How far the server's clock was moved.
        started_at: When the server came up.
        fenced: Cleared, nobody's fence is looked at: a sabotage.
    """

    elapsed: Callable[[], float]
    listener: Listener
    skew_s: float = 0.0
    fenced: bool = True
    rows: dict[UUID, Row] = field(default_factory=dict)
    events: dict[UUID, list[Event]] = field(default_factory=dict)
    attempts: dict[tuple[UUID, int], Attempt] = field(default_factory=dict)
    keys: dict[tuple[str, str], UUID] = field(default_factory=dict)
    claims: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By worker its queue and what it has claimed."""
    paid: dict[str, int] = field(default_factory=dict)
    started_at: datetime = BEGINNING - timedelta(hours=1)
    statements: int = 0
    unflushed: list[tuple[datetime, Row]] = field(default_factory=list)

    def tick(self) -> None:
        """A new statement: no two share a clock_timestamp()."""
        self.statements += 1

    def now(self) -> datetime:
        """clock_timestamp(), the same all through a statement."""
        return BEGINNING + timedelta(seconds=self.elapsed() + self.skew_s, microseconds=self.statements)

    def insert(self, row: Row, data: dict[str, Any]) -> Row:
        self.rows[row.id] = row
        self.events[row.id] = [
            Event(seq=1, job_id=row.id, type=EventType.QUEUED, at=row.created_at, data=data)
        ]
        self.unflushed.clear()
        self.listener.changed(None, row, self.events[row.id])
        return row

    def mark(self, row: Row, *, durable: bool = True, **fields: Any) -> Row:
        """A change that is no state event. An asynchronous commit is durable with the next other one."""
        if durable:
            self.unflushed.clear()
        else:
            self.unflushed.append((self.now(), row))
        return self._put(row, replace(row, **fields))

    def move(
        self, row: Row, type_: EventType, data: dict[str, Any], at: datetime, **fields: Any
    ) -> tuple[Row, Event]:
        """A state event."""
        self.unflushed.clear()
        event = Event(seq=row.seq + 1, job_id=row.id, type=type_, at=at, data=data)
        self.events[row.id].append(event)
        return self._put(row, replace(row, seq=row.seq + 1, **fields)), event

    def keep_attempt(self, row: Row, outcome: str, spent: int, fence: int, evidence: Evidence) -> None:
        assert row.started_at is not None
        self.attempts.setdefault(
            (row.id, fence),
            Attempt(
                attempt=spent,
                fence=fence,
                worker=row.worker or "",
                outcome=outcome,
                started_at=row.started_at,
                finished_at=self.now(),
                error=evidence.error,
                log=evidence.log,
                timings=evidence.timings,
            ),
        )

    def live(self, *states: State) -> Iterable[Row]:
        return [row for row in self.rows.values() if row.state in states]

    def fail_over(self) -> None:
        """The server comes up anew, less what it had not written yet."""
        self.started_at = self.now()
        lost = [row for at, row in self.unflushed if self.started_at - at < timedelta(seconds=UNFLUSHED_S)]
        for row in reversed(lost):
            self.rows[row.id] = row
        self.unflushed.clear()

    def _put(self, old: Row, new: Row) -> Row:
        self.rows[new.id] = new
        self.listener.changed(old, new, self.events[new.id])
        return new


def after(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds)
