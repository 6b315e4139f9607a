"""Failures in groups: those with one fingerprint, which the trigger of 0010_views.sql gives each.

What a look costs is bounded by `LATELY` rows, whatever there are. A tenant's look reads its own rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from shared.adapters.store.candidates import RETRY
from shared.adapters.store.pool import Database
from shared.listing import FailureFilter, FailureGroup, FailureLook

LATELY = 20_000
BUCKETS = 24
GROUPS = 100
NAMES = 10
"""Of each kind in a group, at most."""
EARLIEST = 5000

EVERYBODYS = "select * from failures where at > (select since from w) order by at desc limit {limit}"
ALIKE = "select * from failures where fingerprint = $7::text{mine} order by job_id desc limit {limit}"
MINE = " and tenant = $3::text"
TENANTS = """
select heads.* from (values ('failed'), ('expired')) as listed(state) cross join lateral (
    select * from failures where tenant = $3::text and state = listed.state order by job_id desc limit {limit}
) heads
"""

# Each part is made once: joined without that, a plan may count all rows again for each group.
LOOK = """
with w as materialized (
    select now() as at, now() - make_interval(secs => $1) as since, $1 / $2::int as bucket_s
), looked as materialized (
    {source}
), lately as materialized (
    select f.*, least($2::int - 1, floor(extract(epoch from f.at - w.since) / w.bucket_s))::int as bucket,
           {retry} is not null as retried
    from looked f cross join w
    where f.at > w.since and ($3::text is null or f.tenant = $3) and ($4::text is null or f.model = $4)
      and ($5::text is null or f.queue = $5) and ($6::text is null or f.worker = $6)
      and ($7::text is null or f.fingerprint = $7) and ($8::text is null or f.code = $8)
), head as (
    select distinct on (fingerprint) fingerprint, code, type, message, job_id, at from lately
    order by fingerprint, at desc, job_id desc
), total as materialized (
    select fingerprint, count(*)::int as count, min(at) as first_at,
           count(*) filter (where retried)::int as retried,
           (array_agg(job_id order by at desc, job_id desc) filter (where not retried))[1] as open_job
    from lately group by fingerprint
), points as materialized (
    select fingerprint, jsonb_object_agg(bucket, n) as points
    from (select fingerprint, bucket, count(*) as n from lately group by fingerprint, bucket) each
    group by fingerprint
), named as (
    select fingerprint, kind, name, count(*) as n,
           row_number() over (partition by fingerprint, kind order by count(*) desc, name) as place
    from lately
    cross join lateral (values ('models', model), ('queues', queue), ('workers', worker)) k(kind, name)
    where name is not null group by fingerprint, kind, name
), names as materialized (
    select fingerprint, jsonb_object_agg(kind, listed) as names
    from (select fingerprint, kind,
                 jsonb_agg(jsonb_build_object('name', name, 'count', n) order by place) as listed
          from named where place <= $9::int group by fingerprint, kind) each
    group by fingerprint
)
select w.at as now, w.since, w.bucket_s, (select count(*) from looked)::int as looked,
       h.fingerprint, h.code, h.type, h.message, h.job_id as sample_job, h.at as last_at, t.count,
       t.retried, t.open_job,
       least(t.first_at, (
           select min(early.at) from (
               select at from failures where fingerprint = h.fingerprint{mine} order by job_id limit $10::int
           ) early)) as first_at,
       p.points, n.names
from w left join (head h join total t using (fingerprint) join points p using (fingerprint)
                  join names n using (fingerprint)) on true
order by h.at desc limit $11::int
"""

KNOWN = "select 1 from failures where fingerprint = $1 limit 1"
KNOWN_TO = "select 1 from failures where fingerprint = $1 and tenant = $2 limit 1"

TRACEBACK = """
select attempt, coalesce(error ->> 'traceback', '') as traceback from attempts where job_id = $1
order by fence desc limit 1
"""


class FailureStore:
    """Reads. Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self, wanted: FailureFilter) -> FailureLook:
        """The groups of a window."""
        source = ALIKE if wanted.fingerprint else TENANTS if wanted.tenant else EVERYBODYS
        mine = MINE if wanted.tenant else ""
        sql = LOOK.format(
            source=source.format(limit=LATELY, mine=mine), mine=mine, retry=RETRY.format("f.job_id")
        )
        filters = (wanted.model, wanted.queue, wanted.worker, wanted.fingerprint, wanted.error)
        values = (wanted.since_s, BUCKETS, wanted.tenant, *filters, NAMES, EARLIEST, GROUPS + 1)
        rows = [dict(row) for row in await self._database.read(sql, *values)]
        first = rows[0]
        window = {name: first[name] for name in ("now", "since", "bucket_s")}
        groups = [_group(row) for row in rows if row["fingerprint"] is not None]
        more = first["looked"] >= LATELY or len(groups) > GROUPS
        return FailureLook(**window, groups=tuple(groups[:GROUPS]), more=more)

    async def known(self, tenant: str | None, fingerprint: str) -> bool:
        """Whether anything ever failed so."""
        if tenant is None:
            return bool(await self._database.read(KNOWN, fingerprint))
        return bool(await self._database.read(KNOWN_TO, fingerprint, tenant))

    async def traceback(self, job_id: UUID) -> tuple[int | None, str]:
        """The last attempt's number and traceback; whose job it is was asked before."""
        rows = await self._database.read(TRACEBACK, job_id)
        return (rows[0]["attempt"], rows[0]["traceback"]) if rows else (None, "")


def _group(row: Mapping[str, Any]) -> FailureGroup:
    return FailureGroup(**{name: row[name] for name in FailureGroup.__slots__})
