"""Which queues are held. A claim asks this table itself; here it is set and shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.adapters.store.pool import Database

READ = "select queue, paused, changed_by, changed_at from queue_pauses"


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
