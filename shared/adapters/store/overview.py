"""What the overview counts: what came and ended lately, what failed, what waits. Of one tenant, or of all.

Each statement looks at a bounded number of rows: what a look costs must not grow with the traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.store.endings import ENDING
from shared.adapters.store.operations import DecisionRow
from shared.adapters.store.pool import Database

SOME = 100_000
"""Rows looked at for a curve; at 166 a second that is ten minutes."""
SAMPLE = 2_000
"""Attempts that a percentile is taken of."""
LATELY_S = 60.0
"""What counts as lately, where nobody says otherwise."""
ERRORS_S = 3600.0
MOST = 5

_JOB_OF = "and exists (select from specs s where s.id = {id} and s.tenant = ${place})"

ARRIVALS = """
select floor(extract(epoch from created_at) / $1)::bigint as step, count(*)::int as count
from (select created_at from specs where id >= $2 {mine} order by id desc limit $3) lately
group by step
"""

ENDINGS = """
select floor(extract(epoch from finished_at) / $1)::bigint as step,
       count(*)::int as ended, count(*) filter (where ending = 'failed')::int as failed,
       percentile_disc(0.95) within group (order by wait_s) as p95_wait_s
from (select a.finished_at, e.ending, (a.timings ->> 'queue_s')::float8 as wait_s
      from attempts a cross join lateral (select {ending} as ending) e
      where a.finished_at >= to_timestamp($2::float8)
      and a.outcome in ('succeeded', 'failed', 'canceled', 'worker_lost') and e.ending <> 'retried' {mine}
      order by a.finished_at desc limit $3) lately
group by step
"""

LATELY = """
select extract(epoch from clock_timestamp())::float8 as now,
       count(*) filter (where ending <> 'retried')::int as ended,
       count(*) filter (where ending = 'failed')::int as failed,
       count(*) filter (where ending = 'retried')::int as retried,
       count(wait_s) filter (where ending <> 'retried')::int as waits,
       percentile_disc(0.95) within group (order by wait_s) filter (where ending <> 'retried') as p95_wait_s
from (select {ending} as ending, (a.timings ->> 'queue_s')::float8 as wait_s
      from attempts a where a.finished_at > clock_timestamp() - make_interval(secs => $1)
      and a.outcome <> 'released' {mine}
      order by a.finished_at desc limit $2) lately
"""

LOADS = """
select j.queue, j.priority,
       count(*) filter (where j.state = 'queued')::int as waiting,
       count(*) filter (where j.state = 'running')::int as running,
       count(*) filter (where j.state = 'waiting')::int as scheduled,
       case when min(j.queued_at) filter (where j.state = 'queued') is not null
            then greatest(0, extract(epoch from clock_timestamp()
                 - min(j.queued_at) filter (where j.state = 'queued'))) end::float8 as oldest_s
from jobs j
where j.state in ('waiting', 'queued', 'running') {mine}
group by j.queue, j.priority
"""

ERRORS = """
select code, model, count(*) filter (where ending = 'failed')::int as count,
       count(*) filter (where ending = 'retried')::int as retried, max(finished_at) as last_at,
       (array_agg(message order by finished_at desc))[1] as message
from (select a.error ->> 'code' as code, s.model, left(a.error ->> 'message', 200) as message, a.finished_at,
             {ending} as ending
      from attempts a join specs s on s.id = a.job_id
      where a.finished_at > clock_timestamp() - make_interval(secs => $1)
      and a.outcome in ('failed', 'waiting', 'worker_lost') {mine}
      order by a.finished_at desc limit $2) lately
where code is not null and ending <> 'canceled'
group by code, model order by count(*) desc, last_at desc limit $3
"""

FAILING = """
select fingerprint, code, model, count(*)::int as count,
       (array_agg(message order by at desc))[1] as message
from (select fingerprint, code, model, left(message, 200) as message, at from failures
      where at > clock_timestamp() - make_interval(secs => $1) and state = 'failed' {mine}
      order by at desc limit $2) lately
group by fingerprint, code, model order by count desc, fingerprint, model limit 1
"""

# What the machines cost that were there within each step. A heartbeat tells of one every ten seconds, so that
# it counts for half a minute after it was last seen. Unknown as soon as one of them has no price.
COSTS = """
select step, case when count(m.worker) = count(m.per_hour) then sum(m.per_hour) end::float8 as per_hour
from generate_series($1::bigint, $2::bigint) as steps(step)
join machine_time m on m.since < to_timestamp((step + 1) * $3::float8)
                   and m.until > to_timestamp(step * $3::float8) - interval '30 s'
