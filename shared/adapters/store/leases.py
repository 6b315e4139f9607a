"""How a worker keeps its jobs: the renewal of all its leases."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from shared.adapters.store.pool import Database

LEASE_S = 20.0

RENEW = """
with off as (select set_config('synchronous_commit', 'off', true)), mine as (
    select j.id, told.progress
    from unnest($2::uuid[], $3::integer[], $4::real[]) as told(id, fence, progress)
    join jobs j on j.id = told.id and j.fence = told.fence and j.state = 'running'
    order by j.id for update of j
)
update jobs j set lease_until = clock_timestamp() + make_interval(secs => $1), progress = mine.progress
from off, mine where j.id = mine.id
returning j.id, j.cancel_requested
"""


class LeaseStore:
    """Wants a database connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def renew(self, held: Mapping[UUID, tuple[int, float]]) -> dict[UUID, bool]:
        """Extend the leases of the jobs in hand.

        Args:
            held: By job its fence and its progress (0 … 1).

        Returns:
            By job that is still ours, whether its end was asked for. A job that is missing was lost.
        """
        fences = [fence for fence, _ in held.values()]
        progress = [value for _, value in held.values()]
        rows = await self._database.write(RENEW, LEASE_S, list(held), fences, progress)
        return {row["id"]: row["cancel_requested"] for row in rows}
