"""Which queues are held. A claim asks this table itself; here it is set and shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.adapters.store.pool import Database

READ = "select queue, paused, changed_by, changed_at from queue_pauses"

SET = """
insert into queue_pauses (queue, paused, changed_by) values ($1, $2, $3)
on conflict (queue) do update set
    paused = excluded.paused, changed_by = excluded.changed_by, changed_at = clock_timestamp()
returning paused, changed_by, changed_at
"""

# What waited meanwhile has no message any more. In batches: any number may wait; each begins behind the last
# one, or what the relay has sent since then would be sent again. A row that is locked is waited for: nobody
# would look at it again soon.
RELEASE = """
with held as (
    select id from jobs
    where state = 'queued' and queue = $1 and (publish_due is null or publish_due > clock_timestamp())
      and id > $3
    order by id limit $2 for update
)
update jobs j set publish_due = clock_timestamp(), publish_tries = 0 from held where j.id = held.id
returning j.id
"""
BATCH = 5000
FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What was last said about holding a queue.

    Attributes:
        paused: Nothing of it is started.
        changed_by: Who said so, as ``tenant/name``.
        changed_at: When, by the database's clock.
    """

    paused: bool
    changed_by: str
    changed_at: datetime


class PauseStore:
    """The table `queue_pauses`. Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pauses(self) -> dict[str, Pause]:
        """By queue, all that was ever held."""
        rows = [dict(row) for row in await self._database.read(READ)]
        return {row.pop("queue"): Pause(**row) for row in rows}

    async def hold(self, queue: str, *, by: str) -> Pause:
        """Let nothing of a queue be started from now on.

        Raises:
            OutcomeUnknown: The answer was lost; asking again is safe.
        """
        return await self._set(queue, by, paused=True)

    async def let_go(self, queue: str, *, by: str) -> Pause:
        """Let a queue go on, and have the relay send what waits.

        Two steps, the second one after the first is committed: a row that is laid aside in between is seen by
        it. Should it not come to that, the relay finds that the queue is empty and sends them, later.

        Raises:
            OutcomeUnknown: The answer was lost; asking again is safe.
        """
        pause = await self._set(queue, by, paused=False)
        last = FIRST
        while len(rows := await self._database.write(RELEASE, queue, BATCH, last)) == BATCH:
            last = max(row["id"] for row in rows)
        return pause

    async def _set(self, queue: str, by: str, *, paused: bool) -> Pause:
        return Pause(**dict((await self._database.write(SET, queue, paused, by))[0]))
