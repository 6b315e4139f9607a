"""A worker's own row: written with each heartbeat, which brings back whether it is asked to drain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.adapters.store.pool import Database

WorkerState = Literal["starting", "ready", "draining", "gone"]

BEAT = """
with off as (select set_config('synchronous_commit', 'off', true))
insert into workers as w (id, queue, state, host, device, slots, busy, claims, idle_since)
select $1, $2, $3, $4, $5, $6, $7::int, $8, case when $7::int = 0 then clock_timestamp() end from off
on conflict (id) do update set
    state = excluded.state, busy = excluded.busy, claims = excluded.claims,
    heartbeat_at = clock_timestamp(),
    since = case when w.state = excluded.state then w.since else clock_timestamp() end,
    idle_since = case when excluded.busy > 0 then null else coalesce(w.idle_since, clock_timestamp()) end
returning drain
"""

SWEEP = "delete from workers where heartbeat_at < clock_timestamp() - interval '1 day'"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """What does not change while a worker lives."""

    id: str
    queue: str
    host: str
    device: str
    slots: int


class WorkerStore:
    """Heartbeats of one worker."""

    def __init__(self, database: Database, identity: WorkerIdentity) -> None:
        self._database = database
        self._identity = identity

    async def beat(self, state: WorkerState, *, busy: int, claims: int = 0) -> bool:
        """Tell that this worker lives.

        Args:
            state: What it does.
            busy: Jobs in hand.
            claims: Jobs claimed since its start.

        Returns:
            Whether it is asked to drain.
        """
        me = self._identity
        rows = await self._database.write(
            BEAT, me.id, me.queue, state, me.host, me.device, me.slots, busy, claims
        )
        return bool(rows[0]["drain"])

    async def sweep(self) -> None:
        """Forget workers that have been silent for a day."""
        await self._database.write(SWEEP)
