"""What operators see of queues, workers and decisions, and how they ask a worker to drain.

Ages are told by the database's clock. Nothing here belongs to one tenant, so nothing here is for a tenant's
key: of a job its id and model, never what it carries.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.store.looks import LookRow, latest_looks, spans
from shared.adapters.store.pool import Database

RATE_S = 300.0
"""The rate is that of the last five minutes."""
LATELY = 20_000
"""Attempts looked at, at most: what a look costs must not grow with the traffic."""
LAST = 2**63 - 1

LOADS = """
select queue, priority,
       count(*) filter (where state = 'queued')::int as waiting,
       count(*) filter (where state = 'running')::int as running,
       count(*) filter (where state = 'waiting')::int as scheduled,
       case when min(queued_at) filter (where state = 'queued') is not null  -- greatest() would make a null 0
            then greatest(0, extract(epoch from clock_timestamp()
                 - min(queued_at) filter (where state = 'queued'))) end::float8 as oldest_s
from jobs
where state in ('waiting', 'queued', 'running')
group by queue, priority
"""

SERVED = """
with lately as (
    select job_id, outcome, started_at, finished_at from attempts
    where finished_at > clock_timestamp() - interval '1 hour'
    order by finished_at desc limit $1::int
), covered as (
    select case when count(*) < $1::int then $2::float8
                else least($2::float8, greatest(1, extract(epoch from clock_timestamp() - min(finished_at))))
           end::float8 as window_s
    from lately
)
select j.queue, c.window_s,
       count(*) filter (where l.outcome in ('succeeded', 'failed', 'canceled')
           and l.finished_at > clock_timestamp() - make_interval(secs => c.window_s))::int as ended,
       count(*) filter (where l.outcome not in ('worker_lost', 'released', 'canceled'))::int as ran,
       avg(greatest(0, extract(epoch from l.finished_at - l.started_at)))
           filter (where l.outcome not in ('worker_lost', 'released', 'canceled'))::float8 as mean_s
from lately l join jobs j on j.id = l.job_id cross join covered c
group by j.queue, c.window_s
"""

# By the jobs' ids, which begin with their time.
CAME = """
with lately as (
    select id, created_at from specs where id >= $1 order by id desc limit $2::int
), covered as (
    select case when count(*) < $2::int then $3::float8
                else greatest(1, extract(epoch from clock_timestamp() - min(created_at)))
           end::float8 as window_s
    from lately
)
select j.queue, count(*)::int as came, c.window_s
from lately join jobs j using (id) cross join covered c
group by j.queue, c.window_s
"""

WORKERS = """
select w.id, w.queue, w.state, w.host, w.device, w.slots, w.busy, w.drain, w.started_at, w.since, w.report,
       greatest(0, extract(epoch from clock_timestamp() - w.heartbeat_at))::float8 as heartbeat_s,
       coalesce(r.jobs, '[]') as jobs
from workers w left join (
    select j.worker, jsonb_agg(jsonb_build_object(
               'id', j.id, 'model', s.model, 'model_version', s.model_version, 'attempt', j.attempt,
               'fence', j.fence,
               'running_s', greatest(0, extract(epoch from clock_timestamp() - j.started_at))::float8,
               'lease_s', extract(epoch from j.lease_until - clock_timestamp())::float8)
               order by j.started_at, j.id) as jobs
    from jobs j join specs s on s.id = j.id
    where j.state = 'running'
    group by j.worker
) r on r.worker = w.id
where w.state <> 'gone' and w.heartbeat_at > clock_timestamp() - interval '1 hour'
  and ($1::text is null or w.id = $1)
