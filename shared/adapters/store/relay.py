"""The relay's statements: what has to be published again, whose lease has ended, what has come due.

Each locks a bounded batch with SKIP LOCKED, so that every gateway replica runs a relay and none waits.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from shared.adapters.store.pool import Database
from shared.adapters.store.records import CANCELED, RECEIPT, START_TIMEOUT, WORKER_LOST, event_of
from shared.adapters.topology import queue_name
from shared.errors import EngineDied
from shared.events import Event
from shared.jobs import MAX_RELEASES
from shared.tariff import CURRENCY
from shared.telemetry.conventions import attempt, messaging
from shared.telemetry.tracecontext import Context, attempt_span_id, parse_traceparent
from shared.telemetry.tracing import OFF, Ended, Kind, Tracing

BATCH = 200
REPUBLISH_S = 30.0
REPUBLISH_CAP_S = 3600.0
PUT_BACK_S = 5.0
SERVER_GRACE_S = 20.0
"""A PostgreSQL up for less than this may just have failed over: live workers have not renewed yet."""

# A message of a held queue would only be refused: its row is laid aside, as if it had been sent, until the
# queue goes on and all of them are due again. Locked against that moment: none is laid aside after it.
TAKE_DUE = """
with held as materialized (
    select queue from queue_pauses where paused order by queue for share
), due as (
    select id, queue from jobs where publish_due <= clock_timestamp() and queue <> all($4)
    order by priority desc, publish_due limit $1 for update skip locked
), sorted as (
    select d.id, h.queue is not null as held from due d left join held h using (queue)
), taken as (
    update jobs j set
        publish_tries = case when sorted.held then 0 else publish_tries + 1 end,
        publish_due = case when not sorted.held then clock_timestamp()
                           + make_interval(secs => least($3, $2 * 2.0 ^ publish_tries)) end,
        published_at = case when sorted.held then clock_timestamp() else published_at end
    from sorted where j.id = sorted.id
    returning j.id, j.queue, j.priority, j.publish_due
)
select t.*, s.traceparent from taken t join specs s using (id) order by t.priority desc, t.id
"""

PUT_BACK = """
with off as (select set_config('synchronous_commit', 'off', true)), kept as (
    select j.id from unnest($1::uuid[], $2::timestamptz[]) as told(id, publish_due)
    join jobs j on j.id = told.id and j.publish_due = told.publish_due
    order by j.id for update of j
)
update jobs j set publish_due = clock_timestamp() + make_interval(secs => $3),
                  publish_tries = greatest(publish_tries - 1, 0)
