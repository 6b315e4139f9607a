"""How a worker gets a job: the claim, whom it refuses, and what else a message in hand does to its row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from shared.adapters.batching import Batcher
from shared.adapters.store.leases import LEASE_S
from shared.adapters.store.pool import UNFIT, Database
from shared.adapters.store.records import event_of
from shared.errors import Unavailable
from shared.events import Event
from shared.jobs import MAX_MISSES, Claim, State

DOUBT_S = 7.0
"""A message came again for a running job: its worker has this long to renew before the lease ends."""
MODEL_RETRY_S = 10.0

CLAIM = """
with free as (
    select id from jobs where id = any($1::uuid[]) and state = 'queued'
      and not exists (select from queue_pauses p where p.queue = jobs.queue and p.paused)
    order by id for update
), claimed as (
    update jobs set state = 'running', attempt = attempt + 1, fence = fence + 1, seq = seq + 1, worker = $2,
                    started_at = clock_timestamp(),
                    lease_until = clock_timestamp() + make_interval(secs => $3),
                    entered = $5, progress = 0, run_at = null, start_deadline = null,
                    publish_due = null, publish_tries = 0
    from free join specs s using (id)
    where jobs.id = free.id and s.model || '@' || s.model_version = any($4::text[])
    returning jobs.*
), event as (
    insert into events (job_id, seq, type, at, data)
    select id, seq, 'job.running', started_at, jsonb_build_object('attempt', attempt) from claimed
)
select c.id, c.queue, c.priority, c.attempt, c.max_attempts, c.fence, c.seq, c.queued_at, c.started_at,
       c.alone, s.tenant, s.model, s.model_version, s.timeout_s, s.inputs, s.params, s.metadata,
       s.destinations, s.retry_of, s.traceparent, s.created_at
from claimed c join specs s using (id)
"""

RECOVER = """
select j.id, j.queue, j.priority, j.attempt, j.max_attempts, j.fence, j.seq, j.queued_at, j.started_at,
       j.alone, s.tenant, s.model, s.model_version, s.timeout_s, s.inputs, s.params, s.metadata,
       s.destinations, s.retry_of, s.traceparent, s.created_at
from jobs j join specs s using (id)
where j.id = $1 and j.worker = $2 and j.state = 'running'
"""

STATE = """
select j.id, j.state, s.model || '@' || s.model_version as model,
       j.finished_at > clock_timestamp() - interval '10 min' as recent
