"""Accepting jobs: the row, its first event and, later, the mark that its message was confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from shared.adapters.batching import Batcher
from shared.adapters.store.pool import UNFIT, Database
from shared.errors import IdempotencyConflict, Unavailable
from shared.jobs import NewJob, State

PUBLISH_GRACE_S = 10.0
"""The submitter publishes by itself; the relay steps in when no confirm came by then."""

INSERT = """
with new as materialized (
    select * from json_to_recordset($1::json) as n(
        id uuid, tenant text, model text, model_version text, queue text, priority smallint,
        max_attempts smallint, timeout_s double precision, inputs jsonb, params jsonb, metadata jsonb,
        destinations jsonb, idempotency_key text, body_digest text, delay_s double precision,
        start_timeout_s double precision, retry_of uuid, traceparent text)
), spec as (
    insert into specs (id, tenant, model, model_version, inputs, params, metadata, destinations, timeout_s,
                       idempotency_key, body_digest, retry_of, traceparent)
    select id, tenant, model, model_version, inputs, params, metadata, destinations, timeout_s,
           idempotency_key, decode(body_digest, 'hex'), retry_of, traceparent
    from new order by id
    on conflict (tenant, idempotency_key) where idempotency_key is not null do nothing
    returning id, created_at
), job as (
    insert into jobs (id, queue, state, priority, seq, max_attempts, run_at, queued_at, publish_due,
                      start_deadline)
    select id, queue,
           case when delay_s > 0 then 'waiting' else 'queued' end,
           priority, 1, max_attempts,
           case when delay_s > 0 then created_at + make_interval(secs => delay_s) end,
           case when delay_s > 0 then null else created_at end,
           case when delay_s > 0 then null else created_at + make_interval(secs => $2) end,
           created_at + make_interval(secs => delay_s + start_timeout_s)
    from new join spec using (id)
    returning id, state, run_at, publish_due
), event as (
    insert into events (job_id, seq, type, at, data)
    select id, 1, 'job.queued', created_at,
           case when run_at is null then '{}'::jsonb else jsonb_build_object('run_at', run_at) end
    from job join spec using (id)
)
select id, state, publish_due from job
"""

FIND_REPEATS = """
select s.id, s.tenant, s.idempotency_key, s.body_digest, j.state
from unnest($1::text[], $2::text[]) as asked(tenant, idempotency_key)
join specs s on s.tenant = asked.tenant and s.idempotency_key = asked.idempotency_key
join jobs j on j.id = s.id
"""

CONFIRM = """
with off as (select set_config('synchronous_commit', 'off', true)), sent as (
    select j.id from unnest($1::uuid[], $2::timestamptz[]) as told(id, publish_due)
    join jobs j on j.id = told.id and j.publish_due = told.publish_due
    order by j.id for update of j
)
update jobs j set publish_due = null, published_at = clock_timestamp() from off, sent where j.id = sent.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What became of a submission.

    Attributes:
        fresh: False when this Idempotency-Key had been accepted before; `id` is then the first job's.
        publish_due: When the relay will publish unless the submitter's own publish is confirmed; None while
            the job waits for its time.
    """

    id: UUID
    state: State
    fresh: bool
    publish_due: datetime | None


class SubmitStore:
    """Inserts jobs; concurrent calls share a statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._submits: Batcher[NewJob, Submitted] = Batcher(self._insert, divisible=UNFIT)
        self._confirms: Batcher[tuple[UUID, datetime], None] = Batcher(self._confirm, divisible=UNFIT)

    async def submit(self, job: NewJob) -> Submitted:
        """Accept a job: from here on it is never lost.

        Raises:
            IdempotencyConflict: The key was used with another body.
            Unavailable: Not accepted.
            OutcomeUnknown: The answer to the commit was lost.
        """
        return await self._submits.add(job)

    async def published(self, id: UUID, publish_due: datetime) -> None:  # noqa: A002  the column's name
        """The broker confirmed the message sent when `publish_due` was read."""
        await self._confirms.add((id, publish_due))

    async def _insert(self, jobs: Sequence[NewJob]) -> Sequence[Submitted | Exception]:
        body = msgspec.json.encode([_row(job) for job in jobs]).decode()
        rows = await self._database.write(INSERT, body, PUBLISH_GRACE_S)
        accepted = {row["id"]: row for row in rows}
        missing = [job for job in jobs if job.id not in accepted]
        try:
            repeats = await self._repeats(missing) if missing else {}
        except Unavailable as error:  # what was accepted stays accepted; the repeats can be asked again
            return [_fresh(accepted[job.id]) if job.id in accepted else error for job in jobs]
        return [_fresh(accepted[job.id]) if job.id in accepted else _repeat(job, repeats) for job in jobs]

    async def _repeats(self, jobs: Sequence[NewJob]) -> dict[tuple[str, str | None], asyncpg.Record]:
        tenants = [job.tenant for job in jobs]
        keys = [job.idempotency_key for job in jobs]
        rows = await self._database.read(FIND_REPEATS, tenants, keys)
        return {(row["tenant"], row["idempotency_key"]): row for row in rows}

    async def _confirm(self, sent: Sequence[tuple[UUID, datetime]]) -> Sequence[None]:
        await self._database.write(CONFIRM, [id_ for id_, _ in sent], [due for _, due in sent])
        return [None] * len(sent)


def _row(job: NewJob) -> dict[str, Any]:
    return {name: getattr(job, name) for name in NewJob.__slots__} | {"body_digest": job.body_digest.hex()}


def _fresh(row: asyncpg.Record) -> Submitted:
    return Submitted(id=row["id"], state=State(row["state"]), fresh=True, publish_due=row["publish_due"])


def _repeat(job: NewJob, repeats: dict[tuple[str, str | None], asyncpg.Record]) -> Submitted | Exception:
    row = repeats[job.tenant, job.idempotency_key]
    if row["body_digest"] != job.body_digest:
        return IdempotencyConflict("this Idempotency-Key was used before with another body")
    return Submitted(id=row["id"], state=State(row["state"]), fresh=False, publish_due=None)