from off, kept where j.id = kept.id
"""

# Blamed is who was inside an engine when its worker died; who only waited in that worker's hands gets the
# attempt back. The next attempt of the blamed runs alone, so that a job that kills workers spends no
# neighbour's attempts. A lost attempt is charged up to its worker's last sign of life.
EXPIRE_LEASES = f"""
with lapsed as (
    select id, attempt as spent, (entered or releases >= $5) as blamed,
           case when cancel_requested then 'canceled'
                when (entered or releases >= $5) and attempt >= max_attempts then 'failed'
                else 'queued' end as verdict
    from jobs
    where state = 'running' and lease_until < clock_timestamp()
      and pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => $2)
    order by lease_until limit $1 for update skip locked
), gone as (
    update jobs j set
        state = verdict, fence = fence + 1, seq = seq + 1, lease_until = null, publish_tries = 0,
        attempt = attempt - case when blamed then 0 else 1 end,
        releases = releases + case when blamed then 0 else 1 end,
        alone = alone or blamed,
        queued_at = case when verdict = 'queued' then clock_timestamp() else queued_at end,
        publish_due = case when verdict = 'queued' then clock_timestamp() end,
        finished_at = case when verdict <> 'queued' then clock_timestamp() end
    from lapsed where j.id = lapsed.id
    returning j.*, lapsed.spent, clock_timestamp() as left_at
), charged as (
    select g.*, w.device, share_s::float8 as machine_s, (share_s * w.gpus)::float8 as gpu_s,
           round(share_s * w.per_hour / 3600, 10) as cost
    from gone g left join workers w on w.id = g.worker cross join lateral (
        select greatest(0, extract(epoch from least(g.left_at, w.heartbeat_at) - g.started_at)) / w.slots
            as share_s where w.id is not null
        union all select null where w.id is null
    ) held
), attempt as (
    insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, error, log,
                          timings, device, machine_s, gpu_s, cost)
    select id, fence - 1, spent, coalesce(worker, ''), 'worker_lost', started_at, left_at, $3::jsonb, '',
           '{{}}', device, machine_s, gpu_s, cost
    from charged
    on conflict do nothing
), event as (
    insert into events (job_id, seq, type, at, data)
    select c.id, c.seq,
           case c.state when 'queued' then 'job.retrying' when 'failed' then 'job.failed'
                        else 'job.canceled' end,
           c.left_at,
           case c.state when 'queued' then jsonb_build_object('error', $3::jsonb, 'delay_s', 0)
                        else jsonb_build_object('outputs', '{{}}'::jsonb, 'timings', '{{}}'::jsonb, 'error',
                                 case c.state when 'failed' then $3::jsonb else $4::jsonb end,
                                 'receipt', {RECEIPT}) end
    from charged c cross join lateral (
        select *, attempts as wasted_attempts, machine_s as wasted_s, cost as wasted_cost from (
            select count(*) + 1 as attempts, c.worker, c.device, $6::text as currency,
                   case when count(*) = count(a.machine_s) then coalesce(sum(a.machine_s), 0) + c.machine_s
                   end as machine_s,
                   case when count(*) = count(a.gpu_s) then coalesce(sum(a.gpu_s), 0) + c.gpu_s end as gpu_s,
                   case when count(*) = count(a.cost) then coalesce(sum(a.cost), 0) + c.cost end as cost
            from attempts a where c.state <> 'queued' and a.job_id = c.id and a.fence < c.fence - 1
        ) sums
    ) r
    returning job_id, seq, type, at, data
)
select e.*, s.tenant, s.traceparent, s.model || '@' || s.model_version as model, g.queue, g.spent,
       g.fence - 1 as fence, extract(epoch from g.left_at - g.started_at)::double precision as took_s