from jobs j join specs s using (id) where j.id = any($1)
"""

DOUBT = """
update jobs set lease_until = least(lease_until, clock_timestamp() + make_interval(secs => $2))
where id = $1 and state = 'running'
"""

ENTER = """
with off as (select set_config('synchronous_commit', 'off', true)), inside as (
    select j.id from unnest($1::uuid[], $2::integer[]) as told(id, fence)
    join jobs j on j.id = told.id and j.fence = told.fence and j.state = 'running'
    order by j.id for update of j
)
update jobs j set entered = true from off, inside where j.id = inside.id
"""

DEFER = """
with met as (
    update jobs set
        state = case when misses + 1 >= $2 then 'failed' else 'waiting' end,
        seq = seq + 1, misses = misses + 1, publish_due = null, publish_tries = 0,
        run_at = case when misses + 1 < $2 then clock_timestamp() + make_interval(secs => $3) end,
        finished_at = case when misses + 1 >= $2 then clock_timestamp() end
    where id = $1 and state = 'queued'
      and not exists (select from queue_pauses p where p.queue = jobs.queue and p.paused)
    returning *
), event as (
    insert into events (job_id, seq, type, at, data)
    select id, seq, case when state = 'failed' then 'job.failed' else 'job.retrying' end, clock_timestamp(),
           case when state = 'failed' then jsonb_build_object('outputs', '{}'::jsonb, 'error', $4::jsonb)
                else jsonb_build_object('error', $4::jsonb, 'run_at', run_at) end
    from met
    returning job_id, seq, type, at, data
)
select e.*, s.tenant from event e join specs s on s.id = e.job_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a claim was not given.

    Attributes:
        state: The row's, or None when there is no such row. `queued`: its model is not known here.
        model: The model that the row wants, as ``name@version``.
        recent: It ended within the last 10 minutes, so its announcement is worth repeating.
    """

    state: State | None
    model: str = ""
    recent: bool = False


class ClaimStore:
    """One worker's claims. Calls share statements.

    Args:
        database: Where the jobs are.
        worker: The worker's id.
        models: What this worker can run, as ``name@version``; read anew for every claim.
        slots: Jobs it holds at once. With one, a claim is inside an engine at once and needs no mark.
    """

    def __init__(self, database: Database, *, worker: str, models: Collection[str], slots: int = 1) -> None:
        self._database = database
        self._worker = worker
        self._models = models
        self._slots = slots
        self._claims: Batcher[UUID, Claim | Refusal] = Batcher(self._claim, divisible=UNFIT)
        self._entries: Batcher[Claim, None] = Batcher(self._enter, divisible=UNFIT)

    async def claim(self, job_id: UUID) -> Claim | Refusal:
        """Take a queued job: at most one of any number of claimers gets it."""
        return await self._claims.add(job_id)

    async def recover(self, job_id: UUID) -> Claim | None:
        """The claim whose answer was lost, if it was given: the row names this worker."""
        rows = await self._database.read(RECOVER, job_id, self._worker)
        return Claim(**rows[0]) if rows else None

    async def enter(self, claim: Claim) -> None:
        """The job is about to be inside an engine: should this worker die now, it is blamed."""
        if self._slots > 1:
            await self._entries.add(claim)

    async def doubt(self, job_id: UUID) -> None:
        """A running job's message came again: shorten its lease; a live worker's renewal restores it."""
        await self._database.write(DOUBT, job_id, DOUBT_S)

    async def defer(self, job_id: UUID, error: Mapping[str, Any]) -> tuple[str, Event] | None:
        """This worker does not know the job's model: wait for one that does, or fail at the tenth miss.

        Returns:
            The tenant and the event to announce; None when the job was not queued any more.
        """
        rows = await self._database.write(DEFER, job_id, MAX_MISSES, MODEL_RETRY_S, error)
        return (rows[0]["tenant"], event_of(rows[0])) if rows else None

    async def _claim(self, ids: Sequence[UUID]) -> Sequence[Claim | Refusal | Exception]:
        """One statement for all. The claims given stand, whatever becomes of the question about others."""
        rows = await self._database.write(
            CLAIM, ids, self._worker, LEASE_S, list(self._models), self._slots == 1
        )
        claims = {row["id"]: Claim(**row) for row in rows}
        refused = [id_ for id_ in ids if id_ not in claims]
        try:
            refusals = await self._refusals(refused) if refused else {}
        except Unavailable as error:
            return [_once(claims, id_) or error for id_ in ids]
        return [_once(claims, id_) or refusals.get(id_, ALREADY) for id_ in ids]

    async def _refusals(self, ids: Sequence[UUID]) -> dict[UUID, Refusal]:
        found = {row["id"]: row for row in await self._database.read(STATE, ids)}
        return {id_: _refusal(found.get(id_)) for id_ in ids}

    async def _enter(self, claims: Sequence[Claim]) -> Sequence[None]:
        ids, fences = [claim.id for claim in claims], [claim.fence for claim in claims]
        await self._database.write(ENTER, ids, fences)
        return [None] * len(claims)


ALREADY = Refusal(state=State.RUNNING)
"""The same job twice in one batch: the first copy got it."""


def _once(claims: dict[UUID, Claim], job_id: UUID) -> Claim | None:
    return claims.pop(job_id) if job_id in claims else None


def _refusal(row: asyncpg.Record | None) -> Refusal:
    if row is None:
        return Refusal(state=None)
    return Refusal(state=State(row["state"]), model=row["model"], recent=bool(row["recent"]))
