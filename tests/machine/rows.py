"""The store's statements on the table in memory, guard by guard: submits, attempts, cancels and reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shared.adapters.store.attempts import RELEASED_TOO_OFTEN, Left
from shared.adapters.store.claims import ALREADY, DOUBT_S, MODEL_RETRY_S, Refusal
from shared.adapters.store.leases import LEASE_S
from shared.adapters.store.records import CANCELED
from shared.adapters.store.submits import PUBLISH_GRACE_S, Submitted
from shared.errors import EngineDied, IdempotencyConflict, JobEnded, NotFound
from shared.events import BY_STATE, Event, EventType
from shared.jobs import Attempt, Claim, Ending, Evidence, Job, NewJob, State, check_transition
from tests.machine import limits
from tests.machine.table import Row, Table, after

ENDING: dict[str, Any] = {"outputs": {}, "error": CANCELED, "timings": {}}
ENDINGS = {State.CANCELED: ENDING, State.FAILED: {**ENDING, "error": RELEASED_TOO_OFTEN}}


class MemorySubmits:
    def __init__(self, table: Table) -> None:
        self._table = table

    def submit(self, job: NewJob) -> Submitted:
        if job.idempotency_key is not None:
            first = self._table.keys.get((job.tenant, job.idempotency_key))
            if first is not None:
                return self._repeated(job, self._table.rows[first])
            self._table.keys[job.tenant, job.idempotency_key] = job.id
        row = self._table.insert(self._row(job), {})
        return Submitted(id=row.id, state=row.state, fresh=True, publish_due=row.publish_due)

    def published(self, id: UUID, publish_due: datetime) -> None:  # noqa: A002  the column's name
        row = self._table.rows.get(id)
        if row is not None and row.publish_due == publish_due:
            self._table.mark(row, durable=False, publish_due=None, published_at=self._table.now())

    def _repeated(self, job: NewJob, first: Row) -> Submitted:
        if first.spec.body_digest != job.body_digest:
            raise IdempotencyConflict("this Idempotency-Key was used before with another body")
        return Submitted(id=first.id, state=first.state, fresh=False, publish_due=None)

    def _row(self, job: NewJob) -> Row:
        now, waits = self._table.now(), job.delay_s > 0
        deadline = None if job.start_timeout_s is None else after(now, job.delay_s + job.start_timeout_s)
        return Row(
            spec=job,
            created_at=now,
            state=State.WAITING if waits else State.QUEUED,
            priority=job.priority,
            run_at=after(now, job.delay_s) if waits else None,
            queued_at=None if waits else now,
            publish_due=None if waits else after(now, PUBLISH_GRACE_S),
            start_deadline=deadline,
        )


class MemoryClaims:
    def __init__(self, table: Table, *, worker: str, models: Sequence[str], slots: int) -> None:
        self._table = table
        self._worker = worker
        self._models = models
        self._slots = slots

    def claim(self, job_id: UUID) -> Claim | Refusal:
        row = self._table.rows.get(job_id)
        if row is None or row.state is not State.QUEUED or row.ref not in self._models:
            return self._refusal(row)
        now = self._table.now()
        row, _ = self._table.move(
            row,
            EventType.RUNNING,
            {"attempt": row.attempt + 1},
            now,
            state=State.RUNNING,
            attempt=row.attempt + 1,
            fence=row.fence + 1,
            worker=self._worker,
            started_at=now,
            lease_until=after(now, LEASE_S),
            entered=self._slots == 1,
            progress=0.0,
            run_at=None,
            start_deadline=None,
            publish_due=None,
            publish_tries=0,
        )
        return row.claim()

    def recover(self, job_id: UUID) -> Claim | None:
        row = self._table.rows.get(job_id)
        mine = row is not None and row.worker == self._worker and row.state is State.RUNNING
        return row.claim() if row is not None and mine else None

    def enter(self, claim: Claim) -> None:
        if self._slots > 1 and (row := _held(self._table, claim.id, claim.fence)):
            self._table.mark(row, durable=False, entered=True)

    def doubt(self, job_id: UUID) -> None:
        row = self._table.rows[job_id]
        if row.state is State.RUNNING and row.lease_until is not None:
            doubted = after(self._table.now(), DOUBT_S)
            self._table.mark(row, lease_until=min(row.lease_until, doubted))

    def defer(self, job_id: UUID, error: Mapping[str, Any]) -> tuple[str, Event] | None:
        row = self._table.rows[job_id]
        if row.state is not State.QUEUED:
            return None
        now, spent = self._table.now(), row.misses + 1 >= limits.MAX_MISSES
        run_at = None if spent else after(now, MODEL_RETRY_S)
        _, event = self._table.move(
            row,
            EventType.FAILED if spent else EventType.RETRYING,
            {"error": error},
            now,
            state=State.FAILED if spent else State.WAITING,
            misses=row.misses + 1,
            publish_due=None,
            publish_tries=0,
            run_at=run_at,
            finished_at=now if spent else None,
        )
        return row.spec.tenant, event

    def _refusal(self, row: Row | None) -> Refusal:
        if row is None:
            return Refusal(state=None)
        ended = row.finished_at
        recent = ended is not None and ended > self._table.now() - timedelta(minutes=10)
        return Refusal(state=row.state, model=row.ref, recent=recent)


class MemoryLeases:
    def __init__(self, table: Table) -> None:
        self._table = table

    def renew(self, held: Mapping[UUID, tuple[int, float]]) -> dict[UUID, bool]:
        answer = {}
        for id_, (fence, progress) in held.items():
            if row := _held(self._table, id_, fence):
                until = after(self._table.now(), LEASE_S)
                self._table.mark(row, durable=False, lease_until=until, progress=progress)
                answer[id_] = row.cancel_requested
        return answer


class MemoryAttempts:
    def __init__(self, table: Table) -> None:
        self._table = table

    def finish(self, claim: Claim, ending: Ending) -> Left | None:
        evidence = ending.evidence
        data = {"outputs": ending.outputs, "error": evidence.error, "timings": evidence.timings}
        return self._leave(claim, ending.state, BY_STATE[ending.state], data, evidence)

    def retry(self, claim: Claim, evidence: Evidence, *, delay_s: float) -> Left | None:
        data = {"error": evidence.error, "delay_s": delay_s}
        return self._leave(claim, State.WAITING, EventType.RETRYING, data, evidence, delay_s=delay_s)

    def release(self, claim: Claim, evidence: Evidence) -> Left | None:
        return self._leave(claim, State.QUEUED, EventType.RELEASED, {}, evidence)

    def left(self, claim: Claim) -> Left | None:
        row = self._table.rows[claim.id]
        if row.fence != claim.fence or row.state is State.RUNNING:
            return None
        return Left(state=row.state, event=self._table.events[row.id][-1], publish_due=row.publish_due)

    def _leave(
        self,
        claim: Claim,
        asked: State,
        type_: EventType,
        data: dict[str, Any],
        evidence: Evidence,
        *,
        delay_s: float = 0.0,
    ) -> Left | None:
        check_transition(State.RUNNING, asked)
        row = _held(self._table, claim.id, claim.fence)
        if row is None:
            return None
        now, verdict = self._table.now(), _verdict(row, asked)
        queued, given_back = verdict is State.QUEUED, row.releases < limits.MAX_RELEASES
        left, event = self._table.move(
            row,
            type_ if verdict is asked else BY_STATE[verdict],
            data if verdict is asked else ENDINGS[verdict],
            now,
            state=verdict,
            lease_until=None,
            progress=1.0 if verdict is State.SUCCEEDED else row.progress,
            attempt=row.attempt - (1 if queued and given_back else 0),
            releases=row.releases + (1 if queued else 0),
            alone=row.alone or _was_at_work(asked, evidence),
            run_at=after(now, delay_s) if verdict is State.WAITING else None,
            queued_at=now if queued else row.queued_at,
            publish_due=now if queued else None,
            publish_tries=0,
            finished_at=now if verdict.terminal else None,
        )
        outcome = "released" if queued else verdict.value
        self._table.keep_attempt(left, outcome, claim.attempt, left.fence, evidence)
        return Left(state=left.state, event=event, publish_due=left.publish_due)


class MemoryCancels:
    def __init__(self, table: Table) -> None:
        self._table = table

    def cancel(self, tenant: str, job_id: UUID) -> Event | None:
        row = self._table.rows.get(job_id)
        if row is None or row.spec.tenant != tenant:
            raise NotFound("no such job")
        if row.state.terminal:
            raise JobEnded(f"the job is {row.state} already")
        if row.state is State.RUNNING:
            self._table.mark(row, cancel_requested=True, publish_due=None)
            return None
        now = self._table.now()
        _, event = self._table.move(
            row,
            EventType.CANCELED,
            ENDING,
            now,
            cancel_requested=True,
            state=State.CANCELED,
            publish_due=None,
            finished_at=now,
        )
        return event


class MemoryReads:
    def __init__(self, table: Table) -> None:
        self._table = table

    def job(self, tenant: str, job_id: UUID) -> Job | None:
        row = self._table.rows.get(job_id)
        if row is None or row.spec.tenant != tenant:
            return None
        ending = self._table.events[row.id][-1].data if row.finished_at else {}
        return row.job(dict(ending))

    def events(self, tenant: str, job_id: UUID, after: int = 0) -> list[Event]:
        row = self._table.rows.get(job_id)
        if row is None or row.spec.tenant != tenant:
            return []
        return [event for event in self._table.events[job_id] if event.seq > after]

    def attempts(self, tenant: str, job_id: UUID) -> list[Attempt]:
        return [kept for (id_, _), kept in sorted(self._table.attempts.items()) if id_ == job_id]

    def last_event(self, job_id: UUID) -> tuple[str, Event] | None:
        row = self._table.rows.get(job_id)
        return (row.spec.tenant, self._table.events[job_id][-1]) if row else None

    def seqs(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        return {id_: self._table.rows[id_].seq for id_ in ids if id_ in self._table.rows}


def _held(table: Table, job_id: UUID, fence: int) -> Row | None:
    row = table.rows.get(job_id)
    if row is None or row.state is not State.RUNNING:
        return None
    return row if row.fence == fence or not table.fenced else None


def _was_at_work(asked: State, evidence: Evidence) -> bool:
    """In an engine that died: whoever only stood in its line is given back."""
    died = evidence.error is not None and evidence.error["code"] == EngineDied.code
    return died and asked is not State.QUEUED


def _verdict(row: Row, asked: State) -> State:
    if row.cancel_requested and asked is not State.SUCCEEDED:
        return State.CANCELED
    spent = row.releases >= limits.MAX_RELEASES and row.attempt >= row.spec.max_attempts
    return State.FAILED if asked is State.QUEUED and spent else asked


assert ALREADY.state is State.RUNNING  # one call, one statement here: a batch never holds a job twice