where m.until > to_timestamp($1 * $3::float8) - interval '30 s'
group by step
"""

DECIDED = """
select id, fleet as queue, at, want, have, reason, actions - 'token' as actions, null::jsonb as inputs
from decisions order by id desc limit $1
"""

SCALED = """
select distinct fleet as queue from (select fleet, at from decisions order by id desc limit 1000) lately
where at > clock_timestamp() - interval '1 day'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingsRow:
    """What ended within one step.

    Attributes:
        p95_wait_s: Of nineteen in twenty the wait for a start was at most this; None where none is known.
    """

    step: int
    ended: int
    failed: int
    p95_wait_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatelyRow:
    """What ended lately, by the newest attempts of it.

    Attributes:
        now: The database's clock, seconds since 1970.
        ended: Attempts that ended their job.
        failed: Those of them that failed.
        retried: Attempts beside these that failed and were repeated.
        waits: So many waits are known.
    """

    now: float
    ended: int
    failed: int
    waits: int
    p95_wait_s: float | None
    retried: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRow:
    """The live jobs of one queue and priority; fields as in `LoadRow`."""

    queue: str
    priority: int
    waiting: int
    running: int
    scheduled: int
    oldest_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """Attempts that failed alike within the last hour.

    Attributes:
        count: Those that ended their job.
        retried: Those that were repeated.
    """

    code: str
    model: str
    count: int
    last_at: datetime
    message: str
    retried: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingRow:
    """What failed most often lately, all of it alike."""

    fingerprint: str
    code: str
    model: str
    count: int
    message: str


class OverviewStore:
    """Counts. Every method raises Unavailable when the database is away.

    `tenant` is everywhere whose rows count; None: everybody's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def arrivals(self, tenant: str | None, *, step_s: float, first: int) -> Mapping[int, int]:
        """Jobs that came, by step, from the step `first` on."""
        # Jobs' ids begin with their time; a second to spare for gateways whose clocks differ.
        since = UUID(int=max(0, round((first * step_s - 1) * 1000)) << 80)
        sql, values = _mine(ARRIVALS, "and tenant = $4", tenant, step_s, since, SOME)
        rows = await self._database.read(sql, *values)
        return {row["step"]: row["count"] for row in rows if row["step"] >= first}

    async def endings(self, tenant: str | None, *, step_s: float, first: int) -> Sequence[EndingsRow]:
        """Attempts that ended their job, by step, from the step `first` on."""
        clause = _JOB_OF.format(id="a.job_id", place=4)
        sql, values = _mine(ENDINGS, clause, tenant, step_s, first * step_s, SOME)
        return [EndingsRow(**dict(row)) for row in await self._database.read(sql, *values)]

    async def lately(self, tenant: str | None, *, window_s: float = LATELY_S) -> LatelyRow:
        """The last `window_s` seconds."""
        clause = _JOB_OF.format(id="a.job_id", place=3)
        sql, values = _mine(LATELY, clause, tenant, window_s, SAMPLE)
        return LatelyRow(**dict((await self._database.read(sql, *values))[0]))

    async def loads(self, tenant: str | None) -> Sequence[LiveRow]:
        """Live jobs by queue and priority."""
        sql, values = _mine(LOADS, _JOB_OF.format(id="j.id", place=1), tenant)
        return [LiveRow(**dict(row)) for row in await self._database.read(sql, *values)]

    async def errors(self, tenant: str | None) -> Sequence[ErrorRow]:
        """The most frequent failures of the last hour."""
        sql, values = _mine(ERRORS, "and s.tenant = $4", tenant, ERRORS_S, SAMPLE, MOST)
        return [ErrorRow(**dict(row)) for row in await self._database.read(sql, *values)]

    async def failing(self, tenant: str | None, *, window_s: float = LATELY_S) -> FailingRow | None:
        """What failed most often within the last `window_s` seconds; None where nothing did."""
        sql, values = _mine(FAILING, "and tenant = $3", tenant, window_s, SAMPLE)
        rows = await self._database.read(sql, *values)
        return FailingRow(**dict(rows[0])) if rows else None

    async def costs(self, *, step_s: float, first: int, last: int) -> Mapping[int, float | None]:
        """What all machines cost an hour, by step; a step without a machine is missing."""
        rows = await self._database.read(COSTS, first, last, step_s)
        return {row["step"]: row["per_hour"] for row in rows}

    async def decided(self) -> Sequence[DecisionRow]:
        """The scaler's last decisions on any fleet, newest first."""
        return [DecisionRow(**dict(row)) for row in await self._database.read(DECIDED, MOST)]

    async def scaled(self) -> frozenset[str]:
        """Queues whose fleet a scaler has decided on within a day."""
        return frozenset(row["queue"] for row in await self._database.read(SCALED))


def _mine(sql: str, clause: str, tenant: str | None, *values: Any) -> tuple[str, tuple[Any, ...]]:
    """The statement for one tenant, or without its clause for all."""
    if tenant is None:
        return sql.format(mine="", ending=ENDING), values
    return sql.format(mine=clause, ending=ENDING), (*values, tenant)
