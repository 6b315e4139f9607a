"""Who used the machines, and for how long they were paid.

An attempt that ended is booked once, by the hours in which it ran (`usage_hours`), and `usage_mark` moves
past it in the same statement. So a look at a month adds up hours, and reads attempts of the last minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from shared.adapters.store.pool import Database

By = Literal["tenant", "model", "queue", "day"]

BATCH = 5000
SETTLED_S = 60.0
"""Attempts are booked after so long: by then whoever ended one has committed it, or holds the mark back."""
LATELY = 20_000
"""Attempts looked at for single jobs, at most: what a look costs must not grow with the traffic."""

# The moment of an attempt's end is taken before it is committed and seen: so no further than to the oldest
# transaction that is still open.
AHEAD = """
select m.until as since, least(
    clock_timestamp() - make_interval(secs => $1),
    (select min(xact_start) from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'),
    (select finished_at from attempts where finished_at >= m.until order by finished_at offset $2 limit 1)
) as until
from usage_mark m
"""

# Whoever else books the same finds the mark moved, and books nothing.
BOOK = """
with moved as (
    update usage_mark set until = $2 where until = $1 returning until
), ended as materialized (
    select a.started_at, a.finished_at, a.fence, a.outcome, s.tenant, s.model, j.queue,
           coalesce(a.machine_s, 0) as machine_s, coalesce(a.gpu_s, 0) as gpu_s, coalesce(a.cost, 0) as cost,
           case when a.cost is null then coalesce(a.machine_s, 0) else 0 end as unpriced_s
    from moved, attempts a join specs s on s.id = a.job_id join jobs j on j.id = a.job_id
    where a.finished_at >= $1 and a.finished_at < $2
), parts as (
    select e.*, h.hour, h.hour = date_trunc('hour', e.finished_at, 'UTC') as last,
           case when e.finished_at > e.started_at
                then extract(epoch from least(e.finished_at, h.hour + interval '1 hour')
                                        - greatest(e.started_at, h.hour))
                     / extract(epoch from e.finished_at - e.started_at)
                else 1 end as share
    from ended e cross join lateral generate_series(
        date_trunc('hour', least(e.started_at, e.finished_at), 'UTC'), e.finished_at,
        interval '1 hour') as h(hour)
), booked as (
    insert into usage_hours as u (hour, tenant, model, queue, outcome, jobs, attempts, machine_s, gpu_s, cost,
                                  unpriced_s)
    select hour, tenant, model, queue, outcome, count(*) filter (where last and fence = 1),
           count(*) filter (where last), sum(machine_s * share), sum(gpu_s * share), sum(cost * share),
           sum(unpriced_s * share)
    from parts group by hour, tenant, model, queue, outcome
    on conflict (hour, tenant, model, queue, outcome) do update set
        jobs = u.jobs + excluded.jobs, attempts = u.attempts + excluded.attempts,
        machine_s = u.machine_s + excluded.machine_s, gpu_s = u.gpu_s + excluded.gpu_s,
        cost = u.cost + excluded.cost, unpriced_s = u.unpriced_s + excluded.unpriced_s
)
select until from moved
"""

MARK = "select until from usage_mark"

# $1 and $2 are whole hours, $5 is where the mark was a moment ago: a bound for the planner; the mark of the
# statement's own snapshot decides. What still runs is charged so far, for as long as its worker is heard of.
USED = """
with fresh as (
    select s.tenant, s.model, j.queue, a.outcome, a.fence = 1 as first, true as over, a.started_at as since,
           a.finished_at as until, coalesce(a.machine_s, 0) as machine_s, coalesce(a.gpu_s, 0) as gpu_s,
           a.cost
    from attempts a join specs s on s.id = a.job_id join jobs j on j.id = a.job_id
    where a.finished_at >= $5 and a.finished_at < now() + interval '1 day'
      and a.finished_at >= (select until from usage_mark) and a.finished_at > $1
      and ($3::text is null or s.tenant = $3)
    union all
    select s.tenant, s.model, j.queue, 'running', false, false, j.started_at, l.until, l.machine_s,
           l.machine_s * w.gpus, round(l.machine_s * w.per_hour / 3600, 10)
    from jobs j join specs s on s.id = j.id join workers w on w.id = j.worker
    cross join lateral (
        select case when w.heartbeat_at > clock_timestamp() - interval '30 s' then clock_timestamp()
                    else greatest(w.heartbeat_at, j.started_at) end as until
    ) seen
    cross join lateral (
        select seen.until, extract(epoch from seen.until - j.started_at) / w.slots as machine_s
    ) l
    where j.state = 'running' and ($3::text is null or s.tenant = $3)
), parts as (
    select f.tenant, f.model, f.queue, d.day, f.outcome, f.first and p.ends as job,
           f.over and p.ends as attempt, f.machine_s * p.share as machine_s, f.gpu_s * p.share as gpu_s,
           coalesce(f.cost, 0) * p.share::numeric as cost,
           case when f.cost is null then f.machine_s * p.share else 0 end as unpriced_s
    from fresh f
    cross join lateral generate_series(
        date_trunc('day', least(f.since, f.until), 'UTC'), f.until, interval '1 day') as d(day)
    cross join lateral (
        select case when f.until > f.since
                    then greatest(0, extract(epoch from least(f.until, d.day + interval '1 day', $2)
                                                        - greatest(f.since, d.day, $1)))
                         / extract(epoch from f.until - f.since)
                    else (f.until >= $1 and f.until < $2)::int end as share,
               f.until >= $1 and f.until < $2 and d.day = date_trunc('day', f.until, 'UTC') as ends
    ) p
    where p.share > 0 or p.ends
), every as (
    select tenant, model, queue, date_trunc('day', hour, 'UTC') as day, outcome, jobs, attempts, machine_s,
           gpu_s, cost, unpriced_s
    from usage_hours where hour >= $1 and hour < $2 and ($3::text is null or tenant = $3)
    union all
    select tenant, model, queue, day, outcome, job::int, attempt::int, machine_s, gpu_s, cost, unpriced_s
    from parts
)
select case $4::text when 'tenant' then tenant when 'model' then model when 'queue' then queue
            else to_char(day at time zone 'UTC', 'YYYY-MM-DD') end as key,
       queue, sum(jobs)::bigint as jobs, sum(attempts)::bigint as attempts,
       sum(machine_s)::float8 as machine_s, sum(gpu_s)::float8 as gpu_s, sum(cost) as cost,
       sum(unpriced_s)::float8 as unpriced_s,
       coalesce(sum(attempts) filter (where wasted), 0)::bigint as wasted_attempts,
       coalesce(sum(machine_s) filter (where wasted), 0)::float8 as wasted_s,
       coalesce(sum(cost) filter (where wasted), 0) as wasted_cost
from (select *, outcome in ('waiting', 'released', 'worker_lost') as wasted from every) e
group by 1, 2
"""

# A worker that is heard of is there now, though its row was written some seconds ago.
PAID = """
with spans as (
    select t.queue, t.per_hour, greatest(t.since, $1) as since,
           least($2, case when w.heartbeat_at > clock_timestamp() - interval '30 s' and not exists (
                              select from machine_time later where later.worker = t.worker
                                                               and later.slice > t.slice)
                          then clock_timestamp() else t.until end) as until
    from machine_time t left join workers w on w.id = t.worker and w.state <> 'gone'
    where t.until > $1 and t.since < $2
)
select s.queue,
       case $3::text when 'day' then to_char(d.day at time zone 'UTC', 'YYYY-MM-DD') else s.queue end as key,
       sum(p.seconds)::float8 as machine_s, coalesce(sum(p.seconds * s.per_hour / 3600), 0) as cost,
       coalesce(sum(p.seconds) filter (where s.per_hour is null), 0)::float8 as unpriced_s
from spans s
cross join lateral generate_series(date_trunc('day', s.since, 'UTC'), s.until, interval '1 day') as d(day)
cross join lateral (
    select greatest(0, extract(epoch from least(s.until, d.day + interval '1 day')
                                          - greatest(s.since, d.day))) as seconds
) p
group by 1, 2
"""

_JOBS = """
select l.job_id::text as key, j.queue, 1::bigint as jobs, count(*) as attempts,
       coalesce(sum(l.machine_s), 0) as machine_s, coalesce(sum(l.gpu_s), 0) as gpu_s,
       coalesce(sum(l.cost), 0) as cost,
       coalesce(sum(l.machine_s) filter (where l.cost is null), 0) as unpriced_s,
       count(*) filter (where wasted) as wasted_attempts,
       coalesce(sum(l.machine_s) filter (where wasted), 0) as wasted_s,
       coalesce(sum(l.cost) filter (where wasted), 0) as wasted_cost,
       (select count(*) from lately) as looked
from (select *, outcome in ('waiting', 'released', 'worker_lost') as wasted from lately) l
join jobs j on j.id = l.job_id
group by l.job_id, j.queue
order by cost desc, machine_s desc, 1 limit $4
"""
JOBS = f"""
with lately as materialized (
    select * from attempts where finished_at >= $1 and finished_at < $2 order by finished_at desc limit $3
)
{_JOBS}
"""  # noqa: S608  a constant of ours
JOBS_OF_TENANT = f"""
with lately as materialized (
    select a.* from (select id from specs where tenant = $5 order by id desc limit $3) s
    join attempts a on a.job_id = s.id
    where a.finished_at >= $1 and a.finished_at < $2 limit $3
)
{_JOBS}
"""  # noqa: S608  a constant of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedRow:
    """What the attempts under one key used of one queue's machines.

    Attributes:
        key: A tenant, a model, a queue, a day (UTC) or a job's id.
        jobs: Whose first attempt ended then.
        attempts: That ended then.
        machine_s: Their shares of the machines' time, with what still runs.
        cost: Of what has a price.
        unpriced_s: Of `machine_s`, what has none.
        wasted_attempts: Of them, those that were retried, given back or lost.
    """

    key: str
    queue: str
    jobs: int
    attempts: int
    machine_s: float
    gpu_s: float
    cost: Decimal
    unpriced_s: float
    wasted_attempts: int
    wasted_s: float
    wasted_cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidRow:
    """For what one queue's machines were paid.

    Attributes:
        key: The day where days were asked for, else the queue.
        machine_s: From launch to end.
        cost: Of what has a price.
        unpriced_s: Of `machine_s`, what has none.
    """

    queue: str
    key: str
    machine_s: float
    cost: Decimal
    unpriced_s: float


class UsageStore:
    """Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database, *, settled_s: float = SETTLED_S) -> None:
        self._database = database
        self._settled_s = settled_s

    async def book(self) -> bool:
        """Book a batch of attempts that ended; True where there may be more.

        Raises:
            OutcomeUnknown: The answer was lost; the next call goes on from where the mark is.
        """
        [ahead] = await self._database.read(AHEAD, self._settled_s, BATCH)
        if ahead["until"] <= ahead["since"]:
            return False
        moved = await self._database.write(BOOK, ahead["since"], ahead["until"])
        return bool(moved) and await self._more(ahead["until"])

    async def _more(self, since: datetime) -> bool:
        rows = await self._database.read(
            "select exists (select from attempts where finished_at >= $1"
            " and finished_at < clock_timestamp() - make_interval(secs => $2)) as more",
            since,
            self._settled_s,
        )
        return bool(rows[0]["more"])

    async def used(self, since: datetime, until: datetime, by: By, tenant: str | None) -> list[UsedRow]:
        """What was used within these whole hours, by key and queue; of one tenant, or of all."""
        [mark] = await self._database.read(MARK)
        rows = await self._database.read(USED, since, until, tenant, by, mark["until"])
        return [UsedRow(**row) for row in rows]

    async def paid(self, since: datetime, until: datetime, by: By) -> list[PaidRow]:
        """For what was paid within these hours, by queue, or by queue and day."""
        return [PaidRow(**row) for row in await self._database.read(PAID, since, until, by)]

    async def dearest(
        self, since: datetime, until: datetime, limit: int, tenant: str | None
    ) -> tuple[Sequence[UsedRow], bool]:
        """The jobs that cost most of those that ran lately, and whether others were not looked at.

        Of one tenant its latest jobs, of all the latest attempts: 20,000 at most.
        """
        values = (since, until, LATELY, limit)
        rows = await (
            self._database.read(JOBS, *values)
            if tenant is None
            else self._database.read(JOBS_OF_TENANT, *values, tenant)
        )
        found = [{**row} for row in rows]
        looked = max((row.pop("looked") for row in found), default=0)
        return [UsedRow(**row) for row in found], looked >= LATELY
