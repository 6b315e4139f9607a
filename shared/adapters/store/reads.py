"""What the API shows of a job: its row, its history, its attempts. Every read names the tenant."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from shared.adapters.store.pool import Database
from shared.adapters.store.records import RECEIPT, event_of
from shared.events import Event
from shared.jobs import Attempt, Job, State
from shared.tariff import CURRENCY

JOB = f"""
select j.id, s.tenant, s.model, s.model_version, j.queue, j.state, j.seq, j.priority, j.attempt,
       j.max_attempts, j.cancel_requested, j.progress, s.inputs, s.params, s.metadata, s.retry_of,
       s.traceparent, s.created_at, j.run_at, j.queued_at, j.started_at, j.finished_at, e.data as ending,
       case when j.state = 'queued' then (
           select case when count(*) < 1000 then 1 + count(*) end
           from (select from jobs ahead
                 where ahead.state = 'queued' and ahead.queue = j.queue
                   and (ahead.priority > j.priority or (ahead.priority = j.priority and ahead.id < j.id))
                 limit 1000) counted
       ) end as queue_position,
       case when j.state = 'waiting' then 'scheduled'
            when j.state = 'queued' and exists (
                select from queue_pauses p where p.queue = j.queue and p.paused) then 'paused'
            when j.state = 'queued' then coalesce((
                select case when bool_or(w.state = 'ready') then 'backlog' else 'worker_starting' end
                from workers w
                where w.queue = j.queue and w.state in ('starting', 'ready')
                  and w.heartbeat_at > clock_timestamp() - interval '30 s'
                having count(*) > 0), 'no_worker')
            when j.state = 'running' and not j.entered
                 and j.started_at < clock_timestamp() - interval '1 s' then 'in_worker'
       end as queue_reason,
       (select {RECEIPT} from (
            select count(*) as attempts, $3::text as currency,
                   case when count(*) = count(machine_s) then sum(machine_s) end as machine_s,
                   case when count(*) = count(gpu_s) then sum(gpu_s) end as gpu_s,
                   case when count(*) = count(cost) then sum(cost) end as cost,
                   count(*) filter (where wasted) as wasted_attempts,
                   case when bool_and(machine_s is not null or not wasted)
                        then coalesce(sum(machine_s) filter (where wasted), 0) end as wasted_s,
                   case when bool_and(cost is not null or not wasted)
                        then coalesce(sum(cost) filter (where wasted), 0) end as wasted_cost,
                   (array_agg(worker order by fence desc))[1] as worker,
                   (array_agg(device order by fence desc))[1] as device
            from (select *, outcome in ('waiting', 'released', 'worker_lost') as wasted
                  from attempts where job_id = j.id) a
            having count(*) > 0) r) as receipt
from jobs j
join specs s on s.id = j.id
left join events e on e.job_id = j.id and e.seq = j.seq and j.finished_at is not null
where j.id = $1 and s.tenant = $2
"""  # noqa: S608  a constant of ours

EVENTS = """
select e.job_id, e.seq, e.type, e.at, e.data from events e join specs s on s.id = e.job_id
where e.job_id = $1 and s.tenant = $2 and e.seq > $3 order by e.seq
"""

ATTEMPTS = """
select a.attempt, a.fence, a.worker, a.outcome, a.started_at, a.finished_at, a.error, a.log, a.timings,
       a.device, a.machine_s, a.gpu_s, a.cost
from attempts a join specs s on s.id = a.job_id
where a.job_id = $1 and s.tenant = $2 order by a.fence
"""

LAST = """
select s.tenant, e.job_id, e.seq, e.type, e.at, e.data
from jobs j join specs s using (id) join events e on e.job_id = j.id and e.seq = j.seq where j.id = $1
"""

SEQS = "select id, seq from jobs where id = any($1::uuid[])"


class ReadStore:
    """Reads; nothing here changes a row.

    Args:
        database: Where the jobs are.
        currency: Of receipts.
    """

    def __init__(self, database: Database, *, currency: str = CURRENCY) -> None:
        self._database = database
        self._currency = currency

    async def job(self, tenant: str, job_id: UUID) -> Job | None:
        """The job, or None when there is none or it is another tenant's."""
        rows = await self._database.read(JOB, job_id, tenant, self._currency)
        return _job(rows[0]) if rows else None

    async def events(self, tenant: str, job_id: UUID, after: int = 0) -> list[Event]:
        """The history with ``seq > after``, in order; empty for another tenant's job."""
        rows = await self._database.read(EVENTS, job_id, tenant, after)
        return [event_of(row) for row in rows]

    async def attempts(self, tenant: str, job_id: UUID) -> list[Attempt]:
        """The runs that have ended, oldest first."""
        return [Attempt(**row) for row in await self._database.read(ATTEMPTS, job_id, tenant)]

    async def last_event(self, job_id: UUID) -> tuple[str, Event] | None:
        """The newest event and whose job it is: for processes, never for a tenant's question."""
        rows = await self._database.read(LAST, job_id)
        return (rows[0]["tenant"], event_of(rows[0])) if rows else None

    async def seqs(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """The current `seq` of each job that exists."""
        return {row["id"]: row["seq"] for row in await self._database.read(SEQS, ids)}

    async def ping(self) -> None:
        """Return when PostgreSQL answers."""
        await self._database.ping()


def _job(row: asyncpg.Record) -> Job:
    fields = dict(row)
    ending = fields.pop("ending") or {}
    fields["state"] = State(fields["state"])
    return Job(
        **fields,
        outputs=ending.get("outputs") or {},
        error=ending.get("error"),
        timings=ending.get("timings") or {},
    )
