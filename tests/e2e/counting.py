"""Counts accepted, lost and duplicated jobs in the rows themselves, which is where the truth is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.adapters.store.pool import Database

TALLY = """
select j.id, j.state,
       (select count(*) from events e where e.job_id = j.id and e.type in
        ('job.succeeded', 'job.failed', 'job.canceled', 'job.expired')) as endings,
       (select count(*) from attempts a where a.job_id = j.id and a.outcome = 'succeeded') as successes,
       (select count(*) from attempts a where a.job_id = j.id) as runs
from jobs j where $1::uuid[] is null or j.id = any($1)
"""
DOUBTED_S = 7.1
"""A lease shorter than this was shortened by a second message; renewals leave it between 15 and 20 s."""
ENDED = {"succeeded", "failed", "canceled", "expired"}


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the accepted jobs.

    Attributes:
        accepted: Rows.
        lost: Without an end.
        duplicated: With two ends, or with two successful runs.
        runs: Attempts that have ended, of all of them.
    """

    accepted: int
    lost: int
    duplicated: int
    runs: int


class Books:
    """Of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tally(self, ids: Sequence[str] | None = None) -> Tally:
        """Count these jobs, or all."""
        wanted = [UUID(id_) for id_ in ids] if ids is not None else None
        rows = await self._database.read(TALLY, wanted)
        return Tally(
            accepted=len(rows),
            lost=sum(row["state"] not in ENDED or not row["endings"] for row in rows),
            duplicated=sum(row["endings"] > 1 or row["successes"] > 1 for row in rows),
            runs=sum(row["runs"] for row in rows),
        )

    async def attempts(self, job_id: str) -> list[tuple[int, str]]:
        """(attempt, outcome) of every run of a job that has ended, in order."""
        rows = await self._database.read(
            "select attempt, outcome from attempts where job_id = $1 order by fence", UUID(job_id)
        )
        return [(row["attempt"], row["outcome"]) for row in rows]

    async def lease_s(self, job_id: str) -> float:
        """Seconds that are left of a running job's lease."""
        rows = await self._database.read(
            "select extract(epoch from lease_until - clock_timestamp())::float8 as s from jobs where id = $1",
            UUID(job_id),
        )
        return float(rows[0]["s"])

    async def until_renewed_past_doubt(self, job_id: str) -> None:
        """Wait until a second message shortened the lease and its holder restored it."""
        left = [await self.lease_s(job_id)]
        async with asyncio.timeout(60):
            while not (min(left) < DOUBTED_S and left[-1] > DOUBTED_S):
                await asyncio.sleep(0.05)
                left.append(await self.lease_s(job_id))
