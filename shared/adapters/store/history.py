"""How waits, runs and outcomes went over time: as many steps as a chart has room for, each a bounded look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.adapters.store.endings import ENDING
from shared.adapters.store.pool import Database

LOOK = 1_000
"""Attempts of a step that are looked at, its newest, where everybody's count."""
CLOSE_LOOK = 300
"""Where each one's tenant and model have to be looked up."""
EXPIRIES = 20_000

# A step's newest come from the index by time, so a busy week costs what a busy hour does. The limit is no
# parameter, so that the plan knows how few rows it needs.
HISTORY = """
with clock as (
    select floor(extract(epoch from clock_timestamp()) / $1::float8)::bigint as last
), steps as (
    select generate_series(last - $2::int + 1, last) as step from clock
), looked as materialized (
    select s.step, a.* from steps s cross join lateral (
        select job_id, fence, outcome, started_at, finished_at, timings from attempts
        where finished_at >= to_timestamp(s.step * $1::float8)
          and finished_at < to_timestamp((s.step + 1) * $1::float8)
        order by finished_at desc limit {look}
    ) a
), told as materialized (
    select a.step, {ending} as ending, (a.timings ->> 'queue_s')::float8 as wait,
           case when a.outcome not in ('worker_lost', 'released', 'canceled')
                then extract(epoch from a.finished_at - a.started_at)::float8 end as run
    from looked a {mine}
), measured as (
    select step, count(*)::int as n, count(wait)::int as waits, count(run)::int as runs,
           percentile_cont(array[0.5, 0.95, 0.99]) within group (order by wait) as wait,
           percentile_cont(array[0.5, 0.95, 0.99]) within group (order by run) as run,
           count(*) filter (where ending = 'succeeded')::int as succeeded,
           count(*) filter (where ending = 'failed')::int as failed,
           count(*) filter (where ending = 'retried')::int as retried,
           count(*) filter (where ending = 'canceled')::int as canceled
    from told group by step
), seen as (
    select step, count(*)::int as looked from looked group by step
)
select s.step, coalesce(e.looked, 0) as looked, coalesce(m.n, 0) as n,
       coalesce(m.waits, 0) as waits, m.wait, coalesce(m.runs, 0) as runs, m.run,
       coalesce(m.succeeded, 0) as succeeded, coalesce(m.failed, 0) as failed,
       coalesce(m.retried, 0) as retried, coalesce(m.canceled, 0) as canceled
from steps s left join seen e on e.step = s.step left join measured m on m.step = s.step
order by s.step
"""

MINE = """cross join lateral (select model, tenant from specs where id = a.job_id offset 0) o
where ($3::text is null or o.tenant = $3) and ($4::text is null or o.model = $4)"""

EXPIRED = """
select floor(extract(epoch from at) / $1::float8)::bigint as step, count(*)::int as count
from (select at, state, tenant, model from failures where at >= to_timestamp($2::float8)
      order by at desc limit $3) lately
where state = 'expired' and ($4::text is null or tenant = $4) and ($5::text is null or model = $5)
group by step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """The attempts that ended within one step.

    Attributes:
        step: Which one: seconds since 1970 by its length.
        n: Attempts that count.
        wait: How many say how long they waited, and the 50th, 95th and 99th percentile of it, seconds.
        run: The same of the whole attempt, of those that were not cut short.
        ended: Attempts by how they ended, `retried` those that failed and were repeated; jobs that expired.
        more: The step held more than was looked at.
    """

    step: int
    n: int
    wait: tuple[int, Sequence[float]]
    run: tuple[int, Sequence[float]]
    ended: Mapping[str, int]
    more: bool


class HistoryStore:
    """Reads. Raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def steps(
        self, tenant: str | None, model: str | None, *, step_s: float, count: int
    ) -> list[StepRow]:
        """The last `count` steps, oldest first, the one under way last.

        Args:
            tenant: Whose attempts; None: everybody's.
            model: Of this one only.
            step_s: A step's length, seconds.
            count: So many of them.
        """
        mine = tenant is not None or model is not None
        look = CLOSE_LOOK if mine else LOOK
        sql = HISTORY.format(look=look, mine=MINE if mine else "", ending=ENDING)
        rows = await self._database.read(sql, step_s, count, *((tenant, model) if mine else ()))
        expired = await self._expired(tenant, model, step_s, rows[0]["step"])
        return [_step(dict(row), look, expired) for row in rows]

    async def _expired(
        self, tenant: str | None, model: str | None, step_s: float, first: int
    ) -> Mapping[int, int]:
        rows = await self._database.read(EXPIRED, step_s, first * step_s, EXPIRIES, tenant, model)
        return {row["step"]: row["count"] for row in rows}


def _step(row: Mapping[str, Any], look: int, expired: Mapping[int, int]) -> StepRow:
    ended = {name: row[name] for name in ("succeeded", "failed", "retried", "canceled")}
    return StepRow(
        step=row["step"],
        n=row["n"],
        wait=(row["waits"], row["wait"] or ()),
        run=(row["runs"], row["run"] or ()),
        ended={**ended, "expired": expired.get(row["step"], 0)},
        more=row["looked"] >= look,
    )
