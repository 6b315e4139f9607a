"""What operators set of fleets, over the scaler's settings: written by the gateway, read by the scaler."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.adapters.store.pool import Database

READ = "select queue, min, max, paused, changed_by, changed_at from fleets"

# What was said replaces, what was not stays. A minimum above a maximum that stays changes nothing and returns
# no row: two operators may speak at once, so only this statement can know.
SET = """
insert into fleets as f (queue, min, max, paused, changed_by)
values ($1, $3::int, $5::int, coalesce($6::boolean, false), $7)
on conflict (queue) do update set
    min = case when $2::boolean then excluded.min else f.min end,
    max = case when $4::boolean then excluded.max else f.max end,
    paused = coalesce($6::boolean, f.paused),
    changed_by = excluded.changed_by, changed_at = clock_timestamp()
where coalesce(case when $2::boolean then excluded.min else f.min end
            <= case when $4::boolean then excluded.max else f.max end, true)
returning min, max, paused, changed_by, changed_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What an operator set of one queue's fleet.

    Attributes:
        min: Workers at least, instead of the setting; None: the setting.
        max: Workers at most, likewise.
        paused: The scaler is to change nothing.
        changed_by: The key that set it last, as ``tenant/name``.
        changed_at: When, by the database's clock.
    """

    min: int | None
    max: int | None
    paused: bool
    changed_by: str
    changed_at: datetime


class OverrideStore:
    """The table `fleets`. Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def overrides(self) -> dict[str, Override]:
        """By queue, all that was ever set; one statement, small enough for every tick."""
        rows = [dict(row) for row in await self._database.read(READ)]
        return {row.pop("queue"): Override(**row) for row in rows}

    async def override(
        self,
        queue: str,
        *,
        by: str,
        limits: dict[str, int | None] | None = None,
        paused: bool | None = None,
    ) -> Override | None:
        """Set what is said and leave the rest as it is.

        Args:
            queue: Whose fleet.
            by: Who says so, as ``tenant/name``.
            limits: ``min`` and ``max``, either or both; None gives back to the scaler's settings.
            paused: None leaves it.

        Returns:
            What is set now; None, with nothing changed, where the minimum would be above the maximum.

        Raises:
            OutcomeUnknown: The answer was lost; setting it again is safe.
        """
        said = limits or {}
        if "min" in said and "max" in said and _crossed(said["min"], said["max"]):
            return None
        values = ("min" in said, said.get("min"), "max" in said, said.get("max"))
        rows = await self._database.write(SET, queue, *values, paused, by)
        return Override(**dict(rows[0])) if rows else None


def _crossed(low: int | None, high: int | None) -> bool:
    return low is not None and high is not None and low > high
