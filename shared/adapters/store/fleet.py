"""What the scaler reads and writes: the backlog, the workers' records, its decisions, and its leadership.

Ages are told by the database's clock, so that no two machines' clocks are ever compared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from shared.adapters.store.looks import Seen, see
from shared.adapters.store.metering import Metered, meter
from shared.adapters.store.pool import CONNECTION_LOST, Database
from shared.errors import Unavailable
from shared.settings import Postgres

LEADER_LOCK = 0x1E7E35CA
"""One scaler acts per database."""
REMEMBERED_S = 3600.0
"""Workers silent for longer are nobody's any more."""

_LOST = (asyncpg.PostgresError, *CONNECTION_LOST)

# What waits in a held queue asks for no worker: nobody could start it.
BACKLOG = """
select queue, priority,
       count(*) filter (where state = 'queued' and p.queue is null) as waiting,
       count(*) filter (where state = 'running') as running,
       greatest(0, coalesce(extract(epoch from clock_timestamp()
           - min(queued_at) filter (where state = 'queued' and p.queue is null)), 0))::float8 as oldest_s,
       greatest(0, coalesce(extract(epoch from clock_timestamp()
           - max(queued_at) filter (where state = 'queued' and p.queue is null)), 0))::float8 as newest_s
from jobs left join (select queue from queue_pauses where paused) p using (queue)
where state in ('queued', 'running')
group by queue, priority
"""

WORKERS = """
select id, queue, state, slots, busy, drain,
       greatest(0, extract(epoch from clock_timestamp() - since))::float8 as since_s,
       case when idle_since is not null  -- greatest() would make a null 0
            then greatest(0, extract(epoch from clock_timestamp() - idle_since)) end::float8 as idle_s,
       greatest(0, extract(epoch from clock_timestamp() - heartbeat_at))::float8 as heartbeat_s
from workers
where heartbeat_at > clock_timestamp() - make_interval(secs => $1)
order by id
"""

SERVED = """
select j.queue, count(*)::int as jobs,
       avg(greatest(0, extract(epoch from a.finished_at - a.started_at)))::float8 as mean_s,
       max(a.finished_at) as until
from attempts a join jobs j on j.id = a.job_id
where a.finished_at > greatest($1::timestamptz, clock_timestamp() - interval '1 hour')
  and a.outcome not in ('worker_lost', 'released', 'canceled')  -- cut short: no measure of a whole job
group by j.queue
"""

DRAIN = """
update workers w set drain = true
where id = any($1::text[]) and state = 'ready' and busy = 0
  and not exists (select 1 from jobs j where j.state = 'running' and j.queue = w.queue and j.worker = w.id)
returning id
"""

BURY = """
update workers set state = 'gone', busy = 0, since = clock_timestamp()
where id = any($1::text[]) and state <> 'gone'
returning id
"""

RECORD = """
insert into decisions (fleet, want, have, reason, snapshot, actions) values ($1, $2, $3, $4, $5, $6)
returning id
"""

LAST = """
select coalesce((select id from decisions where fleet = $1 order by id desc limit 1), 0) as id
"""

LAST_LAUNCH = """
select actions ->> 'token' as token, (actions ->> 'launch')::int as count,
       greatest(0, extract(epoch from clock_timestamp() - at))::float8 as age_s
from (select id, at, actions from decisions where fleet = $1 order by id desc limit 4000) lately
where actions ? 'token' and at > clock_timestamp() - interval '1 hour'
order by id desc limit 1
"""
"""The last 4000 are more than an hour of looks a second: a fleet that has launched nothing for long would
else be read to its beginning each time."""

HELD = """
select exists (select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted
               and classid = ($1::bigint >> 32)::int::oid and objid = ($1::bigint & 4294967295)::oid) as held
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogRow:
    """The live jobs of one queue and priority.

    Attributes:
        oldest_s: Age of the one queued longest, seconds; 0 where none is queued.
        newest_s: The same of the one queued last.
    """

    queue: str
    priority: int
    waiting: int
    running: int
    oldest_s: float
    newest_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker's record; all ages in seconds.

    Attributes:
        state: ``starting``, ``ready``, ``draining`` or ``gone``.
        idle_s: None while it is busy.
    """

    id: str
    queue: str
    state: str
    slots: int
    busy: int
    drain: bool
    since_s: float
    idle_s: float | None
    heartbeat_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRow:
    """The attempts of one queue that ended lately.

    Attributes:
        mean_s: For how long they held a slot, on average.
        until: When the last one ended, by the database's clock.
    """

    queue: str
    jobs: int
    mean_s: float
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRow:
    """A launch that was written down.

    Attributes:
        token: It was asked for with this one.
        count: Machines asked for.
        age_s: Written down so long ago.
    """

    token: str
    count: int
    age_s: float


