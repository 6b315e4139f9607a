"""Lists of jobs, a page at a time, at a cost that does not grow with the table: see `candidates`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg

from shared.adapters.store.candidates import Candidates
from shared.adapters.store.pool import Database
from shared.jobs import State
from shared.listing import Count, Filter, Page, Row, first_id, moment_of

MAX_LIMIT = 200
MILLISECOND = timedelta(milliseconds=1)
LOOK = 5000
"""Candidates looked up for a page, at most; then it ends, full or not, and says how far it came."""
COUNT_TO = 10_000
COUNT_LOOK = 2000
"""The same for a count, where candidates have to be looked up."""

SHOWN = """
select l.*, f.fingerprint, e.data -> 'error' ->> 'code' as error_code,
       left(e.data -> 'error' ->> 'message', 200) as message,
       case when l.state = 'waiting' then 'scheduled'
            when l.state = 'queued' and exists (
                select from queue_pauses p where p.queue = l.queue and p.paused) then 'paused'
            when l.state = 'queued' then coalesce((
                select case when bool_or(w.state = 'ready') then 'backlog' else 'worker_starting' end
                from workers w
                where w.queue = l.queue and w.state in ('starting', 'ready')
                  and w.heartbeat_at > clock_timestamp() - interval '30 s'
                having count(*) > 0), 'no_worker')
            when l.state = 'running' and not l.entered
                 and l.started_at < clock_timestamp() - interval '1 s' then 'in_worker'
       end as queue_reason,
       clock_timestamp() as at
from ({listed}) l
left join lateral (select data from events where job_id = l.id and seq = l.seq
                   and l.state in ('waiting', 'failed', 'canceled', 'expired') offset 0) e on true
left join lateral (select fingerprint from failures where job_id = l.id
                   and l.state in ('failed', 'expired') offset 0) f on true
order by l.id desc
"""
NOW = "select clock_timestamp() as at"
END = "select count(*)::int as n, (array_agg(c.id order by c.id))[1] as last from ({ids}) c"
COUNT = "select count(*)::int as n from ({listed}) c"

# One snapshot answers both, so no tenant is counted for another.
COUNT_ALONE = """
select case when (select count(*) from (select from tenants limit 2) few) = 1
            then (select count(*) from ({listed}) c) end::int as n
"""


class ListingStore:
    """Reads lists. Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: Filter, *, before: UUID | None, limit: int) -> Page:
        """A page of a list.

        Args:
            wanted: Which jobs.
            before: Only lower ids.
            limit: So many at most, up to `MAX_LIMIT`.
        """
        candidates = Candidates(_before(wanted, before))
        found = await self._look(candidates, MAX_LIMIT + 1, limit)
        if len(found) <= limit and not candidates.exact:
            found = await self._look(candidates, LOOK, limit)
        at = found[0]["at"] if found else (await self._database.read(NOW))[0]["at"]
        rows = tuple(_row(record) for record in found)
        if len(rows) > limit:
            return Page(rows=rows[:limit], at=at, cursor=rows[limit - 1].id)
        return await self._short(candidates, Page(rows=rows, at=at))

    async def counts(self, wanted: Filter) -> dict[State, Count]:
        """By state, counted as far as that is cheap."""
        return {state: await self._count(replace(wanted, states=frozenset({state}))) for state in State}

    async def row(self, tenant: str | None, job_id: UUID) -> Page:
        """A page of one job, or of none where there is none or it is another tenant's."""
        return await self.page(Filter(tenant=tenant, ids=(job_id,)), before=None, limit=1)

    async def _look(self, candidates: Candidates, look: int, limit: int) -> list[asyncpg.Record]:
        sql = SHOWN.format(listed=candidates.rows(look, limit + 1))
        return await self._database.read(sql, *candidates.values)

    async def _short(self, candidates: Candidates, page: Page) -> Page:
        """A page that is not full: the last one, or one whose look ended early."""
        if candidates.exact:
            return page
        looked = (await self._database.read(END.format(ids=candidates.ids(LOOK)), *candidates.own))[0]
        if looked["n"] < LOOK:
            return page
        # The candidate may be another tenant's: its millisecond is told, its id is not. And jobs that came
        # since pushed this end forward: never beyond what was shown.
        cursor = min([first_id(moment_of(looked["last"]) + MILLISECOND), *(row.id for row in page.rows[-1:])])
        return replace(page, cursor=cursor, searched_to=cursor)

    async def _count(self, wanted: Filter) -> Count:
        candidates = Candidates(wanted)
        if candidates.exact or candidates.shared:
            sql = COUNT if candidates.exact else COUNT_ALONE
            listed = sql.format(listed=candidates.ids(COUNT_TO + 1))
            n = (await self._database.read(listed, *candidates.own))[0]["n"]
            if n is not None:
                return Count(min(n, COUNT_TO), n > COUNT_TO)
        every = COUNT.format(listed=candidates.ids(COUNT_LOOK + 1))
        looked = (await self._database.read(every, *candidates.own))[0]["n"]
        fit = COUNT.format(listed=candidates.rows(COUNT_LOOK, None, "j.id"))
        n = (await self._database.read(fit, *candidates.values))[0]["n"]
        return Count(n, looked > COUNT_LOOK)


def _before(wanted: Filter, before: UUID | None) -> Filter:
    if before is None:
        return wanted
    bound = UUID(int=max(0, before.int - 1))
    return replace(wanted, newest=min(wanted.newest, bound) if wanted.newest else bound)


def _row(record: asyncpg.Record) -> Row:
    fields = dict(record)
    del fields["at"], fields["entered"]
    return Row(**fields | {"state": State(fields["state"])})