from event e join specs s on s.id = e.job_id join gone g on g.id = e.job_id
"""  # noqa: S608  a constant of ours

WAKE = """
with due as (
    select id from jobs where state = 'waiting' and run_at <= clock_timestamp()
      and (start_deadline is null or start_deadline > clock_timestamp())
    order by run_at limit $1 for update skip locked
), woken as (
    update jobs j set state = 'queued', seq = seq + 1, queued_at = clock_timestamp(),
                      publish_due = clock_timestamp(), publish_tries = 0
    from due where j.id = due.id
    returning j.id, j.seq, j.queued_at
), event as (
    insert into events (job_id, seq, type, at, data) select id, seq, 'job.queued', queued_at, '{}' from woken
    returning job_id, seq, type, at, data
)
select e.*, s.tenant, s.traceparent from event e join specs s on s.id = e.job_id
"""

EXPIRE_STARTS = """
with late as (
    select id from jobs where state in ('waiting', 'queued') and start_deadline <= clock_timestamp()
    order by start_deadline limit $1 for update skip locked
), gone as (
    update jobs j set state = 'expired', seq = seq + 1, publish_due = null, finished_at = clock_timestamp()
    from late where j.id = late.id
    returning j.id, j.seq, j.finished_at
), event as (
    insert into events (job_id, seq, type, at, data)
    select id, seq, 'job.expired', finished_at,
           jsonb_build_object('outputs', '{}'::jsonb, 'timings', '{}'::jsonb, 'error', $2::jsonb)
    from gone
    returning job_id, seq, type, at, data
)
select e.*, s.tenant, s.traceparent from event e join specs s on s.id = e.job_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A row that wants its message (again)."""

    id: UUID
    queue: str
    priority: int
    publish_due: datetime
    traceparent: str | None


class RelayStore:
    """One call per duty; each answers with the events to announce, by tenant.

    Args:
        database: Where the jobs are.
        server_grace_s: How long PostgreSQL must have been up before a lease may be judged.
        currency: Of receipts.
        tracing: Hears of the attempts whose workers went silent: nobody else can tell of them.
    """

    def __init__(
        self,
        database: Database,
        *,
        server_grace_s: float = SERVER_GRACE_S,
        currency: str = CURRENCY,
        tracing: Tracing = OFF,
    ) -> None:
        self._database = database
        self._currency = currency
        self._tracing = tracing
        self._server_grace_s = server_grace_s

    async def take_due(self, *, refused: Collection[str] = ()) -> list[Due]:
        """Rows to publish now, highest priority first; the next try is set before, not after."""
        while True:
            rows = await self._database.write(TAKE_DUE, BATCH, REPUBLISH_S, REPUBLISH_CAP_S, list(refused))
            due = [Due(**row) for row in rows if row["publish_due"] is not None]
            if due or not rows:
                return due
            # All were held queues' and are laid aside now: others must not wait for them.

    async def put_back(self, marks: Sequence[tuple[UUID, datetime]]) -> None:
        """The broker was away for these: due again soon, so that no job waits out an outage twice."""
        await self._database.write(PUT_BACK, [id_ for id_, _ in marks], [due for _, due in marks], PUT_BACK_S)

    async def expire_leases(self) -> list[tuple[str, Event]]:
        """Running jobs whose worker went silent: queued again, failed at the last attempt, or canceled."""
        values = (BATCH, self._server_grace_s, WORKER_LOST, CANCELED, MAX_RELEASES, self._currency)
        rows = await self._database.write(EXPIRE_LEASES, *values)
        if self._tracing.on:
            for row in rows:
                self._tell_lost(row)
        return [(row["tenant"], event_of(row)) for row in rows]

    def _tell_lost(self, row: asyncpg.Record) -> None:
        """The span of an attempt under its own id: what its worker told before hangs below it."""
        created = parse_traceparent(row["traceparent"])
        if created is not None and created.sampled:
            self._tracing.tell(_lost(row, created))

    async def wake_waiting(self) -> list[tuple[str, Event]]:
        """Waiting jobs whose time has come are queued."""
        return await self._events(WAKE, BATCH)

    async def expire_starts(self) -> list[tuple[str, Event]]:
        """Jobs that were not started in time end as `expired`."""
        return await self._events(EXPIRE_STARTS, BATCH, START_TIMEOUT)

    async def _events(self, sql: str, *values: Any) -> list[tuple[str, Event]]:
        return [(row["tenant"], event_of(row)) for row in await self._database.write(sql, *values)]


def _lost(row: asyncpg.Record, created: Context) -> Ended:
    queue, job_id, now_ns = queue_name(row["queue"]), row["job_id"], time.time_ns()
    which = attempt(
        job_id=job_id, attempt=row["spent"], fence=row["fence"], model=row["model"], tenant=row["tenant"]
    )
    return Ended(
        name=f"process {queue}",
        kind=Kind.CONSUMER,
        context=created.child(attempt_span_id(job_id, row["fence"])),
        parent=created,
        # The database's clock says how long it took, ours when that was over: just now.
        start_ns=now_ns - int(row["took_s"] * 1e9),
        end_ns=now_ns,
        attributes={**messaging("process", "process", queue, job_id), **which, "leveret.job.state": "lost"},
        links=(created,),
        error=EngineDied.code,
        remote=True,
    )