class FleetStore:
    """The scaler's view of the database. Every method raises Unavailable when it is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def backlog(self) -> list[BacklogRow]:
        """Every queue with queued or running jobs, by priority; a queue that is not in it has none."""
        return [BacklogRow(**dict(row)) for row in await self._database.read(BACKLOG)]

    async def workers(self) -> list[WorkerRow]:
        """Every worker heard of within the hour, those that said goodbye included."""
        return [WorkerRow(**dict(row)) for row in await self._database.read(WORKERS, REMEMBERED_S)]

    async def served(self, since: datetime | None) -> list[ServedRow]:
        """By queue, the attempts that ran to an end of their own after `since`, within the hour."""
        return [ServedRow(**dict(row)) for row in await self._database.read(SERVED, since)]

    async def drain(self, ids: Sequence[str]) -> list[str]:
        """Ask workers to drain, except those that got a job meanwhile; returns those that were asked."""
        return [row["id"] for row in await self._database.write(DRAIN, list(ids))]

    async def bury(self, ids: Sequence[str]) -> list[str]:
        """Close the rows of workers that ended without a word; returns those that were open."""
        return [row["id"] for row in await self._database.write(BURY, list(ids))]

    async def meter(self, queue: str, machines: Sequence[Metered]) -> None:
        """Write down for how long each machine has been paid, at which price."""
        if machines:
            await meter(self._database, queue, machines)

    async def see(self, queue: str, look: Seen) -> None:
        """Write down how many are wanted and there; looks without a change are one row."""
        await see(self._database, queue, look)

    async def record(
        self,
        fleet: str,
        *,
        want: int | None,
        have: int,
        reason: str,
        snapshot: Mapping[str, Any],
        actions: Mapping[str, Any],
    ) -> int:
        """Write a decision down; returns its number."""
        rows = await self._database.write(RECORD, fleet, want, have, reason, snapshot, actions)
        return int(rows[0]["id"])

    async def last_decision(self, fleet: str) -> int:
        """The number of the fleet's latest decision, 0 before the first."""
        return int((await self._database.read(LAST, fleet))[0]["id"])

    async def last_launch(self, fleet: str) -> LaunchRow | None:
        """The fleet's latest decision that launched, if it was made within the hour."""
        rows = await self._database.read(LAST_LAUNCH, fleet)
        return LaunchRow(**dict(rows[0])) if rows else None

    async def ping(self) -> None:
        """Return when the database answers."""
        await self._database.ping()


class Leadership:
    """The scaler's advisory lock, on a connection of its own: as long as the session lives it is held.

    Not through a transaction pooler, which would hand the session to somebody else.
    """

    def __init__(self, settings: Postgres) -> None:
        self._settings = settings
        self._connection: Any = None

    async def acquire(self) -> bool:
        """Try to become the leader, without waiting.

        Raises:
            Unavailable: The database is away.
        """
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return bool(await self._ask("select pg_try_advisory_lock($1)", LEADER_LOCK))

    async def held(self) -> bool:
        """Ask the server whether the lock is still this session's."""
        if self._connection is None or self._connection.is_closed():
            return False
        try:
            return bool(await self._ask(HELD, LEADER_LOCK))
        except Unavailable:
            return False

    async def close(self) -> None:
        """Give the lock up, at once where the server can be told."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=self._settings.timeout_s)
        except _LOST:
            connection.terminate()

    async def _ask(self, sql: str, *values: object) -> object:
        try:
            return await self._connection.fetchval(sql, *values, timeout=self._settings.timeout_s)
        except _LOST as error:
            # An answer that did not come leaves the session in doubt, so it ends here.
            self._connection.terminate()
            raise Unavailable(f"PostgreSQL is away: {str(error) or type(error).__name__}") from error

    async def _connect(self) -> Any:
        try:
            return await asyncpg.connect(
                self._settings.dsn.get_secret_value(),
                timeout=self._settings.timeout_s,
                server_settings={
                    "application_name": "leveret-scaler-leader",
                    # A host that vanished must lose the lock in half a minute, not in two hours.
                    "tcp_keepalives_idle": "10",
                    "tcp_keepalives_interval": "5",
                    "tcp_keepalives_count": "3",
                },
            )
        except _LOST as error:
            raise Unavailable(f"PostgreSQL is away: {str(error) or type(error).__name__}") from error


@asynccontextmanager
async def open_leadership(settings: Postgres) -> AsyncIterator[Leadership]:
    """A candidate for leadership, which is given up at the end."""
    leadership = Leadership(settings)
    try:
        yield leadership
    finally:
        await leadership.close()
