"""Actions on many jobs. Which jobs is settled when one is made; a step is one gateway's, and counted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from shared.adapters.store.candidates import RETRY, Candidates
from shared.adapters.store.pool import Database
from shared.listing import BulkAction, Filter, Tally

STEP = 100
"""Jobs of a step."""
HOLD_S = 60.0
"""A gateway that takes longer for a step lets another repeat it; every action may be repeated."""
MAX_JOBS = 50_000
MAX_LOOK = 100_000

COLUMNS = """id, tenant, action, filter, priority, count, left_out, state, step, done, skipped, failed,
created_by, created_at, started_at, finished_at, error"""

CREATE = """
with looked as (
    select count(*) as n from ({ids}) c
), chosen as materialized (
    {rows}
), numbered as (
    select id, (row_number() over (order by id) - 1) / {step} as step from chosen where not retried
), counted as (
    select count(*) filter (where not retried) as n, count(*) filter (where retried) as left_out from chosen
), made as (
    insert into bulk_actions (id, tenant, action, filter, priority, count, left_out, created_by)
    select {id}, {tenant}, {action}, {filter}, {priority}, counted.n, counted.left_out, {by}
    from looked cross join counted where looked.n <= {look} and counted.n <= {most}
    returning *
), parts as (
    insert into bulk_parts (bulk_id, step, ids)
    select made.id, numbered.step, array_agg(numbered.id order by numbered.id) from made cross join numbered
    group by made.id, numbered.step
)
select {columns} from made
"""

# A draft that nobody began, and the ids of what has long ended: the actions themselves stay, as history.
FORGET = """
with stale as (
    select id from bulk_actions
    where tenant = $1 and state = 'draft' and created_at < clock_timestamp() - make_interval(secs => $2)
    order by id limit $4 for update skip locked
), spent as (
    select id from bulk_actions
    where tenant = $1 and state in ('done', 'aborted', 'failed')
      and finished_at < clock_timestamp() - make_interval(secs => $3)
    order by id desc limit $4
), parts as (
    delete from bulk_parts where bulk_id in (select id from stale union all select id from spent)
)
delete from bulk_actions where id in (select id from stale)
"""
DRAFT_S = 3600.0
SPENT_S = 86400.0
FORGOTTEN = 20

START = f"""
update bulk_actions set
    state = case when count = 0 then 'done' else 'running' end,
    started_at = clock_timestamp(),
    finished_at = case when count = 0 then clock_timestamp() end
where id = $1 and state = 'draft' returning {COLUMNS}
"""  # noqa: S608  the columns are above

ABORT = f"""
update bulk_actions set state = 'aborted', finished_at = clock_timestamp()
where id = $1 and state in ('draft', 'running') returning {COLUMNS}
"""  # noqa: S608  idem

ONE = f"select {COLUMNS} from bulk_actions where id = $1"  # noqa: S608  idem
BEYOND = UUID(int=2**128 - 1)
PAGE = f"""
select {COLUMNS} from bulk_actions where tenant = $1 and id < $2 order by id desc limit $3
"""  # noqa: S608  idem

TAKE = """
with free as (
    select id from bulk_actions
    where state = 'running' and (held_until is null or held_until < clock_timestamp())
    order by started_at for update skip locked limit 1
), taken as (
    update bulk_actions b set held_by = $1, held_until = clock_timestamp() + make_interval(secs => $2)
    from free where b.id = free.id returning b.*
)
select t.id, t.action, t.priority, t.step, t.created_by, t.started_at, p.ids,
       coalesce(t.filter ->> 'retried', 'no') <> 'no' as again
from taken t left join bulk_parts p on p.bulk_id = t.id and p.step = t.step
"""

# Only who holds the step may count it. One that was aborted meanwhile is told what was done all the same.
SETTLE = f"""
update bulk_actions b set
    step = b.step + 1, held_until = null,
    done = b.done + $4, skipped = b.skipped + $5, failed = b.failed + $6,
    state = case when b.state = 'running' and last.is then 'done' else b.state end,
    finished_at = case when b.state = 'running' and last.is then clock_timestamp() else b.finished_at end
from (select not exists (select from bulk_parts where bulk_id = $1 and step = $3::int + 1) as is) last
where b.id = $1 and b.held_by = $2 and b.step = $3::int and b.state in ('running', 'aborted')
returning {COLUMNS}
"""  # noqa: S608  idem

FAIL = f"""
update bulk_actions set state = 'failed', error = $4, held_until = null, finished_at = clock_timestamp()
where id = $1 and held_by = $2 and step = $3::int and state = 'running' returning {COLUMNS}
"""  # noqa: S608  idem

LET_GO = "update bulk_actions set held_until = null where id = $1 and held_by = $2"

PRIORITISE = """
with wanted as (
    select id from jobs where id = any($1::uuid[]) and state in ('waiting', 'queued') order by id for update
)
update jobs j set priority = $2, publish_tries = 0, promoted = false, prioritised_at = clock_timestamp(),
    publish_due = case when j.state = 'queued' then clock_timestamp() end
