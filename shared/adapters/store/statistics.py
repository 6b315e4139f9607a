"""How long models take and how they fail: percentiles over a bounded sample of what ended lately."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.adapters.store.endings import ENDING
from shared.adapters.store.pool import Database

SAMPLE = 10_000
"""Attempts, and loads, looked at, the newest, of all models together."""
CODES = 10

# An attempt that was cut short says nothing of how long the model takes.
STATISTICS = """
with looked as materialized (
    select job_id, fence, outcome, started_at, finished_at, timings, error from attempts
    where finished_at > clock_timestamp() - make_interval(secs => $1)
    order by finished_at desc limit {sample}
), lately as materialized (
    select s.model, a.outcome, {ending} as ending, a.error ->> 'code' as code,
           (a.timings ->> 'queue_s')::float8 as wait,
           case when a.outcome not in ('worker_lost', 'released', 'canceled')
                then extract(epoch from a.finished_at - a.started_at)::float8 end as run,
           (a.timings ->> 'batch_size')::float8 as batch
    from looked a cross join lateral (select model, tenant from specs where id = a.job_id offset 0) s
    where ($2::text is null or s.tenant = $2) and ($3::text is null or s.model = $3)
), late as (
    select model, count(*)::int as expired from (
        select model from failures
        where at > clock_timestamp() - make_interval(secs => $1) and state = 'expired'
          and ($2::text is null or tenant = $2) and ($3::text is null or model = $3)
        order by at desc limit {sample}
    ) f group by model
), failed as (
    select model, jsonb_agg(jsonb_build_object('code', code, 'count', n) order by n desc, code) as errors
    from (select model, code, count(*) as n,
                 row_number() over (partition by model order by count(*) desc, code) as place
          from lately where outcome in ('failed', 'waiting', 'worker_lost') and code is not null
          group by model, code) each
    where place <= {codes} group by model
), measured as (
    select model, count(*)::int as n, count(wait)::int as waits, count(run)::int as runs,
           percentile_cont(array[0.5, 0.95, 0.99]) within group (order by wait) as wait,
           percentile_cont(array[0.5, 0.95, 0.99]) within group (order by run) as run,
           percentile_cont(0.5) within group (order by batch) as batch,
           count(*) filter (where ending = 'succeeded')::int as succeeded,
           count(*) filter (where ending = 'failed')::int as failed,
           count(*) filter (where ending = 'retried')::int as retried,
           count(*) filter (where ending = 'canceled')::int as canceled
    from lately group by model
)
select m.*, l.expired, f.errors, (select count(*) from looked)::int as looked,
       coalesce(m.model, l.model) as name
from measured m full join late l on l.model = m.model left join failed f on f.model = m.model
"""

# As the workers told: most models are loaded before the first attempt that needs them.
LOADS = """
with looked as materialized (
    select model, at, load_s, memory_mb, at > clock_timestamp() - make_interval(secs => $1) as lately
    from model_loads where $2::text is null or model = $2
    order by at desc limit {sample}
)
select model, count(*) filter (where lately)::int as loads, count(load_s) filter (where lately)::int as timed,
       percentile_cont(array[0.5, 0.95, 0.99]) within group (order by load_s) filter (where lately) as load,
       (array_agg(memory_mb order by at desc) filter (where memory_mb is not null))[1] as memory_mb
from looked group by model
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How one model did.

    Attributes:
        n: Attempts of it in the sample.
        wait: Seconds in the queue: how many say so, and their 50th, 95th and 99th percentile.
        run: Of the whole attempt.
        ended: Attempts by how they ended, `retried` those that failed and were repeated; jobs that expired.
        errors: ``code`` and ``count`` of what failed, most first.
        more: The window held more attempts than the sample.
    """

    name: str
    n: int
    wait: tuple[int, Sequence[float]]
    run: tuple[int, Sequence[float]]
    batch: float | None
    ended: Mapping[str, int]
    errors: Sequence[Mapping[str, Any]]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """How one model was loaded, of which at least one load is on record.

    Attributes:
        n: Loads in the window.
        load: Their seconds: how many say so, and their 50th, 95th and 99th percentile.
        memory_mb: By its newest load on record that knows, 10^6 bytes.
    """

    n: int
    load: tuple[int, Sequence[float]]
    memory_mb: float | None


class StatisticsStore:
    """Reads. Raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def models(self, tenant: str | None, model: str | None, window_s: float) -> list[Measured]:
        """Every model of which something ended in the window.

        Args:
            tenant: Whose jobs; None: everybody's.
            model: This one only.
            window_s: So far back, seconds.
        """
        sql = STATISTICS.format(sample=SAMPLE, codes=CODES, ending=ENDING)
        rows = await self._database.read(sql, window_s, tenant, model)
        return [_measured(dict(row)) for row in rows]

    async def loads(self, model: str | None, window_s: float) -> dict[str, Loads]:
        """By name every model, or this one, of which a load is on record, which it is for eight days."""
        rows = await self._database.read(LOADS.format(sample=SAMPLE), window_s, model)
        return {
            row["model"]: Loads(
                n=row["loads"], load=(row["timed"], row["load"] or ()), memory_mb=row["memory_mb"]
            )
            for row in rows
        }


def _measured(row: Mapping[str, Any]) -> Measured:
    ended = {name: row[name] or 0 for name in ("succeeded", "failed", "retried", "canceled", "expired")}
    return Measured(
        name=row["name"],
        n=row["n"] or 0,
        wait=(row["waits"] or 0, row["wait"] or ()),
        run=(row["runs"] or 0, row["run"] or ()),
        batch=row["batch"],
        ended=ended,
        errors=row["errors"] or (),
        more=row["looked"] >= SAMPLE,
    )
