"""Ending a job on request: at once while it waits, by a flag that its worker reads while it runs."""

from __future__ import annotations

from uuid import UUID

from shared.adapters.store.pool import Database
from shared.adapters.store.records import CANCELED, event_of
from shared.errors import JobEnded, NotFound
from shared.events import Event

CANCEL = """
with asked as (
    select j.id, j.state from jobs j join specs s on s.id = j.id
    where j.id = $1 and s.tenant = $2 for update of j
), canceled as (
    update jobs j set
        cancel_requested = true,
        state = case when j.state = 'running' then 'running' else 'canceled' end,
        seq = j.seq + case when j.state = 'running' then 0 else 1 end,
        publish_due = null,
        finished_at = case when j.state = 'running' then null else clock_timestamp() end
    from asked where j.id = asked.id and j.state in ('waiting', 'queued', 'running')
    returning j.id, j.seq, j.state, j.finished_at
), event as (
    insert into events (job_id, seq, type, at, data)
    select id, seq, 'job.canceled', finished_at, $3::jsonb from canceled where state = 'canceled'
    returning seq, type, at, data
)
select a.id as job_id, a.state, c.id is not null as changed, e.seq, e.type, e.at, e.data
from asked a left join canceled c using (id) left join event e on true
"""


class CancelStore:
    """One statement, whatever the job is doing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cancel(self, tenant: str, job_id: UUID) -> Event | None:
        """Ask for the end of a job.

        Returns:
            The terminal event when it ended at once, to announce; None when it runs and its worker was told.

        Raises:
            NotFound: There is none, or it is another tenant's.
            JobEnded: It had ended before.
        """
        data = {"outputs": {}, "error": CANCELED, "timings": {}}
        rows = await self._database.write(CANCEL, job_id, tenant, data)
        if not rows:
            raise NotFound("no such job")
        row = rows[0]
        if not row["changed"]:
            raise JobEnded(f"the job is {row['state']} already")
        if row["seq"] is None:
            return None
        return event_of(row)