from wanted where j.id = wanted.id returning j.id
"""

# What has a retry that no action made, or had one before this action began. One that an action made since
# then is this one's own, of a step that was cut short, or another action's: its key finds it again.
RETRIED = """
select distinct retry_of from specs
where retry_of = any($1::uuid[])
  and (created_at < $2 or idempotency_key is distinct from $3::text || retry_of::text)
"""

OWNERS = "select id, tenant from specs where id = any($1::uuid[])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A part of an action that this process holds.

    Attributes:
        again: What has a retry is meant as well.
    """

    id: UUID
    action: str
    priority: int | None
    step: int
    created_by: str
    started_at: datetime
    again: bool
    ids: Sequence[UUID]


class BulkStore:
    """The tables `bulk_actions` and `bulk_parts`.

    Raises from every method:
        Unavailable: The database is away; nothing was changed.
        OutcomeUnknown: The answer to a change was lost.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        bulk_id: UUID,
        wanted: Filter,
        *,
        tenant: str,
        action: str,
        said: Mapping[str, Any],
        priority: int | None,
        by: str,
    ) -> BulkAction | None:
        """A draft on all jobs of a filter; None where they are too many. Old drafts of the tenant go.

        Args:
            bulk_id: Its own.
            wanted: Which jobs. Where it leaves out what was retried, it is counted how many these are.
            tenant: Whose action it is.
            action: What is to be done.
            said: The filter as the caller said it.
            priority: To set, where that is the action.
            by: Who makes it, as ``tenant/name``.
        """
        await self._database.write(FORGET, tenant, DRAFT_S, SPENT_S, FORGOTTEN)
        fresh = wanted.retried is False
        candidates = Candidates(replace(wanted, retried=None) if fresh else wanted)
        retried = f"{RETRY.format('j.id')} is not null" if fresh else "false"
        parts = {
            "ids": candidates.ids(MAX_LOOK + 1),
            "rows": candidates.rows(MAX_LOOK, None, f"j.id, {retried} as retried"),
            "id": candidates.add(bulk_id, "uuid"),
            "tenant": candidates.add(tenant, "text"),
            "action": candidates.add(action, "text"),
            "filter": candidates.add(said, "jsonb"),
            "priority": candidates.add(priority, "smallint"),
            "by": candidates.add(by, "text"),
        }
        sql = CREATE.format(**parts, step=STEP, look=MAX_LOOK, most=MAX_JOBS, columns=COLUMNS)
        return _first(await self._database.write(sql, *candidates.values))

    async def one(self, bulk_id: UUID) -> BulkAction | None:
        """An action by its id, whosever it is."""
        return _first(await self._database.read(ONE, bulk_id))

    async def page(self, tenant: str, *, before: UUID | None, limit: int) -> list[BulkAction]:
        """A tenant's, newest first."""
        return [_action(row) for row in await self._database.read(PAGE, tenant, before or BEYOND, limit)]

    async def start(self, bulk_id: UUID) -> BulkAction | None:
        """Let a draft begin; None where it is none any more."""
        return _first(await self._database.write(START, bulk_id))

    async def abort(self, bulk_id: UUID) -> BulkAction | None:
        """No further steps; None where it had ended."""
        return _first(await self._database.write(ABORT, bulk_id))

    async def take(self, holder: str) -> Step | None:
        """Hold the next step of some running action; None where there is nothing to do."""
        rows = await self._database.write(TAKE, holder, HOLD_S)
        return Step(**dict(rows[0]) | {"ids": rows[0]["ids"] or []}) if rows else None

    async def settle(self, holder: str, step: Step, tally: Tally) -> BulkAction | None:
        """Count a step that is done; None where it is not this process's to count."""
        counts = (tally.done, tally.skipped, tally.failed)
        return _first(await self._database.write(SETTLE, step.id, holder, step.step, *counts))

    async def fail(self, holder: str, step: Step, error: str) -> BulkAction | None:
        """End an action by what a step met; None where it is not this process's to end."""
        return _first(await self._database.write(FAIL, step.id, holder, step.step, error))

    async def let_go(self, holder: str, step: Step) -> None:
        """Another may try the step at once."""
        await self._database.write(LET_GO, step.id, holder)

    async def prioritise(self, ids: Sequence[UUID], priority: int) -> int:
        """Give jobs that wait another priority, and have them published with it; how many these were.

        They age anew from here on, also those that were promoted before.
        """
        return len(await self._database.write(PRIORITISE, list(ids), priority))

    async def retried(self, step: Step, ids: Sequence[UUID], prefix: str) -> frozenset[UUID]:
        """Those of the jobs that were retried, but not since the step's action began by one like it.

        Args:
            step: Of the action that asks.
            ids: Which jobs.
            prefix: The Idempotency-Key of an action's retry, but for the old job's id.
        """
        rows = await self._database.read(RETRIED, list(ids), step.started_at, prefix)
        return frozenset(row["retry_of"] for row in rows)

    async def owners(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        """By job its tenant."""
        return {row["id"]: row["tenant"] for row in await self._database.read(OWNERS, list(ids))}


def _first(rows: Sequence[asyncpg.Record]) -> BulkAction | None:
    return _action(rows[0]) if rows else None


def _action(row: asyncpg.Record) -> BulkAction:
    return BulkAction(**dict(row))