order by w.queue, w.started_at, w.id
"""

# Heard of it, a worker counts as draining.
UNDRAIN = """
update workers set drain = false where id = $1 and drain and state in ('starting', 'ready') returning id
"""

DRAIN = """
update workers set drain = true
where id = $1 and state <> 'gone' and heartbeat_at > clock_timestamp() - interval '1 hour'
"""

DECISIONS = """
select id, fleet as queue, at, want, have, reason, actions - 'token' as actions, snapshot as inputs
from decisions where fleet = $1 and id < $2 order by id desc limit $3
"""

LATEST = """
select d.* from unnest($1::text[]) as named(queue) cross join lateral (
    select id, fleet as queue, at, want, have, reason, actions - 'token' as actions, null::jsonb as inputs
    from decisions where fleet = named.queue order by id desc limit 1
) d
"""

KNOWN = """
select exists (select from fleets where queue = $1)
    or exists (select from decisions where fleet = $1)
    or exists (select from workers where queue = $1)
    or exists (select from queue_pauses where queue = $1)
    or exists (select from jobs where state in ('waiting', 'queued', 'running') and queue = $1) as known
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """The live jobs of one queue and priority.

    Attributes:
        waiting: Queued: ready to run.
        scheduled: Their time has not come.
        oldest_s: Age of the one queued longest, seconds; None where none is queued.
    """

    queue: str
    priority: int
    waiting: int
    running: int
    scheduled: int
    oldest_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceRow:
    """How one queue was served lately.

    Attributes:
        ended: Jobs that ended within the last `window_s` seconds.
        ran: Attempts of the last hour that ran to an end of their own.
        mean_s: For how long these held a slot, on average; None where there are none.
    """

    queue: str
    ended: int
    window_s: float
    ran: int
    mean_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentRow:
    """A worker that has not said goodbye.

    Attributes:
        since: When it entered its state.
        heartbeat_s: Last heard of so long ago, seconds.
        jobs: What it runs: ``id, model, model_version, attempt, fence, running_s, lease_s`` of each.
        report: What it told of its devices and models with its last heartbeat; None: nothing.
    """

    id: str
    queue: str
    state: str
    host: str
    device: str
    slots: int
    busy: int
    drain: bool
    started_at: datetime
    since: datetime
    heartbeat_s: float
    jobs: Sequence[Mapping[str, Any]]
    report: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """A decision of the scaler.

    Attributes:
        want: None: something was unknown, so nothing was decided.
        inputs: All that it rests on; None where that was not asked for.
    """

    id: int
    queue: str
    at: datetime
    want: int | None
    have: int
    reason: str
    actions: Mapping[str, Any]
    inputs: Mapping[str, Any] | None


class OperationsStore:
    """An operator's view of the database. Every method raises Unavailable when it is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def loads(self) -> list[LoadRow]:
        """Every queue with live jobs, by priority."""
        return [LoadRow(**dict(row)) for row in await self._database.read(LOADS)]

    async def paces(self) -> list[PaceRow]:
        """Every queue of which an attempt ended within the hour."""
        return [PaceRow(**dict(row)) for row in await self._database.read(SERVED, LATELY, RATE_S)]

    async def came(self) -> dict[str, float]:
        """By queue how many jobs a second came lately; a queue that is missing had none."""
        since = UUID(int=round((time.time() - RATE_S) * 1000) << 80)
        rows = await self._database.read(CAME, since, LATELY, RATE_S)
        return {row["queue"]: row["came"] / row["window_s"] for row in rows}

    async def workers(self) -> list[PresentRow]:
        """Every worker heard of within the hour that did not say goodbye."""
        return [PresentRow(**dict(row)) for row in await self._database.read(WORKERS, None)]

    async def worker(self, id: str) -> PresentRow | None:  # noqa: A002  the column's name
        """One of them."""
        rows = await self._database.read(WORKERS, id)
        return PresentRow(**dict(rows[0])) if rows else None

    async def drain(self, id: str) -> None:  # noqa: A002  the column's name
        """Ask a worker to finish what it holds and leave, busy or not; nothing where there is none.

        Raises:
            OutcomeUnknown: The answer was lost; asking again is safe.
        """
        await self._database.write(DRAIN, id)

    async def undrain(self, id: str) -> bool:  # noqa: A002  the column's name
        """Take back that a worker shall leave; False where it has heard of it, or was not asked.

        Raises:
            OutcomeUnknown: The answer was lost; asking again is safe.
        """
        return bool(await self._database.write(UNDRAIN, id))

    async def decisions(self, queue: str, *, before: int | None, limit: int) -> list[DecisionRow]:
        """The latest decisions on a fleet, newest first.

        Args:
            queue: Whose fleet.
            before: Only those with a lower id.
            limit: So many at most.
        """
        rows = await self._database.read(DECISIONS, queue, LAST if before is None else before, limit)
        return [DecisionRow(**dict(row)) for row in rows]

    async def latest(self, queues: Sequence[str]) -> list[DecisionRow]:
        """The last decision on each of these fleets, without its inputs."""
        return [DecisionRow(**dict(row)) for row in await self._database.read(LATEST, list(queues))]

    async def looks(self, queues: Sequence[str]) -> list[LookRow]:
        """What the scaler found last of each of these fleets."""
        return await latest_looks(self._database, queues)

    async def spans(self, queue: str, *, since_s: float) -> list[LookRow]:
        """What it found of one fleet within these seconds, oldest first."""
        return await spans(self._database, queue, since_s)

    async def knows(self, queue: str) -> bool:
        """Whether jobs, workers, decisions or settings tell of such a queue."""
        return bool((await self._database.read(KNOWN, queue))[0]["known"])
